//! What the user says of people, and our device chain, said to our other devices; and the chain to contacts.

use bytes::Bytes;
use starling_keys::{AccountId, DeviceEntry};
use starling_wire::{
    Body, Devices,
    inbox::{InboxBody, Known},
};

use super::AccountSync;
use crate::{
    api::types::{ChatId, ContactState},
    turn::{EngineError, Turn},
};

/// A parcel without a group has this in its key's place for one: the newest replaces those that wait.
const LIST_PARCEL: [u8; 16] = *b"our own devices.";

impl AccountSync<'_> {
    /// Sends our newest chain to contacts.
    pub(crate) fn tell_list(&mut self, turn: &mut Turn<'_>) {
        let news = self.cx.account.identity.row.device_list.clone();
        let labels = self.cx.labels_of(&self.cx.account.id());
        let mut chats: Vec<ChatId> = self.cx.conversations.chats.keys().copied().collect();
        chats.retain(|c| self.cx.active_group(*c).is_some());
        for chat in chats {
            self.cx.announce(turn, chat, Body::Devices(Devices { list: news.clone(), labels: labels.clone() }));
        }
    }

    /// The user has decided about a contact: sends that to our other devices.
    pub(crate) fn said_of(&mut self, turn: &mut Turn<'_>, account: AccountId) -> Result<(), EngineError> {
        let now = turn.agreed_ms();
        if let Some(person) = self.cx.contacts.people.get_mut(&account) {
            person.row.said_ms = now.max(person.row.said_ms.saturating_add(1));
            person.dirty = true;
        }
        self.tell_other_devices(turn, Some(account))
    }

    /// Sends our chain to our other devices, and what is known `about` a contact.
    pub(crate) fn tell_other_devices(
        &mut self,
        turn: &mut Turn<'_>,
        about: Option<AccountId>,
    ) -> Result<(), EngineError> {
        let known = about.map(|account| self.known(turn, account));
        for device in self.cx.account.other_devices() {
            self.tell_device(turn, &device, known.clone())?;
        }
        Ok(())
    }

    fn tell_device(&mut self, turn: &mut Turn<'_>, to: &DeviceEntry, known: Option<Known>) -> Result<(), EngineError> {
        let Some((body, home)) = self.cx.account.body_for_own_device() else { return Ok(()) };
        let place = known.as_ref().map_or(LIST_PARCEL, |k| {
            let mut place = [0; 16];
            place.copy_from_slice(&blake3::hash(&k.account).as_bytes()[..16]);
            place
        });
        let body = InboxBody { known, labels: self.cx.labels_of(&self.cx.account.id()), ..body };
        let account = self.cx.account.id();
        self.cx.leave_parcel(turn, to, place, &body, account, &home)?;
        Ok(())
    }

    /// What we know of somebody.
    pub(crate) fn known(&self, turn: &Turn<'_>, account: AccountId) -> Known {
        let Some(person) = self.cx.contacts.people.get(&account) else {
            // Somebody whose request we have declined.
            return Known {
                account: Bytes::copy_from_slice(account.as_bytes()),
                state: ContactState::Removed.stored(),
                said_ms: turn.agreed_ms(),
                ..Known::default()
            };
        };
        Known {
            account: Bytes::copy_from_slice(account.as_bytes()),
            device_list: person.list.as_ref().map(|l| Bytes::copy_from_slice(l.as_bytes())).unwrap_or_default(),
            homes: person.row.homes.clone(),
            name: person.row.name.clone(),
            alias: person.row.alias.clone(),
            state: person.row.state,
            verified: person.row.verified && !person.row.key_changed,
            bot: person.row.bot,
            said_ms: person.row.said_ms,
            named_clock: person.row.named_clock,
            named_by: person.row.named_by,
            labels: self.cx.labels_of(&account),
            trusted: Bytes::copy_from_slice(&person.row.trusted),
            ..Known::default()
        }
    }
}
