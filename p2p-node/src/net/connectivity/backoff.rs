//! When to try again: exponential back-off with jitter, and early tries out of a small budget.

use std::time::{Duration, Instant};

use rand::{RngExt, rngs::SmallRng};

/// Wait after the first failed try.
const FIRST: Duration = Duration::from_millis(500);
/// A session that has lasted this long was a success: the next failure starts again from [`FIRST`].
pub const STABLE: Duration = Duration::from_secs(5);
/// Early tries that are possible at once: a laptop that wakes up learns several things about a peer within a moment.
pub const EARLY_TRIES: u32 = 8;
/// Time after which one more early try is possible. It bounds what a peer that comes and goes, or says so, can make us do.
pub const EARLY_REFILL: Duration = Duration::from_secs(5);

/// The schedule of the tries to reach one peer.
#[derive(Debug)]
pub struct Backoff {
    next: Instant,
    /// That is an early try, which was not made yet.
    is_early: bool,
    wait: Duration,
    early_tries: u32,
    refilled: Instant,
}

impl Backoff {
    /// Due at once.
    pub fn new(now: Instant) -> Self {
        Self { next: now, is_early: false, wait: FIRST, early_tries: EARLY_TRIES, refilled: now }
    }

    /// When the next try is due.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Notes a try. The next one is due after the current wait ± 20 %, so that many clients do not try in step; the wait after that doubles, up to
    /// `longest`.
    pub fn tried(&mut self, now: Instant, longest: Duration, rng: &mut SmallRng) {
        self.is_early = false;
        self.next = now + self.wait.min(longest).mul_f64(rng.random_range(0.8..1.2));
        self.wait = (self.wait * 2).min(longest);
    }

    /// Something has changed, so that a try may succeed now: makes one due at once, if the budget of early tries allows it.
    pub fn expedite(&mut self, now: Instant) {
        self.expedite_to(now, now);
    }

    /// The same for a try at `at`. Returns whether the next try is due then because of this.
    pub fn expedite_to(&mut self, now: Instant, at: Instant) -> bool {
        let is_sooner = self.next > at && self.take_early_try(now);
        if is_sooner {
            (self.next, self.is_early) = (at, true);
        }
        is_sooner
    }

    /// The same where the next try may be due for long, as none was needed: it is put off until `at`, as others are to be tried now, too.
    pub fn take_turn(&mut self, now: Instant, at: Instant) -> bool {
        let is_overdue = self.next <= now && !self.is_early && self.take_early_try(now);
        if is_overdue {
            (self.next, self.is_early) = (at, true);
        }
        is_overdue || self.expedite_to(now, at)
    }

    /// Whether a try beside those of the schedule is possible now; it is taken out of the budget of early tries.
    pub fn take_early_try(&mut self, now: Instant) -> bool {
        let periods = now.saturating_duration_since(self.refilled).as_secs() / EARLY_REFILL.as_secs();
        if let Ok(periods) = u32::try_from(periods).map(|p| p.min(EARLY_TRIES))
            && periods > 0
        {
            self.early_tries = (self.early_tries + periods).min(EARLY_TRIES);
            self.refilled = now;
        }
        let is_possible = self.early_tries > 0;
        self.early_tries = self.early_tries.saturating_sub(1);
        is_possible
    }

    /// A session has begun: the try that was to be made is not needed.
    pub fn session_began(&mut self) {
        self.is_early = false;
    }

    /// A session that lasted since `since` has ended: after a stable one, waits start again from the shortest.
    pub fn session_ended(&mut self, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) >= STABLE {
            self.wait = FIRST;
        }
    }

    /// Puts the next try off until a given moment, or longer if it is due later.
    pub fn postpone(&mut self, until: Instant) {
        self.next = self.next.max(until);
    }
}
