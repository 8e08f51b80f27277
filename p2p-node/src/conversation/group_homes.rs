//! Which groups have their logs at which server. Addresses are read once, and not with each look at a group.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::RendezvousAddr;

use super::{
    Groups,
    group::{GroupEntry, GroupId},
};
use crate::net::HomeId;

/// The groups at each address, as their rows have it.
#[derive(Default)]
pub struct GroupHomes(BTreeMap<String, AtHome>);

struct AtHome {
    address: Option<RendezvousAddr>,
    groups: BTreeSet<GroupId>,
}

impl GroupHomes {
    pub(super) fn insert(&mut self, id: GroupId, home: &str) {
        let make = || AtHome { address: home.parse().ok(), groups: BTreeSet::new() };
        // Most are at one of few: the text is copied for a new one only.
        match self.0.get_mut(home) {
            Some(at) => at.groups.insert(id),
            None => self.0.entry(home.to_owned()).or_insert_with(make).groups.insert(id),
        };
    }

    pub(super) fn remove(&mut self, id: &GroupId, home: &str) {
        let Some(at) = self.0.get_mut(home) else { return };
        at.groups.remove(id);
        if at.groups.is_empty() {
            self.0.remove(home);
        }
    }

    fn address(&self, home: &str) -> Option<&RendezvousAddr> {
        self.0.get(home)?.address.as_ref()
    }
}

impl Groups {
    /// Where a group's logs are.
    pub(crate) fn home_address(&self, entry: &GroupEntry) -> Option<&RendezvousAddr> {
        self.homes.address(&entry.row.home)
    }

    pub(crate) fn home_of(&self, group: GroupId) -> Option<HomeId> {
        let entry = self.entries.get(&group)?;
        self.home_address(entry).map(|home| home.peer)
    }

    /// The groups whose logs are at a server.
    pub(crate) fn groups_at(&self, home: HomeId) -> Vec<GroupId> {
        let at = |at: &&AtHome| at.address.as_ref().is_some_and(|address| address.peer == home);
        self.homes.0.values().filter(at).flat_map(|at| at.groups.iter().copied()).collect()
    }

    /// The addresses at which at least one group has its logs that passes a test.
    pub(crate) fn homes_where(&self, test: impl Fn(GroupId) -> bool) -> impl Iterator<Item = &RendezvousAddr> {
        let any = move |at: &&AtHome| at.groups.iter().any(|id| test(*id));
        self.homes.0.values().filter(|at| at.address.is_some()).filter(any).filter_map(|at| at.address.as_ref())
    }
}
