//! When a better path is looked for while one through a relay works, or one by an interface that is not used any more: once the network has changed, as
//! what was in the way may be gone.
//!
//! A restart gives the path up that there is, which is a pause of a second or two. A relay that works well is better than pauses, so changes that
//! follow one another lead to a single try.

use std::time::{Duration, Instant};

/// The network has settled so long after the last change: one that comes and goes makes more of them, and addresses and routes take a moment.
const SETTLED: Duration = Duration::from_secs(5);
/// The least time between tries, however often the network changes.
const BETWEEN: Duration = Duration::from_secs(120);

/// The try to leave a relay.
#[derive(Debug, Default)]
pub(super) struct DirectTry {
    due: Option<Instant>,
    /// When the last one was made.
    last: Option<Instant>,
}

impl DirectTry {
    /// The network has changed, and the path goes through a relay.
    pub fn network_changed(&mut self, now: Instant) {
        self.due = Some(now + SETTLED).max(self.last.map(|last| last + BETWEEN));
    }

    /// When [`DirectTry::take_due`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it has to be made now; it counts as made then.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| now >= due);
        if is_due {
            self.renewed(now);
        }
        is_due
    }

    /// A new path is looked for, whoever began and why: that is the try.
    pub fn renewed(&mut self, now: Instant) {
        if self.due.take().is_some() {
            self.last = Some(now);
        }
    }

    /// The path is a direct one: nothing is to be tried.
    pub fn reached(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When tries are made within a time, in seconds, if the network changes at these moments.
    fn tries(changes: impl Fn(u32) -> bool, seconds: u32) -> Vec<u32> {
        let (mut direct, begun) = (DirectTry::default(), Instant::now());
        let at = |second: u32| begun + SECOND * second;
        let mut made = Vec::new();
        for second in 0..seconds {
            if changes(second) {
                direct.network_changed(at(second));
            }
            if direct.take_due(at(second)) {
                made.push(second);
            }
        }
        made
    }

    #[test]
    fn a_change_leads_to_one_try_once_the_network_has_settled() {
        assert_eq!(tries(|_| false, 1000), [] as [u32; 0]);
        assert_eq!(tries(|second| second == 0, 1000), [5]);
        assert_eq!(tries(|second| second < 10, 1000), [14]);
    }

    #[test]
    fn an_interface_that_flaps_makes_a_try_in_two_minutes() {
        assert_eq!(tries(|_| true, 600), [] as [u32; 0], "it never settles");
        assert_eq!(tries(|second| second.is_multiple_of(10), 600), [5, 125, 245, 365, 485]);
        assert_eq!(tries(|second| [0, 400].contains(&second), 1000), [5, 405]);
    }

    #[test]
    fn a_restart_for_another_reason_is_the_try_and_a_direct_path_needs_none() {
        let (mut direct, now) = (DirectTry::default(), Instant::now());
        direct.renewed(now);
        direct.network_changed(now);
        assert_eq!(direct.next(), Some(now + SETTLED), "there was nothing to try before");
        direct.renewed(now + SECOND);
        assert_eq!(direct.next(), None);
        direct.network_changed(now + SECOND * 2);
        assert_eq!(direct.next(), Some(now + SECOND + BETWEEN));
        direct.reached();
        assert_eq!(direct.next(), None);
    }
}
