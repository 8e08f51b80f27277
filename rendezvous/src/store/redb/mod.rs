//! The embedded store. One thread writes: it takes all jobs that wait, runs them in one transaction, commits with `fsync`, then answers. So each
//! job is one step of [`Streams`](super::Streams) or [`Records`](super::Records), and many share a commit.

mod handle;
mod migrate;
mod records;
mod streams;
#[cfg(test)]
mod tests;
mod writer;

use std::{collections::HashMap, fs, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableDatabase};

use self::{handle::Handle, writer::Writer};
use super::{Budget, Health, LocalCounters, LocalFanout, Store, StoreError};
use crate::private_file::keep_private;

/// Heads read at once when the quotas are counted.
const COUNT_PAGE: usize = 10_000;

/// The embedded store.
pub struct RedbStore {
    db: Arc<Handle>,
    writer: Writer,
}

impl RedbStore {
    /// Opens or creates the database file; one of an earlier version is brought up to date. Blocks while it does.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        create_private(path).map_err(StoreError::failed)?;
        let db = Arc::new(Handle::open(path)?);
        db.with(migrate::bring_up_to_date)?;
        let store = Self { writer: Writer::start(db.clone())?, db };
        let counters = Arc::new(LocalCounters::new(store.count_quotas()?));
        let store = Arc::new(store);
        Ok(Store {
            streams: store.clone(),
            records: store.clone(),
            counters,
            fanout: Arc::new(LocalFanout::default()),
            health: store,
        })
    }

    fn reading<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.db.with(|db| {
            let txn = db.begin_read().map_err(StoreError::failed)?;
            read(&txn).map_err(StoreError::failed)
        })
    }

    /// What each account stores: about a microsecond for each stream.
    fn count_quotas(&self) -> Result<HashMap<Budget, u64>, StoreError> {
        let (mut sums, mut after) = (HashMap::new(), None);
        loop {
            let page = self.scan_streams(after, COUNT_PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(sums);
            };
            after = Some(*last);
            for (id, head) in page {
                for (budget, cost) in head.budgets(&id) {
                    *sums.entry(budget).or_default() += cost;
                }
            }
        }
    }
}

/// Makes sure that the file is for its owner alone before anything is in it, whatever the directory and the umask allow.
fn create_private(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    keep_private(path)
}

#[async_trait]
impl Health for RedbStore {
    async fn check(&self) -> Result<(), StoreError> {
        self.writer.write(|_| Ok(())).await
    }

    fn free_space(&self) -> Option<u64> {
        self.db.free_space()
    }

    async fn broken(&self) {
        self.writer.broken().await;
    }
}
