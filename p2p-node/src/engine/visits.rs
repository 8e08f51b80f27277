//! Which servers of others are visited, and for whom: those that something is asked of, or left at, and nothing else connects us with.

use std::collections::{BTreeSet, HashMap};

use starling_keys::{AccountId, RendezvousAddr};

use super::Engine;
use crate::{
    contacts::Person,
    home::Subject,
    mls::GroupId,
    net::{HomeId, WantedHome},
    turn::Turn,
};

impl Engine {
    /// The servers that are to be visited, now or when it is their turn; those that this device is connected with anyway are asked there.
    pub(super) fn plan_visits(
        &mut self,
        turn: &Turn<'_>,
        connected: &HashMap<HomeId, WantedHome>,
    ) -> HashMap<HomeId, WantedHome> {
        let mut visited: HashMap<HomeId, WantedHome> = HashMap::new();
        let (mut wishes, mut known) = (Vec::new(), BTreeSet::new());
        for (address, subject) in self.wishes() {
            if connected.contains_key(&address.peer) {
                continue;
            }
            let home = visited.entry(address.peer).or_default();
            home.named |= matches!(subject, Subject::Code(_));
            if known.insert((address.peer, subject.clone())) {
                wishes.push((address.peer, subject));
            }
            if !home.addresses.contains(&address) && home.addresses.len() < MAX_ADDRESSES {
                home.addresses.push(address);
            }
        }
        let soon = self.parcels(false);
        self.homes.visits.plan(
            turn.now(),
            &wishes,
            &soon.iter().map(|(home, subject)| (home.peer, subject.clone())).collect(),
        );
        for (address, _) in soon.into_iter().filter(|(home, _)| self.homes.visits.number(&home.peer).is_some()) {
            visited
                .entry(address.peer)
                .or_insert_with(|| WantedHome { addresses: vec![address], ..WantedHome::default() });
        }
        for (id, home) in &mut visited {
            home.visit = self.homes.visits.number(id);
        }
        visited
    }

    /// What is to be left in inboxes, now or when something else is done.
    fn parcels(&self, ready: bool) -> Vec<(RendezvousAddr, Subject)> {
        let groups = &self.conversations.groups;
        let may_join = |id: &GroupId| groups.get(id).is_none_or(|g| !g.row.ours || g.row.log_opened || g.row.dead);
        self.homes.waiting_outbound_items(self.account.id(), may_join, ready).collect()
    }

    /// Whether a contact and we meet at a server, as one of us has it as a home and the conversation's log is there: then each finds the other through
    /// its relay, and the contact's other homes need not know this device. Not while that server is away.
    pub(super) fn meets(&self, now: u64, account: &AccountId, person: &Person) -> bool {
        let chat = self.conversations.chats.direct_with(account);
        let group = chat.and_then(|chat| self.conversations.active_group(self.directory(), chat));
        let Some(place) = group.and_then(|group| self.conversations.groups.home_of(group)) else { return false };
        let theirs = person.list.iter().flat_map(|list| &list.homes);
        let mut homes = self.account.identity.homes.iter().chain(theirs);
        homes.any(|home| home.peer == place) && !self.homes.is_missed(&place, now)
    }

    /// What is to be asked of servers, what users wait for first.
    fn wishes(&self) -> Vec<(RendezvousAddr, Subject)> {
        let codes = self.account.used_codes.iter().filter(|code| !code.is_link());
        let codes = codes.map(|code| (code.home.clone(), Subject::Code(code.id)));
        let mut connects: Vec<_> = self.contacts.connects.values().collect();
        connects.sort_by_key(|connect| connect.reply.is_none());
        let look_ups = connects.into_iter().flat_map(|connect| {
            let subject = connect.subject();
            connect.homes.iter().map(move |home| (home.clone(), subject.clone()))
        });
        let parcels = self.parcels(true);
        // Whether another home of theirs answers is seen by visiting it.
        let elsewhere = self.homes.recipients_at_lost().into_iter().flat_map(|account| {
            let homes = self.contacts.people.get(&account).map(Person::homes).unwrap_or_default();
            homes.into_iter().map(move |home| (home, Subject::Account(account)))
        });
        codes.chain(look_ups).chain(parcels).chain(elsewhere).collect()
    }
}

/// Addresses of one server that are tried.
const MAX_ADDRESSES: usize = 8;
