//! Events of a group that its log does not have, or does not show to this device: each device numbers its events, so what is missing before others
//! is seen. After a while it is asked for, in the log. Who has written it brings it there again, under the same ids; and what others have of it, as
//! it was encrypted, any member appends, as what was passed on and is not in the log. So who has written it is always shown by its encryption.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{LogVerb, MAX_MISSING, MissingEvents, rendezvous::LogRequest};

use super::MessageHash;
use crate::{
    api::types::ChatId,
    conversation::{
        Conversations, GroupEntry,
        context::Context,
        group::GroupId,
        outbox::{OutItem, outbox_key},
        receive::short_hash,
    },
    home::Pending,
    limits::{
        ANSWER_MISSING_EVERY_MS, APPEND_BYTES, APPEND_ENTRIES, ASK_FOR_MISSING_AGAIN_MS, ASK_FOR_MISSING_MS,
        MAX_ASKS_FOR_MISSING, MAX_MISSING_ANSWERS,
    },
    ranges,
    store::{DeviceRow, OUTBOX, OutboxRow, Reading},
    turn::{EngineError, Turn},
};

/// What is missing in a group. Times are steady ones.
#[derive(Default)]
pub(super) struct Missing {
    /// What this device lacks, as far as it was seen last.
    lacks: Vec<MissingEvents>,
    /// When it is asked for.
    due: u64,
    /// How often it was.
    asks: u32,
    /// The next receipt asks for it.
    asked: bool,
    /// When those that have asked for what they lack were answered.
    answered: BTreeMap<DeviceId, u64>,
}

impl Missing {
    /// Notes what is lacking. Gives when to look again; `asked` is set if it is to be asked for now.
    fn note(&mut self, now: u64, lacks: Vec<MissingEvents>) -> Option<u64> {
        let is_new = lacks.iter().any(|range| !self.lacks.contains(range));
        self.lacks = lacks;
        if self.lacks.is_empty() {
            (self.asks, self.asked) = (0, false);
            return None;
        }
        if is_new {
            (self.asks, self.due) = (0, now + ASK_FOR_MISSING_MS);
        }
        if self.asks >= MAX_ASKS_FOR_MISSING {
            return None;
        }
        if self.due <= now {
            (self.asked, self.due) = (true, now + (ASK_FOR_MISSING_AGAIN_MS << self.asks));
            self.asks += 1;
        }
        Some(self.due)
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
    /// What the next receipt of a conversation says to be missing.
    pub(in crate::conversation) fn take_missing(&mut self, chat: &ChatId) -> Vec<MissingEvents> {
        let Some(missing) = self.missing.get_mut(chat) else { return Vec::new() };
        if std::mem::take(&mut missing.asked) { missing.lacks.clone() } else { Vec::new() }
    }
}

impl Conversations {
    /// What of a group's devices is missing before what is here.
    fn lacks(&self, chat: ChatId, group: &GroupEntry) -> Vec<MissingEvents> {
        let Some(state) = self.chats.get(&chat) else { return Vec::new() };
        let rows = state.roster.devices().filter(|row| !row.early.is_empty());
        let of_members = rows
            .filter_map(|row| Some((DeviceId::from_stored(&row.device).ok().filter(|d| group.has_member(d))?, row)));
        let missing = of_members.flat_map(|(device, row)| {
            gaps(row).map(move |(first, last)| MissingEvents { device: device.tag(), first, last })
        });
        missing.take(MAX_MISSING).collect()
    }

    /// Asks for what the log of a conversation does not have, if it was read to its end. Gives when to look again, in steady time.
    pub(super) fn ask_for_missing(&mut self, turn: &Turn<'_>, cx: &Context<'_>, chat: ChatId) -> Option<u64> {
        let id = self.gossiping(cx, chat).filter(|id| self.written_log(turn, cx, *id).is_some())?;
        let lacks = self.lacks(chat, self.groups.get(&id)?);
        if lacks.is_empty() && !self.gossip.missing.contains_key(&chat) {
            return None;
        }
        let missing = self.gossip.missing.entry(chat).or_default();
        let due = missing.note(turn.now(), lacks);
        if missing.asked
            && let Some(state) = self.chats.get_mut(&chat)
        {
            state.receipt_due = Some(turn.now());
        }
        due
    }

    /// A device of a group lacks events that stand before others which it has.
    pub(crate) fn on_missing(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, from): (ChatId, DeviceId),
        missing: &[MissingEvents],
    ) -> Result<(), EngineError> {
        let id = self.gossiping(cx, chat).filter(|id| !self.has_revoked_member(cx.dir, chat, *id));
        let Some(id) = id.filter(|id| self.groups.get(id).is_some_and(|group| group.has_member(&from))) else {
            return Ok(());
        };
        if !self.gossip.missing.entry(chat).or_default().may_answer(turn.now(), from) {
            return Ok(());
        }
        self.append_own_again(turn, cx, (chat, id), missing)?;
        self.hold_recent(turn, (chat, id), missing)
    }

    /// The first epoch of the account that was let into a group last.
    fn newest_member_since(&self, chat: &ChatId) -> u64 {
        let members = self.policies.policy(chat).into_iter().flat_map(|policy| &policy.members);
        members.map(|member| member.since).max().unwrap_or_default()
    }

    /// Appends messages of ours once more that the log had. What it has not got yet is appended anyway. What was written before somebody was let in who
    /// would read it now is not encrypted again, whoever asks: of what was before their time members see what the policy allows.
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
        let (epoch, since) = (self.groups.get(&id).map_or(0, GroupEntry::epoch), self.newest_member_since(&chat));
        let is_for_all = |item: &&OutItem| item.epoch == epoch || item.epoch >= since;
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

    #[test]
    fn what_is_missing_is_asked_for_after_a_while_and_more_and_more_seldom() {
        let range = |first, last| MissingEvents { device: [1; 8], first, last };
        let mut missing = Missing::default();
        let mut now = 1_000;
        assert_eq!(missing.note(now, vec![range(4, 5)]), Some(now + ASK_FOR_MISSING_MS));
        assert!(!missing.asked, "the log may be about to have it");
        let mut asked = 0;
        while let Some(due) = missing.note(now, vec![range(4, 5)]) {
            asked += u32::from(std::mem::take(&mut missing.asked));
            now = due;
        }
        assert_eq!(asked, MAX_ASKS_FOR_MISSING);
        assert_eq!(missing.note(now, vec![range(4, 5)]), None, "nobody has it");
        assert_eq!(missing.note(now, vec![range(4, 5), range(8, 8)]), Some(now + ASK_FOR_MISSING_MS), "it is more");
        assert_eq!(missing.note(now, Vec::new()), None);
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
