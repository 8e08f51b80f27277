//! What has just come by gossip waits a moment for the log's copy, where the log can be read: what is read there is final at once, and decrypted and
//! written once. Under load, when both come late, that is half of the work; so it waits longer where the log was late, as who is behind would else do
//! each twice, and be more behind. A state machine with time as an argument; nothing here is shown, stored or acknowledged, so nothing is lost with
//! it that the log, or whoever has passed it on, does not have.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_wire::TopicId;

use super::{
    MessageHash,
    limits::{GOSSIP_WAIT_EACH_MS, GOSSIP_WAIT_MS, MAX_GOSSIP_WAIT_MS, MAX_LOG_LAG_MS, MAX_WAITING, MAX_WAITING_BYTES},
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
    /// When it came, in steady time.
    at: u64,
}

/// The entries that wait.
pub(super) struct Waiting {
    by_due: BTreeMap<Due, Entry>,
    known: BTreeMap<(ChatId, MessageHash), Due>,
    bytes: usize,
    next: u64,
    /// How long one waits that is alone, in milliseconds; with zero none does.
    wait_ms: u64,
    /// How much later than members logs have brought entries lately, in milliseconds.
    lag_ms: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        let (by_due, known) = (BTreeMap::new(), BTreeMap::new());
        Self { by_due, known, bytes: 0, next: 0, wait_ms: GOSSIP_WAIT_MS, lag_ms: 0 }
    }
}

impl Waiting {
    /// Whether a message waits.
    fn has(&self, chat: ChatId, hash: &MessageHash) -> bool {
        self.known.contains_key(&(chat, *hash))
    }

    /// How long one waits now that is alone.
    fn wait_alone(&self) -> u64 {
        self.wait_ms.max(self.lag_ms + self.lag_ms / 4)
    }

    /// An entry that has come now waits: the longer, the more there are. Gives whether there is room for it.
    fn add(&mut self, now: u64, of: (ChatId, MessageHash), (topic, sealed): (TopicId, &Bytes)) -> bool {
        let has_room = self.by_due.len() < MAX_WAITING && self.bytes + sealed.len() <= MAX_WAITING_BYTES;
        if self.wait_ms == 0 || !has_room {
            return false;
        }
        let wait = self.wait_alone() + GOSSIP_WAIT_EACH_MS * self.by_due.len() as u64;
        let due = (now + wait.min(MAX_GOSSIP_WAIT_MS), self.next);
        self.next += 1;
        self.bytes += sealed.len();
        self.known.insert(of, due);
        self.by_due.insert(due, Entry { of, topic, sealed: sealed.clone(), at: now });
        true
    }

    /// The log has brought a message.
    pub(super) fn logged(&mut self, now: u64, chat: ChatId, hash: &MessageHash) {
        if let Some(entry) = self.known.remove(&(chat, *hash)).and_then(|due| self.by_due.remove(&due)) {
            self.bytes -= entry.sealed.len();
            self.note_lag(now.saturating_sub(entry.at));
        }
    }

    /// The log has brought a message that has waited in vain and was taken at this time, in steady time; zero if that was in an earlier run.
    pub(super) fn logged_late(&mut self, now: u64, taken: u64) {
        if taken > 0 {
            self.note_lag(now.saturating_sub(taken) + self.wait_alone());
        }
    }

    /// The log has brought something so much later than a member: that is waited for from now on, and forgotten slowly. What is later still is not.
    fn note_lag(&mut self, ms: u64) {
        let lag = if ms > MAX_LOG_LAG_MS { 0 } else { ms };
        let less = self.lag_ms.saturating_sub(lag).div_ceil(8);
        self.lag_ms = lag.max(self.lag_ms - less);
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
        waiting.logged(110, CHAT, &first);
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

    /// One more comes, and the log brings it after so long. Gives how long it would have waited.
    fn late(waiting: &mut Waiting, n: usize, lag: u64) -> u64 {
        let (now, mut hash) = (n as u64 * 10_000, [0; 16]);
        hash[..8].copy_from_slice(&n.to_be_bytes());
        assert!(add(waiting, now, n, 1));
        let waits = waiting.next_due().unwrap_or(now) - now;
        if lag < waits {
            waiting.logged(now + lag, CHAT, &hash);
        } else {
            assert_eq!(waiting.take_due(now + waits).len(), 1);
            waiting.logged_late(now + lag, now + waits);
        }
        waits
    }

    #[test]
    fn what_the_log_brings_late_is_waited_for_as_long_as_that_helps() {
        let mut waiting = waiting();
        assert_eq!(late(&mut waiting, 1, 5), 40);
        assert_eq!(late(&mut waiting, 2, 100), 40, "nothing is known yet");
        for n in 3..20 {
            assert_eq!(late(&mut waiting, n, 100), 125);
        }
        // It is on time again.
        let waits: Vec<u64> = (20..60).map(|n| late(&mut waiting, n, 5)).collect();
        assert!(waits.is_sorted_by(|a, b| a >= b) && waits[..4].iter().all(|waits| *waits > 70), "{waits:?}");
        assert_eq!(waits.last(), Some(&40));
        // A log that is as late as that is not waited for.
        for n in 60..70 {
            assert_eq!(late(&mut waiting, n, MAX_LOG_LAG_MS + 1), 40);
        }
        for n in 70..80 {
            late(&mut waiting, n, MAX_LOG_LAG_MS - 40);
        }
        assert_eq!(late(&mut waiting, 80, 5), 262);
    }

    #[test]
    fn the_bytes_of_what_waits_are_bounded() {
        let mut waiting = waiting();
        let count = (0..MAX_WAITING).filter(|n| add(&mut waiting, 0, *n, 64 * 1024)).count();
        assert_eq!(count, MAX_WAITING_BYTES / (64 * 1024));
    }
}
