//! Records: small values by key, replaced by compare-and-swap.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;

use super::{Key, StoreError};

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collection {
    /// [`Account`](super::Account) by account id.
    Accounts,
    /// [`Claim`](super::Claim) of an account by device id.
    Devices,
    /// Nothing, by the id of an account that the operator has banned.
    Bans,
    /// [`Claim`](super::Claim) of an account by the keyed hash of a user name.
    Names,
    /// [`Invite`](super::Invite) by the hash of its token.
    Invites,
    /// [`Token`](super::Token) of the operator by its hash.
    Tokens,
    /// A key package by device id.
    LastResort,
    /// [`Snapshot`](super::Snapshot) by account id.
    Snapshots,
}

impl Collection {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Accounts,
        Self::Devices,
        Self::Bans,
        Self::Names,
        Self::Invites,
        Self::Tokens,
        Self::LastResort,
        Self::Snapshots,
    ];
}

/// The version of a record: grows with each write and is never used again, also after a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// There is no record.
    pub const NONE: Self = Self(0);
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What has to be known to replace it.
    pub revision: Revision,
    /// The encoded value.
    pub value: Bytes,
}

/// Records. Each call is atomic and durable when its future is ready, for one key; a call whose future is dropped may have happened.
#[async_trait]
pub trait Records: Send + Sync {
    /// A record, if there is one.
    async fn get(&self, collection: Collection, key: Key) -> Result<Option<Record>, StoreError>;
    /// Writes a record if its revision is still `expected` ([`Revision::NONE`]: if there is none); gives the new revision. Else
    /// [`StoreError::Conflict`].
    async fn put(
        &self,
        collection: Collection,
        key: Key,
        expected: Revision,
        value: Bytes,
    ) -> Result<Revision, StoreError>;
    /// Deletes a record if its revision is still `expected`; else [`StoreError::Conflict`].
    async fn delete(&self, collection: Collection, key: Key, expected: Revision) -> Result<(), StoreError>;
    /// Some records after the key `after`, in order.
    async fn scan(
        &self,
        collection: Collection,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Record)>, StoreError>;
    /// How many records there are.
    async fn count(&self, collection: Collection) -> Result<u64, StoreError>;
}

/// Tries of [`update`] before it gives up: each lost one means that somebody else's has succeeded.
const MAX_TRIES: usize = 64;

/// A decoded record and its revision; [`Revision::NONE`] if there is none.
pub async fn load<T: Message + Default>(
    records: &dyn Records,
    collection: Collection,
    key: Key,
) -> Result<(Option<T>, Revision), StoreError> {
    match records.get(collection, key).await? {
        Some(record) => Ok((Some(T::decode(record.value).map_err(StoreError::failed)?), record.revision)),
        None => Ok((None, Revision::NONE)),
    }
}

/// Replaces a record by what `change` makes of it, again if somebody else was faster. Nothing is written if the value stays the same.
/// Gives the value that is stored now and its revision.
pub async fn update<T: Message + Default + Clone + PartialEq, E: From<StoreError>>(
    records: &dyn Records,
    collection: Collection,
    key: Key,
    mut change: impl FnMut(Option<T>) -> Result<T, E> + Send,
) -> Result<(T, Revision), E> {
    for _ in 0..MAX_TRIES {
        let (known, revision) = load::<T>(records, collection, key).await?;
        let value = change(known.clone())?;
        if known.as_ref() == Some(&value) {
            return Ok((value, revision));
        }
        match records.put(collection, key, revision, value.encode_to_vec().into()).await {
            Ok(revision) => return Ok((value, revision)),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Writes a record whatever is there.
pub async fn replace(
    records: &dyn Records,
    collection: Collection,
    key: Key,
    value: Bytes,
) -> Result<Revision, StoreError> {
    for _ in 0..MAX_TRIES {
        let revision = records.get(collection, key).await?.map_or(Revision::NONE, |record| record.revision);
        match records.put(collection, key, revision, value.clone()).await {
            Err(StoreError::Conflict) => {}
            written => return written,
        }
    }
    Err(StoreError::Conflict)
}

/// Deletes a record whatever it holds.
pub async fn discard(records: &dyn Records, collection: Collection, key: Key) -> Result<(), StoreError> {
    for _ in 0..MAX_TRIES {
        let Some(record) = records.get(collection, key).await? else {
            return Ok(());
        };
        match records.delete(collection, key, record.revision).await {
            Err(StoreError::Conflict) => {}
            deleted => return deleted,
        }
    }
    Err(StoreError::Conflict)
}
