//! What each side knows of the other's device chain, said back: a device that was added behind its owner's back is seen by the owner.
//!
//! Receipts carry the heads of the chains that a device knows. Whoever sees that somebody knows less of an account than is known here sends them
//! the chain; whoever learns entries of a contact's chain from that contact sends them back. An owner's device that is shown entries that it
//! does not have asks its home; if that lacks them, too, they were hidden, and the user is warned.

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceChain, chain::Head};
use starling_wire::{Body, Devices, KnownChain};

use super::Engine;
use crate::{api::types::ChatId, limits::ECHO_AGAIN_MS, turn::Turn};

/// The chains that were sent to their owners last: which, and when (steady time).
#[derive(Default)]
pub struct Echoes(BTreeMap<(ChatId, AccountId), (Head, u64)>);

impl Echoes {
    /// Whether a chain is to be sent into a conversation now: not the same again and again.
    fn is_due(&mut self, chat: ChatId, chain: &DeviceChain, now: u64) -> bool {
        let last = self.0.get(&(chat, chain.account));
        let due = last.is_none_or(|(head, at)| *head != chain.head() || at.saturating_add(ECHO_AGAIN_MS) <= now);
        if due {
            self.0.insert((chat, chain.account), (chain.head(), now));
        }
        due
    }
}

impl Engine {
    /// Sends into a conversation what is known here of the chain of one of its members.
    fn send_chain(&mut self, turn: &Turn<'_>, chat: ChatId, chain: &DeviceChain) {
        if self.active_group(chat).is_none() || !self.echoes.is_due(chat, chain, turn.now()) {
            return;
        }
        let (list, labels) =
            (chain.as_bytes().to_vec(), self.conversations.labels_of(self.directory(), &chain.account));
        self.views().announce(turn, chat, Body::Devices(Devices { list, labels }));
    }

    /// A member of a conversation says which chain of an account it knows.
    pub(super) fn on_known_chain(&mut self, turn: &mut Turn<'_>, chat: ChatId, from: AccountId, theirs: &KnownChain) {
        let Ok(account) = AccountId::from_bytes(&theirs.account) else { return };
        let Some(known) = self.directory().list_of(&account).filter(|list| !list.is_empty()) else { return };
        let is_prefix = known.head_at(theirs.length) == Some(Head(theirs.head));
        let lacks = is_prefix && theirs.length < known.len();
        let own = account == self.account.id();
        // Ours is known there by other entries: they answer ours with theirs, if these go on from it.
        let unknown = own && !is_prefix && from != account;
        // In a group that is for each account's own devices to say: else all would say it.
        let is_ours_to_say = own || !self.conversations.is_group_chat(chat);
        if (lacks || unknown) && is_ours_to_say {
            let known = known.clone();
            self.send_chain(turn, chat, &known);
        }
    }

    /// A contact has sent entries of its chain: all of its devices see that they are known here.
    pub(super) fn echo_chain(&mut self, turn: &mut Turn<'_>, account: AccountId) {
        let chain = self.contacts.people.get(&account).and_then(|person| person.list.clone());
        if let (Some(chain), Some(chat)) = (chain, self.conversations.direct_with(&account)) {
            self.send_chain(turn, chat, &chain);
        }
    }

    /// A contact's chain contradicts the one that is known here: its owner sees it.
    pub(super) fn send_back(&mut self, turn: &Turn<'_>, chain: &DeviceChain) {
        if let Some(chat) = self.conversations.direct_with(&chain.account) {
            self.send_chain(turn, chat, chain);
        }
    }
}
