//! Writing: events get their stamp at once, and are encrypted together at the end of the turn.

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{
    Batch, Body, Clock, Event, EventId, Role,
    direct::{DirectFrame, Entry},
    limits::MAX_BATCH_EVENTS,
};

use super::limits::{BATCH_BYTES, MAX_OUTBOX};
use crate::{
    api::{
        error::{NodeError, NotAllowed, NotFound},
        types::{ChatId, ContactState, DeliveryState},
    },
    contacts::{Directory, Person},
    conversation::{Chats, Conversations, context::Context, group::GroupId},
    events::At,
    net::NetCommand,
    roster::Progress,
    store::ChatRow,
    turn::{Effect, EngineError, Turn},
};

/// The key of a timeline row.
pub fn timeline_key(chat: ChatId, id: EventId) -> Vec<u8> {
    [&chat.0[..], &id.to_bytes()].concat()
}

impl Conversations {
    /// Whether the user may write to a chat now. What is written while it has no group waits for one.
    pub(crate) fn check_may_write(&self, dir: Directory<'_>, chat: ChatId) -> Result<(), NodeError> {
        self.check_may(dir, chat, self.policies.permissions(&chat).post)
    }

    /// Whether the members of a chat are told something about us.
    pub(crate) fn check_may_tell(&self, dir: Directory<'_>, chat: ChatId) -> Result<(), NodeError> {
        self.check_may(dir, chat, Role::Reader)
    }

    /// The same of something that takes a role in a group, or one above it.
    pub(super) fn check_may(&self, dir: Directory<'_>, chat: ChatId, lowest: Role) -> Result<(), NodeError> {
        let state = self.chats.get(&chat).ok_or(NotFound::Chat)?;
        if state.is_group() {
            self.policies.check_may_write(&chat, &dir.account.id(), lowest)?;
        }
        for account in state.roster.others().filter(|_| !state.is_group()) {
            check_person(dir.contacts.people.get(&account).ok_or(NotFound::Contact)?)?;
        }
        if state.row.outdated {
            return Err(NotAllowed::Outdated.into());
        }
        if state.outbox.len() >= MAX_OUTBOX {
            return Err(NotAllowed::OutboxFull { name: self.name_of(dir, state), max: MAX_OUTBOX }.into());
        }
        Ok(())
    }

    /// Writes an event: it counts here at once, and is sent with this turn's batch.
    pub(crate) fn write_event(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        body: Body,
    ) -> Result<EventId, EngineError> {
        let origin = self.authors.own_origin(turn, cx.dir)?;
        let id = self.chats.stamp(turn, cx, chat, &body);
        self.fold_event(turn, cx.dir, chat, &At { id, body: &body, origin: &origin })?;
        self.chats.queue(chat, Event { id, body });
        Ok(id)
    }

    /// Writes what this turn's events have changed, and encrypts those that were written here.
    pub(crate) fn flush_pending(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for chat in self.touched_chats(cx.dir) {
            self.chats.write_draft(turn, chat)?;
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

    /// Encrypts a batch, and the clock of our event before it; gives the message and its epoch. It says which of our events are the first that
    /// are still to be had: who joins later waits for none before.
    pub(super) fn encrypt(
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

    /// Receipts: on every direct stream of the conversation, and soon into the log for those without. In a group they go into the log alone, as
    /// that has one copy for all: what is to be said is seen when they are due.
    fn send_unnumbered(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        group: GroupId,
        events: Vec<Event>,
    ) -> Result<(), EngineError> {
        let mut all = false;
        if !self.chats.is_group_chat(chat) {
            let unnumbered = (events, Clock::default());
            let Some((message, _)) = self.encrypt(turn, cx, chat, group, unnumbered)? else { return Ok(()) };
            all = self.send_unsequenced(turn, cx, chat, group, &message);
        }
        if let Some(state) = self.chats.get_mut(&chat).filter(|c| c.row.read_logged < c.row.read_told) {
            if all {
                state.row.read_logged = state.row.read_told;
                state.dirty = true;
            } else {
                state.schedule_receipt(turn.now());
            }
        }
        Ok(())
    }

    /// A message without a number, to those members of a direct conversation who are connected. Gives whether these are all.
    fn send_unsequenced(
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
}

impl Chats {
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
        if let Some(state) = self.states.get_mut(&chat).filter(|_| body.is_numbered()) {
            state.row.last_sequence += 1;
            sequence = state.row.last_sequence;
            state.dirty = true;
        }
        EventId { clock, device, sequence }
    }

    fn queue(&mut self, chat: ChatId, event: Event) {
        if let Some(state) = self.states.get_mut(&chat) {
            state.pending.push(event);
        }
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
