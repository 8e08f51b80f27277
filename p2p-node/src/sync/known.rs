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

/// An outbound item without a group has this in its key's place for one: the newest replaces those that wait.
const LIST_PLACE: [u8; 16] = *b"our own devices.";

impl AccountSync<'_> {
    /// Sends our newest chain to contacts.
    pub(crate) fn tell_list(&mut self, turn: &mut Turn<'_>) {
        let chats = self.cx.conversations.by_activity(self.cx.directory(), |_| true);
        self.tell_list_in(turn, chats.into_iter().rev());
    }

    fn tell_list_in(&mut self, turn: &mut Turn<'_>, chats: impl IntoIterator<Item = ChatId>) {
        let list = self.cx.account.identity.row.device_list.clone();
        let devices = Devices { list, labels: self.cx.labels_of(&self.cx.account.id()) };
        for chat in chats {
            self.cx.announce(turn, chat, Body::Devices(devices.clone()));
        }
    }

    /// Tells some of the conversations, when it is time, of devices that were added to our account and have not said so there themselves.
    pub(crate) fn announce_added(&mut self, turn: &mut Turn<'_>) {
        if self.cx.account.own_devices.beginning(turn.now()).is_some() {
            let (dir, conversations) = (self.cx.directory(), &self.cx.conversations);
            let lacking = conversations.by_activity(dir, |group| !conversations.knows_our_devices(dir, group));
            if let Some(announcing) = self.cx.account.own_devices.beginning(turn.now()) {
                announcing.begin(lacking);
            }
        }
        let chats = self.cx.account.own_devices.take_announced();
        self.tell_list_in(turn, chats);
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
        let Some((body, home)) = self.cx.account.body_for_own_device(self.cx.homes) else { return Ok(()) };
        let place = known.as_ref().map_or(LIST_PLACE, |k| {
            let mut place = [0; 16];
            place.copy_from_slice(&blake3::hash(&k.account).as_bytes()[..16]);
            place
        });
        let body = InboxBody { known, labels: self.cx.labels_of(&self.cx.account.id()), ..body };
        let account = self.cx.account.id();
        self.cx.leave_item(turn, to, place, &body, account, &home)?;
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
