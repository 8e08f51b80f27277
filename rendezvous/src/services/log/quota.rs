//! What an account stores, in all streams that count against it.
//!
//! The bytes are counted before they are stored and discounted after they are removed. Whatever is cut short between, the count is then too high and
//! never too low, so that nobody stores more than they may by breaking off requests; the sweep corrects it.

use bytes::Bytes;

use crate::{
    services::Services,
    store::{Bounds, Key, Removed, StoreError, StreamId},
};

/// What bounds an append.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The stream.
    pub stream: Bounds,
    /// Most bytes of all streams of the owner.
    pub owner_bytes: u64,
}

/// The last step of an append.
enum Last {
    Append(Vec<Bytes>),
    Close(Bytes),
}

impl Services {
    /// Appends to a stream that counts against `owner`. With `create`, one that does not exist is created.
    pub async fn append(
        &self,
        id: StreamId,
        owner: Option<Key>,
        create: bool,
        entries: Vec<Bytes>,
        allowance: Allowance,
    ) -> Result<u64, StoreError> {
        let size = entries.iter().map(Bytes::len).sum();
        self.charged(id, owner, create, size, allowance, Last::Append(entries)).await
    }

    /// Closes a stream that counts against `owner`.
    pub async fn close(
        &self,
        id: StreamId,
        owner: Option<Key>,
        entry: Bytes,
        allowance: Allowance,
    ) -> Result<u64, StoreError> {
        self.charged(id, owner, false, entry.len(), allowance, Last::Close(entry)).await
    }

    async fn charged(
        &self,
        id: StreamId,
        owner: Option<Key>,
        create: bool,
        size: usize,
        allowance: Allowance,
        last: Last,
    ) -> Result<u64, StoreError> {
        let size = i64::try_from(size).map_err(|_| StoreError::Full)?;
        if let Some(owner) = owner
            && self.store.counters.add(owner, size).await? > allowance.owner_bytes
        {
            self.store.counters.add(owner, -size).await?;
            return Err(StoreError::Full);
        }
        let streams = &self.store.streams;
        let done = match last {
            Last::Append(entries) => streams.append(id, owner.filter(|_| create), entries, allowance.stream).await,
            Last::Close(entry) => streams.close(id, entry, allowance.stream).await,
        };
        if let (Err(_), Some(owner)) = (&done, owner) {
            self.store.counters.add(owner, -size).await?;
        }
        done
    }

    /// Discounts what was removed.
    pub async fn discount(&self, removed: Removed) -> Result<(), StoreError> {
        if let (Some(owner), bytes @ 1..) = (removed.owner, removed.bytes) {
            self.store.counters.add(owner, -i64::try_from(bytes).unwrap_or(i64::MAX)).await?;
        }
        Ok(())
    }
}
