//! The states from which commits were followed. They are kept for a time, each in a row of its own, so that another commit can be followed from them.

use bytes::Bytes;

use crate::{
    conversation::{group::GroupEntry, group_state::OpenGroup, group_store::epoch_key},
    limits::{MAX_PARENT_BYTES, PARENT_LIFE_MS},
    mls::PAST_EPOCHS,
    store::{PARENTS, ParentMark, ParentRow, StoreError},
    turn::{EngineError, Turn},
};

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
    ) -> Result<(), EngineError> {
        let Some(log) = self.entry.current_log() else { return Ok(()) };
        let (epoch, secret) = (log.epoch, log.secret.clone());
        let own = self.state.pending.as_ref().filter(|_| !self.is_pending(commit));
        let row = ParentRow {
            own: own.map(|own| own.row()),
            state: self.state.live.value()?.state.to_vec(),
            commit: commit.clone(),
            since_update: self.state.since_update,
            updated_ms: self.entry.row.updated_ms,
        };
        let of_own = row.own.iter().map(|own| {
            let past: usize = own.past.iter().map(|epoch| epoch.data.len()).sum();
            own.state.len() + own.entry.len() + past
        });
        let size = row.state.len() + row.commit.len() + of_own.sum::<usize>();
        if size > MAX_PARENT_BYTES {
            tracing::warn!(size, "the state of an epoch is too large to be kept");
            return Ok(());
        }
        turn.put(PARENTS, &epoch_key(&self.entry.id, epoch), &row)?;
        let hash = commit_hash(commit).to_vec();
        let mark = ParentMark { epoch, hash, author, secret, at_ms: turn.wall() };
        self.entry.row.parents.push(mark);
        self.entry.touch();
        self.entry.forget_parents(turn)?;
        Ok(())
    }
}

impl GroupEntry {
    /// Deletes the states of earlier epochs that are not kept any longer.
    pub fn forget_parents(&mut self, turn: &Turn<'_>) -> Result<(), StoreError> {
        let surplus = self.row.parents.len().saturating_sub(PAST_EPOCHS);
        let is_over = |mark: &ParentMark| mark.at_ms.saturating_add(PARENT_LIFE_MS) < turn.wall();
        let over = self.row.parents.iter().enumerate().filter(|(at, mark)| *at < surplus || is_over(mark));
        let over: Vec<u64> = over.map(|(_, mark)| mark.epoch).collect();
        for epoch in &over {
            turn.delete(PARENTS, &epoch_key(&self.id, *epoch))?;
        }
        if !over.is_empty() {
            self.row.parents.retain(|mark| !over.contains(&mark.epoch));
            self.touch();
        }
        Ok(())
    }

    /// When the first of them is not kept any longer, in milliseconds since 1970.
    pub fn parents_due_ms(&self) -> Option<u64> {
        self.row.parents.iter().map(|mark| mark.at_ms.saturating_add(PARENT_LIFE_MS) + 1).min()
    }
}
