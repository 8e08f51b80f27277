//! Counters: sums by key that need not be exact.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Key, Kind, StoreError, WriterCost};

/// What has a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Budget {
    /// Everything that is stored.
    All,
    /// Everything of accounts that are not old enough to have their full quotas.
    Young,
    /// The logs of an account.
    Logs(Key),
    /// The logs of a conversation, by the address of the first, apart from commits.
    Conversation(Key),
    /// The commits in them.
    Commits(Key),
    /// What a writer has in them of one of these two.
    Writer(u64),
    /// The inboxes of an account.
    Inboxes(Key),
    /// The key packages of an account.
    KeyPackages(Key),
    /// The records of an account.
    Records(Key),
}

impl Budget {
    /// What something that a stream has counts against, and how much. `writers` is what is known of whose it is.
    pub fn of_stream(kind: Kind, root: Key, owner: Option<Key>, cost: u64, writers: &[WriterCost]) -> Vec<(Self, u64)> {
        let of_owner = owner.map(|owner| match kind {
            Kind::Log => Self::Logs(owner),
            Kind::Inbox => Self::Inboxes(owner),
            Kind::KeyPackages => Self::KeyPackages(owner),
        });
        let mut budgets = vec![(Self::All, cost)];
        budgets.extend(of_owner.map(|budget| (budget, cost)));
        if kind == Kind::Log {
            let commits = writers.iter().filter(|writer| writer.is_commits()).map(|writer| writer.cost).sum();
            let others = cost.saturating_sub(commits);
            let pools = [(Self::Conversation(root), others), (Self::Commits(root), commits)];
            budgets.extend(pools.into_iter().filter(|(_, cost)| *cost > 0));
            budgets.extend(writers.iter().map(|writer| (Self::Writer(writer.tag), writer.cost)));
        }
        budgets
    }
}

/// Sums by key. They may be late in other processes and lost with this one: who needs them counts again from time to time.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Adds to a sum, which does not fall below 0; gives the new one, as far as this process knows it.
    async fn add(&self, key: Budget, delta: i64) -> Result<u64, StoreError>;
    /// A sum; 0 for a key that was never added to.
    async fn get(&self, key: Budget) -> Result<u64, StoreError>;
    /// The keys with a sum.
    async fn keys(&self) -> Result<Vec<Budget>, StoreError>;
}

/// Counters in memory, for a store of one process: it counts when it is opened.
#[derive(Default)]
pub struct LocalCounters(Mutex<HashMap<Budget, u64>>);

impl LocalCounters {
    /// Counters with these sums.
    pub fn new(sums: HashMap<Budget, u64>) -> Self {
        Self(Mutex::new(sums))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Budget, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Counters for LocalCounters {
    async fn add(&self, key: Budget, delta: i64) -> Result<u64, StoreError> {
        let mut sums = self.lock();
        let sum = sums.entry(key).or_default();
        *sum = sum.saturating_add_signed(delta);
        let new = *sum;
        if new == 0 {
            sums.remove(&key);
        }
        Ok(new)
    }

    async fn get(&self, key: Budget) -> Result<u64, StoreError> {
        Ok(self.lock().get(&key).copied().unwrap_or_default())
    }

    async fn keys(&self) -> Result<Vec<Budget>, StoreError> {
        Ok(self.lock().keys().copied().collect())
    }
}
