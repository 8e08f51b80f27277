//! Counters: sums by key that need not be exact.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Key, StoreError};

/// Sums by key. They may be late in other processes and lost with this one: who needs them counts again from time to time.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Adds to a sum, which does not fall below 0; gives the new one, as far as this process knows it.
    async fn add(&self, key: Key, delta: i64) -> Result<u64, StoreError>;
    /// A sum; 0 for a key that was never added to.
    async fn get(&self, key: Key) -> Result<u64, StoreError>;
    /// Corrects a sum after counting, if it is still `expected`.
    async fn correct(&self, key: Key, expected: u64, counted: u64) -> Result<(), StoreError>;
    /// The keys with a sum.
    async fn keys(&self) -> Result<Vec<Key>, StoreError>;
}

/// Counters in memory, for a store of one process: it counts when it is opened.
#[derive(Default)]
pub struct LocalCounters(Mutex<HashMap<Key, u64>>);

impl LocalCounters {
    /// Counters with these sums.
    pub fn new(sums: HashMap<Key, u64>) -> Self {
        Self(Mutex::new(sums))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Counters for LocalCounters {
    async fn add(&self, key: Key, delta: i64) -> Result<u64, StoreError> {
        let mut sums = self.lock();
        let sum = sums.entry(key).or_default();
        *sum = sum.saturating_add_signed(delta);
        let new = *sum;
        if new == 0 {
            sums.remove(&key);
        }
        Ok(new)
    }

    async fn get(&self, key: Key) -> Result<u64, StoreError> {
        Ok(self.lock().get(&key).copied().unwrap_or_default())
    }

    async fn correct(&self, key: Key, expected: u64, counted: u64) -> Result<(), StoreError> {
        let mut sums = self.lock();
        if sums.get(&key).copied().unwrap_or_default() == expected {
            sums.insert(key, counted);
        }
        Ok(())
    }

    async fn keys(&self) -> Result<Vec<Key>, StoreError> {
        Ok(self.lock().keys().copied().collect())
    }
}
