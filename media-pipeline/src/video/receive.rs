//! The thread that decodes one participant's video, and shows it in time with the sound.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{
    Frame, VideoSink,
    h264::Decoder,
    packets::{Assembled, Assembler, AssemblerOutput, Packet},
};
use crate::{
    limits::{KEY_FRAME_PATIENCE, MAX_KEY_FRAME_PATIENCE, video_patience},
    participant::Participant,
};

/// Video is held back for sound up to this long; beyond, something is wrong with the clocks.
const MAX_HOLD: Duration = Duration::from_millis(150);
/// Decoded frames that wait for their time.
const HELD_FRAMES: usize = 6;

/// Asks for a key frame, with patience that grows.
#[derive(Debug)]
struct KeyAsk {
    needed: bool,
    next: Option<Instant>,
    patience: Duration,
}

impl KeyAsk {
    fn new() -> Self {
        Self { needed: true, next: None, patience: KEY_FRAME_PATIENCE }
    }

    fn need(&mut self) {
        if !self.needed {
            (self.needed, self.next, self.patience) = (true, None, KEY_FRAME_PATIENCE);
        }
    }

    fn got(&mut self) {
        self.needed = false;
    }

    /// Whether to ask now.
    fn due(&mut self, now: Instant) -> bool {
        if !self.needed || self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now + self.patience);
        self.patience = (self.patience * 2).min(MAX_KEY_FRAME_PATIENCE);
        true
    }
}

/// What the thread works with.
pub struct VideoReceive {
    /// Packets, in the order they came; ends when nobody can send more.
    pub packets: Receiver<(u32, Packet)>,
    /// Whose video it is.
    pub participant: Arc<Participant>,
    /// Where frames go, besides the screen.
    pub sink: Option<Box<dyn VideoSink>>,
    /// Told when the sink failed.
    pub failed: Box<dyn Fn(crate::MediaError) + Send>,
}

impl VideoReceive {
    /// Runs until the packets end.
    pub fn run(mut self) {
        let mut assembler = Assembler::new(video_patience(Duration::ZERO));
        let mut keys = KeyAsk::new();
        let mut decoder = None;
        let mut held: VecDeque<(Instant, Arc<Frame>, u32)> = VecDeque::new();
        let mut stream = None;
        loop {
            let now = Instant::now();
            let due = [
                assembler.due(),
                held.front().map(|(at, ..)| *at),
                keys.next.filter(|_| keys.needed && stream.is_some()),
            ];
            let wait = due.into_iter().flatten().min().map_or(Duration::from_millis(500), |at| at - now.min(at));
            match self.packets.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok((ssrc, packet)) => {
                    if stream.is_some_and(|s| s != ssrc) {
                        // Another stream of the same participant: nothing of the old one is of use.
                        assembler = Assembler::new(video_patience(Duration::ZERO));
                        keys.need();
                    }
                    stream = Some(ssrc);
                    assembler.set_patience(video_patience(self.participant.round_trip()));
                    assembler.push(packet, Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            while let Some(piece) = assembler.pop(now) {
                match piece {
                    AssemblerOutput::Lost => {
                        self.participant.video.lost_frames.add(1);
                        keys.need();
                    }
                    AssemblerOutput::Frame(frame) => {
                        if let Some(frame) = self.decode(&mut decoder, &mut keys, &frame) {
                            if let Some(sink) = &mut self.sink {
                                sink.decoded(&frame.1);
                            }
                            let due = now + self.hold(stream.unwrap_or_default(), frame.0);
                            held.push_back((due, frame.1, frame.0));
                        }
                    }
                }
            }
            if stream.is_some() && keys.due(now) {
                self.participant.video.key_requests.add(1);
                self.participant.want_key();
            }
            while held.front().is_some_and(|(due, ..)| *due <= Instant::now()) || held.len() > HELD_FRAMES {
                if let Some((_, frame, timestamp)) = held.pop_front() {
                    self.show(frame, timestamp);
                }
            }
        }
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.finish()
        {
            (self.failed)(error);
        }
    }

    fn decode(
        &mut self,
        decoder: &mut Option<Decoder>,
        keys: &mut KeyAsk,
        frame: &Assembled,
    ) -> Option<(u32, Arc<Frame>)> {
        if keys.needed && !frame.key {
            return None;
        }
        if decoder.is_none() {
            *decoder = Decoder::new().inspect_err(|error| tracing::warn!(%error, "no decoder")).ok();
        }
        let mut picture = Frame::default();
        match decoder.as_mut()?.decode(&frame.annexb, &mut picture) {
            Ok(true) => {
                keys.got();
                self.participant.saw(&picture, frame.annexb.len());
                Some((frame.timestamp, Arc::new(picture)))
            }
            Ok(false) => None,
            Err(error) => {
                tracing::debug!(%error, "a frame could not be decoded");
                self.participant.video.broken_frames.add(1);
                // Its state may be spoilt.
                *decoder = None;
                keys.need();
                None
            }
        }
    }

    /// How long a frame waits for its sound.
    fn hold(&self, ssrc: u32, timestamp: u32) -> Duration {
        let ahead = self.participant.ahead_of_sound(ssrc, timestamp).unwrap_or_default();
        if ahead > MAX_HOLD { Duration::ZERO } else { ahead }
    }

    fn show(&mut self, frame: Arc<Frame>, timestamp: u32) {
        if let Some(sink) = &mut self.sink {
            let at = Duration::from_micros(u64::from(timestamp) * 100 / 9);
            if let Err(error) = sink.show(&frame, at) {
                (self.failed)(error);
                self.sink = None;
            }
        }
        self.participant.view.send_replace(Some(frame));
    }
}
