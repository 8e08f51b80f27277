//! A store in memory, for tests: the shortest program that fulfils the contract.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Appended, Batch, Bounds, Collection, Entry, Expired, Head, Health, Key, LocalCounters, LocalFanout, Page, Record,
    Records, Removed, Revision, Selection, Store, StoreError, StreamId, Streams, Totals,
};

#[derive(Default)]
struct Stream {
    head: Head,
    entries: BTreeMap<u64, Stored>,
}

struct Stored {
    expires_at: u64,
    class: u8,
    eraser: Option<Key>,
    sealed: Bytes,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<StreamId, Stream>,
    records: BTreeMap<(Collection, Key), Record>,
    revision: u64,
}

/// A store in memory.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// Its parts.
    pub fn parts(&self) -> Store {
        let store = Arc::new(self.clone());
        Store {
            streams: store.clone(),
            records: store.clone(),
            counters: Arc::new(LocalCounters::default()),
            fanout: Arc::new(LocalFanout::default()),
            health: store,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn entry(&self, sequence: u64) -> Option<Entry> {
        let stored = self.entries.get(&sequence)?;
        Some(Entry { sequence, sealed: stored.sealed.clone() })
    }

    fn append(&mut self, id: &StreamId, batch: Batch, bounds: Bounds) -> Result<Appended, StoreError> {
        if !self.head.takes_candidates(&batch, &bounds.candidates) {
            return Err(StoreError::Full);
        }
        let (count, size, share) = (batch.entries.len() as u64, batch.bytes(), bounds.share);
        let (mut displaced, class) = (Vec::new(), self.head.class_of(&batch));
        let (mut of_class, mut bytes_of_class) = self.head.class(class);
        let mut oldest = self.entries.iter().filter(|(_, stored)| stored.class == class);
        let mut freed = (0, 0);
        while class > 0 && (of_class + count > share.entries || bytes_of_class + size > share.bytes) {
            let (sequence, stored) = oldest.next().filter(|_| share.is_ring).ok_or(StoreError::Full)?;
            let bytes = stored.sealed.len() as u64;
            (of_class, bytes_of_class) = (of_class - 1, bytes_of_class - bytes);
            freed = (freed.0 + 1, freed.1 + bytes);
            displaced.push(*sequence);
        }
        let (kept, kept_bytes) = (self.head.count - freed.0, self.head.bytes - freed.1);
        if kept + count > bounds.entries || kept_bytes + size > bounds.bytes {
            return Err(StoreError::Full);
        }
        let displaced = self.remove(id, displaced);
        self.head.count_candidates(&batch);
        for sealed in batch.entries {
            self.head.last += 1;
            self.head.count_entry(class, sealed.len() as u64, true);
            let stored = Stored { expires_at: bounds.expires_at, class, eraser: batch.eraser, sealed };
            self.entries.insert(self.head.last, stored);
        }
        self.head.name_class(class, batch.writer);
        self.head.expires_at = self.head.expires_at.max(bounds.expires_at);
        Ok(Appended { head: self.head.clone(), displaced })
    }

    fn remove(&mut self, id: &StreamId, sequences: impl IntoIterator<Item = u64>) -> Removed {
        let (mut removed, writers) = (Removed::of(id, &self.head), self.head.writers());
        for sequence in sequences {
            if let Some(stored) = self.entries.remove(&sequence) {
                let bytes = stored.sealed.len() as u64;
                self.head.count_entry(stored.class, bytes, false);
                removed.entries += 1;
                removed.bytes += bytes;
                self.head.forget_candidate(sequence);
            }
        }
        removed.writers = self.head.removed_since(writers);
        removed
    }
}

#[async_trait]
impl Streams for MemoryStore {
    async fn head(&self, id: StreamId) -> Result<Option<Head>, StoreError> {
        Ok(self.lock().streams.get(&id).map(|stream| stream.head.clone()))
    }

    async fn open(&self, id: StreamId, owner: Key, root: Option<Key>, expires_at: u64) -> Result<bool, StoreError> {
        let root = root.map(|root| root.to_vec()).unwrap_or_default();
        let head = Head { owner: owner.to_vec(), root, expires_at, ..Head::default() };
        let mut state = self.lock();
        let is_new = !state.streams.contains_key(&id);
        state.streams.entry(id).or_insert_with(|| Stream { head, ..Stream::default() });
        Ok(is_new)
    }

    async fn append(
        &self,
        id: StreamId,
        owner: Option<Key>,
        batch: Batch,
        bounds: Bounds,
    ) -> Result<Appended, StoreError> {
        let then = batch.then.clone();
        // Done while nobody else can append.
        let mut state = self.lock();
        if let Some(stream) = state.streams.get_mut(&id) {
            return stream.append(&id, batch, bounds).inspect(|appended| then.run(&appended.head));
        }
        let owner = owner.ok_or(StoreError::NotFound)?;
        let head = Head { owner: owner.to_vec(), ..Head::default() };
        let mut stream = Stream { head, ..Stream::default() };
        let appended = stream.append(&id, batch, bounds)?;
        state.streams.insert(id, stream);
        then.run(&appended.head);
        Ok(appended)
    }

    async fn read(&self, id: StreamId, after: u64, limit: usize, max_bytes: usize) -> Result<Page, StoreError> {
        let state = self.lock();
        let (mut page, mut bytes) = (Page { entries: Vec::new(), more: false }, 0);
        let Some(stream) = state.streams.get(&id) else {
            return Ok(page);
        };
        for sequence in stream.entries.range(after.saturating_add(1)..).map(|(sequence, _)| *sequence) {
            let Some(entry) = stream.entry(sequence) else { continue };
            bytes += entry.sealed.len();
            if !page.entries.is_empty() && (page.entries.len() >= limit || bytes > max_bytes) {
                page.more = true;
                break;
            }
            page.entries.push(entry);
        }
        Ok(page)
    }

    async fn remove(&self, id: StreamId, selection: Selection) -> Result<Removed, StoreError> {
        let mut state = self.lock();
        let Some(stream) = state.streams.get_mut(&id) else {
            return Ok(Removed::default());
        };
        let stays: Vec<u64> = stream.head.candidates_between(0, u64::MAX).collect();
        let mut sequences: Vec<u64> = match selection {
            Selection::UpTo(last) => stream.entries.range(..=last).map(|(sequence, _)| *sequence).collect(),
            Selection::Each { sequences, eraser } => {
                let may = |stored: &Stored| stored.eraser.is_none() || stored.eraser == eraser;
                sequences.into_iter().filter(|sequence| stream.entries.get(sequence).is_some_and(may)).collect()
            }
        };
        sequences.retain(|sequence| !stays.contains(sequence));
        Ok(stream.remove(&id, sequences))
    }

    async fn delete(&self, id: StreamId) -> Result<Removed, StoreError> {
        let Some(stream) = self.lock().streams.remove(&id) else {
            return Ok(Removed::default());
        };
        let Head { count, bytes, .. } = stream.head;
        let writers = stream.head.writers();
        Ok(Removed { entries: count, bytes, streams: 1, writers, ..Removed::of(&id, &stream.head) })
    }

    async fn pop(&self, id: StreamId) -> Result<Option<(Entry, Removed)>, StoreError> {
        let mut state = self.lock();
        let Some(stream) = state.streams.get_mut(&id) else {
            return Ok(None);
        };
        let first = stream.entries.keys().next().and_then(|sequence| stream.entry(*sequence));
        Ok(first.map(|entry| {
            let removed = stream.remove(&id, [entry.sequence]);
            (entry, removed)
        }))
    }

    async fn expire(&self, after: Option<StreamId>, now: u64) -> Result<Expired, StoreError> {
        let mut state = self.lock();
        let mut expired = Expired::default();
        state.streams.retain(|id, stream| {
            if after.is_some_and(|after| *id <= after) {
                return true;
            }
            let old = stream.entries.iter().take_while(|(_, stored)| stored.expires_at <= now);
            let old: Vec<u64> = old.map(|(sequence, _)| *sequence).collect();
            let mut removed = stream.remove(id, old);
            let stays = stream.head.count > 0 || stream.head.expires_at > now;
            removed.streams = u64::from(!stays);
            if removed.cost() > 0 {
                expired.removed.push(removed);
            }
            stays
        });
        Ok(expired)
    }

    async fn scan(&self, after: Option<StreamId>, limit: usize) -> Result<Vec<(StreamId, Head)>, StoreError> {
        let state = self.lock();
        let all = state.streams.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        Ok(all.take(limit).map(|(id, stream)| (*id, stream.head.clone())).collect())
    }

    async fn of_owner(&self, owner: Key, after: Option<StreamId>, limit: usize) -> Result<Vec<StreamId>, StoreError> {
        let state = self.lock();
        let all = state.streams.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        Ok(all.filter(|(_, stream)| stream.head.owner() == Some(owner)).map(|(id, _)| *id).take(limit).collect())
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        let state = self.lock();
        let entries = state.streams.values().map(|stream| stream.entries.len() as u64).sum();
        Ok(Totals { streams: state.streams.len() as u64, entries })
    }
}

#[async_trait]
impl Records for MemoryStore {
    async fn get(&self, collection: Collection, key: Key) -> Result<Option<Record>, StoreError> {
        Ok(self.lock().records.get(&(collection, key)).cloned())
    }

    async fn put(
        &self,
        collection: Collection,
        key: Key,
        expected: Revision,
        value: Bytes,
    ) -> Result<Revision, StoreError> {
        let mut state = self.lock();
        if state.revision_of(collection, key) != expected {
            return Err(StoreError::Conflict);
        }
        state.revision += 1;
        let revision = Revision(state.revision);
        state.records.insert((collection, key), Record { revision, value });
        Ok(revision)
    }

    async fn delete(&self, collection: Collection, key: Key, expected: Revision) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.revision_of(collection, key) != expected {
            return Err(StoreError::Conflict);
        }
        state.records.remove(&(collection, key));
        Ok(())
    }

    async fn scan(
        &self,
        collection: Collection,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Record)>, StoreError> {
        let state = self.lock();
        let all =
            state.records.iter().filter(|((of, key), _)| *of == collection && after.is_none_or(|after| *key > after));
        Ok(all.take(limit).map(|((_, key), record)| (*key, record.clone())).collect())
    }

    async fn count(&self, collection: Collection) -> Result<u64, StoreError> {
        Ok(self.lock().records.keys().filter(|(of, _)| *of == collection).count() as u64)
    }
}

impl State {
    fn revision_of(&self, collection: Collection, key: Key) -> Revision {
        self.records.get(&(collection, key)).map_or(Revision::NONE, |record| record.revision)
    }
}

#[async_trait]
impl Health for MemoryStore {
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn free_space(&self) -> Option<u64> {
        None
    }

    async fn broken(&self) {
        std::future::pending().await
    }
}
