//! What events have changed in a conversation's timeline, until it is written: all rows of a batch, or of all that a turn writes, at once.

use std::{collections::BTreeMap, ops::RangeInclusive};

use starling_wire::EventId;

use crate::{
    api::types::{ChatId, DeliveryState, DurableEventKind},
    store::{EARLY, EarlyRow, EventLogRow, EventRow, TIMELINE},
    turn::{EngineError, Turn},
};

/// Kinds of durable events that a fold makes, in the order in which they are written.
const DURABLE: [DurableEventKind; 6] = [
    DurableEventKind::New,
    DurableEventKind::Edited,
    DurableEventKind::Deleted,
    DurableEventKind::Reaction,
    DurableEventKind::Call,
    DurableEventKind::ContactDevices,
];

/// Changes that are not written yet.
#[derive(Debug, Default)]
pub struct Draft {
    rows: BTreeMap<EventId, EventRow>,
    /// What came before its message; `None` once the message is there.
    early: BTreeMap<EventId, Option<EarlyRow>>,
    /// Encoded ids for each of [`DURABLE`].
    durable: [Vec<u8>; DURABLE.len()],
    /// Encoded ids of messages of ours that another account has read now.
    read: Vec<u8>,
    /// Encoded ids of messages of our other devices that were delivered now.
    delivered: Vec<u8>,
}

/// The key of a row of the timeline, and of what came before its message.
pub fn key(chat: ChatId, id: EventId) -> Vec<u8> {
    [&chat.0[..], &id.to_bytes()].concat()
}

impl Draft {
    pub fn row(&self, id: EventId) -> Option<&EventRow> {
        self.rows.get(&id)
    }

    pub fn rows(&self, range: RangeInclusive<EventId>) -> impl Iterator<Item = (&EventId, &EventRow)> {
        self.rows.range(range)
    }

    pub fn put(&mut self, id: EventId, row: EventRow) {
        self.rows.insert(id, row);
    }

    /// What came before a message: `None` if nothing of it is in this draft.
    pub fn early(&self, id: EventId) -> Option<Option<&EarlyRow>> {
        self.early.get(&id).map(Option::as_ref)
    }

    /// The oldest message that something in this draft came before.
    pub fn oldest_early(&self) -> Option<EventId> {
        self.early.iter().find(|(_, row)| row.is_some()).map(|(id, _)| *id)
    }

    pub fn put_early(&mut self, id: EventId, row: Option<EarlyRow>) {
        self.early.insert(id, row);
    }

    /// Tells those who follow the node of an event.
    pub fn tell(&mut self, kind: DurableEventKind, id: EventId) {
        if let Some(at) = DURABLE.iter().position(|k| *k == kind) {
            self.durable[at].extend(id.to_bytes());
        }
    }

    /// The same of messages of ours that were read.
    pub fn tell_read(&mut self, id: EventId) {
        self.read.extend(id.to_bytes());
    }

    /// The same of messages of our other devices that were delivered.
    pub fn tell_delivered(&mut self, id: EventId) {
        self.delivered.extend(id.to_bytes());
    }

    /// What is to be written: rows, and what came before its message.
    #[cfg(test)]
    pub fn into_rows(self) -> (BTreeMap<EventId, EventRow>, BTreeMap<EventId, Option<EarlyRow>>) {
        (self.rows, self.early)
    }

    /// Writes everything.
    pub fn write(self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let rows: Vec<(Vec<u8>, EventRow)> = self.rows.into_iter().map(|(id, row)| (key(chat, id), row)).collect();
        if !rows.is_empty() {
            turn.put_all(TIMELINE, &rows)?;
        }
        for (id, row) in self.early {
            match row {
                Some(row) => turn.put(EARLY, &key(chat, id), &row)?,
                None => turn.delete(EARLY, &key(chat, id))?,
            }
        }
        for (kind, ids) in DURABLE.into_iter().zip(self.durable) {
            if !ids.is_empty() {
                turn.durable_event(EventLogRow {
                    kind: kind.stored(),
                    chat: chat.0.to_vec(),
                    ids,
                    ..EventLogRow::default()
                })?;
            }
        }
        turn.state_event(chat, self.delivered, DeliveryState::Delivered)?;
        turn.state_event(chat, self.read, DeliveryState::Read)
    }
}
