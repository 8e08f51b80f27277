//! Rows of what a group keeps so that a fork of it can be healed.

use bytes::Bytes;
use prost::Message;

use super::{DoorRow, EpochRow, PendingRow};

/// An epoch from which a commit was followed, and whose state is kept for a time: what is needed of it without that state.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ParentMark {
    /// The epoch that the commit has ended.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The hash of the commit that was followed.
    #[prost(bytes = "vec", tag = "2")]
    pub hash: Vec<u8>,
    /// The leaf of the commit's author.
    #[prost(uint32, tag = "3")]
    pub author: u32,
    /// The exporter secret of the epoch, as in [`super::LogRow::secret`].
    #[prost(bytes = "vec", tag = "4")]
    pub secret: Vec<u8>,
    /// When the epoch has ended for us, milliseconds since 1970.
    #[prost(uint64, tag = "5")]
    pub at_ms: u64,
    /// Another device has told us of the commit, and no valid one was read in the epoch's log yet.
    #[prost(bool, tag = "6")]
    pub told: bool,
    /// The exporter secret of an epoch that others may be in who have followed another commit: its log is still to say which one we follow.
    #[prost(bytes = "vec", tag = "7")]
    pub announce_in: Vec<u8>,
    /// The user was told that others had followed another commit.
    #[prost(bool, tag = "8")]
    pub reported: bool,
    /// When what we have followed is left in the inboxes of members who have not been heard in an epoch after it, milliseconds since 1970; 0 if it
    /// is not (any more).
    #[prost(uint64, tag = "9")]
    pub leave_at_ms: u64,
    /// Another way was left here that the group may come back to, see [`ParentRow::left`].
    #[prost(bool, tag = "10")]
    pub has_left: bool,
}

/// A member has left word of a commit that we have not read.
#[derive(Clone, PartialEq, Message)]
pub struct BehindRow {
    /// The epoch that the commit ends.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The member's device.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// When the member is asked for the commit, if we have not come to another epoch by then; milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub ask_at_ms: u64,
}

/// The encryption state of a group in an epoch that a commit has ended. By group id and epoch.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ParentRow {
    /// As mls-rs writes it.
    #[prost(bytes = "vec", tag = "1")]
    pub state: Vec<u8>,
    /// The commit that was followed.
    #[prost(bytes = "bytes", tag = "2")]
    pub commit: Bytes,
    /// The commit of ours that waited then, and was not followed.
    #[prost(message, optional, tag = "3")]
    pub own: Option<PendingRow>,
    /// Entries that we had encrypted since our last commit.
    #[prost(uint64, tag = "4")]
    pub since_update: u64,
    /// When we had last renewed our keys, milliseconds since 1970.
    #[prost(uint64, tag = "5")]
    pub updated_ms: u64,
    /// Secrets of the epochs before it.
    #[prost(message, repeated, tag = "6")]
    pub past: Vec<EpochRow>,
    /// The door that led into that epoch.
    #[prost(message, optional, tag = "7")]
    pub door: Option<DoorRow>,
    /// Commits from this epoch and later ones that were left when another was followed from this one.
    #[prost(message, repeated, tag = "8")]
    pub left: Vec<LeftRow>,
}

/// A commit on a way that was left, and where it leads.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct LeftRow {
    /// The exported secret of the epoch that it was made in.
    #[prost(bytes = "vec", tag = "1")]
    pub secret: Vec<u8>,
    /// The commit.
    #[prost(bytes = "bytes", tag = "2")]
    pub commit: Bytes,
    /// The state after it, as mls-rs writes it.
    #[prost(bytes = "vec", tag = "3")]
    pub state: Vec<u8>,
    /// Secrets of the epochs before that.
    #[prost(message, repeated, tag = "4")]
    pub past: Vec<EpochRow>,
    /// Entries that we had encrypted since our last commit.
    #[prost(uint64, tag = "5")]
    pub since_update: u64,
}

wiped!(ParentMark: secret, ParentRow: state, LeftRow: secret state);
