//! What each side knows of the other's device chain, said back: a device that was added behind its owner's back is seen by the owner.
//!
//! Receipts carry the heads of the chains that a device knows. Whoever sees that somebody knows less of an account than is known here sends them
//! the chain; whoever learns entries of a contact's chain from that contact sends them back. An owner's device that is shown entries that it
//! does not have asks its home; if that lacks them, too, they were hidden, and the user is warned.

use starling_keys::{AccountId, DeviceChain, chain::Head};
use starling_wire::{Body, Devices, KnownChain};

use super::AccountDevices;
use crate::{api::types::ChatId, turn::Turn};

impl AccountDevices<'_> {
    /// Sends into a conversation what is known here of the chain of one of its members.
    fn send_chain(&mut self, turn: &Turn<'_>, chat: ChatId, chain: &DeviceChain) {
        if self.cx.active_group(chat).is_none() || !self.cx.contacts.echoes.is_due(chat, chain, turn.now()) {
            return;
        }
        let (list, labels) =
            (chain.as_bytes().to_vec(), self.cx.conversations.authors.labels_of(self.cx.directory(), &chain.account));
        self.cx.announce(turn, chat, Body::Devices(Devices { list, labels }));
    }

    /// A member of a conversation says which chain of an account it knows.
    pub(crate) fn on_known_chain(&mut self, turn: &mut Turn<'_>, chat: ChatId, from: AccountId, theirs: &KnownChain) {
        let Ok(account) = AccountId::from_bytes(&theirs.account) else { return };
        let Some(known) = self.cx.directory().list_of(&account).filter(|list| !list.is_empty()) else { return };
        let is_prefix = known.head_at(theirs.length) == Some(Head(theirs.head));
        let lacks = is_prefix && theirs.length < known.len();
        let own = account == self.cx.account.id();
        // Ours is known there by other entries: they answer ours with theirs, if these go on from it.
        let unknown = own && !is_prefix && from != account;
        // In a group that is for each account's own devices to say: else all would say it.
        let is_ours_to_say = own || !self.cx.conversations.chats.is_group_chat(chat);
        if (lacks || unknown) && is_ours_to_say {
            let known = known.clone();
            self.send_chain(turn, chat, &known);
        }
    }

    /// A contact has sent entries of its chain: all of its devices see that they are known here.
    pub(crate) fn echo_chain(&mut self, turn: &mut Turn<'_>, account: AccountId) {
        let chain = self.cx.contacts.people.get(&account).and_then(|person| person.list.clone());
        if let (Some(chain), Some(chat)) = (chain, self.cx.conversations.chats.direct_with(&account)) {
            self.send_chain(turn, chat, &chain);
        }
    }

    /// A contact's chain contradicts the one that is known here: its owner sees it.
    pub(crate) fn send_back(&mut self, turn: &Turn<'_>, chain: &DeviceChain) {
        if let Some(chat) = self.cx.conversations.chats.direct_with(&chain.account) {
            self.send_chain(turn, chat, chain);
        }
    }
}
