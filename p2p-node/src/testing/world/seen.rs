//! What users of the test world see, and what their programs know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use starling_keys::{AccountId, DeviceChain, DeviceId, DeviceKey, RendezvousAddr, chain::ChainError};

use super::{Who, World};
use crate::{
    api::types::{Chat, ChatId, Contact, DurableEvent, Message},
    engine::{AccountCommand, ContactCommand, ConversationCommand, Engine},
    mls::GroupId,
    store::{IdentityRow, META, Reading, Store, prefix},
    timeline,
};

impl World {
    pub fn contact(&mut self, who: Who, other: Who) -> Option<Contact> {
        let account = self.people[other].account;
        self.call(who, ContactCommand::List).unwrap().into_iter().find(|c| c.account == account)
    }

    pub fn chat(&mut self, who: Who, other: Who) -> ChatId {
        self.contact(who, other).unwrap().chat
    }

    /// The same without asking: nothing happens meanwhile.
    pub fn chat_id(&self, who: Who, other: Who) -> ChatId {
        let engine = self.engine(who);
        engine.conversations.chats.direct_with(&self.people[other].account).unwrap()
    }

    /// How many conversations, groups, contacts and streams somebody's engine has looked at.
    pub fn visits(&self, who: Who) -> u64 {
        self.people[who].running.as_ref().map_or(0, |(engine, _)| engine.visits())
    }

    /// How many requests and frames somebody has sent.
    pub fn sent(&self, who: Who) -> u64 {
        self.sent.get(&who).copied().unwrap_or_default()
    }

    /// How many encryption states of groups somebody's engine has loaded.
    pub fn loaded_groups(&self, who: Who) -> usize {
        self.people[who].running.as_ref().map_or(0, |(engine, _)| engine.conversations.groups.states.len())
    }

    pub fn chat_row(&mut self, who: Who, other: Who) -> Chat {
        let chat = self.chat(who, other);
        self.call(who, ConversationCommand::List).unwrap().into_iter().find(|c| c.id == chat).unwrap()
    }

    /// What somebody's device has stored.
    pub fn store(&self, who: Who) -> Arc<Store> {
        self.people[who].running.as_ref().unwrap().1.clone()
    }

    /// What somebody sees of the conversation with another, without lines about devices.
    pub fn messages(&mut self, who: Who, other: Who) -> Vec<Message> {
        let chat = self.chat(who, other);
        let mut messages = self.messages_in(who, chat);
        messages.retain(|message| message.device_note.is_none());
        messages
    }

    /// Lines about the other's devices that somebody sees in the conversation with them.
    pub fn device_lines(&mut self, who: Who, other: Who) -> Vec<Message> {
        let chat = self.chat(who, other);
        let mut messages = self.messages_in(who, chat);
        messages.retain(|message| message.device_note.is_some());
        messages
    }

    /// What somebody sees of a conversation.
    pub fn messages_in(&self, who: Who, chat: ChatId) -> Vec<Message> {
        let (_, store) = self.people[who].running.as_ref().unwrap();
        timeline::messages(store, chat, prefix(&chat.0), usize::MAX, false).unwrap()
    }

    /// All durable events of somebody.
    pub fn durable_events(&self, who: Who) -> Vec<DurableEvent> {
        let (_, store) = self.people[who].running.as_ref().unwrap();
        timeline::events_after(store, 0, usize::MAX).unwrap()
    }

    /// The same as lines: who, text, and for own messages the state.
    pub fn seen(&mut self, who: Who, other: Who) -> Vec<String> {
        let (me, them) = (self.people[who].name.clone(), self.people[other].name.clone());
        let line = |m: Message| {
            let text = if m.deleted { "(deleted)" } else { &m.text };
            if m.own { format!("{me}: {text} [{:?}]", m.state) } else { format!("{them}: {text}") }
        };
        self.messages(who, other).into_iter().map(line).collect()
    }

    /// Somebody's engine, which runs.
    pub fn engine(&self, who: Who) -> &Engine {
        &self.people[who].running.as_ref().unwrap().0
    }

    /// The keys and epoch of the conversation, as the number of commits that were made in it.
    pub fn epoch(&mut self, who: Who, other: Who) -> u64 {
        let chat = self.chat(who, other);
        let engine = self.engine(who);
        engine.active_group(chat).and_then(|id| engine.conversations.groups.get(&id)).map_or(0, |g| g.epoch())
    }

    /// The log that somebody writes into in a group.
    pub fn log_address(&self, who: Who, group: GroupId) -> [u8; 32] {
        let engine = self.engine(who);
        engine.conversations.groups.get(&group).unwrap().current_keys().unwrap().address
    }

    /// Whether two have a direct connection.
    pub fn are_connected(&self, a: Who, b: Who) -> bool {
        self.people[a].links.contains(&b)
    }

    /// The devices of an account, as somebody knows them now.
    pub fn listed(&self, who: Who, account: AccountId) -> Vec<DeviceId> {
        let engine = self.engine(who);
        let list = if account == engine.account.id() {
            engine.account.list()
        } else {
            engine.contacts.people.get(&account).and_then(|p| p.list.as_ref())
        };
        list.iter().flat_map(|l| &l.devices).map(|d| d.id).collect()
    }

    /// The chain of somebody's account, as their device has it.
    pub fn chain(&self, who: Who) -> DeviceChain {
        self.people[who].running.as_ref().unwrap().0.account.list().unwrap().clone()
    }

    /// What the phrase of somebody's account signs so that their device is its only one.
    pub fn signed_recovery(&mut self, who: Who) -> Result<DeviceChain, ChainError> {
        let recovery = self.call(who, AccountCommand::Recovery).unwrap();
        recovery.sign(&self.phrases[&recovery.chain.account], self.now.wall_ms / 1000)
    }

    /// Whether the root of somebody's account is in their profile, or in memory.
    pub fn has_root(&self, who: Who) -> bool {
        let (engine, store) = self.people[who].running.as_ref().unwrap();
        let row: IdentityRow = store.read().unwrap().get(META, b"identity").unwrap().unwrap();
        engine.account.identity.root.is_some() || !(row.account_seed.is_empty() && row.sealed_root.is_empty())
    }

    /// Whether somebody has another as a contact.
    pub fn knows(&self, who: Who, other: Who) -> bool {
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        engine.contacts.people.contains_key(&self.people[other].account)
    }

    /// A server's id that is not ours.
    pub fn other_peer(&self) -> String {
        crate::net::peer_of(&DeviceKey::from_seed(&[8; 32]).id()).unwrap().to_string()
    }

    /// Where somebody looks for another.
    pub fn homes_of(&self, who: Who, other: Who) -> Vec<RendezvousAddr> {
        let (engine, _) = self.people[who].running.as_ref().unwrap();
        engine.contacts.people.get(&self.people[other].account).map(crate::contacts::Person::homes).unwrap_or_default()
    }
}
