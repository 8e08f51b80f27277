//! How long a server that we have asked too often is left alone: as long as it says, and longer each time if it answers nothing after that.

use crate::limits::{MAX_RETRY_MS, MIN_RETRY_MS, RETRY_REFUSED_MS};

/// What a server has said of how often it may be asked. Times are steady.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// It is not asked before this.
    until: u64,
    /// The last wait; 0 if it has answered since.
    wait_ms: u64,
}

impl Pace {
    /// When the server may be asked again.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// The server has refused a request, as it was asked too often, and asks for this wait. Gives when it is asked again: all that it refuses until
    /// then was sent before, and waits for the same time.
    pub fn refused(&mut self, now: u64, asked_ms: u64) -> u64 {
        let asked_ms = asked_ms.min(MAX_RETRY_MS);
        if now < self.until {
            self.until = self.until.max(now.saturating_add(asked_ms));
        } else {
            let longer = self.wait_ms.saturating_mul(2).min(RETRY_REFUSED_MS);
            self.wait_ms = asked_ms.max(longer).max(MIN_RETRY_MS);
            self.until = now.saturating_add(self.wait_ms);
        }
        self.until
    }

    /// The server has answered a request.
    pub fn answered(&mut self, now: u64) {
        if now >= self.until {
            self.wait_ms = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_again_when_it_says() {
        let mut pace = Pace::default();
        assert_eq!(pace.refused(1_000, 2_000), 3_000);
        assert_eq!(pace.refused(1_500, 20), 3_000, "it was sent before");
        assert_eq!(pace.refused(2_900, 2_000), 4_900);
        pace.answered(3_000);
        pace.answered(4_900);
        assert_eq!(pace.refused(5_000, 1), 5_000 + MIN_RETRY_MS);
        assert_eq!(pace.until(), 5_000 + MIN_RETRY_MS);
    }

    #[test]
    fn whatever_a_server_says_it_is_asked_neither_in_a_loop_nor_never() {
        for said in [1, u64::MAX] {
            let (mut pace, mut now, mut asked) = (Pace::default(), 0, 0);
            while now < 3_600_000 {
                let at = pace.refused(now, said);
                assert!(at - now <= MAX_RETRY_MS, "{said}");
                (now, asked) = (at, asked + 1);
            }
            assert!((60..=370).contains(&asked), "{asked} requests in an hour where it says {said}");
        }
        assert_eq!(Pace::default().refused(u64::MAX, u64::MAX), u64::MAX);
    }
}
