//! Reading: MLS messages in, events into the timeline.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_keys::{AccountId, Certificate, DeviceId};
use starling_wire::{
    Batch, Body, Clock, Delete, Devices, Edit, Event, EventId, Profile, Reaction, Receipt, direct::Entry,
};

use crate::{
    api::types::{ChatId, ContactState, DeliveryState, FeedKind, Live, Via},
    calls::Sender,
    conversation::group::GroupId,
    conversation::send::timeline_key,
    limits::{DELETE_WINDOW_MS, MAX_CLOCK_AHEAD_MS, MAX_EARLY, MAX_FUTURE},
    mls::Processed,
    store::{EventRow, FeedRow, ReactionRow, Reading, TIMELINE},
    turn::{Engine, EngineError, Turn},
};

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing that counts now.
    Nothing,
    /// Events that are numbered.
    Events,
    /// Receipts alone.
    Receipts,
    /// One of ours.
    Own,
}

/// News of one batch, written together.
#[derive(Default)]
struct Changes {
    rows: BTreeMap<Vec<u8>, EventRow>,
    new: Vec<u8>,
    edited: Vec<u8>,
    deleted: Vec<u8>,
    reactions: Vec<u8>,
}

impl Engine {
    pub(crate) fn on_direct_entry(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        entry: &Entry,
    ) -> Result<(), EngineError> {
        let Ok(group) = GroupId::try_from(&*entry.group) else {
            return Ok(());
        };
        let relayed = self.delivery.links.get(&device).is_some_and(|l| l.relayed);
        let via = if relayed { Via::Relay } else { Via::Direct };
        self.on_message(turn, group, Some(device), via, &entry.message).map(drop)
    }

    /// An MLS message, from a stream or a log.
    pub(crate) fn on_message(
        &mut self,
        turn: &mut Turn<'_>,
        id: GroupId,
        from: Option<DeviceId>,
        via: Via,
        message: &Bytes,
    ) -> Result<Taken, EngineError> {
        let Some(entry) = self.conversations.groups.get_mut(&id) else {
            tracing::debug!(group = id[0], "a message of a group that we have not joined (yet)");
            return Ok(Taken::Nothing);
        };
        let Ok(chat) = entry.row.chat.as_slice().try_into().map(ChatId) else {
            return Ok(Taken::Nothing);
        };
        // Not from somebody who is not in this conversation.
        if let Some(device) = from
            && !entry.members.iter().any(|m| m.device() == device)
        {
            return Ok(Taken::Nothing);
        }
        if message.len() > starling_wire::limits::MAX_ENTRY {
            return Ok(Taken::Nothing);
        }
        if !self.delivery.seen.insert(message) {
            if let Some(device) = from {
                self.owe_ack(turn, device, chat, id);
            }
            return Ok(Taken::Nothing);
        }
        match entry.live.process(message) {
            Processed::Application { sender, data } => {
                entry.touch_live();
                match Batch::decode(&data, sender.device().tag()) {
                    Ok(batch) => {
                        let numbered = batch.events.iter().any(|e| e.id.sequence != 0);
                        self.on_batch(turn, chat, id, &sender, via, batch)?;
                        return Ok(if numbered { Taken::Events } else { Taken::Receipts });
                    }
                    Err(error) => tracing::warn!(%error, "a member sent what cannot be read"),
                }
            }
            // Commits count only as closing entries of a log.
            Processed::Commit => tracing::warn!("a commit came outside the log"),
            Processed::Future => {
                if entry.future.len() < MAX_FUTURE {
                    entry.future.push_back((from, message.clone()));
                }
                // It must be taken again once we are there.
                self.delivery.seen.forget(message);
                self.read_log_again(turn, id);
            }
            Processed::Own => return Ok(Taken::Own),
            Processed::Duplicate => {
                if let Some(device) = from {
                    self.owe_ack(turn, device, chat, id);
                }
            }
            Processed::TooOld => tracing::debug!("a message of an epoch that is gone"),
            Processed::Garbage => tracing::debug!("a message that is not valid"),
        }
        Ok(Taken::Nothing)
    }

    /// Messages that came before the commit that leads to their epoch.
    pub(crate) fn retry_future(&mut self, turn: &mut Turn<'_>, id: GroupId) -> Result<(), EngineError> {
        let Some(entry) = self.conversations.groups.get_mut(&id) else {
            return Ok(());
        };
        for (from, message) in std::mem::take(&mut entry.future) {
            self.on_message(turn, id, from, Via::Direct, &message)?;
        }
        Ok(())
    }

    fn on_batch(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        group: GroupId,
        sender: &Certificate,
        via: Via,
        batch: Batch,
    ) -> Result<(), EngineError> {
        let device = sender.device();
        let own = sender.account() == self.account.id();
        if !own {
            // A device that its account has given up may be somebody else's now.
            let person = self.contacts.people.get(&sender.account());
            if person.and_then(|p| p.list.as_ref()).is_some_and(|list| list.device(&device).is_none()) {
                tracing::warn!("a message of a device that its account has given up was dropped");
                return Ok(());
            }
            self.confirm_group(turn, group)?;
            self.distrust_groups(turn, chat, group)?;
        } else if self.account.list().is_some_and(|list| list.device(&device).is_none()) {
            tracing::warn!("a message of a device that our account has given up was dropped");
            return Ok(());
        }
        let agreed = turn.agreed_ms();
        let mut changes = Changes::default();
        let mut numbered = false;
        for event in batch.events {
            self.counters.clock.observe(event.id.clock, agreed, MAX_CLOCK_AHEAD_MS);
            if event.id.sequence != 0 {
                numbered = true;
                let Some(state) = self.conversations.chats.get_mut(&chat) else {
                    return Ok(());
                };
                let row = state.roster.device_mut(sender.account(), &device);
                row.received = row.received.max(batch.floor.saturating_sub(1));
                if !take_number(row, event.id.sequence) {
                    continue;
                }
            }
            self.on_event(turn, chat, sender, via, event, &mut changes)?;
        }
        let rows: Vec<(Vec<u8>, EventRow)> = changes.rows.into_iter().collect();
        turn.put_all(TIMELINE, &rows)?;
        let kinds = [
            (FeedKind::New, changes.new),
            (FeedKind::Edited, changes.edited),
            (FeedKind::Deleted, changes.deleted),
            (FeedKind::Reaction, changes.reactions),
        ];
        for (kind, ids) in kinds {
            if !ids.is_empty() {
                turn.news(FeedRow { kind: kind.stored(), chat: chat.0.to_vec(), ids, ..FeedRow::default() })?;
            }
        }
        if numbered {
            self.owe_ack(turn, device, chat, group);
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        sender: &Certificate,
        via: Via,
        event: Event,
        changes: &mut Changes,
    ) -> Result<(), EngineError> {
        let own = sender.account() == self.account.id();
        let (id, agreed) = (event.id, turn.agreed_ms());
        match event.body {
            Body::Text(_) => {
                let row = EventRow {
                    body: Event::encode_body(&event.body),
                    author: self.author(turn, sender.account(), id.device)?,
                    via: via.stored(),
                    ..EventRow::default()
                };
                changes.rows.insert(timeline_key(chat, id), row);
                changes.new.extend(id.to_bytes());
                if !own
                    && let Some(person) = self.contacts.people.get_mut(&sender.account())
                    && person.presence.typing_until.take().is_some()
                {
                    turn.live(Live::Typing { chat, typing: false });
                }
                if let Some(state) = self.conversations.chats.get_mut(&chat) {
                    // A clock far ahead sorts where it says, but does not pin the chat there.
                    let latest = Clock::at(agreed.saturating_add(MAX_CLOCK_AHEAD_MS)).0;
                    state.row.newest = state.row.newest.max(id.clock.0.min(latest));
                    if !own && id.clock.0 > state.row.read {
                        state.row.unread += 1;
                    }
                    state.row.archived = false;
                }
            }
            Body::Edit(Edit { target, text }) => {
                if let Some((key, mut row)) = self.target(turn, chat, target, changes)?
                    && self.conversations.authors.is_by(row.author, &sender.account())
                    && !row.deleted
                    && id.clock.0 > row.edit_clock
                {
                    row.edited = Some(text);
                    row.edit_clock = id.clock.0;
                    changes.rows.insert(key, row);
                    changes.edited.extend(target.to_bytes());
                }
            }
            Body::Delete(Delete { target }) => {
                let in_time = id.clock.ms().saturating_sub(target.clock.ms()) <= DELETE_WINDOW_MS;
                if in_time
                    && let Some((key, mut row)) = self.target(turn, chat, target, changes)?
                    && self.conversations.authors.is_by(row.author, &sender.account())
                {
                    // The text goes from the disk, too.
                    row = EventRow {
                        body: Event::encode_body(&Body::Text(Default::default())),
                        deleted: true,
                        edited: None,
                        reactions: Vec::new(),
                        ..row
                    };
                    changes.rows.insert(key, row);
                    changes.deleted.extend(target.to_bytes());
                }
            }
            Body::Reaction(Reaction { target, emoji }) => {
                if let Some((key, mut row)) = self.target(turn, chat, target, changes)?
                    && !row.deleted
                    && react(&mut row, &sender.account(), &emoji, id.clock)
                {
                    changes.rows.insert(key, row);
                    changes.reactions.extend(target.to_bytes());
                }
            }
            Body::Receipt(receipt) if !own => self.on_receipt(turn, chat, sender, &receipt)?,
            Body::Receipt(receipt) => {
                // Another device of ours has read this.
                self.mark_read(chat, receipt.read);
                self.has_received(turn, chat, sender.device(), &receipt)?;
            }
            Body::Profile(Profile { name, bot }) if !own => self.on_profile(turn, chat, name, bot)?,
            Body::Profile(Profile { name, .. }) if !name.is_empty() && name != self.account.identity.row.name => {
                // Another device of ours has renamed us.
                self.account.identity.row.name = name;
                self.account.identity.dirty = true;
            }
            Body::Profile(_) => {}
            Body::Devices(Devices { list }) => {
                if let Some(peer) = self.conversations.chats.get(&chat).map(|c| c.peer).filter(|_| !own) {
                    self.on_newer_list(turn, peer, &list)?;
                }
            }
            Body::Call(call) => {
                let sender = Sender { account: sender.account(), device: sender.device(), own, chat, event: id };
                self.with_calls(turn, |calls, host| calls.on_signal(host, &sender, call))?;
            }
            Body::Unknown => {}
        }
        Ok(())
    }

    fn target(
        &self,
        turn: &Turn<'_>,
        chat: ChatId,
        id: EventId,
        changes: &Changes,
    ) -> Result<Option<(Vec<u8>, EventRow)>, EngineError> {
        let key = timeline_key(chat, id);
        let row = match changes.rows.get(&key) {
            Some(row) => Some(row.clone()),
            None => turn.get(TIMELINE, &key)?,
        };
        // The note of a call is nobody's to change.
        let note = |row: &EventRow| matches!(Event::decode_body(&row.body), Ok(Body::Call(_)));
        Ok(row.filter(|row| !note(row)).map(|row| (key, row)))
    }

    fn on_receipt(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        from: &Certificate,
        receipt: &Receipt,
    ) -> Result<(), EngineError> {
        self.has_received(turn, chat, from.device(), receipt)?;
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return Ok(());
        };
        // Nobody has read what was not written yet.
        let read = receipt.read.0.min(state.row.newest);
        if let Some(before) = state.roster.note_read(from.account(), read) {
            let range = timeline_key(chat, floor_id(before.saturating_add(1)))
                ..timeline_key(chat, floor_id(read.saturating_add(1)));
            let rows = turn.range::<EventRow>(TIMELINE, range, 2_000, true)?;
            let own = self.account.id();
            let ids: Vec<u8> = rows
                .iter()
                .rev()
                .filter(|(_, row)| self.conversations.authors.is_by(row.author, &own))
                .flat_map(|(key, _)| key[16..].to_vec())
                .collect();
            turn.state_news(chat, ids, DeliveryState::Read, "")?;
        }
        Ok(())
    }

    /// How much of ours a device says that it has.
    fn has_received(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        from: DeviceId,
        receipt: &Receipt,
    ) -> Result<(), EngineError> {
        let me = self.account.device().tag();
        let upto = receipt.delivered.iter().filter(|(device, _)| *device == me).map(|(_, upto)| *upto).max();
        if let Some(upto) = upto { self.acknowledged(turn, chat, from, upto) } else { Ok(()) }
    }

    fn on_profile(&mut self, turn: &mut Turn<'_>, chat: ChatId, name: String, bot: bool) -> Result<(), EngineError> {
        let Some(peer) = self.conversations.chats.get(&chat).map(|c| c.peer) else {
            return Ok(());
        };
        let Some(person) = self.contacts.people.get_mut(&peer) else {
            return Ok(());
        };
        let renamed = !name.is_empty() && person.row.name != name;
        if renamed {
            person.row.name = name;
        }
        person.row.bot = bot;
        person.dirty = true;
        if person.state() == ContactState::Outgoing {
            person.row.state = ContactState::Active.stored();
            self.delivery.net_changed = true;
            self.snapshot_soon(turn);
            turn.account_news(FeedKind::ContactAccepted, peer, "")?;
        } else if renamed {
            turn.live(Live::Net);
        }
        Ok(())
    }

    /// A group in which a device of the other account has spoken is one that it is in.
    pub(crate) fn confirm_group(&mut self, turn: &mut Turn<'_>, id: GroupId) -> Result<(), EngineError> {
        let Some(entry) = self.conversations.groups.get_mut(&id).filter(|g| !g.row.confirmed) else {
            return Ok(());
        };
        (entry.row.confirmed, entry.row.distrusted) = (true, false);
        entry.touch();
        if let Ok(chat) = entry.row.chat.as_slice().try_into() {
            self.renew_outbox(turn, ChatId(chat))?;
        }
        Ok(())
    }
}

/// The least id with this clock.
pub fn floor_id(clock: u64) -> EventId {
    EventId { clock: Clock(clock), ..EventId::default() }
}

/// Takes note of a sequence number; `false` if it was there before. What came early is kept as ranges (first, last).
fn take_number(row: &mut crate::store::DeviceRow, sequence: u64) -> bool {
    if sequence <= row.received || row.early.chunks_exact(2).any(|r| (r[0]..=r[1]).contains(&sequence)) {
        return false;
    }
    if Some(sequence) == row.received.checked_add(1) {
        row.received = sequence;
    } else if let Some(range) = row.early.chunks_exact_mut(2).find(|r| r[1].checked_add(1) == Some(sequence)) {
        range[1] = sequence;
    } else if row.early.len() < 2 * MAX_EARLY {
        row.early.extend([sequence, sequence]);
    }
    while let Some(at) = row.early.chunks_exact(2).position(|r| r[0] <= row.received.saturating_add(1)) {
        row.received = row.received.max(row.early[2 * at + 1]);
        row.early.drain(2 * at..2 * at + 2);
    }
    true
}

/// Sets, changes or removes an account's reaction; `false` if a newer one is there.
pub fn react(row: &mut EventRow, account: &AccountId, emoji: &str, clock: Clock) -> bool {
    let account = account.as_bytes();
    if row.reactions.iter().any(|r| r.account == account && r.clock >= clock.0) {
        return false;
    }
    row.reactions.retain(|r| r.account != account);
    row.reactions.push(ReactionRow { account: account.to_vec(), emoji: emoji.to_owned(), clock: clock.0 });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_come_early_twice_or_late_are_each_taken_once() {
        let mut row = crate::store::DeviceRow::default();
        let order = [3, 1, 3, 5, 6, 2, 2, 4, 7, 1];
        let taken: Vec<bool> = order.iter().map(|n| take_number(&mut row, *n)).collect();
        assert_eq!(taken, [true, true, false, true, true, true, false, true, true, false]);
        assert_eq!((row.received, row.early.len()), (7, 0));
    }
}
