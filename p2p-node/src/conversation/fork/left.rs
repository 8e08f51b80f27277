//! Commits of ours on a way that was left. Where its own commit leads a device cannot derive from the commit, only remember; and a group of many may all
//! come back to that way, when the author of the commit for which it was left is out.

use bytes::Bytes;
use prost::Message as _;

use crate::{
    conversation::{
        group_state::{EXPORT, OpenGroup, commit_of},
        group_store::{epoch_key, epochs, value},
    },
    limits::{MAX_LEFT_COMMITS, MAX_PARENT_BYTES},
    mls::{GroupValue, LiveGroup, Mls, policy::author_of_place},
    store::{LeftRow, PARENTS, ParentRow, Reading},
    turn::{EngineError, Turn},
};

impl OpenGroup<'_> {
    /// What is to be kept of our commits when the group goes on from another commit of an epoch, in the order of epochs.
    pub(super) fn own_commits_since(&mut self, turn: &Turn<'_>, epoch: u64) -> Result<Vec<LeftRow>, EngineError> {
        if !self.state.live.has_policy() {
            return Ok(Vec::new());
        }
        let (mut left, leaf) = (Vec::new(), self.state.live.leaf());
        let marks: Vec<_> = self.entry.row.parents.iter().filter(|mark| mark.epoch >= epoch).cloned().collect();
        for mark in marks {
            let Some(mut row) = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, mark.epoch))? else {
                continue;
            };
            if mark.epoch > epoch {
                left.append(&mut row.left);
            }
            if author_of_place(mark.author) != Some(leaf) {
                continue;
            }
            let (state, past) = if mark.epoch + 1 == self.entry.epoch() {
                let value = self.state.live.value()?;
                (value.state.to_vec(), epochs(&value))
            } else {
                let next = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, mark.epoch + 1))?;
                let Some(next) = next.filter(|next| !next.state.is_empty()) else { continue };
                (next.state.clone(), next.past.clone())
            };
            left.push(LeftRow { secret: mark.secret.clone(), commit: row.commit.clone(), state, past });
        }
        let log = self.entry.current_log().zip(self.entry.current_keys());
        if let Some((pending, (log, keys))) = self.state.pending.as_ref().zip(log)
            && let Some(commit) = keys.open_entry(&pending.entry).and_then(commit_of)
        {
            let row = pending.row();
            left.push(LeftRow { secret: log.secret.clone(), commit, state: row.state.clone(), past: row.past.clone() });
        }
        Ok(left)
    }

    /// Where a commit of ours that was left leads from a state; none if it is no commit of ours, or was not made from this state. What the library
    /// thinks is stored is another value after it.
    pub(in crate::conversation) fn left_commit(
        &self,
        turn: &Turn<'_>,
        mls: &Mls,
        (from, commit): (&LiveGroup, &Bytes),
    ) -> Result<Option<(LiveGroup, GroupValue)>, EngineError> {
        let secret = from.export(EXPORT)?;
        for mark in &self.entry.row.parents {
            let parent = turn.get::<ParentRow>(PARENTS, &epoch_key(&self.entry.id, mark.epoch))?;
            let mut left = parent.iter().flat_map(|parent| &parent.left);
            if let Some(left) = left.find(|left| left.commit == *commit && left.secret == secret[..]) {
                let value = value(&left.state, &left.past);
                return Ok(Some((mls.load(&self.entry.id, value.clone())?, value)));
            }
        }
        Ok(None)
    }

    /// Goes on from a commit of ours that was left and is followed again; `false` if it is none.
    pub(in crate::conversation) fn follow_left(
        &mut self,
        turn: &Turn<'_>,
        mls: &Mls,
        (commit, told): (&Bytes, bool),
    ) -> Result<bool, EngineError> {
        let current = self.state.live.value()?;
        let found = self.left_commit(turn, mls, (&self.state.live, commit));
        self.state.live.reset_value(current);
        let Some((live, value)) = found? else { return Ok(false) };
        let author = self.state.live.place_of(&live, self.state.live.leaf());
        self.keep_parent(turn, commit, author, told)?;
        self.forget_pending();
        self.state.live = live;
        self.state.live.reset_value(value);
        self.state.since_update = 0;
        let log = self.state.log()?;
        self.enter_epoch(log);
        self.entry.write_door(true);
        Ok(true)
    }
}

impl ParentRow {
    /// Keeps commits that are left, the newest of them and as many as fit.
    pub(super) fn keep_left(&mut self, left: Vec<LeftRow>) {
        let is_new = |new: &LeftRow| !self.left.iter().any(|old| old.commit == new.commit && old.secret == new.secret);
        let left: Vec<LeftRow> = left.into_iter().filter(is_new).collect();
        self.left.extend(left);
        while self.left.len() > MAX_LEFT_COMMITS || !self.left.is_empty() && self.encoded_len() > MAX_PARENT_BYTES {
            self.left.remove(0);
        }
    }
}
