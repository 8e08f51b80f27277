//! How often something is done, however often it is asked for: so many times at once, and once more in each interval.

use std::time::{Duration, Instant};

/// What is left of it. Time is an argument, and never goes back.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    most: u32,
    every: Duration,
    left: u32,
    /// Since when the next one is on its way.
    since: Instant,
}

impl Allowance {
    /// `most` at once, and one more `every` so long.
    pub fn new(now: Instant, most: u32, every: Duration) -> Self {
        Self { most, every, left: most, since: now }
    }

    fn refill(&mut self, now: Instant) {
        let interval = self.every.as_millis().max(1);
        let more = now.saturating_duration_since(self.since).as_millis() / interval;
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more);
        if self.left >= self.most {
            (self.left, self.since) = (self.most, now);
        } else {
            self.since += self.every * more;
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }

    /// When there is one again, if there is none now.
    pub fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        (self.left == 0).then(|| self.since + self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_no_more_than_one_in_each_interval() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start, 3, Duration::from_secs(2));
        let mut taken = Vec::new();
        for tenth in 0..100 {
            let now = start + Duration::from_millis(100 * tenth);
            if allowance.take(now) {
                assert_eq!(allowance.wait(now).is_some(), taken.len() >= 2);
                taken.push(tenth);
            }
        }
        assert_eq!(taken, [0, 1, 2, 20, 40, 60, 80]);
        let end = start + Duration::from_secs(10);
        assert_eq!(allowance.wait(end), None, "one was due at ten seconds");
        assert!(allowance.take(end) && allowance.wait(end) == Some(end + Duration::from_secs(2)));
        // Who has rested has no more than the most.
        let later = end + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| allowance.take(later)).count(), 3);
    }
}
