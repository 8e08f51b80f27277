//! The members of a group see the same messages, each once, and what an honest member has written is there or marked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use super::{Story, Written, outsiders::AT_LAST, quiet::Agreed};
use crate::{
    api::types::{DeliveryState, DurableEventKind, Message, MessageId},
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
    /// nobody can say when each device has seen that: they have all that is written in the end, from `now` on. Since a device was linked it has what
    /// others of its account have, also of when these were in the group alone.
    fn entitled_from(&mut self, who: Who, group: &Agreed, now: u64) -> u64 {
        let account = self.world.of(who).account;
        if group.gone.contains(account.as_bytes()) {
            return now;
        }
        let since = |device: &Who| self.since.get(&(*device, group.chat)).copied().unwrap_or(now);
        let own = since(&who);
        // Where the home lies, the others may have come to what they have by other ways.
        let others = group
            .members
            .iter()
            .filter(|device| !Self::home_lies(self.seed) && self.world.people[**device].account == account);
        let first = others.map(since).min().unwrap_or(now);
        own.min(first.max(self.linked_at.get(&who).copied().unwrap_or_default()))
    }

    /// Gives how many messages that were written before `now` are there.
    pub(super) fn have_one_timeline(&mut self, group: &Agreed, now: u64) -> usize {
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
        let mut there = 0;
        for written in self.written.iter().filter(|written| written.chat == group.chat) {
            let is_there = self.is_there_or_marked(written, group, &seen);
            there += usize::from(is_there && written.id.0.clock.ms() < now);
        }
        there
    }

    /// Each message is told to users and programs once, however often it has come, by whatever way and however often a program was killed. Of a
    /// device that its account has removed what counts may change, and be told again.
    pub(super) fn are_told_once(&self, groups: &[Agreed]) {
        let removed: BTreeSet<[u8; 8]> = self.removed.iter().map(|who| self.world.people[*who].device.tag()).collect();
        for who in self.honest() {
            let mut told = BTreeSet::new();
            for event in self.world.durable_events(who) {
                let is_of_group = groups.iter().any(|group| event.chat == Some(group.chat));
                let Some(message) = event.message.filter(|_| is_of_group && event.kind == DurableEventKind::New) else {
                    continue;
                };
                let is_first = told.insert((event.chat, message)) || removed.contains(&message.0.device);
                assert!(is_first, "seed {}: {who} is told twice: {event:?}", self.seed);
            }
        }
    }

    /// What the honest device of a member has taken from its user, whose account has been there since, is seen by all who were there, or is marked
    /// where it was written. Who was not there all the time has it still. Gives whether it is known to be there.
    fn is_there_or_marked(&self, written: &Written, group: &Agreed, seen: &[(Who, u64, Timeline)]) -> bool {
        let Written { text, by, id, .. } = written;
        let account = self.world.people[*by].account;
        if !self.honest().contains(by) {
            return false;
        }
        let seed = self.seed;
        let messages = self.messages(*by, group);
        let own = messages.iter().find(|message| message.id == *id);
        let state = own.unwrap_or_else(|| panic!("seed {seed}: {by} has lost {text}")).state;
        if !group.members.contains(by) || group.gone.contains(account.as_bytes()) {
            return false;
        }
        let has = |timeline: &Timeline| timeline.iter().any(|(other, _)| other == id);
        if state == DeliveryState::Failed {
            let others: Vec<Who> = seen.iter().filter(|(_, _, timeline)| has(timeline)).map(|(who, ..)| *who).collect();
            assert!(others.is_empty(), "seed {seed}: {text} of {by} is marked as lost, and seen by {others:?}");
            assert!(!text.starts_with(AT_LAST), "seed {seed}: {text} of {by} is lost where nothing was in its way");
            return false;
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
        true
    }
}
