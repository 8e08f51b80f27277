//! A device of the sound system that is opened again when it is gone.
//!
//! A sound system may never answer. With cpal 0.18 the end of a stream of PulseAudio that the server has killed, as when a headset is pulled out, is
//! waited for without end, and so is the first sound of a microphone that gives none. So each opening and each closing has a thread of its own, which
//! is left to itself when it takes too long: at most [`MAX_UNANSWERED`] that open, and one that closes for each loss of the device.

use std::{
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::MediaError;

/// A device that is gone is looked for so often.
const RETRY: Duration = Duration::from_secs(1);
/// An answer of a sound system is waited for so long: it takes a second at most where all is well.
const ANSWER: Duration = Duration::from_secs(10);
/// A device is closed within milliseconds.
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
}

impl<R> Open<R> {
    /// Begins to close the device. What is given ends when it is closed.
    fn close(&mut self) -> Receiver<()> {
        let (closing, closed) = channel();
        let stream = self.stream.take();
        let close = move || {
            drop(stream);
            drop(closing);
        };
        // Without a thread it is closed here.
        let _ = thread::Builder::new().name("sound-closing".into()).spawn(close);
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

/// What comes of an opening.
type Answer<R> = Receiver<Result<Open<R>, MediaError>>;

/// A device that is looked for as long as it is gone.
pub(super) struct Reopening<R> {
    opener: Opener<R>,
    open: Option<Open<R>>,
    /// It is being opened, since then.
    opening: Option<(Instant, Answer<R>)>,
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
    pub fn open(opener: Opener<R>) -> Result<Self, MediaError> {
        let now = Instant::now();
        let mut device = Self {
            opener,
            open: None,
            opening: None,
            tried: now,
            lost: now,
            of_server: false,
            unanswered: Arc::default(),
        };
        let answer = device.begin(Systems::All).and_then(|answer| answer.recv_timeout(ANSWER).ok());
        let silent = || Err(MediaError::NoDevice("the sound system does not answer; restart the sound server".into()));
        device.opened(answer.unwrap_or_else(silent)?);
        Ok(device)
    }

    /// The device, if it is there. If not, it is looked for meanwhile, and nothing waits for that.
    pub fn get(&mut self, now: Instant) -> Option<&mut Open<R>> {
        if self.open.is_none() {
            self.look(now);
        }
        self.open.as_mut()
    }

    /// It is gone. Sound does not wait until it is closed.
    pub fn lose(&mut self, now: Instant) {
        if let Some(mut open) = self.open.take() {
            open.close();
        }
        self.lost = now;
    }

    fn opened(&mut self, open: Open<R>) {
        self.of_server = open.of_server;
        self.open = Some(open);
    }

    fn look(&mut self, now: Instant) {
        if let Some((since, answer)) = self.opening.take() {
            match answer.try_recv() {
                Ok(Ok(open)) => self.opened(open),
                Err(TryRecvError::Empty) if now.saturating_duration_since(since) < ANSWER => {
                    self.opening = Some((since, answer));
                }
                Ok(Err(_)) | Err(_) => {}
            }
        } else if now.saturating_duration_since(self.tried) > RETRY {
            self.tried = now;
            let restarts = self.of_server && now.saturating_duration_since(self.lost) < RESTART;
            let answer = self.begin(if restarts { Systems::Servers } else { Systems::All });
            self.opening = answer.map(|answer| (now, answer));
        }
    }

    /// Opens it on a thread, if not too many do so already.
    fn begin(&self, systems: Systems) -> Option<Answer<R>> {
        // One is ours.
        if Arc::strong_count(&self.unanswered) > MAX_UNANSWERED {
            return None;
        }
        let (opener, unanswered) = (self.opener.clone(), self.unanswered.clone());
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

    use super::*;

    fn opened(of_server: bool) -> Open<()> {
        Open { stream: None, ring: (), gone: Arc::default(), of_server }
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
        let device = Reopening::open(Arc::new(opener)).unwrap();
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
        device.lose(now);
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
        device.lose(now);
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
        device.lose(now);
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
}
