//! What is passed on, and what is appended for others: an entry that its author has not brought into the log.

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{LogVerb, TopicId, rendezvous::LogRequest};

use super::{Entry, MessageHash, gossip_key};
use crate::{
    api::types::ChatId,
    conversation::{Conversations, context::Context, group::GroupId, outbox::outbox_key},
    home::Pending,
    limits::{
        APPEND_BYTES, APPEND_ENTRIES, APPEND_FOR_OTHERS_MS, APPEND_TURN_MS, GOSSIP_AGAIN_MS, GOSSIP_READ_MS,
        MAX_GOSSIP_AGAIN,
    },
    net::{HomeId, NetCommand},
    store::{GOSSIPED, GossipRow, OUTBOX, OutboxRow, Reading},
    turn::{Effect, EngineError, Turn},
};

impl Entry {
    /// When this device appends it, in steady time, if it is not in the log by then: members do so one after the other, in an order that is another
    /// for each entry.
    fn append_at(&self, readable_since: u64, turn: u64) -> u64 {
        let since = (self.since + APPEND_FOR_OTHERS_MS).max(readable_since + GOSSIP_READ_MS);
        let again = if self.appended_at == 0 { 0 } else { self.appended_at + APPEND_FOR_OTHERS_MS };
        since.max(again) + turn * APPEND_TURN_MS
    }
}

/// The place of a device among those that append an entry.
fn turn_of(device: &DeviceId, hash: &MessageHash, members: usize) -> u64 {
    let place = blake3::keyed_hash(device.as_bytes(), hash);
    u64::from(place.as_bytes()[0]) % members.max(1) as u64
}

impl Conversations {
    /// Passes on what this turn has written in a conversation.
    pub(super) fn publish_new(&self, turn: &mut Turn<'_>, cx: &Context<'_>, chat: ChatId) {
        let Some(state) = self.chats.get(&chat) else { return };
        let new: Vec<&Bytes> = state.outbox.iter().rev().map_while(|item| item.message.as_ref()).collect();
        let Some((id, place)) = self.gossip.current(&chat).filter(|_| !new.is_empty()) else { return };
        if self.has_revoked_member(cx.dir, chat, id) {
            // A device that was given up would read it.
            return;
        }
        let items = state.outbox.iter().rev().take(new.len()).rev();
        let of_epoch = items.filter(|item| item.group == id && item.epoch == place.epoch);
        let messages: Vec<Bytes> = of_epoch.filter_map(|item| item.message.clone()).collect();
        self.publish(turn, (id, place.epoch), place.topic(), &messages);
    }

    fn publish(&self, turn: &mut Turn<'_>, (id, epoch): (GroupId, u64), topic: TopicId, messages: &[Bytes]) {
        let Some(keys) = self.groups.get(&id).and_then(|group| group.keys_of(epoch)) else { return };
        for message in messages.iter().filter(|message| !message.is_empty()) {
            // What is too long is read in the log.
            if let Some(envelope) = keys.gossip.seal(&keys.seal_entry(message)) {
                turn.emit(Effect::Net(NetCommand::Publish(topic, envelope)));
            }
        }
    }

    /// A member can be reached. While the log cannot be, it lacks what was written before, and is given that.
    pub(crate) fn on_gossip_peer(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        topic: TopicId,
    ) -> Result<(), EngineError> {
        let Some(chat) = self.gossip.told.get(&topic).map(|told| told.chat) else { return Ok(()) };
        let Some((id, place)) = self.gossip.current(&chat).filter(|(_, place)| place.topic() == topic) else {
            return Ok(());
        };
        let (epoch, key) = (place.epoch, place.key.clone());
        if self.usable(turn, cx, id).is_some() || self.has_revoked_member(cx.dir, chat, id) {
            return Ok(());
        }
        let Some(state) = self.chats.get(&chat) else { return Ok(()) };
        let from = state.outbox.partition_point(|item| item.last <= state.row.logged_upto);
        let waiting = state.outbox.iter().skip(from).filter(|item| item.group == id && item.epoch == epoch);
        let firsts: Vec<u64> = waiting.take(MAX_GOSSIP_AGAIN).map(|item| item.first).collect();
        let held = self.gossip.held.entry(chat).or_default();
        if held.again_at > turn.now() {
            return Ok(());
        }
        held.again_at = turn.now() + GOSSIP_AGAIN_MS;
        let of_others = held.entries.iter().filter(|(_, entry)| entry.topic == topic);
        let of_others: Vec<MessageHash> = of_others.take(MAX_GOSSIP_AGAIN).map(|(hash, _)| *hash).collect();
        let mut own = Vec::new();
        for first in firsts {
            own.extend(turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, first))?.map(|row| row.message));
        }
        self.publish(turn, (id, epoch), topic, &own);
        for hash in of_others {
            let row = turn.get::<GossipRow>(GOSSIPED, &gossip_key(chat, &hash))?;
            if let Some(envelope) = row.and_then(|row| key.seal(&row.entry)) {
                turn.emit(Effect::Net(NetCommand::Publish(topic, envelope)));
            }
        }
        Ok(())
    }

    /// The home of a conversation's group, if its log was read to its end and can be written to.
    fn written_log(&self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId) -> Option<HomeId> {
        let group = self.groups.get(&id)?;
        let may_write = group.row.log_opened || !group.row.ours;
        let is_read = may_write && group.read.caught_up && !group.append.behind;
        self.usable(turn, cx, id).filter(|_| is_read)
    }

    /// Appends what others have written in a conversation and the log still lacks. Gives when to look again, in steady time.
    pub(super) fn append_for_others(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
    ) -> Result<Option<u64>, EngineError> {
        if !self.gossip.held.contains_key(&chat) {
            return Ok(None);
        }
        let id = self.gossiping(cx, chat).filter(|id| !self.has_revoked_member(cx.dir, chat, *id));
        let log = id.and_then(|id| Some((id, self.written_log(turn, cx, id)?)));
        let topic = self.gossip.wanted.get(&chat).map(|wanted| wanted.current.topic());
        let Some(held) = self.gossip.held.get_mut(&chat) else { return Ok(None) };
        let Some((id, home)) = log else {
            held.readable_since = None;
            return Ok(None);
        };
        let since = *held.readable_since.get_or_insert(turn.now());
        let Some(group) = self.groups.get(&id) else { return Ok(None) };
        let (me, members) = (cx.dir.account.device(), group.members.len());
        let (mut due, mut next): (Vec<MessageHash>, Option<u64>) = (Vec::new(), None);
        for (hash, entry) in held.entries.iter().filter(|(_, entry)| Some(entry.topic) == topic) {
            let at = entry.append_at(since, turn_of(&me, hash, members));
            if at <= turn.now() {
                due.push(*hash);
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        if due.is_empty() {
            return Ok(next);
        }
        let (mut entries, mut size): (Vec<Bytes>, usize) = (Vec::new(), 0);
        for hash in due.into_iter().take(APPEND_ENTRIES) {
            let Some(entry) = held.entries.get_mut(&hash) else { continue };
            if size + entry.len > APPEND_BYTES && !entries.is_empty() {
                break;
            }
            let Some(row) = turn.get::<GossipRow>(GOSSIPED, &gossip_key(chat, &hash))? else { continue };
            entry.appended_at = turn.now();
            size += row.entry.len();
            entries.push(row.entry);
        }
        let (keys, after) = (group.current_keys(), group.current_log().map_or(0, |log| log.cursor));
        if let Some(keys) = keys.filter(|_| !entries.is_empty()) {
            let request = LogRequest { entries, after, ..LogRequest::default() };
            cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
            // What was appended counts once it was read there.
            self.read_log_again(turn, cx, id);
        }
        let again = turn.now() + APPEND_FOR_OTHERS_MS;
        Ok(Some(next.map_or(again, |next| next.min(again))))
    }
}
