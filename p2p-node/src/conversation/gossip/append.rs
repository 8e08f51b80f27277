//! What is passed on, and what is appended for others: an entry that its author has not brought into the log.

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{LogVerb, TopicId, rendezvous::LogRequest};

use super::{
    Entry, Held, MessageHash, gossip_key,
    limits::{APPEND_FOR_OTHERS_MS, APPEND_TURN_MS, GOSSIP_READ_MS, MAX_APPEND_DOUBLINGS},
};
use crate::{
    api::types::ChatId,
    conversation::{
        Conversations,
        context::Context,
        group::GroupId,
        log::limits::{APPEND_BYTES, APPEND_ENTRIES},
    },
    home::Pending,
    net::{HomeId, NetCommand},
    store::{GOSSIPED, GossipRow, Reading},
    turn::{Effect, EngineError, Turn},
};

impl Entry {
    /// When this device appends it, in steady time, if it is not in the log by then: members do so one after the other, in an order that is another
    /// for each entry.
    fn append_at(&self, readable_since: u64, turn: u64) -> u64 {
        let since = (self.since + APPEND_FOR_OTHERS_MS).max(readable_since + GOSSIP_READ_MS);
        // A log that does not take it, or does not show it, is asked more and more seldom.
        let again = self
            .appends
            .checked_sub(1)
            .map_or(0, |before| self.appended_at + (APPEND_FOR_OTHERS_MS << before.min(MAX_APPEND_DOUBLINGS)));
        since.max(again) + turn * APPEND_TURN_MS
    }
}

/// When a device appends entries that others have written.
struct Turns {
    me: DeviceId,
    /// How many devices may.
    members: usize,
    readable_since: u64,
    /// The topic of the log's epoch.
    topic: Option<TopicId>,
}

impl Turns {
    /// When each is appended, in steady time.
    fn of<'a>(&'a self, held: &'a Held) -> impl Iterator<Item = (&'a MessageHash, u64)> {
        let of_log = held.entries.iter().filter(move |(_, entry)| Some(entry.topic) == self.topic);
        of_log.map(move |(hash, entry)| {
            (hash, entry.append_at(self.readable_since, turn_of(&self.me, hash, self.members)))
        })
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

    /// Passes on messages of ours that were encrypted in an epoch.
    pub(super) fn publish(&self, turn: &mut Turn<'_>, (id, epoch): (GroupId, u64), topic: TopicId, messages: &[Bytes]) {
        let Some(keys) = self.groups.get(&id).and_then(|group| group.keys_of(epoch)) else { return };
        for message in messages.iter().filter(|message| !message.is_empty()) {
            // What is too long is read in the log.
            if let Some(envelope) = keys.gossip.seal(&keys.seal_entry(message)) {
                turn.emit(Effect::Net(NetCommand::Publish(topic, envelope)));
            }
        }
    }

    /// The home of a conversation's group, if its log was read to its end and can be written to.
    pub(super) fn written_log(&self, turn: &Turn<'_>, cx: &Context<'_>, id: GroupId) -> Option<HomeId> {
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
        let turns = Turns { me, members, readable_since: since, topic };
        let due: Vec<MessageHash> = turns.of(held).filter(|(_, at)| *at <= turn.now()).map(|(hash, _)| *hash).collect();
        let (mut entries, mut size): (Vec<Bytes>, usize) = (Vec::new(), 0);
        for hash in due.into_iter().take(APPEND_ENTRIES) {
            let Some(entry) = held.entries.get_mut(&hash) else { continue };
            if size + entry.len > APPEND_BYTES && !entries.is_empty() {
                break;
            }
            let Some(row) = turn.get::<GossipRow>(GOSSIPED, &gossip_key(chat, &hash))? else { continue };
            (entry.appended_at, entry.appends) = (turn.now(), entry.appends.saturating_add(1));
            size += row.entry.len();
            entries.push(row.entry);
        }
        // What did not fit this request goes out soon.
        let (now, soon) = (turn.now(), turn.now() + APPEND_TURN_MS);
        let next = turns.of(held).map(|(_, at)| if at > now { at } else { soon }).min();
        let (keys, after) = (group.current_keys(), group.current_log().map_or(0, |log| log.cursor));
        if let Some(keys) = keys.filter(|_| !entries.is_empty()) {
            let request = LogRequest { entries, after, ..LogRequest::default() };
            cx.homes.request_log(turn, home, &keys, LogVerb::Append, request, Pending::Nothing);
            // What was appended counts once it was read there.
            self.read_log_again(turn, cx, id);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use starling_keys::DeviceKey;

    use super::*;

    #[test]
    fn a_log_that_does_not_take_an_entry_is_asked_more_and_more_seldom() {
        let mut entry = Entry {
            topic: TopicId([1; 32]),
            device: DeviceKey::from_seed(&[1; 32]).id(),
            ids: BTreeSet::new(),
            len: 1,
            at_ms: 0,
            since: 1_000_000,
            appended_at: 0,
            appends: 0,
            over_at: 0,
        };
        assert_eq!(entry.append_at(0, 3), 1_000_000 + APPEND_FOR_OTHERS_MS + 3 * APPEND_TURN_MS);
        let end = entry.since + 24 * 3_600_000;
        while entry.append_at(0, 3) < end {
            (entry.appended_at, entry.appends) = (entry.append_at(0, 3), entry.appends + 1);
        }
        assert!((20..40).contains(&entry.appends), "{}", entry.appends);
    }
}
