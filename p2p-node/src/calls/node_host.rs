//! The node around the calls: what they ask for, done with the other capabilities.

use rand::RngExt;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{Body, Call, CallId, EventId, SasNonce, rendezvous::RequestBody};

use super::{CallHost, CallTime};
use crate::{
    api::{
        error::{CallRefused, NodeError},
        types::{ChatId, ContactState, TransientEvent},
    },
    call_media::CallCommand,
    contacts::Directory,
    events::{self, Fold},
    home::Pending,
    net::{HomeId, NetCommand, is_loopback},
    turn::{Effect, EngineError, Turn},
    views::Views,
};

/// The node as calls see it within a turn.
pub struct NodeHost<'a, 'store> {
    pub cx: Views<'a>,
    pub turn: &'a mut Turn<'store>,
}

impl NodeHost<'_, '_> {
    fn with_fold(&mut self, chat: ChatId, work: impl FnOnce(&mut Fold<'_>)) {
        let Views { account, contacts, conversations, .. } = self.cx.reborrow();
        conversations.with_fold(self.turn, Directory { account, contacts }, chat, work);
    }
}

impl CallHost for NodeHost<'_, '_> {
    fn time(&self) -> CallTime {
        CallTime { running: self.turn.running(), wall: self.turn.wall(), agreed: self.turn.agreed_ms() }
    }

    fn new_id(&mut self) -> CallId {
        CallId(self.turn.rng().random())
    }

    fn new_nonce(&mut self) -> SasNonce {
        self.turn.rng().random()
    }

    fn own(&self) -> (AccountId, DeviceId) {
        (self.cx.account.id(), self.cx.account.device())
    }

    fn own_devices(&self) -> Vec<DeviceId> {
        self.cx.account.other_devices().iter().map(|d| d.id).collect()
    }

    fn members(&self, chat: ChatId) -> Vec<AccountId> {
        self.cx.conversations.chats.get(&chat).map(|c| c.roster.others().collect()).unwrap_or_default()
    }

    fn devices_of(&self, account: AccountId) -> Vec<DeviceId> {
        let list = self.cx.directory().list_of(&account);
        list.into_iter().flat_map(|list| &list.devices).map(|entry| entry.id).collect()
    }

    fn is_loopback(&self) -> bool {
        self.cx.account.identity.homes.iter().any(is_loopback)
    }

    fn check_may_call(&self, chat: ChatId) -> Result<(), NodeError> {
        self.cx.conversations.check_may_write(self.cx.directory(), chat)?;
        self.cx.conversations.check_has_group(self.cx.directory(), chat)?;
        let active = |account| self.cx.contacts.people.get(account).is_some_and(|p| p.state() == ContactState::Active);
        let members = self.members(chat);
        if members.is_empty() || !members.iter().all(active) {
            return Err(CallRefused::NotAccepted.into());
        }
        Ok(())
    }

    fn signal(&mut self, chat: ChatId, call: Call) -> Option<EventId> {
        let (conversations, dir) = (&self.cx.conversations, self.cx.directory());
        conversations.check_may_write(dir, chat).and_then(|()| conversations.check_has_group(dir, chat)).ok()?;
        Some(self.cx.announce(self.turn, chat, Body::Call(call)))
    }

    fn hasten(&mut self, chat: ChatId) {
        let now = self.turn.now();
        self.cx.conversations.chats.hasten(chat, now);
    }

    fn put_row(&mut self, chat: ChatId, at: EventId, own: bool, call: Call) -> Result<(), EngineError> {
        let Views { account, contacts, conversations, .. } = self.cx.reborrow();
        let dir = Directory { account, contacts };
        let author = match own {
            true => conversations.authors.author_with_tag(self.turn, dir, account.id(), at.device)?,
            false => conversations.author_among_others(self.turn, dir, chat, at.device)?,
        };
        conversations.with_fold(self.turn, dir, chat, |fold| events::call::put(fold, at, author, call));
        Ok(())
    }

    fn note_complete(&mut self, chat: ChatId, note: EventId, missed: bool) {
        self.with_fold(chat, |fold| events::call::complete(fold, note, missed));
    }

    fn not_missed(&mut self, chat: ChatId, note: EventId) {
        self.with_fold(chat, |fold| events::call::not_missed(fold, note));
    }

    fn ask_for_servers(&mut self, call: CallId) -> usize {
        let usable = self.cx.homes.servers.iter().filter(|(_, h)| h.own && h.registered && h.hello.is_some());
        let homes: Vec<HomeId> = usable.map(|(home, _)| *home).collect();
        for home in &homes {
            self.cx.homes.request(self.turn, *home, RequestBody::TurnCredentials(true), Pending::CallServers(call));
        }
        homes.len()
    }

    fn check_connections(&mut self) {
        self.turn.emit(Effect::Net(NetCommand::Check));
    }

    fn media(&mut self, command: CallCommand) {
        self.turn.emit(Effect::Call(command));
    }

    fn transient_event(&mut self, event: TransientEvent) {
        self.turn.transient_event(event);
    }

    fn after_turn(&mut self, then: Box<dyn FnOnce() + Send>) {
        self.turn.emit(Effect::Reply(then));
    }
}
