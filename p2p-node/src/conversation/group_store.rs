//! How a group is stored: what changes by itself has a row of its own, so that an entry that was read in a log does not write the encryption
//! state again, and a message that was encrypted writes nothing of the logs.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::group::{GroupEntry, GroupId};
use crate::{
    mls::GroupValue,
    store::{
        EPOCHS, EpochRow, GROUPS, GroupRow, LOGS, LogRow, MLS, MlsRow, PENDING_COMMITS, PendingRow, Reading,
        StoreError, prefix,
    },
    turn::{EngineError, Turn},
};

/// The rows of a group.
pub struct StoredGroup {
    pub row: GroupRow,
    pub mls: MlsRow,
    pub epochs: Vec<EpochRow>,
    pub pending: Option<PendingRow>,
    pub logs: Vec<LogRow>,
}

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
fn epoch_key(id: &GroupId, epoch: u64) -> Vec<u8> {
    [&id[..], &epoch.to_be_bytes()].concat()
}

impl StoredGroup {
    /// Reads what belongs to a group.
    pub fn read(read: &impl Reading, id: &GroupId, row: GroupRow) -> Result<Self, StoreError> {
        let of_epochs = prefix(id);
        Ok(Self {
            row,
            mls: read.get(MLS, id)?.ok_or(StoreError::Damaged("mls"))?,
            epochs: read.range(EPOCHS, of_epochs.clone(), usize::MAX, false)?.into_iter().map(|(_, row)| row).collect(),
            pending: read.get(PENDING_COMMITS, id)?,
            logs: read.range(LOGS, of_epochs, usize::MAX, false)?.into_iter().map(|(_, row)| row).collect(),
        })
    }

    /// The encryption state.
    pub fn value(&self) -> GroupValue {
        value(&self.mls, &self.epochs)
    }
}

/// The encryption state that rows have.
pub fn value(mls: &MlsRow, epochs: &[EpochRow]) -> GroupValue {
    GroupValue {
        state: Zeroizing::new(mls.state.clone()),
        past: epochs.iter().map(|row| (row.epoch, Zeroizing::new(row.data.clone()))).collect(),
    }
}

/// The rows for an encryption state.
fn epochs(value: &GroupValue) -> Vec<EpochRow> {
    value.past.iter().map(|(epoch, data)| EpochRow { epoch: *epoch, data: data.to_vec() }).collect()
}

impl GroupEntry {
    /// Writes what has changed; gives whether anything had.
    pub fn save(&mut self, turn: &Turn<'_>) -> Result<bool, EngineError> {
        let Unsaved { row, mls, pending, logs } = std::mem::take(&mut self.unsaved);
        if row {
            turn.put(GROUPS, &self.id, &self.row)?;
        }
        if mls {
            self.save_mls(turn)?;
        }
        if pending {
            match &self.pending {
                Some(pending) => {
                    let row = PendingRow {
                        state: pending.value.state.to_vec(),
                        past: epochs(&pending.value),
                        entry: pending.entry.to_vec(),
                    };
                    turn.put(PENDING_COMMITS, &self.id, &row)?;
                }
                None => turn.delete(PENDING_COMMITS, &self.id)?,
            }
        }
        for epoch in &logs {
            let key = epoch_key(&self.id, *epoch);
            match self.logs.iter().find(|log| log.epoch == *epoch) {
                Some(log) => turn.put(LOGS, &key, log)?,
                None => turn.delete(LOGS, &key)?,
            }
        }
        Ok(row || mls || pending || !logs.is_empty())
    }

    /// The state of this epoch changes with every message, those of earlier ones with late messages alone.
    fn save_mls(&mut self, turn: &Turn<'_>) -> Result<(), EngineError> {
        let value = self.live.value()?;
        turn.put(MLS, &self.id, &MlsRow { state: value.state.to_vec(), since_update: self.since_update })?;
        for row in epochs(&value) {
            let hash = *blake3::hash(&row.data).as_bytes();
            if self.saved_epochs.insert(row.epoch, hash) != Some(hash) {
                turn.put(EPOCHS, &epoch_key(&self.id, row.epoch), &row)?;
            }
        }
        let gone: Vec<u64> =
            self.saved_epochs.keys().filter(|epoch| !value.past.contains_key(epoch)).copied().collect();
        for epoch in gone {
            self.saved_epochs.remove(&epoch);
            turn.delete(EPOCHS, &epoch_key(&self.id, epoch))?;
        }
        Ok(())
    }
}

/// Deletes the rows of a group.
pub fn delete(turn: &Turn<'_>, id: &GroupId) -> Result<(), StoreError> {
    for table in [GROUPS, MLS, PENDING_COMMITS] {
        turn.delete(table, id)?;
    }
    for table in [EPOCHS, LOGS] {
        turn.delete_range(table, prefix(id))?;
    }
    Ok(())
}
