//! Direct streams: what goes out on them, and what their acknowledgements mean.

pub mod targets;

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::direct::{Ack, DirectFrame, Entry, SealedSignal};

use crate::{
    api::types::{ChatId, DeliveryState, TransientEvent},
    conversation::{group::GroupId, send::outbox_key},
    engine::Engine,
    limits::{PUMP_ENTRIES, RESEND_AFTER_MS, SEEN_HASHES, WINDOW_BYTES},
    net::NetCommand,
    store::{DeviceRow, OUTBOX, OutboxRow, Reading},
    turn::{Effect, EngineError, Fact, Tracked, Turn},
};

/// Where the sending of one conversation's outbox to one device stands.
#[derive(Debug, Default)]
struct Cursor {
    /// Sequence number up to which entries were written to the stream.
    sent: u64,
    /// Entries written and not acknowledged: last sequence number, bytes.
    inflight: VecDeque<(u64, usize)>,
    bytes: usize,
    since_ms: u64,
}

impl Cursor {
    /// When what is in flight is sent again.
    fn resend_due(&self) -> u64 {
        self.since_ms + RESEND_AFTER_MS + 1
    }
}

/// A direct stream to a device.
#[derive(Debug)]
pub struct Link {
    pub relayed: bool,
    cursors: HashMap<ChatId, Cursor>,
    /// Chats with something to acknowledge.
    acks: HashSet<(ChatId, GroupId)>,
}

impl Link {
    /// When what was not acknowledged is sent again.
    pub fn resend_due(&self) -> Option<u64> {
        self.cursors.values().filter(|c| !c.inflight.is_empty()).map(Cursor::resend_due).min()
    }
}

/// The streams to other devices, and what the network was told.
pub struct Delivery {
    pub links: Tracked<DeviceId, Link>,
    /// Hashes of what was processed.
    pub seen: SeenMessages,
    pub told: targets::LastAnnounced,
    /// Something that [`Engine::sync_net`] looks at has changed.
    pub net_changed: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            links: Tracked::default(),
            seen: SeenMessages::default(),
            told: targets::LastAnnounced::default(),
            net_changed: true,
        }
    }
}

/// Hashes of the newest messages that were processed, so that copies are dropped before they are decrypted.
#[derive(Default)]
pub struct SeenMessages {
    hashes: HashSet<[u8; 16]>,
    by_age: VecDeque<[u8; 16]>,
}

impl SeenMessages {
    /// Whether these bytes are new. They are remembered, for as long as [`SEEN_HASHES`] others have not come after them.
    pub fn insert(&mut self, bytes: &[u8]) -> bool {
        let hash = short_hash(bytes);
        if !self.hashes.insert(hash) {
            return false;
        }
        self.by_age.push_back(hash);
        if self.by_age.len() > SEEN_HASHES
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        true
    }

    /// These bytes count as new again.
    pub fn forget(&mut self, bytes: &[u8]) {
        self.hashes.remove(&short_hash(bytes));
    }
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    hash
}

impl Engine {
    /// The chats in which a device takes part.
    pub(crate) fn chats_of(&self, device: &DeviceId) -> Vec<ChatId> {
        let account = self.account_of(device);
        let own = account == Some(self.account.id());
        match account {
            _ if own => self.conversations.chats.keys().copied().collect(),
            Some(account) => self.conversations.of(&account).collect(),
            None => Vec::new(),
        }
    }

    pub(crate) fn link_up(&mut self, turn: &mut Turn<'_>, device: DeviceId, relayed: bool) {
        if !self.may_talk(&device) {
            return;
        }
        let link = Link { relayed, cursors: HashMap::new(), acks: HashSet::new() };
        self.delivery.links.insert(device, link);
        for chat in self.chats_of(&device) {
            self.conversations.chats.touch(chat);
            // Acknowledged again: the last stream may have lost it.
            self.ack_again(device, chat);
        }
        turn.fact(Fact::LinkUp(device));
        turn.live(TransientEvent::Net);
    }

    pub(crate) fn link_down(&mut self, turn: &mut Turn<'_>, device: DeviceId) {
        if self.delivery.links.remove(&device).is_none() {
            return;
        }
        turn.fact(Fact::LinkDown(device));
        turn.live(TransientEvent::Net);
    }

    /// What a device was told on a stream that has ended may be lost: a receipt in the log is sure.
    pub(crate) fn receipts_of_lost_link(&mut self, turn: &Turn<'_>, device: &DeviceId) {
        for chat in self.chats_of(device) {
            if let Some(state) = self.conversations.chats.get_mut(&chat) {
                let told = |d: &DeviceRow| d.received > 0 && d.told > 0;
                if state.roster.device(device).is_some_and(told) {
                    if let Some(row) = state.roster.known_mut(device) {
                        row.told = 0;
                    }
                    state.receipt_due = Some(turn.now() + crate::limits::RECEIPT_DELAY_MS);
                }
            }
        }
    }

    pub(crate) fn drop_links_of(&mut self, account: &AccountId) {
        for entry in self.contacts.people.get(account).iter().flat_map(|p| &p.list).flat_map(|l| &l.devices) {
            self.delivery.links.remove(&entry.certificate.device());
        }
    }

    /// A new stream begins at what the device has acknowledged.
    pub(crate) fn rewind_links(&mut self, chat: ChatId) {
        for device in self.linked_devices(chat) {
            if let Some(link) = self.delivery.links.get_mut(&device) {
                link.cursors.remove(&chat);
            }
        }
    }

    /// The devices of a conversation that we are connected to.
    fn linked_devices(&self, chat: ChatId) -> Vec<DeviceId> {
        let Some(state) = self.conversations.chats.get(&chat) else { return Vec::new() };
        let lists = self.device_lists(&state.roster).filter_map(|(_, list)| list);
        let all = lists.flat_map(|l| &l.devices).map(|d| d.certificate.device());
        all.filter(|device| self.delivery.links.contains_key(device)).collect()
    }

    /// What a device has not acknowledged for too long is sent to it again.
    pub(crate) fn resend(&mut self, turn: &Turn<'_>, device: DeviceId) {
        // Looked at again, too, as it may have to be woken for others.
        let Some(link) = self.delivery.links.get_mut(&device) else { return };
        let late = |c: &Cursor| !c.inflight.is_empty() && c.resend_due() <= turn.now();
        let chats = link.cursors.iter().filter(|(_, c)| late(c)).map(|(chat, _)| *chat);
        for chat in chats.collect::<Vec<_>>() {
            self.conversations.chats.touch(chat);
        }
    }

    fn ack_again(&mut self, device: DeviceId, chat: ChatId) {
        let received =
            self.conversations.chats.get(&chat).and_then(|c| c.roster.device(&device)).map_or(0, |d| d.received);
        if received > 0
            && let Some(group) = self.active_group(chat)
            && let Some(link) = self.delivery.links.get_mut(&device)
        {
            link.acks.insert((chat, group));
        }
    }

    /// Something of a device is (or will be, with this turn) durable here: it has to be told.
    pub(crate) fn schedule_ack(&mut self, turn: &mut Turn<'_>, device: DeviceId, chat: ChatId, group: GroupId) {
        if let Some(link) = self.delivery.links.get_mut(&device) {
            link.acks.insert((chat, group));
        } else if let Some(state) = self.conversations.chats.get_mut(&chat) {
            let due = turn.now() + crate::limits::RECEIPT_DELAY_MS;
            state.receipt_due = Some(state.receipt_due.map_or(due, |d| d.min(due)));
        }
    }

    /// Everything that can leave on direct streams now.
    pub(crate) fn pump_links(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for chat in self.touched_chats() {
            let owed = self.conversations.chats.get(&chat).is_some_and(|c| !c.outbox.is_empty());
            for device in self.linked_devices(chat) {
                if owed {
                    self.pump(turn, device, chat)?;
                } else if let Some(link) = self.delivery.links.get_mut(&device) {
                    // What is no longer owed (its group is gone, say) is not waited for either.
                    link.cursors.remove(&chat);
                }
            }
            if let Some(state) = self.conversations.chats.get_mut(&chat) {
                state.outbox.iter_mut().rev().map_while(|i| i.message.take()).for_each(drop);
            }
        }
        for device in self.delivery.links.touched() {
            self.send_acks(turn, device);
        }
        Ok(())
    }

    fn pump(&mut self, turn: &mut Turn<'_>, device: DeviceId, chat: ChatId) -> Result<(), EngineError> {
        let now = turn.now();
        let waits = self.conversations.chats.get(&chat).filter(|c| !c.outbox.is_empty());
        let groups = waits.map(|c| c.row.groups.clone()).unwrap_or_default();
        let ids = groups.iter().filter_map(|g| GroupId::try_from(g.as_slice()).ok());
        let given_up: Vec<GroupId> = ids.filter(|g| self.has_revoked_member(chat, *g)).collect();
        let Some(state) = self.conversations.chats.get_mut(&chat).filter(|c| !c.outbox.is_empty()) else {
            return Ok(());
        };
        let acked = state.roster.device(&device).map_or(0, |d| d.acked);
        let Some(link) = self.delivery.links.get_mut(&device) else {
            return Ok(());
        };
        let cursor =
            link.cursors.entry(chat).or_insert_with(|| Cursor { sent: acked, since_ms: now, ..Cursor::default() });
        if !cursor.inflight.is_empty() && now.saturating_sub(cursor.since_ms) > RESEND_AFTER_MS {
            *cursor = Cursor { sent: acked, since_ms: now, ..Cursor::default() };
        }
        let from = state.outbox.partition_point(|i| i.last <= cursor.sent);
        let (mut entries, mut len, mut sent) = (Vec::new(), 0, 0);
        for item in state.outbox.iter().skip(from) {
            // Only members can read it; a device that joined another group waits for that one.
            let member = self.conversations.groups.get(&item.group).is_some_and(|g| g.has_member(&device));
            if !member || given_up.contains(&item.group) {
                continue;
            }
            if sent >= PUMP_ENTRIES || cursor.bytes + item.len > WINDOW_BYTES {
                break;
            }
            let message = match &item.message {
                Some(message) => message.clone(),
                None => match turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, item.first))? {
                    Some(row) => row.message,
                    None => continue,
                },
            };
            if cursor.inflight.is_empty() {
                cursor.since_ms = now;
            }
            cursor.sent = item.last;
            cursor.inflight.push_back((item.last, item.len));
            cursor.bytes += item.len;
            sent += 1;
            len += item.len + 64;
            entries.push(Entry { group: Bytes::copy_from_slice(&item.group), message });
            if len > starling_wire::limits::MAX_DIRECT_FRAME / 2 {
                let frame = DirectFrame { entries: std::mem::take(&mut entries), ..DirectFrame::default() };
                len = 0;
                turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
            }
        }
        if cursor.inflight.is_empty() {
            link.cursors.remove(&chat);
        }
        if !entries.is_empty() {
            let frame = DirectFrame { entries, ..DirectFrame::default() };
            turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
        }
        Ok(())
    }

    fn send_acks(&mut self, turn: &mut Turn<'_>, device: DeviceId) {
        let Some(link) = self.delivery.links.get_mut(&device) else {
            return;
        };
        let mut acks = Vec::new();
        for (chat, group) in link.acks.drain() {
            let Some(state) = self.conversations.chats.get_mut(&chat) else {
                continue;
            };
            let Some(row) = state.roster.device(&device) else { continue };
            let (told, upto) = (row.told, row.received);
            if told != upto
                && let Some(row) = state.roster.known_mut(&device)
            {
                row.told = upto;
            }
            acks.push(Ack { group: Bytes::copy_from_slice(&group), upto });
        }
        if !acks.is_empty() {
            let frame = DirectFrame { acks, ..DirectFrame::default() };
            turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
        }
    }

    /// A message without a number, to those who are connected. Gives whether these are all.
    pub(crate) fn send_unsequenced(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        group: GroupId,
        message: &Bytes,
    ) -> bool {
        let Some(entry) = self.conversations.groups.get(&group).filter(|_| !self.has_revoked_member(chat, group))
        else {
            return false;
        };
        let me = self.account.device();
        let others: Vec<DeviceId> = entry.members.iter().map(|m| m.device).filter(|d| *d != me).collect();
        let mut all = true;
        for device in others {
            if self.delivery.links.contains_key(&device) {
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

    pub(crate) fn send_signal_direct(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        group: GroupId,
        sealed: Vec<u8>,
    ) {
        let frame = DirectFrame {
            signals: vec![SealedSignal { group: Bytes::copy_from_slice(&group), sealed: sealed.into() }],
            ..DirectFrame::default()
        };
        turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
    }

    /// A device says on its stream what it has.
    pub(crate) fn on_ack(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        group: &[u8],
        upto: u64,
    ) -> Result<(), EngineError> {
        let Some(entry) = GroupId::try_from(group).ok().and_then(|g| self.conversations.groups.get(&g)) else {
            return Ok(());
        };
        let id = entry.id;
        let Ok(chat) = entry.row.chat.as_slice().try_into() else {
            return Ok(());
        };
        if !entry.has_member(&device) {
            return Ok(());
        }
        if !self.account.has_other(&device) {
            self.confirm_group(turn, id)?;
        }
        self.acknowledged(turn, ChatId(chat), device, upto)
    }

    /// A device has all our events of a chat up to `upto`.
    pub(crate) fn acknowledged(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        device: DeviceId,
        upto: u64,
    ) -> Result<(), EngineError> {
        let Some(account) = self.account_of(&device) else {
            return Ok(());
        };
        let own = account == self.account.id();
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return Ok(());
        };
        // Nobody can have what was never written.
        let upto = upto.min(state.row.last_sequence);
        let delivered_before = state.roster.progress().delivered;
        if state.roster.device(&device).is_some_and(|d| upto <= d.acked) {
            return Ok(());
        }
        state.roster.device_mut(account, &device).acked = upto;
        let mut cursor = self.delivery.links.get_mut(&device).and_then(|l| l.cursors.remove(&chat));
        if let Some(cursor) = &mut cursor {
            while cursor.inflight.front().is_some_and(|(last, _)| *last <= upto) {
                if let Some((_, len)) = cursor.inflight.pop_front() {
                    cursor.bytes -= len;
                }
            }
            cursor.sent = cursor.sent.max(upto);
            cursor.since_ms = turn.now();
        }
        // One with nothing in flight begins at what was acknowledged: there is no need to keep it.
        if let Some(cursor) = cursor.filter(|c| !c.inflight.is_empty())
            && let Some(link) = self.delivery.links.get_mut(&device)
        {
            link.cursors.insert(chat, cursor);
        }
        let delivered_now = state.roster.progress().delivered;
        let mut ids = Vec::new();
        if delivered_now > delivered_before {
            let from = state.outbox.partition_point(|i| i.last <= delivered_before);
            for item in state.outbox.iter().skip(from).take_while(|i| i.first <= delivered_now) {
                ids.extend(item.ids_between(delivered_before, delivered_now));
            }
        }
        if !own && state.row.sent_upto < upto {
            state.row.sent_upto = upto;
            state.dirty = true;
        }
        turn.state_news(chat, ids, DeliveryState::Delivered, "")?;
        self.clear_outbox(turn, chat)
    }

    /// Entries that every device on both accounts' lists has are not kept any more.
    pub(crate) fn clear_outbox(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let Some(state) = self.conversations.chats.get(&chat) else {
            return Ok(());
        };
        let done = state.outbox.iter().take_while(|i| self.everybody_has(state, i.group, i.last)).count();
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return Ok(());
        };
        for item in state.outbox.drain(..done) {
            turn.delete(OUTBOX, &outbox_key(chat, item.first))?;
        }
        if state.outbox.is_empty() {
            self.set_problem(turn, chat, None);
        }
        if done > 0 {
            self.conversations.trim_chat(turn, &mut self.homes, chat);
        }
        Ok(())
    }
}
