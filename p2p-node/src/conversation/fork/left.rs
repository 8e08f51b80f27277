//! The states on a way that was left. A group of many may all come back to it, when the author of the commit for which it was left is out; and a device
//! that derived its states anew would encrypt with keys that it has used, and could not where a commit is its own.

use bytes::Bytes;
use prost::Message as _;

use super::{
    heal::own_commit,
    limits::{MAX_LEFT_COMMITS, MAX_PARENT_BYTES},
};
use crate::{
    conversation::{
        group_state::{EXPORT, OpenGroup, commit_of},
        group_store::{epoch_key, epochs, value},
    },
    mls::{GroupValue, LiveGroup, Mls},
    store::{LeftRow, PARENTS, ParentRow, PendingRow, Reading},
    turn::{EngineError, Turn},
};

/// Where a commit leads that was left.
pub struct Restored {
    pub live: LiveGroup,
    pub value: GroupValue,
    /// Entries that we had encrypted since our last commit.
    pub since_update: u64,
}

impl OpenGroup<'_> {
    /// What is to be kept of the way from an epoch, in the order of epochs, when the group goes on from another commit of that epoch.
    pub(super) fn left_way(&mut self, turn: &Turn<'_>, epoch: u64) -> Result<Vec<LeftRow>, EngineError> {
        if !self.state.live.has_policy() {
            return Ok(Vec::new());
        }
        let waits = |secret: &[u8], commit, row: &PendingRow| LeftRow {
            secret: secret.to_vec(),
            commit,
            state: row.state.clone(),
            past: row.past.clone(),
            since_update: 0,
        };
        let mut left = Vec::new();
        let marks: Vec<_> = self.entry.row.parents.iter().filter(|mark| mark.epoch >= epoch).cloned().collect();
        for mark in marks {
            let key = |epoch| epoch_key(&self.entry.id, epoch);
            let Some(mut row) = turn.get::<ParentRow>(PARENTS, &key(mark.epoch))? else { continue };
            if mark.epoch > epoch {
                left.append(&mut row.left);
                let own = own_commit(&row, &mark.secret).zip(row.own.as_ref());
                left.extend(own.map(|(commit, own)| waits(&mark.secret, commit, own)));
            }
            let (state, past, since_update) = if mark.epoch + 1 == self.entry.epoch() {
                let value = self.state.live.value()?;
                (value.state.to_vec(), epochs(&value), self.state.since_update)
            } else {
                let next = turn.get::<ParentRow>(PARENTS, &key(mark.epoch + 1))?;
                let Some(next) = next.filter(|next| !next.state.is_empty()) else { continue };
                (next.state.clone(), next.past.clone(), next.since_update)
            };
            left.push(LeftRow { secret: mark.secret.clone(), commit: row.commit.clone(), state, past, since_update });
        }
        let log = self.entry.current_log().zip(self.entry.current_keys());
        if let Some((pending, (log, keys))) = self.state.pending.as_ref().zip(log)
            && let Some(commit) = keys.open_entry(&pending.entry).and_then(commit_of)
        {
            left.push(waits(&log.secret, commit, &pending.row()));
        }
        Ok(left)
    }

    /// Where a commit that was left leads from a state; none if there is none, or it was not followed from this state. What the library thinks is stored
    /// is another value after it.
    pub(super) fn left_commit(
        &self,
        turn: &Turn<'_>,
        mls: &Mls,
        (from, commit): (&LiveGroup, &Bytes),
    ) -> Result<Option<Restored>, EngineError> {
        let secret = from.export(EXPORT)?;
        for mark in self.entry.row.parents.iter().rev().filter(|mark| mark.has_left) {
            let parent = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, mark.epoch))?;
            let mut left = parent.iter().flat_map(|parent| &parent.left);
            if let Some(left) = left.find(|left| left.is(commit, &secret[..])) {
                let value = value(&left.state, &left.past);
                let live = mls.load(&self.entry.id, value.clone())?;
                return Ok(Some(Restored { live, value, since_update: left.since_update }));
            }
        }
        Ok(None)
    }

    /// The same from the state that the group is in. A damaged one counts for nothing.
    pub(in crate::conversation) fn left_here(
        &mut self,
        turn: &Turn<'_>,
        mls: &Mls,
        commit: &Bytes,
    ) -> Result<Option<Restored>, EngineError> {
        if !self.entry.row.parents.iter().any(|mark| mark.has_left) {
            return Ok(None);
        }
        let current = self.state.live.value()?;
        let found = self.left_commit(turn, mls, (&self.state.live, commit));
        self.state.live.reset_value(current);
        match found {
            Err(error) if error.is_of_this_group() => {
                tracing::error!(%error, "a state that was left is damaged");
                Ok(None)
            }
            found => found,
        }
    }

    /// Takes a state up again that was left. What is encrypted from here on uses up keys: as it is kept, it is not to be used once more.
    pub(in crate::conversation) fn restore(
        &mut self,
        turn: &Turn<'_>,
        commit: &Bytes,
        restored: Restored,
    ) -> Result<(), EngineError> {
        let secret = self.state.live.export(EXPORT)?;
        self.forget_left(turn, commit, &secret[..])?;
        self.state.live = restored.live;
        self.state.live.reset_value(restored.value);
        self.state.since_update = restored.since_update;
        Ok(())
    }

    /// A commit is followed again.
    pub(super) fn forget_left(&mut self, turn: &Turn<'_>, commit: &Bytes, secret: &[u8]) -> Result<(), EngineError> {
        for mark in self.entry.row.parents.iter().filter(|mark| mark.has_left) {
            let key = epoch_key(&self.entry.id, mark.epoch);
            let Some(mut parent) = turn.get::<ParentRow>(PARENTS, &key)? else { continue };
            if parent.left.iter().any(|left| left.is(commit, secret)) {
                parent.left.retain(|left| !left.is(commit, secret));
                turn.put(PARENTS, &key, &parent)?;
            }
        }
        Ok(())
    }
}

impl LeftRow {
    /// Whether it is this commit, from the epoch with this exported secret.
    fn is(&self, commit: &Bytes, secret: &[u8]) -> bool {
        self.commit == *commit && self.secret == secret
    }
}

impl ParentRow {
    /// Keeps states that are left, the newest of them and as many as fit. Of one commit the last counts: keys of the others were used.
    pub(super) fn keep_left(&mut self, left: Vec<LeftRow>) {
        for left in left {
            self.left.retain(|old| !old.is(&left.commit, &left.secret));
            self.left.push(left);
        }
        while self.left.len() > MAX_LEFT_COMMITS || !self.left.is_empty() && self.encoded_len() > MAX_PARENT_BYTES {
            self.left.remove(0);
        }
    }
}
