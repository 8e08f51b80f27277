//! Whether a sound device that is open still does what it was opened for: a state machine, time and what is seen passed in.
//!
//! A device is lost in three ways. The sound system says so: it has ended the stream, or is gone itself. Nothing is said, and no sound goes in or out
//! any more. Or a sound server has moved the stream to another device, so that sound goes on, elsewhere: as long as the device is away that is what
//! is wanted, and not when it is back or another is the default one.

use std::time::{Duration, Instant};

/// It is looked up so often which device a name stands for.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// Why a device has to be opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The sound system has ended it.
    Ended,
    /// No sound goes in or out.
    Silent,
    /// Its name stands for another device, or for the same that was away.
    Elsewhere,
}

/// What is known of a device since it was opened.
#[derive(Debug)]
pub(super) struct Watch {
    /// Without sound for longer, it is lost.
    patience: Duration,
    /// What the sound system calls the device that was opened; nothing, if it is not looked up.
    device: Option<String>,
    /// When sound went in or out last.
    moved: Instant,
    /// When it was looked up last.
    looked: Instant,
    /// There was no device of its name.
    was_away: bool,
    /// What was found last, if it is to be opened instead.
    next: Option<String>,
    /// That was found twice.
    is_elsewhere: bool,
}

impl Watch {
    /// A device that was opened now.
    pub fn new(patience: Duration, device: Option<String>, now: Instant) -> Self {
        Self { patience, device, moved: now, looked: now, was_away: false, next: None, is_elsewhere: false }
    }

    /// Sound went in or out.
    pub fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// For how long none did.
    pub fn waits(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved)
    }

    /// Whether to look up now which device the name stands for. Counts as done.
    pub fn is_look_due(&mut self, now: Instant) -> bool {
        let is_due = self.device.is_some() && now.saturating_duration_since(self.looked) >= LOOK;
        if is_due {
            self.looked = now;
        }
        is_due
    }

    /// The name stands for this device now, or for none. While a headset changes its profile it is away and another is the default one for a moment:
    /// what is found counts when it is found twice in a row.
    pub fn found(&mut self, found: Option<&str>) {
        if self.device.is_none() {
            return;
        }
        self.was_away |= found.is_none();
        let next = found.filter(|found| self.was_away || self.device.as_deref() != Some(*found));
        self.is_elsewhere = next.is_some() && next == self.next.as_deref();
        self.next = next.map(ToOwned::to_owned);
    }

    /// Why the device has to be opened again, if so.
    pub fn loss(&self, ended: bool, now: Instant) -> Option<Loss> {
        if ended {
            Some(Loss::Ended)
        } else if self.is_elsewhere {
            Some(Loss::Elsewhere)
        } else {
            (self.waits(now) > self.patience).then_some(Loss::Silent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(6);

    fn watch(device: &str) -> (Watch, Instant) {
        let now = Instant::now();
        (Watch::new(PATIENCE, Some(device.to_owned()), now), now)
    }

    /// Why it is lost after its name was found to stand for these devices.
    fn loss_after(found: &[Option<&str>]) -> Option<Loss> {
        let (mut watch, now) = watch("headset");
        found.iter().for_each(|found| watch.found(*found));
        watch.loss(false, now)
    }

    #[test]
    fn a_device_without_sound_is_lost_when_patience_is_over() {
        let (mut watch, now) = watch("headset");
        assert_eq!(watch.loss(false, now + PATIENCE), None);
        assert_eq!(watch.loss(false, now + PATIENCE + Duration::from_millis(1)), Some(Loss::Silent));
        watch.moved(now + PATIENCE);
        assert_eq!(watch.loss(false, now + 2 * PATIENCE), None);
        assert_eq!(watch.waits(now + 2 * PATIENCE), PATIENCE);
    }

    #[test]
    fn what_the_sound_system_has_ended_is_lost_at_once() {
        let (watch, now) = watch("headset");
        assert_eq!(watch.loss(true, now), Some(Loss::Ended));
    }

    #[test]
    fn another_default_device_counts_when_it_is_found_twice() {
        assert_eq!(loss_after(&[Some("headset"), Some("headset")]), None);
        assert_eq!(loss_after(&[Some("speaker")]), None);
        assert_eq!(loss_after(&[Some("speaker"), Some("headset"), Some("speaker")]), None);
        assert_eq!(loss_after(&[Some("speaker"), Some("hdmi")]), None);
        assert_eq!(loss_after(&[Some("speaker"), Some("speaker")]), Some(Loss::Elsewhere));
    }

    #[test]
    fn a_device_that_is_away_keeps_its_stream_and_is_opened_when_it_is_back() {
        assert_eq!(loss_after(&[None, None, None]), None);
        assert_eq!(loss_after(&[None, Some("headset")]), None);
        assert_eq!(loss_after(&[None, Some("headset"), None, Some("headset")]), None);
        assert_eq!(loss_after(&[None, Some("headset"), Some("headset")]), Some(Loss::Elsewhere));
    }

    #[test]
    fn a_device_is_looked_up_now_and_then_if_it_has_a_name() {
        let (mut watch, now) = watch("headset");
        assert!(!watch.is_look_due(now + LOOK / 2));
        assert!(watch.is_look_due(now + LOOK));
        assert!(!watch.is_look_due(now + LOOK));
        assert!(watch.is_look_due(now + 2 * LOOK));
        let mut nameless = Watch::new(PATIENCE, None, now);
        assert!(!nameless.is_look_due(now + 2 * LOOK));
        nameless.found(Some("speaker"));
        nameless.found(Some("speaker"));
        assert_eq!(nameless.loss(false, now), None);
    }
}
