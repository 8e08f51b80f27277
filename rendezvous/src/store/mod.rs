//! What a rendezvous keeps, split by the guarantee that each part needs:
//!
//! - [`Streams`]: entries in order, appended to or closed atomically, one stream at a time (logs, inboxes, key packages);
//! - [`Records`]: small values that are replaced by compare-and-swap, one key at a time (the directory);
//! - [`Counters`]: sums that may be late or lost and are counted again (quotas);
//! - [`Fanout`]: messages to whoever listens now, at most once (what is pushed to sessions).
//!
//! No operation touches two keys at once, so that a back end may keep each key on another machine. What a request changes in several places is a
//! sequence of such operations that is safe when it is cut short between any two: decision 009 says how. `contract` holds the tests that
//! every back end has to pass.

mod counters;
mod fanout;
mod records;
pub mod redb;
mod stored;
mod streams;
mod values;
mod writers;

#[cfg(any(test, feature = "contract"))]
pub mod contract;
#[cfg(any(test, feature = "contract"))]
pub mod faults;
#[cfg(any(test, feature = "contract"))]
pub mod memory;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::{
    counters::{Budget, Counters, LocalCounters},
    fanout::{Fanout, LocalFanout, Missed, Outbox, SubscriberId, Topic},
    records::{Collection, Record, Records, Revision, discard, load, replace, update},
    stored::WhenStored,
    streams::{
        Appended, Author, Batch, Bounds, CandidateBounds, Entry, Expired, Head, Kind, MAX_CLASS, NOBODYS, Page,
        Removed, Selection, Share, StreamId, Streams, Totals,
    },
    values::{Account, Claim, HeldMark, Invite, Snapshot, Token},
    writers::{Writer, WriterCost},
};

/// An account id, device id, log address or hash.
pub type Key = [u8; 32];

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such stream.
    #[error("not found")]
    NotFound,
    /// The record has another revision than the one expected: somebody else has written it since.
    #[error("changed by somebody else")]
    Conflict,
    /// No room; it clears as entries are fetched, trimmed or expire.
    #[error("full")]
    Full,
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

impl StoreError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Whether a store works.
#[async_trait]
pub trait Health: Send + Sync {
    /// Whether it can write now.
    async fn check(&self) -> Result<(), StoreError>;
    /// Bytes that its disk has left; `None` if it does not know.
    fn free_space(&self) -> Option<u64>;
    /// Waits until it cannot write any more, and the process has to be started again.
    async fn broken(&self);
}

/// The parts of a store. They may be of one back end or of several.
#[derive(Clone)]
pub struct Store {
    /// Entries in order.
    pub streams: Arc<dyn Streams>,
    /// Small values.
    pub records: Arc<dyn Records>,
    /// Sums.
    pub counters: Arc<dyn Counters>,
    /// Messages to those who listen.
    pub fanout: Arc<dyn Fanout>,
    /// Whether all that works.
    pub health: Arc<dyn Health>,
}
