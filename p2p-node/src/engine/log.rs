//! Epoch logs at a rendezvous: reading, appending, and the commits that close them.

use bytes::Bytes;
use starling_wire::{
    LogVerb,
    rendezvous::{Ask, LogEntry, LogRequest, Page},
};

use super::{
    ChatState, Effect, Engine, EngineError,
    group::{GroupId, LogKeys},
    homes::Asked,
    send::outbox_key,
};
use crate::{
    limits::{
        APPEND_BYTES, APPEND_ENTRIES, LOG_AFTER_MS, RECEIPT_DELAY_MS, RETRY_REFUSED_MS, UPDATE_AFTER_AWAY_MS,
        UPDATE_AFTER_ENTRIES, UPDATE_AFTER_MS,
    },
    mls::Processed,
    net::{HomeId, NetCommand},
    store::{OUTBOX, OutboxRow, Reading, Txn},
    types::{ChatId, DeliveryState, Via},
};

/// What an append has carried.
#[derive(Debug, Clone)]
pub struct Appended {
    pub group: GroupId,
    pub chat: ChatId,
    pub epoch: u64,
    /// First sequence number of each outbox entry.
    pub items: Vec<u64>,
    /// Highest event number among them.
    pub upto: u64,
}

impl Engine {
    pub(super) fn home_of(&self, group: GroupId) -> Option<HomeId> {
        let entry = self.groups.get(&group)?;
        let home: starling_keys::RendezvousAddr = entry.row.home.parse().ok()?;
        Some(home.peer)
    }

    /// A signed request to a log of a group, if its home is up.
    pub(super) fn ask_log(
        &mut self,
        home: HomeId,
        keys: &LogKeys,
        verb: LogVerb,
        mut request: LogRequest,
        asked: Asked,
    ) -> bool {
        let Some(nonce) = self.homes.get(&home).and_then(|h| h.hello.as_ref()).map(|h| h.nonce.clone()) else {
            return false;
        };
        request.address = Bytes::copy_from_slice(&keys.address);
        let payload = request.signed_payload();
        request.signature = Bytes::copy_from_slice(&keys.key.sign(verb, &nonce, &payload));
        let ask = match verb {
            LogVerb::Open => Ask::LogOpen(request),
            LogVerb::Append => Ask::LogAppend(request),
            LogVerb::Close => Ask::LogClose(request),
            LogVerb::Read => Ask::LogRead(request),
            LogVerb::Signal => Ask::LogSignal(request),
            LogVerb::Trim => Ask::LogTrim(request),
        };
        self.ask(home, ask, asked);
        true
    }

    /// The groups whose logs are at a home, when it comes up.
    pub(super) fn logs_up(&mut self, home: HomeId) {
        for id in self.groups_at(home) {
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.reading.clear();
                (entry.appending, entry.closing, entry.opening, entry.caught_up) = (false, false, false, false);
                entry.retry_at = 0;
            }
            self.read_logs(id);
        }
    }

    fn groups_at(&self, home: HomeId) -> Vec<GroupId> {
        let at = |id: &&GroupId| self.home_of(**id) == Some(home);
        self.groups.keys().filter(at).copied().collect()
    }

    /// A linked person's group whose home is up.
    fn usable(&self, id: GroupId) -> Option<HomeId> {
        let entry = self.groups.get(&id)?;
        let chat = ChatId(entry.row.chat.as_slice().try_into().ok()?);
        let peer = self.chats.get(&chat)?.peer;
        if !self.contacts.get(&peer).is_some_and(super::Person::is_linked) || entry.retry_at > self.now {
            return None;
        }
        let home = self.home_of(id)?;
        self.homes.get(&home)?.hello.as_ref().map(|_| home)
    }

    /// Opens the log if it is ours and new, and reads every log that was not read to its end.
    pub(super) fn read_logs(&mut self, id: GroupId) {
        let Some(home) = self.usable(id) else { return };
        let registered = self.homes.get(&home).is_some_and(|h| h.registered);
        let Some(entry) = self.groups.get_mut(&id) else {
            return;
        };
        if entry.row.ours && !entry.row.log_opened {
            if !entry.opening
                && registered
                && let Some(keys) = entry.current_keys()
            {
                entry.opening = true;
                self.ask_log(home, &keys, LogVerb::Open, LogRequest::default(), Asked::LogOpen(id));
            }
            return;
        }
        let due: Vec<(u64, u64)> =
            entry.row.logs.iter().filter(|l| !entry.reading.contains(&l.epoch)).map(|l| (l.epoch, l.cursor)).collect();
        for (epoch, cursor) in due {
            self.read_log(home, id, epoch, cursor);
        }
    }

    fn read_log(&mut self, home: HomeId, id: GroupId, epoch: u64, after: u64) {
        let Some(entry) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(keys) = entry.keys_of(epoch) else {
            return;
        };
        entry.reading.push(epoch);
        let request = LogRequest { after, ..LogRequest::default() };
        self.ask_log(home, &keys, LogVerb::Read, request, Asked::LogRead(id, epoch));
    }

    /// Something was seen that lies ahead: look at the log once more.
    pub(super) fn read_log_again(&mut self, id: GroupId) {
        if let Some(entry) = self.groups.get_mut(&id) {
            if entry.reading.is_empty() {
                self.read_logs(id);
            } else {
                entry.read_again = true;
            }
        }
    }

    /// A page that was asked for.
    pub(super) fn on_log_page(
        &mut self,
        txn: &Txn<'_>,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        page: Page,
    ) -> Result<(), EngineError> {
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.reading.retain(|e| *e != epoch);
        }
        self.on_log_entries(txn, home, id, epoch, page.entries)?;
        let Some(entry) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        let cursor = entry.row.logs.iter().find(|l| l.epoch == epoch).map(|l| l.cursor);
        let again = std::mem::take(&mut entry.read_again);
        match cursor {
            Some(cursor) if page.more || again => self.read_log(home, id, epoch, cursor),
            Some(_) => entry.caught_up = true,
            None => {}
        }
        self.maybe_update(id)
    }

    /// A page that was pushed.
    pub(super) fn on_log_push(&mut self, txn: &Txn<'_>, home: HomeId, page: Page) -> Result<(), EngineError> {
        let Some((id, epoch)) = <[u8; 32]>::try_from(&*page.address).ok().and_then(|a| self.logs.get(&a)).copied()
        else {
            return Ok(());
        };
        if let Some(entry) = self.groups.get_mut(&id)
            && entry.reading.contains(&epoch)
        {
            // The page that is under way may hold what came before this: taken in order, nothing is skipped.
            entry.read_again = true;
            return Ok(());
        }
        self.on_log_entries(txn, home, id, epoch, page.entries)
    }

    fn on_log_entries(
        &mut self,
        txn: &Txn<'_>,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        entries: Vec<LogEntry>,
    ) -> Result<(), EngineError> {
        for entry in entries {
            let Some(group) = self.groups.get_mut(&id) else {
                return Ok(());
            };
            let Some(keys) = group.keys_of(epoch) else {
                return Ok(());
            };
            let Some(log) = group.row.logs.iter_mut().find(|l| l.epoch == epoch) else {
                return Ok(());
            };
            if entry.sequence <= log.cursor {
                continue;
            }
            log.cursor = entry.sequence;
            group.touch();
            if entry.closing {
                self.on_close(txn, home, id, epoch, &keys, &entry.sealed)?;
                continue;
            }
            match keys.open_entry(&entry.sealed) {
                Some(message) => self.on_message(txn, id, None, Via::Log, &message.into())?,
                None => tracing::warn!("a log entry cannot be opened"),
            }
        }
        Ok(())
    }

    /// A log has ended: its closing entry is the commit that leads to the next epoch.
    fn on_close(
        &mut self,
        txn: &Txn<'_>,
        home: HomeId,
        id: GroupId,
        epoch: u64,
        keys: &LogKeys,
        sealed: &Bytes,
    ) -> Result<(), EngineError> {
        let Some(group) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        if epoch == group.live.epoch() {
            if group.pending.as_ref().is_some_and(|p| p.entry == *sealed) {
                group.adopt_pending();
                group.row.since_update = 0;
                group.row.updated_ms = self.now;
            } else {
                let message = keys.open_entry(sealed).unwrap_or_default();
                match group.live.process(&message) {
                    Processed::Commit { removed: false } => {
                        group.drop_pending();
                        let next = group.next_log()?;
                        group.enter_epoch(next);
                    }
                    other => {
                        // A member has closed the log with what is no commit. Nobody can go on in this group.
                        tracing::warn!(?other, "a log was closed with what is no valid commit");
                        self.reload_group(id)?;
                        return Ok(());
                    }
                }
            }
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        group.closing = false;
        group.row.logs.retain(|l| l.epoch != epoch);
        self.logs.remove(&keys.address);
        let current = group.current_log().map(|l| (l.epoch, l.cursor));
        let chat = group.row.chat.as_slice().try_into().map(ChatId);
        if let Some(next) = group.current_keys() {
            self.logs.insert(next.address, (id, group.live.epoch()));
        }
        self.ask(home, Ask::LogLeave(Bytes::copy_from_slice(&keys.address)), Asked::Nothing);
        if let Some((epoch, cursor)) = current {
            self.read_log(home, id, epoch, cursor);
        }
        self.retry_future(txn, id)?;
        if let Ok(chat) = chat {
            self.renew_outbox(txn, chat)?;
        }
        Ok(())
    }

    /// Throws away what happened in memory since the last commit to disk.
    pub(super) fn reload_group(&mut self, id: GroupId) -> Result<(), EngineError> {
        if let Some(entry) = self.groups.remove(&id) {
            let entry = super::GroupEntry::load(&self.mls, id, entry.row)?;
            self.groups.insert(id, entry);
        }
        Ok(())
    }

    /// Renews our keys if it is time: the commit travels as the closing entry of the current log.
    fn maybe_update(&mut self, id: GroupId) -> Result<(), EngineError> {
        let now = self.now;
        let away = self.away_ms > UPDATE_AFTER_AWAY_MS;
        let Some(entry) = self.groups.get_mut(&id) else {
            return Ok(());
        };
        if !entry.caught_up || entry.closing || !entry.row.confirmed {
            return Ok(());
        }
        // Jitter by group, so that both sides do not commit at once.
        let jitter = u64::from(entry.id[0]);
        let due = entry.row.since_update >= UPDATE_AFTER_ENTRIES + jitter / 4
            || now.saturating_sub(entry.row.updated_ms) > UPDATE_AFTER_MS + jitter * 60_000
            || (away && now.saturating_sub(entry.row.updated_ms) > UPDATE_AFTER_AWAY_MS);
        if entry.pending.is_none() {
            if !due {
                return Ok(());
            }
            entry.prepare_update()?;
        }
        entry.closing = true;
        Ok(())
    }

    /// Sends a prepared commit; the turn that prepared it has been stored by then.
    fn close_log(&mut self, home: HomeId, id: GroupId) {
        let Some(entry) = self.groups.get(&id) else { return };
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
        self.ask_log(home, &keys, LogVerb::Close, request, Asked::LogClose(id));
    }

    /// Appends what is due to the logs whose homes are up.
    pub(super) fn pump_logs(&mut self, txn: &Txn<'_>) -> Result<(), EngineError> {
        let chats: Vec<ChatId> = self.chats.keys().copied().collect();
        for chat in chats {
            self.pump_log(txn, chat)?;
            self.pump_receipt(chat)?;
        }
        let closing: Vec<GroupId> =
            self.groups.values().filter(|g| g.closing && g.pending.is_some()).map(|g| g.id).collect();
        for id in closing {
            let Some(home) = self.usable(id) else { continue };
            self.close_log(home, id);
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.closing = false;
                // Not again until the answer is there.
                entry.caught_up = false;
            }
        }
        Ok(())
    }

    /// From when on the first entry that no log has should be in one.
    fn entry_due(&self, chat: &ChatState) -> Option<(GroupId, u64)> {
        let item = chat.outbox.iter().find(|i| i.last > chat.row.logged_upto)?;
        let entry = self.groups.get(&item.group)?;
        let me = self.me.device();
        let all_linked =
            entry.members.iter().map(|m| m.device()).filter(|d| *d != me).all(|d| self.links.contains_key(&d));
        let due = if all_linked { item.created_ms + LOG_AFTER_MS } else { item.created_ms };
        Some((item.group, due))
    }

    /// When the outbox of a chat needs a turn by itself.
    pub(super) fn log_due(&self, chat: &ChatState) -> Option<u64> {
        let (group, due) = self.entry_due(chat)?;
        let entry = self.groups.get(&group)?;
        let home = self.home_of(group)?;
        // Without a home, or while an append is under way, something else wakes us.
        self.homes.get(&home)?.hello.as_ref()?;
        if entry.appending || (entry.row.ours && !entry.row.log_opened) {
            return None;
        }
        Some(due.max(entry.retry_at))
    }

    fn pump_log(&mut self, txn: &Txn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let Some(state) = self.chats.get(&chat) else {
            return Ok(());
        };
        let Some((group, due)) = self.entry_due(state) else {
            return Ok(());
        };
        if due > self.now {
            return Ok(());
        }
        let Some(home) = self.usable(group) else {
            return Ok(());
        };
        let Some(entry) = self.groups.get(&group) else {
            return Ok(());
        };
        if entry.appending || (entry.row.ours && !entry.row.log_opened) {
            return Ok(());
        }
        let (Some(keys), epoch) = (entry.current_keys(), entry.live.epoch()) else {
            return Ok(());
        };
        let (mut entries, mut size) = (Vec::new(), 0);
        let mut appended = Appended { group, chat, epoch, items: Vec::new(), upto: 0 };
        let logged = state.row.logged_upto;
        for item in state.outbox.iter().filter(|i| i.last > logged && i.group == group) {
            if entries.len() >= APPEND_ENTRIES || (size + 2 * item.len > APPEND_BYTES && !entries.is_empty()) {
                break;
            }
            let Some(row) = txn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, item.first))? else {
                continue;
            };
            let sealed = keys.seal_entry(&row.message);
            size += sealed.len();
            entries.push(sealed);
            appended.items.push(item.first);
            appended.upto = item.last;
        }
        if entries.is_empty() {
            return Ok(());
        }
        let request = LogRequest { entries, ..LogRequest::default() };
        if self.ask_log(home, &keys, LogVerb::Append, request, Asked::LogAppend(appended))
            && let Some(entry) = self.groups.get_mut(&group)
        {
            entry.appending = true;
        }
        Ok(())
    }

    /// A log has taken entries.
    pub(super) fn on_appended(&mut self, txn: &Txn<'_>, appended: &Appended, last: u64) -> Result<(), EngineError> {
        if let Some(entry) = self.groups.get_mut(&appended.group) {
            entry.appending = false;
        }
        let Some(state) = self.chats.get_mut(&appended.chat) else {
            return Ok(());
        };
        let first = (last + 1).saturating_sub(appended.items.len() as u64);
        for (item, sequence) in appended.items.iter().zip(first..) {
            if let Some(item) = state.outbox.iter_mut().find(|i| i.first == *item) {
                item.logged = Some((appended.epoch, sequence));
            }
        }
        state.row.logged_upto = state.row.logged_upto.max(appended.upto);
        let before = state.row.sent_upto;
        state.row.sent_upto = before.max(appended.upto);
        state.dirty = true;
        let mut ids = Vec::new();
        for item in &state.outbox {
            ids.extend(item.ids_between(before, appended.upto));
        }
        self.state_news(txn, appended.chat, ids, DeliveryState::Sent, "")
    }

    /// An append or read was refused, or its log is closed.
    pub(super) fn on_log_refused(&mut self, id: GroupId, wait: bool) {
        let now = self.now;
        if let Some(entry) = self.groups.get_mut(&id) {
            entry.appending = false;
            entry.opening = false;
            entry.reading.clear();
            if wait {
                entry.retry_at = now + RETRY_REFUSED_MS;
            }
        }
        if !wait {
            self.read_log_again(id);
        }
    }

    /// Appends something that is not kept in the outbox.
    pub(super) fn append_loose(&mut self, chat: ChatId, group: GroupId, message: &Bytes) {
        let Some(home) = self.usable(group) else { return };
        let Some(entry) = self.groups.get(&group) else {
            return;
        };
        let (Some(keys), epoch) = (entry.current_keys(), entry.live.epoch()) else {
            return;
        };
        let request = LogRequest { entries: vec![keys.seal_entry(message)], ..LogRequest::default() };
        let appended = Appended { group, chat, epoch, items: Vec::new(), upto: 0 };
        self.ask_log(home, &keys, LogVerb::Append, request, Asked::LogAppend(appended));
    }

    /// Tells, through the log, what we have of devices that we are not connected to.
    fn pump_receipt(&mut self, chat: ChatId) -> Result<(), EngineError> {
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        if state.receipt_due.is_none_or(|due| due > self.now) {
            return Ok(());
        }
        state.receipt_due = None;
        let Some(group) = self.active_group(chat) else {
            return Ok(());
        };
        if self.usable(group).is_none() {
            // When the home comes back, everything untold is told.
            return Ok(());
        }
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        let mut delivered = Vec::new();
        for row in &mut state.row.devices {
            let Ok(device) = starling_keys::DeviceId::from_bytes(&row.device) else {
                continue;
            };
            if row.told < row.received && !self.links.contains_key(&device) {
                row.told = row.received;
                delivered.push((device.tag(), row.received));
            }
        }
        state.dirty = true;
        if delivered.is_empty() {
            return Ok(());
        }
        let read = if Self::allows(self.settings.receipts) { state.row.read_told } else { 0 };
        let receipt = starling_wire::Receipt { delivered, read: starling_wire::Clock(read) };
        let id =
            starling_wire::EventId { clock: self.clock.tick(self.now), device: self.me.device().tag(), sequence: 0 };
        let batch = starling_wire::Batch {
            events: vec![starling_wire::Event { id, body: starling_wire::Body::Receipt(receipt) }],
            floor: 0,
        };
        let Some(entry) = self.groups.get_mut(&group) else {
            return Ok(());
        };
        let message: Bytes = entry.live.encrypt(&batch.encode())?.into();
        entry.touch_live();
        self.append_loose(chat, group, &message);
        Ok(())
    }

    /// What could not be told while no home was up.
    pub(super) fn receipts_up(&mut self) {
        let due = self.now + RECEIPT_DELAY_MS;
        for state in self.chats.values_mut() {
            if state.row.devices.iter().any(|d| d.told < d.received) {
                state.receipt_due = Some(due);
            }
        }
    }

    /// Entries of ours that every receiver has can go.
    pub(super) fn trim_logs(&mut self, entries: Vec<(GroupId, u64, u64)>) {
        let mut by_log: std::collections::BTreeMap<(GroupId, u64), Vec<u64>> = Default::default();
        for (group, epoch, sequence) in entries {
            by_log.entry((group, epoch)).or_default().push(sequence);
        }
        for ((group, epoch), sequences) in by_log {
            let Some(home) = self.usable(group) else { continue };
            let Some(keys) = self.groups.get(&group).and_then(|g| g.keys_of(epoch)) else {
                continue;
            };
            for sequences in sequences.chunks(512) {
                let request = LogRequest { sequences: sequences.to_vec(), ..LogRequest::default() };
                self.ask_log(home, &keys, LogVerb::Trim, request, Asked::Nothing);
            }
        }
    }

    /// Effects of requests, in order.
    pub(super) fn ask(&mut self, home: HomeId, ask: Ask, asked: Asked) {
        let id = self.fresh_id();
        if let Some(state) = self.homes.get_mut(&home) {
            state.asked.insert(id, asked);
            self.effect(Effect::Net(NetCommand::Ask(home, id, ask)));
        }
    }
}
