//! What the user asks of contacts.

use starling_keys::{AccountId, InviteToken, RendezvousAddr};

use crate::api::error::NodeError;
use crate::api::{
    Reply, fail,
    types::{Contact, Request},
};

/// A command about contacts. Each is a method of `Node`, documented there.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum ContactCommand {
    List(Reply<Vec<Contact>>),
    Find(String, Reply<Contact>),
    Requests(Reply<Vec<Request>>),
    Invite {
        uses: u32,
        lifetime_ms: u64,
        reply: Reply<(String, u64)>,
    },
    UseCode {
        code: String,
        home: Option<RendezvousAddr>,
        reply: Reply<AccountId>,
    },
    Connect {
        account: Option<AccountId>,
        name: Option<String>,
        homes: Vec<RendezvousAddr>,
        token: Option<InviteToken>,
        greeting: String,
        alias: String,
        reply: Reply<AccountId>,
    },
    Accept(AccountId, Reply<()>),
    Decline(AccountId, Reply<()>),
    Rename(AccountId, String, Reply<()>),
    SetVerified(AccountId, bool, Reply<()>),
    Trust(AccountId, Reply<()>),
    Block(AccountId, Reply<()>),
    Unblock(AccountId, Reply<()>),
    Remove(AccountId, Reply<()>),
}

impl ContactCommand {
    /// Whether a device that its account has given up may still do this.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::List(_) | Self::Find(..) | Self::Requests(_) => true,
            Self::Invite { .. }
            | Self::UseCode { .. }
            | Self::Connect { .. }
            | Self::Accept(..)
            | Self::Decline(..)
            | Self::Rename(..)
            | Self::SetVerified(..)
            | Self::Trust(..)
            | Self::Block(..)
            | Self::Unblock(..)
            | Self::Remove(..) => false,
        }
    }

    /// Fails the command.
    pub(crate) fn refuse(self, error: NodeError) {
        match self {
            Self::List(reply) => fail(reply, error),
            Self::Find(_, reply) => fail(reply, error),
            Self::Requests(reply) => fail(reply, error),
            Self::Invite { reply, .. } => fail(reply, error),
            Self::UseCode { reply, .. } | Self::Connect { reply, .. } => fail(reply, error),
            Self::Accept(_, reply)
            | Self::Decline(_, reply)
            | Self::Rename(_, _, reply)
            | Self::SetVerified(_, _, reply)
            | Self::Trust(_, reply)
            | Self::Block(_, reply)
            | Self::Unblock(_, reply)
            | Self::Remove(_, reply) => fail(reply, error),
        }
    }
}
