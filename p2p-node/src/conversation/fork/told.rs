//! What members tell of a commit before the log of its epoch was read up to it. What stands in the log before the commit comes first: it counts by what
//! that epoch's policy says, and the log leads on by itself. So the log is read once more, from after the commit was told. This is for the usual case,
//! and nothing depends on it: what is told waits for a bounded time, and is looked at also if the log is not there. What was not read by then is read
//! while the log is kept (`GroupEntry::is_unread`).

use bytes::Bytes;

use super::{
    Forks, Teller,
    limits::{MAX_TOLD_WAITING, TOLD_WAITS_MS},
};
use crate::{
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId},
    },
    turn::{EngineError, Turn},
};

/// Commits that wait until the log of the current epoch was read.
#[derive(Default)]
pub(super) struct ToldCommits {
    waiting: Vec<Told>,
    /// Until when they wait, in steady time; none as long as nothing has waited since the log was last read to its end. It is not put off.
    until: Option<u64>,
}

/// What a member, or a log, tells of an epoch of a group: the commit that was followed from it, and those after that one.
#[derive(Clone)]
pub(super) struct Told {
    pub from: Teller,
    pub group: GroupId,
    pub epoch: u64,
    pub path: Vec<Bytes>,
}

impl ToldCommits {
    /// Has this wait, in place of what the same member has told before. `false` if it is to be looked at now.
    fn put(&mut self, now: u64, told: Told) -> bool {
        let until = *self.until.get_or_insert(now + TOLD_WAITS_MS);
        self.waiting.retain(|other| other.from != told.from);
        let waits = until > now && self.waiting.len() < MAX_TOLD_WAITING;
        if waits {
            self.waiting.push(told);
        }
        waits
    }

    /// What does not wait any more in this epoch, as its log is being read or not.
    fn take(&mut self, now: u64, epoch: u64, is_being_read: bool) -> Vec<Told> {
        let waits = is_being_read && self.until.is_some_and(|until| until > now);
        let (waiting, due) = std::mem::take(&mut self.waiting).into_iter().partition(|t| waits && t.epoch == epoch);
        self.waiting = waiting;
        due
    }
}

impl Forks {
    /// The home is up, and the logs there are read from where they were.
    pub(in crate::conversation) fn begin_session(&mut self) {
        if self.told.waiting.is_empty() {
            self.told.until = None;
        }
    }

    /// The log of the current epoch was read to its end.
    pub(in crate::conversation) fn log_read(&mut self) {
        self.told.until = None;
    }

    /// When what waits is looked at at the latest, in steady time.
    pub fn told_due(&self) -> Option<u64> {
        self.told.until.filter(|_| !self.told.waiting.is_empty())
    }
}

impl GroupEntry {
    /// Whether the log of the current epoch is being read.
    fn is_being_read(&self) -> bool {
        self.read.under_way.contains(&self.epoch())
    }

    /// Keeps what a member tells of commits from the current epoch, while its log is being read. A page that `was_under_way` may have been made before
    /// that: then it is read once more.
    fn keep_told(&mut self, now: u64, told: Told, was_under_way: bool) -> bool {
        let epoch = self.epoch();
        let waits = self.is_being_read() && self.forks.told.put(now, told);
        if waits && was_under_way && !self.read.again.contains(&epoch) {
            self.read.again.push(epoch);
        }
        waits
    }
}

impl Conversations {
    /// Keeps what a member tells of commits from the current epoch of a group until its log was read, if that can be read.
    pub(super) fn keeps_told(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, told: &Told) -> bool {
        let entry = self.groups.get(&told.group).filter(|entry| entry.epoch() == told.epoch);
        let Some(entry) = entry else { return false };
        let is_group = entry.chat().is_some_and(|chat| self.chats.is_group_chat(chat));
        if !is_group || told.from.device().is_none() {
            return false;
        }
        let was_under_way = entry.is_being_read();
        if !was_under_way {
            self.read_logs(turn, cx, told.group);
        }
        let entry = self.groups.get_mut(&told.group);
        entry.is_some_and(|entry| entry.keep_told(turn.now(), told.clone(), was_under_way))
    }

    /// Looks at what members have told of, as far as it does not wait for the log any more: that was read, does not answer, or there is none.
    pub(in crate::conversation) fn follow_waiting(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        id: GroupId,
    ) -> Result<(), EngineError> {
        if self.groups.get(&id).is_none_or(|entry| entry.forks.told.waiting.is_empty()) {
            return Ok(());
        }
        let Some(entry) = self.groups.get_mut(&id) else { return Ok(()) };
        let (epoch, is_being_read) = (entry.epoch(), entry.is_being_read());
        for told in entry.forks.told.take(turn.now(), epoch, is_being_read) {
            if self.groups.get(&id).is_some_and(|entry| !entry.row.dead) {
                self.weigh_told(turn, cx, &told)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use starling_keys::DeviceKey;

    use super::*;

    fn told(by: u8, epoch: u64) -> Told {
        let from = Teller::Device(DeviceKey::from_seed(&[by; 32]).id());
        Told { from, group: [1; 16], epoch, path: Vec::new() }
    }

    #[test]
    fn what_is_told_waits_for_a_log_that_is_being_read_and_not_for_long() {
        let mut commits = ToldCommits::default();
        assert!(commits.put(1_000, told(1, 5)));
        assert!(commits.take(1_001, 5, true).is_empty());
        assert_eq!(commits.take(1_001, 5, false).len(), 1, "it was read, or is not there");
        assert!(commits.put(6_000, told(1, 5)));
        assert_eq!(commits.take(6_001, 6, true).len(), 1, "the log has led on");
        assert!(commits.put(6_000, told(1, 6)));
        let end = 1_000 + TOLD_WAITS_MS;
        assert!(commits.take(end - 1, 6, true).is_empty());
        assert_eq!(commits.take(end, 6, true).len(), 1, "the time is not put off");
        assert!(!commits.put(end, told(1, 6)), "it is looked at as it comes");
    }

    #[test]
    fn each_member_has_one_place_and_there_are_few() {
        let mut commits = ToldCommits::default();
        let places = MAX_TOLD_WAITING as u8;
        assert!((0..places).all(|by| commits.put(0, told(by, 5))));
        assert!(!commits.put(0, told(places, 5)));
        assert!(commits.put(0, told(0, 5)));
        assert_eq!(commits.waiting.len(), MAX_TOLD_WAITING);
    }
}
