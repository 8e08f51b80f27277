//! Direct streams: what goes out on them, and what their acknowledgements mean.

mod limits;
mod runs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    direct::{Ack, DirectFrame, Entry},
    limits::MAX_DIRECT_FRAME,
};

use self::{
    limits::{PUMP_ENTRIES, RESEND_AFTER_MS, WINDOW_BYTES},
    runs::Runs,
};
use crate::{
    account::Account,
    api::types::{ChatId, TransientEvent},
    contacts::Directory,
    conversation::{
        ChatState, Connections, Conversations,
        outbox::{OutItem, outbox_key},
    },
    mls::GroupId,
    net::NetCommand,
    store::{OUTBOX, OutboxRow, Reading},
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
    /// One that begins after what the device has acknowledged.
    fn at(acked: u64, now: u64) -> Self {
        Self { sent: acked, since_ms: now, ..Self::default() }
    }

    /// An entry is on its way.
    fn note_sent(&mut self, item: &OutItem, now: u64) {
        if self.inflight.is_empty() {
            self.since_ms = now;
        }
        self.sent = item.last;
        self.inflight.push_back((item.last, item.len));
        self.bytes += item.len;
    }

    /// The device has everything up to a number.
    fn acknowledged(&mut self, upto: u64, now: u64) {
        while let Some((_, len)) = self.inflight.pop_front_if(|(last, _)| *last <= upto) {
            self.bytes -= len;
        }
        self.sent = self.sent.max(upto);
        self.since_ms = now;
    }

    /// When what is in flight is sent again.
    fn resend_due(&self) -> u64 {
        self.since_ms + RESEND_AFTER_MS + 1
    }
}

/// A direct stream to a device.
#[derive(Debug)]
pub struct Link {
    pub relayed: bool,
    /// The device does not answer, though the stream is there.
    pub silent: bool,
    cursors: BTreeMap<ChatId, Cursor>,
    /// Chats with something to acknowledge.
    acks: BTreeSet<(ChatId, GroupId)>,
    /// Of a device of ours: chats in which more of our events was delivered than it was told.
    delivered: BTreeSet<ChatId>,
}

impl Link {
    /// When what was not acknowledged is sent again.
    pub fn resend_due(&self) -> Option<u64> {
        self.cursors.values().filter(|c| !c.inflight.is_empty()).map(Cursor::resend_due).min()
    }
}

/// The streams to other devices.
#[derive(Default)]
pub struct Delivery {
    pub links: Tracked<DeviceId, Link>,
    runs: Runs,
}

impl Connections for Delivery {
    fn is_connected(&self, device: &DeviceId) -> bool {
        self.links.contains_key(device)
    }

    fn is_silent(&self, device: &DeviceId) -> bool {
        self.links.get(device).is_some_and(|link| link.silent)
    }

    fn is_relayed(&self, device: &DeviceId) -> bool {
        self.links.get(device).is_some_and(|link| link.relayed)
    }
}

impl Delivery {
    /// A stream to a device is there.
    pub fn link_up(
        &mut self,
        turn: &mut Turn<'_>,
        conversations: &mut Conversations,
        dir: Directory<'_>,
        device: DeviceId,
        relayed: bool,
    ) {
        if !dir.may_talk(&device) {
            return;
        }
        let mut link = Link {
            relayed,
            silent: false,
            cursors: BTreeMap::new(),
            acks: BTreeSet::new(),
            delivered: BTreeSet::new(),
        };
        let own = dir.account.has_other(&device);
        for chat in conversations.chats.chats_of(dir, &device) {
            conversations.chats.touch(chat);
            // Acknowledged again: the last stream may have lost it.
            let state = conversations.chats.get(&chat);
            let received = state.and_then(|c| c.roster.device(&device)).map_or(0, |d| d.received);
            if received > 0
                && let Some(group) = conversations.active_group(dir, chat)
            {
                link.acks.insert((chat, group));
            }
            if own && state.is_some_and(|c| c.roster.progress().delivered > 0) {
                link.delivered.insert(chat);
            }
        }
        self.links.insert(device, link);
        let run = Some(self.runs.own(turn));
        send_frame(turn, device, DirectFrame { run, ..DirectFrame::default() });
        turn.fact(Fact::LinkUp(device));
        turn.transient_event(TransientEvent::Net);
    }

    /// A stream to a device has ended.
    pub fn link_down(&mut self, turn: &mut Turn<'_>, device: DeviceId) {
        if self.links.remove(&device).is_none() {
            return;
        }
        turn.fact(Fact::LinkDown(device));
        turn.transient_event(TransientEvent::Net);
    }

    /// A device does not answer on its stream, or answers again. What waits for it is kept, and what is shown is true.
    pub fn link_silent(&mut self, turn: &mut Turn<'_>, device: DeviceId, silent: bool) {
        let Some(link) = self.links.get_mut(&device) else { return };
        link.silent = silent;
        turn.fact(if silent { Fact::LinkSilent(device) } else { Fact::LinkAnswers(device) });
        turn.transient_event(TransientEvent::Net);
    }

    /// Nothing more goes to the devices of an account.
    pub fn drop_links_of(&mut self, dir: Directory<'_>, account: &AccountId) {
        for entry in dir.list_of(account).into_iter().flat_map(|l| &l.devices) {
            self.links.remove(&entry.id);
        }
    }

    /// What waits in a conversation's outbox is sent from the first that each device has not acknowledged.
    pub fn rewind(&mut self, conversations: &Conversations, dir: Directory<'_>, chat: ChatId) {
        for device in self.linked_devices(conversations, dir, chat) {
            if let Some(link) = self.links.get_mut(&device) {
                link.cursors.remove(&chat);
            }
        }
    }

    /// The devices of a conversation that we are connected to, and that get what is written there on streams. In a group nobody does: its members,
    /// who may be many, are not looked at.
    fn linked_devices(&self, conversations: &Conversations, dir: Directory<'_>, chat: ChatId) -> Vec<DeviceId> {
        let Some(state) = conversations.chats.get(&chat).filter(|state| !state.is_group()) else { return Vec::new() };
        let lists = dir.device_lists(state.roster.accounts()).filter_map(|(_, list)| list);
        let all = lists.flat_map(|l| &l.devices).map(|d| d.id);
        all.filter(|device| self.links.contains_key(device)).collect()
    }

    /// What a device has not acknowledged for too long is sent to it again.
    pub fn resend(&mut self, turn: &Turn<'_>, conversations: &mut Conversations, device: DeviceId) {
        // Looked at again, too, as it may have to be woken for others.
        let Some(link) = self.links.get_mut(&device) else { return };
        let late = |c: &Cursor| !c.inflight.is_empty() && c.resend_due() <= turn.now();
        for (chat, _) in link.cursors.iter().filter(|(_, c)| late(c)) {
            conversations.chats.touch(*chat);
        }
    }

    /// Something of a device is, or will be with this turn, durable here: it is acknowledged on its stream. Gives whether there is one.
    pub fn schedule_ack(&mut self, device: DeviceId, chat: ChatId, group: GroupId) -> bool {
        let link = self.links.get_mut(&device);
        link.map(|link| link.acks.insert((chat, group))).is_some()
    }

    /// More of our events of a conversation was delivered: the other devices of our account that are connected hear of it.
    pub fn schedule_delivered(&mut self, account: &Account, chat: ChatId) {
        for device in account.other_devices() {
            if let Some(link) = self.links.get_mut(&device.id) {
                link.delivered.insert(chat);
            }
        }
    }

    /// A device has all our events of a conversation up to `upto`.
    pub fn acknowledged(&mut self, turn: &Turn<'_>, chat: ChatId, device: DeviceId, upto: u64) {
        let Some(link) = self.links.get_mut(&device) else { return };
        let Some(cursor) = link.cursors.get_mut(&chat) else { return };
        cursor.acknowledged(upto, turn.now());
        // One with nothing in flight begins at what was acknowledged: there is no need to keep it.
        if cursor.inflight.is_empty() {
            link.cursors.remove(&chat);
        }
    }

    /// Everything that can leave on direct streams now.
    pub fn pump(
        &mut self,
        turn: &mut Turn<'_>,
        conversations: &mut Conversations,
        dir: Directory<'_>,
    ) -> Result<(), EngineError> {
        for chat in conversations.touched_chats(dir) {
            let on_streams = |c: &ChatState| !c.outbox.is_empty() && !c.row.outdated;
            let waits = conversations.chats.get(&chat).is_some_and(on_streams);
            for device in self.linked_devices(conversations, dir, chat) {
                if waits {
                    self.pump_to(turn, conversations, dir, device, chat)?;
                } else if let Some(link) = self.links.get_mut(&device) {
                    // What waits no longer (its group is gone, say) is not waited for either.
                    link.cursors.remove(&chat);
                }
            }
            if let Some(state) = conversations.chats.get_mut(&chat) {
                state.outbox.iter_mut().rev().map_while(|i| i.message.take()).for_each(drop);
            }
        }
        for device in self.links.touched() {
            self.send_acks(turn, conversations, device);
            self.send_delivered(turn, conversations, device);
        }
        Ok(())
    }

    /// Sends a device what waits for it in a conversation, as far as its window has room.
    fn pump_to(
        &mut self,
        turn: &mut Turn<'_>,
        conversations: &mut Conversations,
        dir: Directory<'_>,
        device: DeviceId,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        // Only members can read it; a device that joined another group waits for that one.
        let groups = conversations.chats.get(&chat).map(|c| c.row.groups.as_slice()).unwrap_or_default();
        let ids = groups.iter().filter_map(|g| GroupId::try_from(g.as_slice()).ok());
        let is_member = |group: &GroupId| {
            let entry = conversations.groups.get(group);
            entry.is_some_and(|g| g.has_member(&device))
        };
        let readable: Vec<GroupId> =
            ids.filter(|g| is_member(g) && !conversations.has_revoked_member(dir, chat, *g)).collect();
        let run = Some(self.runs.own(turn));
        let Some(state) = conversations.chats.get_mut(&chat) else { return Ok(()) };
        let Some(link) = self.links.get_mut(&device) else { return Ok(()) };
        let acked = state.roster.device(&device).map_or(0, |d| d.acked);
        let cursor = link.cursors.entry(chat).or_insert_with(|| Cursor::at(acked, turn.now()));
        if !cursor.inflight.is_empty() && turn.now().saturating_sub(cursor.since_ms) > RESEND_AFTER_MS {
            *cursor = Cursor::at(acked, turn.now());
        }
        let from = state.outbox.partition_point(|i| i.last <= cursor.sent);
        let (mut entries, mut len, mut sent) = (Vec::new(), 0, 0);
        for item in state.outbox.iter().skip(from).filter(|item| readable.contains(&item.group)) {
            if sent >= PUMP_ENTRIES || cursor.bytes + item.len > WINDOW_BYTES {
                break;
            }
            let Some(message) = message_of(turn, chat, item)? else { continue };
            cursor.note_sent(item, turn.now());
            sent += 1;
            len += item.len + 64;
            entries.push(Entry { group: Bytes::copy_from_slice(&item.group), message });
            if len > MAX_DIRECT_FRAME / 2 {
                let full = std::mem::take(&mut entries);
                send_frame(turn, device, DirectFrame { entries: full, run: run.clone(), ..DirectFrame::default() });
                len = 0;
            }
        }
        if cursor.inflight.is_empty() {
            link.cursors.remove(&chat);
        }
        if !entries.is_empty() {
            send_frame(turn, device, DirectFrame { entries, run, ..DirectFrame::default() });
        }
        Ok(())
    }

    fn send_acks(&mut self, turn: &mut Turn<'_>, conversations: &mut Conversations, device: DeviceId) {
        let Some(link) = self.links.get_mut(&device) else {
            return;
        };
        let mut acks = Vec::new();
        for (chat, group) in std::mem::take(&mut link.acks) {
            let Some(state) = conversations.chats.get_mut(&chat).filter(|state| !state.row.outdated) else {
                continue;
            };
            let Some(row) = state.roster.device(&device) else { continue };
            let (told, upto, clock) = (row.told, row.received, row.received_clock);
            if told != upto
                && let Some(row) = state.roster.known_mut(&device)
            {
                row.told = upto;
            }
            acks.push(Ack { group: Bytes::copy_from_slice(&group), upto, clock });
        }
        if !acks.is_empty() {
            send_frame(turn, device, DirectFrame { acks, ..DirectFrame::default() });
        }
    }
}

impl Delivery {
    /// Tells another device of ours what of this device was delivered. A conversation is named by each of its groups that the other one
    /// is in: it may not have joined the newest yet.
    fn send_delivered(&mut self, turn: &mut Turn<'_>, conversations: &Conversations, to: DeviceId) {
        let Some(link) = self.links.get_mut(&to) else { return };
        let mut delivered = Vec::new();
        for state in std::mem::take(&mut link.delivered).iter().filter_map(|chat| conversations.chats.get(chat)) {
            let upto = state.roster.progress().delivered;
            let groups = conversations.groups.groups_of(state).filter(|(_, group)| group.has_member(&to));
            let named = groups.map(|(_, group)| Ack { group: Bytes::copy_from_slice(&group.id), upto, clock: 0 });
            delivered.extend(named);
        }
        if !delivered.is_empty() {
            send_frame(turn, to, DirectFrame { delivered, ..DirectFrame::default() });
        }
    }
}

/// Sends a device a frame after this turn.
fn send_frame(turn: &mut Turn<'_>, device: DeviceId, frame: DirectFrame) {
    turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
}

/// The encrypted message of an outbox entry.
fn message_of(turn: &Turn<'_>, chat: ChatId, item: &OutItem) -> Result<Option<Bytes>, EngineError> {
    if let Some(message) = &item.message {
        return Ok(Some(message.clone()));
    }
    Ok(turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, item.first))?.map(|row| row.message))
}
