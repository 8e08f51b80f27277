//! What calls need of the rest of the node: all of it, so that nothing else can be reached from here, and a test can stand in for it.

use rand::RngExt;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{Body, Call, CallId, EventId, rendezvous::RequestBody};

use super::{Calls, media::CallCommand};
use crate::api::error::{CallRefused, NodeError};
use crate::{
    api::{
        Reply,
        types::{ChatId, ContactState, TransientEvent},
    },
    events,
    home::Pending,
    net::HomeId,
    turn::{Effect, Engine, EngineError, Turn},
};

/// The time of a turn, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTime {
    /// Since the node's start. Deadlines are in this time: a clock that is set ends no call.
    pub running: u64,
    /// Since 1970, by this machine's clock.
    pub wall: u64,
    /// Since 1970, as devices agree on it.
    pub agreed: u64,
}

/// The node around the calls.
pub trait CallHost {
    fn time(&self) -> CallTime;
    /// A new random id.
    fn new_id(&mut self) -> CallId;
    /// Our account, and this device.
    fn own(&self) -> (AccountId, DeviceId);
    /// The other devices of our account.
    fn own_devices(&self) -> Vec<DeviceId>;
    /// The other accounts of a conversation.
    fn members(&self, chat: ChatId) -> Vec<AccountId>;
    /// The devices that an account lists.
    fn devices_of(&self, account: AccountId) -> Vec<DeviceId>;
    /// Whether our home is on this machine.
    fn is_loopback(&self) -> bool;

    /// Whether the conversation's members may be called now.
    fn check_may_call(&self, chat: ChatId) -> Result<(), NodeError>;
    /// Writes a signal into the conversation. `None` if nothing can be written there now.
    fn signal(&mut self, chat: ChatId, call: Call) -> Option<EventId>;
    /// Writes a row about a call into the timeline, or changes it.
    fn put_row(&mut self, chat: ChatId, at: EventId, own: bool, call: Call) -> Result<(), EngineError>;
    /// The note of a call that is over is complete: the conversation has something new, unread if the call was missed.
    fn note_complete(&mut self, chat: ChatId, note: EventId, missed: bool);
    /// A call that seemed missed was answered on another device.
    fn not_missed(&mut self, chat: ChatId, note: EventId);

    /// Asks our rendezvous for STUN and TURN servers. Returns how many were asked.
    fn ask_for_servers(&mut self, call: CallId) -> usize;
    /// Has the media of calls do something, after this turn.
    fn media(&mut self, command: CallCommand);
    /// Tells whoever follows the node, after this turn.
    fn live(&mut self, news: TransientEvent);
    /// Answers a caller after this turn.
    fn after_turn(&mut self, then: Box<dyn FnOnce() + Send>);
}

/// Answers a caller once the turn is durable.
pub fn reply<T: Send + 'static>(host: &mut dyn CallHost, reply: Reply<T>, value: Result<T, NodeError>) {
    host.after_turn(Box::new(move || drop(reply.send(value))));
}

/// The engine as calls see it within a turn.
struct EngineHost<'a, 'store> {
    engine: &'a mut Engine,
    turn: &'a mut Turn<'store>,
}

impl Engine {
    /// Hands an input over to the calls.
    pub(crate) fn with_calls<T>(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Calls, &mut dyn CallHost) -> T,
    ) -> T {
        let mut calls = std::mem::take(&mut self.calls);
        let result = work(&mut calls, &mut EngineHost { engine: self, turn });
        self.calls = calls;
        result
    }
}

impl CallHost for EngineHost<'_, '_> {
    fn time(&self) -> CallTime {
        CallTime { running: self.turn.running(), wall: self.turn.wall(), agreed: self.turn.agreed_ms() }
    }

    fn new_id(&mut self) -> CallId {
        CallId(self.turn.rng().random())
    }

    fn own(&self) -> (AccountId, DeviceId) {
        (self.engine.account.id(), self.engine.account.device())
    }

    fn own_devices(&self) -> Vec<DeviceId> {
        self.engine.account.other_devices().iter().map(|d| d.certificate.device()).collect()
    }

    fn members(&self, chat: ChatId) -> Vec<AccountId> {
        self.engine.conversations.chats.get(&chat).map(|c| c.roster.others().collect()).unwrap_or_default()
    }

    fn devices_of(&self, account: AccountId) -> Vec<DeviceId> {
        let list = self.engine.contacts.people.get(&account).and_then(|person| person.list.as_ref());
        list.into_iter().flat_map(|list| &list.devices).map(|entry| entry.certificate.device()).collect()
    }

    fn is_loopback(&self) -> bool {
        self.engine.account.identity.homes.iter().any(|home| home.to_string().contains("/ip4/127."))
    }

    fn check_may_call(&self, chat: ChatId) -> Result<(), NodeError> {
        self.engine.check_may_write(chat)?;
        let active =
            |account| self.engine.contacts.people.get(account).is_some_and(|p| p.state() == ContactState::Active);
        let members = self.members(chat);
        if members.is_empty() || !members.iter().all(active) {
            return Err(CallRefused::NotAccepted.into());
        }
        Ok(())
    }

    fn signal(&mut self, chat: ChatId, call: Call) -> Option<EventId> {
        self.engine.check_may_write(chat).ok()?;
        Some(self.engine.announce(self.turn, chat, Body::Call(call)))
    }

    fn put_row(&mut self, chat: ChatId, at: EventId, own: bool, call: Call) -> Result<(), EngineError> {
        let author = match own {
            true => self.engine.author(self.turn, self.engine.account.id(), at.device)?,
            false => self.engine.author_among_others(self.turn, chat, at.device)?,
        };
        self.engine.with_fold(self.turn, chat, |fold| events::call::put(fold, at, author, call));
        Ok(())
    }

    fn note_complete(&mut self, chat: ChatId, note: EventId, missed: bool) {
        self.engine.with_fold(self.turn, chat, |fold| events::call::complete(fold, note, missed));
    }

    fn not_missed(&mut self, chat: ChatId, note: EventId) {
        self.engine.with_fold(self.turn, chat, |fold| events::call::not_missed(fold, note));
    }

    fn ask_for_servers(&mut self, call: CallId) -> usize {
        let usable = self.engine.homes.servers.iter().filter(|(_, h)| h.own && h.registered && h.hello.is_some());
        let homes: Vec<HomeId> = usable.map(|(home, _)| *home).collect();
        for home in &homes {
            self.engine.homes.request(self.turn, *home, RequestBody::TurnCredentials(true), Pending::CallServers(call));
        }
        homes.len()
    }

    fn media(&mut self, command: CallCommand) {
        self.turn.emit(Effect::Call(command));
    }

    fn live(&mut self, news: TransientEvent) {
        self.turn.live(news);
    }

    fn after_turn(&mut self, then: Box<dyn FnOnce() + Send>) {
        self.turn.emit(Effect::Reply(then));
    }
}
