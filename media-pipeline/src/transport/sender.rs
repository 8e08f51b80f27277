//! The task that sends: sound at once, video as the pacer lets it, probes among it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rtc::rtp;
use tokio::sync::mpsc;
use webrtc::media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP};

use super::{
    estimate::Shared,
    pacer::{Pacer, Waiting},
    taps::Seen,
};
use crate::{limits::RTP_PAYLOAD, video::packets};

/// A frame on its way out.
#[derive(Clone, Debug)]
pub struct OutFrame {
    /// NAL units with start codes.
    pub annexb: Bytes,
    /// 90 kHz.
    pub timestamp: u32,
    /// It can be decoded without any other.
    pub key: bool,
}

/// Where encoders put what is to be sent.
#[derive(Clone, Debug)]
pub struct Outlet {
    audio: mpsc::Sender<(Bytes, u32)>,
    video: mpsc::Sender<OutFrame>,
    /// Set when a frame was dropped, or the other side asked: the next one has to be a key frame.
    pub seen: Arc<Seen>,
    /// What the path carries.
    pub estimate: Shared,
    /// How long the video that waits will take, in milliseconds.
    backlog: Arc<AtomicU32>,
    /// A frame had no place: those that build on it are of no use.
    broken: Arc<AtomicBool>,
}

/// With more waiting, the rate is not what a probe would be about.
const PROBE_BACKLOG: Duration = Duration::from_millis(120);
/// Packets of sound that wait to be sent: more than 100 ms is no conversation.
pub(super) const AUDIO_QUEUE: usize = 5;

impl Outlet {
    /// The two queues of a connection, of which it holds the other ends.
    pub fn new(
        audio: mpsc::Sender<(Bytes, u32)>,
        video: mpsc::Sender<OutFrame>,
        seen: Arc<Seen>,
        estimate: Shared,
    ) -> Self {
        Self { audio, video, seen, estimate, backlog: Arc::default(), broken: Arc::default() }
    }

    /// How long the video that waits will take: who makes more of it waits as long.
    pub fn backlog(&self) -> Duration {
        Duration::from_millis(self.backlog.load(Relaxed).into())
    }

    /// Sends sound (Opus, 48 kHz time stamp).
    pub fn audio(&self, payload: Bytes, timestamp: u32) {
        // A full queue: the network takes nothing, and sound does not wait.
        let _ = self.audio.try_send((payload, timestamp));
    }

    /// Sends a frame. One that builds on a frame that was not sent is not sent either: the other side can't see that it misses one, and would
    /// show what is left, wrongly.
    pub fn video(&self, frame: OutFrame) {
        let key = frame.key;
        if self.broken.load(Relaxed) && !key {
            return;
        }
        let sent = self.video.try_send(frame).is_ok();
        self.broken.store(!sent, Relaxed);
        if !sent {
            self.seen.key_wanted.store(true, Relaxed);
        }
    }
}

/// Counters of what was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// Packets of sound.
    pub audio_packets: AtomicU64,
    /// Packets of video.
    pub video_packets: AtomicU64,
    /// Bytes of payload of both.
    pub bytes: AtomicU64,
    /// Frames that were dropped before the network.
    pub dropped_frames: AtomicU64,
}

/// An outgoing track.
pub(super) struct Stream {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
}

impl Stream {
    pub fn new(track: Arc<TrackLocalStaticRTP>, ssrc: u32, payload_type: u8) -> Self {
        Self { track, ssrc, payload_type, sequence: rand::random() }
    }

    async fn send(&mut self, payload: Bytes, timestamp: u32, marker: bool) {
        let header = rtp::Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            ..rtp::Header::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        if let Err(error) = self.track.write_rtp(rtp::Packet { header, payload }).await {
            tracing::trace!(%error, "a packet was not sent");
        }
    }
}

/// The task that sends.
pub(super) struct Sender {
    audio: Stream,
    video: Stream,
    pacer: Pacer,
    estimate: Shared,
    seen: Arc<Seen>,
    sent: Arc<Sent>,
    /// Packets of a probe that have not left, and when its first one did.
    probe: Option<(usize, Option<Instant>)>,
    backlog: Arc<AtomicU32>,
    /// The pacer dropped a frame: those that build on it are dropped, too.
    broken: bool,
}

impl Sender {
    /// What feeds it is the outlet's.
    pub fn new(audio: Stream, video: Stream, outlet: &Outlet, sent: Arc<Sent>) -> Self {
        Self {
            audio,
            video,
            pacer: Pacer::new(outlet.estimate.target()),
            estimate: outlet.estimate.clone(),
            seen: outlet.seen.clone(),
            sent,
            probe: None,
            backlog: outlet.backlog.clone(),
            broken: false,
        }
    }

    /// Until nobody can feed it any more.
    pub async fn run(mut self, mut audio: mpsc::Receiver<(Bytes, u32)>, mut video: mpsc::Receiver<OutFrame>) {
        loop {
            let due = self.pacer.due();
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Sound goes first, always.
                packet = audio.recv() => match packet {
                    Some((payload, timestamp)) => {
                        self.sent.audio_packets.fetch_add(1, Relaxed);
                        self.sent.bytes.fetch_add(payload.len() as u64, Relaxed);
                        self.audio.send(payload, timestamp, false).await;
                    }
                    None => return,
                },
                () = wait => self.release().await,
                frame = video.recv() => match frame {
                    Some(frame) => {
                        self.take(frame);
                        self.release().await;
                    }
                    None => return,
                },
            }
        }
    }

    fn take(&mut self, frame: OutFrame) {
        if self.broken && !frame.key {
            // A key frame is on its way, or was asked for.
            self.sent.dropped_frames.fetch_add(1, Relaxed);
            return;
        }
        let target = self.estimate.target();
        self.pacer.set_target(target);
        let payloads = match packets::payloads(&frame.annexb) {
            Ok(payloads) if !payloads.is_empty() => payloads,
            _ => return,
        };
        let last = payloads.len() - 1;
        let timestamp = frame.timestamp;
        let mut packets: Vec<Waiting> = payloads
            .into_iter()
            .enumerate()
            .map(|(i, payload)| Waiting { payload, timestamp, marker: i == last })
            .collect();
        if self.probe.is_none()
            && self.pacer.backlog() < PROBE_BACKLOG
            && let Some(probe) = self.estimate.with(|estimate| estimate.probe(Instant::now()))
        {
            // What waits is part of the burst. Filler before the frame's last packet makes the rest; decoders skip it.
            let bytes: usize = self.pacer.bytes() + packets.iter().map(|p| p.payload.len()).sum::<usize>();
            let fillers = probe.bytes.saturating_sub(bytes).div_ceil(RTP_PAYLOAD);
            let filler = packets::filler(RTP_PAYLOAD);
            let at = packets.len() - 1;
            packets.splice(at..at, (0..fillers).map(|_| Waiting { payload: filler.clone(), timestamp, marker: false }));
            self.pacer.set_rate(probe.rate);
            self.probe = Some((self.pacer.packets() + packets.len(), None));
        }
        self.broken = !self.pacer.push(packets, frame.key);
        if self.broken {
            self.sent.dropped_frames.fetch_add(1, Relaxed);
            self.seen.key_wanted.store(true, Relaxed);
            self.probe = None;
        }
    }

    async fn release(&mut self) {
        if self.probe.is_none() {
            // Also while no frame comes: what waits must not leave at a rate of yesterday.
            self.pacer.set_target(self.estimate.target());
        }
        while let Some(packet) = self.pacer.pop(Instant::now()) {
            self.sent.video_packets.fetch_add(1, Relaxed);
            self.sent.bytes.fetch_add(packet.payload.len() as u64, Relaxed);
            self.video.send(packet.payload, packet.timestamp, packet.marker).await;
            if let Some((left, first)) = &mut self.probe {
                let now = Instant::now();
                let from = *first.get_or_insert(now);
                *left -= 1;
                if *left == 0 {
                    self.probe = None;
                    self.estimate.with(|estimate| estimate.probe_sent(from, now));
                }
            }
        }
        self.backlog.store(self.pacer.backlog().as_millis() as u32, Relaxed);
    }
}
