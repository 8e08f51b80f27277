//! What contacts' devices are called, and the lines about them in the conversations with them.

use bytes::Bytes;
use starling_keys::{
    AccountId, DeviceChain, DeviceId,
    chain::{Change, ChangeKind, Summary},
};
use starling_wire::{Clock, DeviceLabel, Devices, EventId};

use super::Engine;
use crate::{
    account::commands::checked_name,
    api::error::NodeError,
    api::types::{ChatId, DeviceChange},
    contacts::Directory,
    conversation::Conversations,
    events,
    roster::Label,
    turn::{EngineError, EventFact, Turn},
};

impl Engine {
    /// What the devices of an account, ours or a contact's, are called.
    pub(crate) fn labels_of(&self, account: &AccountId) -> Vec<DeviceLabel> {
        let devices = self.directory().list_of(account).into_iter().flat_map(|list| &list.devices);
        let known = devices.filter_map(|d| Some((d.id, self.conversations.authors.label(*account, d.id.tag())?)));
        let labelled = known.filter(|(_, label)| **label != Label::default());
        labelled
            .map(|(device, label)| DeviceLabel {
                device: Bytes::copy_from_slice(device.as_bytes()),
                name: label.name.clone(),
                kind: label.kind.clone(),
            })
            .collect()
    }

    /// Takes what an account says that its devices are called; of others than those on its chain it says nothing that counts.
    pub(crate) fn note_labels(
        &mut self,
        turn: &Turn<'_>,
        account: AccountId,
        labels: &[DeviceLabel],
    ) -> Result<(), EngineError> {
        let Self { account: own, contacts, conversations, .. } = self;
        let dir = Directory { account: own, contacts };
        for label in labels {
            let Ok(device) = DeviceId::from_bytes(&label.device) else { continue };
            if dir.list_of(&account).is_some_and(|list| list.device(&device).is_some()) {
                let label = Label { name: label.name.clone(), kind: label.kind.clone() };
                conversations.label_device(turn, dir, account, device, &label)?;
            }
        }
        Ok(())
    }

    /// Takes what this device is called, as its user and the account's contacts see it.
    pub(crate) fn describe_device(
        &mut self,
        turn: &Turn<'_>,
        name: &str,
        kind: &str,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let name = match checked_name(name) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let label = Label { name, kind: starling_text::received_name(kind) };
        let Self { account, contacts, conversations, .. } = self;
        let (id, device, dir) = (account.id(), account.device(), Directory { account, contacts });
        conversations.label_device(turn, dir, id, device, &label)?;
        Ok(Ok(()))
    }

    /// An account, ours or a contact's, has sent a device chain.
    pub(crate) fn on_device_list(
        &mut self,
        turn: &mut Turn<'_>,
        from: AccountId,
        devices: &Devices,
    ) -> Result<(), EngineError> {
        let account = Summary::of(&devices.list).map_or(from, |summary| summary.account);
        if account == self.account.id() {
            self.on_own_chain_shown(turn, from, devices);
            return Ok(());
        }
        if account != from {
            return Ok(());
        }
        self.contacts.on_newer_list(turn, &self.account, from, &devices.list)?;
        self.note_labels(turn, from, &devices.labels)
    }

    /// The chain of a contact says something else of their devices: the conversation with them says what.
    pub(super) fn show_contact_devices(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        withdrawn: &[Change],
        changes: &[Change],
    ) -> Result<(), EngineError> {
        let chat = self.chat_with(turn, account);
        let Self { account: own, contacts, conversations, .. } = self;
        let dir = Directory { account: own, contacts };
        for change in withdrawn {
            let at = events::devices::place_of(change);
            if let Some((done, _)) =
                conversations.with_fold(turn, dir, chat, |fold| events::devices::withdraw(fold, at))
            {
                done?;
            }
        }
        for change in changes {
            let author = conversations.author(turn, dir, account, &change.device)?;
            let what = match change.kind {
                ChangeKind::Joined => DeviceChange::Joined,
                ChangeKind::Left => DeviceChange::Left,
                ChangeKind::Recovered => DeviceChange::Recovered,
            };
            let at = events::devices::place_of(change);
            put(conversations, turn, dir, (chat, at, author, what))?;
        }
        turn.fact(EventFact::Arrived(chat).into());
        Ok(())
    }

    /// The chain of a contact has two ends: the conversation with them says so.
    pub(super) fn show_fork(&mut self, turn: &mut Turn<'_>, chain: &DeviceChain) -> Result<(), EngineError> {
        let account = chain.account;
        let mut tag = [0; 8];
        tag.copy_from_slice(&chain.head().0[..8]);
        let chat = self.chat_with(turn, account);
        let Self { account: own, contacts, conversations, .. } = self;
        let dir = Directory { account: own, contacts };
        let at = EventId { clock: Clock::at(chain.newest_time().saturating_mul(1000)), device: tag, sequence: 0 };
        let author = conversations.author_with_tag(turn, dir, account, [0; 8])?;
        put(conversations, turn, dir, (chat, at, author, DeviceChange::Forked))?;
        turn.fact(EventFact::Arrived(chat).into());
        Ok(())
    }
}

/// Writes a line about a device of `author` into a conversation.
fn put(
    conversations: &mut Conversations,
    turn: &Turn<'_>,
    dir: Directory<'_>,
    (chat, at, author, what): (ChatId, EventId, u32, DeviceChange),
) -> Result<(), EngineError> {
    let done = conversations.with_fold(turn, dir, chat, |fold| events::devices::put(fold, at, author, what));
    Ok(done.map_or(Ok(()), |(done, _)| done)?)
}
