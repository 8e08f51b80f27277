//! Every message that two Starling processes exchange: its codec, its limits, its version.
//!
//! Sans-I/O: bytes in, values out; no sockets, tasks or clocks. Messages are protocol buffers (proto3), so an older peer ignores fields and
//! variants that it does not know. Sizes are checked before anything is decoded. `docs/protocol.md` describes the same for other clients.

mod authors;
mod beacon;
mod candidate;
pub mod direct;
mod door;
mod event;
mod frame;
mod gossip;
pub mod history;
pub mod inbox;
mod join;
mod label;
pub mod limits;
pub mod link;
mod log;
mod name;
mod parts;
mod policy;
mod pow;
mod reasons;
pub mod rendezvous;
mod seen;
mod setting;
mod signal;
pub mod snapshot;
#[cfg(feature = "streams")]
pub mod streams;

pub use authors::{CommitAuthors, MAX_AUTHORS};
pub use beacon::{Beacon, BeaconError, MAX_BEACON_PATH, SealedBeacon};
pub use candidate::{Candidate, CandidateError, LogContent};
pub use door::{Door, DoorError};
pub use event::call::{Call, CallEnd, CallId, CallSignal, Recording, SasCommitment, SasNonce};
pub use event::{
    AuditPart, Batch, Body, ChannelWay, Clock, Cut, CutMessage, Delete, Delivered, Devices, Edit, Event, EventError,
    EventId, HandedHistory, KnownChain, MAX_AUDIT_PART, MAX_CHAINS, MAX_HANDED_DEVICES, MAX_HANDED_PART, MAX_MISSING,
    MAX_REPORT_DEVICES, MAX_REPORT_REASON, MAX_REPORT_TEXT, MissingEvents, Profile, Reaction, Receipt,
    RemovedDeviceUse, Report, ReportContent, SealedKey, Text, Ways,
};
pub use frame::{Frame, FrameDecoder, FrameError, write_frame};
pub use gossip::{EnvelopeError, GossipKey, TopicId, envelope_id};
pub use join::{
    JOIN_DOMAIN, JOIN_REFUSAL_DOMAIN, JOIN_REQUEST_DOMAIN, JoinError, JoinProof, JoinRefusal, JoinRequest, Joiner,
    LinkCard, MAX_REQUEST_CHAIN,
};
pub use label::DeviceLabel;
pub use log::{LogKey, LogVerb, PaddingError, eraser_of, pad, unpad, verify_log, verify_permit, verify_vouch};
pub use parts::{PartNames, PartsError, Piece, cut, part_name};
pub use policy::{
    AuditAction, AuditEntry, AuditHead, ChannelEntry, ChannelOf, Community, GroupKind, GroupRules, GroupSetting,
    JoinLink, MAX_AUDIT_ENTRY, MAX_CHANNELS, MAX_GROUP_ACCOUNTS, MAX_GROUP_BANS, MAX_GROUP_LEAVES, MAX_GROUP_NAME,
    MAX_GROUP_TOMBSTONES, MAX_JOIN_LINKS, MAX_LARGE_GROUP_ACCOUNTS, MAX_LARGE_GROUP_LEAVES, MAX_LIFETIME,
    MAX_SLOW_MODE, MAX_STATEMENT_LAG, MAX_TOPIC, POLICY_VERSION, POLICY_WITH_AUTHORS, POLICY_WITH_RULES, Permissions,
    Policy, PolicyContext, PolicyError, PolicyMember, Role, STATEMENT_DOMAIN, STATEMENT_STEPS, Statement, Tombstone,
};
pub use pow::{Puzzle, Solution};
pub use reasons::{LEAVE_DOMAIN, Leave, MAX_REASONS, Reasons, ReasonsError};
pub use seen::{SeenEntries, SeenError};
pub use setting::{Setting, SettingKind};
pub use signal::{Availability, SIGNAL_DOMAIN, Signal, SignalError, SignedSignal};

/// The stream protocol between two devices.
pub const DIRECT_PROTOCOL: &str = "/starling/direct/1";
/// The stream protocol between a device and a rendezvous.
pub const RENDEZVOUS_PROTOCOL: &str = "/starling/rendezvous/1";
/// The stream protocol of TURN between a device and a rendezvous, for networks without UDP.
pub const TURN_PROTOCOL: &str = "/starling/turn/1";
/// What `identify` tells peers.
pub const IDENTIFY_PROTOCOL: &str = "/starling/1";
/// The version of the protocols in this crate. A peer that speaks another major version uses another protocol name.
pub const VERSION: u32 = 1;
