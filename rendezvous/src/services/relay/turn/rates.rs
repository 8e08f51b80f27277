//! How much one address or one call may send: token buckets, in tables that do not grow.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    time::Instant,
};

use crate::limits::TURN_SLOTS;

/// Bytes a second, and at once.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub per_second: u64,
    pub burst: u64,
}

/// A token bucket.
#[derive(Clone)]
pub(super) struct Bucket {
    left: u64,
    at: Instant,
}

impl Bucket {
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, at: now }
    }

    /// Whether there is room for `cost`, which is taken then.
    pub fn take(&mut self, cost: u64, rate: Rate, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let gained = elapsed.saturating_mul(u128::from(rate.per_second)) / 1_000_000_000;
        // Less than one byte stays to be counted the next time.
        if gained > 0 {
            self.left = self.left.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)).min(rate.burst);
            self.at = now;
        }
        let enough = cost <= self.left;
        if enough {
            self.left -= cost;
        }
        enough
    }
}

/// A bucket for each key, in a table that does not grow. Who shares a slot with whom cannot be foreseen from outside.
pub(super) struct Slots {
    rate: Rate,
    slots: Vec<Bucket>,
    hasher: RandomState,
}

impl Slots {
    pub fn new((per_second, burst): (u64, u64), now: Instant) -> Self {
        let rate = Rate { per_second, burst };
        Self { rate, slots: vec![Bucket::full(rate, now); TURN_SLOTS], hasher: RandomState::new() }
    }

    pub fn take(&mut self, key: impl Hash, cost: u64, now: Instant) -> bool {
        let slot = self.hasher.hash_one(key) % TURN_SLOTS as u64;
        let rate = self.rate;
        self.slots.get_mut(slot as usize).is_some_and(|bucket| bucket.take(cost, rate, now))
    }
}
