//! Events of a group that its log does not have, or does not show to this device: each device numbers its events, so what is missing before others
//! is seen. After a while it is asked for, in the log. Who has written it brings it there again, under the same ids; and what others have of it, as
//! it was encrypted, any member appends, as what was passed on and is not in the log. So who has written it is always shown by its encryption.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{LogVerb, MAX_MISSING, MissingEvents, rendezvous::LogRequest};

use super::{
    MessageHash,
    limits::{
        ANSWER_MISSING_EVERY_MS, APPEND_TURN_MS, ASK_FOR_MISSING_AGAIN_MS, ASK_FOR_MISSING_MS, ASK_FOR_MISSING_TURNS,
        MAX_ASKS_FOR_MISSING, MAX_MISSING_ANSWERS, MAX_MISSING_OF_DEVICE, OWN_ASKS_FOR_MISSING,
    },
};
use crate::{
    api::types::ChatId,
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        group::GroupId,
        log::limits::{APPEND_BYTES, APPEND_ENTRIES},
        outbox::{OutItem, outbox_key},
        receive::short_hash,
    },
    home::Pending,
    ranges,
    store::{DeviceRow, OUTBOX, OutboxRow, Reading},
    turn::{EngineError, Turn},
};

/// What is missing in a group. Times are steady ones.
#[derive(Default)]
pub(super) struct Missing {
    /// What this device lacks, by the tag of the device that has written it, as far as it was seen last: who makes gaps takes no place of others.
    of: BTreeMap<[u8; 8], Lack>,
    /// What the next receipt asks for.
    asked: Vec<MissingEvents>,
    /// When those that have asked for what they lack were answered.
    answered: BTreeMap<DeviceId, u64>,
    /// What is asked for, and waits until the log can be written to: whoever comes back reads of it before all is read.
    unanswered: BTreeMap<DeviceId, Vec<MissingEvents>>,
}

/// What is missing of one device.
struct Lack {
    ranges: Vec<MissingEvents>,
    /// When it is asked for next, if it is.
    due: u64,
    /// When it was asked for last.
    asked_at: u64,
    /// How often it was, here or by somebody who lacks the same.
    asks: u32,
}

impl Lack {
    /// This is missing now. What was not before is asked for after a while, too, but not sooner than something is asked for again.
    fn note(&mut self, now: u64, turn: u64, ranges: Vec<MissingEvents>) {
        let covers =
            |known: &MissingEvents, range: &MissingEvents| known.first <= range.first && range.last <= known.last;
        let is_new = ranges.iter().any(|range| !self.ranges.iter().any(|known| covers(known, range)));
        self.ranges = ranges;
        if !is_new || self.asks == 0 {
            return;
        }
        let due = (now + ASK_FOR_MISSING_MS + turn).max(self.asked_at + ASK_FOR_MISSING_AGAIN_MS);
        self.due = if self.asks < MAX_ASKS_FOR_MISSING { self.due.min(due) } else { due };
        self.asks = 1;
    }

    /// It is asked for.
    fn ask(&mut self, now: u64, turn: u64) {
        (self.asked_at, self.due) = (now, now + (ASK_FOR_MISSING_AGAIN_MS << self.asks) + turn);
        self.asks += 1;
    }

    fn due(&self) -> Option<u64> {
        Some(self.due).filter(|_| self.asks < MAX_ASKS_FOR_MISSING)
    }

    /// Whether somebody who asks for this asks for all of it, and for so little that it is brought.
    fn is_asked_by(&self, theirs: &[MissingEvents]) -> bool {
        let count =
            theirs.iter().map(|range| (range.last - range.first).saturating_add(1)).fold(0, u64::saturating_add);
        let has = |range: &MissingEvents| theirs.iter().any(|t| t.first <= range.first && range.last <= t.last);
        count <= APPEND_ENTRIES as u64 && self.ranges.iter().all(has)
    }
}

impl Missing {
    /// Notes what is lacking; members ask one after the other, `turn` says how long after the first this device does so for each author. Gives when
    /// to look again; what is to be asked for now is kept for the next receipt.
    fn note(&mut self, now: u64, turn: impl Fn(&[u8; 8]) -> u64, lacks: Vec<MissingEvents>) -> Option<u64> {
        let mut seen = BTreeMap::<[u8; 8], Vec<MissingEvents>>::new();
        for range in lacks {
            seen.entry(range.device).or_default().push(range);
        }
        self.of.retain(|device, _| seen.contains_key(device));
        for (device, ranges) in seen {
            let turn = turn(&device);
            match self.of.get_mut(&device) {
                Some(lack) => lack.note(now, turn, ranges),
                None => {
                    let due = now + ASK_FOR_MISSING_MS + turn;
                    self.of.insert(device, Lack { ranges, due, asked_at: 0, asks: 0 });
                }
            }
        }
        let mut due: Vec<(u64, [u8; 8])> = self
            .of
            .iter()
            .filter_map(|(device, lack)| Some((lack.due().filter(|due| *due <= now)?, *device)))
            .collect();
        due.sort_unstable();
        for (_, device) in due {
            let Some(lack) = self.of.get_mut(&device) else { continue };
            if self.asked.len() + lack.ranges.len() > MAX_MISSING {
                // Another receipt asks for it.
                lack.due = now + ASK_FOR_MISSING_MS;
                continue;
            }
            self.asked.extend(&lack.ranges);
            lack.ask(now, turn(&device));
        }
        self.of.values().filter_map(Lack::due).min()
    }

    /// Somebody asks for what it lacks. What this device was about to ask for is on its way, too, if that is all of it. It asks by itself in the end:
    /// who asked may not have been answered.
    fn note_asked(&mut self, now: u64, turn: impl Fn(&[u8; 8]) -> u64, missing: &[MissingEvents]) {
        for (device, lack) in &mut self.of {
            let theirs: Vec<MissingEvents> = missing.iter().filter(|range| range.device == *device).copied().collect();
            let is_soon =
                lack.due <= now + 2 * ASK_FOR_MISSING_MS && lack.asks + OWN_ASKS_FOR_MISSING < MAX_ASKS_FOR_MISSING;
            if is_soon && lack.is_asked_by(&theirs) {
                lack.ask(now, turn(device));
            }
        }
    }

    /// Whether a device that asks for what it lacks is answered now.
    fn may_answer(&mut self, now: u64, device: DeviceId) -> bool {
        self.answered.retain(|_, at| *at + ANSWER_MISSING_EVERY_MS > now);
        let may = self.answered.len() < MAX_MISSING_ANSWERS && !self.answered.contains_key(&device);
        if may {
            self.answered.insert(device, now);
        }
        may
    }
}

/// How long after the first that may a device asks for what it lacks of an author.
fn turn_of(me: &DeviceId, members: usize, author: &[u8; 8]) -> u64 {
    let place = u64::from(blake3::keyed_hash(me.as_bytes(), author).as_bytes()[0]);
    place % members.clamp(1, ASK_FOR_MISSING_TURNS) as u64 * APPEND_TURN_MS
}

/// What is missing of a device before events that are here.
fn gaps(row: &DeviceRow) -> impl Iterator<Item = (u64, u64)> {
    let mut ranges: Vec<[u64; 2]> = ranges::pairs(&row.early).collect();
    ranges.sort_unstable();
    let mut before = row.received;
    ranges.into_iter().filter_map(move |[first, last]| {
        let gap = (before.saturating_add(1), first.saturating_sub(1));
        before = before.max(last);
        (gap.0 <= gap.1).then_some(gap)
    })
}

impl super::Gossip {
    /// Whether the next receipt of a conversation asks for what is missing.
    pub(in crate::conversation) fn asks_for_missing(&self, chat: &ChatId) -> bool {
        self.missing.get(chat).is_some_and(|missing| !missing.asked.is_empty())
    }

    /// What it says to be missing. It is asked for with that.
    pub(in crate::conversation) fn take_missing(&mut self, chat: &ChatId) -> Vec<MissingEvents> {
        self.missing.get_mut(chat).map(|missing| std::mem::take(&mut missing.asked)).unwrap_or_default()
    }
}

impl Conversations {
    /// What of a group's devices is missing before what is here: of each the first of it.
    fn lacks(&self, chat: ChatId, group: &GroupEntry) -> Vec<MissingEvents> {
        let Some(state) = self.chats.get(&chat) else { return Vec::new() };
        let rows = state.roster.devices().filter(|row| !row.early.is_empty());
        let of_members = rows
            .filter_map(|row| Some((DeviceId::from_stored(&row.device).ok().filter(|d| group.has_member(d))?, row)));
        let missing = of_members.flat_map(|(device, row)| {
            let first = gaps(row).take(MAX_MISSING_OF_DEVICE);
            first.map(move |(first, last)| MissingEvents { device: device.tag(), first, last })
        });
        missing.collect()
    }

    /// Asks for what the log of a conversation does not have, if it was read to its end. Gives when to look again, in steady time.
    pub(super) fn ask_for_missing(&mut self, turn: &Turn<'_>, cx: &Context<'_>, chat: ChatId) -> Option<u64> {
        let id = self.gossiping(cx, chat).filter(|id| self.written_log(turn, cx, *id).is_some())?;
        let group = self.groups.get(&id)?;
        let lacks = self.lacks(chat, group);
        let is_known = self.gossip.missing.contains_key(&chat);
        if lacks.is_empty() && !is_known {
            return None;
        }
        let (me, members) = (cx.dir.account.device(), group.members.len());
        let missing = self.gossip.missing.entry(chat).or_default();
        let due = missing.note(turn.now(), |author| turn_of(&me, members, author), lacks);
        let asks = !missing.asked.is_empty();
        if asks
            && !self.has_revoked_member(cx.dir, chat, id)
            && let Some(state) = self.chats.get_mut(&chat)
        {
            state.receipt_due = Some(turn.now());
        }
        due
    }

    /// A device of a group lacks events that stand before others which it has.
    pub(crate) fn on_missing(
        &mut self,
        turn: &Turn<'_>,
        cx: &Context<'_>,
        (chat, from): (ChatId, DeviceId),
        missing: Vec<MissingEvents>,
    ) {
        let group = self.gossiping(cx, chat).and_then(|id| self.groups.get(&id));
        let Some(group) = group.filter(|group| group.has_member(&from)) else { return };
        let (me, members) = (cx.dir.account.device(), group.members.len());
        let known = self.gossip.missing.entry(chat).or_default();
        known.note_asked(turn.now(), |author| turn_of(&me, members, author), &missing);
        if known.unanswered.len() < MAX_MISSING_ANSWERS && known.may_answer(turn.now(), from) {
            known.unanswered.insert(from, missing);
            self.chats.touch(chat);
        }
    }

    /// Answers those that have asked for what they lack, if the log of the conversation can be written to.
    pub(super) fn answer_missing(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        if self.gossip.missing.get(&chat).is_none_or(|missing| missing.unanswered.is_empty()) {
            return Ok(());
        }
        let id = self.gossiping(cx, chat).filter(|id| self.written_log(turn, cx, *id).is_some());
        let Some(id) = id.filter(|id| !self.has_revoked_member(cx.dir, chat, *id)) else { return Ok(()) };
        let missing = self.gossip.missing.get_mut(&chat);
        let asked = missing.map(|missing| std::mem::take(&mut missing.unanswered)).unwrap_or_default();
        for (from, missing) in asked {
            if self.groups.get(&id).is_some_and(|group| group.has_member(&from)) {
                self.append_own_again(turn, cx, (chat, id), &missing)?;
                self.hold_recent(turn, (chat, id), &missing)?;
            }
        }
        Ok(())
    }

    /// From which epoch on what was encrypted may be encrypted again: the first one of the account that was let into a group last. None where our
    /// user may not write now, or waits between two messages: there it would be void for who lacks it, though others have it.
    fn written_again_since(&self, chat: ChatId, own: &AccountId) -> Option<u64> {
        let (policy, role) = (self.policies.policy(&chat)?, self.role_in(chat, own)?);
        let may_write = role <= policy.permissions().to_write(false) && self.policies.slow_ms(&chat, Some(role)) == 0;
        policy.members.iter().map(|member| member.since).max().filter(|_| may_write)
    }

    /// Appends messages of ours once more that the log had. What it has not got yet is appended anyway. What was written before somebody was let in
    /// who would read it now is not encrypted again, whoever asks: of what was before their time members see what the policy allows.
    fn append_own_again(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id): (ChatId, GroupId),
        missing: &[MissingEvents],
    ) -> Result<(), EngineError> {
        let this = cx.dir.account.device().tag();
        let Some((home, state)) = self.written_log(turn, cx, id).zip(self.chats.get(&chat)) else { return Ok(()) };
        let is_missing = |item: &&OutItem| {
            let has = |range: &MissingEvents| item.first <= range.last && range.first <= item.last;
            item.group == id && missing.iter().any(|range| range.device == this && has(range))
        };
        let logged = state.outbox.iter().take_while(|item| item.last <= state.row.logged_upto);
        let epoch = self.groups.get(&id).map_or(0, GroupEntry::epoch);
        let since = self.written_again_since(chat, &cx.dir.account.id());
        let is_for_all = |item: &&OutItem| item.epoch == epoch || since.is_some_and(|since| item.epoch >= since);
        let wanted = logged.filter(is_missing).filter(is_for_all);
        let items: Vec<(u64, u64)> = wanted.map(|item| (item.first, item.epoch)).collect();
        let (mut messages, mut size) = (Vec::<Bytes>::new(), 0);
        for (first, encrypted_in) in items.into_iter().take(APPEND_ENTRIES) {
            let row = match encrypted_in == epoch {
                true => turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, first))?,
                false => self.renew_item(turn, cx, chat, id, first)?,
            };
            let Some(row) = row else { continue };
            size += row.message.len();
            if size > APPEND_BYTES && !messages.is_empty() {
                break;
            }
            messages.push(row.message);
        }
        let Some(group) = self.groups.get(&id).filter(|_| !messages.is_empty()) else { return Ok(()) };
        let (keys, after) = (group.current_keys(), group.current_log().map_or(0, |log| log.cursor));
        if let Some(keys) = keys {
            let entries = messages.iter().map(|message| keys.seal_entry(message)).collect();
            let request = LogRequest { entries, after, ..LogRequest::default() };
            cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
        }
        Ok(())
    }

    /// Keeps what others have written until the log has it again: in its turn this device appends it.
    fn hold_recent(
        &mut self,
        turn: &Turn<'_>,
        (chat, id): (ChatId, GroupId),
        missing: &[MissingEvents],
    ) -> Result<(), EngineError> {
        let Some(group) = self.groups.get(&id) else { return Ok(()) };
        let (epoch, keys) = (group.epoch(), group.current_keys());
        let place = self.gossip.wanted.get(&chat).filter(|wanted| wanted.group == id && wanted.current.epoch == epoch);
        let Some((keys, topic)) = keys.zip(place.map(|wanted| wanted.current.topic())) else { return Ok(()) };
        let found = self.gossip.recent.with((&chat, id, epoch), missing).take(APPEND_ENTRIES);
        let found: Vec<(DeviceId, MessageHash, Bytes)> =
            found.map(|(device, message)| (device, short_hash(message), keys.seal_entry(message))).collect();
        for (device, hash, sealed) in found {
            let held = self.gossip.held.get(&chat);
            let is_held = held.is_some_and(|held| held.entries.contains_key(&hash));
            if !is_held && held.is_none_or(|held| held.has_room(device, sealed.len())) {
                self.keep_gossip(turn, (chat, hash), topic, device, (&sealed, std::collections::BTreeSet::new()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::DeviceKey;

    use super::*;

    #[test]
    fn what_stands_before_what_is_here_is_missing() {
        let row = DeviceRow { received: 3, early: vec![9, 9, 5, 6, 12, 20], ..DeviceRow::default() };
        assert_eq!(gaps(&row).collect::<Vec<_>>(), [(4, 4), (7, 8), (10, 11)]);
        let row = DeviceRow { received: 3, early: Vec::new(), ..DeviceRow::default() };
        assert_eq!(gaps(&row).count(), 0);
        let row = DeviceRow { received: u64::MAX, early: vec![1, u64::MAX], ..DeviceRow::default() };
        assert_eq!(gaps(&row).count(), 0);
    }

    fn range(author: u8, first: u64, last: u64) -> MissingEvents {
        MissingEvents { device: [author; 8], first, last }
    }

    #[test]
    fn what_is_missing_is_asked_for_after_a_while_and_more_and_more_seldom() {
        let (mut missing, turn) = (Missing::default(), |_: &[u8; 8]| 0);
        let mut now = 1_000;
        assert_eq!(missing.note(now, turn, vec![range(1, 4, 5)]), Some(now + ASK_FOR_MISSING_MS));
        assert!(missing.asked.is_empty(), "the log may be about to have it");
        let mut asked = 0;
        while let Some(due) = missing.note(now, turn, vec![range(1, 4, 5)]) {
            asked += u32::from(!std::mem::take(&mut missing.asked).is_empty());
            now = due;
        }
        // The last time nothing is left to wait for.
        asked += u32::from(!std::mem::take(&mut missing.asked).is_empty());
        assert_eq!(asked, MAX_ASKS_FOR_MISSING);
        assert_eq!(missing.note(now, turn, vec![range(1, 4, 5)]), None, "nobody has it");
        now += ASK_FOR_MISSING_AGAIN_MS;
        let more = vec![range(1, 4, 5), range(1, 8, 8)];
        assert_eq!(missing.note(now, turn, more), Some(now + ASK_FOR_MISSING_MS), "it is more");
        assert_eq!(missing.note(now, turn, Vec::new()), None);
    }

    #[test]
    fn who_makes_gaps_all_the_time_keeps_nobody_from_asking_and_is_asked_for_seldom() {
        let (mut missing, turn) = (Missing::default(), |_: &[u8; 8]| 0);
        let (mut honest, mut hostile) = (0, 0);
        for minute in 0..600 {
            // A new gap every minute, and one of somebody else that stays.
            let gap = 10 * (minute + 1);
            missing.note(minute * 60_000, turn, vec![range(1, 4, 5), range(2, gap, gap + 3)]);
            for asked in std::mem::take(&mut missing.asked) {
                if asked.device == [1; 8] { honest += 1 } else { hostile += 1 }
            }
        }
        assert_eq!(honest, 6, "after 1, 11, 31, 71, 151 and 311 minutes");
        assert!((50..=61).contains(&hostile), "{hostile} in ten hours");
    }

    #[test]
    fn what_somebody_else_has_asked_for_is_not_asked_for_by_all() {
        let mut missing = Missing::default();
        let turn = |_: &[u8; 8]| 20_000;
        let first = ASK_FOR_MISSING_MS + 20_000;
        assert_eq!(missing.note(0, turn, vec![range(1, 4, 5)]), Some(first));
        // Who asks for too much, or for something else, may not be brought this.
        missing.note_asked(ASK_FOR_MISSING_MS, turn, &[range(1, 1, u64::MAX), range(2, 4, 5)]);
        missing.note_asked(ASK_FOR_MISSING_MS, turn, &[range(1, 5, 9)]);
        assert_eq!(missing.note(ASK_FOR_MISSING_MS, turn, vec![range(1, 4, 5)]), Some(first));
        missing.note_asked(ASK_FOR_MISSING_MS, turn, &[range(1, 4, 6)]);
        let again = missing.note(first, turn, vec![range(1, 4, 5)]).unwrap();
        assert!(missing.asked.is_empty() && again > first + ASK_FOR_MISSING_AGAIN_MS / 2);
        // However often somebody does: in the end this device asks by itself.
        let (mut now, mut asked) = (again, 0);
        loop {
            missing.note_asked(now - 10_000, turn, &[range(1, 4, 5)]);
            let due = missing.note(now, turn, vec![range(1, 4, 5)]);
            asked += u32::from(!std::mem::take(&mut missing.asked).is_empty());
            let Some(due) = due else { break };
            now = due;
        }
        assert_eq!(asked, OWN_ASKS_FOR_MISSING);
    }

    #[test]
    fn nobody_has_the_log_filled_by_asking() {
        let device = |n: u8| DeviceKey::from_seed(&[n; 32]).id();
        let mut missing = Missing::default();
        assert!(missing.may_answer(0, device(1)) && !missing.may_answer(1, device(1)));
        let answered = (2..100).filter(|n| missing.may_answer(1, device(*n))).count();
        assert_eq!(answered, MAX_MISSING_ANSWERS - 1);
        assert!(missing.may_answer(ANSWER_MISSING_EVERY_MS, device(1)));
    }
}
