//! History for who comes into a group, where its policy allows that. One of the members that are there hands on the newest messages: whoever has let
//! the account in first, then those who have been there longest, one after the other until one has. They go through the group's log, in events that
//! are sealed to the devices that have come. What becomes of them there is in `events::handed`.

use std::collections::BTreeMap;

use prost::Message as _;
use rand::RngExt;
use starling_keys::{AccountId, DeviceId, StorageKey};
use starling_wire::{
    Body, Clock, EventId, HandedHistory, MAX_HANDED_DEVICES, Policy, SealedKey,
    history::{HandedPart, HistoryAuthor, HistoryRow},
};
use zeroize::Zeroizing;

use super::{
    PolicyEntry,
    limits::{
        HANDED_AGAIN_MS, HANDED_PART_BYTES, HANDED_TURN_MS, MAX_HANDED_BYTES, MAX_HANDED_PARTS, MAX_HANDED_ROW,
        MAX_HANDED_ROWS, MAX_HANDED_TRIES, MAX_NEWCOMERS,
    },
};
use crate::{
    api::types::{ChatId, DeliveryState, DurableEventKind, Via},
    contacts::Directory,
    conversation::{ChatState, Conversations, context::Context, group_state::Newcomer, send::state_of},
    events::{self, Summary, copied, handed},
    limits::MAX_HISTORY_WALK,
    roster::GroupMember,
    store::{EventLogRow, EventRow, HandedRow, NewcomerRow, Reading, StandingRow, StoreError, TIMELINE},
    turn::{EngineError, HandedPlace, Turn},
};

/// Bytes of an author in a part, and of what surrounds a message there.
const AUTHOR_BYTES: usize = 48;
const ROW_BYTES: usize = 4;

/// Whether a policy has who comes see what was written before.
fn shows_history(policy: &Policy) -> bool {
    policy.rules.as_ref().is_some_and(|rules| rules.history)
}

/// A device that history is sealed for.
struct Reader {
    tag: [u8; 8],
    seal_key: Vec<u8>,
}

impl NewcomerRow {
    fn device(&self) -> Option<DeviceId> {
        DeviceId::from_bytes(&self.device).ok()
    }

    /// The key that it opens what is sealed for it with, if that is known.
    fn reader(&self, dir: Directory<'_>) -> Option<Reader> {
        let (account, device) = (AccountId::from_bytes(&self.account).ok()?, self.device()?);
        let seal_key = dir.list_of(&account)?.device(&device)?.seal_key.clone();
        Some(Reader { tag: device.tag(), seal_key }).filter(|reader| !reader.seal_key.is_empty())
    }
}

impl PolicyEntry {
    /// A group is in another epoch. Who was let in before the policy had newcomers see the history does not see it, also if their devices come later.
    pub(super) fn note_history(&mut self, now: &Policy, epoch: u64, entered: bool) {
        let was_shown = self.policy.as_ref().is_some_and(shows_history);
        // Where this device enters it does not know since when that is so.
        let since = self.row.history_since.filter(|_| was_shown && !entered);
        self.row.history_since = shows_history(now).then(|| since.unwrap_or(epoch));
        if !shows_history(now) {
            self.row.newcomers.clear();
            self.due.history_at = None;
        }
    }

    /// This device has come into the group.
    pub(super) fn begin_to_take_history(&mut self) {
        let is_shown = self.policy.as_ref().is_some_and(shows_history);
        self.row.handed = is_shown.then(HandedRow::default);
        self.row.newcomers.clear();
        self.dirty = true;
    }

    /// This device is not in the group any more.
    pub(super) fn end_history(&mut self) {
        (self.row.handed, self.due.history_at, self.dirty) = (None, None, true);
        self.row.newcomers.clear();
    }

    /// Whether a device is still to be handed the history, in a group with these devices.
    fn is_owed(&self, newcomer: &NewcomerRow, members: &[GroupMember]) -> bool {
        let member = self.policy.iter().flat_map(|policy| &policy.members);
        let let_in = member.filter(|member| member.account[..] == newcomer.account[..]).map(|member| member.since);
        let is_there = members.iter().any(|member| member.device.as_bytes()[..] == newcomer.device[..]);
        let mut since = let_in.filter(|_| is_there);
        since.next().zip(self.row.history_since).is_some_and(|(came, shown)| came >= shown)
    }

    /// Somebody has handed the history to devices.
    fn note_handed(&mut self, history: &HandedHistory) {
        let before = self.row.newcomers.len();
        let is_for = |row: &NewcomerRow| row.device().is_none_or(|device| history.is_for(&device.tag()));
        self.row.newcomers.retain(|row| !is_for(row));
        self.dirty |= self.row.newcomers.len() != before;
        // Who comes next waits as long as these would have.
        self.due.history_at = self.due.history_at.filter(|_| !self.row.newcomers.is_empty());
    }
}

impl Conversations {
    /// A device has come into a group.
    pub(in crate::conversation) fn note_newcomer(&mut self, chat: ChatId, newcomer: &Newcomer) {
        let upto = self.chats.get(&chat).map_or(0, |state| state.row.newest);
        let is_shown = self.policies.policy(&chat).is_some_and(shows_history);
        // Who comes again has what was there before.
        if newcomer.again || !is_shown {
            return;
        }
        let Some(entry) = self.policies.of.get_mut(&chat) else { return };
        let (device, account) = (newcomer.device.as_bytes().to_vec(), newcomer.account.as_bytes().to_vec());
        entry.row.newcomers.retain(|row| row.device != device);
        if entry.row.newcomers.len() < MAX_NEWCOMERS {
            entry.row.newcomers.push(NewcomerRow { device, account, upto, tries: 0 });
            entry.dirty = true;
        }
    }

    /// Hands the history to those who have come, if it is this device's turn.
    pub(super) fn hand_history_if_due(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let Some(entry) = self.policies.of.get(&chat) else { return Ok(()) };
        if entry.row.newcomers.is_empty() || entry.standing() != StandingRow::Member {
            return Ok(());
        }
        let history_at = entry.due.history_at;
        match history_at {
            Some(at) if at > turn.now() => Ok(()),
            Some(_) => self.hand_history(turn, cx, chat),
            None => {
                let after = self.history_turn(cx.dir, chat);
                if let Some(entry) = self.policies.of.get_mut(&chat) {
                    entry.due.history_at = after.map(|after| turn.now() + after);
                }
                Ok(())
            }
        }
    }

    /// After how many milliseconds this device hands the history on, if nobody has by then: first those of the account that has let the newcomer in,
    /// as it is there in most cases; then those who have been there longest, as they have most of it.
    fn history_turn(&self, dir: Directory<'_>, chat: ChatId) -> Option<u64> {
        let entry = self.policies.of.get(&chat)?;
        let policy = entry.policy.as_ref()?;
        let group = self.active_group(dir, chat).and_then(|id| self.groups.get(&id))?;
        let account = AccountId::from_bytes(&entry.row.newcomers.first()?.account).ok()?;
        let let_in_by = policy.member(account.as_bytes()).map(|member| member.by);
        let place = |account: &AccountId, device: DeviceId| {
            let since = policy.member(account.as_bytes()).map_or(u64::MAX, |member| member.since);
            (let_in_by != Some(*account.as_bytes()), since, device)
        };
        let own = place(&dir.account.id(), dir.account.device());
        let before = group.members.iter().filter(|member| place(&member.account, member.device) < own).count();
        Some(entry.introduce_after_ms() + HANDED_TURN_MS * before as u64)
    }

    fn hand_history(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) -> Result<(), EngineError> {
        let Some(id) = self.active_group(cx.dir, chat) else { return Ok(()) };
        let is_readable = self.readable(turn, cx, id).is_some();
        let again = turn.now() + HANDED_AGAIN_MS;
        let Some((group, entry)) = self.groups.get(&id).zip(self.policies.of.get_mut(&chat)) else { return Ok(()) };
        // What stands in the log that was not read yet may be just that.
        if !is_readable {
            entry.due.history_at = Some(again);
            return Ok(());
        }
        let (mut readers, mut waiting, mut upto) = (Vec::new(), Vec::new(), 0);
        for mut newcomer in std::mem::take(&mut entry.row.newcomers) {
            if !entry.is_owed(&newcomer, &group.members) {
                continue;
            }
            match newcomer.reader(cx.dir).filter(|_| readers.len() < MAX_HANDED_DEVICES) {
                Some(reader) => {
                    upto = newcomer.upto.max(upto);
                    readers.push(reader);
                }
                None if readers.len() >= MAX_HANDED_DEVICES => waiting.push(newcomer),
                None => {
                    newcomer.tries += 1;
                    waiting.extend(Some(newcomer).filter(|newcomer| newcomer.tries < MAX_HANDED_TRIES));
                }
            }
        }
        entry.due.history_at = Some(again).filter(|_| !waiting.is_empty());
        (entry.row.newcomers, entry.dirty) = (waiting, true);
        if readers.is_empty() {
            return Ok(());
        }
        let parts = self.handed_parts(turn, chat, Clock(upto))?;
        self.seal_history(turn, cx, chat, (&readers, &parts));
        Ok(())
    }

    /// Sends parts of a history, if there are any, sealed for these devices: each with the same key.
    fn seal_history(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        (readers, parts): (&[Reader], &[HandedPart]),
    ) {
        if parts.is_empty() {
            return;
        }
        let context = HandedHistory::context(&chat.0, &cx.dir.account.device().tag());
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(turn.rng().random());
        let for_reader = |reader: &Reader| {
            let sealed = cx.mls.seal_to(&reader.seal_key, &context, &key[..]).ok()?;
            Some(SealedKey { device: reader.tag, sealed: sealed.into() })
        };
        let keys: Vec<SealedKey> = readers.iter().filter_map(for_reader).collect();
        if keys.is_empty() {
            return;
        }
        let key = StorageKey::from_bytes(*key);
        for part in parts {
            let sealed = key.seal(&context, &part.to_bytes()).into();
            let history = HandedHistory { sealed, keys: keys.clone() };
            self.chats.announce(turn, cx, chat, Body::HandedHistory(history));
        }
    }

    /// The newest messages up to a clock, in parts.
    fn handed_parts(&self, turn: &Turn<'_>, chat: ChatId, upto: Clock) -> Result<Vec<HandedPart>, EngineError> {
        let Some(state) = self.chats.get(&chat) else { return Ok(Vec::new()) };
        let lifetime = self.policies.policy(&chat).and_then(|policy| policy.rules.as_ref()).map(|rules| rules.lifetime);
        let lifetime_ms = lifetime.filter(|seconds| *seconds > 0).map(|seconds| u64::from(seconds) * 1_000);
        let oldest_ms = lifetime_ms.map_or(0, |ms| turn.agreed_ms().saturating_sub(ms));
        let range = events::key(chat, EventId::default())..=events::key(chat, events::last_with(upto));
        let (mut parts, mut walked) = (Parts::default(), 0);
        turn.visit(TIMELINE, range, true, &mut |key, sealed| {
            walked += 1;
            let Some(id) = key.get(16..).and_then(EventId::from_bytes) else { return Ok(true) };
            if id.clock.ms() < oldest_ms {
                return Ok(false);
            }
            let row: EventRow = turn.decode(TIMELINE, key, sealed)?;
            let is_full = match self.handed_author(state, id, &row) {
                Some(account) => !parts.add(id, account, copied::to_wire(id, row)),
                None => false,
            };
            Ok(!is_full && walked < MAX_HISTORY_WALK)
        })?;
        Ok(parts.parts)
    }

    /// The author of a row, if it is handed on: this device has it from its author, and others have it, too.
    fn handed_author(&self, state: &ChatState, id: EventId, row: &EventRow) -> Option<AccountId> {
        let via = Via::from_stored(row.via);
        // What was handed to this device nobody has checked; and whether what came by gossip counts the log says.
        if row.deleted || row.undone || matches!(via, Via::Handed | Via::Gossip) {
            return None;
        }
        let is_ours = via == Via::Own && self.authors.is_own(row.author);
        let state = is_ours.then(|| state_of(&state.row, state.roster.progress(), id));
        if matches!(state, Some(DeliveryState::Queued | DeliveryState::Failed)) {
            return None;
        }
        let is_message = matches!(events::summary(row), Some(Summary::Message(_)));
        self.authors.account(row.author).filter(|_| is_message)
    }

    /// A member has handed a part of the history to devices that have come.
    pub(crate) fn on_handed_history(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        from: &HandedPlace,
        history: &HandedHistory,
    ) -> Result<(), EngineError> {
        let chat = from.chat;
        let Some(entry) = self.policies.of.get_mut(&chat) else { return Ok(()) };
        entry.note_handed(history);
        if !history.is_for(&cx.dir.account.device().tag()) {
            return Ok(());
        }
        let has_room =
            |taken: &HandedRow| (taken.parts as usize) < MAX_HANDED_PARTS && (taken.rows as usize) < MAX_HANDED_ROWS;
        let is_shown = entry.policy.as_ref().is_some_and(shows_history);
        let Some(taken) = entry.row.handed.filter(|taken| is_shown && has_room(taken)) else {
            tracing::debug!("history that this device does not take was handed on");
            return Ok(());
        };
        let Some(part) = open(cx, from, history) else { return Ok(()) };
        let room = MAX_HANDED_ROWS.saturating_sub(taken.rows as usize);
        let offered = part.rows.len().min(room);
        let mut rows = Vec::new();
        for row in &part.rows[..offered] {
            rows.extend(self.handed_row(turn, cx.dir, from, (&part.authors, row))?);
        }
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            let rows = taken.rows.saturating_add(u32::try_from(offered).unwrap_or(u32::MAX));
            (entry.row.handed, entry.dirty) = (Some(HandedRow { parts: taken.parts + 1, rows }), true);
        }
        self.take_handed(turn, cx.dir, from, rows)
    }

    /// Takes rows that were handed on, and says so to who follows the group.
    fn take_handed(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        from: &HandedPlace,
        rows: Vec<(EventId, AccountId, EventRow)>,
    ) -> Result<(), EngineError> {
        let taken = self.with_fold(turn, dir, from.chat, |fold| {
            let mut new = 0;
            for (id, author, row) in rows {
                new += u32::from(handed::take(fold, from, (id, &author), row)?);
            }
            Ok::<u32, StoreError>(new)
        });
        let Some((new, facts)) = taken else { return Ok(()) };
        turn.facts(facts);
        self.chats.write_draft(turn, from.chat)?;
        let new = new?;
        if new == 0 {
            return Ok(());
        }
        turn.durable_event(EventLogRow {
            kind: DurableEventKind::GroupHistory.stored(),
            chat: from.chat.0.to_vec(),
            account: from.account.as_bytes().to_vec(),
            text: new.to_string(),
            ..EventLogRow::default()
        })
    }

    /// A row of a part as it is stored here, with its author; `None` if it is none that is taken.
    fn handed_row(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        from: &HandedPlace,
        (authors, row): (&[HistoryAuthor], &HistoryRow),
    ) -> Result<Option<(EventId, AccountId, EventRow)>, EngineError> {
        let Some(author) = authors.get(row.author as usize) else { return Ok(None) };
        let (Some(id), Ok(account)) = (EventId::from_bytes(&row.id), AccountId::from_bytes(&author.account)) else {
            return Ok(None);
        };
        let stored = copied::from_wire(row);
        let is_message = matches!(events::summary(&stored), Some(Summary::Message(_))) && !stored.deleted;
        // What our account has said it is not told by others.
        let is_own = account == dir.account.id() || id.device == dir.account.device().tag();
        if is_own || !is_message || author.tag[..] != id.device[..] || id.clock >= from.event.clock {
            return Ok(None);
        }
        let number = self.authors.author_with_tag(turn, dir, account, id.device)?;
        Ok(Some((id, account, EventRow { author: number, ..stored })))
    }
}

/// Opens a part, if it is for this device.
fn open(cx: &Context<'_>, from: &HandedPlace, history: &HandedHistory) -> Option<HandedPart> {
    let context = HandedHistory::context(&from.chat.0, &from.event.device);
    let tag = cx.dir.account.device().tag();
    let identity = &cx.dir.account.identity;
    let sealed = &history.keys.iter().find(|key| key.device == tag)?.sealed;
    let opened = cx.mls.open_sealed(&identity.row.seal_secret, &identity.seal_public, &context, sealed).ok()?;
    let key: [u8; 32] = opened.as_slice().try_into().ok()?;
    let plain = StorageKey::from_bytes(key).open(&context, &history.sealed).ok()?;
    HandedPart::from_bytes(&plain).ok()
}

/// Parts of a history that are being made.
#[derive(Default)]
struct Parts {
    parts: Vec<HandedPart>,
    /// The place of each author in the last part.
    places: BTreeMap<(AccountId, [u8; 8]), u32>,
    rows: usize,
    bytes: usize,
    /// Bytes of the last part.
    last: usize,
}

impl Parts {
    /// Adds a message; `false` if there is no room for it. One that is too long for any part is left out.
    fn add(&mut self, id: EventId, account: AccountId, row: HistoryRow) -> bool {
        let size = row.encoded_len() + ROW_BYTES;
        if size > MAX_HANDED_ROW {
            return true;
        }
        if self.rows >= MAX_HANDED_ROWS || self.bytes + size > MAX_HANDED_BYTES {
            return false;
        }
        if self.parts.is_empty() || self.last + size + AUTHOR_BYTES > HANDED_PART_BYTES {
            if self.parts.len() >= MAX_HANDED_PARTS {
                return false;
            }
            self.parts.push(HandedPart::default());
            self.places.clear();
            self.last = 0;
        }
        let Some(part) = self.parts.last_mut() else { return false };
        let author = *self.places.entry((account, id.device)).or_insert_with(|| {
            let author = HistoryAuthor {
                account: account.as_bytes().to_vec().into(),
                tag: id.device.to_vec().into(),
                label: None,
            };
            part.authors.push(author);
            self.last += AUTHOR_BYTES;
            u32::try_from(part.authors.len() - 1).unwrap_or(u32::MAX)
        });
        part.rows.push(HistoryRow { author, ..row });
        (self.rows, self.bytes, self.last) = (self.rows + 1, self.bytes + size, self.last + size);
        true
    }
}
