//! What answers and events are about.

/// Defines enums whose variants are words in JSON. Those that have a `#[default]` are for values of which nothing is known yet.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Its name in JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}
pub(crate) use words;

mod call;
mod group;
mod history;
mod message;
mod people;
mod stats;
mod status;
mod storage;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use call::{
    Call, CallAt, CallElsewhere, CallEnd, CallNote, CallPhase, CameraDevice, Consent, MediaDevices, RecordingNote,
    RelayTest, SoundDevice,
};
pub use group::{
    AuditAction, AuditEntry, AuditLog, Group, GroupArrivals, GroupChannel, GroupLink, GroupMember, GroupPolicy,
    GroupPreview, GroupReport, JoinRequest, LinkChange, OldProgram, Role, Standing,
};
pub use history::{CopyState, History, HistoryCopy};
pub use message::{Author, DeliveryState, Format, Message, MessageKey, MessageRef, Reaction, Via};
pub use people::{
    Chat, ChatKind, ChatRef, Contact, ContactRef, ContactState, Device, DeviceChange, DeviceNote, Path, Presence,
    Request, Rights,
};
pub use stats::{CallStats, Heard, PatternSeen, RouteStats, SelfState, VideoStats};
pub use status::{Audience, Peers, Privacy, Reachability, Rendezvous, Status, Transport};
pub use storage::{Storage, StoredLogs};

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

texts! {
    /// The id of an account. Opaque.
    AccountId;
    /// The id of a device. Opaque.
    DeviceId;
    /// The id of a conversation in this profile. Opaque.
    ChatId;
    /// The id of a message in its conversation. Opaque.
    MessageId;
    /// The id of a call on this device. Opaque.
    CallId;
    /// A place in the events of a profile, from which a subscription can go on. Opaque.
    Cursor;
    /// A time: RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`. Texts of this kind sort by time.
    Time;
}
