//! Asks for lost packets again (RFC 4585, generic NACK): soon, paced by the round trip, and a bounded number of times. Sound only where the
//! packet can still come before it has to be played.
//!
//! The library's own generator asks every 100 ms without end; at 20 % loss that is the difference between 13 and 29 frames a second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    rtp_transceiver::rtp_sender::RtpCodecKind,
    shared::TransportContext,
};

use super::{codecs::kind, passthrough::Look, taps::Seen};
use crate::{
    audio::TICK_TIME,
    limits::{audio_patience, video_patience},
};

/// How long a packet may be overtaken before it counts as lost.
const REORDER: Duration = Duration::from_millis(5);
/// The same for sound where there is time for that: until the next packet but one has come.
const AUDIO_REORDER: Duration = AUDIO_PACKET;
/// Least time between two requests for one packet.
const MIN_RETRY: Duration = Duration::from_millis(20);
/// The same for sound, of which little is sent, and which has to be there soon.
const MIN_AUDIO_RETRY: Duration = Duration::from_millis(10);
/// Share of packets lost above which a request or its answer is lost as well too often to wait for: then two are made in a round trip.
const MUCH_LOSS: f64 = 0.15;
/// Packets that the share lost is smoothed over, and after which packets that were overtaken are forgotten.
const LOSS_OVER: f64 = 200.0;
/// With fewer packets nothing is said of loss.
const MIN_LOSS_SAMPLES: f64 = 40.0;
/// Requests for one packet.
const TRIES: u8 = 10;
/// The same for sound: a third one would come too late.
const AUDIO_TRIES: u8 = 2;
/// Sound in a packet.
const AUDIO_PACKET: Duration = TICK_TIME.saturating_mul(2);
/// Packets that are asked for at a time: beyond, a key frame is cheaper.
const MAX_MISSING: usize = 80;

#[derive(Debug)]
struct Missing {
    since: Instant,
    due: Instant,
    tries: u8,
    /// When it was asked for first.
    asked: Option<Instant>,
    /// How many packets before the one that showed that it is missing.
    behind: u32,
}

/// What is missing of one stream, and when it is asked for.
#[derive(Debug, Default)]
pub struct Stream {
    kind: RtpCodecKind,
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    /// Share of packets that had to be asked for, and how many it is known from.
    lost: f64,
    known: f64,
    /// How late packets come that were only overtaken.
    reorder: Duration,
    /// When it was asked last.
    round_trip: Duration,
}

impl Stream {
    fn new(kind: RtpCodecKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// A stream of sound of which nothing has come.
    pub fn audio() -> Self {
        Self::new(RtpCodecKind::Audio)
    }

    /// A packet came.
    pub fn saw(&mut self, sequence: u16, now: Instant) {
        let Some(highest) = self.highest else {
            self.highest = Some(u64::from(sequence) + (1 << 20));
            return;
        };
        let at = highest.saturating_add_signed(i64::from(sequence.wrapping_sub(highest as u16) as i16));
        if at <= highest {
            if let Some(packet) = self.missing.remove(&at) {
                self.note_late(&packet, now);
            }
            return;
        }
        self.highest = Some(at);
        if at - highest > MAX_MISSING as u64 {
            self.missing.clear();
            return;
        }
        self.known = (self.known + 1.0).min(LOSS_OVER);
        self.lost *= 1.0 - 1.0 / self.known.max(MIN_LOSS_SAMPLES);
        self.reorder = self.reorder.mul_f64(1.0 - 1.0 / LOSS_OVER);
        for lost in highest + 1..at {
            let behind = u32::try_from(at - lost).unwrap_or(u32::MAX);
            self.missing.insert(lost, Missing { since: now, due: now + REORDER, tries: 0, asked: None, behind });
        }
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
        }
    }

    /// A packet that was missing came. If that cannot be the answer to a request, it was only overtaken: as late ones are waited for from now on.
    fn note_late(&mut self, packet: &Missing, now: Instant) {
        if let Some(asked) = packet.asked {
            if now.saturating_duration_since(asked) >= self.round_trip / 2 {
                return;
            }
            self.lost = (self.lost - 1.0 / self.known.max(MIN_LOSS_SAMPLES)).max(0.0);
        }
        self.reorder = self.reorder.max(now.saturating_duration_since(packet.since));
    }

    /// Sequence numbers to ask for now. `wait` is how long a packet of sound that comes now waits to be played.
    pub fn due(&mut self, now: Instant, round_trip: Duration, wait: Duration) -> Vec<u16> {
        let is_audio = self.kind == RtpCodecKind::Audio;
        let (tries, min_retry) = if is_audio { (AUDIO_TRIES, MIN_AUDIO_RETRY) } else { (TRIES, MIN_RETRY) };
        // An answer to a later request would come too late.
        let patience = |missing: &Missing| match is_audio {
            true => audio_patience(round_trip, wait).saturating_sub(AUDIO_PACKET.saturating_mul(missing.behind)),
            false => video_patience(round_trip).saturating_sub(round_trip),
        };
        // Those that are not due are judged then, by what is known of the path and of playout then.
        self.missing
            .retain(|_, m| m.due > now || (m.tries < tries && now.saturating_duration_since(m.since) < patience(m)));
        let again = if self.lost > MUCH_LOSS { round_trip / 2 } else { round_trip + round_trip / 8 };
        let again = min_retry.max(again);
        self.round_trip = round_trip;
        let reorder = self.reorder + self.reorder / 4;
        // Half of the time that a second request leaves; and where packets are overtaken all that there is.
        let first = |missing: &Missing| match is_audio {
            true => {
                let spare = patience(missing).saturating_sub(again) / 2;
                let last = patience(missing).saturating_sub(REORDER);
                spare.min(AUDIO_REORDER).max(reorder).min(last).max(REORDER)
            }
            false => REORDER,
        };
        let mut ask = Vec::new();
        for (at, missing) in self.missing.iter_mut().filter(|(_, m)| m.due <= now) {
            if missing.tries == 0 {
                let due = missing.since + first(missing);
                if due > now {
                    missing.due = due;
                    continue;
                }
                missing.asked = Some(now);
                self.lost += (1.0 - self.lost) / self.known.max(MIN_LOSS_SAMPLES);
            }
            missing.tries += 1;
            missing.due = now + again;
            ask.push(*at as u16);
        }
        ask
    }
}

/// Asks for what is missing of each stream.
pub(super) struct Nack {
    seen: Arc<Seen>,
    sender: u32,
    streams: HashMap<u32, Stream>,
}

impl Nack {
    pub fn new(seen: Arc<Seen>) -> Self {
        Self { seen, sender: rand::random(), streams: HashMap::new() }
    }

    /// Playout makes room for what is asked for.
    fn tell(&self) {
        let asks = self.streams.values().any(|stream| stream.kind == RtpCodecKind::Audio);
        self.seen.asks_for_audio.store(asks, Relaxed);
    }
}

impl Look for Nack {
    fn came(&mut self, message: &mut TaggedPacket) {
        if let Packet::Rtp(packet) = &message.message.packet
            && let Some(stream) = self.streams.get_mut(&packet.header.ssrc)
        {
            stream.saw(packet.header.sequence_number, message.now);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.streams.values().flat_map(|s| s.missing.values().map(|m| m.due)).min()
    }

    fn due(&mut self, now: Instant) -> Vec<TaggedPacket> {
        let round_trip = Duration::from_micros(u64::from(self.seen.round_trip_us.load(Relaxed)));
        let wait = Duration::from_micros(u64::from(self.seen.audio_wait_us.load(Relaxed)));
        let mut asks = Vec::new();
        for (ssrc, stream) in &mut self.streams {
            let ask = stream.due(now, round_trip, wait);
            if ask.is_empty() {
                continue;
            }
            if stream.kind == RtpCodecKind::Audio {
                self.seen.asked(*ssrc, &ask);
            }
            let nacks = nack_pairs_from_sequence_numbers(&ask);
            let nack = TransportLayerNack { sender_ssrc: self.sender, media_ssrc: *ssrc, nacks };
            asks.push(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(nack)])),
            });
        }
        asks
    }

    fn begins(&mut self, info: &StreamInfo) {
        if info.rtcp_feedback.iter().any(|f| f.typ == "nack" && f.parameter.is_empty()) {
            self.streams.insert(info.ssrc, Stream::new(kind(info)));
            self.tell();
        }
    }

    fn ends(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashSet;

    use bytes::Bytes;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};
    use rtc::interceptor::RTCPFeedback;

    use super::*;
    use crate::{
        audio::{
            Heard,
            opus::{Protection, tests::packets},
            playout::Playout,
        },
        limits::{MAX_PLAYOUT, PACKET, TICK},
    };

    #[test]
    fn a_lost_packet_is_asked_for_soon_and_not_for_ever() {
        let (mut stream, start) = (Stream::default(), Instant::now());
        let round_trip = Duration::from_millis(50);
        stream.saw(65_534, start);
        stream.saw(1, start);
        assert!(stream.due(start, round_trip, Duration::ZERO).is_empty(), "it may only be overtaken");
        let mut asked = Vec::new();
        for ms in 0..1_000 {
            let now = start + Duration::from_millis(ms);
            asked.extend(stream.due(now, round_trip, Duration::ZERO).into_iter().map(|s| (ms, s)));
        }
        assert_eq!(asked[..2], [(5, 65_535), (5, 0)]);
        assert_eq!(asked[2].0, 62, "the next request waits for a round trip");
        assert!(asked.len() <= 12, "{asked:?}");
        assert!(stream.missing.is_empty());
    }

    #[test]
    fn with_much_loss_it_is_asked_for_twice_in_a_round_trip() {
        let (start, round_trip) = (Instant::now(), Duration::from_millis(50));
        // Every `of`th packet is lost for good; how often each is asked for.
        let asked = |of: u16| {
            let (mut stream, mut asked) = (Stream::default(), 0);
            for n in (0..2_000u16).filter(|n| n % of != 0) {
                let now = start + Duration::from_millis(u64::from(n) * 5);
                stream.saw(n, now);
                asked += stream.due(now, round_trip, Duration::ZERO).len();
            }
            asked as f64 / f64::from(2_000 / of)
        };
        let (little, much) = (asked(10), asked(5));
        assert!((3.5..4.5).contains(&little), "{little}");
        assert!((6.0..8.5).contains(&much), "{much}");
    }

    #[test]
    fn what_came_is_not_asked_for_and_jumps_are_bounded() {
        let (mut stream, now) = (Stream::default(), Instant::now());
        for sequence in [10, 13, 12, 11] {
            stream.saw(sequence, now);
        }
        assert!(stream.missing.is_empty());
        for n in 0..10_000u16 {
            stream.saw(n.wrapping_mul(300), now);
            assert!(stream.missing.len() <= MAX_MISSING);
        }
    }

    /// When the packet before the newest one is asked for, in milliseconds after it was missed.
    fn asked_after(round_trip: u64, wait: u64) -> Vec<u64> {
        let (mut stream, start) = (Stream::audio(), Instant::now());
        stream.saw(1, start);
        stream.saw(3, start);
        let [round_trip, wait] = [round_trip, wait].map(Duration::from_millis);
        (0..500).filter(|ms| stream.due(start + Duration::from_millis(*ms), round_trip, wait) == [2]).collect()
    }

    #[test]
    fn sound_is_asked_for_twice_at_most_and_only_while_it_can_come_in_time() {
        assert_eq!(asked_after(1, 200), [20, 30]);
        assert_eq!(asked_after(40, 200), [20, 65]);
        // No time for two, nor to wait: the packet that is missing is played 20 ms before the one that showed it.
        assert_eq!(asked_after(40, 100), [5]);
        assert_eq!(asked_after(40, 60), [0; 0]);
        // Nobody waits so long in a conversation, and nothing is asked for at random.
        assert_eq!(asked_after(160, 300), [0; 0]);
        assert_eq!(asked_after(0, 300), [0; 0]);
    }

    #[test]
    fn of_a_burst_only_what_can_come_in_time_is_asked_for() {
        let (mut stream, start) = (Stream::audio(), Instant::now());
        stream.saw(65_533, start);
        stream.saw(2, start);
        let [round_trip, wait] = [10, 60].map(Duration::from_millis);
        assert_eq!(stream.due(start + REORDER, round_trip, wait), [0]);
        assert_eq!(stream.due(start + AUDIO_REORDER, round_trip, wait), [1]);
    }

    #[test]
    fn sound_that_was_only_overtaken_is_waited_for() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        // Where there is time for that, the first one already.
        let mut stream = Stream::audio();
        let [round_trip, wait] = [10, 100].map(Duration::from_millis);
        stream.saw(1, at(0));
        stream.saw(3, at(0));
        assert!((0..19).all(|ms| stream.due(at(ms), round_trip, wait).is_empty()));
        stream.saw(2, at(19));
        assert!((19..200).all(|ms| stream.due(at(ms), round_trip, wait).is_empty()));

        // Elsewhere once one was asked for in vain: here every tenth of the first thousand comes 18 ms after the one behind it.
        let (mut stream, mut asked) = (Stream::audio(), Vec::new());
        let [round_trip, wait] = [60, 150].map(Duration::from_millis);
        let is_late = |packet: u64| packet < 1_000 && packet % 10 == 5;
        for ms in 0..40_000_u64 {
            let packet = ms / 20;
            if ms.is_multiple_of(20) && !is_late(packet) {
                stream.saw(packet as u16, at(ms));
            } else if ms % 20 == 18 && packet > 0 && is_late(packet - 1) {
                stream.saw(packet as u16 - 1, at(ms));
            }
            asked.extend(stream.due(at(ms), round_trip, wait));
        }
        assert_eq!(asked, [5]);
        assert!(stream.lost < 0.001, "{}", stream.lost);
        // What is lost long after that is asked for soon again.
        stream.saw(2_001, at(40_020));
        let asked: Vec<u64> = (40_020..40_060).filter(|ms| !stream.due(at(*ms), round_trip, wait).is_empty()).collect();
        assert_eq!(asked, [40_025]);
    }

    #[test]
    fn sound_is_asked_for_where_both_sides_know_requests() {
        let seen = Arc::new(Seen::default());
        let mut nack = Nack::new(seen.clone());
        let asks = || seen.asks_for_audio.load(Relaxed);
        let stream = |mime: &str, feedback: &[(&str, &str)]| StreamInfo {
            ssrc: 7,
            mime_type: mime.into(),
            rtcp_feedback: feedback
                .iter()
                .map(|(typ, parameter)| RTCPFeedback { typ: (*typ).into(), parameter: (*parameter).into() })
                .collect(),
            ..StreamInfo::default()
        };
        // A browser.
        nack.begins(&stream("audio/opus", &[("transport-cc", "")]));
        assert!(!asks() && nack.streams.is_empty());
        nack.begins(&stream("video/H264", &[("nack", ""), ("nack", "pli")]));
        assert!(!asks());
        nack.begins(&stream("audio/opus", &[("transport-cc", ""), ("nack", "")]));
        assert!(asks());
        nack.ends(&stream("audio/opus", &[]));
        assert!(!asks());
    }

    /// What is heard in 17 seconds of sound over a path that loses 8 % each way, after three others.
    struct Repaired {
        heard: Heard,
        /// Requests.
        asked: usize,
        /// Packets of that time that were lost on the way as well as the ones after them.
        in_a_row: u64,
    }

    fn heard_over(round_trip: Duration) -> Repaired {
        let start = Instant::now();
        let (mut stream, mut playout) = (Stream::audio(), Playout::new().unwrap());
        let losses = |seed| {
            let mut random = SmallRng::seed_from_u64(seed);
            move || random.random_bool(0.08)
        };
        // The same packets are lost whatever is asked for.
        let (mut is_lost, mut is_answer_lost) = (losses(11), losses(12));
        let tone: Vec<Bytes> = packets(Protection::Fec, 50).into_iter().map(Bytes::from).collect();
        let (mut under_way, mut came) = (Vec::new(), HashSet::new());
        let (mut asked, mut before) = (0, Heard::default());
        let (mut in_a_row, mut was_lost) = (0, false);
        for ms in 0..20_000u64 {
            let now = start + Duration::from_millis(ms);
            if ms == 3_000 {
                before = playout.heard();
            }
            if ms.is_multiple_of(20) {
                let lost = is_lost();
                // What is played then was sent at most so long before.
                in_a_row += u64::from(lost && was_lost && now >= start + Duration::from_secs(3) - MAX_PLAYOUT);
                was_lost = lost;
                if !lost {
                    under_way.push((now + round_trip / 2, (ms / 20) as u16, false));
                }
            }
            for (_, sequence, again) in under_way.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                if !came.insert(sequence) {
                    continue;
                }
                stream.saw(sequence, now);
                playout.set_repair(Some(round_trip));
                let push = if again { Playout::push_again } else { Playout::push };
                let payload = tone[usize::from(sequence) % tone.len()].clone();
                push(&mut playout, sequence, u32::from(sequence) * PACKET as u32, payload, now);
            }
            for sequence in stream.due(now, round_trip, playout.wait()) {
                asked += 1;
                // The request or its answer may be lost as well.
                if !is_answer_lost() && !is_answer_lost() {
                    under_way.push((now + round_trip, sequence, true));
                }
            }
            if ms % 10 == 3 {
                playout.pull(&mut [0.0; TICK], now).unwrap();
            }
        }
        let heard = playout.heard();
        let heard = Heard {
            again: heard.again - before.again,
            lost: heard.lost - before.lost,
            by_fec: heard.by_fec - before.by_fec,
            concealed: heard.concealed - before.concealed,
            ..heard
        };
        Repaired { heard, asked, in_a_row }
    }

    #[test]
    fn sound_comes_again_where_the_round_trip_is_short_and_is_let_be_where_it_is_long() {
        // What is not answered the first time is asked for again, where there is time for that.
        for (round_trip_us, lost_of) in [(100, 6), (20_000, 2), (50_000, 2), (100_000, 2)] {
            let Repaired { heard, asked, in_a_row } = heard_over(Duration::from_micros(round_trip_us));
            assert!(heard.again > 30 && heard.lost * lost_of < heard.again, "{round_trip_us} µs: {heard:?}");
            // What does not come again is in the packet after it. So only that is concealed of which the packet after it has not come, either: at
            // most what was lost in a row, and less where some of that comes again.
            assert_eq!(heard.by_fec + heard.concealed, heard.lost, "{round_trip_us} µs: {heard:?}");
            assert!(heard.concealed <= in_a_row, "{round_trip_us} µs: {in_a_row}, {heard:?}");
            assert!(asked < 200, "{round_trip_us} µs: {asked}");
            assert!(heard.delay_ms < 110 + round_trip_us / 1_000, "{round_trip_us} µs: {heard:?}");
        }
        for round_trip in [150, 300] {
            let Repaired { heard, asked, .. } = heard_over(Duration::from_millis(round_trip));
            assert!(asked == 0 && heard.again == 0, "{round_trip} ms: {asked}, {heard:?}");
            assert!(heard.delay_ms < 120 && heard.lost > 35, "{round_trip} ms: {heard:?}");
            // One in twelve is lost in a row.
            assert!(heard.by_fec * 4 > heard.lost * 3, "{round_trip} ms: {heard:?}");
        }
    }
}
