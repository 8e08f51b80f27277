//! One turn: the only way to write, to emit, to read the time, and to draw random numbers.

mod counters;
mod effect;
mod facts;
mod schedule;
mod tracked;

use std::ops::RangeBounds;

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use starling_keys::AccountId;

pub(crate) use counters::Counters;
pub use effect::{Effect, EngineError, Now};
pub(crate) use facts::{ChatSetting, EventFact, Fact, HandedPlace, HomeFact, Sender};
pub(crate) use schedule::Schedule;
pub(crate) use tracked::Tracked;

use crate::{
    api::{
        Reply,
        error::NodeError,
        types::{ChatId, DeliveryState, DurableEventKind, TransientEvent},
    },
    limits::CLOCK_TOLERANCE_MS,
    store::{EVENT_LOG, EventLogRow, Reading, Store, StoreError, Table, Txn, Visit},
};

/// What a turn draws from and the next one goes on with: randomness, and numbers that are given out once in a run.
pub struct Source {
    rng: StdRng,
    next_id: u64,
}

impl Source {
    /// Seeded by the system.
    pub fn from_system() -> Self {
        Self { rng: rand::make_rng(), next_id: 1 }
    }

    /// One that a turn draws from; [`Turn::commit`] tells this one which numbers were given out.
    fn fork(&mut self) -> Self {
        Self { rng: self.rng.fork(), next_id: self.next_id }
    }

    /// The same numbers for the same seed: for tests.
    #[cfg(test)]
    pub fn seeded(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), next_id: 1 }
    }
}

/// One turn of the engine, around its write transaction. Dropped without [`Turn::commit`], nothing of it has happened.
pub struct Turn<'a> {
    txn: Txn<'a>,
    now: Now,
    /// The home rendezvous' clock minus our steady time in milliseconds, while one is connected.
    home_offset_ms: Option<i64>,
    source: Source,
    effects: Vec<Effect>,
    facts: Vec<Fact>,
    /// Sequence number of the newest durable event.
    last_event: u64,
}

impl<'a> Turn<'a> {
    /// Begins a turn. `last_event` is the sequence number of the newest durable event before it.
    pub fn begin(store: &'a Store, now: Now, source: &mut Source, last_event: u64) -> Result<Self, StoreError> {
        let source = source.fork();
        Ok(Self {
            txn: store.begin()?,
            now,
            home_offset_ms: None,
            source,
            effects: Vec::new(),
            facts: Vec::new(),
            last_event,
        })
    }

    /// Makes everything that was written durable; only then may the effects, which it gives, leave. `source` goes on where this turn ends.
    pub fn commit(self, source: &mut Source) -> Result<Vec<Effect>, StoreError> {
        self.txn.commit()?;
        source.next_id = self.source.next_id;
        Ok(self.effects)
    }

    // Time.

    /// Steady time in milliseconds, for timers: see [`Now::steady_ms`].
    pub fn now(&self) -> u64 {
        self.now.steady_ms
    }

    /// The clock's milliseconds since 1970, for what is written down: see [`Now::wall_ms`].
    pub fn wall(&self) -> u64 {
        self.now.wall_ms
    }

    /// Milliseconds since the node started, for what ends with it: see [`Now::running_ms`].
    pub fn running(&self) -> u64 {
        self.now.running_ms
    }

    /// The clock's time, corrected by the home rendezvous' where the two are far apart: for what must agree with others.
    pub fn agreed_ms(&self) -> u64 {
        let theirs = self.home_offset_ms.map(|offset| self.now().saturating_add_signed(offset));
        theirs.filter(|t| t.abs_diff(self.wall()) > CLOCK_TOLERANCE_MS).unwrap_or(self.wall())
    }

    /// The later one of our clock and the agreed one: what is stamped later than that waits. One that is set back, here or at a home, holds nothing up.
    pub fn latest_ms(&self) -> u64 {
        self.agreed_ms().max(self.wall())
    }

    /// Sets the home rendezvous' clock minus our steady time, in milliseconds; `None` while no home is connected.
    pub fn set_home_offset(&mut self, offset_ms: Option<i64>) {
        self.home_offset_ms = offset_ms;
    }

    // Randomness.

    /// The source of everything random that the engine chooses.
    pub fn rng(&mut self) -> &mut StdRng {
        &mut self.source.rng
    }

    /// A number that is given out once in a run: for operations and requests.
    pub fn fresh_id(&mut self) -> u64 {
        self.source.next_id += 1;
        self.source.next_id
    }

    // What leaves after the commit.

    /// How many effects there are by now.
    #[cfg(test)]
    pub fn effects(&self) -> usize {
        self.effects.len()
    }

    /// Adds an effect.
    pub fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Emits a fact for the capabilities that it means something to. The same fact is routed once.
    pub fn fact(&mut self, fact: Fact) {
        if !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
    }

    /// Emits facts that say more than that something has changed: each of them is routed, and in their order.
    pub fn facts(&mut self, facts: impl IntoIterator<Item: Into<Fact>>) {
        for fact in facts {
            let fact = fact.into();
            if self.facts.last() != Some(&fact) {
                self.facts.push(fact);
            }
        }
    }

    /// Takes the facts that were not routed yet.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Adds an event that is not kept.
    pub fn transient_event(&mut self, event: TransientEvent) {
        self.emit(Effect::TransientEvent(event));
    }

    /// Answers a caller, once this turn is durable.
    pub fn reply<T: Send + 'static>(&mut self, reply: Reply<T>, value: Result<T, NodeError>) {
        self.emit(Effect::Reply(Box::new(move || {
            // Who does not wait any more needs no answer.
            let _ = reply.send(value);
        })));
    }

    // Durable events.

    /// Sequence number of the newest durable event.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }

    /// Writes durable events: one row for all ids together.
    pub fn durable_event(&mut self, row: EventLogRow) -> Result<(), EngineError> {
        let lines = (row.ids.len() / 24).max(1) as u64;
        let first = self.last_event + 1;
        self.last_event += lines;
        self.put(EVENT_LOG, &first.to_be_bytes(), &EventLogRow { at_ms: self.wall(), ..row })?;
        Ok(())
    }

    /// Writes the new state of messages; no ids, no event.
    pub fn state_event(&mut self, chat: ChatId, ids: Vec<u8>, state: DeliveryState) -> Result<(), EngineError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.durable_event(EventLogRow {
            kind: DurableEventKind::State.stored(),
            chat: chat.0.to_vec(),
            ids,
            state: state.stored(),
            ..EventLogRow::default()
        })
    }

    /// Writes what has happened with an account.
    pub fn account_event(&mut self, kind: DurableEventKind, account: AccountId, text: &str) -> Result<(), EngineError> {
        self.durable_event(EventLogRow {
            kind: kind.stored(),
            account: account.as_bytes().to_vec(),
            text: text.into(),
            ..EventLogRow::default()
        })
    }

    // The store.

    /// Writes a row.
    pub fn put<M: Message>(&self, table: Table, key: &[u8], value: &M) -> Result<(), StoreError> {
        self.txn.put(table, key, value)
    }

    /// Writes several rows of one table.
    pub fn put_all<M: Message>(&self, table: Table, rows: &[(Vec<u8>, M)]) -> Result<(), StoreError> {
        self.txn.put_all(table, rows)
    }

    /// With this turn the account's root is forgotten.
    pub fn forget_root(&self) {
        self.txn.forget_root();
    }

    /// Deletes a row.
    pub fn delete(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.txn.delete(table, key)
    }

    /// Deletes a range of rows.
    pub fn delete_range(&self, table: Table, range: impl RangeBounds<Vec<u8>>) -> Result<(), StoreError> {
        self.txn.delete_range(table, range)
    }
}

impl Reading for Turn<'_> {
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
        self.txn.get(table, key)
    }

    fn visit(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        backwards: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.txn.visit(table, range, backwards, visit)
    }

    fn count(&self, table: Table) -> Result<u64, StoreError> {
        self.txn.count(table)
    }

    fn decode<M: Message + Default>(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<M, StoreError> {
        self.txn.decode(table, key, sealed)
    }
}
