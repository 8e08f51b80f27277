//! The members of a group see the same messages, each once, and what an honest member has written is there or marked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use super::{Story, Written, quiet::Agreed};
use crate::{
    api::types::{DeliveryState, Message, MessageId},
    testing::world::Who,
};

/// Messages that count, in their order.
type Timeline = Vec<(MessageId, String)>;

impl Story {
    /// The messages that somebody sees in a group.
    fn messages(&self, who: Who, group: &Agreed) -> Vec<Message> {
        let mut messages = self.world.messages_in(who, group.chat);
        messages.retain(|message| message.device_note.is_none() && message.call.is_none());
        messages
    }

    /// The same without those that are marked as none that count.
    fn timeline(&self, who: Who, group: &Agreed) -> Timeline {
        let counts = |message: &Message| message.state != DeliveryState::Failed;
        self.messages(who, group).into_iter().filter(counts).map(|message| (message.id, message.text)).collect()
    }

    /// From when on a member is entitled to what is written, milliseconds since 1970. Of accounts that were removed or have left and are there again
    /// nobody can say when each device has seen that: they have all that is written in the end, from `now` on.
    fn entitled_from(&mut self, who: Who, group: &Agreed, now: u64) -> u64 {
        let was_gone = group.gone.contains(self.world.of(who).account.as_bytes());
        let since = self.since.get(&(who, group.chat)).copied().unwrap_or(now);
        if was_gone { now } else { since }
    }

    pub(super) fn have_one_timeline(&mut self, group: &Agreed, now: u64) {
        let seed = self.seed;
        let mut seen: Vec<(Who, u64, Timeline)> = Vec::new();
        for who in &group.members {
            let (from, timeline) = (self.entitled_from(*who, group, now), self.timeline(*who, group));
            let texts: BTreeSet<&String> = timeline.iter().map(|(_, text)| text).collect();
            assert_eq!(texts.len(), timeline.len(), "seed {seed}: {who} sees something twice: {timeline:?}");
            seen.push((*who, from, timeline));
        }
        let after = |timeline: &Timeline, from: u64| -> Timeline {
            timeline.iter().filter(|(id, _)| id.0.clock.ms() > from).cloned().collect()
        };
        for (at, (who, from, timeline)) in seen.iter().enumerate() {
            for (other, other_from, others) in &seen[..at] {
                let from = *from.max(other_from);
                let (one, two) = (after(timeline, from), after(others, from));
                assert_eq!(one, two, "seed {seed}: {who} and {other} since {from} in {:?}", group.chat);
            }
        }
        for written in self.written.iter().filter(|written| written.chat == group.chat) {
            self.is_there_or_marked(written, group, &seen);
        }
    }

    /// What the honest device of a member has taken from its user, whose account has been there since, is seen by all who were there, or is marked
    /// where it was written.
    fn is_there_or_marked(&self, written: &Written, group: &Agreed, seen: &[(Who, u64, Timeline)]) {
        let Written { text, by, id, .. } = written;
        let account = self.world.people[*by].account;
        if !group.members.contains(by) || group.gone.contains(account.as_bytes()) {
            return;
        }
        let seed = self.seed;
        let messages = self.messages(*by, group);
        let own = messages.iter().find(|message| message.id == *id);
        let state = own.unwrap_or_else(|| panic!("seed {seed}: {by} has lost {text}")).state;
        let has = |timeline: &Timeline| timeline.iter().any(|(other, _)| other == id);
        if state == DeliveryState::Failed {
            let others: Vec<Who> = seen.iter().filter(|(_, _, timeline)| has(timeline)).map(|(who, ..)| *who).collect();
            assert!(others.is_empty(), "seed {seed}: {text} of {by} is marked as lost, and seen by {others:?}");
            return;
        }
        assert_ne!(state, DeliveryState::Queued, "seed {seed}: {text} of {by} is still on its way");
        let was_there = |from: u64| id.0.clock.ms() > from;
        let lack = seen.iter().filter(|(_, from, timeline)| was_there(*from) && !has(timeline));
        let lack: Vec<Who> = lack.map(|(who, ..)| *who).collect();
        assert!(
            lack.is_empty(),
            "seed {seed}: {text} of {by}, {state:?}, is lacking at {lack:?} of {:?}",
            group.members
        );
    }
}
