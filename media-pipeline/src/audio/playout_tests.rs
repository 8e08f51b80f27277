//! Sound over networks that are given packet by packet.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::f32::consts::TAU;

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    super::{
        amplitude_of,
        opus::{Encoder, Protection, tests::packets},
        strongest_tone,
    },
    *,
};

/// Plays `packets` of a tone through a network: what happens to packet n (lost, or its delay in ms).
fn run(count: u64, protection: Protection, mut network: impl FnMut(u64) -> Option<u64>) -> (Vec<f32>, Heard) {
    let start = Instant::now();
    let mut encoder = Encoder::new().unwrap();
    encoder.adapt(10, protection).unwrap();
    let mut arrivals: Vec<(u64, u64, Bytes)> = Vec::new();
    for n in 0..count {
        let mut pcm = [0.0; PACKET];
        for (i, s) in pcm.iter_mut().enumerate() {
            *s = 0.3 * (TAU * 440.0 * (n as usize * PACKET + i) as f32 / 48_000.0).sin();
        }
        let packet = encoder.encode(&pcm).unwrap().unwrap();
        if let Some(delay) = network(n) {
            arrivals.push((n * 20 + delay, n, packet.into()));
        }
    }
    arrivals.sort_by_key(|a| a.0);
    let mut playout = Playout::new().unwrap();
    let (mut out, mut next) = (Vec::new(), 0);
    for ms in (0..count * 20).step_by(10) {
        let now = start + Duration::from_millis(ms);
        while arrivals.get(next).is_some_and(|a| a.0 <= ms) {
            let (_, n, packet) = &arrivals[next];
            playout.push(
                (*n as u16).wrapping_add(65_000),
                (*n as u32).wrapping_mul(960).wrapping_add(u32::MAX - 9_600),
                packet.clone(),
                now,
            );
            next += 1;
        }
        let mut tick = [0.0; TICK];
        playout.pull(&mut tick, now).unwrap();
        out.extend(tick);
    }
    (out, playout.heard())
}

#[test]
fn a_quiet_network_has_little_delay_and_no_loss() {
    let (out, heard) = run(250, Protection::Fec, |_| Some(20));
    assert_eq!((heard.lost, heard.late, heard.concealed), (0, 0, 0));
    assert!(heard.delay_ms <= 60, "{heard:?}");
    assert_eq!(strongest_tone(&out[48_000..96_000]).0, 440);
}

#[test]
fn single_losses_are_brought_back_from_the_next_packet() {
    let (out, heard) = run(250, Protection::Fec, |n| (n % 7 != 3).then_some(20));
    assert!(heard.lost >= 34 && heard.by_fec == heard.lost, "{heard:?}");
    let (hertz, amplitude) = strongest_tone(&out[48_000..192_000]);
    assert!(hertz == 440 && amplitude > 0.2, "{hertz} {amplitude}");
}

#[test]
fn bursts_are_brought_back_by_deep_redundancy() {
    let (_, heard) = run(300, Protection::Dred, |n| (n % 20 >= 3 || n < 20).then_some(20));
    assert!(heard.lost >= 40, "{heard:?}");
    assert!(heard.by_dred > heard.lost * 3 / 4, "{heard:?}");
}

#[test]
fn delay_follows_the_network_without_gaps() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut jitter = move |n: u64| Some(20 + if (200..500).contains(&n) { rng.random_range(0..80) } else { 0 });
    let (_, heard) = run(1_000, Protection::Fec, &mut jitter);
    assert!(heard.lost + heard.late <= 15, "{heard:?}");
    assert!(heard.stretched_ms > 30 && heard.shrunk_ms > 30, "{heard:?}");
    assert!(heard.delay_ms < 90, "{heard:?}");
}

#[test]
fn what_comes_again_is_no_jitter() {
    let (start, lost) = (Instant::now(), |n: u64| n % 12 == 5);
    let tone: Vec<Bytes> = packets(Protection::Fec, 50).into_iter().map(Bytes::from).collect();
    // Every twelfth packet is there 90 ms after its time: because it was asked for, or because it took so long.
    let delay = |again: bool, round_trip: Option<u64>| {
        let mut playout = Playout::new().unwrap();
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            let mut push = |n: u64, again: bool| {
                let take = if again { Playout::push_again } else { Playout::push };
                take(&mut playout, n as u16, n as u32 * 960, tone[n as usize % tone.len()].clone(), now);
            };
            if ms % 20 == 0 && !lost(ms / 20) {
                push(ms / 20, false);
            }
            if ms % 20 == 10 && ms > 90 && lost((ms - 90) / 20) {
                push((ms - 90) / 20, again);
            }
            playout.set_repair(round_trip.map(Duration::from_millis));
            if ms % 10 == 0 {
                playout.pull(&mut [0.0; TICK], now).unwrap();
            }
        }
        playout.heard()
    };
    let (jitter, unknown, repaired) = (delay(false, None), delay(true, None), delay(true, Some(65)));
    assert!(jitter.delay_ms > 100 && jitter.again == 0, "{jitter:?}");
    assert!(unknown.delay_ms < 80 && unknown.again == 0, "{unknown:?}");
    assert!(repaired.delay_ms > 100 && repaired.again > 25, "{repaired:?}");
    // A round trip for which there is no room changes nothing.
    let far = delay(true, Some(140));
    assert!(far.delay_ms < 80 && far.again == 0, "{far:?}");
}

#[test]
fn a_silence_is_no_loss() {
    let start = Instant::now();
    let mut encoder = Encoder::new().unwrap();
    let mut playout = Playout::new().unwrap();
    let (mut sequence, mut sent) = (0u16, 0);
    for n in 0..500u64 {
        let mut pcm = [0.0; PACKET];
        if !(150..350).contains(&n) {
            for (i, s) in pcm.iter_mut().enumerate() {
                *s = 0.3 * (TAU * 300.0 * (n as usize * PACKET + i) as f32 / 48_000.0).sin();
            }
        }
        let now = start + Duration::from_millis(n * 20);
        if let Some(packet) = encoder.encode(&pcm).unwrap() {
            playout.push(sequence, n as u32 * 960, packet.into(), now);
            sequence += 1;
            sent += 1;
        }
        for _ in 0..2 {
            playout.pull(&mut [0.0; TICK], now).unwrap();
        }
    }
    assert!(sent < 400, "{sent}");
    assert_eq!(playout.heard().lost, 0, "{:?}", playout.heard());
}

/// Gives a packet each 20 ms for so many, and takes sound where `takes` says so, 20 ms or less; what was heard.
fn taken_by(count: u64, takes: impl Fn(u64) -> usize) -> (Vec<f32>, Heard) {
    let (start, tone) = (Instant::now(), packets(Protection::Fec, 50));
    let (mut playout, mut out) = (Playout::new().unwrap(), Vec::new());
    for n in 0..count {
        let now = start + Duration::from_millis(n * 20);
        playout.push(n as u16, n as u32 * 960, tone[n as usize % tone.len()].clone().into(), now);
        for _ in 0..takes(n) {
            let mut tick = [0.0; TICK];
            playout.pull(&mut tick, now).unwrap();
            out.extend(tick);
        }
    }
    (out, playout.heard())
}

#[test]
fn after_a_loudspeaker_was_away_its_sound_comes_back_and_is_not_late() {
    // For half a second and more, as long as the buffer has room, and longer: the sound of after that is played, and nothing was lost.
    for away in [30, 95, 100, 101, 175, 400] {
        let (out, heard) = taken_by(100 + away + 100, |n| if (100..100 + away).contains(&n) { 0 } else { 2 });
        assert_eq!((heard.lost, heard.concealed, heard.late), (0, 0, 0), "away for {away}: {heard:?}");
        assert!(heard.packets > 190 && heard.delay_ms < 100, "away for {away}: {heard:?}");
        let amplitude = amplitude_of(&out[out.len() - 48_000..], 440.0);
        assert!(amplitude > 0.15, "away for {away}: {amplitude}");
    }
}

#[test]
fn what_takes_sound_too_slowly_never_stops_playing() {
    // A quarter of what comes.
    let (_, heard) = taken_by(2_000, |n| usize::from(n % 2 == 0));
    assert_eq!((heard.lost, heard.concealed), (0, 0), "{heard:?}");
    assert!(heard.packets > 400, "{heard:?}");
}

#[test]
fn a_flood_is_bounded() {
    let mut playout = Playout::new().unwrap();
    let packet: Bytes = Encoder::new().unwrap().encode(&[0.1; PACKET]).unwrap().unwrap().into();
    let now = Instant::now();
    for n in 0..10_000u32 {
        playout.push(n as u16, n * 960, packet.clone(), now);
        assert!(playout.waiting.len() <= MAX_PLAYOUT_PACKETS);
    }
    playout.push(3, 0x8000_0000, packet, now);
    playout.pull(&mut [0.0; TICK], now).unwrap();
}
