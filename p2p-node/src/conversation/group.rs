//! A conversation's group with its epoch logs, as far as it is always in memory: what routes messages to it, and what waits. Its encryption state
//! is loaded when it is needed (`group_state`).

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use bytes::Bytes;
use starling_keys::{DeviceId, Plaintext, StorageKey};
use starling_wire::{GossipKey, LogKey, limits::MAX_LOG_PARTS_KIB, pad, rendezvous::Page, unpad};

use super::{
    door,
    fork::Forks,
    group_state::GroupState,
    group_store::Unsaved,
    limits::READ_ENDED_MS,
    log::{LogRoom, limits::APPEND_ENTRIES},
    policy::LinkWork,
};
use crate::{
    contacts::ChainsKnown,
    mls::{GroupError, LiveGroup, PAST_EPOCHS, Welcomed},
    store::{GroupRow, LogRow},
};

pub use crate::{mls::GroupId, roster::GroupMember};

/// The address of a log.
pub fn log_address(row: &LogRow) -> Option<[u8; 32]> {
    row.address.as_slice().try_into().ok().or_else(|| LogKeys::of(row).map(|keys| keys.address))
}

/// The keys of one epoch's log.
#[derive(Clone)]
pub struct LogKeys {
    pub address: [u8; 32],
    pub key: LogKey,
    /// That of the epoch before, if nobody may have written in this one yet.
    pub parent: Option<LogKey>,
    /// What members pass its entries on to one another with.
    pub gossip: GossipKey,
    seal: StorageKey,
    signal: StorageKey,
}

impl LogKeys {
    pub fn of(row: &LogRow) -> Option<Self> {
        Self::of_secret(&row.secret)
    }

    /// Of an epoch's exporter secret.
    pub fn of_secret(secret: &[u8]) -> Option<Self> {
        Some(Self::from_secret(StorageKey::from_bytes(secret.try_into().ok()?)))
    }

    fn from_secret(secret: StorageKey) -> Self {
        let key = LogKey::from_secret(secret.derive("log address").as_bytes());
        Self {
            address: key.address(),
            key,
            parent: None,
            gossip: GossipKey::from_secret(secret.derive("gossip").as_bytes()),
            seal: secret.derive("log entries"),
            signal: secret.derive("signals"),
        }
    }

    /// An MLS message as a log keeps it: padded, and sealed once more, as its header would link the epochs of a group.
    pub fn seal_entry(&self, message: &[u8]) -> Bytes {
        self.seal.seal(&self.address, &pad(message.to_vec())).into()
    }

    pub fn open_entry(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let padded = self.seal.open(&self.address, sealed).ok()?;
        unpad(&padded).ok().map(<[u8]>::to_vec)
    }

    pub fn seal_signal(&self, sender: &[u8; 8], signal: &[u8]) -> Vec<u8> {
        [&sender[..], &self.signal.seal(sender, signal)].concat()
    }

    /// The sender's tag and the signal.
    pub fn open_signal(&self, sealed: &[u8]) -> Option<([u8; 8], Plaintext)> {
        let (sender, sealed) = sealed.split_at_checked(8)?;
        let plain = self.signal.open(sender, sealed).ok()?;
        Some((sender.try_into().ok()?, plain))
    }
}

/// The secret that deletes entries of a large group's door: whoever writes a door there deletes those before it, also of others. Who knows the secret
/// of a door could as well fill its log with false ones.
pub fn door_eraser(secret: &[u8]) -> Option<[u8; 32]> {
    let secret = StorageKey::from_bytes(secret.try_into().ok()?);
    Some(*secret.derive("door eraser").as_bytes())
}

/// What is under way to read a group's logs at its home.
#[derive(Default)]
pub struct LogReads {
    /// The logs that were asked for, by epoch.
    pub under_way: Vec<u64>,
    /// Those to be read again after that, by epoch.
    pub again: Vec<u64>,
    /// The last entries that were pushed meanwhile, by epoch: what is under way may have them.
    pub pushed: BTreeMap<u64, u64>,
    /// Logs of epochs that are over which were read to their end since the home is up.
    pub ended: BTreeSet<u64>,
    /// The current log was read to its end since the home is up. It waits for no log of an epoch that is over.
    pub caught_up: bool,
    /// Others that read the current log now.
    pub others: u32,
    /// A device has entered that its account has not told us of: until this time, in steady time, what comes is not read. Zero once that is over,
    /// and what such a device writes is dropped.
    pub waits_until: Option<u64>,
}

impl LogReads {
    /// Something was pushed while a page is under way.
    pub fn note_pushed(&mut self, epoch: u64, page: &Page) {
        match page.entries.last().filter(|_| !page.more) {
            Some(last) => {
                let known = self.pushed.entry(epoch).or_default();
                *known = last.sequence.max(*known);
            }
            // It is too long to be pushed.
            None => self.again.push(epoch),
        }
    }

    /// The last entry that was pushed while a page was under way that is here now.
    pub fn take_pushed(&mut self, epoch: u64) -> Option<u64> {
        self.pushed.remove(&epoch)
    }
}

/// What is under way to write into a group's log at its home.
pub struct LogAppends {
    pub under_way: bool,
    /// Our commit is to be appended.
    pub committing: bool,
    /// How often it was not stored, as there were commits before it that we had not read.
    pub refusals: u8,
    /// A commit that counts stands in the log before what we append: nothing more goes there until it was read.
    pub behind: bool,
    /// The log is being opened.
    pub opening: bool,
    /// Not before this time: the home has refused.
    pub retry_at: u64,
    /// Most entries in the next append: fewer after the log had no room for more.
    pub most: usize,
    /// In this epoch our keys are not renewed: others have to commit first.
    pub no_renewal_in: Option<u64>,
    /// Our keys are renewed at this time, in steady time: they are due, as others' may be.
    pub renews_at: Option<u64>,
    /// So many parts of our commit are in the log.
    pub parts: usize,
    /// More of them are on their way.
    pub parts_under_way: bool,
}

impl Default for LogAppends {
    fn default() -> Self {
        Self {
            under_way: false,
            committing: false,
            refusals: 0,
            behind: false,
            opening: false,
            retry_at: 0,
            most: APPEND_ENTRIES,
            no_renewal_in: None,
            renews_at: None,
            parts: 0,
            parts_under_way: false,
        }
    }
}

/// A group in memory.
pub struct GroupEntry {
    pub id: GroupId,
    pub row: GroupRow,
    pub members: Vec<GroupMember>,
    /// Whether one of them was removed by its account, as was found in this epoch from these chains and after so many changes of the policy.
    pub(super) has_removed: Cell<Option<((ChainsKnown, u64), bool)>>,
    /// A commit of ours waits to win.
    pub has_pending: bool,
    /// Messages of an epoch that we have not reached.
    pub future: VecDeque<(Option<DeviceId>, Bytes)>,
    pub read: LogReads,
    pub append: LogAppends,
    pub room: LogRoom,
    /// The way into the current epoch is being written.
    pub writing_door: bool,
    /// It is written not before this time, in steady time: another epoch may begin.
    pub door_waits_until: Option<u64>,
    /// It was due before the home was away: another epoch may have begun meanwhile, as is seen in the log.
    pub door_is_old: bool,
    /// Devices were added of late, which may still look for the tree in a door: until then none is put off, in steady time.
    pub door_is_read_until: u64,
    /// A part of it was refused.
    pub door_refused: bool,
    pub link_work: LinkWork,
    /// The logs that are read, in the order of their epochs: that of this one, and that of the one before while others may still write there.
    pub logs: Vec<LogRow>,
    /// The keys of these logs, as far as they were needed, by the logs' secrets: to derive them takes almost as long as to decrypt a message.
    pub(super) derived: RefCell<BTreeMap<Vec<u8>, LogKeys>>,
    pub forks: Forks,
    /// For devices that our last commit has added, with the epoch that it has begun: they leave in the turn that finds it won.
    pub welcomes: Vec<(u64, Welcomed)>,
    pub(super) unsaved: Unsaved,
}

impl GroupEntry {
    /// A new group that we have made or joined.
    pub fn new(id: GroupId, live: LiveGroup, mut row: GroupRow) -> Result<(Self, GroupState), GroupError> {
        row.door = row.door.or(door::of_new_group(&live, row.ours)?);
        let state = GroupState::new(live);
        let log = state.log()?;
        let unsaved = Unsaved { row: true, mls: true, pending: false, logs: [log.epoch].into() };
        let mut entry = Self { logs: vec![log], unsaved, ..Self::with(id, row, state.members()) };
        entry.note_leaves(&state.live);
        Ok((entry, state))
    }

    pub(super) fn with(id: GroupId, row: GroupRow, members: Vec<GroupMember>) -> Self {
        Self {
            id,
            row,
            members,
            has_removed: Cell::new(None),
            has_pending: false,
            future: VecDeque::new(),
            read: LogReads::default(),
            append: LogAppends::default(),
            room: LogRoom::default(),
            writing_door: false,
            door_waits_until: None,
            door_is_old: false,
            door_is_read_until: 0,
            door_refused: false,
            link_work: LinkWork::default(),
            logs: Vec::new(),
            derived: RefCell::default(),
            forks: Forks::default(),
            welcomes: Vec::new(),
            unsaved: Unsaved::default(),
        }
    }

    /// The epoch that it is in.
    pub fn epoch(&self) -> u64 {
        self.current_log().map_or(0, |log| log.epoch)
    }

    /// Whether a device is in it.
    pub fn has_member(&self, device: &DeviceId) -> bool {
        self.members.iter().any(|m| m.device == *device)
    }

    /// The row has changed.
    pub fn touch(&mut self) {
        self.unsaved.row = true;
    }

    /// Nobody can go on in it.
    pub fn give_up(&mut self) {
        self.row.dead = true;
        self.touch();
    }

    /// If it was left: everything that is to be had of its log was read.
    pub fn end_left(&mut self) {
        if std::mem::take(&mut self.row.left) {
            self.touch();
        }
    }

    /// An entry of a log was read; `false` if it was before.
    pub fn advance(&mut self, epoch: u64, sequence: u64, sealed: &[u8]) -> bool {
        let log = self.logs.iter_mut().find(|l| l.epoch == epoch && l.cursor < sequence);
        let Some(log) = log else { return false };
        log.cursor = sequence;
        log.seen.get_or_insert_default().note(sequence, sealed);
        self.unsaved.logs.insert(epoch);
        true
    }

    /// An entry that nobody deletes was read in the log of an epoch, and is no part of a commit. If the epoch goes on it is no valid commit: members pass
    /// over it, but the server lets nobody append a commit who has not read it, as who comes in by a door.
    pub fn note_candidate(&mut self, epoch: u64) {
        if let Some(log) = self.logs.last_mut().filter(|log| log.epoch == epoch && !log.blocked) {
            log.blocked = true;
            self.unsaved.logs.insert(epoch);
        }
    }

    /// A part of a commit was read in the log of an epoch, of so many bytes; `false` if there was so much before it that it counts for nobody.
    pub fn count_part(&mut self, epoch: u64, len: usize) -> bool {
        let Some(log) = self.logs.iter_mut().find(|log| log.epoch == epoch) else { return false };
        let sum = u32::try_from(len.div_ceil(1024)).map_or(u32::MAX, |kib| log.parts_kib.saturating_add(kib.max(1)));
        let counts = sum <= MAX_LOG_PARTS_KIB;
        if counts {
            log.parts_kib = sum;
        }
        self.unsaved.logs.insert(epoch);
        counts
    }

    /// Whether the log of an epoch that is over may have what counts and was not read here: this device has followed what members had told before it
    /// had read of that commit in the log. What stands before the commit is looked for until the commit is found, or the end of the log.
    pub fn is_unread(&self, epoch: u64) -> bool {
        epoch < self.epoch() && self.was_told(epoch) && !self.read.ended.contains(&epoch)
    }

    /// Whether the commit that ends an epoch was read in its log: what comes there now stands behind it. Not known where no state of it is kept.
    pub fn is_decided(&self, epoch: u64) -> bool {
        epoch < self.epoch() && self.row.parents.iter().any(|mark| mark.epoch == epoch && !mark.told)
    }

    /// Whether there are such logs.
    pub fn has_unread_logs(&self) -> bool {
        self.logs.iter().any(|log| self.is_unread(log.epoch))
    }

    /// A commit from this epoch was followed that was not read in its log: that is read on, and once more if a page of before is under way.
    pub fn read_on(&mut self, epoch: u64) {
        self.read.ended.remove(&epoch);
        if self.read.under_way.contains(&epoch) {
            self.read.again.push(epoch);
        }
    }

    /// The earlier logs that are not read any more, at this time by the clock: one is left when a second log has followed it, or some time after
    /// somebody has written in the next; one that is unread only when there are no keys for it any more.
    pub fn leave_logs(&mut self, now_ms: u64) -> Vec<LogRow> {
        let current = self.epoch();
        for log in self.logs.iter_mut().filter(|log| log.epoch < current && log.ended_ms == 0) {
            log.ended_ms = now_ms;
            self.unsaved.logs.insert(log.epoch);
        }
        let is_readable = |epoch: u64| epoch.saturating_add(PAST_EPOCHS as u64) >= current;
        let epochs = self.logs.iter().map(|log| log.epoch);
        let unread: BTreeSet<u64> = epochs.filter(|epoch| is_readable(*epoch) && self.is_unread(*epoch)).collect();
        let is_open = self.current_log().is_some_and(|log| log.cursor > 0);
        let over = |log: &LogRow| is_open && log.ended_ms.saturating_add(READ_ENDED_MS) < now_ms;
        let follows = |log: &LogRow| log.epoch == current || (log.epoch + 1 == current && !over(log));
        let stays = |log: &LogRow| follows(log) || unread.contains(&log.epoch);
        let (stays, left) = self.logs.drain(..).partition(stays);
        self.logs = stays;
        self.unsaved.logs.extend(left.iter().map(|log| log.epoch));
        self.read.ended.retain(|epoch| self.logs.iter().any(|log| log.epoch == *epoch));
        left
    }

    /// A log is read once more, after it was left.
    pub fn put_log(&mut self, log: LogRow) {
        self.unsaved.logs.insert(log.epoch);
        let at = self.logs.partition_point(|other| other.epoch < log.epoch);
        self.logs.insert(at, log);
    }

    /// A log is not there any more.
    pub fn forget_log(&mut self, epoch: u64) {
        self.logs.retain(|l| l.epoch != epoch);
        self.unsaved.logs.insert(epoch);
    }

    pub fn current_log(&self) -> Option<&LogRow> {
        self.logs.last()
    }

    pub fn current_keys(&self) -> Option<LogKeys> {
        self.keys_of(self.current_log()?.epoch)
    }

    pub fn keys_of(&self, epoch: u64) -> Option<LogKeys> {
        let at = self.logs.iter().position(|l| l.epoch == epoch)?;
        let keys = self.derive(&self.logs[at])?;
        // The log of the epoch before may be gone, and one of an earlier epoch be there.
        let is_parent = |before: &&LogRow| before.epoch + 1 == epoch && self.logs[at].cursor == 0;
        let before = at.checked_sub(1).map(|before| &self.logs[before]).filter(is_parent);
        Some(LogKeys { parent: before.and_then(|log| self.derive(log)).map(|keys| keys.key), ..keys })
    }

    fn derive(&self, log: &LogRow) -> Option<LogKeys> {
        let mut derived = self.derived.borrow_mut();
        if let Some(keys) = derived.get(&log.secret) {
            return Some(keys.clone());
        }
        derived.retain(|secret, _| self.logs.iter().any(|log| log.secret == *secret));
        let keys = LogKeys::of(log)?;
        derived.insert(log.secret.clone(), keys.clone());
        Some(keys)
    }

    /// The keys of the newest log that is surely at the home.
    pub fn known_keys(&self) -> Option<LogKeys> {
        let current = self.current_keys()?;
        match current.parent {
            Some(_) => self.logs.iter().rev().nth(1).and_then(|log| self.derive(log)),
            None => Some(current),
        }
    }
}

#[cfg(test)]
mod tests {
    use starling_wire::rendezvous::LogEntry;

    use super::*;
    use crate::store::ParentMark;

    /// A group in epoch 9 with the logs of these epochs before; from some of them it has followed what members had told.
    fn group(past: &[u64], told: &[u64]) -> GroupEntry {
        let mut entry = GroupEntry::with([1; 16], GroupRow::default(), Vec::new());
        for epoch in past.iter().copied().chain([9]) {
            let mut log = LogRow::default();
            (log.epoch, log.secret) = (epoch, vec![epoch as u8; 32]);
            entry.put_log(log);
        }
        for epoch in told {
            let mut mark = ParentMark::default();
            (mark.epoch, mark.told) = (*epoch, true);
            entry.row.parents.push(mark);
        }
        entry
    }

    fn left(entry: &mut GroupEntry) -> Vec<u64> {
        entry.leave_logs(1).iter().map(|log| log.epoch).collect()
    }

    #[test]
    fn logs_past_which_members_have_led_are_kept_until_they_are_read() {
        let mut entry = group(&[4, 5, 6, 7, 8], &[4, 5, 6]);
        assert_eq!(
            left(&mut entry),
            [4, 7],
            "there are no keys for the first, and the other was read up to its commit"
        );
        assert!(entry.has_unread_logs());
        entry.read.ended.insert(5);
        assert_eq!(left(&mut entry), [5]);
        entry.row.parents[2].told = false;
        assert!(!entry.has_unread_logs(), "its commit was found there");
        assert_eq!(left(&mut entry), [6]);
        assert_eq!(entry.logs.iter().map(|log| log.epoch).collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn what_was_read_before_a_commit_was_told_is_read_on() {
        let mut entry = group(&[8], &[8]);
        entry.read.ended.insert(8);
        entry.read.under_way.push(8);
        entry.read_on(8);
        assert!(entry.is_unread(8));
        assert_eq!(entry.read.again, [8]);
    }

    #[test]
    fn a_log_is_opened_with_the_key_of_the_epoch_before_alone() {
        let has_parent = |entry: GroupEntry| entry.keys_of(9).is_some_and(|keys| keys.parent.is_some());
        assert!(has_parent(group(&[6, 8], &[6])));
        assert!(!has_parent(group(&[6], &[6])));
    }

    #[test]
    fn an_epoch_is_decided_once_its_commit_was_read_in_its_log() {
        let mut entry = group(&[7, 8], &[8]);
        assert!(!entry.is_decided(8) && !entry.is_decided(9));
        assert!(!entry.is_decided(7), "nothing is known of what was followed from it");
        entry.row.parents[0].told = false;
        assert!(entry.is_decided(8));
    }

    #[test]
    fn what_is_pushed_while_a_page_is_under_way_is_read_again_only_where_the_page_has_not_got_it() {
        let entry = |sequence| LogEntry { sequence, ..LogEntry::default() };
        let push = |sequences: &[u64], more| Page {
            entries: sequences.iter().copied().map(entry).collect(),
            more,
            ..Page::default()
        };
        let mut reads = LogReads::default();
        reads.note_pushed(4, &push(&[7, 8], false));
        reads.note_pushed(4, &push(&[6], false));
        assert_eq!((reads.take_pushed(4), reads.take_pushed(4), reads.again.len()), (Some(8), None, 0));
        // What is too long to be pushed has no number.
        reads.note_pushed(5, &push(&[], true));
        assert_eq!((reads.take_pushed(5), reads.again), (None, vec![5]));
    }
}
