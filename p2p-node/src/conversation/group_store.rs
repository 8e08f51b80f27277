//! How a group is stored: what changes by itself has a row of its own, so that an entry that was read in a log does not write the encryption
//! state again, and a message that was encrypted writes nothing of the logs.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::{AccountId, DeviceId};
use zeroize::Zeroizing;

use super::{
    Conversations,
    group::{GroupEntry, GroupId, GroupMember, log_address},
    group_state::{GroupState, PendingCommit, log_row},
    lead::Lead,
    limits::{MAX_STATE_LEAD, STATE_DEVICES, STATE_MESSAGES, TREE_LEAVES},
    loaded_states::GroupStates,
};
use crate::{
    api::{problem::ChatProblem, types::ChatId},
    mls::{GroupValue, Mls, Welcomed},
    store::{
        EPOCHS, EpochRow, GROUPS, GroupRow, LOGS, LogRow, MLS, MlsRow, PARENTS, PARTS, PENDING_COMMITS, PendingRow,
        Reading, StoreError, TREES, TreeRow, WelcomeRow, prefix,
    },
    turn::{EngineError, Turn},
};

/// What of a group has changed and is to be written.
#[derive(Default)]
pub struct Unsaved {
    pub row: bool,
    pub mls: bool,
    pub pending: bool,
    /// By epoch.
    pub logs: BTreeSet<u64>,
}

/// The key of a row that a group has for each of several epochs.
pub(super) fn epoch_key(id: &GroupId, epoch: u64) -> Vec<u8> {
    [&id[..], &epoch.to_be_bytes()].concat()
}

/// The encryption state that rows have.
pub(super) fn value(state: &[u8], epochs: &[EpochRow]) -> GroupValue {
    GroupValue {
        state: Zeroizing::new(state.to_vec()),
        past: epochs.iter().map(|row| (row.epoch, Zeroizing::new(row.data.clone()))).collect(),
    }
}

/// The rows for an encryption state.
pub(super) fn epochs(value: &GroupValue) -> Vec<EpochRow> {
    value.past.iter().map(|(epoch, data)| EpochRow { epoch: *epoch, data: data.to_vec() }).collect()
}

impl EngineError {
    /// Whether it is one group that cannot be read, and not the profile.
    pub(super) fn is_of_this_group(&self) -> bool {
        matches!(self, Self::Store(StoreError::Damaged(_)) | Self::Group(_))
    }
}

impl GroupMember {
    const LEN: usize = 64;

    fn stored(bytes: &[u8]) -> Option<Self> {
        let (account, device) = bytes.split_at_checked(32)?;
        Some(Self { account: AccountId::from_stored(account).ok()?, device: DeviceId::from_stored(device).ok()? })
    }
}

/// The row of a group as it is written.
fn row(entry: &GroupEntry) -> GroupRow {
    let of_one = |m: &GroupMember| [*m.account.as_bytes(), *m.device.as_bytes()];
    let members = entry.members.iter().flat_map(of_one).flatten().collect();
    GroupRow { members, reached: entry.reached(), ..entry.row.clone() }
}

impl GroupEntry {
    /// A stored group with its logs.
    fn load(
        read: &impl Reading,
        mls: &Mls,
        id: GroupId,
        mut row: GroupRow,
        mut logs: Vec<LogRow>,
        has_pending: bool,
    ) -> Result<Self, EngineError> {
        let mut unsaved = Unsaved::default();
        let known = std::mem::take(&mut row.members);
        let members: Option<Vec<_>> = known.chunks(GroupMember::LEN).map(GroupMember::stored).collect();
        let members = match members.filter(|members| !members.is_empty()) {
            Some(members) => members,
            None => {
                // An older version has written it.
                unsaved.row = true;
                let members = GroupState::load(read, mls, id, false)?.members();
                mls.forget(&id);
                members
            }
        };
        for log in logs.iter_mut().filter(|log| log.address.is_empty() || !log.judged) {
            log.address = log_address(log).ok_or(StoreError::Damaged("logs"))?.to_vec();
            // An older version may have read over a commit. What is read again is known.
            (log.cursor, log.judged) = (0, true);
            unsaved.logs.insert(log.epoch);
        }
        if logs.is_empty() {
            // The log follows from the encryption state. What is read in it again is known.
            let log = GroupState::load(read, mls, id, false)?.log()?;
            mls.forget(&id);
            unsaved.logs.insert(log.epoch);
            logs.push(log);
        }
        Ok(Self { logs, has_pending, unsaved, ..Self::with(id, row, members) })
    }

    /// Writes what has changed; gives whether anything had.
    pub fn save(&mut self, turn: &Turn<'_>, states: &mut GroupStates) -> Result<bool, EngineError> {
        let Unsaved { row: changed, mut mls, pending, logs } = std::mem::take(&mut self.unsaved);
        if changed {
            turn.put(GROUPS, &self.id, &row(self))?;
        }
        if let Some(state) = states.settle(&self.id) {
            mls |= state.lead.due().is_some_and(|due| due <= turn.now());
            if mls {
                state.save(turn, &self.id, reserved_keys(self.members.len()))?;
            }
            if pending {
                state.save_pending(turn, &self.id)?;
            }
        }
        for epoch in &logs {
            let key = epoch_key(&self.id, *epoch);
            match self.logs.iter().find(|log| log.epoch == *epoch) {
                Some(log) => turn.put(LOGS, &key, log)?,
                None => {
                    turn.delete(LOGS, &key)?;
                    turn.delete_range(PARTS, prefix(&key))?;
                }
            }
        }
        Ok(changed || mls || pending || !logs.is_empty())
    }
}

/// How many keys of ours a state reserves that is written for a group of so many devices.
fn reserved_keys(devices: usize) -> u32 {
    let times = (1 + devices / STATE_DEVICES).min(MAX_STATE_LEAD);
    STATE_MESSAGES * times as u32
}

impl PendingCommit {
    /// The row for it, but for the welcomes.
    pub(super) fn row(&self) -> PendingRow {
        let (state, past, entry) = (self.value.state.to_vec(), epochs(&self.value), self.entry.to_vec());
        PendingRow { state, past, entry, welcomes: Vec::new() }
    }

    /// The same with the welcomes, which go out when it has won.
    fn row_with_welcomes(&self) -> PendingRow {
        let mut row = self.row();
        row.welcomes = self.welcomes.iter().map(WelcomeRow::from).collect();
        row
    }
}

impl From<&Welcomed> for WelcomeRow {
    fn from(welcomed: &Welcomed) -> Self {
        Self {
            account: welcomed.account.as_bytes().to_vec(),
            device: welcomed.device.as_bytes().to_vec(),
            message: welcomed.welcome.clone(),
        }
    }
}

impl WelcomeRow {
    fn read(&self) -> Option<Welcomed> {
        let account = AccountId::from_stored(&self.account).ok()?;
        let device = DeviceId::from_stored(&self.device).ok()?;
        Some(Welcomed { account, device, welcome: self.message.clone() })
    }
}

impl GroupState {
    /// Reads what is stored for a group.
    ///
    /// # Errors
    /// If the store fails, or if it is not the state of a group.
    pub(super) fn load(read: &impl Reading, mls: &Mls, id: GroupId, has_pending: bool) -> Result<Self, EngineError> {
        let row: MlsRow = read.get(MLS, &id)?.ok_or(StoreError::Damaged("mls"))?;
        let epochs: Vec<EpochRow> =
            read.range(EPOCHS, prefix(&id), usize::MAX, false)?.into_iter().map(|(_, row)| row).collect();
        let pending = match has_pending {
            true => Some(read.get::<PendingRow>(PENDING_COMMITS, &id)?.ok_or(StoreError::Damaged("pending_commits"))?),
            false => None,
        };
        // Loading what comes after the commit under the same id replaces the stored value: the current one is put in its place after it.
        let pending = pending
            .map(|mut pending| {
                let value = value(&pending.state, &pending.past);
                let after = mls.load(&id, value.clone())?;
                let next = log_row(&after)?;
                let welcomes = pending.welcomes.iter().filter_map(WelcomeRow::read).collect();
                Ok::<_, EngineError>(PendingCommit {
                    after,
                    value,
                    entry: std::mem::take(&mut pending.entry).into(),
                    next,
                    welcomes,
                })
            })
            .transpose()?;
        let current = value(&row.state, &epochs);
        let mut live = match stored_tree(read, &id, &row.tree)? {
            Some(tree) => mls.load_with_tree(&id, current, &tree.tree)?,
            None => mls.load(&id, current)?,
        };
        live.pass_over(row.reserved)?;
        // Whoever reads us keeps the keys that we have passed over until ours are renewed.
        let since_update = row.since_update + u64::from(row.reserved);
        let saved_epochs = epochs.iter().map(|row| (row.epoch, *blake3::hash(&row.data).as_bytes())).collect();
        let saved_tree = row.tree.clone();
        Ok(Self { live, pending, since_update, saved_epochs, saved_tree, lead: Lead::default(), past: None })
    }

    /// Writes it, if what is stored says something else; what was reserved and not used is not passed over.
    pub(super) fn write_exactly(&mut self, turn: &Turn<'_>, id: &GroupId) -> Result<(), EngineError> {
        if self.lead.differs() { self.save(turn, id, 0) } else { Ok(()) }
    }

    /// Writes it, and reserves so many keys of ours for the messages until it is written again. What is of earlier epochs changes with late messages
    /// alone.
    fn save(&mut self, turn: &Turn<'_>, id: &GroupId, reserved: u32) -> Result<(), EngineError> {
        self.lead = Lead::written(reserved);
        self.save_tree(turn, id)?;
        let tree = self.saved_tree.clone();
        let value = if tree.is_empty() { self.live.value()? } else { self.live.value_without_tree()? };
        turn.put(MLS, id, &MlsRow { state: value.state.to_vec(), since_update: self.since_update, reserved, tree })?;
        for row in epochs(&value) {
            let hash = *blake3::hash(&row.data).as_bytes();
            if self.saved_epochs.insert(row.epoch, hash) != Some(hash) {
                turn.put(EPOCHS, &epoch_key(id, row.epoch), &row)?;
            }
        }
        let gone: Vec<u64> =
            self.saved_epochs.keys().filter(|epoch| !value.past.contains_key(epoch)).copied().collect();
        for epoch in gone {
            self.saved_epochs.remove(&epoch);
            turn.delete(EPOCHS, &epoch_key(id, epoch))?;
        }
        Ok(())
    }

    /// Writes the ratchet tree of a large group into its row, if another is there: it is the same until the next commit.
    fn save_tree(&mut self, turn: &Turn<'_>, id: &GroupId) -> Result<(), EngineError> {
        if self.live.leaves() < TREE_LEAVES {
            if !self.saved_tree.is_empty() {
                self.saved_tree.clear();
                turn.delete(TREES, id)?;
            }
            return Ok(());
        }
        let hash = self.live.tree_hash().to_vec();
        if self.saved_tree != hash {
            turn.put(TREES, id, &TreeRow { hash: hash.clone(), tree: self.live.tree()? })?;
            self.saved_tree = hash;
        }
        Ok(())
    }

    fn save_pending(&self, turn: &Turn<'_>, id: &GroupId) -> Result<(), EngineError> {
        match &self.pending {
            Some(pending) => turn.put(PENDING_COMMITS, id, &pending.row_with_welcomes())?,
            None => turn.delete(PENDING_COMMITS, id)?,
        }
        Ok(())
    }
}

/// The ratchet tree with this hash that is stored beside a state; none if the state has it.
fn stored_tree(read: &impl Reading, id: &GroupId, hash: &[u8]) -> Result<Option<TreeRow>, EngineError> {
    if hash.is_empty() {
        return Ok(None);
    }
    let row = read.get::<TreeRow>(TREES, id)?.filter(|row| row.hash == hash);
    Ok(Some(row.ok_or(StoreError::Damaged(TREES.name()))?))
}

impl Conversations {
    /// Reads what routing needs of every group. One that is damaged is given up and the others are not: which conversation it was of is noted as its
    /// problem.
    pub(super) fn load_groups(&mut self, read: &impl Reading, mls: &Mls) -> Result<(), EngineError> {
        let mut logs: BTreeMap<GroupId, Vec<LogRow>> = BTreeMap::new();
        let mut damaged: BTreeSet<GroupId> = BTreeSet::new();
        read.each::<LogRow>(LOGS, |key, row| {
            let id = key.get(..16).and_then(|id| id.try_into().ok()).ok_or(StoreError::Damaged("logs"))?;
            match row {
                Ok(row) => logs.entry(id).or_default().push(row),
                Err(_) => drop(damaged.insert(id)),
            }
            Ok(())
        })?;
        let pending: BTreeSet<Vec<u8>> = read.keys(PENDING_COMMITS)?.into_iter().collect();
        let mut rows: Vec<(GroupId, GroupRow)> = Vec::new();
        read.each::<GroupRow>(GROUPS, |key, row| {
            let id = key.try_into().map_err(|_| StoreError::Damaged("groups"))?;
            match row {
                Ok(row) => rows.push((id, row)),
                // Its conversation names it, and does not find it.
                Err(_) => tracing::error!(group = id[0], "the row of a group is damaged"),
            }
            Ok(())
        })?;
        for (id, row) in rows {
            let logs = logs.remove(&id).filter(|_| !damaged.contains(&id)).unwrap_or_default();
            let entry = match GroupEntry::load(read, mls, id, row.clone(), logs, pending.contains(&id[..])) {
                Ok(entry) => entry,
                Err(error) if error.is_of_this_group() => {
                    tracing::error!(group = id[0], %error, "a group is damaged");
                    let mut entry = GroupEntry::with(id, row, Vec::new());
                    if !entry.row.dead {
                        entry.give_up();
                        let chat = entry.row.chat.as_slice().try_into().map(ChatId);
                        if let Some(state) = chat.ok().and_then(|chat| self.chats.get_mut(&chat)) {
                            state.problem = Some(ChatProblem::Damaged);
                        }
                    }
                    entry
                }
                Err(error) => return Err(error),
            };
            for device in entry.row.owed.iter().filter_map(|device| DeviceId::from_bytes(device).ok()) {
                self.apart.owe(id, device, 0);
            }
            self.groups.insert_entry(entry);
        }
        self.drop_lost_groups();
        Ok(())
    }

    /// Groups that conversations name and that are not there: their rows are damaged.
    fn drop_lost_groups(&mut self) {
        for chat in self.chats.keys().copied().collect::<Vec<_>>() {
            let Some(state) = self.chats.settle(&chat) else { continue };
            let named = state.row.groups.len();
            let is_there =
                |id: &Vec<u8>| id.as_slice().try_into().is_ok_and(|id: GroupId| self.groups.contains_key(&id));
            state.row.groups.retain(is_there);
            if state.row.groups.len() < named {
                state.problem = Some(ChatProblem::Damaged);
                state.dirty = true;
            }
        }
    }
}

/// Deletes the rows of a group.
pub fn delete(turn: &Turn<'_>, id: &GroupId) -> Result<(), StoreError> {
    for table in [GROUPS, MLS, TREES, PENDING_COMMITS] {
        turn.delete(table, id)?;
    }
    for table in [EPOCHS, PARENTS, LOGS, PARTS] {
        turn.delete_range(table, prefix(id))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_states_are_written_more_seldom() {
        assert_eq!([2, 63, 64, 512, 2_000].map(reserved_keys), [1, 1, 2, 4, 4].map(|times| times * STATE_MESSAGES));
        // Members follow over 1,024 keys.
        assert!(reserved_keys(usize::MAX - 1) < 1_024);
    }
}
