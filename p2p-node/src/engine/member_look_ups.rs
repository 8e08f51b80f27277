//! Which members of groups are looked up, as they are no contacts and tell us nothing of their devices, and where.

use std::collections::BTreeMap;

use starling_keys::{AccountId, RendezvousAddr};

use super::Engine;
use crate::{
    contacts::{
        Person,
        connect::{Connect, ConnectTarget},
        limits::LOOK_UP_WITHIN_MS,
    },
    mls::GroupId,
    turn::Turn,
};

impl Engine {
    /// Others may be in our groups now: if there are some to look up where there were none, they are after a while.
    pub(super) fn plan_look_ups(&mut self, turn: &Turn<'_>) {
        if !self.contacts.member_look_ups.has_begun() && self.unconnected_members().next().is_some() {
            let device = self.account.device();
            self.contacts.member_look_ups.begin(turn.now(), &device);
        }
    }

    /// Looks up those whose turn it is.
    pub(super) fn look_up_members(&mut self, turn: &mut Turn<'_>) {
        if !self.contacts.member_look_ups.is_due(turn.now()) {
            return;
        }
        let members: BTreeMap<AccountId, GroupId> = self.unconnected_members().collect();
        let device = self.account.device();
        for (account, times) in self.contacts.member_look_ups.take(turn.now(), &device, &members) {
            let home = members.get(&account).and_then(|group| self.place_to_look_up(&account, *group, times));
            let Some(home) = home else { continue };
            let until = turn.now() + LOOK_UP_WITHIN_MS;
            let connect = Connect::to(ConnectTarget::Account(account), vec![home], until);
            self.meeting().look_up(turn, Connect { of_member: true, ..connect });
        }
    }

    /// The accounts with devices in our groups that tell us nothing of these but there, each with one of the groups.
    fn unconnected_members(&self) -> impl Iterator<Item = (AccountId, GroupId)> {
        let (own, dir, conversations) = (self.account.id(), self.directory(), &self.conversations);
        // What a removed device finds it could not commit.
        let is_ours = !self.counters.row.superseded && !self.counters.row.outdated;
        let tells_us = move |account: &AccountId| *account == own || dir.person(account).is_some_and(Person::is_linked);
        let chats = conversations.group_chats().filter(move |_| is_ours);
        let ids = chats.filter_map(move |chat| conversations.active_group(dir, chat));
        let groups = ids.filter_map(move |id| conversations.groups.get(&id));
        let members = groups.flat_map(|group| group.members.iter().map(move |member| (member.account, group.id)));
        members.filter(move |(account, _)| !tells_us(account))
    }

    /// A home of a member, another one each time, as one may hide something; where it has not said which these are, that of the group.
    fn place_to_look_up(&self, account: &AccountId, group: GroupId, times: usize) -> Option<RendezvousAddr> {
        match self.directory().list_of(account) {
            Some(list) => list.homes.get(times.checked_rem(list.homes.len())?).cloned(),
            None => self.conversations.groups.home_address(self.conversations.groups.get(&group)?).cloned(),
        }
    }
}
