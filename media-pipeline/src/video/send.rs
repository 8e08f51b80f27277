//! The thread that captures and encodes video: one encoder for each size that is wanted, whatever the number of routes.
//!
//! It is the only one that waits for the camera, and nothing waits for it: a route whose queue is full loses the frame and gets a key frame
//! later.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Frame, VideoSource, h264::Encoder};
use crate::{
    MediaError,
    limits::{KEY_FRAME_EVERY, MAX_AUDIO_BITS, MIN_VIDEO_BITS},
    outlets::{Outlets, Route},
    switch::Switch,
    transport::sender::OutFrame,
};

/// Heights that are sent, what each is worth at most, and what a path has to carry for it: to go up to it, and to stay.
const SIZES: [(u32, u32, u32, u32); 3] =
    [(180, 350_000, 0, 0), (360, 1_200_000, 260_000, 180_000), (720, 2_500_000, 1_300_000, 950_000)];
/// Sound with its headers, which is not video's to spend.
const SOUND: u32 = MAX_AUDIO_BITS + MAX_AUDIO_BITS / 3;
/// A self view needs no more.
const SELF_VIEW: (usize, usize) = (320, 180);

/// Opens a source, each time the camera is turned on.
pub type MakeVideoSource = Arc<dyn Fn() -> Result<Box<dyn VideoSource>, MediaError> + Send + Sync>;

/// What the thread works with.
pub struct VideoSend {
    /// Opens the source.
    pub source: MakeVideoSource,
    /// On while the camera is to run.
    pub switch: Arc<Switch>,
    /// Where frames go.
    pub outlets: Arc<Outlets>,
    /// The newest frame, small.
    pub self_view: watch::Sender<Option<Arc<Frame>>>,
    /// Told why the camera was turned off by itself; nothing at the end of a file.
    pub ended: Box<dyn Fn(Option<MediaError>) + Send>,
    /// When the call began: the zero of all time stamps.
    pub start: Instant,
    /// Added to time stamps.
    pub base: u32,
}

/// With so much waiting before the network, no frame is made: one that is dropped later costs a key frame.
const MAX_BACKLOG: Duration = Duration::from_millis(90);
/// Frames that are looked at together.
const LOOKED_AT: u32 = 60;
/// With fewer of them sent, the size is too much for the rate, whatever is in the pictures.
const ENOUGH: u32 = 36;
/// A size that was too much is not tried again for so long, then twice as long, and so on.
const AVOIDED: Duration = Duration::from_secs(10);
/// The longest.
const MAX_AVOIDED: Duration = Duration::from_secs(80);

struct Coder {
    encoder: Encoder,
    last_key: Option<Instant>,
    members: Vec<u64>,
    /// Frames there were, and that were sent.
    frames: (u32, u32),
}

/// A size that the pictures are too much for.
struct Avoided {
    until: Instant,
    long: Duration,
    /// Unless the path carries much more than then.
    carried: u32,
}

/// Encoders by height, and heights that are of no use at the moment.
#[derive(Default)]
struct Coders {
    by_height: BTreeMap<u32, Coder>,
    avoided: BTreeMap<u32, Avoided>,
}

impl Coders {
    /// Counts a frame; a size that comes out in too few of them is avoided.
    fn count(&mut self, height: u32, sent: bool, carried: u32, now: Instant) {
        let Some(coder) = self.by_height.get_mut(&height) else { return };
        coder.frames = (coder.frames.0 + 1, coder.frames.1 + u32::from(sent));
        if coder.frames.0 < LOOKED_AT {
            return;
        }
        let (_, sent) = std::mem::take(&mut coder.frames);
        if sent < ENOUGH && height > SIZES[0].0 {
            let long = self.avoided.get(&height).map_or(AVOIDED, |a| (a.long * 2).min(MAX_AVOIDED));
            self.avoided.insert(height, Avoided { until: now + long, long, carried });
        }
    }

    fn avoids(&self, height: u32, carried: u32, now: Instant) -> bool {
        self.avoided.get(&height).is_some_and(|a| now < a.until && carried < a.carried / 2 * 3)
    }
}

impl VideoSend {
    /// Runs until the switch is ended.
    pub fn run(self) {
        while self.switch.wait_on() {
            match (self.source)() {
                Ok(source) => match self.stream(source) {
                    Ok(true) => {}
                    Ok(false) => self.stop(None),
                    Err(error) => self.stop(Some(error)),
                },
                Err(error) => self.stop(Some(error)),
            }
            self.self_view.send_replace(None);
        }
    }

    fn stop(&self, why: Option<MediaError>) {
        self.switch.set(false);
        (self.ended)(why);
    }

    /// One opening of the camera. Gives false at the end of the source.
    fn stream(&self, mut source: Box<dyn VideoSource>) -> Result<bool, MediaError> {
        let mut coders = Coders::default();
        let mut frame = Frame::default();
        let mut number = 0u64;
        while self.switch.is_on() {
            if !source.read(&mut frame)? {
                return Ok(false);
            }
            let at = self.start.elapsed();
            number += 1;
            if self.self_view.receiver_count() > 0 {
                self.self_view.send_replace(Some(Arc::new(frame.scaled(SELF_VIEW.0, SELF_VIEW.1))));
            }
            self.encode(&mut coders, &frame, at, number)?;
        }
        Ok(true)
    }

    fn encode(&self, coders: &mut Coders, frame: &Frame, at: Duration, number: u64) -> Result<(), MediaError> {
        let (routes, now) = (self.outlets.all(), Instant::now());
        let mut groups: BTreeMap<u32, Vec<&Arc<Route>>> = BTreeMap::new();
        for route in &routes {
            if let Some(height) = choose(route, frame.height as u32, coders, now) {
                groups.entry(height).or_default().push(route);
            }
        }
        coders.by_height.retain(|height, _| groups.contains_key(height));
        for (height, members) in groups {
            let bits = members.iter().map(|r| budget(r, height)).min().unwrap_or(MIN_VIDEO_BITS);
            let width = (frame.width * height as usize / frame.height.max(1)) & !1;
            let size = (width.max(2), height as usize);
            let fits = |coder: &Coder| coder.encoder.size() == size;
            if !coders.by_height.get(&height).is_some_and(fits) {
                let encoder = Encoder::new(size.0, size.1, 30, bits)?;
                let coder = Coder { encoder, last_key: None, members: Vec::new(), frames: (0, 0) };
                coders.by_height.insert(height, coder);
            }
            let carried = members.iter().map(|r| r.outlet.estimate.target()).min().unwrap_or_default();
            if members.iter().all(|r| r.outlet.backlog() > MAX_BACKLOG) {
                self.outlets.skipped.fetch_add(1, Relaxed);
                coders.count(height, false, carried, now);
                continue;
            }
            let Some(coder) = coders.by_height.get_mut(&height) else { continue };
            // Too little for thirty frames: half of them look better.
            if bits < 120_000 && height == 180 && number % 2 == 1 && coder.last_key.is_some() {
                continue;
            }
            let ids: Vec<u64> = members.iter().map(|r| r.id).collect();
            let joined = ids.iter().any(|id| !coder.members.contains(id));
            let wanted = joined || members.iter().any(|r| r.outlet.seen.key_wanted.load(Relaxed));
            let may = coder.last_key.is_none_or(|then| then.elapsed() >= KEY_FRAME_EVERY);
            if wanted && (may || joined) {
                coder.encoder.force_key();
            }
            coder.encoder.set_bits(bits);
            let Some(encoded) = coder.encoder.encode(frame, at.as_secs_f64() * 1e3)? else {
                self.outlets.skipped.fetch_add(1, Relaxed);
                coders.count(height, false, carried, now);
                continue;
            };
            if encoded.key {
                coder.last_key = Some(Instant::now());
                coder.members = ids;
            }
            let annexb = bytes::Bytes::from(encoded.annexb);
            let timestamp = self.base.wrapping_add((at.as_micros() * 9 / 100) as u32);
            self.outlets.encoded.fetch_add(1, Relaxed);
            for route in members {
                if encoded.key {
                    route.outlet.seen.key_wanted.store(false, Relaxed);
                }
                route.outlet.video(OutFrame { annexb: annexb.clone(), timestamp, key: encoded.key });
            }
            coders.count(height, true, carried, now);
        }
        Ok(())
    }
}

/// The height for a route: what the other side shows, what its path carries, what the camera gives.
fn choose(route: &Route, source: u32, coders: &Coders, at: Instant) -> Option<u32> {
    let wanted = route.wanted_height.load(Relaxed);
    if wanted == 0 || route.held.load(Relaxed) {
        return None;
    }
    let now = route.height.load(Relaxed);
    let carried = route.outlet.estimate.target().saturating_sub(SOUND);
    let mut height = SIZES[0].0;
    for (candidate, _, up, stay) in SIZES {
        let needed = if now >= candidate { stay } else { up };
        // The next size above what is shown would be shrunk there; one that the camera does not have, grown here.
        if carried >= needed
            && !coders.avoids(candidate, carried + SOUND, at)
            && candidate <= wanted.max(SIZES[0].0)
            && candidate <= source.max(SIZES[0].0)
        {
            height = candidate;
        }
    }
    route.height.store(height, Relaxed);
    let most = SIZES.iter().rfind(|(h, ..)| *h <= wanted.min(source).max(SIZES[0].0)).map_or(SIZES[0].1, |s| s.1);
    // Nothing above the best that will be asked for is looked for.
    route.outlet.estimate.with(|estimate| estimate.set_wanted(f64::from(most) * 1.2 + f64::from(SOUND)));
    Some(height)
}

/// Bits a second for a route's video at a height.
fn budget(route: &Route, height: u32) -> u32 {
    let most = SIZES.iter().find(|(h, ..)| *h == height).map_or(MIN_VIDEO_BITS, |s| s.1);
    let carried = route.outlet.estimate.target().saturating_sub(SOUND);
    // Room for headers and for what is sent again.
    let lost = u32::from(route.loss_percent.load(Relaxed)).min(30);
    (carried / 100 * (92 - lost)).clamp(MIN_VIDEO_BITS, most)
}
