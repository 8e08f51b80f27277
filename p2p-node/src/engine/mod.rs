//! The engine: a state machine that takes commands and network events, and gives effects.
//!
//! One thread owns it. It works in *turns*: all inputs that wait are handled, what was sent meanwhile is encrypted in batches, everything is
//! committed in one transaction, and only then do the effects leave: frames, requests, answers to callers, events. So nothing is acknowledged
//! before it is durable, and one `fsync` serves many messages. Time is an input. If the store fails the engine stops: the disk has the truth.

mod capabilities;
mod commands;
mod deadlines;
mod facts;
mod input;
mod member_look_ups;
mod network;
mod queries;
mod reach;
mod responses;
mod visits;

use std::sync::Arc;

pub use commands::{
    AccountCommand, Command, ContactCommand, ConversationCommand, GroupCommand, HistoryCommand, PresenceCommand,
};
pub use input::Input;

use crate::{
    account::{Account, packages},
    calls::Calls,
    contacts::{Contacts, Directory},
    conversation::Conversations,
    delivery::Delivery,
    history::History,
    home::Homes,
    mls::Mls,
    net::NetEvent,
    presence::Presence,
    store::Store,
    turn::{Counters, Effect, EngineError, Now, Source, Turn},
};
use deadlines::Deadlines;
use reach::Reach;

/// The engine.
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) mls: Mls,
    pub(crate) account: Account,
    pub(crate) contacts: Contacts,
    pub(crate) conversations: Conversations,
    pub(crate) delivery: Delivery,
    pub(crate) history: History,
    pub(crate) homes: Homes,
    pub(crate) presence: Presence,
    pub(crate) calls: Calls,
    pub(crate) counters: Counters,
    deadlines: Deadlines,
    reach: Reach,
    source: Source,
}

impl Engine {
    /// Loads a profile.
    pub fn load(store: Arc<Store>, now: u64, source: Source) -> Result<Self, EngineError> {
        let read = store.read()?;
        let account = Account::load(&store, &read)?;
        let mls = Mls::new(&account.identity.certificate, &account.identity.device_key, packages::load(&read)?)?;
        let homes = Homes::load(&read, &account.identity.device_key)?;
        let mut engine = Self {
            account,
            contacts: Contacts::load(&read)?,
            conversations: Conversations::load(&read, &mls)?,
            delivery: Delivery::default(),
            history: History::load(&read)?,
            homes,
            presence: Presence::default(),
            calls: Calls::default(),
            counters: Counters::load(&read, now)?,
            deadlines: Deadlines::new(now),
            reach: Reach::default(),
            source,
            mls,
            store: store.clone(),
        };
        engine.homes.unseen = engine.account.is_unseen();
        engine.delivery.begin_run(&engine.counters);
        engine.contacts.note_members(engine.conversations.groups.values().flat_map(|group| &group.members));
        Ok(engine)
    }

    /// One turn. The effects may be carried out: everything that they rest on is durable.
    pub fn turn(&mut self, inputs: impl IntoIterator<Item = Input>, now: Now) -> Result<Vec<Effect>, EngineError> {
        self.turn_with(now, |engine, turn| engine.handle(turn, inputs))
    }

    /// One turn of a modified program: `work` does what ours never would, and what follows from it leaves.
    #[cfg(test)]
    pub(crate) fn modified_turn(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Self, &mut Turn<'_>),
    ) -> Result<Vec<Effect>, EngineError> {
        self.turn_with(now, |engine, turn| {
            work(engine, turn);
            engine.handle(turn, [])
        })
    }

    pub(crate) fn turn_with(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Self, &mut Turn<'_>) -> Result<(), EngineError>,
    ) -> Result<Vec<Effect>, EngineError> {
        let span = tracing::debug_span!("turn", after = self.counters.row.last_event);
        let _entered = span.enter();
        let store = self.store.clone();
        let mut turn = Turn::begin(&store, now, &mut self.source, self.counters.row.last_event)?;
        turn.set_home_offset(self.homes.clock_offset());
        work(self, &mut turn)?;
        let effects = turn.commit(&mut self.source)?;
        self.deadlines.last = now;
        Ok(effects)
    }

    /// Takes all inputs of a turn. Gives whether it is the last one.
    fn take(&mut self, turn: &mut Turn<'_>, inputs: impl IntoIterator<Item = Input>) -> Result<bool, EngineError> {
        let (mut stops, mut passed_on) = (false, Vec::new());
        for input in inputs {
            match input {
                // If the log brings the same in this turn it is final at once, and decrypted and written once.
                Input::Net(event @ NetEvent::Gossip { .. }) => passed_on.push(event),
                Input::Command(command) => self.on_command(turn, command)?,
                Input::Net(event) => self.on_net(turn, event)?,
                Input::Call(input) => self.with_calls(turn, |calls, host| calls.on_media(host, input))?,
                Input::Stop => {
                    stops = true;
                    self.with_calls(turn, |calls, host| calls.hang_up_all(host))?;
                    let (presence, mut views) = self.presenting();
                    presence.say_goodbye(turn, &mut views);
                }
            }
            self.route_facts(turn)?;
        }
        for event in passed_on {
            self.on_net(turn, event)?;
            self.route_facts(turn)?;
        }
        Ok(stops)
    }

    pub(crate) fn handle(
        &mut self,
        turn: &mut Turn<'_>,
        inputs: impl IntoIterator<Item = Input>,
    ) -> Result<(), EngineError> {
        self.make_direct_chats(turn);
        let stops = self.take(turn, inputs)?;
        if stops {
            self.conversations.hasten_doors();
        }
        self.on_time(turn)?;
        self.route_facts(turn)?;
        self.make_direct_chats(turn);
        self.regroup_on_time(turn)?;
        self.devices().show_entered(turn);
        self.route_facts(turn)?;
        let (conversations, mut cx) = self.conversing();
        conversations.pump_policies(turn, &mut cx)?;
        conversations.flush_pending(turn, &mut cx)?;
        conversations.pump_gossip(turn, &mut cx)?;
        conversations.pump_logs(turn, &mut cx)?;
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        self.delivery.pump(turn, &mut self.conversations, dir)?;
        self.route_facts(turn)?;
        self.sync().tell_settings(turn);
        self.sync_net(turn)?;
        self.plan(turn);
        self.save(turn)?;
        if stops { self.conversations.groups.states.write_exactly(turn) } else { Ok(()) }
    }

    /// Whether something is on its way for which a stop should wait a moment: doors of large groups, which nobody else writes.
    pub(crate) fn has_last_words(&self) -> bool {
        self.conversations.writes_large_doors()
    }

    /// Sequence number of the newest durable event.
    pub fn last_event(&self) -> u64 {
        self.counters.row.last_event
    }

    /// How many conversations, groups, contacts and streams were looked at since the start.
    #[cfg(test)]
    pub(crate) fn visits(&self) -> u64 {
        self.conversations.chats.visits()
            + self.conversations.groups.visits()
            + self.contacts.people.visits()
            + self.delivery.links.visits()
    }

    /// When there is something to do without any input, in milliseconds since 1970.
    pub fn next_due(&self) -> Option<u64> {
        let Now { steady_ms, running_ms, .. } = self.deadlines.last;
        let calls = self.calls.next_due().map(|due| steady_ms + due.saturating_sub(running_ms));
        let dues = [
            self.deadlines.next(),
            self.homes.next_due(),
            self.account.next_due(),
            self.contacts.next_due(),
            self.conversations.next_due(),
            self.history.next_due(),
            calls,
        ];
        dues.into_iter().flatten().min()
    }

    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.take_due(turn)?;
        self.contacts.expire_connects(turn, &self.homes);
        self.look_up_members(turn);
        self.account.on_time(turn, &mut self.homes);
        self.homes.on_time(turn);
        let (conversations, mut cx) = self.conversing();
        conversations.enter_on_time(turn, &mut cx)?;
        conversations.policies_on_time(turn);
        conversations.gossip_on_time(turn);
        conversations.take_waiting(turn, &mut cx)?;
        conversations.looks_on_time(turn);
        conversations.seek_on_time(turn, &mut cx)?;
        self.devices().snapshot_on_time(turn)?;
        self.sync().announce_added(turn);
        self.history().on_time(turn)?;
        self.with_calls(turn, |calls, host| calls.on_time(host))
    }

    /// Writes what has changed in this turn.
    pub(crate) fn save(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.account.save(turn)?;
        self.history.save(turn)?;
        let mut changed = self.contacts.save(turn, &self.store)?;
        changed |= self.conversations.save(turn, &self.store, &self.mls)?;
        // After the groups: writing one deletes the key package by which it was joined.
        changed |= packages::save(turn, self.mls.packages())?;
        self.counters.save(turn, changed)
    }
}
