//! When early tries are made, of however many devices: so many at once, and then one in each interval.

use std::time::{Duration, Instant};

/// Turns that are taken one after the other. What is kept is one moment, however many wait for theirs. Time never goes back.
#[derive(Debug)]
pub struct Turns {
    /// That may be taken at once after a rest.
    at_once: u32,
    every: Duration,
    /// When all turns that were taken would be over if there had been one in each interval.
    taken_until: Option<Instant>,
}

impl Turns {
    /// `at_once`, and then one `every` so long.
    pub fn new(at_once: u32, every: Duration) -> Self {
        Self { at_once, every, taken_until: None }
    }

    /// When the turn is that can be taken next; not before `now`.
    pub fn next(&self, now: Instant) -> Instant {
        let ahead = self.every * self.at_once.saturating_sub(1);
        let next = self.taken_until.and_then(|until| until.checked_sub(ahead));
        next.map_or(now, |next| next.max(now))
    }

    /// Takes that turn.
    pub fn take(&mut self, now: Instant) {
        self.taken_until = Some(self.taken_until.map_or(now, |until| until.max(now)) + self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_turns_are_at_once_and_the_others_follow_in_intervals() {
        let (now, second) = (Instant::now() + Duration::from_secs(60), Duration::from_secs(1));
        let mut turns = Turns::new(3, 2 * second);
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.push(turns.next(now) - now);
            turns.take(now);
        }
        assert_eq!(taken, [0, 0, 0, 2, 4, 6].map(|n| n * second));
        // What was not taken is no more than what may be taken at once.
        let later = now + 3_600 * second;
        for wait in [0, 0, 0, 2] {
            assert_eq!(turns.next(later) - later, wait * second);
            turns.take(later);
        }
        assert_eq!(turns.next(later + 5 * second), later + 5 * second);
    }
}
