//! A conversation's MLS group with its epoch logs.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use starling_keys::{Certificate, StorageKey};
use starling_wire::{LogKey, pad, unpad};
use zeroize::Zeroizing;

use super::group_store::{self, StoredGroup, Unsaved};
use crate::{
    mls::{GroupError, GroupValue, LiveGroup, Mls},
    store::{GroupRow, LogRow, MlsRow},
};

pub use crate::mls::GroupId;

/// The only label under which secrets leave the group; the rest is derived from it.
const EXPORT: &str = "starling epoch v1";

/// The keys of one epoch's log.
pub struct LogKeys {
    pub address: [u8; 32],
    pub key: LogKey,
    seal: StorageKey,
    signal: StorageKey,
}

impl LogKeys {
    pub fn of(row: &LogRow) -> Option<Self> {
        let secret = StorageKey::from_bytes(row.secret.as_slice().try_into().ok()?);
        let key = LogKey::from_secret(secret.derive("log address").as_bytes());
        Some(Self { address: key.address(), key, seal: secret.derive("log entries"), signal: secret.derive("signals") })
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
    pub fn open_signal(&self, sealed: &[u8]) -> Option<([u8; 8], Zeroizing<Vec<u8>>)> {
        let (sender, sealed) = sealed.split_at_checked(8)?;
        let plain = self.signal.open(sender, sealed).ok()?;
        Some((sender.try_into().ok()?, plain))
    }
}

/// A commit of ours that waits to win.
pub struct PendingCommit {
    pub after: LiveGroup,
    pub value: GroupValue,
    pub entry: Bytes,
    pub next: LogRow,
}

/// A group in memory.
pub struct GroupEntry {
    pub id: GroupId,
    pub row: GroupRow,
    pub live: LiveGroup,
    pub members: Vec<Certificate>,
    pub pending: Option<PendingCommit>,
    /// Messages of an epoch that we have not reached.
    pub future: VecDeque<(Option<starling_keys::DeviceId>, Bytes)>,
    /// What is under way at the home for each log, by epoch.
    pub reading: Vec<u64>,
    pub read_again: bool,
    pub appending: bool,
    pub closing: bool,
    pub opening: bool,
    /// The current log was read to its end since the home is up.
    pub caught_up: bool,
    /// Not before this time: the home has refused.
    pub retry_at: u64,
    /// Most entries in the next append: fewer after the log had no room for more.
    pub append_most: usize,
    /// Others that read the current log now.
    pub readers: u32,
    /// The logs that are read: that of this epoch, and those not read to their end.
    pub logs: Vec<LogRow>,
    /// Entries that we have encrypted since our last commit.
    pub since_update: u64,
    pub(super) unsaved: Unsaved,
    /// Hashes of the earlier epochs' states as they are stored.
    pub(super) saved_epochs: BTreeMap<u64, [u8; 32]>,
}

impl GroupEntry {
    /// A new group that we have made or joined.
    pub fn new(id: GroupId, live: LiveGroup, row: GroupRow) -> Result<Self, GroupError> {
        let log = log_row(&live)?;
        let unsaved = Unsaved { row: true, mls: true, pending: false, logs: [log.epoch].into() };
        Ok(Self { members: live.members(), logs: vec![log], unsaved, ..Self::with(id, live, row) })
    }

    /// A stored group.
    pub fn load(mls: &Mls, id: GroupId, stored: StoredGroup) -> Result<Self, GroupError> {
        let live = mls.load(&id, stored.value())?;
        let pending = match &stored.pending {
            Some(pending) => {
                // Loading it under the same id replaces the stored value, so the current one is put back after it.
                let after = MlsRow { state: pending.state.clone(), since_update: 0 };
                let value = group_store::value(&after, &pending.past);
                let live_after = mls.load(&id, value.clone())?;
                let next = log_row(&live_after)?;
                mls.load(&id, stored.value())?;
                Some(PendingCommit { after: live_after, value, entry: pending.entry.clone().into(), next })
            }
            None => None,
        };
        let StoredGroup { row, mls, epochs, logs, .. } = stored;
        let saved_epochs = epochs.iter().map(|row| (row.epoch, *blake3::hash(&row.data).as_bytes())).collect();
        let since_update = mls.since_update;
        Ok(Self { members: live.members(), pending, logs, since_update, saved_epochs, ..Self::with(id, live, row) })
    }

    fn with(id: GroupId, live: LiveGroup, row: GroupRow) -> Self {
        Self {
            id,
            row,
            live,
            members: Vec::new(),
            pending: None,
            future: VecDeque::new(),
            reading: Vec::new(),
            read_again: false,
            appending: false,
            closing: false,
            opening: false,
            caught_up: false,
            retry_at: 0,
            append_most: crate::limits::APPEND_ENTRIES,
            readers: 0,
            logs: Vec::new(),
            since_update: 0,
            unsaved: Unsaved::default(),
            saved_epochs: BTreeMap::new(),
        }
    }

    /// The row has changed.
    pub fn touch(&mut self) {
        self.unsaved.row = true;
    }

    /// The encryption state has changed.
    pub fn touch_live(&mut self) {
        self.unsaved.mls = true;
    }

    /// Entries of a log were read up to this one; `false` if they were before.
    pub fn advance(&mut self, epoch: u64, sequence: u64) -> bool {
        let log = self.logs.iter_mut().find(|l| l.epoch == epoch && l.cursor < sequence);
        let Some(log) = log else { return false };
        log.cursor = sequence;
        self.unsaved.logs.insert(epoch);
        true
    }

    /// A log was read to its end.
    pub fn forget_log(&mut self, epoch: u64) {
        self.logs.retain(|l| l.epoch != epoch);
        self.unsaved.logs.insert(epoch);
    }

    pub fn current_log(&self) -> Option<&LogRow> {
        self.logs.last()
    }

    pub fn current_keys(&self) -> Option<LogKeys> {
        self.current_log().and_then(LogKeys::of)
    }

    pub fn keys_of(&self, epoch: u64) -> Option<LogKeys> {
        self.logs.iter().find(|l| l.epoch == epoch).and_then(LogKeys::of)
    }

    /// Prepares a commit that renews our keys. It is stored before it is sent: if we win and crash, we have to know the epoch after it.
    pub fn prepare_update(&mut self, now_ms: u64) -> Result<(), GroupError> {
        let current = self.live.value()?;
        let (commit, mut after) = self.live.prepare_update(now_ms)?;
        let keys = self.current_keys().ok_or(GroupError::Malformed)?;
        let entry = keys.seal_entry(&commit);
        let value = after.value()?;
        self.live.reset_value(current);
        let next = log_row(&after)?;
        self.pending = Some(PendingCommit { after, value, entry, next });
        (self.unsaved.mls, self.unsaved.pending) = (true, true);
        Ok(())
    }

    /// Our commit has won: the epoch after it begins.
    pub fn adopt_pending(&mut self) -> bool {
        let Some(pending) = self.pending.take() else {
            return false;
        };
        self.live = pending.after;
        self.live.reset_value(pending.value);
        self.unsaved.pending = true;
        self.enter_epoch(pending.next);
        true
    }

    /// Somebody else's commit has won.
    pub fn drop_pending(&mut self) {
        self.unsaved.pending |= self.pending.take().is_some();
    }

    /// After a commit: a new log, and those read to their end go.
    pub fn enter_epoch(&mut self, log: LogRow) {
        self.unsaved.logs.insert(log.epoch);
        self.logs.push(log);
        self.members = self.live.members();
        self.caught_up = false;
        self.readers = 0;
        self.touch_live();
    }

    /// The log of the epoch that the group is in now.
    pub fn next_log(&self) -> Result<LogRow, GroupError> {
        log_row(&self.live)
    }
}

fn log_row(live: &LiveGroup) -> Result<LogRow, GroupError> {
    Ok(LogRow { epoch: live.epoch(), secret: live.export(EXPORT)?.to_vec(), cursor: 0 })
}
