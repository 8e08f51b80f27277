//! What a rendezvous keeps: accounts, names, invites, and queues (logs, inboxes, key packages), which are ranges of one ordered table
//! `(kind, address, sequence)`.
//!
//! [`Store`] is the seam for other back ends; [`redb::RedbStore`] is the embedded one. A write is durable when its future is ready.

pub mod redb;

use async_trait::async_trait;
use bytes::Bytes;

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such thing.
    #[error("not found")]
    NotFound,
    /// Somebody has it already.
    #[error("taken")]
    Taken,
    /// Older than what is stored.
    #[error("older than what is stored")]
    Stale,
    /// The token or right is used up, expired or unknown.
    #[error("denied")]
    Denied,
    /// No room; it clears as entries are fetched, trimmed or expire.
    #[error("full")]
    Full,
    /// The log is closed; this is its last entry.
    #[error("closed")]
    Closed(Entry),
    /// The disk or database failed.
    #[error("storage failed: {0}")]
    Failed(String),
    /// The file is of a newer version of this program.
    #[error("the database was made by a newer version of starling-rendezvous (schema {0}): update the program")]
    Newer(u32),
    /// Another process has it open.
    #[error("the data directory is in use by another starling-rendezvous")]
    InUse,
}

/// An account id, device id, log address or hash.
pub type Key = [u8; 32];

/// The kinds of queues.
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

/// One entry of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1 in each queue.
    pub sequence: u64,
    /// Sealed bytes.
    pub sealed: Bytes,
    /// The last entry of a log.
    pub closing: bool,
}

/// What bounds a queue.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most entries.
    pub entries: u64,
    /// Most bytes.
    pub bytes: u64,
    /// Most bytes of all queues of the owner.
    pub owner_bytes: u64,
    /// When new entries expire, in seconds since 1970.
    pub expires_at: u64,
}

/// What is known of an account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Account {
    /// The signed device list.
    #[prost(bytes = "bytes", tag = "1")]
    pub device_list: Bytes,
    /// Its version.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// When one of its devices was last here, in days since 1970.
    #[prost(uint64, tag = "3")]
    pub seen_day: u64,
    /// Bytes in queues that it owns.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// Keyed hash of its user name; empty without one.
    #[prost(bytes = "vec", tag = "5")]
    pub name: Vec<u8>,
    /// Banned by the operator.
    #[prost(bool, tag = "6")]
    pub banned: bool,
}

/// How many of what is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Registered accounts.
    pub accounts: u64,
    /// User names.
    pub names: u64,
    /// Logs and inboxes with entries, and key package stocks.
    pub queues: u64,
    /// Entries in them.
    pub entries: u64,
}

/// The storage of a rendezvous.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// An account.
    async fn account(&self, account: Key) -> Result<Option<Account>, StoreError>;
    /// The account that a device belongs to.
    async fn account_of(&self, device: Key) -> Result<Option<Key>, StoreError>;
    /// Stores an account's device list, if its version is newer (or the same bytes).
    async fn put_devices(
        &self,
        account: Key,
        version: u64,
        list: Bytes,
        devices: Vec<Key>,
        gone: Vec<Key>,
    ) -> Result<(), StoreError>;
    /// Notes that an account was here on this day (since 1970).
    async fn seen(&self, account: Key, day: u64) -> Result<(), StoreError>;
    /// Bans or unbans; a ban of an unknown account holds, too.
    async fn set_banned(&self, account: Key, banned: bool) -> Result<(), StoreError>;

    /// Takes a name (its hash) for an account, giving up the one it had; a name whose account was not here since `unused_before` is free.
    async fn claim_name(&self, name: Key, account: Key, unused_before: u64) -> Result<(), StoreError>;
    /// The account that has a name.
    async fn name(&self, name: Key) -> Result<Option<Key>, StoreError>;

    /// Stores an invite of an account; `uses` 0 removes it.
    async fn put_invite(&self, token: Key, account: Key, uses: u32, expires_at: u64) -> Result<(), StoreError>;
    /// Stores the operator's registration token.
    async fn put_registration(&self, token: Key, uses: u32, expires_at: u64) -> Result<(), StoreError>;
    /// Uses the operator's registration token once.
    async fn use_registration(&self, token: Key, now: u64) -> Result<(), StoreError>;

    /// Stores a device's last-resort key package.
    async fn put_last_resort(&self, device: Key, package: Bytes) -> Result<(), StoreError>;
    /// Takes a one-time key package of a device, or copies its last-resort one.
    async fn claim_key_package(&self, device: Key) -> Result<Option<Bytes>, StoreError>;

    /// Stores an account's snapshot if its version is newer.
    async fn put_snapshot(&self, account: Key, version: u64, sealed: Bytes) -> Result<(), StoreError>;
    /// An account's snapshot.
    async fn snapshot(&self, account: Key) -> Result<Option<(u64, Bytes)>, StoreError>;

    /// Creates a log that an account owns.
    async fn open_log(&self, address: Key, owner: Key, expires_at: u64) -> Result<(), StoreError>;
    /// Appends entries; a log must have been opened. Gives the sequence number of the last.
    async fn append(
        &self,
        kind: Kind,
        address: Key,
        owner: Option<Key>,
        entries: Vec<Bytes>,
        bounds: Bounds,
    ) -> Result<u64, StoreError>;
    /// Appends to an inbox by right of an invite's token (hash), which is used up by one.
    async fn append_with_invite(
        &self,
        token: Key,
        now: u64,
        device: Key,
        owner: Key,
        entry: Bytes,
        bounds: Bounds,
    ) -> Result<u64, StoreError>;
    /// Closes a log with its last entry and opens the next; the first close wins.
    async fn close_log(&self, address: Key, entry: Bytes, next: Key, bounds: Bounds) -> Result<u64, StoreError>;
    /// Entries after a sequence number, up to `limit` entries and about `max_bytes`; and whether there are more.
    async fn read(
        &self,
        kind: Kind,
        address: Key,
        after: u64,
        limit: usize,
        max_bytes: usize,
    ) -> Result<(Vec<Entry>, bool), StoreError>;
    /// Whether a log was opened.
    async fn has_log(&self, address: Key) -> Result<bool, StoreError>;
    /// How many entries a queue has.
    async fn count(&self, kind: Kind, address: Key) -> Result<u64, StoreError>;
    /// Deletes entries up to and with a sequence number.
    async fn delete_up_to(&self, kind: Kind, address: Key, sequence: u64) -> Result<(), StoreError>;
    /// Deletes single entries of a log (not the closing one).
    async fn trim(&self, address: Key, sequences: Vec<u64>) -> Result<(), StoreError>;

    /// Deletes what expired, in small steps; gives the number of entries deleted.
    async fn expire(&self, now: u64) -> Result<u64, StoreError>;
    /// Counts.
    async fn totals(&self) -> Result<Totals, StoreError>;
    /// Whether the store can write now.
    async fn check(&self) -> Result<(), StoreError>;

    /// Waits until the store cannot write any more, and the process has to be started again.
    async fn broken(&self);
}
