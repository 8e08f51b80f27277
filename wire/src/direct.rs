//! `/starling/direct/1`: between two devices. Each side writes on the stream that it has opened, also its acknowledgements.

use bytes::Bytes;

use crate::{
    Frame, SealedBeacon, Setting,
    inbox::{GroupAcceptance, GroupOffer, GroupWelcome},
    limits::MAX_DIRECT_FRAME,
};

/// One frame. Parts that are absent are empty; a frame may carry several.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DirectFrame {
    /// First frame in each direction.
    #[prost(message, optional, tag = "1")]
    pub hello: Option<Hello>,
    /// Sealed messages, in the order in which their sender numbered them.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
    /// What the other side has stored durably, cumulative.
    #[prost(message, repeated, tag = "3")]
    pub acks: Vec<Ack>,
    /// Typing and presence: sealed, not stored, may be dropped.
    #[prost(message, repeated, tag = "4")]
    pub signals: Vec<SealedSignal>,
    /// Between devices of one account: numbered events of the sender up to `upto` that the other accounts of a conversation have.
    #[prost(message, repeated, tag = "5")]
    pub delivered: Vec<Ack>,
    /// Between devices of one account: what was set on the sender.
    #[prost(message, repeated, tag = "6")]
    pub settings: Vec<Setting>,
    /// Between devices of one account: [`crate::history::HistoryMessage`]s, each sealed to the receiving device.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub history: Vec<Bytes>,
    /// Which commits the sender has followed.
    #[prost(message, repeated, tag = "8")]
    pub beacons: Vec<SealedBeacon>,
    /// Which run of the sender's profile this is.
    #[prost(message, optional, tag = "9")]
    pub run: Option<Run>,
    /// A later run of the receiver's profile, or another one with the same number, than the receiver has told: there are two copies of it.
    #[prost(message, optional, boxed, tag = "10")]
    pub seen: Option<Box<Run>>,
    /// The device chain of the sender's account, or the end of it: the encoded body of an event ([`crate::Body::Devices`]).
    #[prost(bytes = "bytes", tag = "11")]
    pub chain: Bytes,
    /// In groups of many that both are in, nothing leads from where one is to where the other is.
    #[prost(message, optional, boxed, tag = "12")]
    pub apart: Option<Box<Apart>>,
    /// The sender waits to be added to a group that the receiver's account has invited it into.
    #[prost(message, optional, boxed, tag = "13")]
    pub acceptance: Option<Box<GroupAcceptance>>,
    /// The receiver was added to a group.
    #[prost(message, optional, boxed, tag = "14")]
    pub added: Option<Box<GroupWelcome>>,
    /// A way into a group that the sender invites into.
    #[prost(message, optional, boxed, tag = "15")]
    pub offer: Option<Box<GroupOffer>>,
    /// Such a way has come to the sender.
    #[prost(message, optional, boxed, tag = "16")]
    pub offered: Option<Box<Offered>>,
}

/// A way into a group has come.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Offered {
    /// Its hash (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub way: Bytes,
}

/// What members say to each other of groups of many in which they are apart.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Apart {
    /// The sender asks for the way into the receiver's epoch of these groups (ids of 16 bytes, at most [`crate::limits::MAX_FRAME_SEEKS`]).
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub seeks: Vec<Bytes>,
    /// The way into an epoch of the sender's, for a receiver that has asked for it.
    #[prost(message, optional, tag = "2")]
    pub way: Option<Way>,
    /// The receiver's account is not in these groups any more, where the sender is (ids of 16 bytes, at most [`crate::limits::MAX_FRAME_SEEKS`]).
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub out: Vec<Bytes>,
    /// The sender's account has left a group that the receiver is in: a [`crate::Leave`], encoded; else empty.
    #[prost(bytes = "bytes", tag = "4")]
    pub leave: Bytes,
    /// The sender cannot come to where the receiver is in these groups, and leads: the receiver is to ask it for the way (ids of 16 bytes, at most
    /// [`crate::limits::MAX_FRAME_SEEKS`]).
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub come: Vec<Bytes>,
    /// The sender does not come to where the receiver is, as devices are there that their accounts have removed.
    #[prost(message, optional, tag = "6")]
    pub removals: Option<Removals>,
}

/// By whom the receiver learns that devices were removed which are still in a group of many where it is: it may not be told by their accounts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Removals {
    /// The MLS group's id (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub group: Bytes,
    /// The device chains of these accounts, or the ends of them; at most [`crate::limits::MAX_FRAME_CHAINS`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub chains: Vec<Bytes>,
}

/// The way into one epoch of a group of many, as a member shows it to another that is in an epoch to which nothing leads from there.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Way {
    /// The MLS group's id (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub group: Bytes,
    /// The secret of the group's door, as it is where the sender is (32 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub secret: Bytes,
    /// A [`crate::Door`], encoded.
    #[prost(bytes = "bytes", tag = "3")]
    pub door: Bytes,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Way({} bytes)", self.door.len())
    }
}

/// A run of a device's program.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Run {
    /// How many there were with this profile, this one included.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Drawn at random at its start (16 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub id: Bytes,
}

impl Frame for DirectFrame {
    const MAX_LEN: usize = MAX_DIRECT_FRAME;
}

/// The greeting.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// [`crate::VERSION`] of the sender.
    #[prost(uint32, tag = "1")]
    pub version: u32,
}

/// One MLS message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// The MLS group's id (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub group: Bytes,
    /// An `MLSMessage` (RFC 9420, section 6).
    #[prost(bytes = "bytes", tag = "2")]
    pub message: Bytes,
}

/// A cumulative acknowledgement: all numbered events of the receiving side up to `upto` are durable here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ack {
    /// The MLS group's id.
    #[prost(bytes = "bytes", tag = "1")]
    pub group: Bytes,
    /// A sequence number of the acknowledged device.
    #[prost(uint64, tag = "2")]
    pub upto: u64,
    /// The clock of the event with that number; zero if it is not known.
    #[prost(fixed64, tag = "3")]
    pub clock: u64,
}

/// A sealed [`crate::Signal`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealedSignal {
    /// The MLS group's id.
    #[prost(bytes = "bytes", tag = "1")]
    pub group: Bytes,
    /// Sealed under a key of the group's current epoch.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed: Bytes,
}
