//! Encryption states of groups: loaded from the profile when a message needs one, and dropped again when others are used.

use std::collections::BTreeMap;

use super::{
    Conversations, Groups,
    group::GroupId,
    group_state::{GroupState, OpenGroup},
    limits::{MAX_LOADED_GROUPS, MAX_LOADED_LEAVES},
};
use crate::{
    api::{problem::ChatProblem, types::ChatId},
    mls::{LiveGroup, Mls},
    turn::{EngineError, Fact, Turn},
};

/// Whether so many states with so many leaves in all are more than are kept in memory.
fn exceeds(groups: usize, leaves: u64) -> bool {
    groups > MAX_LOADED_GROUPS || (groups > 1 && leaves > MAX_LOADED_LEAVES)
}

/// The states that are loaded, at most [`MAX_LOADED_GROUPS`] of them with [`MAX_LOADED_LEAVES`] after a turn: those that were used last.
#[derive(Default)]
pub struct GroupStates {
    loaded: BTreeMap<GroupId, Loaded>,
    by_use: BTreeMap<u64, GroupId>,
    uses: u64,
}

struct Loaded {
    state: GroupState,
    used: u64,
}

impl GroupStates {
    pub fn insert(&mut self, id: GroupId, state: GroupState) {
        self.remove(&id);
        self.uses += 1;
        self.by_use.insert(self.uses, id);
        self.loaded.insert(id, Loaded { state, used: self.uses });
    }

    pub fn remove(&mut self, id: &GroupId) {
        if let Some(loaded) = self.loaded.remove(id) {
            self.by_use.remove(&loaded.used);
        }
    }

    /// One that is loaded, to be used.
    fn get_mut(&mut self, id: &GroupId) -> Option<&mut GroupState> {
        let loaded = self.loaded.get_mut(id)?;
        if loaded.used != self.uses {
            self.uses += 1;
            self.by_use.remove(&loaded.used);
            self.by_use.insert(self.uses, *id);
            loaded.used = self.uses;
        }
        Some(&mut loaded.state)
    }

    /// One that is loaded, to be written out: it is not used by that.
    pub(super) fn settle(&mut self, id: &GroupId) -> Option<&mut GroupState> {
        self.loaded.get_mut(id).map(|loaded| &mut loaded.state)
    }

    /// How many entries we have encrypted since our last commit in a group; none in one that was not used since it was loaded.
    pub fn since_update(&self, id: &GroupId) -> u64 {
        self.loaded.get(id).map_or(0, |loaded| loaded.state.since_update)
    }

    /// When a group's state is to be written, in steady time.
    pub fn due(&self, id: &GroupId) -> Option<u64> {
        self.loaded.get(id).and_then(|loaded| loaded.state.lead.due())
    }

    /// Whether they take too much memory; the one that was used last stays.
    fn are_too_many(&self) -> bool {
        let leaves = |live: &LiveGroup| u64::from(live.leaves()) * u64::from(live.copies());
        let leaves: u64 = self.loaded.values().map(|loaded| leaves(&loaded.state.live)).sum();
        exceeds(self.loaded.len(), leaves)
    }

    /// Drops those that were not used for longest, after the turn has written what has to be.
    pub fn shrink(&mut self, turn: &Turn<'_>, mls: &Mls) -> Result<(), EngineError> {
        while self.are_too_many()
            && let Some((_, id)) = self.by_use.pop_first()
        {
            let dropped = self.loaded.remove(&id);
            dropped.map_or(Ok(()), |mut dropped| dropped.state.write_exactly(turn, &id))?;
            mls.forget(&id);
        }
        Ok(())
    }

    /// Writes all as they are: no keys are passed over after a stop.
    pub fn write_exactly(&mut self, turn: &Turn<'_>) -> Result<(), EngineError> {
        self.loaded.iter_mut().try_for_each(|(id, loaded)| loaded.state.write_exactly(turn, id))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.loaded.len()
    }
}

impl Conversations {
    /// A group with its encryption state, which is loaded if it is not. `None` if there is no such group, or if its state is damaged: then it is
    /// given up.
    pub(crate) fn open(
        &mut self,
        turn: &mut Turn<'_>,
        mls: &Mls,
        id: GroupId,
    ) -> Result<Option<OpenGroup<'_>>, EngineError> {
        let Groups { entries, states, .. } = &mut self.groups;
        let Some(entry) = entries.get_mut(&id) else { return Ok(None) };
        if !states.loaded.contains_key(&id) {
            match GroupState::load(turn, mls, id, entry.has_pending) {
                Ok(state) => states.insert(id, state),
                Err(error) => {
                    // What cannot be read now cannot be read later; a disk that fails is another matter, and ends the run.
                    if !error.is_of_this_group() {
                        return Err(error);
                    }
                    if !entry.row.dead {
                        tracing::error!(group = id[0], %error, "a group's encryption state is damaged");
                        entry.give_up();
                        let chat = entry.row.chat.as_slice().try_into().map(ChatId);
                        if let Some(state) = chat.ok().and_then(|chat| self.chats.get_mut(&chat)) {
                            state.problem = Some(ChatProblem::Damaged);
                            turn.fact(Fact::GroupDamaged);
                        }
                    }
                    return Ok(None);
                }
            }
        }
        let now = turn.now();
        Ok(states.get_mut(&id).map(|state| OpenGroup { entry, state, now }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_large_groups_take_no_more_memory_than_many_small_ones() {
        assert!(!exceeds(MAX_LOADED_GROUPS, 20 * MAX_LOADED_GROUPS as u64));
        assert!(exceeds(MAX_LOADED_GROUPS + 1, 0));
        assert!(!exceeds(1, 2_000), "the largest one that there is");
        assert!(exceeds(2, MAX_LOADED_LEAVES + 1));
    }
}
