//! What the user asks of the account.

use starling_keys::{DeviceId, RendezvousAddr, chain::Rights};

use super::{
    link::{AccountLink, NewDevice},
    recovery::Recovery,
};
use crate::api::error::{Invalid, NodeError};
use crate::api::{
    Reply, fail,
    types::{Arranged, ChatId, Device, Storage},
};

/// A command about the account. Each is a method of `Node`, documented there.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum AccountCommand {
    /// For another device of ours, or for a contact.
    OpenCode(bool, Reply<String>),
    CloseCode(String, Reply<()>),
    /// The user's answer to a device that asks to join; without rights it may not.
    AnswerLink {
        device: DeviceId,
        rights: Option<Rights>,
        /// It may copy the history of this device.
        history: bool,
        reply: Reply<()>,
    },
    /// What this device is called, and what it is.
    Describe {
        name: String,
        kind: String,
        reply: Reply<()>,
    },
    SetRights {
        device: DeviceId,
        rights: Rights,
        reply: Reply<()>,
    },
    JoinAccount {
        code: String,
        home: RendezvousAddr,
        device: Box<NewDevice>,
        name: String,
        kind: String,
        asked: Reply<()>,
        reply: Reply<(AccountLink, NewDevice)>,
    },
    /// Goes on with [`AccountCommand::JoinAccount`] of an earlier run.
    ResumeJoin(Reply<(AccountLink, NewDevice)>),
    Devices(Reply<Vec<Device>>),
    RemoveDevice(DeviceId, Reply<()>),
    /// What the root signs to make this the only device.
    Recovery(Reply<Recovery>),
    /// Takes the chain that it has signed.
    Recover(Vec<u8>, Reply<()>),
    SetPrivacy {
        last_seen: Option<u32>,
        receipts: Option<u32>,
        typing: Option<u32>,
        reply: Reply<[u32; 3]>,
    },
    SetName(String, Reply<()>),
    SetDraft {
        chat: ChatId,
        text: String,
        reply: Reply<()>,
    },
    /// How conversations stand in lists.
    Arrange(Vec<(ChatId, Arranged)>, Reply<()>),
    SetUsername(String, Reply<()>),
    /// What homes store, after deleting what is not needed of a conversation.
    Storage {
        delete: Option<String>,
        reply: Reply<Storage>,
    },
    SetHomes {
        homes: Vec<RendezvousAddr>,
        token: String,
        reply: Reply<()>,
    },
}

impl AccountCommand {
    /// Whether a device that its account has given up may still do this.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::Devices(_) | Self::Recovery(_) | Self::Recover(..) => true,
            // Without a change it only asks for the settings.
            Self::SetPrivacy { last_seen, receipts, typing, .. } => {
                last_seen.is_none() && receipts.is_none() && typing.is_none()
            }
            Self::OpenCode(..)
            | Self::CloseCode(..)
            | Self::JoinAccount { .. }
            | Self::ResumeJoin(_)
            | Self::AnswerLink { .. }
            | Self::Describe { .. }
            | Self::SetRights { .. }
            | Self::RemoveDevice(..)
            | Self::SetName(..)
            | Self::SetDraft { .. }
            | Self::Arrange(..)
            | Self::SetUsername(..)
            | Self::Storage { .. }
            | Self::SetHomes { .. } => false,
        }
    }

    /// Fails the command.
    pub(crate) fn refuse(self, error: NodeError) {
        match self {
            Self::OpenCode(_, reply) => fail(reply, error),
            Self::JoinAccount { reply, .. } | Self::ResumeJoin(reply) => fail(reply, error),
            Self::Devices(reply) => fail(reply, error),
            Self::Recovery(reply) => fail(reply, error),
            Self::SetPrivacy { reply, .. } => fail(reply, error),
            Self::Storage { reply, .. } => fail(reply, error),
            Self::RemoveDevice(_, reply)
            | Self::CloseCode(_, reply)
            | Self::Recover(_, reply)
            | Self::AnswerLink { reply, .. }
            | Self::Describe { reply, .. }
            | Self::SetRights { reply, .. }
            | Self::SetName(_, reply)
            | Self::SetDraft { reply, .. }
            | Self::Arrange(_, reply)
            | Self::SetUsername(_, reply)
            | Self::SetHomes { reply, .. } => fail(reply, error),
        }
    }
}

/// A name as it may be shown.
///
/// # Errors
/// [`NodeError::Invalid`] for one that is empty, too long, or made to look like something else.
pub(crate) fn checked_name(name: &str) -> Result<String, NodeError> {
    starling_text::display_name(name).map_err(|error| Invalid::Name(error).into())
}
