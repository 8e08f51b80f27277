//! What becomes of messages that came by gossip: final once the log has them where they count, and marked if they do not come to count.

use bytes::Bytes;
use starling_wire::EventId;

use super::{MessageHash, gossip_key, limits::GOSSIP_UNDONE_MS};
use crate::{
    api::types::{ChatId, DeliveryState, Via},
    conversation::{Conversations, group::GroupId, limits::OUTBOX_LIFE_MS, receive::short_hash},
    events,
    store::{EventRow, GOSSIPED, GossipRow, Reading, TIMELINE},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// Messages were read in the log that may have been shown before: they are final.
    pub(in crate::conversation) fn gossip_confirmed(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        ids: &[EventId],
    ) -> Result<(), EngineError> {
        for id in ids {
            let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
            if !state.provisional.remove(id) {
                continue;
            }
            let held = self.gossip.held.get_mut(&chat).map(|held| &mut held.entries);
            let entry = held.into_iter().flatten().find(|(_, entry)| entry.ids.contains(id));
            let Some((hash, entry)) = entry else { continue };
            let (hash, since) = (*hash, entry.since);
            entry.ids.remove(id);
            let is_final = entry.ids.is_empty();
            self.gossip.waiting.logged_late(turn.now(), since);
            if is_final {
                self.forget_gossip(turn, chat, &hash)?;
            } else {
                self.write_gossip(turn, chat, &hash)?;
            }
        }
        Ok(())
    }

    /// An entry was read in a log: what it has not brought to count never will.
    pub(in crate::conversation) fn gossip_logged(
        &mut self,
        turn: &mut Turn<'_>,
        id: GroupId,
        message: &Bytes,
    ) -> Result<(), EngineError> {
        let Some(chat) = self.groups.get(&id).and_then(|group| group.chat()) else { return Ok(()) };
        let hash = short_hash(message);
        self.gossip.waiting.logged(turn.now(), chat, &hash);
        if !self.gossip.held.contains_key(&chat) {
            return Ok(());
        }
        self.undo_gossip(turn, chat, &hash)?;
        self.forget_gossip(turn, chat, &hash)
    }

    /// Looks at what the log of a conversation does not have yet. Gives when to look again, in steady time.
    pub(super) fn settle_gossip(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<Option<u64>, EngineError> {
        if !self.gossip.held.contains_key(&chat) {
            return Ok(None);
        }
        let is_in = self.policies.is_in(&chat);
        let current = self.gossip.wanted.get(&chat).map(|wanted| &wanted.current);
        let Some(held) = self.gossip.held.get_mut(&chat) else { return Ok(None) };
        let (mut undone, mut due): (Vec<MessageHash>, Option<u64>) = (Vec::new(), None);
        for (hash, entry) in &mut held.entries {
            let left_ms = entry.at_ms.saturating_add(OUTBOX_LIFE_MS).saturating_sub(turn.wall());
            let mut until = turn.now() + left_ms;
            match current {
                // What is not final when we leave does not become it. A group that cannot be read now is another matter.
                None if !is_in => until = 0,
                None => {}
                Some(place) if place.topic() == entry.topic => entry.over_at = 0,
                // The epoch is over, and its log does not have it. Its author writes it again, if it may, and is there.
                Some(place) => {
                    if entry.over_at == 0 {
                        entry.over_at = turn.now();
                    }
                    let is_there = place.members.contains_key(&entry.device);
                    until = if is_there { until.min(entry.over_at + GOSSIP_UNDONE_MS) } else { 0 };
                }
            }
            if until <= turn.now() {
                undone.push(*hash);
            } else {
                due = Some(due.map_or(until, |due| due.min(until)));
            }
        }
        for hash in undone {
            self.undo_gossip(turn, chat, &hash)?;
            self.forget_gossip(turn, chat, &hash)?;
        }
        Ok(due)
    }

    /// Marks the messages of an entry that are not final: they do not count, as far as can be seen. If they come to count later the mark is taken
    /// away.
    fn undo_gossip(&mut self, turn: &mut Turn<'_>, chat: ChatId, hash: &MessageHash) -> Result<(), EngineError> {
        let held = self.gossip.held.get(&chat);
        let Some(entry) = held.and_then(|held| held.entries.get(hash)) else { return Ok(()) };
        let ids = entry.ids.clone();
        self.chats.write_draft(turn, chat)?;
        if let Some((state, newest)) = self.chats.get_mut(&chat).zip(ids.iter().map(|id| id.clock.0).max()) {
            state.row.undone = state.row.undone.max(newest);
            state.dirty = true;
        }
        let mut marked = Vec::new();
        for id in ids {
            let key = events::key(chat, id);
            let Some(row) = turn.get::<EventRow>(TIMELINE, &key)? else { continue };
            if row.via == Via::Gossip.stored() && !row.undone && !row.deleted {
                turn.put(TIMELINE, &key, &EventRow { undone: true, ..row })?;
                marked.extend(id.to_bytes());
            }
        }
        turn.state_event(chat, marked, DeliveryState::Failed)
    }

    /// Writes which messages of an entry are not final.
    fn write_gossip(&self, turn: &Turn<'_>, chat: ChatId, hash: &MessageHash) -> Result<(), EngineError> {
        let held = self.gossip.held.get(&chat);
        let Some(entry) = held.and_then(|held| held.entries.get(hash)) else { return Ok(()) };
        let key = gossip_key(chat, hash);
        let Some(mut row) = turn.get::<GossipRow>(GOSSIPED, &key)? else { return Ok(()) };
        row.ids = entry.ids.iter().flat_map(|id| id.to_bytes()).collect();
        Ok(turn.put(GOSSIPED, &key, &row)?)
    }

    fn forget_gossip(&mut self, turn: &Turn<'_>, chat: ChatId, hash: &MessageHash) -> Result<(), EngineError> {
        let Some(entry) = self.gossip.release(chat, hash) else { return Ok(()) };
        if let Some(state) = self.chats.get_mut(&chat) {
            state.provisional.retain(|id| !entry.ids.contains(id));
        }
        Ok(turn.delete(GOSSIPED, &gossip_key(chat, hash))?)
    }
}
