//! The states from which commits were followed. They are kept for a time, each in a row of its own, so that another commit can be followed from them.

use bytes::Bytes;
use prost::Message as _;
use starling_wire::{Beacon, limits::MAX_ENTRY};

use super::limits::{MAX_PARENT_BYTES, PARENT_LIFE_MS};
use crate::{
    conversation::{
        group::GroupEntry,
        group_state::{OpenGroup, PendingCommit},
        group_store::{epoch_key, epochs},
    },
    mls::PAST_EPOCHS,
    store::{PARENTS, ParentMark, ParentRow, Reading, StoreError},
    turn::{EngineError, Turn},
};

/// Bytes that a log's entry has beside the commits of a beacon.
const BEACON_OVERHEAD: usize = 256;

/// What names a commit.
pub fn commit_hash(commit: &[u8]) -> [u8; 32] {
    *blake3::hash(commit).as_bytes()
}

impl OpenGroup<'_> {
    /// Keeps the current state, as a commit of the member at leaf `author` is about to be followed from it. What is too large is not kept.
    pub(in crate::conversation) fn keep_parent(
        &mut self,
        turn: &Turn<'_>,
        commit: &Bytes,
        author: u32,
        told: bool,
    ) -> Result<(), EngineError> {
        let Some(log) = self.entry.current_log() else { return Ok(()) };
        let (epoch, secret) = (log.epoch, log.secret.clone());
        let own = self.state.pending.as_ref().filter(|_| !self.is_pending(commit));
        let value = self.state.live.value()?;
        let row = ParentRow {
            own: own.map(PendingCommit::row),
            state: value.state.to_vec(),
            past: epochs(&value),
            commit: commit.clone(),
            since_update: self.state.since_update,
            updated_ms: self.entry.row.updated_ms,
            door: self.entry.row.door.clone(),
            left: Vec::new(),
        };
        let size = row.encoded_len();
        if size > MAX_PARENT_BYTES {
            tracing::warn!(size, "the state of an epoch is too large to be kept");
            return Ok(());
        }
        turn.put(PARENTS, &epoch_key(&self.entry.id, epoch), &row)?;
        let hash = commit_hash(commit).to_vec();
        let mark = ParentMark {
            epoch,
            hash,
            author,
            secret,
            at_ms: turn.wall(),
            told,
            announce_in: Vec::new(),
            reported: false,
            leave_at_ms: 0,
            has_left: false,
        };
        self.entry.row.parents.push(mark);
        self.entry.touch();
        self.entry.forget_parents(turn)?;
        Ok(())
    }
}

impl GroupEntry {
    /// What is kept of an epoch that a commit has ended.
    pub(super) fn parent(&self, epoch: u64) -> Option<&ParentMark> {
        self.row.parents.iter().find(|mark| mark.epoch == epoch)
    }

    pub(super) fn parent_mut(&mut self, epoch: u64) -> Option<&mut ParentMark> {
        self.row.parents.iter_mut().find(|mark| mark.epoch == epoch)
    }

    /// What this device has followed from an epoch, as others are told: `most` commits at most, as far as they fit. A commit in parts does not: where
    /// it was followed its log says.
    pub(super) fn followed_from(
        &self,
        turn: &Turn<'_>,
        epoch: u64,
        most: usize,
    ) -> Result<Option<Beacon>, EngineError> {
        let mut path: Vec<Bytes> = Vec::new();
        for epoch in (epoch..self.epoch()).take(most) {
            let Some(row) = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.id, epoch))? else { break };
            let size = path.iter().map(Bytes::len).sum::<usize>() + row.commit.len();
            if row.commit.len() > MAX_ENTRY || (size > MAX_ENTRY - BEACON_OVERHEAD && !path.is_empty()) {
                break;
            }
            path.push(row.commit.clone());
        }
        let is_path = path.len() > 1;
        Ok(if is_path { Some(Beacon::Path(path)) } else { path.pop().map(Beacon::Commit) })
    }

    /// Whether a commit was followed from an epoch that was not read in its log.
    pub fn was_told(&self, epoch: u64) -> bool {
        self.parent(epoch).is_some_and(|mark| mark.told)
    }

    /// Deletes what is kept of an epoch.
    pub(super) fn forget_parent(&mut self, turn: &Turn<'_>, epoch: u64) -> Result<(), StoreError> {
        self.row.parents.retain(|mark| mark.epoch != epoch);
        self.touch();
        turn.delete(PARENTS, &epoch_key(&self.id, epoch))
    }

    /// Deletes the states of earlier epochs that are not kept any longer.
    pub fn forget_parents(&mut self, turn: &Turn<'_>) -> Result<(), StoreError> {
        let surplus = self.row.parents.len().saturating_sub(PAST_EPOCHS);
        let is_over = |mark: &ParentMark| mark.at_ms.saturating_add(PARENT_LIFE_MS) < turn.wall();
        let over = self.row.parents.iter().enumerate().filter(|(at, mark)| *at < surplus || is_over(mark));
        let over: Vec<u64> = over.map(|(_, mark)| mark.epoch).collect();
        over.into_iter().try_for_each(|epoch| self.forget_parent(turn, epoch))
    }

    /// When the first of them is not kept any longer, in milliseconds since 1970.
    pub fn parents_due_ms(&self) -> Option<u64> {
        self.row.parents.iter().map(|mark| mark.at_ms.saturating_add(PARENT_LIFE_MS) + 1).min()
    }
}
