//! Which servers we want to be connected to.

use std::collections::HashMap;

use starling_keys::RendezvousAddr;

use crate::{engine::Engine, net::HomeId};

impl Engine {
    /// The servers that we want to be connected to: our own, those with our conversations' logs, those that an operation needs.
    pub(crate) fn wanted_homes(&mut self) -> HashMap<HomeId, (Vec<RendezvousAddr>, bool)> {
        let mut wanted: HashMap<HomeId, (Vec<RendezvousAddr>, bool)> = HashMap::new();
        let mut want = |address: &RendezvousAddr, own: bool| {
            let entry = wanted.entry(address.peer).or_default();
            entry.1 |= own;
            if !entry.0.contains(address) && entry.0.len() < 8 {
                entry.0.push(address.clone());
            }
        };
        for home in &self.account.identity.homes {
            want(home, true);
        }
        for home in self.conversations.homes_where(|group| self.is_linked_group(group)) {
            want(home, false);
        }
        for person in self.contacts.people.values().filter(|p| p.is_linked()) {
            // Their relays: only through them can they be reached before there is a direct path.
            for home in person.list.iter().flat_map(|l| &l.homes) {
                want(home, false);
            }
        }
        for home in self.account.own_devices.changes.left_homes.iter().filter_map(|h| h.address.parse().ok()) {
            want(&home, false);
        }
        for home in self.conversations.homes_to_trim(&mut self.homes) {
            want(&home, false);
        }
        for connect in self.contacts.connects.values() {
            for home in &connect.homes {
                want(home, false);
            }
        }
        for outbound_item in self.homes.outbound_items.values() {
            if let Ok(home) = outbound_item.row.home.parse() {
                want(&home, false);
            }
        }
        for code in &self.account.used_codes {
            want(&code.home, false);
        }
        for (id, (addresses, own)) in &wanted {
            let state = self.homes.servers.entry(*id).or_default();
            state.addresses.clone_from(addresses);
            state.own = *own;
        }
        self.homes.servers.retain(|id, _| wanted.contains_key(id));
        wanted
    }
}
