//! Rows of MLS groups and their logs.

use bytes::Bytes;
use prost::Message;
use starling_wire::SeenEntries;

use super::{BehindRow, ParentMark};

/// An MLS group. By group id. Field 16 was used in older versions.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct GroupRow {
    /// The chat.
    #[prost(bytes = "vec", tag = "1")]
    pub chat: Vec<u8>,
    /// The rendezvous with the logs; empty without one.
    #[prost(string, tag = "4")]
    pub home: String,
    /// When we last renewed our keys, milliseconds since 1970.
    #[prost(uint64, tag = "8")]
    pub updated_ms: u64,
    /// The other side has joined.
    #[prost(bool, tag = "9")]
    pub confirmed: bool,
    /// The log was created at the home.
    #[prost(bool, tag = "10")]
    pub log_opened: bool,
    /// We have created the group.
    #[prost(bool, tag = "11")]
    pub ours: bool,
    /// Its log is lost, or nobody can go on in it: not written to any more.
    #[prost(bool, tag = "13")]
    pub dead: bool,
    /// The other side has gone on in an older group, and has written nothing in this one.
    #[prost(bool, tag = "14")]
    pub unjoined: bool,
    /// Account and device, 32 bytes each, of every member. Empty as older versions have written it.
    #[prost(bytes = "vec", tag = "15")]
    pub members: Vec<u8>,
    /// The epochs that a fork can be healed from, oldest first.
    #[prost(message, repeated, tag = "17")]
    pub parents: Vec<ParentMark>,
    /// We may be behind others.
    #[prost(message, optional, tag = "18")]
    pub behind: Option<BehindRow>,
    /// We have given it up, and the others do not know yet: the next group that we make says so.
    #[prost(bool, tag = "19")]
    pub unreplaced: bool,
    /// A device that our account has removed, and that is not in it, may know its door: another group takes its place.
    #[prost(bool, tag = "21")]
    pub exposed: bool,
    /// Another took its place while the home of its log did not answer: what others have written there is read once it does.
    #[prost(bool, tag = "22")]
    pub left: bool,
    /// Devices that have entered it again, and are given what they lack later: each is given that once in a time.
    #[prost(bytes = "vec", repeated, tag = "23")]
    pub owed: Vec<Vec<u8>>,
    /// The log with the ways into it; none in groups that older versions have made.
    #[prost(message, optional, tag = "20")]
    pub door: Option<DoorRow>,
    /// The links into it, each with what this device does for it.
    #[prost(message, repeated, tag = "24")]
    pub links: Vec<LinkRow>,
    /// Logs of epochs that are over, which devices of the account that owns them delete once nobody needs them, oldest first.
    #[prost(message, repeated, tag = "25")]
    pub past_logs: Vec<PastLogRow>,
    /// What is known of how far members have come.
    #[prost(message, repeated, tag = "26")]
    pub reached: Vec<ReachedRow>,
    /// Devices that have not come to this epoch were left behind: the logs before it are deleted.
    #[prost(uint64, tag = "27")]
    pub left_behind: u64,
    /// What its leaves say of the programs there; none as older versions have written it.
    #[prost(message, optional, tag = "28")]
    pub leaves: Option<LeavesRow>,
}

/// A log of an epoch that is over, or of a door that another has taken the place of.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct PastLogRow {
    /// The epoch.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Its address.
    #[prost(bytes = "vec", tag = "2")]
    pub address: Vec<u8>,
    /// Who has written most of it; none of a door, and as older versions have written it.
    #[prost(message, optional, tag = "3")]
    pub written: Option<WrittenRow>,
}

/// Who has written most of what was read in a log.
#[derive(Clone, PartialEq, Message)]
pub struct WrittenRow {
    /// Bytes of all that was read in it, with what each entry takes beside its bytes.
    #[prost(uint64, tag = "1")]
    pub bytes: u64,
    /// Accounts that have written much of that.
    #[prost(message, repeated, tag = "2")]
    pub writers: Vec<WriterRow>,
}

/// What an account has written in a log.
#[derive(Clone, PartialEq, Message)]
pub struct WriterRow {
    /// Eight bytes of the account's id; 0 for all whose account is not known.
    #[prost(fixed64, tag = "1")]
    pub tag: u64,
    /// So many bytes at least.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// How far a member has come.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ReachedRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// The newest epoch that it is known to have been in.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// What the leaves of a group say of the programs of its devices.
#[derive(Clone, PartialEq, Message)]
pub struct LeavesRow {
    /// The newest version of policies that was known to the program which has written this.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The devices whose programs do not know that version, 32 bytes each.
    #[prost(bytes = "vec", tag = "2")]
    pub outdated: Vec<u8>,
    /// The group is of a version before it, and can be raised.
    #[prost(bool, tag = "3")]
    pub can_be_raised: bool,
    /// The group is of a version after it.
    #[prost(bool, tag = "4")]
    pub is_newer: bool,
}

/// A link into a group, as its policy has it: what this device writes for whoever has it, and reads of them.
#[derive(Clone, PartialEq, Message)]
pub struct LinkRow {
    /// Its public key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// This device is to write the way into the current epoch in its log.
    #[prost(bool, tag = "2")]
    pub due: bool,
    /// The number of the entry there that it has written last; 0 if there is none.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// It does not count any more, and that is still to be written there.
    #[prost(bool, tag = "4")]
    pub ended: bool,
    /// Somebody has to approve.
    #[prost(bool, tag = "5")]
    pub approve: bool,
    /// Our account has made it, and its box is to be opened.
    #[prost(bool, tag = "6")]
    pub opens: bool,
    /// Requests in its box were read up to this number.
    #[prost(uint64, tag = "7")]
    pub read: u64,
}

/// The log through which new devices of a group's accounts enter it.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct DoorRow {
    /// The exporter secret of the group's first epoch that its keys are derived from.
    #[prost(bytes = "vec", tag = "1")]
    pub secret: Vec<u8>,
    /// This device is to write the way into the current epoch there.
    #[prost(bool, tag = "2")]
    pub due: bool,
    /// The number of the entry that it has written last; 0 if there is none.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
}

/// A door that another device of ours has told us of. In the row of a conversation, until its group was entered or another was made.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct OfferedDoor {
    /// The group.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// As [`DoorRow::secret`].
    #[prost(bytes = "vec", tag = "2")]
    pub secret: Vec<u8>,
    /// The rendezvous with the group's logs.
    #[prost(string, tag = "3")]
    pub home: String,
    /// Our commit that may have been sent.
    #[prost(message, optional, tag = "4")]
    pub entering: Option<EnteringRow>,
    /// Its place among those that are entered: the most recent conversations come first.
    #[prost(uint32, tag = "5")]
    pub place: u32,
    /// A member has shown the way: this device is in the group at a place that nothing leads on from.
    #[prost(bool, tag = "6")]
    pub apart: bool,
    /// A commit of ours may have been sent, this one or one before it.
    #[prost(bool, tag = "7")]
    pub sent: bool,
    /// The secret of the link by which this device comes in; empty without one. `secret` is then that of the link's log.
    #[prost(bytes = "vec", tag = "8")]
    pub link: Vec<u8>,
}

/// An external commit of ours, stored before it is sent.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct EnteringRow {
    /// The epoch that it ends.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The secret of that epoch's log, as in [`LogRow::secret`].
    #[prost(bytes = "vec", tag = "2")]
    pub secret: Vec<u8>,
    /// The encryption state after it.
    #[prost(bytes = "vec", tag = "3")]
    pub state: Vec<u8>,
    /// The commit.
    #[prost(bytes = "bytes", tag = "4")]
    pub commit: Bytes,
    /// It is stored in parts.
    #[prost(bool, tag = "5")]
    pub in_parts: bool,
}

/// The encryption state of a group in its epoch. By group id.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct MlsRow {
    /// As mls-rs writes it.
    #[prost(bytes = "vec", tag = "1")]
    pub state: Vec<u8>,
    /// Entries that we have encrypted since our last commit.
    #[prost(uint64, tag = "2")]
    pub since_update: u64,
    /// So many messages may have been encrypted since it was written: none is encrypted with their keys again.
    #[prost(uint32, tag = "3")]
    pub reserved: u32,
    /// The hash of the ratchet tree, which has a row of its own and is not in `state`; empty if it is.
    #[prost(bytes = "vec", tag = "4")]
    pub tree: Vec<u8>,
}

/// The ratchet tree of a large group. By group id.
#[derive(Clone, PartialEq, Message)]
pub struct TreeRow {
    /// Its hash, as the group's context has it.
    #[prost(bytes = "vec", tag = "1")]
    pub hash: Vec<u8>,
    /// The tree, as RFC 9420 encodes it.
    #[prost(bytes = "vec", tag = "2")]
    pub tree: Vec<u8>,
}

/// Secrets of an earlier epoch of a group, for late messages. By group id and epoch.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct EpochRow {
    /// The epoch.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// As mls-rs writes it.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

/// A commit of ours that waits to win, with the encryption state after it. By group id.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct PendingRow {
    /// As mls-rs writes it.
    #[prost(bytes = "vec", tag = "1")]
    pub state: Vec<u8>,
    /// Secrets of the epochs before it.
    #[prost(message, repeated, tag = "2")]
    pub past: Vec<EpochRow>,
    /// The commit, sealed for the log.
    #[prost(bytes = "vec", tag = "3")]
    pub entry: Vec<u8>,
    /// For those whom it adds, once it has won.
    #[prost(message, repeated, tag = "4")]
    pub welcomes: Vec<WelcomeRow>,
}

/// What a device is to get that a commit adds to a group.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct WelcomeRow {
    /// Its account.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// The device.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// The welcome.
    #[prost(bytes = "vec", tag = "3")]
    pub message: Vec<u8>,
}

/// The log of an epoch. By group id and epoch.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct LogRow {
    /// The epoch.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// The exporter secret that address and seal key are derived from.
    #[prost(bytes = "vec", tag = "2")]
    pub secret: Vec<u8>,
    /// Read up to this sequence number.
    #[prost(uint64, tag = "3")]
    pub cursor: u64,
    /// The address that follows from the secret. Empty as older versions have written it.
    #[prost(bytes = "vec", tag = "4")]
    pub address: Vec<u8>,
    /// When its epoch has ended for us, milliseconds since 1970; 0 before that.
    #[prost(uint64, tag = "5")]
    pub ended_ms: u64,
    /// Commits were looked for everywhere in it, as far as it was read: not by older versions.
    #[prost(bool, tag = "6")]
    pub judged: bool,
    /// The last entries that were read.
    #[prost(message, optional, tag = "7")]
    pub seen: Option<SeenEntries>,
    /// What counts of the parts of commits that were read in it, in KiB.
    #[prost(uint32, tag = "8")]
    pub parts_kib: u32,
    /// Who has written most of what was read in it; where our account may own it.
    #[prost(message, optional, tag = "9")]
    pub written: Option<WrittenRow>,
    /// A candidate that ends nothing stands in it: behind that nobody comes in.
    #[prost(bool, tag = "10")]
    pub blocked: bool,
}

/// A part of a commit that was read in a log. By group id, epoch, and a hash of the log's address and the part's name.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct PartRow {
    /// The number under which the log has it first.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// The part.
    #[prost(bytes = "bytes", tag = "2")]
    pub part: Bytes,
}

/// Entries that a log has taken from us in one append, until they are deleted there. By chat id, first sequence number, log address and number of
/// the first entry.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct LoggedRow {
    /// The rendezvous.
    #[prost(string, tag = "1")]
    pub home: String,
    /// The group whose log it is.
    #[prost(bytes = "vec", tag = "2")]
    pub group: Vec<u8>,
    /// The exporter secret that the log's keys are derived from.
    #[prost(bytes = "vec", tag = "3")]
    pub secret: Vec<u8>,
    /// What the entries are.
    #[prost(enumeration = "LoggedKind", tag = "4")]
    pub kind: i32,
    /// Those that are still there.
    #[prost(message, repeated, tag = "5")]
    pub entries: Vec<LoggedEntry>,
    /// When the log has taken them, milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub at_ms: u64,
}

/// One entry of a log.
#[derive(Clone, PartialEq, Message)]
pub struct LoggedEntry {
    /// Its number in the log.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// The last of our events that it holds.
    #[prost(uint64, tag = "2")]
    pub last: u64,
}

/// What entries of a log are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum LoggedKind {
    /// Batches of our events.
    Events = 0,
    /// Our newest receipt.
    Receipt = 1,
    /// Something of ours that was read there, and whose append was not answered.
    Found = 2,
    /// Nobody is to read them any more.
    Needless = 3,
}

wiped!(
    MlsRow: state,
    EpochRow: data,
    PendingRow: state,
    LogRow: secret,
    DoorRow: secret,
    EnteringRow: state
);
