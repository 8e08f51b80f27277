//! What is passed on again while a log cannot be reached: who comes then lacks what was written before.
//!
//! It goes out in parts, the oldest first. gossipsub itself passes nothing on that it has seen within two minutes; so after that time what others have
//! written goes out once more, for who was met meanwhile. What is ours is sealed again each time, and so new to it. With nobody met there is nothing
//! to do.

use std::collections::BTreeSet;

use starling_wire::TopicId;

use super::{
    MessageHash, gossip_key,
    limits::{GOSSIP_AGAIN_MS, GOSSIP_REPEAT_MS, MAX_GOSSIP_AGAIN},
};
use crate::{
    api::types::ChatId,
    conversation::{Conversations, context::Context, group::GroupId, outbox::outbox_key},
    net::{HomeId, NetCommand},
    store::{GOSSIPED, GossipRow, OUTBOX, OutboxRow, Reading},
    turn::{Effect, EngineError, Turn},
};

/// When what a log lacks is passed on again. Times are steady ones.
#[derive(Default)]
pub(super) struct Again {
    /// When the next part is due.
    due: Option<u64>,
    /// No part goes out before.
    not_before: u64,
    /// When this round has begun.
    began_at: u64,
    /// So much went out in this round.
    passed: usize,
    /// When a member was met last.
    met_at: u64,
}

impl Again {
    /// A member can be reached that may lack something.
    fn note_met(&mut self, now: u64) {
        self.met_at = now;
        self.due = Some(self.due.map_or(now, |due| due.min(now)).max(self.not_before));
    }

    /// Whether the part that goes out now is of a round that repeats one.
    fn is_repeat(&self, now: u64) -> bool {
        let began_at = if self.passed == 0 { now } else { self.began_at };
        began_at >= self.met_at + GOSSIP_REPEAT_MS
    }

    /// How much went out in this round before the part that goes out now.
    fn begin_part(&mut self, now: u64) -> usize {
        if self.passed == 0 {
            self.began_at = now;
        }
        self.passed
    }

    /// A part of so many has gone out, of so many that there are.
    fn note_passed(&mut self, now: u64, count: usize, all: usize) {
        self.not_before = now + GOSSIP_AGAIN_MS;
        self.passed += count;
        if count > 0 && self.passed < all {
            self.due = Some(self.not_before);
            return;
        }
        self.passed = 0;
        let repeat = self.met_at + GOSSIP_REPEAT_MS;
        self.due = (self.began_at < repeat).then_some(repeat.max(self.not_before));
    }
}

/// Something that a log lacks.
enum Lacking {
    /// An entry of our outbox that begins with this number.
    Own(u64),
    /// What somebody else has written.
    OfOthers(MessageHash),
}

impl Conversations {
    /// A member can be reached. While the log cannot be, it lacks what was written before, and is given that.
    pub(crate) fn on_gossip_peer(&mut self, turn: &Turn<'_>, cx: &Context<'_>, topic: TopicId) {
        let Some(chat) = self.gossip.told.get(&topic).map(|told| told.chat) else { return };
        let current = self.gossip.current(&chat).filter(|(_, place)| place.topic() == topic);
        if current.is_some_and(|(id, _)| self.usable(turn, cx, id).is_none()) {
            self.gossip.again.entry(chat).or_default().note_met(turn.now());
            self.chats.touch(chat);
        }
    }

    /// A home is gone. Members may have been met before that was known, and what was written since it does not answer may be lost with connections that
    /// led through it: what its logs lack goes out once more.
    pub(crate) fn pass_on_without(&mut self, turn: &Turn<'_>, home: HomeId) {
        let at_home = self.gossip.told.values().filter(|told| self.groups.home_of(told.group) == Some(home));
        let chats: BTreeSet<ChatId> = at_home.map(|told| told.chat).collect();
        for chat in chats {
            let current = self.gossip.current(&chat).map(|(id, place)| (id, place.epoch, place.topic()));
            let lacks = current.is_some_and(|(id, epoch, topic)| !self.lacking(chat, (id, epoch), topic).is_empty());
            if lacks {
                self.gossip.again.entry(chat).or_default().note_met(turn.now());
                self.chats.touch(chat);
            }
        }
    }

    /// Passes on the next part of what the log of a conversation lacks, if it is due. Gives when to look again, in steady time.
    pub(super) fn pass_on_again(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
    ) -> Result<Option<u64>, EngineError> {
        let now = turn.now();
        let Some(due) = self.gossip.again.get(&chat).and_then(|again| again.due) else { return Ok(None) };
        if due > now {
            return Ok(Some(due));
        }
        let current = self.gossip.current(&chat).map(|(id, place)| (id, place.epoch, place.key.clone()));
        let is_lacking =
            |id: GroupId| self.usable(turn, cx, id).is_none() && !self.has_revoked_member(cx.dir, chat, id);
        let Some((id, epoch, key)) = current.filter(|(id, ..)| is_lacking(*id)) else {
            self.gossip.again.remove(&chat);
            return Ok(None);
        };
        let topic = key.topic();
        let is_repeat = self.gossip.again.get(&chat).is_some_and(|again| again.is_repeat(now));
        let mut all = self.lacking(chat, (id, epoch), topic);
        if is_repeat {
            all.retain(|lacking| matches!(lacking, Lacking::OfOthers(_)));
        }
        let again = self.gossip.again.entry(chat).or_default();
        let from = again.begin_part(now);
        let part: Vec<&Lacking> = all.iter().skip(from).take(MAX_GOSSIP_AGAIN).collect();
        again.note_passed(now, part.len(), all.len());
        let due = again.due;
        for lacking in part {
            match lacking {
                Lacking::Own(first) => {
                    let row = turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, *first))?;
                    if let Some(row) = row {
                        self.publish(turn, (id, epoch), topic, &[row.message]);
                    }
                }
                Lacking::OfOthers(hash) => {
                    let row = turn.get::<GossipRow>(GOSSIPED, &gossip_key(chat, hash))?;
                    if let Some(envelope) = row.and_then(|row| key.seal(&row.entry)) {
                        turn.emit(Effect::Net(NetCommand::Publish(topic, envelope)));
                    }
                }
            }
        }
        Ok(due)
    }

    /// What the log of an epoch lacks, as far as is known here: what is ours, and then what others have written, the oldest first.
    fn lacking(&self, chat: ChatId, (id, epoch): (GroupId, u64), topic: TopicId) -> Vec<Lacking> {
        let Some(state) = self.chats.get(&chat) else { return Vec::new() };
        let from = state.outbox.partition_point(|item| item.last <= state.row.logged_upto);
        let waiting = state.outbox.iter().skip(from).filter(|item| item.group == id && item.epoch == epoch);
        let held = self.gossip.held.get(&chat).into_iter().flat_map(|held| &held.entries);
        let of_topic = held.filter(|(_, entry)| entry.topic == topic);
        let mut of_others: Vec<(u64, MessageHash)> = of_topic.map(|(hash, entry)| (entry.at_ms, *hash)).collect();
        of_others.sort_unstable();
        let of_others = of_others.into_iter().map(|(_, hash)| Lacking::OfOthers(hash));
        waiting.map(|item| Lacking::Own(item.first)).chain(of_others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_goes_out_in_parts_and_once_more_when_gossipsub_has_forgotten_it() {
        let mut again = Again::default();
        let mut now = 1_000_000;
        again.note_met(now);
        assert_eq!(again.due, Some(now));
        let mut round = |again: &mut Again| {
            let mut parts = Vec::new();
            while again.due.is_some_and(|due| due <= now + GOSSIP_AGAIN_MS) {
                now = again.due.unwrap_or(now);
                parts.push(again.begin_part(now));
                again.note_passed(now, MAX_GOSSIP_AGAIN, 2 * MAX_GOSSIP_AGAIN);
            }
            let began_at = again.began_at;
            now = again.due.unwrap_or(now);
            (began_at, parts)
        };
        let parts = vec![0, MAX_GOSSIP_AGAIN];
        assert_eq!(round(&mut again), (1_000_000, parts.clone()));
        assert_eq!(again.due, Some(1_000_000 + GOSSIP_REPEAT_MS));
        assert_eq!(round(&mut again), (1_000_000 + GOSSIP_REPEAT_MS, parts));
        assert_eq!(again.due, None, "who was there has it all");
        // Whoever comes too soon after that waits a moment, and nothing at all goes out where nothing is lacking.
        let now = again.not_before - 1;
        again.note_met(now);
        assert_eq!(again.due, Some(now + 1));
        again.note_passed(now + 1, 0, 0);
        assert_eq!(again.due, Some(now + GOSSIP_REPEAT_MS));
    }
}
