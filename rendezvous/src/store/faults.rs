//! A store that stops working after a number of steps, to cut sequences of them short in tests.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Appended, Batch, Bounds, Budget, Collection, Counters, Entry, Expired, Head, Health, Key, Page, Record, Records,
    Removed, Revision, Selection, Store, StoreError, StreamId, Streams, Totals,
};

/// Counts the steps that change something, and lets so many pass.
#[derive(Clone, Debug)]
pub struct Fuse(Arc<AtomicI64>);

impl Fuse {
    /// A fuse that lets everything pass.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }

    /// Lets so many steps pass from now on; the one after them, and all that follow, fail without an effect.
    pub fn blow_after(&self, steps: i64) {
        self.0.store(steps, Ordering::SeqCst);
    }

    /// Lets everything pass again; whether a step had failed.
    pub fn mend(&self) -> bool {
        self.0.swap(i64::MAX, Ordering::SeqCst) < 0
    }

    fn step(&self) -> Result<(), StoreError> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(StoreError::Failed("cut short".into())) }
    }
}

impl Default for Fuse {
    fn default() -> Self {
        Self::new()
    }
}

/// A store behind a [`Fuse`]. Reading always works.
pub fn fused(store: &Store, fuse: &Fuse) -> Store {
    let fused = Arc::new(Fused { store: store.clone(), fuse: fuse.clone() });
    Store {
        streams: fused.clone(),
        records: fused.clone(),
        counters: fused.clone(),
        fanout: store.fanout.clone(),
        health: fused,
    }
}

struct Fused {
    store: Store,
    fuse: Fuse,
}

#[async_trait]
impl Streams for Fused {
    async fn head(&self, id: StreamId) -> Result<Option<Head>, StoreError> {
        self.store.streams.head(id).await
    }

    async fn open(&self, id: StreamId, owner: Key, root: Option<Key>, expires_at: u64) -> Result<bool, StoreError> {
        self.fuse.step()?;
        self.store.streams.open(id, owner, root, expires_at).await
    }

    async fn append(
        &self,
        id: StreamId,
        owner: Option<Key>,
        batch: Batch,
        bounds: Bounds,
    ) -> Result<Appended, StoreError> {
        self.fuse.step()?;
        self.store.streams.append(id, owner, batch, bounds).await
    }

    async fn read(&self, id: StreamId, after: u64, limit: usize, max_bytes: usize) -> Result<Page, StoreError> {
        self.store.streams.read(id, after, limit, max_bytes).await
    }

    async fn remove(&self, id: StreamId, selection: Selection) -> Result<Removed, StoreError> {
        self.fuse.step()?;
        self.store.streams.remove(id, selection).await
    }

    async fn delete(&self, id: StreamId) -> Result<Removed, StoreError> {
        self.fuse.step()?;
        self.store.streams.delete(id).await
    }

    async fn pop(&self, id: StreamId) -> Result<Option<(Entry, Removed)>, StoreError> {
        self.fuse.step()?;
        self.store.streams.pop(id).await
    }

    async fn expire(&self, after: Option<StreamId>, now: u64) -> Result<Expired, StoreError> {
        self.fuse.step()?;
        self.store.streams.expire(after, now).await
    }

    async fn scan(&self, after: Option<StreamId>, limit: usize) -> Result<Vec<(StreamId, Head)>, StoreError> {
        self.store.streams.scan(after, limit).await
    }

    async fn of_owner(&self, owner: Key, after: Option<StreamId>, limit: usize) -> Result<Vec<StreamId>, StoreError> {
        self.store.streams.of_owner(owner, after, limit).await
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        self.store.streams.totals().await
    }
}

#[async_trait]
impl Records for Fused {
    async fn get(&self, collection: Collection, key: Key) -> Result<Option<Record>, StoreError> {
        self.store.records.get(collection, key).await
    }

    async fn put(
        &self,
        collection: Collection,
        key: Key,
        expected: Revision,
        value: Bytes,
    ) -> Result<Revision, StoreError> {
        self.fuse.step()?;
        self.store.records.put(collection, key, expected, value).await
    }

    async fn delete(&self, collection: Collection, key: Key, expected: Revision) -> Result<(), StoreError> {
        self.fuse.step()?;
        self.store.records.delete(collection, key, expected).await
    }

    async fn scan(
        &self,
        collection: Collection,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Record)>, StoreError> {
        self.store.records.scan(collection, after, limit).await
    }

    async fn count(&self, collection: Collection) -> Result<u64, StoreError> {
        self.store.records.count(collection).await
    }
}

#[async_trait]
impl Counters for Fused {
    async fn add(&self, key: Budget, delta: i64) -> Result<u64, StoreError> {
        self.fuse.step()?;
        self.store.counters.add(key, delta).await
    }

    async fn get(&self, key: Budget) -> Result<u64, StoreError> {
        self.store.counters.get(key).await
    }

    async fn keys(&self) -> Result<Vec<Budget>, StoreError> {
        self.store.counters.keys().await
    }
}

#[async_trait]
impl Health for Fused {
    async fn check(&self) -> Result<(), StoreError> {
        self.store.health.check().await
    }

    fn free_space(&self) -> Option<u64> {
        self.store.health.free_space()
    }

    async fn broken(&self) {
        self.store.health.broken().await;
    }
}
