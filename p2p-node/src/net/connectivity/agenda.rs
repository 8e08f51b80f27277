//! What is due when: an index by time, so that a turn costs what is due in it, and not what is known.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Moments, at most one for each key.
#[derive(Debug)]
pub struct Agenda<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Agenda<K> {
    /// Sets the moment of a key, or removes it.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, key));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key));
        }
    }

    /// The earliest moment.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The keys whose moments come until a time, the earliest first.
    pub fn until(&self, at: Instant) -> impl Iterator<Item = K> {
        self.by_time.iter().take_while(move |(due, _)| *due <= at).map(|(_, key)| *key)
    }

    /// Removes and returns the key with the earliest moment, if that has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}
