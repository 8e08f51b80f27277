//! What comes by gossip: it is shown, and kept until the log has it.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_keys::{AccountId, Certificate, DeviceId};
use starling_wire::{Batch, Body, Event, EventId, LogContent, TopicId};

use super::{
    Entry, Held, MessageHash, gossip_key,
    limits::{MAX_GOSSIP_BYTES, MAX_GOSSIP_ENTRIES, MAX_GOSSIP_OF_DEVICE},
};
use crate::{
    api::types::{ChatId, Via},
    conversation::{Conversations, context::Context, group::GroupId, policy::may_send, receive::short_hash},
    events::At,
    limits::MAX_CLOCK_AHEAD_MS,
    mls::Processed,
    ranges,
    store::{GOSSIPED, GossipRow},
    turn::{EngineError, EventFact, Turn},
};

impl Held {
    pub(super) fn has_room(&self, device: DeviceId, len: usize) -> bool {
        let of_device = self.entries.values().filter(|entry| entry.device == device).count();
        self.entries.len() < MAX_GOSSIP_ENTRIES
            && of_device < MAX_GOSSIP_OF_DEVICE
            && self.bytes + len <= MAX_GOSSIP_BYTES
    }
}

impl Conversations {
    /// A member has passed on an entry that a member has made.
    pub(crate) fn on_gossip(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        topic: TopicId,
        sealed: &Bytes,
    ) -> Result<(), EngineError> {
        self.take_passed_on(turn, cx, (topic, sealed), true)
    }

    /// Takes an entry, or lets it wait for the log if it may.
    pub(super) fn take_passed_on(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (topic, sealed): (TopicId, &Bytes),
        may_wait: bool,
    ) -> Result<(), EngineError> {
        let Some(told) = self.gossip.told.get(&topic) else { return Ok(()) };
        let (chat, id, epoch) = (told.chat, told.group, told.epoch);
        if self.gossiping(cx, chat) != Some(id) {
            return Ok(());
        }
        let keys = self.groups.get(&id).and_then(|group| group.keys_of(epoch));
        let Some(content) = keys.and_then(|keys| keys.open_entry(sealed)) else {
            self.on_gossip_signal(turn, cx, topic, sealed);
            return Ok(());
        };
        // Commits, their parts and beacons count where they stand in a log.
        let Ok(LogContent::Message(message)) = LogContent::from_bytes(content.into()) else { return Ok(()) };
        let hash = short_hash(&message);
        let is_held = self.gossip.held.get(&chat).is_some_and(|held| held.entries.contains_key(&hash));
        if is_held || self.seen.contains(&message) {
            return Ok(());
        }
        if may_wait && self.waits_for_log(turn, cx, (chat, id, epoch), hash, (topic, sealed)) {
            return Ok(());
        }
        if self.gossip.vain.entry(chat).or_default().are_too_many(turn.now()) {
            return Ok(());
        }
        if !self.take_gossip(turn, cx, (topic, sealed), (chat, id, epoch), &message)? {
            self.gossip.vain.entry(chat).or_default().note();
        }
        Ok(())
    }

    /// Takes a message that a member has made, whoever that is. Gives whether it is shown, or may come to count.
    fn take_gossip(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (topic, sealed): (TopicId, &Bytes),
        (chat, id, epoch): (ChatId, GroupId, u64),
        message: &Bytes,
    ) -> Result<bool, EngineError> {
        let Some(mut group) = self.open(turn, cx.mls, id)? else { return Ok(false) };
        let Processed::Application { sender, data, epoch: written_in } = group.preview(message) else {
            return Ok(false);
        };
        // Who is not in the group any more writes nothing, in whatever epoch.
        let is_in = group.entry.has_member(&sender.device());
        let has_room = self.gossip.held.get(&chat).is_none_or(|held| held.has_room(sender.device(), sealed.len()));
        if written_in != epoch || !is_in || !has_room {
            return Ok(false);
        }
        let Some(kind) = self.kind_for(cx, chat, &sender) else { return Ok(false) };
        let Ok(batch) = Batch::decode(&data, sender.device().tag()) else { return Ok(false) };
        let (role, permissions) = (self.role_in(chat, &sender.account()), self.policies.permissions(&chat));
        let may_count =
            |event: &&Event| self.may_be_new(chat, &sender, event.id) && may_send(kind, role, permissions, &event.body);
        // Of two with one number the first counts in the log.
        let mut numbers = self.shown_numbers(chat, sender.device().tag());
        let is_first = |event: &&Event| numbers.insert(event.id.sequence);
        let events: Vec<&Event> = batch.events.iter().filter(may_count).filter(is_first).collect();
        if events.is_empty() {
            // Receipts are not passed on, what was taken before a crash is in the log, and what its author may not write is void there.
            return Ok(false);
        }
        let ids = self.show(turn, cx, (chat, id, epoch), &sender, &events)?;
        self.keep_gossip(turn, (chat, short_hash(message)), topic, sender.device(), (sealed, ids))?;
        Ok(true)
    }

    /// Shows those messages of a batch that the log may come to have. Gives them.
    fn show(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (chat, id, epoch): (ChatId, GroupId, u64),
        sender: &Certificate,
        events: &[&Event],
    ) -> Result<BTreeSet<EventId>, EngineError> {
        let mut shown = BTreeSet::new();
        let account = sender.account();
        let slow_ms = self.policies.slow_ms(&chat, self.role_in(chat, &account));
        let mut stamps = if slow_ms > 0 { self.shown_stamps(chat, id, account) } else { Vec::new() };
        let latest = turn.latest_ms();
        for event in events {
            // Changes of messages wait for the log: they are about what stands there.
            if !matches!(event.body, Body::Text(_)) {
                continue;
            }
            // What is stamped ahead of the time is not shown before it is due.
            if event.id.clock.ms() > latest.saturating_add(MAX_CLOCK_AHEAD_MS) {
                continue;
            }
            // In slow mode what comes too soon is void in the log.
            stamps.push(event.id.clock.ms());
            let Some(state) = self.chats.get(&chat) else { break };
            if slow_ms > 0 && !state.roster.would_keep_pace(account, epoch, &stamps, slow_ms) {
                stamps.pop();
                continue;
            }
            let known = self.with_fold(turn, cx.dir, chat, |fold| fold.row(event.id));
            let Some((row, _)) = known else { break };
            if row?.is_some() {
                continue;
            }
            cx.counters.clock.observe(event.id.clock, latest, MAX_CLOCK_AHEAD_MS);
            let origin = self.authors.origin_of(turn, cx.dir, sender, Via::Gossip)?;
            self.fold_event(turn, cx.dir, chat, &At { id: event.id, body: &event.body, origin: &origin })?;
            if let Some(state) = self.chats.get_mut(&chat) {
                state.provisional.insert(event.id);
            }
            shown.insert(event.id);
        }
        if !shown.is_empty() {
            turn.facts([EventFact::Arrived(chat)]);
        }
        Ok(shown)
    }

    /// The stamps of an account's messages that are shown and not final, the earliest first, in milliseconds since 1970.
    fn shown_stamps(&self, chat: ChatId, id: GroupId, account: AccountId) -> Vec<u64> {
        let Some((held, group)) = self.gossip.held.get(&chat).zip(self.groups.get(&id)) else { return Vec::new() };
        let devices: BTreeSet<DeviceId> =
            group.members.iter().filter(|member| member.account == account).map(|member| member.device).collect();
        let entries = held.entries.values().filter(|entry| devices.contains(&entry.device));
        let mut stamps: Vec<u64> = entries.flat_map(|entry| &entry.ids).map(|id| id.clock.ms()).collect();
        stamps.sort_unstable();
        stamps
    }

    /// Whether an event may be one that was not taken yet, by its number.
    fn may_be_new(&self, chat: ChatId, sender: &Certificate, id: EventId) -> bool {
        let Some(state) = self.chats.get(&chat) else { return false };
        let is_taken = state.roster.device(&sender.device()).is_some_and(|row| {
            id.sequence <= row.received || ranges::contain(&row.early, id.sequence) || !row.counts(id.sequence)
        });
        id.sequence != 0 && !is_taken
    }

    /// The numbers of a device's messages that are shown and not final.
    fn shown_numbers(&self, chat: ChatId, tag: [u8; 8]) -> BTreeSet<u64> {
        let shown = self.chats.get(&chat).into_iter().flat_map(|state| &state.provisional);
        shown.filter(|id| id.device == tag).map(|id| id.sequence).collect()
    }

    /// Keeps an entry until the log has it.
    pub(super) fn keep_gossip(
        &mut self,
        turn: &Turn<'_>,
        (chat, hash): (ChatId, MessageHash),
        topic: TopicId,
        device: DeviceId,
        (sealed, ids): (&Bytes, BTreeSet<EventId>),
    ) -> Result<(), EngineError> {
        let row = GossipRow {
            topic: topic.0.to_vec(),
            entry: sealed.clone(),
            device: device.as_bytes().to_vec(),
            ids: ids.iter().flat_map(|id| id.to_bytes()).collect(),
            at_ms: turn.wall(),
        };
        turn.put(GOSSIPED, &gossip_key(chat, &hash), &row)?;
        let (len, at_ms, since) = (sealed.len(), turn.wall(), turn.now());
        let entry = Entry { topic, device, ids, len, at_ms, since, appended_at: 0, appends: 0, over_at: 0 };
        self.gossip.hold(chat, hash, entry);
        self.chats.touch(chat);
        Ok(())
    }
}
