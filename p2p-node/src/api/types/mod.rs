//! What a user of the engine sees: plain data.

mod call;
mod chat;
mod contact;
mod device;
mod event;
mod group;
mod ids;
mod status;
mod storage;

pub use call::{CallElsewhere, CallEnded, CallInfo, CallNote, CallPhase, CallSetup, Consent};
pub use chat::{Arranged, Chat, ChatKind, ChatMember, DeliveryState, Message, Via};
pub use contact::{Audience, Contact, ContactState, Request};
pub use device::{
    Attempt, CopyPhase, Device, DeviceChange, DeviceNote, HiddenChange, HistoryCopy, HistoryState, RefusedRemoval,
    Usable,
};
pub use event::{DurableEvent, DurableEventKind, TransientEvent};
pub use group::{
    Arriving, AuditAction, AuditEntry, AuditLog, Group, GroupAccount, GroupKind, GroupReport, GroupRequest, GroupRules,
    GroupSetting, JoinLinkInfo, JoinPreview, Joining, NewJoinLink, OldProgram, Permissions, Role, Standing,
};
pub use ids::{ChatId, InvalidId, MessageId};
pub use status::{HomeStatus, Status};
pub use storage::{Storage, StoredLogs};

macro_rules! stored_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$doc])* $variant = $value),* }

        impl $name {
            /// From its stored number; one of a newer version reads as the default.
            pub fn from_stored(value: u32) -> Self {
                match value { $($value => Self::$variant,)* _ => Self::default() }
            }

            /// Its stored number.
            pub fn stored(self) -> u32 {
                self as u32
            }
        }
    };
}

use stored_enum;
