//! The engine: a state machine that takes commands and network events, and gives effects.
//!
//! One thread owns it. It works in *turns*: all inputs that wait are handled, what was sent meanwhile is encrypted in batches, everything is
//! committed in one transaction, and only then do the effects leave: frames, requests, answers to callers, news. So nothing is acknowledged
//! before it is durable, and one `fsync` serves many messages. Time is an input. If the store fails the engine stops: the disk has the truth.

mod call_host;
mod capabilities;
mod chain_echo;
mod commands;
mod contact_devices;
mod deadlines;
mod direct_chain;
mod facts;
mod history;
mod inbox;
mod input;
mod network;
mod queries;
mod reach;
mod responses;

use std::sync::Arc;

pub use commands::{
    AccountCommand, Command, ContactCommand, ConversationCommand, GroupCommand, HistoryCommand, PresenceCommand,
};
pub use input::Input;

use crate::{
    account::Account,
    api::{Reply, types::Status},
    calls::Calls,
    contacts::{Contacts, Directory},
    conversation::Conversations,
    delivery::Delivery,
    history::History,
    home::Homes,
    mls::{KeyPackageChange, KeyPackages, Mls},
    presence::Presence,
    store::{CHATS, CONTACTS, KEY_PACKAGES, KeyPackageRow, META, Reading, Store, prefix},
    turn::{Counters, Effect, EngineError, Now, Source, Turn},
};
use chain_echo::Echoes;
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
    echoes: Echoes,
    /// Who waits for the status that a check of all connections finds.
    status_after_check: Vec<Reply<Status>>,
    source: Source,
    /// The times of the turn before this.
    last: Now,
}

impl Engine {
    /// Loads a profile.
    pub fn load(store: Arc<Store>, now: u64, source: Source) -> Result<Self, EngineError> {
        let read = store.read()?;
        let account = Account::load(&read)?;
        let packages = KeyPackages::default();
        for (key, row) in read.range::<KeyPackageRow>(KEY_PACKAGES, prefix(b""), usize::MAX, false)? {
            if !packages.load(key, &row.data) {
                return Err(EngineError::Identity);
            }
        }
        let mls = Mls::new(&account.identity.certificate, &account.identity.device_key, packages)?;
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
            deadlines: Deadlines::default(),
            reach: Reach::default(),
            echoes: Echoes::default(),
            status_after_check: Vec::new(),
            source,
            last: Now { steady_ms: now, wall_ms: now, running_ms: 0 },
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

    fn turn_with(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Self, &mut Turn<'_>) -> Result<(), EngineError>,
    ) -> Result<Vec<Effect>, EngineError> {
        let span = tracing::debug_span!("turn", after = self.counters.row.feed);
        let _entered = span.enter();
        let store = self.store.clone();
        let mut turn = Turn::begin(&store, now, &mut self.source, self.counters.row.feed)?;
        turn.set_home_offset(self.homes.clock_offset());
        work(self, &mut turn)?;
        let effects = turn.commit(&mut self.source)?;
        self.last = now;
        Ok(effects)
    }

    fn handle(&mut self, turn: &mut Turn<'_>, inputs: impl IntoIterator<Item = Input>) -> Result<(), EngineError> {
        self.make_direct_chats(turn);
        let mut stops = false;
        for input in inputs {
            match input {
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
        self.on_time(turn)?;
        self.route_facts(turn)?;
        self.make_direct_chats(turn);
        self.regroup_on_time(turn)?;
        self.devices().show_entered(turn);
        self.route_facts(turn)?;
        let (conversations, mut cx) = self.conversing();
        conversations.pump_policies(turn, &mut cx)?;
        conversations.flush_pending(turn, &mut cx)?;
        conversations.pump_logs(turn, &mut cx)?;
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        self.delivery.pump(turn, &mut self.conversations, dir)?;
        self.route_facts(turn)?;
        self.sync().tell_settings(turn);
        self.sync_net(turn);
        self.plan(turn);
        self.save(turn)?;
        if stops { self.conversations.states.write_exactly(turn) } else { Ok(()) }
    }

    /// Sequence number of the newest piece of news.
    pub fn feed(&self) -> u64 {
        self.counters.row.feed
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
        let codes = self.account.codes.iter().map(|c| if c.code.is_none() { c.gives_up_at } else { c.expires_ms });
        let used = self.account.used_codes.iter().map(|c| c.gives_up_at);
        (self.deadlines.next().into_iter())
            .chain(self.homes.next_due())
            .chain(self.contacts.next_due())
            .chain(codes)
            .chain(used)
            .chain(self.account.snapshot_due)
            .chain(self.conversations.regroup.next_due())
            .chain(self.conversations.entering.next_due())
            .chain(self.conversations.policies.next_due())
            .chain(self.account.own_devices.next_due())
            .chain(self.history.next_due())
            .chain(self.calls.next_due().map(|due| self.last.steady_ms + due.saturating_sub(self.last.running_ms)))
            .min()
    }

    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.take_due(turn)?;
        self.contacts.expire_connects(turn, &self.homes);
        self.account.expire_codes(turn, &mut self.homes);
        self.account.expire_device_changes(turn);
        self.account.expire_left_homes(turn);
        self.homes.on_time(turn);
        let (conversations, mut cx) = self.conversing();
        conversations.enter_on_time(turn, &mut cx);
        conversations.policies_on_time(turn);
        self.devices().snapshot_on_time(turn)?;
        self.sync().announce_added(turn);
        self.history_on_time(turn)?;
        self.with_calls(turn, |calls, host| calls.on_time(host))
    }

    /// Writes what has changed in this turn.
    pub(crate) fn save(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let mut changed = false;
        if std::mem::take(&mut self.account.identity.dirty) {
            turn.put(META, b"identity", &self.account.identity.row)?;
        }
        if std::mem::take(&mut self.account.own_devices.dirty) {
            turn.put(META, b"device_changes", &self.account.own_devices.changes)?;
        }
        self.history.save(turn)?;
        for account in self.contacts.people.take_touched() {
            let dirty = self.contacts.people.settle(&account).filter(|p| p.dirty);
            if let Some(person) = dirty {
                (person.dirty, changed) = (false, true);
                turn.put(CONTACTS, &self.store.name("contact", account.as_bytes()), &person.row)?;
            }
        }
        for id in self.conversations.chats.take_touched() {
            let Some(chat) = self.conversations.chats.settle(&id) else { continue };
            if std::mem::take(&mut chat.dirty) {
                changed = true;
                turn.put(CHATS, &id.0, &chat.row)?;
            }
            changed |= chat.roster.save(turn, &self.store, id)?;
        }
        for id in self.conversations.groups.take_touched() {
            if let Some(group) = self.conversations.groups.settle(&id) {
                changed |= group.save(turn, &mut self.conversations.states)?;
            }
        }
        changed |= self.conversations.policies.save(turn)?;
        self.contacts.acquaintances.save(turn, &self.store)?;
        self.conversations.states.shrink(turn, &self.mls)?;
        // After the groups: writing one deletes the key package by which it was joined.
        for change in self.mls.packages().take_changes() {
            changed = true;
            match change {
                KeyPackageChange::Put(id, data) => {
                    let row = KeyPackageRow { data: data.to_vec(), last_resort: false };
                    turn.put(KEY_PACKAGES, &id, &row)?;
                }
                KeyPackageChange::Delete(id) => turn.delete(KEY_PACKAGES, &id)?,
            }
        }
        self.counters.save(turn, changed)
    }
}
