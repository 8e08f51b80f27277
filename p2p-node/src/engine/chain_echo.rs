//! What each side knows of the other's device chain, said back: a device that was added behind its owner's back is seen by the owner.
//!
//! Receipts carry the heads of the chains that a device knows. Whoever sees that somebody knows less of an account than is known here sends them
//! the chain; whoever learns entries of a contact's chain from that contact sends them back. An owner's device that is shown entries that it
//! does not have asks its home; if that lacks them, too, they were hidden, and the user is warned.

use std::collections::HashMap;

use starling_keys::{
    AccountId, DeviceChain, DeviceId,
    chain::{ChangeKind, Head, Relation, Signer},
};
use starling_wire::{Body, Devices, KnownChain, rendezvous::RequestBody};

use super::Engine;
use crate::{
    account::{devices::ShownChain, pending::AccountPending},
    api::types::{ChatId, DurableEventKind, HiddenChange},
    limits::ECHO_AGAIN_MS,
    net::HomeId,
    turn::{EngineError, Turn},
};

/// The chains that were sent to their owners last: which, and when (steady time).
#[derive(Default)]
pub struct Echoes(HashMap<(ChatId, AccountId), (Head, u64)>);

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
        self.announce(turn, chat, Body::Devices(Devices { list, labels }));
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
        if lacks || unknown {
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

    /// A chain of our own account in a conversation: entries that are not known here are asked of our home.
    pub(super) fn on_own_chain_shown(&mut self, turn: &mut Turn<'_>, by: AccountId, devices: &Devices) {
        let Some(chain) = self.read_chain(&devices.list).filter(|chain| self.account.is_newer(chain)) else { return };
        if self.account.list().is_none_or(|list| list.is_empty()) {
            return;
        }
        if self.account.own_devices.take_shown(ShownChain { by, chain, labels: devices.labels.clone() }) {
            self.ask_for_own_chain(turn);
        }
    }

    /// Asks a home for our chain, if something is to be compared with it.
    pub(crate) fn ask_for_own_chain(&mut self, turn: &mut Turn<'_>) {
        if !self.account.own_devices.has_shown() {
            return;
        }
        let registered = |home: &HomeId| self.homes.servers.get(home).is_some_and(|h| h.registered);
        let home = self.account.identity.homes.iter().map(|home| home.peer).find(registered);
        if let Some(home) = home {
            let account = bytes::Bytes::copy_from_slice(self.account.id().as_bytes());
            self.homes.request(turn, home, RequestBody::LookUp(account), AccountPending::OwnList);
        }
    }

    /// A home has shown our chain, and it was taken: what contacts know beyond that was hidden from it. The user is warned, and sees it in the
    /// list of devices, where it can be removed for everybody.
    pub(crate) fn compare_shown(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for ShownChain { by, chain, labels } in self.account.own_devices.shown() {
            let Some(own) = self.account.list().filter(|_| self.account.is_newer(&chain)).cloned() else { continue };
            tracing::warn!("a contact knows entries of our device chain that our home does not have");
            let age = self.account.identity.held().age(turn.agreed_ms() / 1000);
            let is_late = !own.late_removals(&chain, age).is_empty();
            // Of what a removed device has done the user is warned otherwise.
            for hidden in hidden(&own, &chain).into_iter().filter(|_| !is_late) {
                let label = labels.iter().find(|l| l.device[..] == hidden.device.as_bytes()[..]);
                let name = label.map(|l| l.name.clone()).unwrap_or_default();
                let hidden = HiddenChange { name, ..hidden };
                turn.account_news(DurableEventKind::DeviceHidden, by, &hidden.to_string())?;
            }
            let account = self.account.id();
            if !self.on_own_list(turn, chain)? {
                return Ok(());
            }
            self.views().take_labels(turn, account, &labels)?;
            self.account.publish_at_homes(turn, &mut self.homes);
        }
        Ok(())
    }
}

/// What a chain of ours does to devices after what is known.
fn hidden(own: &DeviceChain, shown: &DeviceChain) -> Vec<HiddenChange> {
    let common = own.common(shown);
    let word = |kind| match kind {
        ChangeKind::Joined => "joined",
        ChangeKind::Left => "left",
        ChangeKind::Recovered => "recovered",
    };
    let rival = matches!(own.relation(shown), Relation::Rival(_));
    let of_change = |change: starling_keys::chain::Change| HiddenChange {
        change: if rival && change.kind != ChangeKind::Recovered { "forked" } else { word(change.kind) }.into(),
        device: change.device,
        by: change.by,
        name: String::new(),
    };
    let mut hidden: Vec<HiddenChange> = shown.changes_after(common).into_iter().map(of_change).collect();
    if hidden.is_empty() {
        // Rights or homes: who has signed that is what the user has to know.
        let signer = shown.entries().last().map(|entry| entry.signer);
        let device: Option<DeviceId> = if let Some(Signer::Device(device)) = signer { Some(device) } else { None };
        let change = if rival { "forked" } else { "changed" }.to_owned();
        hidden.extend(device.map(|device| HiddenChange { change, device, by: Some(device), name: String::new() }));
    }
    hidden
}
