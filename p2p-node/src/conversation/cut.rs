//! Where the events of a removed device end. Members learn of a removal at different times; so that all have the same messages, the device that
//! removes another says with which event of it the conversation ends for it, and passes on the last ones.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    Body, Clock, Cut, CutMessage, Event, EventId,
    limits::{MAX_CUT_EVENTS, MAX_CUT_RANGES},
};

use super::{
    Chats, Conversations,
    context::Context,
    limits::{CUT_BYTES, CUT_MESSAGES_MS, MAX_CUT_AGE_MS, MAX_CUT_ROWS, MAX_CUTS, MAX_EARLY},
    place::{Place, place_of},
};
use crate::{
    api::types::{ChatId, DurableEventKind, Via},
    contacts::Directory,
    events::{self, At, Origin, Summary},
    limits::CLOCK_TOLERANCE_MS,
    ranges,
    roster::Roster,
    store::{CutRow, DeviceRow, EventLogRow, EventRow, Reading, TIMELINE, prefix},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// A device of ours was removed, and a home knows: in all conversations that counts which we have of it.
    pub(crate) fn cut_off(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        device: &DeviceId,
    ) -> Result<(), EngineError> {
        let mut chats: Vec<ChatId> = self.chats.keys().copied().collect();
        chats.retain(|chat| self.active_group(cx.dir, *chat).is_some());
        let own = cx.dir.account.id();
        for chat in chats {
            let state = self.chats.get(&chat);
            let entered_ms = state.map_or(0, |state| state.row.entered_ms);
            let row = state.and_then(|state| state.roster.device(device));
            // What somebody who answered for it before has said counts here, too.
            let upto = row.map_or(0, |row| row.received.max(row.cut_upto));
            let early = row.into_iter().flat_map(|row| ranges::pairs(&row.early).chain(ranges::pairs(&row.cut_early)));
            let early = ranges::merged(ranges::after(early, upto), MAX_CUT_RANGES);
            let counts = |sequence| sequence <= upto || ranges::contain(&early, sequence);
            let since = since_ms(cx.dir, &own, device, turn.agreed_ms());
            let messages = self.last_messages(turn, chat, device, counts, since)?;
            let early = ranges::pairs(&early).collect();
            let cut = Cut { device: *device.as_bytes(), upto, early, since_ms: entered_ms, messages };
            let id = EventId { clock: Clock::at(turn.agreed_ms()), device: cx.dir.account.device().tag(), sequence: 0 };
            self.apply_cut(turn, cx.dir, chat, (own, Via::Own, id), &cut)?;
            self.chats.announce(turn, cx, chat, Body::Cut(cut));
        }
        Ok(())
    }

    /// What a device has written last, of what counts: others may lack it.
    fn last_messages(
        &self,
        turn: &Turn<'_>,
        chat: ChatId,
        device: &DeviceId,
        counts: impl Fn(u64) -> bool,
        since: u64,
    ) -> Result<Vec<CutMessage>, EngineError> {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for (id, row) in self.rows_of(turn, chat, device)? {
            let is_message = matches!(events::summary(&row), Some(Summary::Message(_)));
            if !counts(id.sequence) || row.deleted || !is_message {
                continue;
            }
            bytes += row.body.len();
            if id.clock.ms() < since || bytes > CUT_BYTES || messages.len() == MAX_CUT_EVENTS {
                break;
            }
            messages.push(CutMessage { clock: id.clock, sequence: id.sequence, body: row.body });
        }
        messages.reverse();
        Ok(messages)
    }

    /// The newest rows that a device has written, newest first.
    fn rows_of(
        &self,
        turn: &Turn<'_>,
        chat: ChatId,
        device: &DeviceId,
    ) -> Result<Vec<(EventId, EventRow)>, EngineError> {
        let rows = turn.range::<EventRow>(TIMELINE, prefix(&chat.0), MAX_CUT_ROWS, true)?;
        let with_id = rows.into_iter().filter_map(|(key, row)| Some((EventId::from_bytes(key.get(16..)?)?, row)));
        Ok(with_id.filter(|(id, _)| id.device == device.tag()).collect())
    }

    /// An account says where the events of a device end that it has removed. What was taken beyond is undone, what is lacking added; neither reaches
    /// further back than the removal takes to be known, as seen from when the account says so.
    pub(crate) fn apply_cut(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        (account, via, said): (AccountId, Via, EventId),
        cut: &Cut,
    ) -> Result<(), EngineError> {
        let clock = said.clock;
        let Ok(device) = DeviceId::from_bytes(&cut.device) else { return Ok(()) };
        if !dir.list_of(&account).is_some_and(|list| list.has_removed(&device)) {
            return Ok(());
        }
        self.chats.write_draft(turn, chat)?;
        let upto = cut.upto.max(self.last_before(turn, chat, (account, &device), cut.since_ms)?);
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
        let row = state.roster.device_mut(account, &device);
        let passed_on = cut.messages.iter().map(|message| [message.sequence; 2]);
        let early = ranges::after(cut.early.iter().copied().chain(passed_on), upto);
        let early = ranges::merged(early, MAX_CUT_RANGES);
        note(row, CutRow { by: said.device.to_vec(), sequence: said.sequence, upto, early });
        for device in settle(&mut state.roster).into_iter().chain([device]) {
            self.undo_beyond(turn, chat, (account, &device), since_ms(dir, &account, &device, clock.ms()))?;
        }
        let Some(state) = self.chats.get(&chat) else { return Ok(()) };
        let (upto, early) =
            state.roster.device(&device).map(|row| (row.cut_upto, row.cut_early.clone())).unwrap_or_default();
        let counts = |number: u64| number > 0 && (number <= upto || ranges::contain(&early, number));
        let since_ms = since_ms(dir, &account, &device, clock.ms());
        let author = self.authors.author(turn, dir, account, &device)?;
        let own = account == dir.account.id();
        // Not as if it were written here.
        let via = if via == Via::Own { Via::Direct } else { via };
        let origin = Origin { account, device, author, own, via };
        let in_time = |at: Clock| at <= clock && at.ms() >= since_ms.saturating_sub(CLOCK_TOLERANCE_MS);
        for message in cut.messages.iter().filter(|m| counts(m.sequence) && in_time(m.clock)) {
            let Ok(body @ Body::Text(_)) = Event::decode_body(&message.body) else { continue };
            let id = EventId { clock: message.clock, device: device.tag(), sequence: message.sequence };
            let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
            if place_of(state.roster.device_mut(account, &device), &id, Clock::default()) == Place::New {
                self.take_event(turn, dir, chat, &At { id, body: &body, origin: &origin })?;
            }
        }
        self.chats.write_draft(turn, chat)
    }

    /// The number of the last message of a device from before a time, among the newest of a conversation: of those nothing can be said by who was not
    /// there then.
    fn last_before(
        &self,
        turn: &Turn<'_>,
        chat: ChatId,
        (account, device): (AccountId, &DeviceId),
        before_ms: u64,
    ) -> Result<u64, EngineError> {
        if before_ms == 0 {
            return Ok(0);
        }
        let rows = self.rows_of(turn, chat, device)?;
        let earlier = |(id, row): &&(EventId, EventRow)| {
            let is_final = row.via != Via::Gossip.stored() && !events::handed::is_handed(row);
            id.clock.ms() < before_ms && is_final && self.authors.account(row.author) == Some(account)
        };
        Ok(rows.iter().find(earlier).map_or(0, |(id, _)| id.sequence))
    }

    /// Takes messages of a removed device back that its account does not count.
    fn undo_beyond(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        (account, device): (AccountId, &DeviceId),
        since_ms: u64,
    ) -> Result<(), EngineError> {
        let row = self.chats.get(&chat).and_then(|state| state.roster.device(device));
        // Of those that nobody who counts has said, one that is to come says it.
        let Some(cut) = row.filter(|row| row.is_cut).cloned() else { return Ok(()) };
        let since_ms = since_ms.max(turn.wall().saturating_sub(MAX_CUT_AGE_MS));
        let mut ids = Vec::new();
        for (id, row) in self.rows_of(turn, chat, device)? {
            if cut.counts(id.sequence) || id.clock.ms() < since_ms || self.authors.account(row.author) != Some(account)
            {
                continue;
            }
            turn.delete(TIMELINE, &events::key(chat, id))?;
            ids.extend(id.to_bytes());
            let counted = !self.authors.is_own(row.author) && !events::handed::is_handed(&row);
            let unread = counted && matches!(events::summary(&row), Some(Summary::Message(_)));
            if let Some(state) = self.chats.get_mut(&chat).filter(|state| unread && id.clock.0 > state.row.read) {
                state.row.unread = state.row.unread.saturating_sub(1);
                state.dirty = true;
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let kind = DurableEventKind::Deleted.stored();
        turn.durable_event(EventLogRow { kind, chat: chat.0.to_vec(), ids, ..EventLogRow::default() })
    }
}

impl Chats {
    /// Whether a device that its account has removed has written this after the end of what counts of it.
    pub(crate) fn is_beyond_cut(
        &self,
        dir: Directory<'_>,
        chat: ChatId,
        (account, device): (AccountId, &DeviceId),
        id: EventId,
    ) -> bool {
        let row = self.get(&chat).and_then(|state| state.roster.device(device));
        let list = dir.list_of(&account).filter(|list| list.has_removed(device));
        // However long ago that was: what is beyond may have stayed where the copy comes from.
        let removed = list.map(|list| list.removed_at(device).map_or(0, |at| at.saturating_mul(1000)));
        row.is_some_and(|row| !row.counts(id.sequence))
            && removed.is_some_and(|removed| id.clock.ms() >= removed.saturating_sub(CUT_MESSAGES_MS))
    }
}

/// From when on what a removed device has written is told, taken back or added, milliseconds since 1970: somewhat before its removal, which may be
/// long ago when somebody else answers for it.
fn since_ms(dir: Directory<'_>, account: &AccountId, device: &DeviceId, said_ms: u64) -> u64 {
    let removed = dir.list_of(account).and_then(|list| list.removed_at(device)).map(|at| at.saturating_mul(1000));
    let earliest = said_ms.saturating_sub(MAX_CUT_AGE_MS);
    removed.map_or(said_ms, |removed| removed.min(said_ms)).saturating_sub(CUT_MESSAGES_MS).max(earliest)
}

/// Notes what a device says of where the events of another end.
fn note(row: &mut DeviceRow, said: CutRow) {
    if row.cuts.is_empty() && row.cut_upto > 0 {
        // Profiles had this alone.
        row.cuts.push(CutRow { upto: row.cut_upto, ..CutRow::default() });
    }
    let is_room = row.cuts.len() < MAX_CUTS;
    match row.cuts.iter_mut().find(|cut| cut.by == said.by) {
        Some(known) if (known.upto, known.sequence) <= (said.upto, said.sequence) => *known = said,
        None if is_room => row.cuts.push(said),
        Some(_) | None => {}
    }
}

/// Finds where the events of removed devices end: two devices may have removed one at once, and what one of them has counts; but not what one says
/// beyond its own end. Gives those for which that has changed.
fn settle(roster: &mut Roster) -> BTreeSet<DeviceId> {
    let mut changed = BTreeSet::new();
    let ids = |roster: &Roster| -> Vec<DeviceId> {
        let cut = roster.devices().filter(|row| !row.cuts.is_empty());
        cut.filter_map(|row| DeviceId::from_bytes(&row.device).ok()).collect()
    };
    // Each round settles at least one of those that have removed one another in a row; those in a circle stay as they are.
    for _ in 0..MAX_CUTS {
        let devices = ids(roster);
        let end_of =
            |device: &DeviceId| Some((device.tag(), roster.device(device).filter(|row| row.cut_upto > 0)?.cut_upto));
        let ends: BTreeMap<[u8; 8], u64> = devices.iter().filter_map(end_of).collect();
        let mut is_settled = true;
        for device in devices {
            let counts = |cut: &&CutRow| {
                let end = <[u8; 8]>::try_from(cut.by.as_slice()).ok().and_then(|by| ends.get(&by));
                end.is_none_or(|end| cut.sequence <= *end)
            };
            let Some(row) = roster.device(&device) else { continue };
            let upto = row.cuts.iter().filter(counts).map(|cut| cut.upto).max();
            let early = row.cuts.iter().filter(counts).flat_map(|cut| ranges::pairs(&cut.early));
            let early = ranges::merged(ranges::after(early, upto.unwrap_or(0)), MAX_CUT_RANGES);
            if (upto.is_some(), upto.unwrap_or(0), &early) == (row.is_cut, row.cut_upto, &row.cut_early) {
                continue;
            }
            let Some(row) = roster.known_mut(&device) else { continue };
            (row.is_cut, row.cut_upto) = (upto.is_some(), upto.unwrap_or(0));
            row.cut_early = early;
            changed.insert(device);
            is_settled = false;
        }
        if is_settled {
            break;
        }
    }
    for device in &changed {
        roster.known_mut(device).into_iter().for_each(forget_beyond);
    }
    changed
}

/// Of what was received, that which does not count is not any more.
fn forget_beyond(row: &mut DeviceRow) {
    if !row.is_cut {
        return;
    }
    let here = ranges::merged(ranges::pairs(&row.early).chain([[1, row.received]]), MAX_EARLY + 1);
    let counts = ranges::merged(ranges::pairs(&row.cut_early).chain([[1, row.cut_upto]]), usize::MAX);
    row.received = row.received.min(row.cut_upto);
    row.early = ranges::merged(ranges::after(ranges::common(&here, &counts), row.received), MAX_EARLY);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use starling_keys::{AccountKey, DeviceKey};

    use super::*;

    #[test]
    fn where_devices_end_does_not_depend_on_the_order_in_which_it_is_heard() {
        let account = AccountKey::from_seed(&[1; 32]).id();
        let [phone, laptop, tablet, watch, desk] = [10, 11, 12, 13, 14].map(|n| DeviceKey::from_seed(&[n; 32]).id());
        // Who says with which of its events where whose end. Where the laptop ends decides of the tablet and the watch, the tablet of the watch,
        // and that of the desk.
        let said = [
            (laptop, 9, tablet, 5),
            (laptop, 10, watch, 20),
            (tablet, 4, watch, 12),
            (watch, 11, desk, 30),
            (phone, 1, tablet, 3),
            (phone, 2, watch, 1),
            (phone, 3, desk, 2),
            (phone, 4, laptop, 4),
        ];
        let ends = |order: [usize; 8]| {
            let mut roster = Roster::of(account, &[]);
            for (by, sequence, of, upto) in order.map(|n| said[n]) {
                let early = vec![upto + 2, upto + 3, upto + 9, upto + 9];
                let said = CutRow { by: by.tag().to_vec(), sequence, upto, early };
                note(roster.device_mut(account, &of), said);
                settle(&mut roster);
            }
            [laptop, tablet, watch, desk]
                .map(|device| roster.device(&device).map(|row| (row.is_cut, row.cut_upto, row.cut_early.clone())))
        };
        // With the words of those that do not count go their numbers beyond.
        let expected = [4, 3, 1, 2].map(|upto| Some((true, upto, vec![upto + 2, upto + 3, upto + 9, upto + 9])));
        for first in 0..8 {
            for step in [1, 3, 5, 7] {
                let order = std::array::from_fn(|n| (first + n * step) % 8);
                assert_eq!(ends(order), expected, "{order:?}");
            }
        }
    }
}
