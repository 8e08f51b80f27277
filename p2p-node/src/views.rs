//! What steps with people and with our own devices use of the node: our account, the people that we know, our conversations, and what carries
//! messages. It is borrowed for one step of a turn.

use starling_keys::{AccountId, DeviceEntry};
use starling_wire::{Body, DeviceLabel, EventId, inbox::InboxBody};

use crate::{
    account::Account,
    api::types::ChatId,
    contacts::{Contacts, Directory},
    conversation::{Context, Conversations},
    delivery::Delivery,
    home::{Homes, Recipient, Sealing},
    mls::{GroupId, Mls},
    store::Store,
    turn::{Counters, EngineError, Turn},
};

/// What such a step reads and changes.
pub struct Views<'a> {
    /// Our account.
    pub account: &'a mut Account,
    /// The people that we know.
    pub contacts: &'a mut Contacts,
    /// Our conversations with them.
    pub conversations: &'a mut Conversations,
    /// Which devices are connected.
    pub delivery: &'a Delivery,
    /// Where requests to servers go.
    pub homes: &'a mut Homes,
    /// What encrypts and decrypts.
    pub mls: &'a Mls,
    /// The clock that events are stamped with, and what is kept of the node itself.
    pub counters: &'a mut Counters,
    /// Names of rows.
    pub store: &'a Store,
}

impl Views<'_> {
    /// The same, borrowed for a part of the step.
    pub fn reborrow(&mut self) -> Views<'_> {
        Views {
            account: self.account,
            contacts: self.contacts,
            conversations: self.conversations,
            delivery: self.delivery,
            homes: self.homes,
            mls: self.mls,
            counters: self.counters,
            store: self.store,
        }
    }

    /// Who is who.
    pub fn directory(&self) -> Directory<'_> {
        Directory { account: self.account, contacts: self.contacts }
    }

    /// The conversations, with what they read and use of the rest.
    pub fn conversing(&mut self) -> (&mut Conversations, Context<'_>) {
        let dir = Directory { account: self.account, contacts: self.contacts };
        let (links, homes, counters) = (self.delivery, &mut *self.homes, &mut *self.counters);
        (self.conversations, Context { dir, links, mls: self.mls, homes, counters })
    }

    /// The direct conversation with an account.
    pub fn chat_with(&mut self, turn: &mut Turn<'_>, account: AccountId) -> ChatId {
        self.conversations.chats.chat_with(turn, self.account.id(), account)
    }

    /// The group that a conversation's messages are written in.
    pub fn active_group(&self, chat: ChatId) -> Option<GroupId> {
        self.conversations.active_group(self.directory(), chat)
    }

    /// Writes into a conversation what its members have to know and nobody reads.
    pub fn announce(&mut self, turn: &Turn<'_>, chat: ChatId, body: Body) -> EventId {
        let (conversations, mut cx) = self.conversing();
        conversations.chats.announce(turn, &mut cx, chat, body)
    }

    /// Reads the logs of a group.
    pub fn read_logs(&mut self, turn: &mut Turn<'_>, id: GroupId) {
        let (conversations, mut cx) = self.conversing();
        conversations.read_logs(turn, &mut cx, id);
    }

    /// Has what waits in a conversation encrypted for its present group.
    pub fn renew_outbox(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let (conversations, mut cx) = self.conversing();
        conversations.renew_outbox(turn, &mut cx, chat)
    }

    /// What the devices of an account are called.
    pub fn labels_of(&self, account: &AccountId) -> Vec<DeviceLabel> {
        self.conversations.authors.labels_of(self.directory(), account)
    }

    /// Takes what an account says that its devices are called.
    pub fn take_labels(
        &mut self,
        turn: &Turn<'_>,
        account: AccountId,
        labels: &[DeviceLabel],
    ) -> Result<(), EngineError> {
        let (conversations, cx) = self.conversing();
        conversations.authors.take_labels(turn, cx.dir, account, labels)
    }

    /// Leaves an item for the inbox of a device, at a server. `place` tells apart what waits for it: the newest item of a place replaces others.
    pub fn leave_item(
        &mut self,
        turn: &mut Turn<'_>,
        to: &DeviceEntry,
        place: [u8; 16],
        body: &InboxBody,
        account: AccountId,
        home: &str,
    ) -> Result<(), EngineError> {
        let sealing = Sealing { mls: self.mls, key: &self.account.identity.device_key };
        self.homes.leave_item(turn, &sealing, &Recipient { account, device: to, home }, place, body)
    }
}
