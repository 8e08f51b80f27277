//! The rows as they are stored (protocol buffers, sealed). Fields are only ever added; another meaning needs a migration.

use prost::Message;

/// Proves that the key fits.
#[derive(Clone, PartialEq, Message)]
pub struct Check {
    /// Always true.
    #[prost(bool, tag = "1")]
    pub ok: bool,
}

/// Who this profile is. `META/identity`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct IdentityRow {
    /// Account key seed.
    #[prost(bytes = "vec", tag = "1")]
    pub account_seed: Vec<u8>,
    /// Device key seed.
    #[prost(bytes = "vec", tag = "2")]
    pub device_seed: Vec<u8>,
    /// HPKE secret key that inbox items are sealed to.
    #[prost(bytes = "vec", tag = "3")]
    pub seal_secret: Vec<u8>,
    /// Our signed device list.
    #[prost(bytes = "vec", tag = "5")]
    pub device_list: Vec<u8>,
    /// Display name.
    #[prost(string, tag = "6")]
    pub name: String,
    /// This profile is a program.
    #[prost(bool, tag = "7")]
    pub bot: bool,
    /// Token for registering at a rendezvous that asks for one.
    #[prost(string, tag = "8")]
    pub registration_token: String,
    /// Username that the profile wants or has at its homes.
    #[prost(string, tag = "9")]
    pub username: String,
    /// HPKE public key that inbox items are sealed to.
    #[prost(bytes = "vec", tag = "10")]
    pub seal_public: Vec<u8>,
    /// When this device was made, in seconds since 1970.
    #[prost(uint64, tag = "11")]
    pub created_at: u64,
    /// It joins the devices that the account has, and is not on their list yet.
    #[prost(bool, tag = "12")]
    pub joins: bool,
    /// Version of the list that it joins, at least.
    #[prost(uint64, tag = "13")]
    pub joins_version: u64,
}

/// Our home rendezvous servers. `META/homes`.
#[derive(Clone, PartialEq, Message)]
pub struct HomesRow {
    /// Addresses.
    #[prost(string, repeated, tag = "1")]
    pub homes: Vec<String>,
}

impl Drop for IdentityRow {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.account_seed.zeroize();
        self.device_seed.zeroize();
        self.seal_secret.zeroize();
    }
}

/// What the user has set. `META/settings`.
#[derive(Clone, PartialEq, Message)]
pub struct SettingsRow {
    /// [`crate::Audience`] for last seen.
    #[prost(uint32, tag = "1")]
    pub last_seen: u32,
    /// … for read receipts.
    #[prost(uint32, tag = "2")]
    pub receipts: u32,
    /// … for typing.
    #[prost(uint32, tag = "3")]
    pub typing: u32,
    /// Peers on the same LAN are not looked for.
    #[prost(bool, tag = "4")]
    pub no_mdns: bool,
}

/// Counters that must not go back. `META/counters`.
#[derive(Clone, PartialEq, Message)]
pub struct CountersRow {
    /// The hybrid logical clock.
    #[prost(uint64, tag = "1")]
    pub clock: u64,
    /// Last sequence number of the feed.
    #[prost(uint64, tag = "2")]
    pub feed: u64,
    /// Version of the account snapshot at the home.
    #[prost(uint64, tag = "3")]
    pub snapshot: u64,
    /// When this profile last ran, in milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub last_run_ms: u64,
    /// The contacts have changed since our home has taken a snapshot of them.
    #[prost(bool, tag = "5")]
    pub snapshot_owed: bool,
    /// The account was restored on another device: this one is no part of it any more.
    #[prost(bool, tag = "6")]
    pub superseded: bool,
    /// A device was linked, and is to be told when our home has a snapshot of all contacts.
    #[prost(bool, tag = "7")]
    pub greeting_owed: bool,
}

/// Changes to our account's devices and homes that others have to learn of. `META/device_changes`.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceChangesRow {
    /// Devices that the user has taken off the account's list here: no list that has them counts.
    #[prost(message, repeated, tag = "1")]
    pub removed: Vec<RemovedRow>,
    /// Contacts and our other devices have to be told of our list once a home has it.
    #[prost(bool, tag = "2")]
    pub list_owed: bool,
    /// Servers that were our homes, and have not been told where we have moved.
    #[prost(message, repeated, tag = "3")]
    pub left_homes: Vec<LeftHomeRow>,
}

/// A device that was taken off our account's list.
#[derive(Clone, PartialEq, Message)]
pub struct RemovedRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// A home has a list without it.
    #[prost(bool, tag = "2")]
    pub published: bool,
}

/// A server that was our home.
#[derive(Clone, PartialEq, Message)]
pub struct LeftHomeRow {
    /// Its address.
    #[prost(string, tag = "1")]
    pub address: String,
    /// It is not tried any more after this time, milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub until_ms: u64,
}

/// Somebody we know. By [`super::Store::name`] of the account.
#[derive(Clone, PartialEq, Message)]
pub struct ContactRow {
    /// Account key.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// The newest signed device list.
    #[prost(bytes = "vec", tag = "2")]
    pub device_list: Vec<u8>,
    /// Name that the contact gives itself.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Name that the user gives.
    #[prost(string, tag = "4")]
    pub alias: String,
    /// [`crate::ContactState`].
    #[prost(uint32, tag = "5")]
    pub state: u32,
    /// The user has compared safety numbers.
    #[prost(bool, tag = "6")]
    pub verified: bool,
    /// The contact is a program.
    #[prost(bool, tag = "7")]
    pub bot: bool,
    /// Last sign of life, milliseconds since 1970.
    #[prost(uint64, tag = "8")]
    pub last_seen_ms: u64,
    /// Direct addresses that its devices told us.
    #[prost(message, repeated, tag = "9")]
    pub addresses: Vec<DeviceAddresses>,
    /// Devices of the contact have changed after it was verified; sending waits for the user's trust.
    #[prost(bool, tag = "10")]
    pub key_changed: bool,
    /// Rendezvous servers from the invite, until a device list is known.
    #[prost(string, repeated, tag = "11")]
    pub homes: Vec<String>,
    /// When it was added, milliseconds since 1970.
    #[prost(uint64, tag = "12")]
    pub added_ms: u64,
    /// The device list that the user has trusted last, by version.
    #[prost(uint64, tag = "13")]
    pub trusted_version: u64,
    /// When the user has last said what they are to us, milliseconds since 1970.
    #[prost(uint64, tag = "14")]
    pub said_ms: u64,
}

/// Where a device was last reachable.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceAddresses {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// Multiaddrs.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub addresses: Vec<Vec<u8>>,
}

/// A conversation. By chat id.
#[derive(Clone, PartialEq, Message)]
pub struct ChatRow {
    /// Sequence number of our newest event.
    #[prost(uint64, tag = "2")]
    pub last_sequence: u64,
    /// Our events up to here were taken by a log or a device.
    #[prost(uint64, tag = "3")]
    pub sent_upto: u64,
    /// We have read up to this clock.
    #[prost(uint64, tag = "5")]
    pub read: u64,
    /// Messages that we have not read.
    #[prost(uint32, tag = "6")]
    pub unread: u32,
    /// Groups of this conversation, newest last.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub groups: Vec<Vec<u8>>,
    /// Clock of the newest message.
    #[prost(uint64, tag = "9")]
    pub newest: u64,
    /// Muted until, milliseconds since 1970.
    #[prost(uint64, tag = "10")]
    pub muted_until_ms: u64,
    /// Pinned to the top.
    #[prost(bool, tag = "11")]
    pub pinned: bool,
    /// Archived.
    #[prost(bool, tag = "12")]
    pub archived: bool,
    /// Ranges (first, last) of our events that failed for good.
    #[prost(uint64, repeated, tag = "13")]
    pub failed: Vec<u64>,
    /// Clock up to which the other side was told that we have read.
    #[prost(uint64, tag = "14")]
    pub read_told: u64,
    /// Our events up to here are in a log.
    #[prost(uint64, tag = "15")]
    pub logged_upto: u64,
    /// Messages up to here were deleted by the user, here only.
    #[prost(uint64, tag = "16")]
    pub cleared: u64,
    /// Clock up to which everybody can learn that we have read: from a log, or on their connection.
    #[prost(uint64, tag = "17")]
    pub read_logged: u64,
    /// Messages that are not here, of which something is.
    #[prost(uint32, tag = "18")]
    pub early: u32,
    /// [`crate::ChatKind`].
    #[prost(uint32, tag = "19")]
    pub kind: u32,
}

/// An account that takes part in a conversation. By chat id and [`super::Store::name`] of the account.
#[derive(Clone, PartialEq, Message)]
pub struct MemberRow {
    /// The account.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// It is ours.
    #[prost(bool, tag = "2")]
    pub own: bool,
    /// It has read up to this clock. Of our own account the conversation's row tells.
    #[prost(uint64, tag = "3")]
    pub read: u64,
    /// What is known of each of its devices.
    #[prost(message, repeated, tag = "4")]
    pub devices: Vec<DeviceRow>,
}

/// Who has written an event. By number.
#[derive(Clone, PartialEq, Message)]
pub struct AuthorRow {
    /// The account.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// The device; empty if only its tag is known.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// The device's tag, as event ids have it.
    #[prost(bytes = "vec", tag = "3")]
    pub tag: Vec<u8>,
    /// It is our account.
    #[prost(bool, tag = "4")]
    pub own: bool,
}

/// What is known of a device in a conversation.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceRow {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// We have all its events up to here.
    #[prost(uint64, tag = "2")]
    pub received: u64,
    /// Single events beyond, that came early.
    #[prost(uint64, repeated, tag = "3")]
    pub early: Vec<u64>,
    /// It has all our events up to here.
    #[prost(uint64, tag = "4")]
    pub acked: u64,
    /// What we have told it (or a log) that we received.
    #[prost(uint64, tag = "6")]
    pub told: u64,
}

/// An MLS group. By group id.
#[derive(Clone, PartialEq, Message)]
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
    /// Its log is lost or was closed for good: not written to any more.
    #[prost(bool, tag = "13")]
    pub dead: bool,
    /// The other side has gone on in an older group, and has written nothing in this one.
    #[prost(bool, tag = "14")]
    pub distrusted: bool,
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
    /// The sealed closing entry.
    #[prost(bytes = "vec", tag = "3")]
    pub entry: Vec<u8>,
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
}

/// An encrypted batch of our events that some device has not acknowledged. By chat id and first sequence number (0-numbered receipts are not kept).
#[derive(Clone, PartialEq, Message)]
pub struct OutboxRow {
    /// The group.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// Epoch that it was encrypted in.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// The MLS message.
    #[prost(bytes = "bytes", tag = "3")]
    pub message: bytes::Bytes,
    /// Ids of its messages that the timeline has, 24 bytes each.
    #[prost(bytes = "vec", tag = "4")]
    pub ids: Vec<u8>,
    /// First and last sequence number.
    #[prost(uint64, tag = "5")]
    pub first: u64,
    /// Last sequence number.
    #[prost(uint64, tag = "6")]
    pub last: u64,
    /// When it was made, milliseconds since 1970.
    #[prost(uint64, tag = "7")]
    pub created_ms: u64,
    /// Its other events, for encrypting them again when their epoch or group is gone.
    #[prost(message, repeated, tag = "9")]
    pub events: Vec<OutboxEvent>,
}

/// An event of a batch that the timeline does not have.
#[derive(Clone, PartialEq, Message)]
pub struct OutboxEvent {
    /// Its id.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// Its encoded body.
    #[prost(bytes = "vec", tag = "2")]
    pub body: Vec<u8>,
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

/// One event in a timeline. By chat id and event id.
#[derive(Clone, PartialEq, Message)]
pub struct EventRow {
    /// The encoded body.
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    /// How it came: [`crate::Via`].
    #[prost(uint32, tag = "3")]
    pub via: u32,
    /// Its newest text, if it was edited.
    #[prost(string, optional, tag = "4")]
    pub edited: Option<String>,
    /// Clock of the newest edit.
    #[prost(uint64, tag = "5")]
    pub edit_clock: u64,
    /// Deleted by its author.
    #[prost(bool, tag = "6")]
    pub deleted: bool,
    /// Reactions.
    #[prost(message, repeated, tag = "7")]
    pub reactions: Vec<ReactionRow>,
    /// Who has written it, by number.
    #[prost(uint32, tag = "8")]
    pub author: u32,
    /// Tag of the device of the newest edit: of two with one clock the greater counts.
    #[prost(bytes = "vec", tag = "9")]
    pub edit_device: Vec<u8>,
}

/// What came before the message that it is about. By chat id and the message's id.
#[derive(Clone, PartialEq, Message)]
pub struct EarlyRow {
    /// What each account says that only the author may say.
    #[prost(message, repeated, tag = "1")]
    pub changes: Vec<EarlyChange>,
    /// Reactions.
    #[prost(message, repeated, tag = "2")]
    pub reactions: Vec<ReactionRow>,
}

/// A change to a message that is not here.
#[derive(Clone, PartialEq, Message)]
pub struct EarlyChange {
    /// The account that wants it.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Its newest text of the message.
    #[prost(string, optional, tag = "2")]
    pub text: Option<String>,
    /// Clock of that edit.
    #[prost(uint64, tag = "3")]
    pub clock: u64,
    /// Tag of its device.
    #[prost(bytes = "vec", tag = "4")]
    pub device: Vec<u8>,
    /// The message is deleted.
    #[prost(bool, tag = "5")]
    pub deleted: bool,
}

/// A reaction.
#[derive(Clone, PartialEq, Message)]
pub struct ReactionRow {
    /// Whose it is.
    #[prost(bytes = "vec", tag = "4")]
    pub account: Vec<u8>,
    /// One emoji.
    #[prost(string, tag = "2")]
    pub emoji: String,
    /// When, so that the newest wins.
    #[prost(uint64, tag = "3")]
    pub clock: u64,
    /// Tag of the device: of two with one clock the greater counts.
    #[prost(bytes = "vec", tag = "5")]
    pub device: Vec<u8>,
}

/// Things that happened, for those who listen. One row stands for as many lines as it has ids (at least one). By first sequence number.
#[derive(Clone, PartialEq, Message)]
pub struct FeedRow {
    /// [`crate::FeedKind`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The chat; empty for contact events.
    #[prost(bytes = "vec", tag = "2")]
    pub chat: Vec<u8>,
    /// Event ids, 24 bytes each.
    #[prost(bytes = "vec", tag = "3")]
    pub ids: Vec<u8>,
    /// [`crate::DeliveryState`] of a state change.
    #[prost(uint32, tag = "4")]
    pub state: u32,
    /// The account of a contact event.
    #[prost(bytes = "vec", tag = "5")]
    pub account: Vec<u8>,
    /// When, milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    pub at_ms: u64,
    /// A reason or text.
    #[prost(string, tag = "7")]
    pub text: String,
}

/// An invite that we gave. By [`super::Store::name`] of the token.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct InviteRow {
    /// The token.
    #[prost(bytes = "vec", tag = "1")]
    pub token: Vec<u8>,
    /// How often it may still be used.
    #[prost(uint32, tag = "2")]
    pub uses: u32,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    pub expires_at: u64,
    /// The home knows it.
    #[prost(bool, tag = "4")]
    pub registered: bool,
}

/// A contact request. By [`super::Store::name`] of the account.
#[derive(Clone, PartialEq, Message)]
pub struct RequestRow {
    /// The encoded inbox body.
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    /// When it came, milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
}

/// A sealed inbox item that we owe to a device.
#[derive(Clone, PartialEq, Message)]
pub struct ParcelRow {
    /// Account that it is for.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Device that it is for.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// Sealed item.
    #[prost(bytes = "vec", tag = "3")]
    pub sealed: Vec<u8>,
    /// The invite's token; empty without one.
    #[prost(bytes = "vec", tag = "4")]
    pub token: Vec<u8>,
    /// The rendezvous where the inbox is.
    #[prost(string, tag = "5")]
    pub home: String,
}

/// A key package's secrets.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct KeyPackageRow {
    /// As mls-rs encodes it.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    /// It is the last-resort one, and stays when it is used.
    #[prost(bool, tag = "2")]
    pub last_resort: bool,
}

/// What a restored device reads: the account's contacts.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotRow {
    /// The contacts.
    #[prost(message, repeated, tag = "1")]
    pub contacts: Vec<SnapshotContact>,
    /// The account's display name.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// One contact in a snapshot.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotContact {
    /// Account key.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Where their devices are found.
    #[prost(string, repeated, tag = "2")]
    pub homes: Vec<String>,
    /// Version of their device list: an older one is a roll-back.
    #[prost(uint64, tag = "7")]
    pub version: u64,
    /// Name that the contact gives itself.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Name that the user gives.
    #[prost(string, tag = "4")]
    pub alias: String,
    /// [`crate::ContactState`].
    #[prost(uint32, tag = "5")]
    pub state: u32,
    /// The user has compared safety numbers.
    #[prost(bool, tag = "6")]
    pub verified: bool,
}
