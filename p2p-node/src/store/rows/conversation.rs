//! Rows of conversations: members, authors, the outbox.

use prost::Message;

/// A conversation. By chat id.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ChatRow {
    /// Sequence number of our newest event.
    #[prost(uint64, tag = "2")]
    pub last_sequence: u64,
    /// Clock of our newest numbered event that was written to the outbox.
    #[prost(uint64, tag = "22")]
    pub last_clock: u64,
    /// Somebody has events of this device that are not here: this profile is an older copy.
    #[prost(bool, tag = "23")]
    pub outdated: bool,
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
    /// Our other devices can learn from a log that our events up to here were delivered.
    #[prost(uint64, tag = "20")]
    pub delivered_logged: u64,
    /// Clock of the newest message that was copied from another device of ours.
    #[prost(uint64, tag = "21")]
    pub copied: u64,
    /// The way into its group that another device of ours has told us of.
    #[prost(message, optional, tag = "24")]
    pub door: Option<super::group::OfferedDoor>,
    /// Groups that others have replaced before their welcomes were read here, newest last.
    #[prost(bytes = "vec", repeated, tag = "25")]
    pub replaced: Vec<Vec<u8>>,
    /// It is a group's, and who was in it when this device came is known.
    #[prost(bool, tag = "26")]
    pub joined: bool,
    /// When this device came into the conversation, for the last time, in milliseconds since 1970; 0 if that is not known.
    #[prost(uint64, tag = "27")]
    pub entered_ms: u64,
    /// Clock of the newest message that came by gossip and did not come to count.
    #[prost(uint64, tag = "28")]
    pub undone: u64,
    /// Up to this number of ours what a group's log has was judged as the others judge it.
    #[prost(uint64, tag = "29")]
    pub judged_upto: u64,
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
    /// In slow mode, the time from which it waits before it writes again, in milliseconds since 1970; 0 if it need not.
    #[prost(uint64, tag = "5")]
    pub paced_ms: u64,
    /// The epoch in which that was.
    #[prost(uint64, tag = "6")]
    pub paced_epoch: u64,
    /// In a group, since which epoch it is a member, as the policy says; none if that is not known.
    #[prost(uint64, optional, tag = "7")]
    pub since: Option<u64>,
    /// It has no device in the group now: what is known of its devices is kept for when it comes again.
    #[prost(bool, tag = "8")]
    pub gone: bool,
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
    /// What the device is called; empty if that is not known.
    #[prost(string, tag = "5")]
    pub name: String,
    /// What the device is: an operating system, for example.
    #[prost(string, tag = "6")]
    pub kind: String,
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
    /// Ranges of events beyond, that came early.
    #[prost(uint64, repeated, tag = "3")]
    pub early: Vec<u64>,
    /// It has all our events up to here.
    #[prost(uint64, tag = "4")]
    pub acked: u64,
    /// What we have told it (or a log) that we received.
    #[prost(uint64, tag = "6")]
    pub told: u64,
    /// Of another device of our account: each other account has its events up to here.
    #[prost(uint64, tag = "7")]
    pub delivered: u64,
    /// The greatest of [`Self::cuts`]; 0 if none do, or that is not known.
    #[prost(uint64, tag = "8")]
    pub cut_upto: u64,
    /// The number of its last event that is here …
    #[prost(uint64, tag = "9")]
    pub last: u64,
    /// … and the clock of that: what it numbers after it is later.
    #[prost(uint64, tag = "10")]
    pub last_clock: u64,
    /// The clock of its event up to which we have all; 0 if that is not known.
    #[prost(uint64, tag = "11")]
    pub received_clock: u64,
    /// So many times beacons were left in its inbox since it was last heard …
    #[prost(uint32, tag = "12")]
    pub beacons_left: u32,
    /// … the last time then, milliseconds since 1970.
    #[prost(uint64, tag = "13")]
    pub beacons_left_ms: u64,
    /// The epoch with which it has come into the group; 0 if it was there before us, or in a direct conversation.
    #[prost(uint64, tag = "14")]
    pub since_epoch: u64,
    /// Of a device that its account has removed: which devices of the account have said where its events end. The greatest counts.
    #[prost(message, repeated, tag = "15")]
    pub cuts: Vec<CutRow>,
    /// One of them counts.
    #[prost(bool, tag = "16")]
    pub is_cut: bool,
    /// Ranges of numbers beyond [`Self::cut_upto`] that count, too, in order.
    #[prost(uint64, repeated, tag = "18")]
    pub cut_early: Vec<u64>,
    /// Ranges of numbers up to [`Self::received`] that were passed over and not taken, while logs of epochs that are over are still read.
    #[prost(uint64, repeated, tag = "19")]
    pub skipped: Vec<u64>,
    /// Its account was let into the group anew: what it has written since its last event that is here is not waited for.
    #[prost(bool, tag = "20")]
    pub begins: bool,
}

impl DeviceRow {
    /// Whether an event of the device counts, by its number, as far as its account has said where its events end.
    pub fn counts(&self, sequence: u64) -> bool {
        // Profiles of before had the end alone.
        let is_cut = self.is_cut || self.cut_upto > 0;
        !is_cut || sequence <= self.cut_upto || crate::ranges::contain(&self.cut_early, sequence)
    }
}

/// A device has said where the events of another end, which it has removed.
#[derive(Clone, PartialEq, Message)]
pub struct CutRow {
    /// The tag of the device that says so.
    #[prost(bytes = "vec", tag = "1")]
    pub by: Vec<u8>,
    /// The number of its event that says so; 0 if that is us.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Events up to here count …
    #[prost(uint64, tag = "3")]
    pub upto: u64,
    /// … and ranges beyond, which had come to it early.
    #[prost(uint64, repeated, tag = "5")]
    pub early: Vec<u64>,
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
    /// Clock of its last event.
    #[prost(uint64, tag = "10")]
    pub clock: u64,
    /// Clock of our event before its first.
    #[prost(uint64, tag = "11")]
    pub before: u64,
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
