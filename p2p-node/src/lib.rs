//! The Starling engine: conversations, delivery, store, discovery.
//!
//! [`Node`] is a handle on a running node; everything else is plain data. Behind it: `turn` drives a state machine on a thread of its own, `net`
//! the libp2p swarm and its stream tasks on the caller's tokio runtime, `store` the profile's database, `mls` the encryption.

mod account;
mod api;
#[cfg(feature = "bench")]
pub mod bench;
mod call_media;
mod calls;
mod contacts;
mod conversation;
mod delivery;
mod devices;
mod engine;
mod events;
mod history;
mod home;
mod inbox;
mod limits;
mod linking;
mod meeting;
mod mls;
mod net;
mod node;
mod presence;
mod ranges;
mod roster;
mod store;
mod sync;
#[cfg(test)]
mod testing;
mod timeline;
mod turn;
mod views;

pub use account::link::{AccountLink, NewDevice};
pub use account::recovery::Recovery;
pub use api::error::{
    CallRefused, CodePurpose, EventRefusal, GroupRefusal, Invalid, NodeError, NotAllowed, NotFound, Unfound,
    Unreachable,
};
pub use api::problem::{CallProblem, ChatProblem, FalseAnswer, HomeProblem, ItemRefused, SasError};
pub use api::types::{
    Arranged, Arriving, Audience, AuditAction, AuditEntry, AuditLog, CallElsewhere, CallEnded, CallInfo, CallNote,
    CallPhase, CallSetup, Chat, ChatId, ChatKind, ChatMember, Consent, Contact, ContactState, CopyPhase, DeliveryState,
    Device, DeviceChange, DeviceNote, DurableEvent, DurableEventKind, Group, GroupAccount, GroupKind, GroupReport,
    GroupRequest, GroupRules, GroupSetting, HiddenChange, HistoryCopy, HistoryState, HomeStatus, InvalidId,
    JoinLinkInfo, JoinPreview, Joining, Message, MessageId, NewJoinLink, OldProgram, Permissions, RefusedRemoval,
    Request, Role, Standing, Status, Storage, StoredLogs, TransientEvent, Usable, Via,
};
pub use call_media::{Media, RouteId};
pub use conversation::policy::NewChannel;
pub use events::limits::DELETE_WINDOW_MS;
pub use mls::GroupError;
#[cfg(feature = "fuzz")]
pub use net::fuzz;
pub use net::{
    ConnectionProblem, Introduction, NetConfig, NetError, Proxy, ProxyAddressError, ProxyKind, Transport, introduce,
};
pub use node::{Attendant, ConnectionWatch, NewProfile, Node, OpenError, Origin, create_profile};
pub use starling_keys::chain::Rights;
pub use starling_media::{self as media, spec};
pub use starling_wire::{
    Availability, CallEnd, CallId, Clock, EventId, Recording, Text,
    limits::{MAX_TEXT, is_username},
    rendezvous::Refusal,
};
pub use store::{ProfileDir, StoreError};
pub use timeline::search::Search;
pub use turn::EngineError;
