//! Contacts, as users of a node make them and decide about them.

use starling_keys::{AccountId, InviteToken, RendezvousAddr};

use super::Node;
use crate::{
    api::{
        error::NodeError,
        types::{Contact, Request},
    },
    engine::{AccountCommand, ContactCommand},
};

impl Node {
    /// Everybody we know, also those blocked.
    pub async fn contacts(&self) -> Result<Vec<Contact>, NodeError> {
        self.call(ContactCommand::List).await
    }

    /// The one contact that `who` means: a name, with or without `@`, an account, an address or invite, or the id of a conversation, with or without
    /// `id:`.
    ///
    /// # Errors
    /// [`NodeError::Unfound`] if it is nobody, or if several have the name.
    pub async fn find_contact(&self, who: String) -> Result<Contact, NodeError> {
        self.call(|reply| ContactCommand::Find(who, reply)).await
    }

    /// Contact requests that wait for the user.
    pub async fn requests(&self) -> Result<Vec<Request>, NodeError> {
        self.call(ContactCommand::Requests).await
    }

    /// A new invite, as a link, and when it expires, in seconds since 1970.
    pub async fn invite(&self, uses: u32, lifetime_ms: u64) -> Result<(String, u64), NodeError> {
        self.call(|reply| ContactCommand::Invite { uses, lifetime_ms, reply }).await
    }

    /// A new short code; it works while this node runs, for ten minutes. [`TransientEvent::CodeEnded`](crate::TransientEvent::CodeEnded) tells how it ends.
    pub async fn open_code(&self) -> Result<String, NodeError> {
        self.call(|reply| AccountCommand::OpenCode(false, reply)).await
    }

    /// Withdraws a code of this node that nobody waits for any more; one that is not open is none.
    pub async fn close_code(&self, code: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::CloseCode(code, reply)).await
    }

    /// Uses a short code that somebody else has opened, at their rendezvous (ours if not given).
    pub async fn use_code(&self, code: String, home: Option<RendezvousAddr>) -> Result<AccountId, NodeError> {
        self.call(|reply| ContactCommand::UseCode { code, home, reply }).await
    }

    /// Makes an account a contact: at once with a good token, else by a request. Ready when the request is stored here to be delivered.
    pub async fn connect(
        &self,
        account: AccountId,
        homes: Vec<RendezvousAddr>,
        token: Option<InviteToken>,
        greeting: String,
        alias: String,
    ) -> Result<AccountId, NodeError> {
        self.call(|reply| ContactCommand::Connect {
            account: Some(account),
            name: None,
            homes,
            token,
            greeting,
            alias,
            reply,
        })
        .await
    }

    /// The same for a user name at a rendezvous.
    pub async fn connect_name(
        &self,
        name: String,
        home: RendezvousAddr,
        greeting: String,
        alias: String,
    ) -> Result<AccountId, NodeError> {
        self.call(|reply| ContactCommand::Connect {
            account: None,
            name: Some(name),
            homes: vec![home],
            token: None,
            greeting,
            alias,
            reply,
        })
        .await
    }

    /// Accepts a request.
    pub async fn accept(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Accept(account, reply)).await
    }

    /// Declines a request; the other side is not told.
    pub async fn decline(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Decline(account, reply)).await
    }

    /// Gives a contact a name of our own; empty for theirs.
    pub async fn rename(&self, account: AccountId, name: String) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Rename(account, name, reply)).await
    }

    /// The user has compared safety numbers (or takes that back).
    pub async fn set_verified(&self, account: AccountId, verified: bool) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::SetVerified(account, verified, reply)).await
    }

    /// Trusts a contact's changed devices; they are unverified until compared again.
    pub async fn trust(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Trust(account, reply)).await
    }

    /// Blocks a contact, or somebody who asks to be one.
    pub async fn block(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Block(account, reply)).await
    }

    /// Takes a block back.
    pub async fn unblock(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Unblock(account, reply)).await
    }

    /// Removes a contact.
    pub async fn remove(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Remove(account, reply)).await
    }
}
