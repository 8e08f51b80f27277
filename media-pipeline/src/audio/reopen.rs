//! A device of the sound system that is opened again when it is lost; [`watch`](super::watch) decides when it is.
//!
//! A sound system may never answer. With cpal 0.18 the end of a stream of PulseAudio that the server has killed, as when a headset is pulled out, is
//! waited for without end, and so is the first sound of a microphone that gives none. So each opening, each closing and each look for what a name
//! stands for has a thread of its own, which is left to itself when it takes too long: at most [`MAX_UNANSWERED`] that open, one that looks, and one
//! that closes for each loss of the device.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::watch::{Loss, Watch};
use crate::MediaError;

/// A device that is gone is looked for so often.
const RETRY: Duration = Duration::from_secs(1);
/// An answer of a sound system is waited for so long: it takes a second at most where all is well.
const ANSWER: Duration = Duration::from_secs(10);
/// A device is closed within milliseconds. Before, it is not opened again: all streams of a connection of cpal 0.18 to PulseAudio have the same
/// number for synchronization, so that the server refuses one on another device, and ties one on the same device to the lost one.
const CLOSING: Duration = Duration::from_millis(500);
/// Threads that wait for an answer. Beyond, none is begun.
const MAX_UNANSWERED: usize = 4;
/// A sound server that is gone is back within this time if it was restarted. Only then ALSA is asked directly: it would take the device away from the
/// server, or lead to it by a plug-in, which on a busy machine plays badly until the device is lost again.
const RESTART: Duration = Duration::from_secs(15);

/// Which sound systems are asked for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Systems {
    /// All, the best first.
    All,
    /// All but ALSA, which is below the others.
    Servers,
}

/// A device that is open, and our end of the ring between it and us.
pub(super) struct Open<R> {
    /// Closed when this is dropped.
    pub stream: Option<cpal::Stream>,
    pub ring: R,
    /// The sound system has said that the device is gone.
    pub gone: Arc<AtomicBool>,
    /// It belongs to a sound server.
    pub of_server: bool,
    /// What the sound system calls it.
    pub device: Option<String>,
}

impl<R> Open<R> {
    /// Begins to close the device. What is given ends when it is closed.
    fn close(&mut self) -> Receiver<()> {
        let (closing, closed) = channel();
        if let Some(stream) = self.stream.take() {
            let close = move || {
                drop(stream);
                drop(closing);
            };
            // Without a thread it is closed here.
            let _ = thread::Builder::new().name("sound-closing".into()).spawn(close);
        }
        closed
    }
}

impl<R> Drop for Open<R> {
    fn drop(&mut self) {
        if self.stream.is_some() {
            let _ = self.close().recv_timeout(CLOSING);
        }
    }
}

/// Opens a device of these sound systems.
pub(super) type Opener<R> = Arc<dyn Fn(Systems) -> Result<Open<R>, MediaError> + Send + Sync>;

/// Says what the sound servers call the device of this name now, if there is one.
pub(super) type Finder = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What comes of an opening.
type Answer<R> = Receiver<Result<Open<R>, MediaError>>;

/// A device, and how it is found.
pub(super) struct Source<R> {
    /// What it is, for the log.
    pub what: &'static str,
    pub opener: Opener<R>,
    pub finder: Finder,
    /// Without sound for longer, it is lost.
    pub patience: Duration,
}

/// A device that is looked for as long as it is lost.
pub(super) struct Reopening<R> {
    source: Source<R>,
    open: Option<Open<R>>,
    /// Of the device that was opened last.
    watch: Watch,
    /// It is being opened, since then.
    opening: Option<(Instant, Answer<R>)>,
    /// The lost one is being closed, since then.
    closing: Option<(Instant, Receiver<()>)>,
    /// Its name is being looked up.
    finding: Option<Receiver<Option<String>>>,
    /// When it was opened last, or tried.
    tried: Instant,
    /// When it was lost last.
    lost: Instant,
    /// It belonged to a sound server.
    of_server: bool,
    /// Held by each thread that opens it.
    unanswered: Arc<()>,
}

impl<R: Send + 'static> Reopening<R> {
    /// Opens it.
    pub fn open(source: Source<R>) -> Result<Self, MediaError> {
        let now = Instant::now();
        let mut device = Self {
            watch: Watch::new(source.patience, None, now),
            source,
            open: None,
            opening: None,
            closing: None,
            finding: None,
            tried: now,
            lost: now,
            of_server: false,
            unanswered: Arc::default(),
        };
        let answer = device.begin(Systems::All).and_then(|answer| answer.recv_timeout(ANSWER).ok());
        let silent = || Err(MediaError::NoDevice("the sound system does not answer; restart the sound server".into()));
        device.opened(answer.unwrap_or_else(silent)?, Instant::now());
        Ok(device)
    }

    /// The device, if it is there. If not, it is looked for meanwhile, and nothing waits for that.
    pub fn get(&mut self, now: Instant) -> Option<&mut Open<R>> {
        if let Some(open) = &self.open {
            let ended = open.gone.load(Relaxed);
            self.find(now);
            if let Some(loss) = self.watch.loss(ended, now) {
                self.lose(loss, now);
            }
        }
        if self.open.is_none() {
            self.look(now);
        }
        self.open.as_mut()
    }

    /// Sound went in or out.
    pub fn moved(&mut self, now: Instant) {
        self.watch.moved(now);
    }

    /// For how long none did.
    pub fn waits(&self, now: Instant) -> Duration {
        self.watch.waits(now)
    }

    /// It is lost. Sound does not wait until it is closed.
    fn lose(&mut self, loss: Loss, now: Instant) {
        tracing::warn!(device = self.source.what, ?loss, "a sound device is lost");
        self.closing = self.open.take().map(|mut open| (now, open.close()));
        self.lost = now;
    }

    /// Whether what was lost is closed, or has had time enough.
    fn is_closed(&mut self, now: Instant) -> bool {
        let is_closed = self.closing.as_ref().is_none_or(|(since, closed)| {
            closed.try_recv() == Err(TryRecvError::Disconnected) || now.saturating_duration_since(*since) > CLOSING
        });
        if is_closed {
            self.closing = None;
        }
        is_closed
    }

    fn opened(&mut self, open: Open<R>, now: Instant) {
        self.of_server = open.of_server;
        self.watch = Watch::new(self.source.patience, open.device.clone(), now);
        self.open = Some(open);
    }

    fn look(&mut self, now: Instant) {
        if let Some((since, answer)) = self.opening.take() {
            match answer.try_recv() {
                Ok(Ok(open)) => {
                    tracing::info!(device = self.source.what, "a sound device is open again");
                    self.opened(open, now);
                }
                Err(TryRecvError::Empty) if now.saturating_duration_since(since) < ANSWER => {
                    self.opening = Some((since, answer));
                }
                Ok(Err(_)) | Err(_) => {}
            }
        } else if self.is_closed(now) && now.saturating_duration_since(self.tried) > RETRY {
            self.tried = now;
            let restarts = self.of_server && now.saturating_duration_since(self.lost) < RESTART;
            let answer = self.begin(if restarts { Systems::Servers } else { Systems::All });
            self.opening = answer.map(|answer| (now, answer));
        }
    }

    /// Looks now and then what its name stands for, on a thread; ALSA, where devices are asked themselves, is left alone.
    fn find(&mut self, now: Instant) {
        if let Some(answer) = self.finding.take() {
            match answer.try_recv() {
                Ok(found) => self.watch.found(found.as_deref()),
                Err(TryRecvError::Empty) => self.finding = Some(answer),
                Err(TryRecvError::Disconnected) => {}
            }
        } else if self.of_server && self.watch.is_look_due(now) {
            let (tell, answer) = channel();
            let finder = self.source.finder.clone();
            let find = move || {
                let _ = tell.send(finder());
            };
            let begun = thread::Builder::new().name("sound-finding".into()).spawn(find).is_ok();
            self.finding = begun.then_some(answer);
        }
    }

    /// Opens it on a thread, if not too many do so already.
    fn begin(&self, systems: Systems) -> Option<Answer<R>> {
        // One is ours.
        if Arc::strong_count(&self.unanswered) > MAX_UNANSWERED {
            return None;
        }
        let (opener, unanswered) = (self.source.opener.clone(), self.unanswered.clone());
        let (tell, answer) = channel();
        let open = move || {
            let opened = opener(systems);
            drop(unanswered);
            // Nobody waits for a late one: it is closed.
            let _ = tell.send(opened);
        };
        thread::Builder::new().name("sound-opening".into()).spawn(open).is_ok().then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::{Mutex, mpsc::Sender};

    use super::{super::watch::LOOK, *};

    /// Nothing here is about sound that does not come.
    const PATIENCE: Duration = Duration::from_secs(3_600);

    fn opened(of_server: bool) -> Open<()> {
        Open { stream: None, ring: (), gone: Arc::default(), of_server, device: None }
    }

    fn source(
        opener: impl Fn(Systems) -> Result<Open<()>, MediaError> + Send + Sync + 'static,
        finder: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Source<()> {
        Source { what: "loudspeaker", opener: Arc::new(opener), finder: Arc::new(finder), patience: PATIENCE }
    }

    /// A device whose openings end as they are told to, the first at once; and which systems are asked.
    fn device(of_server: bool) -> (Reopening<()>, Sender<bool>, Receiver<Systems>) {
        let (end, ends) = channel::<bool>();
        let (ask, asked) = channel();
        let ends = Mutex::new(ends);
        let opener = move |systems: Systems| {
            ask.send(systems).unwrap();
            // Those that hang do so until the test is over.
            let is_there = ends.lock().unwrap().recv().unwrap_or_default();
            if is_there { Ok(opened(of_server)) } else { Err(MediaError::NoDevice("gone".into())) }
        };
        end.send(true).unwrap();
        let device = Reopening::open(source(opener, || None)).unwrap();
        assert_eq!(asked.recv().unwrap(), Systems::All);
        (device, end, asked)
    }

    /// Waits until an opening has ended.
    fn wait(device: &mut Reopening<()>, now: Instant) {
        while device.opening.is_some() {
            device.look(now);
            thread::yield_now();
        }
    }

    #[test]
    fn a_sound_server_that_is_restarted_is_waited_for_and_alsa_not_asked_meanwhile() {
        let (mut device, end, asked) = device(true);
        let mut now = device.tried + RETRY;
        device.lose(Loss::Ended, now);
        for expected in [Systems::Servers, Systems::Servers, Systems::All] {
            now += if expected == Systems::All { RESTART } else { 2 * RETRY };
            assert!(device.get(now).is_none());
            assert_eq!(asked.recv().unwrap(), expected);
            end.send(false).unwrap();
            wait(&mut device, now);
        }
        now += 2 * RETRY;
        assert!(device.get(now).is_none());
        end.send(true).unwrap();
        wait(&mut device, now);
        assert!(device.get(now).is_some(), "it is back");
    }

    #[test]
    fn what_was_opened_without_a_server_is_looked_for_everywhere() {
        let (mut device, end, asked) = device(false);
        let now = device.tried + 2 * RETRY;
        device.lose(Loss::Ended, now);
        assert!(device.get(now).is_none());
        assert_eq!(asked.recv().unwrap(), Systems::All);
        end.send(true).unwrap();
        wait(&mut device, now);
        assert!(device.get(now).is_some());
    }

    #[test]
    fn a_sound_system_that_does_not_answer_is_asked_again_and_not_by_ever_more_threads() {
        let (mut device, end, asked) = device(true);
        let mut now = device.tried + 2 * RETRY;
        device.lose(Loss::Ended, now);
        for _ in 0..3 * MAX_UNANSWERED {
            assert!(device.get(now).is_none(), "nobody waits");
            // First the answer is given up, then another try begins.
            now += ANSWER + 2 * RETRY;
            assert!(device.get(now).is_none());
        }
        for _ in 0..MAX_UNANSWERED {
            asked.recv().unwrap();
        }
        assert!(asked.try_recv().is_err());
        assert_eq!(Arc::strong_count(&device.unanswered), MAX_UNANSWERED + 1);
        drop(end);
    }
    #[test]
    fn a_device_is_not_opened_before_the_lost_one_is_closed_or_has_had_time_for_it() {
        let (mut device, end, asked) = device(true);
        let now = device.tried + 2 * RETRY;
        device.lose(Loss::Silent, now);
        let (closing, closed) = channel();
        device.closing = Some((now, closed));
        assert!(device.get(now + CLOSING).is_none());
        assert!(device.opening.is_none(), "it is being closed");
        drop(closing);
        assert!(device.get(now).is_none());
        assert_eq!(asked.recv().unwrap(), Systems::Servers);
        end.send(true).unwrap();
        wait(&mut device, now);
        // This time it is never closed.
        let now = now + 2 * RETRY;
        device.lose(Loss::Ended, now);
        let (_closing, closed) = channel();
        device.closing = Some((now, closed));
        assert!(device.get(now + 2 * CLOSING).is_none());
        assert_eq!(asked.recv().unwrap(), Systems::Servers);
        end.send(true).unwrap();
        wait(&mut device, now);
        assert!(device.get(now).is_some());
    }

    #[test]
    fn what_a_server_has_ended_is_opened_again_before_any_sound_is_missed() {
        let (mut device, end, asked) = device(true);
        let now = device.tried + 2 * RETRY;
        device.get(now).unwrap().gone.store(true, Relaxed);
        assert!(device.get(now).is_none());
        assert_eq!(asked.recv().unwrap(), Systems::Servers);
        end.send(true).unwrap();
        wait(&mut device, now);
        assert!(device.get(now).is_some());
    }

    #[test]
    fn the_default_device_is_followed() {
        let default = Arc::new(Mutex::new("speaker".to_owned()));
        let (opens, finds) = (default.clone(), default.clone());
        let name = |of: &Mutex<String>| Some(of.lock().unwrap().clone());
        let opener = move |_: Systems| -> Result<Open<()>, MediaError> {
            let mut open = opened(true);
            open.device = name(&opens);
            Ok(open)
        };
        let mut device = Reopening::open(source(opener, move || name(&finds))).unwrap();
        let mut now = Instant::now();
        let look = |device: &mut Reopening<()>, now: &mut Instant| {
            *now += LOOK;
            device.get(*now);
            while device.finding.is_some() {
                thread::yield_now();
                device.get(*now);
            }
        };
        look(&mut device, &mut now);
        assert!(device.open.is_some());
        *default.lock().unwrap() = "headset".to_owned();
        look(&mut device, &mut now);
        assert!(device.open.is_some(), "once may be for a moment");
        look(&mut device, &mut now);
        while device.get(now).is_none() {
            thread::yield_now();
        }
        assert_eq!(device.open.as_ref().unwrap().device.as_deref(), Some("headset"));
        look(&mut device, &mut now);
        look(&mut device, &mut now);
        assert!(device.open.is_some(), "it stays");
    }
}
