//! str0m's rate control on the same link with the same content and encoder: the reference. In virtual time, in one thread.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::{Value, json};
use starling_media::video::{
    Frame,
    h264::{Decoder, Encoder},
    pattern,
};
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    bwe::{Bitrate, BweKind},
    format::Codec,
    media::{Direction, Frequency, KeyframeRequestKind, MediaKind, MediaTime, Mid},
    net::{Protocol, Receive},
};

use super::rate::PHASES;

const DELAY: Duration = Duration::from_millis(25);
const QUEUE: Duration = Duration::from_millis(300);
const START: u64 = 600_000;
const STEP: Duration = Duration::from_millis(1);

/// One direction: a rate, a queue that drops at its end, a delay.
struct Pipe {
    under_way: VecDeque<(Instant, Vec<u8>)>,
    free: Instant,
    rate: u64,
    dropped: u64,
}

impl Pipe {
    fn new(now: Instant) -> Self {
        Self { under_way: VecDeque::new(), free: now, rate: u64::MAX, dropped: 0 }
    }

    fn put(&mut self, now: Instant, bytes: &[u8]) {
        let begins = self.free.max(now);
        if begins - now > QUEUE {
            self.dropped += 1;
            return;
        }
        self.free = begins + Duration::from_secs_f64((bytes.len() + 28) as f64 * 8.0 / self.rate as f64);
        self.under_way.push_back((self.free + DELAY, bytes.to_vec()));
    }

    fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.under_way.pop_front_if(|(due, _)| *due <= now).map(|(_, bytes)| bytes)
    }
}

struct End {
    rtc: Rtc,
    address: SocketAddr,
    out: Pipe,
    events: Vec<Event>,
}

impl End {
    fn new(now: Instant, address: SocketAddr) -> anyhow::Result<Self> {
        let rtc = Rtc::builder().clear_codecs().enable_opus(true, false).enable_h264(true);
        let mut rtc = rtc.enable_bwe(Some(Bitrate::bps(START))).build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp")?);
        Ok(Self { rtc, address, out: Pipe::new(now), events: Vec::new() })
    }

    fn drain(&mut self, now: Instant) -> anyhow::Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(_) => return Ok(()),
                Output::Transmit(packet) => self.out.put(now, &packet.contents),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> anyhow::Result<()> {
        if let Ok(contents) = bytes.try_into() {
            let received = Receive { proto: Protocol::Udp, source: from, destination: self.address, contents };
            self.rtc.handle_input(Input::Receive(now, received))?;
            self.drain(now)?;
        }
        Ok(())
    }
}

/// What the sender does.
struct Camera {
    encoder: Encoder,
    frame: Frame,
    number: u32,
    estimate: f64,
    key_wanted: bool,
    mid: Mid,
}

impl Camera {
    fn new(mid: Mid) -> anyhow::Result<Self> {
        let encoder = Encoder::new(1280, 720, 30, START as u32)?;
        let frame = Frame::black(1280, 720);
        Ok(Self { encoder, frame, number: 0, estimate: START as f64, key_wanted: false, mid })
    }

    fn send(&mut self, end: &mut End, now: Instant) -> anyhow::Result<()> {
        pattern::draw(self.number, &mut self.frame);
        self.encoder.set_bits((self.estimate * 0.9 - 40_000.0).clamp(80_000.0, 2_500_000.0) as u32);
        if std::mem::take(&mut self.key_wanted) {
            self.encoder.force_key();
        }
        let encoded = self.encoder.encode(&self.frame, f64::from(self.number) * 1000.0 / 30.0)?;
        if let Some(encoded) = encoded {
            let writer = end.rtc.writer(self.mid).context("a track")?;
            let format = writer
                .payload_params()
                .find(|p| p.spec().codec == Codec::H264 && p.spec().format.packetization_mode == Some(1));
            let format = format.context("no format")?.pt();
            writer.write(format, now, MediaTime::from_90khz(u64::from(self.number) * 3_000), encoded.annexb)?;
        }
        self.number += 1;
        end.drain(now)
    }
}

/// What the receiver sees.
struct Screen {
    decoder: Decoder,
    needs_key: bool,
    asked: Instant,
    frames: u32,
    last: Instant,
    longest: Duration,
    mid: Mid,
}

impl Screen {
    fn new(mid: Mid, now: Instant) -> anyhow::Result<Self> {
        let (decoder, longest) = (Decoder::new()?, Duration::ZERO);
        Ok(Self { decoder, needs_key: false, asked: now, frames: 0, last: now, longest, mid })
    }

    fn take(&mut self, end: &mut End, data: &[u8], contiguous: bool, now: Instant) -> anyhow::Result<()> {
        self.needs_key |= !contiguous;
        let key = data.windows(4).any(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == 5);
        if self.needs_key && !key {
            if now - self.asked > Duration::from_millis(500) {
                self.asked = now;
                if let Some(mut writer) = end.rtc.writer(self.mid) {
                    writer.request_keyframe(None, KeyframeRequestKind::Pli)?;
                }
                end.drain(now)?;
            }
            return Ok(());
        }
        let mut frame = Frame::default();
        match self.decoder.decode(data, &mut frame) {
            Ok(true) => {
                self.needs_key = false;
                self.frames += 1;
                self.longest = self.longest.max(now - self.last);
                self.last = now;
            }
            Ok(false) => {}
            Err(_) => self.needs_key = true,
        }
        Ok(())
    }
}

/// Two ends with a track for video and one for sound.
struct Pair {
    a: End,
    b: End,
    video: Mid,
    sound: Mid,
    /// Packets of sound that were sent.
    packets: u64,
}

impl Pair {
    fn new(now: Instant) -> anyhow::Result<Self> {
        let (mut a, mut b) = (End::new(now, "10.0.0.1:1000".parse()?)?, End::new(now, "10.0.0.2:1000".parse()?)?);
        let mut changes = a.rtc.sdp_api();
        let video = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let sound = changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let (offer, pending) = changes.apply().context("an offer")?;
        let answer = b.rtc.sdp_api().accept_offer(offer)?;
        a.rtc.sdp_api().accept_answer(pending, answer)?;
        Ok(Self { a, b, video, sound, packets: 0 })
    }

    /// Sends the packets of 80 bytes that are due, one every 20 ms.
    fn speak(&mut self, started: Instant, now: Instant) -> anyhow::Result<()> {
        if now < started + Duration::from_millis(20) * self.packets as u32 {
            return Ok(());
        }
        let writer = self.a.rtc.writer(self.sound).context("a track")?;
        let format = writer.payload_params().next().context("no format")?.pt();
        writer.write(format, now, MediaTime::new(self.packets * 960, Frequency::FORTY_EIGHT_KHZ), vec![0x78; 80])?;
        self.packets += 1;
        self.a.drain(now)
    }

    /// Carries what is under way from one to the other.
    fn carry(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(bytes) = self.a.out.take(now) {
            self.b.receive(now, self.a.address, &bytes)?;
        }
        while let Some(bytes) = self.b.out.take(now) {
            self.a.receive(now, self.b.address, &bytes)?;
        }
        for end in [&mut self.a, &mut self.b] {
            end.rtc.handle_input(Input::Timeout(now))?;
            end.drain(now)?;
        }
        Ok(())
    }
}

/// The phases so far.
struct Phases {
    each: Duration,
    at: Option<usize>,
    /// Frames that were shown, and packets that were dropped, before the present phase.
    frames: u32,
    dropped: u64,
    reports: Vec<Value>,
}

impl Phases {
    /// Reports a phase that has ended and begins the next. Gives whether that was the last.
    fn advance(
        &mut self,
        pair: &mut Pair,
        camera: &Camera,
        screen: &mut Screen,
        started: Instant,
        now: Instant,
    ) -> bool {
        let phase = ((now - started).as_secs_f64() / self.each.as_secs_f64()) as usize;
        if self.at == Some(phase) {
            return false;
        }
        if let Some((name, kbit)) = self.at.and_then(|at| PHASES.get(at)) {
            let fps = f64::from(screen.frames - self.frames) / self.each.as_secs_f64();
            let frozen = screen.longest.max(now - screen.last).as_secs_f64();
            let (target, lost) = (camera.estimate as u64 / 1000, pair.a.out.dropped - self.dropped);
            println!(
                "  str0m {name:>12} kbit/s: {fps:>5.1} fps, longest freeze {frozen:.2} s, aims at {target} kbit/s, {lost} dropped in the queue"
            );
            self.reports
                .push(json!({ "kbit": kbit, "fps": fps, "freeze_s": frozen, "target_kbit": target, "dropped": lost }));
        }
        let Some((_, kbit)) = PHASES.get(phase) else { return true };
        pair.a.out.rate = kbit * 1000;
        (self.at, self.frames, self.dropped) = (Some(phase), screen.frames, pair.a.out.dropped);
        (screen.longest, screen.last) = (Duration::ZERO, now);
        false
    }
}

/// Runs the phases, each so long; prints and gives a line for each.
pub fn run(phase: Duration) -> anyhow::Result<Vec<Value>> {
    str0m::crypto::from_feature_flags().install_process_default();
    let begin = Instant::now();
    let mut now = begin;
    let mut pair = Pair::new(now)?;
    let mut camera = Camera::new(pair.video)?;
    let mut screen = Screen::new(pair.video, now)?;
    let mut phases = Phases { each: phase, at: None, frames: 0, dropped: 0, reports: Vec::new() };
    let mut started: Option<Instant> = None;
    loop {
        pair.a.drain(now)?;
        pair.b.drain(now)?;
        for event in std::mem::take(&mut pair.a.events) {
            match event {
                Event::Connected => started = Some(now),
                Event::KeyframeRequest(_) => camera.key_wanted = true,
                Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => camera.estimate = estimate.as_f64(),
                _ => {}
            }
        }
        for event in std::mem::take(&mut pair.b.events) {
            if let Event::MediaData(media) = event
                && media.params.spec().codec.is_video()
            {
                screen.take(&mut pair.b, &media.data, media.contiguous, now)?;
            }
        }
        if let Some(started) = started {
            if phases.advance(&mut pair, &camera, &mut screen, started, now) {
                return Ok(phases.reports);
            }
            if now >= started + Duration::from_secs(1) * camera.number / 30 {
                camera.send(&mut pair.a, now)?;
                if camera.number == 1 {
                    pair.a.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::mbps(3));
                    pair.a.drain(now)?;
                }
            }
            pair.speak(started, now)?;
        } else if now - begin > Duration::from_secs(10) {
            anyhow::bail!("str0m does not connect");
        }
        now += STEP;
        pair.carry(now)?;
    }
}
