//! Streams: numbered entries, appended in order.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Key, StoreError};

/// The kinds of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An epoch log; the address is its public key.
    Log = 1,
    /// A device's inbox.
    Inbox = 2,
    /// A device's one-time key packages.
    KeyPackages = 3,
}

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// What it is.
    pub kind: Kind,
    /// Whose, or its public key.
    pub address: Key,
}

impl StreamId {
    /// The log with this public key.
    pub fn log(address: Key) -> Self {
        Self { kind: Kind::Log, address }
    }

    /// The inbox of a device.
    pub fn inbox(device: Key) -> Self {
        Self { kind: Kind::Inbox, address: device }
    }

    /// The one-time key packages of a device.
    pub fn key_packages(device: Key) -> Self {
        Self { kind: Kind::KeyPackages, address: device }
    }
}

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1 in each stream; a number is never used again.
    pub sequence: u64,
    /// Sealed bytes.
    pub sealed: Bytes,
    /// The last entry of a closed stream.
    pub closing: bool,
}

/// What is known of a stream besides its entries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Head {
    /// Sequence number of the newest entry, also if it was removed; 0 before the first.
    #[prost(uint64, tag = "1")]
    pub last: u64,
    /// How many entries there are.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// Bytes of the entries.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// The account whose quota they count against: 32 bytes, or none.
    #[prost(bytes = "vec", tag = "4")]
    pub owner: Vec<u8>,
    /// Sequence number of the closing entry; 0 while the stream is open.
    #[prost(uint64, tag = "5")]
    pub closed: u64,
    /// When the stream itself may go, in seconds since 1970.
    #[prost(uint64, tag = "6")]
    pub expires_at: u64,
}

impl Head {
    /// The account whose quota the entries count against.
    pub fn owner(&self) -> Option<Key> {
        self.owner.as_slice().try_into().ok()
    }
}

/// What bounds a stream.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most entries.
    pub entries: u64,
    /// Most bytes.
    pub bytes: u64,
    /// When the new entries expire, in seconds since 1970. Entries of one stream expire in their order.
    pub expires_at: u64,
}

/// Which entries to remove. The closing entry stays.
#[derive(Clone, Debug)]
pub enum Selection {
    /// All up to and with this sequence number.
    UpTo(u64),
    /// These; those that are not there are ignored.
    Each(Vec<u64>),
}

/// What was removed from a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The account whose quota it counted against.
    pub owner: Option<Key>,
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Some entries of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub entries: Vec<Entry>,
    /// There are more after them.
    pub more: bool,
}

/// What one step of expiry removed, and where the next begins.
#[derive(Clone, Debug, Default)]
pub struct Expired {
    /// For each stream that lost entries.
    pub removed: Vec<Removed>,
    /// The last stream that was looked at; `None` after the last of all.
    pub next: Option<StreamId>,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Streams.
    pub streams: u64,
    /// Entries in them.
    pub entries: u64,
}

/// Streams. Each call is atomic and durable when its future is ready, for one stream; a call whose future is dropped may have happened.
#[async_trait]
pub trait Streams: Send + Sync {
    /// What is known of a stream, if it exists.
    async fn head(&self, id: StreamId) -> Result<Option<Head>, StoreError>;
    /// Creates a stream; one that exists stays as it is.
    async fn open(&self, id: StreamId, owner: Key, expires_at: u64) -> Result<(), StoreError>;
    /// Appends all entries or none; gives the sequence number of the last. With an owner, a stream that does not exist is created; without
    /// one it is [`StoreError::NotFound`].
    async fn append(
        &self,
        id: StreamId,
        owner: Option<Key>,
        entries: Vec<Bytes>,
        bounds: Bounds,
    ) -> Result<u64, StoreError>;
    /// Appends the closing entry, after which nothing is appended; gives its sequence number. The first close wins.
    async fn close(&self, id: StreamId, entry: Bytes, bounds: Bounds) -> Result<u64, StoreError>;
    /// Entries after a sequence number, up to `limit` entries and about `max_bytes`; at least one, if there is one.
    async fn read(&self, id: StreamId, after: u64, limit: usize, max_bytes: usize) -> Result<Page, StoreError>;
    /// Removes entries.
    async fn remove(&self, id: StreamId, selection: Selection) -> Result<Removed, StoreError>;
    /// Takes the first entry away.
    async fn pop(&self, id: StreamId) -> Result<Option<(Entry, Removed)>, StoreError>;
    /// Removes what has expired from some streams after `after`, and those streams that are empty and have expired themselves.
    async fn expire(&self, after: Option<StreamId>, now: u64) -> Result<Expired, StoreError>;
    /// Some streams after `after`, in order.
    async fn scan(&self, after: Option<StreamId>, limit: usize) -> Result<Vec<(StreamId, Head)>, StoreError>;
    /// How much there is.
    async fn totals(&self) -> Result<Totals, StoreError>;
}
