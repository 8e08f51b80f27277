//! The outbox of a conversation: what others have not acknowledged, encrypted for a group, or waiting for one.

use bytes::Bytes;
use starling_wire::{Body, Clock, Event, EventId, Text};

use super::limits::{ACKNOWLEDGING_ACCOUNTS, GROUP_OUTBOX_LIFE_MS, LARGE_OUTBOX_LIFE_MS, OUTBOX_LIFE_MS};
use crate::{
    api::types::{ChatId, DeliveryState},
    conversation::{ChatState, Chats, Conversations, GroupEntry, context::Context, group::GroupId, send::timeline_key},
    mls::PAST_EPOCHS,
    store::{EventRow, OUTBOX, OutboxEvent, OutboxRow, Reading, TIMELINE},
    turn::{EngineError, EventFact, Turn},
};

/// An entry of an outbox, as far as it is kept in memory.
#[derive(Debug, Clone)]
pub struct OutItem {
    pub first: u64,
    pub last: u64,
    /// Of the last.
    pub clock: Clock,
    /// All zeros while there is no group to encrypt it for.
    pub group: GroupId,
    pub epoch: u64,
    /// By the clock.
    pub created_ms: u64,
    /// In steady time: when it was written, if that was in this run.
    pub ready_ms: u64,
    pub ids: Vec<u8>,
    pub len: usize,
    /// The MLS message, in the turn in which it is written: most leave at once, and need not be read back.
    pub message: Option<Bytes>,
}

impl OutItem {
    pub fn from_row(row: &OutboxRow) -> Self {
        Self {
            first: row.first,
            last: row.last,
            clock: Clock(row.clock),
            group: row.group.as_slice().try_into().unwrap_or_default(),
            epoch: row.epoch,
            created_ms: row.created_ms,
            ready_ms: 0,
            ids: row.ids.clone(),
            len: row.message.len(),
            message: None,
        }
    }

    /// The ids of its messages with a sequence number in `(after, upto]`.
    pub fn ids_between(&self, after: u64, upto: u64) -> Vec<u8> {
        if after < self.first && self.last <= upto {
            return self.ids.clone();
        }
        let within = |id: &&[u8]| EventId::from_bytes(id).is_some_and(|id| id.sequence > after && id.sequence <= upto);
        self.ids.chunks_exact(EventId::LEN).filter(within).flatten().copied().collect()
    }
}

impl ChatState {
    /// Whether its members say what they have got.
    pub fn acknowledges(&self) -> bool {
        !self.is_group() || self.roster.accounts().count() <= ACKNOWLEDGING_ACCOUNTS
    }

    /// How long entries of the outbox are kept, in milliseconds after they were written: those that the log of a group has, and others.
    pub fn outbox_lives_ms(&self) -> [u64; 2] {
        match (self.is_group(), self.acknowledges()) {
            (false, _) => [OUTBOX_LIFE_MS; 2],
            (true, true) => [GROUP_OUTBOX_LIFE_MS, OUTBOX_LIFE_MS],
            (true, false) => [LARGE_OUTBOX_LIFE_MS, OUTBOX_LIFE_MS],
        }
    }

    /// How many messages were not sent yet. What else has a number (a name, a call) waits unseen.
    pub fn queued_messages(&self) -> u64 {
        let sent = self.row.sent_upto;
        let waiting = self.outbox.iter().rev().take_while(|item| item.last > sent);
        waiting.map(|item| (item.ids_between(sent, u64::MAX).len() / EventId::LEN) as u64).sum()
    }
}

fn outbox_event(event: &Event) -> OutboxEvent {
    OutboxEvent { id: event.id.to_bytes().to_vec(), body: Event::encode_body(&event.body) }
}

/// In an entry of the outbox: it was encrypted for an epoch that was left for another. No group has messages in this one.
pub const LOST_EPOCH: u64 = 0;

/// The key of an outbox row.
pub fn outbox_key(chat: ChatId, first: u64) -> Vec<u8> {
    [&chat.0[..], &first.to_be_bytes()].concat()
}

/// The events of an outbox entry, in their order. What was deleted since is empty: its number has to come, its text has not.
pub(super) fn events_of(turn: &Turn<'_>, chat: ChatId, row: &OutboxRow) -> Result<Vec<Event>, EngineError> {
    let decoded = |id: EventId, body: Option<&[u8]>| {
        let body = body.and_then(|body| Event::decode_body(body).ok());
        Event { id, body: body.unwrap_or_else(|| Body::Text(Text::default())) }
    };
    let mut events = Vec::new();
    for id in row.ids.chunks_exact(EventId::LEN).filter_map(EventId::from_bytes) {
        let stored = turn.get::<EventRow>(TIMELINE, &timeline_key(chat, id))?;
        events.push(decoded(id, stored.as_ref().map(|row| &row.body[..])));
    }
    let others = row.events.iter().filter_map(|e| Some(decoded(EventId::from_bytes(&e.id)?, Some(&e.body))));
    events.extend(others);
    events.sort_by_key(|event| event.id.sequence);
    Ok(events)
}

impl Conversations {
    /// Encrypts a batch and puts it into the outbox, in the transaction that also has the new ratchet state. Without a group it is stored as it
    /// is, and encrypted when there is one ([`Conversations::renew_outbox`]).
    pub(super) fn put_in_outbox(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: Option<GroupId>,
        events: Vec<Event>,
    ) -> Result<(), EngineError> {
        let (Some(first), Some(last)) = (events.first().map(|e| e.id.sequence), events.last().map(|e| e.id.sequence))
        else {
            return Ok(());
        };
        // Only messages have a state that is told, and only they are in the timeline.
        let cleared = self.chats.get(&chat).map_or(0, |c| c.row.cleared);
        let in_timeline = |e: &&Event| matches!(e.body, Body::Text(_)) && e.id.clock.0 > cleared;
        let (kept, others): (Vec<&Event>, Vec<&Event>) = events.iter().partition(in_timeline);
        let clock = events.last().map_or(0, |e| e.id.clock.0);
        let before = self.chats.get_mut(&chat).map_or(0, |c| std::mem::replace(&mut c.row.last_clock, clock));
        let row = OutboxRow {
            clock,
            before,
            ids: kept.iter().flat_map(|e| e.id.to_bytes()).collect(),
            first,
            last,
            created_ms: turn.wall(),
            events: others.into_iter().map(outbox_event).collect(),
            ..OutboxRow::default()
        };
        let sealed = match group {
            Some(group) => self.seal_batch(turn, cx, chat, group, row.clone(), events)?,
            None => None,
        };
        let row = match sealed {
            Some(row) => row,
            None => {
                turn.put(OUTBOX, &outbox_key(chat, first), &row)?;
                row
            }
        };
        if let Some(state) = self.chats.get_mut(&chat) {
            let item = OutItem { ready_ms: turn.now(), ..OutItem::from_row(&row) };
            state.outbox.push_back(OutItem { message: Some(row.message), ..item });
        }
        Ok(())
    }

    /// Encrypts the events of an outbox entry to a group, and writes it.
    fn seal_batch(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: GroupId,
        row: OutboxRow,
        events: Vec<Event>,
    ) -> Result<Option<OutboxRow>, EngineError> {
        let before = Clock(row.before);
        let Some((message, epoch)) = self.encrypt(turn, cx, chat, group, (events, before))? else { return Ok(None) };
        let row = OutboxRow { group: group.to_vec(), epoch, message, ..row };
        turn.put(OUTBOX, &outbox_key(chat, row.first), &row)?;
        Ok(Some(row))
    }

    /// Encrypts again what was encrypted for an epoch whose secrets others may have dropped, or for a group that was replaced.
    pub(crate) fn renew_outbox(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let Some(active) = self.active_group(cx.dir, chat) else {
            return Ok(());
        };
        let state = self.chats.get(&chat);
        let of_two = |state: &&ChatState| !state.is_group();
        if state.filter(of_two).is_some_and(|state| cx.dir.people(state.roster.others()).any(|p| p.row.key_changed)) {
            // Not to devices that the user does not trust yet.
            return Ok(());
        }
        let epoch = self.groups.get(&active).map_or(0, GroupEntry::epoch);
        let Some(state) = self.chats.get(&chat) else {
            return Ok(());
        };
        // What a group's log has is read there before its epoch is left.
        let is_read = |item: &OutItem| state.is_group() && item.last <= state.row.logged_upto;
        let is_old = |item: &OutItem| item.epoch + (PAST_EPOCHS as u64) < epoch && !is_read(item);
        let stale: Vec<u64> = state
            .outbox
            .iter()
            .filter(|i| i.group != active || i.epoch == LOST_EPOCH || is_old(i))
            .map(|i| i.first)
            .collect();
        for first in stale {
            if self.renew_item(turn, cx, chat, active, first)?.is_none() {
                continue;
            }
            if let Some(state) = self.chats.get_mut(&chat) {
                state.row.logged_upto = state.row.logged_upto.min(first - 1);
                state.dirty = true;
            }
        }
        turn.facts([EventFact::OutboxRenewed(chat)]);
        Ok(())
    }

    /// Encrypts an entry of the outbox again, under the same event ids, in a group's current epoch. `None` if it is not there, or the group cannot be
    /// read.
    pub(super) fn renew_item(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: GroupId,
        first: u64,
    ) -> Result<Option<OutboxRow>, EngineError> {
        let Some(row) = turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, first))? else { return Ok(None) };
        let events = events_of(turn, chat, &row)?;
        let row = self.seal_batch(turn, cx, chat, group, row, events)?;
        if let Some((row, state)) = row.as_ref().zip(self.chats.get_mut(&chat))
            && let Ok(at) = state.outbox.binary_search_by_key(&first, |i| i.first)
            && let Some(item) = state.outbox.get_mut(at)
        {
            *item = OutItem::from_row(row);
        }
        Ok(row)
    }

    /// Entries whose life has ended fail, visibly.
    pub(crate) fn expire_outbox(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let now = turn.wall().min(turn.agreed_ms());
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
        let (group, sent, [logged_life, other_life]) = (state.is_group(), state.row.sent_upto, state.outbox_lives_ms());
        let is_logged = |item: &OutItem| group && item.last <= sent;
        let life = |item: &OutItem| if is_logged(item) { logged_life } else { other_life };
        let over = |i: &&OutItem| i.created_ms + life(i) < now;
        let expired: Vec<OutItem> = state.outbox.iter().filter(over).cloned().collect();
        for item in expired {
            turn.delete(OUTBOX, &outbox_key(chat, item.first))?;
            let Some(state) = self.chats.get_mut(&chat) else {
                continue;
            };
            state.outbox.retain(|i| i.first != item.first);
            let delivered = if is_logged(&item) { u64::MAX } else { state.roster.progress().delivered };
            let failed = item.ids_between(delivered, u64::MAX);
            if !failed.is_empty() {
                state.row.failed.extend([item.first.max(delivered + 1), item.last]);
            }
            state.dirty = true;
            turn.state_event(chat, failed, DeliveryState::Failed)?;
            self.trim_chat(turn, cx.homes, chat);
        }
        Ok(())
    }
}

impl Chats {
    /// Keeps what is still to be delivered of a conversation whose timeline is about to be cleared.
    pub(crate) fn keep_undelivered(&self, turn: &Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        for item in self.states.get(&chat).iter().flat_map(|c| &c.outbox) {
            let key = outbox_key(chat, item.first);
            let Some(mut row) = turn.get::<OutboxRow>(OUTBOX, &key)? else { continue };
            let events = events_of(turn, chat, &row)?;
            row.events = events.iter().map(outbox_event).collect();
            row.ids.clear();
            turn.put(OUTBOX, &key, &row)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::AccountKey;

    use super::*;
    use crate::{api::types::ChatKind, roster::Roster};

    #[test]
    fn in_large_groups_nobody_says_what_it_has_got() {
        let accounts: Vec<_> =
            (0..=ACKNOWLEDGING_ACCOUNTS as u8).map(|n| AccountKey::from_seed(&[n; 32]).id()).collect();
        let of =
            |kind, others: usize| ChatState::new(ChatId([1; 16]), kind, Roster::of(accounts[0], &accounts[1..=others]));
        let large = of(ChatKind::Group, ACKNOWLEDGING_ACCOUNTS);
        assert!(!large.acknowledges());
        assert_eq!(large.outbox_lives_ms(), [LARGE_OUTBOX_LIFE_MS, OUTBOX_LIFE_MS], "what no log has waits for long");
        assert!(of(ChatKind::Group, ACKNOWLEDGING_ACCOUNTS - 1).acknowledges());
        assert!(of(ChatKind::Direct, 1).acknowledges());
    }
}
