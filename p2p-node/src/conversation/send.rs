//! Writing: events get their stamp at once, and are encrypted together at the end of the turn.

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{
    Batch, Body, Clock, Event, EventId, Text,
    direct::{DirectFrame, Entry},
    limits::MAX_BATCH_EVENTS,
};

use crate::{
    api::{
        error::{NodeError, NotAllowed, NotFound, Unreachable},
        types::{ChatId, ContactState, DeliveryState},
    },
    contacts::{Directory, Person},
    conversation::{
        ChatState, Conversations, GroupEntry, context::Context, group::GroupId, group_store::DAMAGED,
        membership::chat_name,
    },
    events::At,
    limits::{BATCH_BYTES, MAX_GROUPS_PER_CHAT, MAX_OUTBOX, OUTBOX_LIFE_MS, RECEIPT_DELAY_MS},
    mls::PAST_EPOCHS,
    net::NetCommand,
    roster::{Progress, Roster},
    store::{ChatRow, EventRow, OUTBOX, OutboxEvent, OutboxRow, Reading, TIMELINE},
    turn::{Effect, EngineError, EventFact, Turn},
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

fn outbox_event(event: &Event) -> OutboxEvent {
    OutboxEvent { id: event.id.to_bytes().to_vec(), body: Event::encode_body(&event.body) }
}

/// In an entry of the outbox: it was encrypted for an epoch that was left for another. No group has messages in this one.
pub const LOST_EPOCH: u64 = 0;

/// The key of an outbox row.
pub fn outbox_key(chat: ChatId, first: u64) -> Vec<u8> {
    [&chat.0[..], &first.to_be_bytes()].concat()
}

/// The key of a timeline row.
pub fn timeline_key(chat: ChatId, id: EventId) -> Vec<u8> {
    [&chat.0[..], &id.to_bytes()].concat()
}

impl Conversations {
    /// Whether the user may write to a chat now. What is written while it has no group waits for one.
    pub(crate) fn check_may_write(&self, dir: Directory<'_>, chat: ChatId) -> Result<(), NodeError> {
        let state = self.chats.get(&chat).ok_or(NotFound::Chat)?;
        for account in state.roster.others() {
            check_person(dir.contacts.people.get(&account).ok_or(NotFound::Contact)?)?;
        }
        if state.row.outdated {
            return Err(NotAllowed::Outdated.into());
        }
        if state.outbox.len() >= MAX_OUTBOX {
            return Err(NotAllowed::OutboxFull { name: chat_name(dir, state), max: MAX_OUTBOX }.into());
        }
        Ok(())
    }

    /// Whether what is written to a chat can be encrypted now: a call cannot wait for a group.
    pub(crate) fn check_has_group(&self, dir: Directory<'_>, chat: ChatId) -> Result<(), NodeError> {
        if self.active_group(dir, chat).is_some() {
            return Ok(());
        }
        let state = self.chats.get(&chat).ok_or(NotFound::Chat)?;
        let name = chat_name(dir, state);
        match state.problem {
            Some(DAMAGED) => Err(Unreachable::DamagedConversation { name }.into()),
            _ => Err(Unreachable::Conversation { name }.into()),
        }
    }

    /// The group that we write to: one that fits the devices of all members, rather lacking some of them than with somebody else's in it; of
    /// those that lack the fewest the confirmed one with the lowest id, so that all choose the same, else the newest.
    pub(crate) fn active_group(&self, dir: Directory<'_>, chat: ChatId) -> Option<GroupId> {
        let state = self.chats.get(&chat)?;
        let usable = self.groups_of(state).filter(|(_, group)| !group.row.dead);
        usable.min_by_key(|(at, group)| self.rank(dir, &state.roster, *at, group)).map(|(_, group)| group.id)
    }

    /// The group that we write to, with its encryption state loaded: those that are damaged are given up.
    pub(crate) fn readable_group(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Option<GroupId>, EngineError> {
        while let Some(group) = self.active_group(cx.dir, chat) {
            if self.open(turn, cx.mls, group)?.is_some() {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// Whether the user may write to a chat now, and whether that can be encrypted.
    pub(crate) fn ready_to_write(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        // Looked at once for all that is written in a turn.
        if self.chats.get(&chat).is_some_and(|state| state.pending.is_empty()) {
            self.readable_group(turn, cx, chat)?;
        }
        Ok(self.check_may_write(cx.dir, chat))
    }

    /// The groups of a conversation that are there, oldest first.
    pub(super) fn groups_of<'a>(&'a self, state: &'a ChatState) -> impl Iterator<Item = (usize, &'a GroupEntry)> {
        let ids = state.row.groups.iter().filter_map(|g| GroupId::try_from(g.as_slice()).ok());
        ids.filter_map(|g| self.groups.get(&g)).enumerate()
    }

    /// The order of preference among a conversation's groups; the least is written to.
    fn rank(&self, dir: Directory<'_>, roster: &Roster, at: usize, group: &GroupEntry) -> impl Ord {
        let age = if group.row.confirmed { 0 } else { usize::MAX - at };
        let (strangers, lacks) = self.roster_diff(dir, roster, group);
        (strangers, group.row.unjoined, lacks, !group.row.confirmed, age, group.id)
    }

    /// Groups beyond what is kept for one conversation: never the newest, which others may be about to join, and of the rest those that are the
    /// least fit to be written to.
    pub(crate) fn surplus_groups(&self, dir: Directory<'_>, chat: ChatId) -> Vec<GroupId> {
        let Some(state) = self.chats.get(&chat) else { return Vec::new() };
        let mut older: Vec<_> = self.groups_of(state).collect();
        older.pop();
        older.sort_by_cached_key(|(at, group)| (group.row.dead, self.rank(dir, &state.roster, *at, group)));
        older.into_iter().skip(MAX_GROUPS_PER_CHAT - 1).map(|(_, group)| group.id).collect()
    }

    /// Writes an event: it counts here at once, and is sent with this turn's batch.
    pub(crate) fn write_event(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        body: Body,
    ) -> Result<EventId, EngineError> {
        let origin = self.own_origin(turn, cx.dir)?;
        let id = self.stamp(turn, cx, chat, &body);
        self.fold_event(turn, cx.dir, chat, &At { id, body: &body, origin: &origin })?;
        self.queue(chat, Event { id, body });
        Ok(id)
    }

    /// Sends an event about something that has changed here already: our name, our devices, a call.
    pub(crate) fn announce(&mut self, turn: &Turn<'_>, cx: &mut Context<'_>, chat: ChatId, body: Body) -> EventId {
        let id = self.stamp(turn, cx, chat, &body);
        self.queue(chat, Event { id, body });
        id
    }

    /// The place of a new event of ours in the order.
    fn stamp(&mut self, turn: &Turn<'_>, cx: &mut Context<'_>, chat: ChatId, body: &Body) -> EventId {
        let clock = cx.counters.clock.tick(turn.agreed_ms());
        let device = cx.dir.account.device().tag();
        let mut sequence = 0;
        if let Some(state) = self.chats.get_mut(&chat).filter(|_| body.is_numbered()) {
            state.row.last_sequence += 1;
            sequence = state.row.last_sequence;
            state.dirty = true;
        }
        EventId { clock, device, sequence }
    }

    fn queue(&mut self, chat: ChatId, event: Event) {
        if let Some(state) = self.chats.get_mut(&chat) {
            state.pending.push(event);
        }
    }

    /// Writes what this turn's events have changed, and encrypts those that were written here.
    pub(crate) fn flush_pending(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for chat in self.touched_chats(cx.dir) {
            self.write_draft(turn, chat)?;
            if self.chats.get(&chat).is_none_or(|c| c.pending.is_empty()) {
                continue;
            }
            let group = self.readable_group(turn, cx, chat)?;
            let Some(state) = self.chats.get_mut(&chat) else {
                continue;
            };
            if state.row.outdated || cx.counters.row.outdated {
                // Its numbers and keys were used already.
                state.pending.clear();
                continue;
            }
            let (mut unnumbered, numbered): (Vec<Event>, Vec<Event>) =
                std::mem::take(&mut state.pending).into_iter().partition(|e| e.id.sequence == 0);
            for events in batches(numbered) {
                self.put_in_outbox(turn, cx, chat, group, events)?;
            }
            match group {
                _ if unnumbered.is_empty() => {}
                Some(group) => self.send_unnumbered(turn, cx, chat, group, unnumbered)?,
                // The newest receipt says all that those before it say.
                None => {
                    if let Some(state) = self.chats.get_mut(&chat) {
                        state.pending = unnumbered.split_off(unnumbered.len() - 1);
                    }
                }
            }
        }
        Ok(())
    }

    /// Encrypts a batch and puts it into the outbox, in the transaction that also has the new ratchet state. Without a group it is stored as it
    /// is, and encrypted when there is one ([`Conversations::renew_outbox`]).
    fn put_in_outbox(
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

    /// The events of an outbox entry, in their order. What was deleted since is empty: its number has to come, its text has not.
    fn events_of(turn: &Turn<'_>, chat: ChatId, row: &OutboxRow) -> Result<Vec<Event>, EngineError> {
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

    /// Keeps what is still to be delivered of a conversation whose timeline is about to be cleared.
    pub(crate) fn keep_undelivered(&self, turn: &Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        for item in self.chats.get(&chat).iter().flat_map(|c| &c.outbox) {
            let key = outbox_key(chat, item.first);
            let Some(mut row) = turn.get::<OutboxRow>(OUTBOX, &key)? else { continue };
            let events = Self::events_of(turn, chat, &row)?;
            row.events = events.iter().map(outbox_event).collect();
            row.ids.clear();
            turn.put(OUTBOX, &key, &row)?;
        }
        Ok(())
    }

    /// Encrypts a batch, and the clock of our event before it; gives the message and its epoch. It says which of our events are the first that
    /// are still to be had: who joins later waits for none before.
    fn encrypt(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: GroupId,
        (events, before): (Vec<Event>, Clock),
    ) -> Result<Option<(Bytes, u64)>, EngineError> {
        let kept = self.chats.get(&chat).and_then(|c| c.outbox.front()).map(|i| i.first);
        let floor = kept.or(events.first().map(|e| e.id.sequence)).unwrap_or_default();
        let Some(mut group) = self.open(turn, cx.mls, group)? else { return Ok(None) };
        let message = group.encrypt_counted(&Batch { events, floor, before }.encode())?;
        Ok(Some((message, group.entry.epoch())))
    }

    /// Receipts: on every direct stream of the conversation, and soon into the log for those without.
    fn send_unnumbered(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: GroupId,
        events: Vec<Event>,
    ) -> Result<(), EngineError> {
        let unnumbered = (events, Clock::default());
        let Some((message, _)) = self.encrypt(turn, cx, chat, group, unnumbered)? else { return Ok(()) };
        let all = self.send_unsequenced(turn, cx, chat, group, &message);
        let due = turn.now() + RECEIPT_DELAY_MS;
        if let Some(state) = self.chats.get_mut(&chat).filter(|c| c.row.read_logged < c.row.read_told) {
            if all {
                state.row.read_logged = state.row.read_told;
                state.dirty = true;
            } else {
                state.receipt_due = Some(state.receipt_due.map_or(due, |d| d.min(due)));
            }
        }
        Ok(())
    }

    /// A message without a number, to those who are connected. Gives whether these are all.
    pub(crate) fn send_unsequenced(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: GroupId,
        message: &Bytes,
    ) -> bool {
        let Some(entry) = self.groups.get(&group).filter(|_| !self.has_revoked_member(cx.dir, chat, group)) else {
            return false;
        };
        let me = cx.dir.account.device();
        let others: Vec<DeviceId> = entry.members.iter().map(|m| m.device).filter(|d| *d != me).collect();
        let mut all = true;
        for device in others {
            if cx.links.is_connected(&device) {
                let frame = DirectFrame {
                    entries: vec![Entry { group: Bytes::copy_from_slice(&group), message: message.clone() }],
                    ..DirectFrame::default()
                };
                turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
            } else {
                all = false;
            }
        }
        all
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
        if state.is_some_and(|state| cx.dir.people(state.roster.others()).any(|p| p.row.key_changed)) {
            // Not to devices that the user does not trust yet.
            return Ok(());
        }
        let epoch = self.groups.get(&active).map_or(0, GroupEntry::epoch);
        let Some(state) = self.chats.get(&chat) else {
            return Ok(());
        };
        let stale: Vec<u64> = state
            .outbox
            .iter()
            .filter(|i| i.group != active || i.epoch == LOST_EPOCH || i.epoch + (PAST_EPOCHS as u64) < epoch)
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
        let events = Self::events_of(turn, chat, &row)?;
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
        let over = |i: &&OutItem| i.created_ms + OUTBOX_LIFE_MS < now;
        let expired: Vec<OutItem> = state.outbox.iter().filter(over).cloned().collect();
        for item in expired {
            turn.delete(OUTBOX, &outbox_key(chat, item.first))?;
            let Some(state) = self.chats.get_mut(&chat) else {
                continue;
            };
            state.outbox.retain(|i| i.first != item.first);
            let delivered = state.roster.progress().delivered;
            let failed = item.ids_between(delivered, u64::MAX);
            if !failed.is_empty() {
                state.row.failed.extend([item.first.max(delivered + 1), item.last]);
            }
            state.dirty = true;
            turn.state_news(chat, failed, DeliveryState::Failed, "nobody fetched it for 30 days")?;
            self.trim_chat(turn, cx.homes, chat);
        }
        Ok(())
    }
}

/// The state of an event of our account; what another device of ours has written has left it.
pub fn state_of(row: &ChatRow, progress: Progress, id: EventId) -> DeliveryState {
    let Progress { delivered, read } = progress;
    let sequence = id.sequence;
    if row.failed.chunks_exact(2).any(|r| (r[0]..=r[1]).contains(&sequence)) {
        DeliveryState::Failed
    } else if sequence <= delivered {
        if id.clock.0 <= read { DeliveryState::Read } else { DeliveryState::Delivered }
    } else if sequence <= row.sent_upto {
        DeliveryState::Sent
    } else {
        DeliveryState::Queued
    }
}

/// Whether the user may write to somebody now.
fn check_person(person: &Person) -> Result<(), NodeError> {
    let name = person.name();
    match person.state() {
        ContactState::Blocked => Err(NotAllowed::Blocked { name: Some(name.to_owned()) }.into()),
        ContactState::Removed => Err(NotAllowed::Removed { name: name.to_owned() }.into()),
        _ if person.row.key_changed => Err(NodeError::KeyChanged { name: name.to_owned() }),
        ContactState::Active | ContactState::Outgoing => Ok(()),
    }
}

/// Splits events into batches that each fit into one MLS message.
fn batches(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut batches: Vec<(usize, Vec<Event>)> = Vec::new();
    for event in events {
        let len = event.encoded_len();
        match batches.last_mut() {
            Some((size, batch)) if *size + len <= BATCH_BYTES && batch.len() < MAX_BATCH_EVENTS => {
                *size += len;
                batch.push(event);
            }
            _ => batches.push((len, vec![event])),
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}
