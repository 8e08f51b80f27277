//! What has just come by gossip waits a moment for the log's copy, where the log can be read: what is read there is final at once, and decrypted and
//! written once. Under load, when both come late, that is half of the work. A state machine with time as an argument; nothing here is shown, stored or
//! acknowledged, so nothing is lost with it that the log, or whoever has passed it on, does not have.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_wire::TopicId;

use super::{
    MessageHash,
    limits::{GOSSIP_WAIT_EACH_MS, GOSSIP_WAIT_MS, MAX_GOSSIP_WAIT_MS, MAX_WAITING, MAX_WAITING_BYTES},
};
use crate::{
    api::types::ChatId,
    conversation::{Conversations, context::Context, group::GroupId},
    turn::{EngineError, Turn},
};

/// When something is taken, in steady time, and a number that tells it from others of that time.
type Due = (u64, u64);

/// An entry that waits.
struct Entry {
    of: (ChatId, MessageHash),
    topic: TopicId,
    sealed: Bytes,
}

/// The entries that wait.
pub(super) struct Waiting {
    by_due: BTreeMap<Due, Entry>,
    known: BTreeMap<(ChatId, MessageHash), Due>,
    bytes: usize,
    next: u64,
    /// How long one waits that is alone, in milliseconds; with zero none does.
    wait_ms: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { by_due: BTreeMap::new(), known: BTreeMap::new(), bytes: 0, next: 0, wait_ms: GOSSIP_WAIT_MS }
    }
}

impl Waiting {
    /// Whether a message waits.
    fn has(&self, chat: ChatId, hash: &MessageHash) -> bool {
        self.known.contains_key(&(chat, *hash))
    }

    /// An entry that has come now waits: the longer, the more there are. Gives whether there is room for it.
    fn add(&mut self, now: u64, of: (ChatId, MessageHash), (topic, sealed): (TopicId, &Bytes)) -> bool {
        let has_room = self.by_due.len() < MAX_WAITING && self.bytes + sealed.len() <= MAX_WAITING_BYTES;
        if self.wait_ms == 0 || !has_room {
            return false;
        }
        let wait = self.wait_ms + GOSSIP_WAIT_EACH_MS * self.by_due.len() as u64;
        let due = (now + wait.min(MAX_GOSSIP_WAIT_MS), self.next);
        self.next += 1;
        self.bytes += sealed.len();
        self.known.insert(of, due);
        self.by_due.insert(due, Entry { of, topic, sealed: sealed.clone() });
        true
    }

    /// The log has a message.
    pub(super) fn forget(&mut self, chat: ChatId, hash: &MessageHash) {
        if let Some(entry) = self.known.remove(&(chat, *hash)).and_then(|due| self.by_due.remove(&due)) {
            self.bytes -= entry.sealed.len();
        }
    }

    /// When the next one is taken, in steady time.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// Those that have waited long enough, in the order in which they are due.
    fn take_due(&mut self, now: u64) -> Vec<(TopicId, Bytes)> {
        let later = self.by_due.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut self.by_due, later);
        let mut taken = Vec::with_capacity(due.len());
        for entry in due.into_values() {
            self.known.remove(&entry.of);
            self.bytes -= entry.sealed.len();
            taken.push((entry.topic, entry.sealed));
        }
        taken
    }

    /// So long waits one that is alone.
    #[cfg(test)]
    pub(super) fn set_wait(&mut self, ms: u64) {
        self.wait_ms = ms;
    }
}

impl Conversations {
    /// An entry of a group's epoch that a member has passed on may wait for the log. Gives whether it does.
    pub(super) fn waits_for_log(
        &mut self,
        turn: &Turn<'_>,
        cx: &Context<'_>,
        (chat, id, epoch): (ChatId, GroupId, u64),
        hash: MessageHash,
        passed_on: (TopicId, &Bytes),
    ) -> bool {
        if self.gossip.waiting.has(chat, &hash) {
            return true;
        }
        // What its author did not bring into the log of an epoch that is over comes again in another form.
        let is_current = self.groups.get(&id).is_some_and(|group| group.epoch() == epoch);
        let is_read = is_current && self.written_log(turn, cx, id).is_some();
        is_read && self.gossip.waiting.add(turn.now(), (chat, hash), passed_on)
    }

    /// Takes what has waited in vain.
    pub(crate) fn take_waiting(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Result<(), EngineError> {
        for (topic, sealed) in self.gossip.waiting.take_due(turn.now()) {
            self.take_passed_on(turn, cx, (topic, &sealed), false)?;
        }
        Ok(())
    }

    /// What comes by gossip waits so long for the log.
    #[cfg(test)]
    pub(crate) fn wait_for_logs(&mut self, ms: u64) {
        self.gossip.waiting.set_wait(ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: ChatId = ChatId([1; 16]);

    fn waiting() -> Waiting {
        Waiting { wait_ms: 40, ..Waiting::default() }
    }

    fn add(waiting: &mut Waiting, now: u64, n: usize, len: usize) -> bool {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        waiting.add(now, (CHAT, hash), (TopicId([2; 32]), &Bytes::from(vec![n as u8; len])))
    }

    #[test]
    fn what_the_log_has_in_time_is_not_taken_and_the_rest_is_in_its_order() {
        let mut waiting = waiting();
        assert!((0..3).all(|n| add(&mut waiting, 100, n, 1)));
        assert_eq!(waiting.next_due(), Some(140));
        assert!(waiting.take_due(139).is_empty());
        let mut first = [0; 16];
        first[..8].copy_from_slice(&0_usize.to_be_bytes());
        assert!(waiting.has(CHAT, &first));
        waiting.forget(CHAT, &first);
        assert!(!waiting.has(CHAT, &first));
        let taken: Vec<u8> = waiting.take_due(10_000).iter().map(|(_, sealed)| sealed[0]).collect();
        assert_eq!((taken, waiting.next_due(), waiting.bytes), (vec![1, 2], None, 0));
        assert!(waiting.known.is_empty());
    }

    #[test]
    fn of_many_each_waits_longer_and_none_for_ever() {
        let mut waiting = waiting();
        assert!((0..MAX_WAITING).all(|n| add(&mut waiting, 0, n, 1)));
        assert!(!add(&mut waiting, 0, MAX_WAITING, 1), "there is no room");
        assert_eq!(waiting.take_due(40 + GOSSIP_WAIT_EACH_MS).len(), 2);
        assert!(waiting.take_due(MAX_GOSSIP_WAIT_MS - 1).len() < MAX_WAITING - 2);
        waiting.take_due(MAX_GOSSIP_WAIT_MS);
        assert_eq!((waiting.next_due(), waiting.bytes), (None, 0));
    }

    #[test]
    fn the_bytes_of_what_waits_are_bounded() {
        let mut waiting = waiting();
        let count = (0..MAX_WAITING).filter(|n| add(&mut waiting, 0, *n, 64 * 1024)).count();
        assert_eq!(count, MAX_WAITING_BYTES / (64 * 1024));
    }
}
