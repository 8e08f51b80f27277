//! The MLS groups of conversations, and what they are found by.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
};

use super::{
    group::{GroupEntry, GroupId},
    group_homes::GroupHomes,
    loaded_states::GroupStates,
};
use crate::turn::Tracked;

/// All groups, by their ids. Their methods stand in the files of what they are about.
#[derive(Default)]
pub struct Groups {
    pub(super) entries: Tracked<GroupId, GroupEntry>,
    /// Encryption states of those of them that were used last.
    pub states: GroupStates,
    pub(super) homes: GroupHomes,
    /// The group and epoch of each log, by the log's address.
    pub logs: BTreeMap<[u8; 32], (GroupId, u64)>,
}

impl Deref for Groups {
    type Target = Tracked<GroupId, GroupEntry>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl DerefMut for Groups {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.entries
    }
}
