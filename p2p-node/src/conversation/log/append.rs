//! Appending to logs: the entries of the outbox that nobody has taken from a stream.

use bytes::Bytes;
use starling_wire::{
    LogVerb,
    rendezvous::{Behind, LogRequest},
};

use super::limits::{APPEND_BYTES, APPEND_ENTRIES, LOG_AFTER_MS};
use crate::{
    api::types::{ChatId, DeliveryState},
    conversation::{
        ChatState, Chats, Conversations,
        context::Context,
        group::{GroupEntry, GroupId, LogKeys},
        group_state::{commit_of, is_in_parts},
        outbox::{OutItem, outbox_key},
    },
    home::{Appended, LogPending, LogPlace},
    limits::RETRY_REFUSED_MS,
    store::{OUTBOX, OutboxRow, Reading},
    turn::{EngineError, Turn},
};

/// What goes into one append.
#[derive(Default)]
struct Waiting {
    entries: Vec<Bytes>,
    /// The first and the last event of each entry.
    items: Vec<(u64, u64)>,
}

impl Conversations {
    pub(super) fn events_appended(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        appended: &Appended,
    ) -> Result<(), EngineError> {
        let LogPlace { chat, group, address, .. } = appended.place;
        if !self.groups.logs.contains_key(&address) {
            // It was left for the log of another epoch, where they have to go, too.
            return Ok(());
        }
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        let mut upto = 0;
        for (first, end) in &appended.items {
            let item = state.outbox.binary_search_by_key(first, |i| i.first).ok().and_then(|at| state.outbox.get(at));
            // Encrypted again for another group meanwhile: it has to go to that group's log.
            if item.is_some_and(|i| i.group != group || i.epoch > appended.epoch) {
                break;
            }
            upto = *end;
        }
        state.row.logged_upto = state.row.logged_upto.max(upto);
        state.dirty = true;
        if state.is_group() {
            // Who has come since begins after what stands in the log of an earlier epoch.
            state.roster.begin_after(appended.epoch, upto);
        }
        self.show_sent(turn, cx, chat)
    }

    /// A message of ours stands in a group's log. If this device has not had the answer to its append yet, or another member has appended it, it is
    /// in the log all the same.
    pub(super) fn own_logged(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        (place, epoch): (LogPlace, u64),
        message: &[u8],
    ) -> Result<(), EngineError> {
        let (chat, group) = (place.chat, place.group);
        let Some(state) = self.chats.get(&chat).filter(|state| state.is_group()) else { return Ok(()) };
        let next = state.outbox.get(state.outbox.partition_point(|item| item.last <= state.row.logged_upto));
        let Some(item) = next.filter(|item| item.group == group && item.epoch == epoch) else { return Ok(()) };
        let items = vec![(item.first, item.last)];
        let row = turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, item.first))?;
        if row.is_none_or(|row| row.message[..] != *message) {
            return Ok(());
        }
        self.events_appended(turn, cx, &Appended::events(place, epoch, items))
    }

    /// A server has taken a welcome into a group.
    pub(crate) fn welcome_sent(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        let chat = self.groups.get(&id).and_then(|entry| entry.chat());
        chat.map_or(Ok(()), |chat| self.show_sent(turn, cx, chat))
    }

    /// What is in a log counts as sent once others can read it there: not before the welcome into a direct conversation's group has left. In
    /// other groups nobody waits for a welcome.
    fn show_sent(&mut self, turn: &mut Turn<'_>, cx: &Context<'_>, chat: ChatId) -> Result<(), EngineError> {
        let me = cx.dir.account.id();
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
        let (before, logged, of_group) = (state.row.sent_upto, state.row.logged_upto, state.is_group());
        let from = state.outbox.partition_point(|i| i.last <= before);
        let in_logs = state.outbox.iter().skip(from).take_while(|i| i.first <= logged);
        let readable: Vec<&OutItem> =
            in_logs.take_while(|i| of_group || !cx.homes.has_pending_welcome(me, &i.group)).collect();
        let Some(upto) = readable.last().map(|i| i.last.min(logged)) else { return Ok(()) };
        let ids = readable.iter().flat_map(|i| i.ids_between(before, upto)).collect();
        state.row.sent_upto = before.max(upto);
        state.dirty = true;
        turn.state_event(chat, ids, DeliveryState::Sent)
    }
}

impl Chats {
    /// An append came to nothing: what it told has to be told again, at this steady time.
    pub(crate) fn append_failed(&mut self, appended: &Appended, due: u64) {
        if appended.items.is_empty()
            && let Some(state) = self.states.get_mut(&appended.place.chat)
        {
            state.receipt_due = Some(state.receipt_due.map_or(due, |d| d.min(due)));
        }
    }
}

impl Conversations {
    /// Appends what is due to the logs whose homes are up.
    pub(crate) fn pump_logs(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for id in self.groups.touched() {
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.forget_parents(turn)?;
            }
            self.make_log_room(turn, cx, id);
            self.announce_fork(turn, cx, id)?;
            self.leave_beacons(turn, cx, id)?;
            self.write_door(turn, cx, id)?;
            // Who was added finds the tree in the door.
            self.leave_welcomes(turn, cx, id)?;
            self.write_cards(turn, cx, id)?;
            self.read_boxes(turn, cx, id);
            self.end_wait(turn, cx, id);
            self.follow_waiting(turn, cx, id)?;
            self.look_at_leaves(turn, cx, id)?;
            self.maybe_change(turn, cx, id)?;
            self.maybe_update(turn, cx, id)?;
        }
        for chat in self.touched_chats(cx.dir) {
            self.pump_log(turn, cx, chat)?;
            self.pump_receipt(turn, cx, chat)?;
            self.look_for_stranded(turn, cx, chat);
        }
        for id in self.groups.touched() {
            if !self.groups.get(&id).is_some_and(|g| g.append.committing && g.has_pending) {
                continue;
            }
            let Some(home) = self.usable(turn, cx, id) else { continue };
            self.append_commit(turn, cx, home, id)?;
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.append.committing = false;
                // Not again until the answer is there.
                entry.read.caught_up = false;
            }
        }
        Ok(())
    }

    /// From when on the first entry that no log has should be in one.
    pub(super) fn entry_due(&self, cx: &Context<'_>, chat: &ChatState) -> Option<(GroupId, u64)> {
        if chat.row.outdated {
            return None;
        }
        let item = chat.outbox.get(chat.outbox.partition_point(|i| i.last <= chat.row.logged_upto))?;
        let entry = self.groups.get(&item.group)?;
        if self.chats.roster_diff(&self.policies, cx.dir, &chat.roster, entry).0 {
            // It waits for a group that a device which was given up cannot read.
            return None;
        }
        if chat.is_group() {
            // One copy for all: nothing goes out on streams.
            return Some((item.group, item.ready_ms));
        }
        let me = cx.dir.account.device();
        let all_linked = entry.members.iter().map(|m| m.device).filter(|d| *d != me).all(|d| cx.links.is_connected(&d));
        let waits = all_linked && item.ready_ms > chat.hastened_ms;
        let due = if waits { item.ready_ms + LOG_AFTER_MS } else { item.ready_ms };
        Some((item.group, due))
    }

    /// When the outbox of a chat needs a turn by itself.
    pub(crate) fn log_due(&self, cx: &Context<'_>, chat: &ChatState) -> Option<u64> {
        let (group, due) = self.entry_due(cx, chat)?;
        let entry = self.groups.get(&group)?;
        let home = self.groups.home_of(group)?;
        // Without a home, or while an append is under way, something else wakes us.
        cx.homes.servers.get(&home)?.hello.as_ref()?;
        if !entry.takes_appends() || entry.row.dead || !self.is_linked_group(cx.dir, group) {
            return None;
        }
        Some(due.max(entry.append.retry_at))
    }

    pub(super) fn pump_log(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let Some((group, due)) = self.chats.get(&chat).and_then(|state| self.entry_due(cx, state)) else {
            return Ok(());
        };
        if due > turn.now() {
            return Ok(());
        }
        let Some(home) = self.usable(turn, cx, group) else {
            return Ok(());
        };
        let Some(entry) = self.groups.get(&group).filter(|entry| entry.takes_appends()) else {
            return Ok(());
        };
        let (epoch, after) = (entry.epoch(), entry.current_log().map_or(0, |log| log.cursor));
        let Some((keys, place)) = entry.current_keys().zip(self.groups.log_place(group, epoch)) else {
            return Ok(());
        };
        let Waiting { entries, items } = self.next_entries(turn, cx, (chat, group), &keys)?;
        if entries.is_empty() {
            return Ok(());
        }
        let request = LogRequest { entries, after, ..LogRequest::default() };
        let pending = LogPending::Append(Appended::events(place, epoch, items));
        if cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, pending)
            && let Some(entry) = self.groups.get_mut(&group)
        {
            entry.append.under_way = true;
        }
        Ok(())
    }

    /// What waits in an outbox for the current log of a group, sealed, as much as goes into one append.
    fn next_entries(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, group): (ChatId, GroupId),
        keys: &LogKeys,
    ) -> Result<Waiting, EngineError> {
        let (mut entries, mut items, mut size) = (Vec::new(), Vec::new(), 0);
        let Some((state, entry)) = self.chats.get(&chat).zip(self.groups.get(&group)) else {
            return Ok(Waiting::default());
        };
        let (logged, most, epoch) = (state.row.logged_upto, entry.append.most, entry.epoch());
        let from = state.outbox.partition_point(|i| i.last <= logged);
        let waiting = state.outbox.iter().skip(from).filter(|i| i.group == group).take(most);
        let waiting: Vec<OutItem> = waiting.cloned().collect();
        for item in waiting {
            if size + 2 * item.len > APPEND_BYTES && !entries.is_empty() {
                break;
            }
            // What is in a log was encrypted in its epoch, also where it was written in an earlier one.
            let row = match item.epoch < epoch {
                true => self.renew_item(turn, cx, chat, group, item.first)?,
                false => turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, item.first))?,
            };
            let Some(row) = row else { continue };
            let sealed = keys.seal_entry(&row.message);
            size += sealed.len();
            entries.push(sealed);
            items.push((item.first, item.last));
        }
        Ok(Waiting { entries, items })
    }

    /// A log has taken entries behind commits that we had not read: if one of them counts, they come again in the next epoch.
    pub(crate) fn on_appended_behind(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        appended: &Appended,
        behind: &Behind,
    ) -> Result<(), EngineError> {
        let LogPlace { group: id, .. } = appended.place;
        let may_have_parts = self.may_have_parts(id);
        let Some(group) = self.open(turn, cx.mls, id)? else { return Ok(()) };
        let keys = group.entry.keys_of(appended.epoch);
        let counts = |sealed: &[u8]| {
            let content = keys.as_ref().and_then(|keys| keys.open_entry(sealed))?;
            // What is in parts may count: that is known once they were read.
            Some((may_have_parts && is_in_parts(&content)) || group.would_count(&commit_of(content)?))
        };
        let passed = group.entry.epoch() != appended.epoch;
        if !passed && !behind.more && !behind.candidates.iter().any(|c| counts(&c.sealed) == Some(true)) {
            return self.on_appended(turn, cx, appended, behind.last);
        }
        (group.entry.append.under_way, group.entry.append.behind) = (false, !passed);
        self.logged.note_appended(turn, appended, behind.last)?;
        self.chats.append_failed(appended, turn.now() + RETRY_REFUSED_MS);
        if !passed {
            // A server that keeps from the log what it hands out is not asked in a loop.
            self.log_stopped(turn, cx, id, None);
        }
        Ok(())
    }

    /// A log has taken entries.
    pub(crate) fn on_appended(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        appended: &Appended,
        last: u64,
    ) -> Result<(), EngineError> {
        self.logged.note_appended(turn, appended, last)?;
        let LogPlace { chat, group, .. } = appended.place;
        if appended.items.is_empty() {
            self.chats.receipt_appended(appended);
        } else {
            if let Some(entry) = self.groups.get_mut(&group) {
                entry.append.under_way = false;
                entry.append.most = (entry.append.most * 2).min(APPEND_ENTRIES);
            }
            self.chats.set_problem(turn, chat, None);
            self.events_appended(turn, cx, appended)?;
        }
        let home = self.groups.home_of(group);
        if let Some(state) = home.and_then(|h| cx.homes.servers.get_mut(&h)).filter(|h| h.registered || !h.own) {
            state.problem = None;
        }
        self.trim_chat(turn, cx.homes, chat);
        Ok(())
    }
}

impl GroupEntry {
    /// Whether its log may be appended to now: no append is under way or stands behind commits that we have not read, and the log is there.
    fn takes_appends(&self) -> bool {
        !self.append.under_way && !self.append.behind && (!self.row.ours || self.row.log_opened)
    }
}

impl Chats {
    /// What is written into a conversation in this turn, and before, does not wait for those who are connected.
    pub(crate) fn hasten(&mut self, chat: ChatId, now: u64) {
        if let Some(state) = self.states.get_mut(&chat) {
            state.hastened_ms = now;
        }
    }
}
