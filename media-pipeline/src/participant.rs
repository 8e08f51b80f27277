//! Somebody else in a call: what comes from them, and what is known of it.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::{
    MediaError,
    audio::{Heard, Tick, playout::Playout},
    transport::peer::{MediaIn, Peer},
    video::{Frame, packets::Packet, pattern::PatternSeen},
};

/// A counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What was seen of a participant's video.
#[derive(Debug, Default)]
pub struct VideoSeen {
    /// Frames that were decoded.
    pub frames: Count,
    /// Bytes of them.
    pub bytes: Count,
    /// Times that frames were missing.
    pub lost_frames: Count,
    /// Frames that could not be decoded.
    pub broken_frames: Count,
    /// Key frames that were asked for.
    pub key_requests: Count,
    /// Packets that found the decoder busy.
    pub dropped_packets: Count,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    pattern: PatternSeen,
    size: (usize, usize),
    last: Option<Instant>,
    longest: Duration,
}

/// What a participant says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfState {
    /// The microphone is on.
    pub microphone: bool,
    /// The camera is on.
    pub camera: bool,
    /// The call is on hold.
    pub hold: bool,
    /// A terminal is shared.
    pub sharing: bool,
    /// The call is being recorded there.
    pub recording: bool,
}

/// Somebody else in a call.
pub struct Participant {
    /// Number of its route.
    pub id: u64,
    /// The newest frame.
    pub view: watch::Sender<Option<Arc<Frame>>>,
    /// Of its video.
    pub video: VideoSeen,
    /// What it says of itself.
    pub state: Mutex<SelfState>,
    playout: Mutex<Playout>,
    audio_ssrc: AtomicU64,
    /// Gone once the participant has left: then its decoder ends.
    packets: Mutex<Option<SyncSender<(u32, Packet)>>>,
    peer: OnceLock<std::sync::Weak<Peer>>,
    /// Wakes who asks for key frames.
    pub key_needed: Notify,
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Participant {
    /// Somebody new, whose video packets go to `packets`.
    pub fn new(id: u64, packets: SyncSender<(u32, Packet)>) -> Result<Self, MediaError> {
        Ok(Self {
            id,
            view: watch::Sender::new(None),
            video: VideoSeen::default(),
            state: Mutex::default(),
            playout: Mutex::new(Playout::new()?),
            audio_ssrc: AtomicU64::new(u64::MAX),
            packets: Mutex::new(Some(packets)),
            peer: OnceLock::new(),
            key_needed: Notify::new(),
        })
    }

    /// The connection that it is reached by.
    pub fn connected_by(&self, peer: &Arc<Peer>) {
        let _ = self.peer.set(Arc::downgrade(peer));
    }

    /// It has left: its threads end.
    pub fn leave(&self) {
        *self.packets.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The next 10 ms of its sound; false if it has never been heard.
    pub fn pull(&self, tick: &mut Tick, now: Instant) -> bool {
        if self.audio_ssrc.load(Relaxed) == u64::MAX {
            return false;
        }
        let mut playout = self.playout.lock().unwrap_or_else(PoisonError::into_inner);
        playout.pull(tick, now).inspect_err(|error| tracing::debug!(%error, "playout")).is_ok()
    }

    /// What was heard of it.
    pub fn heard(&self) -> Heard {
        self.playout.lock().unwrap_or_else(PoisonError::into_inner).heard()
    }

    /// Loss of its sound since this was last asked: percent, and mean length.
    pub fn loss(&self) -> (u8, f32) {
        self.playout.lock().unwrap_or_else(PoisonError::into_inner).loss()
    }

    /// A frame was decoded.
    pub fn saw(&self, frame: &Frame, bytes: usize) {
        self.video.frames.add(1);
        self.video.bytes.add(bytes as u64);
        let mut details = self.video.details.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Only pictures that look like the test pattern are checked as such.
        if details.pattern.received > 0 || crate::video::pattern::read(frame).is_some() {
            details.pattern.saw(frame);
        }
        details.size = (frame.width, frame.height);
        if let Some(last) = details.last {
            details.longest = details.longest.max(now - last);
        }
        details.last = Some(now);
    }

    /// What was seen of the test pattern, if it came; the size of its video; the longest time between two frames.
    pub fn picture(&self) -> (Option<PatternSeen>, (usize, usize), Duration) {
        let details = self.video.details.lock().unwrap_or_else(PoisonError::into_inner);
        ((details.pattern.received > 0).then_some(details.pattern), details.size, details.longest)
    }

    /// Its video was turned off or on: the time without is no freeze.
    pub fn video_paused(&self) {
        self.video.details.lock().unwrap_or_else(PoisonError::into_inner).last = None;
    }

    /// Round trip to it; nothing while it is not known.
    pub fn round_trip(&self) -> Duration {
        self.peer.get().and_then(std::sync::Weak::upgrade).map_or(Duration::ZERO, |peer| peer.round_trip())
    }

    /// A key frame is needed.
    pub fn want_key(&self) {
        self.key_needed.notify_one();
    }

    /// How far a frame is ahead of the sound that is played now.
    pub fn ahead_of_sound(&self, video_ssrc: u32, timestamp: u32) -> Option<Duration> {
        let peer = self.peer.get()?.upgrade()?;
        let audio_ssrc = u32::try_from(self.audio_ssrc.load(Relaxed)).ok()?;
        let playing = self.playout.lock().unwrap_or_else(PoisonError::into_inner).playing()?;
        let (video, audio) = (peer.clock(video_ssrc)?, peer.clock(audio_ssrc)?);
        // Seconds between a time stamp and its stream's common point.
        let since = |now: u32, then: u32, rate: f64| f64::from(now.wrapping_sub(then) as i32) / rate;
        let between = video.ntp.wrapping_sub(audio.ntp) as i64 as f64 / 4_294_967_296.0;
        let ahead = between + since(timestamp, video.rtp, 90_000.0) - since(playing, audio.rtp, 48_000.0);
        (ahead > 0.0 && ahead < 10.0).then(|| Duration::from_secs_f64(ahead))
    }
}

impl MediaIn for Participant {
    fn audio(&self, ssrc: u32, packet: Packet) {
        let before = self.audio_ssrc.swap(u64::from(ssrc), Relaxed);
        let mut playout = self.playout.lock().unwrap_or_else(PoisonError::into_inner);
        if before != u64::from(ssrc)
            && before != u64::MAX
            && let Ok(new) = Playout::new()
        {
            *playout = new;
        }
        let (peer, now) = (self.peer.get().and_then(std::sync::Weak::upgrade), Instant::now());
        playout.set_repair(peer.as_ref().and_then(|peer| peer.audio_repair()));
        if peer.as_ref().is_some_and(|peer| peer.was_asked(ssrc, packet.sequence)) {
            playout.push_again(packet.sequence, packet.timestamp, packet.payload, now);
        } else {
            playout.push(packet.sequence, packet.timestamp, packet.payload, now);
        }
        if let Some(peer) = peer {
            peer.audio_waits(playout.wait());
        }
    }

    fn video(&self, ssrc: u32, packet: Packet) {
        if let Some(packets) = &*self.packets.lock().unwrap_or_else(PoisonError::into_inner)
            && packets.try_send((ssrc, packet)).is_err()
        {
            self.video.dropped_packets.add(1);
        }
    }
}

/// All others in a call.
#[derive(Debug, Default)]
pub struct Participants(RwLock<Vec<Arc<Participant>>>);

impl Participants {
    /// Who is there now.
    pub fn all(&self) -> Vec<Arc<Participant>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of them.
    pub fn get(&self, id: u64) -> Option<Arc<Participant>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().find(|p| p.id == id).cloned()
    }

    /// Somebody joins.
    pub fn add(&self, participant: Arc<Participant>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(participant);
    }

    /// Somebody leaves.
    pub fn remove(&self, id: u64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|p| p.id != id);
    }
}
