//! Epoch logs at a rendezvous: reading, appending, and the commits that close them.

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{
    LogVerb,
    rendezvous::{LogEntry, LogRequest, Page, RequestBody},
};

use super::Conversations;
use crate::{
    api::types::{ChatId, DeliveryState, Via},
    conversation::ChatState,
    conversation::group::{GroupEntry, GroupId, LogKeys},
    conversation::logged::{LogPlace, Trimming},
    conversation::pending::LogPending,
    conversation::receive::Taken,
    conversation::send::outbox_key,
    home::{Homes, Pending},
    limits::{
        APPEND_BYTES, APPEND_ENTRIES, LOG_AFTER_MS, RECEIPT_DELAY_MS, RETRY_REFUSED_MS, UPDATE_AFTER_AWAY_MS,
        UPDATE_AFTER_ENTRIES, UPDATE_AFTER_MS,
    },
    mls::Processed,
    net::HomeId,
    store::{OUTBOX, OutboxRow, Reading},
    turn::{Engine, EngineError, Turn},
};

/// What an append has carried.
#[derive(Debug, Clone)]
pub struct Appended {
    pub place: LogPlace,
    pub epoch: u64,
    /// First and last sequence number of each outbox entry; none in a receipt.
    pub items: Vec<(u64, u64)>,
    /// A receipt: devices, and what they are told that we have.
    pub told: Vec<(DeviceId, u64)>,
    /// A receipt: up to where we have read, or 0 if that is not told.
    pub read: u64,
    /// Receipts before it in the same log, which are deleted with its append.
    pub replaced: Trimming,
}

impl Homes {
    /// A signed request to a log of a group, if its home is up.
    pub fn request_log(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        keys: &LogKeys,
        verb: LogVerb,
        mut request: LogRequest,
        pending: impl Into<Pending>,
    ) -> bool {
        let Some(nonce) = self.servers.get(&home).and_then(|h| h.hello.as_ref()).map(|h| h.nonce.clone()) else {
            return false;
        };
        request.address = Bytes::copy_from_slice(&keys.address);
        let payload = request.signed_payload();
        request.signature = Bytes::copy_from_slice(&keys.key.sign(verb, &nonce, &payload));
        let ask = match verb {
            LogVerb::Open => RequestBody::LogOpen(request),
            LogVerb::Append => RequestBody::LogAppend(request),
            LogVerb::Close => RequestBody::LogClose(request),
            LogVerb::Read => RequestBody::LogRead(request),
            LogVerb::Signal => RequestBody::LogSignal(request),
            LogVerb::Trim => RequestBody::LogTrim(request),
        };
        self.request(turn, home, ask, pending);
        true
    }
}

impl Conversations {
    pub(crate) fn home_of(&self, group: GroupId) -> Option<HomeId> {
        let entry = self.groups.get(&group)?;
        let home: starling_keys::RendezvousAddr = entry.row.home.parse().ok()?;
        Some(home.peer)
    }

    pub(crate) fn groups_at(&self, home: HomeId) -> Vec<GroupId> {
        let at = |id: &&GroupId| self.home_of(**id) == Some(home);
        self.groups.keys().filter(at).copied().collect()
    }

    /// A home is gone: nobody is known to read the logs there.
    pub(crate) fn readers_gone(&mut self, home: HomeId) {
        for group in self.groups_at(home) {
            if let Some(entry) = self.groups.get_mut(&group) {
                entry.readers = 0;
            }
        }
    }

    /// What could not be told while a home was not up.
    pub(crate) fn receipts_up(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let due = turn.now() + RECEIPT_DELAY_MS;
        for group in self.groups_at(home) {
            let chat = self.groups.get(&group).and_then(|g| g.row.chat.as_slice().try_into().ok());
            if let Some(state) = chat.and_then(|c| self.chats.get_mut(&ChatId(c)))
                && (state.roster.devices().any(|d| d.told < d.received) || state.row.read_logged < state.row.read_told)
            {
                state.receipt_due = Some(due);
            }
        }
    }

    fn read_log(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId, id: GroupId, epoch: u64, after: u64) {
        let Some(entry) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(keys) = entry.keys_of(epoch) else {
            return;
        };
        entry.reading.push(epoch);
        let request = LogRequest { after, ..LogRequest::default() };
        homes.request_log(turn, home, &keys, LogVerb::Read, request, LogPending::Read(id, epoch));
    }

    fn receipt_appended(&mut self, appended: &Appended) {
        let Some(state) = self.chats.get_mut(&appended.place.chat) else { return };
        for (device, received) in &appended.told {
            if let Some(row) = state.roster.known_mut(device) {
                row.told = row.told.max(*received);
            }
        }
        state.row.read_logged = state.row.read_logged.max(appended.read);
        state.dirty = true;
    }

    fn events_appended(&mut self, turn: &mut Turn<'_>, appended: &Appended) -> Result<(), EngineError> {
        let LogPlace { chat, group, .. } = appended.place;
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
        let before = state.row.sent_upto;
        state.row.sent_upto = before.max(upto);
        state.dirty = true;
        let mut ids = Vec::new();
        let from = state.outbox.partition_point(|i| i.last <= before);
        for item in state.outbox.iter().skip(from).take_while(|i| i.first <= upto) {
            ids.extend(item.ids_between(before, upto));
        }
        turn.state_news(chat, ids, DeliveryState::Sent, "")
    }

    /// An append came to nothing: what it told has to be told again.
    pub(crate) fn append_failed(&mut self, turn: &mut Turn<'_>, appended: &Appended) {
        let due = turn.now() + RETRY_REFUSED_MS;
        if appended.items.is_empty()
            && let Some(state) = self.chats.get_mut(&appended.place.chat)
        {
            state.receipt_due = Some(state.receipt_due.map_or(due, |d| d.min(due)));
        }
    }
}

impl Engine {
    /// The groups whose logs are at a home, when it comes up.
    pub(crate) fn logs_up(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        for id in self.conversations.groups_at(home) {
            if let Some(entry) = self.conversations.groups.get_mut(&id) {
                entry.reading.clear();
                (entry.appending, entry.closing, entry.opening, entry.caught_up) = (false, false, false, false);
                entry.retry_at = 0;
            }
            self.read_logs(turn, id);
        }
    }

    /// Logs at a home that were not read to their end.
    pub(crate) fn unread_logs_up(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        for id in self.conversations.groups_at(home) {
            if self.conversations.groups.get(&id).is_some_and(|g| !g.caught_up) {
                self.read_logs(turn, id);
            }
        }
    }

    pub(crate) fn is_linked_group(&self, id: GroupId) -> bool {
        let chat = self.conversations.groups.get(&id).and_then(|g| g.row.chat.as_slice().try_into().ok()).map(ChatId);
        chat.is_some_and(|chat| self.is_reachable(chat))
    }

    /// Stops following the logs of conversations of an account in which nobody is left whom we exchange messages with.
    pub(crate) fn leave_logs(&mut self, turn: &mut Turn<'_>, account: starling_keys::AccountId) {
        let chats: Vec<ChatId> = self.conversations.of(&account).filter(|chat| !self.is_reachable(*chat)).collect();
        let of_chat = |g: &&GroupEntry| chats.iter().any(|chat| g.row.chat == chat.0);
        let logs: Vec<(GroupId, Vec<[u8; 32]>)> = self
            .conversations
            .groups
            .values()
            .filter(of_chat)
            .map(|g| (g.id, g.logs.iter().filter_map(LogKeys::of).map(|k| k.address).collect()))
            .collect();
        for (id, addresses) in logs {
            let Some(home) = self.conversations.home_of(id) else { continue };
            if let Some(entry) = self.conversations.groups.get_mut(&id) {
                entry.caught_up = false;
            }
            for address in addresses {
                self.homes.request(
                    turn,
                    home,
                    RequestBody::LogLeave(Bytes::copy_from_slice(&address)),
                    Pending::Nothing,
                );
            }
        }
    }

    /// A linked person's group whose home is up.
    fn usable(&self, turn: &Turn<'_>, id: GroupId) -> Option<HomeId> {
        let entry = self.conversations.groups.get(&id)?;
        if !self.is_linked_group(id) || entry.row.dead || entry.retry_at > turn.now() {
            return None;
        }
        let home = self.conversations.home_of(id)?;
        self.homes.servers.get(&home)?.hello.as_ref().map(|_| home)
    }

    /// Opens the log if it is ours and new, and reads every log that was not read to its end.
    pub(crate) fn read_logs(&mut self, turn: &mut Turn<'_>, id: GroupId) {
        let Some(home) = self.usable(turn, id) else { return };
        let registered = self.homes.servers.get(&home).is_some_and(|h| h.registered);
        let Some(entry) = self.conversations.groups.get_mut(&id) else {
            return;
        };
        if entry.row.ours && !entry.row.log_opened {
            if !entry.opening
                && registered
                && let Some(keys) = entry.current_keys()
            {
                entry.opening = true;
                self.homes.request_log(turn, home, &keys, LogVerb::Open, LogRequest::default(), LogPending::Open(id));
            }
            return;
        }
        let due: Vec<(u64, u64)> =
            entry.logs.iter().filter(|l| !entry.reading.contains(&l.epoch)).map(|l| (l.epoch, l.cursor)).collect();
        for (epoch, cursor) in due {
            self.conversations.read_log(turn, &mut self.homes, home, id, epoch, cursor);
        }
    }

    /// Something was seen that lies ahead: look at the log once more.
    pub(crate) fn read_log_again(&mut self, turn: &mut Turn<'_>, id: GroupId) {
        if let Some(entry) = self.conversations.groups.get_mut(&id) {
            if entry.reading.is_empty() {
                self.read_logs(turn, id);
            } else {
                entry.read_again = true;
            }
        }
    }

    /// A page that was asked for.
    pub(crate) fn on_log_page(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        page: Page,
    ) -> Result<(), EngineError> {
        if let Some(entry) = self.conversations.groups.get_mut(&id) {
            entry.reading.retain(|e| *e != epoch);
        }
        self.on_log_entries(turn, home, id, epoch, page.entries)?;
        let Some(entry) = self.conversations.groups.get_mut(&id) else {
            return Ok(());
        };
        let cursor = entry.logs.iter().find(|l| l.epoch == epoch).map(|l| l.cursor);
        let again = std::mem::take(&mut entry.read_again);
        match cursor {
            Some(cursor) if page.more || again => {
                self.conversations.read_log(turn, &mut self.homes, home, id, epoch, cursor)
            }
            Some(_) => entry.caught_up = true,
            None => {}
        }
        Ok(())
    }

    /// A page that was pushed.
    pub(crate) fn on_log_push(&mut self, turn: &mut Turn<'_>, home: HomeId, page: Page) -> Result<(), EngineError> {
        let Some((id, epoch)) =
            <[u8; 32]>::try_from(&*page.address).ok().and_then(|a| self.conversations.logs.get(&a)).copied()
        else {
            return Ok(());
        };
        let Some(entry) = self.conversations.groups.get_mut(&id) else {
            return Ok(());
        };
        if entry.reading.contains(&epoch) {
            // The page that is under way may hold what came before this: taken in order, nothing is skipped.
            entry.read_again = true;
            return Ok(());
        }
        let cursor = entry.logs.iter().find(|l| l.epoch == epoch).map(|l| l.cursor);
        let next = page.entries.first().map(|e| e.sequence);
        if page.more || cursor.and_then(|c| c.checked_add(1)) != next {
            // Pushes of two writers may overtake each other.
            self.conversations.read_log(turn, &mut self.homes, home, id, epoch, cursor.unwrap_or(0));
            return Ok(());
        }
        self.on_log_entries(turn, home, id, epoch, page.entries)
    }

    fn on_log_entries(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        entries: Vec<LogEntry>,
    ) -> Result<(), EngineError> {
        if !self.is_linked_group(id) {
            // The cursor stays: should they be let in again, this is read then.
            return Ok(());
        }
        for entry in entries {
            let Some(group) = self.conversations.groups.get_mut(&id) else {
                return Ok(());
            };
            let Some(keys) = group.keys_of(epoch) else {
                return Ok(());
            };
            if !group.advance(epoch, entry.sequence) {
                continue;
            }
            if entry.closing {
                self.on_close(turn, home, id, epoch, &keys, &entry.sealed)?;
                continue;
            }
            let place = self.conversations.log_place(id, epoch);
            let taken = match keys.open_entry(&entry.sealed) {
                Some(message) => self.on_message(turn, id, None, Via::Log, &message.into())?,
                None => {
                    tracing::warn!("a log entry cannot be opened");
                    Taken::Nothing
                }
            };
            let for_us_alone = self.conversations.groups.get(&id).is_some_and(|g| g.members.len() == 2);
            match place.filter(|_| !matches!(taken, Taken::Nothing)) {
                Some(place) if matches!(taken, Taken::Own) => {
                    self.conversations.found_own(turn, &place, entry.sequence)?
                }
                Some(place) if matches!(taken, Taken::Receipts) && for_us_alone => {
                    self.conversations.found_needless(turn, &place, entry.sequence)?;
                    self.conversations.trim_chat(turn, &mut self.homes, place.chat);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A log has ended: its closing entry is the commit that leads to the next epoch.
    fn on_close(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        keys: &LogKeys,
        sealed: &Bytes,
    ) -> Result<(), EngineError> {
        let Some(group) = self.conversations.groups.get_mut(&id) else {
            return Ok(());
        };
        if epoch == group.live.epoch() {
            if group.pending.as_ref().is_some_and(|p| p.entry == *sealed) {
                group.adopt_pending();
                group.since_update = 0;
                group.row.updated_ms = turn.wall();
                group.touch();
            } else {
                let message = keys.open_entry(sealed).unwrap_or_default();
                match group.live.process_commit(&message) {
                    Processed::Commit => {
                        group.drop_pending();
                        let next = group.next_log()?;
                        group.enter_epoch(next);
                    }
                    // A member has closed the log with what is no commit. Nobody can go on in this group.
                    _ => return self.abandon_group(turn, id),
                }
            }
        }
        let Some(group) = self.conversations.groups.get_mut(&id) else {
            return Ok(());
        };
        group.closing = false;
        group.retry_at = 0;
        group.forget_log(epoch);
        self.conversations.logs.remove(&keys.address);
        let current = group.current_log().map(|l| (l.epoch, l.cursor));
        let chat = group.row.chat.as_slice().try_into().map(ChatId);
        if let Some(next) = group.current_keys() {
            self.conversations.logs.insert(next.address, (id, group.live.epoch()));
        }
        self.homes.request(turn, home, RequestBody::LogLeave(Bytes::copy_from_slice(&keys.address)), Pending::Nothing);
        if let Some((epoch, cursor)) = current {
            self.conversations.read_log(turn, &mut self.homes, home, id, epoch, cursor);
        }
        self.retry_future(turn, id)?;
        if let Ok(chat) = chat {
            self.renew_outbox(turn, chat)?;
        }
        Ok(())
    }

    /// Renews our keys if it is time: the commit travels as the closing entry of the current log.
    fn maybe_update(&mut self, turn: &mut Turn<'_>, id: GroupId) -> Result<(), EngineError> {
        let now = turn.wall();
        let away = self.counters.away_ms > UPDATE_AFTER_AWAY_MS;
        let Some(entry) = self.conversations.groups.get_mut(&id) else {
            return Ok(());
        };
        if !entry.caught_up || entry.closing || !entry.row.confirmed {
            return Ok(());
        }
        let enough = UPDATE_AFTER_ENTRIES + u64::from(entry.id[0]) / 4;
        let due = entry.since_update >= enough || now.saturating_sub(entry.row.updated_ms) > renew_after_ms(id, away);
        if entry.pending.is_none() {
            if !due {
                return Ok(());
            }
            entry.prepare_update(turn.agreed_ms())?;
        }
        entry.closing = true;
        Ok(())
    }

    /// When a group's keys are renewed at the latest, by the clock; unless something else has to happen first.
    pub(crate) fn renewal_due(&self, entry: &GroupEntry) -> Option<u64> {
        let away = self.counters.away_ms > UPDATE_AFTER_AWAY_MS;
        let ready = entry.caught_up && !entry.closing && entry.row.confirmed;
        ready.then(|| entry.row.updated_ms + renew_after_ms(entry.id, away) + 1)
    }

    /// Sends a prepared commit; the turn that prepared it has been stored by then.
    fn close_log(&mut self, turn: &mut Turn<'_>, home: HomeId, id: GroupId) {
        let Some(entry) = self.conversations.groups.get(&id) else { return };
        let (Some(pending), Some(keys)) = (&entry.pending, entry.current_keys()) else {
            return;
        };
        let Some(next) = LogKeys::of(&pending.next) else {
            return;
        };
        let request = LogRequest {
            entries: vec![pending.entry.clone()],
            next: Bytes::copy_from_slice(&next.address),
            ..LogRequest::default()
        };
        self.homes.request_log(turn, home, &keys, LogVerb::Close, request, LogPending::Close(id));
    }

    /// Appends what is due to the logs whose homes are up.
    pub(crate) fn pump_logs(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for id in self.conversations.groups.touched() {
            self.maybe_update(turn, id)?;
        }
        for chat in self.touched_chats() {
            self.pump_log(turn, chat)?;
            self.pump_receipt(turn, chat)?;
        }
        for id in self.conversations.groups.touched() {
            if !self.conversations.groups.get(&id).is_some_and(|g| g.closing && g.pending.is_some()) {
                continue;
            }
            let Some(home) = self.usable(turn, id) else { continue };
            self.close_log(turn, home, id);
            if let Some(entry) = self.conversations.groups.get_mut(&id) {
                entry.closing = false;
                // Not again until the answer is there.
                entry.caught_up = false;
            }
        }
        Ok(())
    }

    /// From when on the first entry that no log has should be in one.
    fn entry_due(&self, chat: &ChatState) -> Option<(GroupId, u64)> {
        let item = chat.outbox.get(chat.outbox.partition_point(|i| i.last <= chat.row.logged_upto))?;
        let entry = self.conversations.groups.get(&item.group)?;
        if self.roster_diff(&chat.roster, entry).0 {
            // It waits for a group that a device which was given up cannot read.
            return None;
        }
        let me = self.account.device();
        let all_linked =
            entry.members.iter().map(|m| m.device()).filter(|d| *d != me).all(|d| self.delivery.links.contains_key(&d));
        let due = if all_linked { item.ready_ms + LOG_AFTER_MS } else { item.ready_ms };
        Some((item.group, due))
    }

    /// When the outbox of a chat needs a turn by itself.
    pub(crate) fn log_due(&self, chat: &ChatState) -> Option<u64> {
        let (group, due) = self.entry_due(chat)?;
        let entry = self.conversations.groups.get(&group)?;
        let home = self.conversations.home_of(group)?;
        // Without a home, or while an append is under way, something else wakes us.
        self.homes.servers.get(&home)?.hello.as_ref()?;
        if entry.appending || (entry.row.ours && !entry.row.log_opened) {
            return None;
        }
        if entry.row.dead || !self.is_linked_group(group) {
            return None;
        }
        Some(due.max(entry.retry_at))
    }

    fn pump_log(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let Some(state) = self.conversations.chats.get(&chat) else {
            return Ok(());
        };
        let Some((group, due)) = self.entry_due(state) else {
            return Ok(());
        };
        if due > turn.now() {
            return Ok(());
        }
        let Some(home) = self.usable(turn, group) else {
            return Ok(());
        };
        let Some(entry) = self.conversations.groups.get(&group) else {
            return Ok(());
        };
        if entry.appending || (entry.row.ours && !entry.row.log_opened) {
            return Ok(());
        }
        let epoch = entry.live.epoch();
        let Some((keys, place)) = entry.current_keys().zip(self.conversations.log_place(group, epoch)) else {
            return Ok(());
        };
        let (mut entries, mut size) = (Vec::new(), 0);
        let mut appended =
            Appended { place, epoch, items: Vec::new(), told: Vec::new(), read: 0, replaced: Trimming::new() };
        let logged = state.row.logged_upto;
        let from = state.outbox.partition_point(|i| i.last <= logged);
        for item in state.outbox.iter().skip(from).filter(|i| i.group == group) {
            if entries.len() >= entry.append_most || (size + 2 * item.len > APPEND_BYTES && !entries.is_empty()) {
                break;
            }
            let Some(row) = turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, item.first))? else {
                continue;
            };
            let sealed = keys.seal_entry(&row.message);
            size += sealed.len();
            entries.push(sealed);
            appended.items.push((item.first, item.last));
        }
        if entries.is_empty() {
            return Ok(());
        }
        let request = LogRequest { entries, ..LogRequest::default() };
        if self.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Append(appended))
            && let Some(entry) = self.conversations.groups.get_mut(&group)
        {
            entry.appending = true;
        }
        Ok(())
    }

    /// A log has taken entries.
    pub(crate) fn on_appended(
        &mut self,
        turn: &mut Turn<'_>,
        appended: &Appended,
        last: u64,
    ) -> Result<(), EngineError> {
        self.conversations.note_appended(turn, appended, last)?;
        let LogPlace { chat, group, .. } = appended.place;
        if appended.items.is_empty() {
            self.conversations.receipt_appended(appended);
        } else {
            if let Some(entry) = self.conversations.groups.get_mut(&group) {
                entry.appending = false;
                entry.append_most = (entry.append_most * 2).min(APPEND_ENTRIES);
            }
            self.set_problem(turn, chat, None);
            self.conversations.events_appended(turn, appended)?;
        }
        let home = self.conversations.home_of(group);
        if let Some(state) = home.and_then(|h| self.homes.servers.get_mut(&h)).filter(|h| h.registered || !h.own) {
            state.problem = None;
        }
        self.conversations.trim_chat(turn, &mut self.homes, chat);
        Ok(())
    }

    /// The server does not have a log. One that was there before has expired or was lost.
    pub(crate) fn log_lost(&mut self, turn: &mut Turn<'_>, id: GroupId) -> Result<(), EngineError> {
        let known =
            self.conversations.groups.get(&id).is_some_and(|g| {
                g.row.log_opened || g.live.epoch() > 1 || g.current_log().is_some_and(|l| l.cursor > 0)
            });
        if known { self.abandon_group(turn, id) } else { Ok(()) }
    }

    /// An append or read was refused, or its log is closed.
    pub(crate) fn log_stopped(&mut self, turn: &mut Turn<'_>, id: GroupId, wait: bool) {
        let now = turn.now();
        if let Some(entry) = self.conversations.groups.get_mut(&id) {
            entry.appending = false;
            entry.opening = false;
            entry.reading.clear();
            if wait {
                entry.retry_at = now + RETRY_REFUSED_MS;
            }
        }
        if !wait {
            self.read_log_again(turn, id);
            if let Some(entry) = self.conversations.groups.get_mut(&id) {
                // Until the closing entry was read; a server that keeps it from us is not asked in a loop.
                entry.retry_at = now + RETRY_REFUSED_MS;
            }
        }
    }

    /// Tells, through the log, what we have of devices that we are not connected to.
    fn pump_receipt(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return Ok(());
        };
        if state.receipt_due.is_none_or(|due| due > turn.now()) {
            return Ok(());
        }
        state.receipt_due = None;
        let Some(group) = self.active_group(chat) else {
            return Ok(());
        };
        if self.usable(turn, group).is_none() || self.has_revoked_member(chat, group) {
            // When the home comes back, everything untold is told.
            return Ok(());
        }
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return Ok(());
        };
        let known = |row: &crate::store::DeviceRow| Some((DeviceId::from_bytes(&row.device).ok()?, row.received));
        let told: Vec<(DeviceId, u64)> = state
            .roster
            .devices()
            .filter(|row| row.told < row.received)
            .filter_map(known)
            .filter(|(device, _)| !self.delivery.links.contains_key(device))
            .collect();
        let read = if Self::allows(self.account.settings.receipts) { state.row.read_told } else { 0 };
        if told.is_empty() && read <= state.row.read_logged {
            return Ok(());
        }
        // Everything, as it replaces the receipt before it.
        let delivered = state.roster.devices().filter_map(known).map(|(device, upto)| (device.tag(), upto)).collect();
        let receipt = starling_wire::Receipt { delivered, read: starling_wire::Clock(read) };
        self.append_receipt(turn, group, receipt, told)
    }

    fn append_receipt(
        &mut self,
        turn: &mut Turn<'_>,
        group: GroupId,
        receipt: starling_wire::Receipt,
        told: Vec<(DeviceId, u64)>,
    ) -> Result<(), EngineError> {
        let id = starling_wire::EventId {
            clock: self.counters.clock.tick(turn.agreed_ms()),
            device: self.account.device().tag(),
            sequence: 0,
        };
        let read = receipt.read.0;
        let body = starling_wire::Body::Receipt(receipt);
        let batch = starling_wire::Batch { events: vec![starling_wire::Event { id, body }], floor: 0 };
        let Some(home) = self.usable(turn, group) else { return Ok(()) };
        let Some(entry) = self.conversations.groups.get_mut(&group) else {
            return Ok(());
        };
        let epoch = entry.live.epoch();
        let message = entry.live.encrypt(&batch.encode())?;
        entry.touch_live();
        let Some((keys, place)) = entry.current_keys().zip(self.conversations.log_place(group, epoch)) else {
            return Ok(());
        };
        let replaced = self.conversations.replaced_receipts(&place);
        let request = LogRequest {
            entries: vec![keys.seal_entry(&message)],
            sequences: replaced.iter().flat_map(|(_, sequences)| sequences).copied().collect(),
            receipt: true,
            ..LogRequest::default()
        };
        let appended = Appended { place, epoch, items: Vec::new(), told, read, replaced };
        self.homes.request_log(turn, home, &keys, LogVerb::Append, request, LogPending::Append(appended));
        Ok(())
    }
}

/// For how long a group keeps its keys, in milliseconds. It differs from group to group, so that both sides do not commit at once.
fn renew_after_ms(group: GroupId, away: bool) -> u64 {
    let after = UPDATE_AFTER_MS + u64::from(group[0]) * 60_000;
    if away { after.min(UPDATE_AFTER_AWAY_MS) } else { after }
}
