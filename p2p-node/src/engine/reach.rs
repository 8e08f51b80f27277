//! Whom and which servers the network is to be connected to.

use std::collections::{BTreeSet, HashMap};

use libp2p::Multiaddr;
use starling_keys::{DeviceId, RendezvousAddr};

use super::Engine;
use crate::{
    api::{
        Reply,
        types::{ContactState, Status},
    },
    contacts::{Directory, Person},
    home::Pending,
    net::{HomeId, LanKey, LanKeys, NetCommand, Target, WantedHome},
    turn::{Effect, EngineError, Turn},
};

/// What the network was told to connect to.
pub struct Reach {
    targets: HashMap<DeviceId, Target>,
    lan: Option<LanKeys>,
    homes: HashMap<HomeId, WantedHome>,
    /// Who waits for the status that a check of all connections finds.
    pub status_after_check: Vec<Reply<Status>>,
    /// Something that [`Engine::sync_net`] looks at has changed.
    pub changed: bool,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            targets: HashMap::new(),
            lan: None,
            homes: HashMap::new(),
            status_after_check: Vec::new(),
            changed: true,
        }
    }
}

impl Engine {
    /// Tells the network whom we want to be connected to, if that has changed.
    pub(super) fn sync_net(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if !(std::mem::take(&mut self.reach.changed) || self.homes.visits.changed) {
            return Ok(());
        }
        self.plan_look_ups(turn);
        let mut targets = HashMap::new();
        let own = self.account.other_devices().iter().map(|d| (d.id, self.account.id())).collect::<Vec<_>>();
        let contacts = self.contacts.owners.iter();
        for (device, account) in contacts.chain(own) {
            let waits = |chat| self.conversations.chats.may_enter(chat);
            if !self.directory().may_talk(&device) || self.conversations.chats.direct_with(&account).is_some_and(waits)
            {
                // Nothing can be said to somebody whose group this device is yet to enter.
                continue;
            }
            let (relays, addresses) = match self.contacts.people.get(&account) {
                Some(person) => (
                    person.list.as_ref().map(|l| l.homes.clone()).unwrap_or_default(),
                    person
                        .row
                        .addresses
                        .iter()
                        .filter(|a| a.device == device.as_bytes())
                        .flat_map(|a| &a.addresses)
                        .filter_map(|a| Multiaddr::try_from(a.clone()).ok())
                        .collect(),
                ),
                None => (
                    self.account.identity.homes.clone(),
                    self.account.own_devices.addresses.get(&device).cloned().unwrap_or_default(),
                ),
            };
            targets.insert(device, Target { relays, addresses, ..Target::default() });
        }
        self.add_members(&mut targets);
        let lan = self.lan_keys(targets.keys());
        if Some(&lan) != self.reach.lan.as_ref() {
            self.reach.lan = Some(lan.clone());
            turn.emit(Effect::Net(NetCommand::Lan(lan)));
        }
        let (mut homes, lost) = self.wanted_homes(turn);
        if self.counters.row.outdated {
            // What it would acknowledge the real device would never get.
            targets.clear();
            homes.clear();
        }
        if targets != self.reach.targets {
            self.reach.targets.clone_from(&targets);
            turn.emit(Effect::Net(NetCommand::Targets(targets)));
        }
        if homes != self.reach.homes {
            self.reach.homes.clone_from(&homes);
            turn.emit(Effect::Net(NetCommand::Homes(homes)));
        }
        self.on_requests_lost(turn, lost);
        self.route_facts(turn)
    }

    /// Adds the members of groups in which we take part in what is passed on. Who is no contact is reached through the homes of its account that we
    /// are connected to.
    fn add_members(&self, targets: &mut HashMap<DeviceId, Target>) {
        for (group, device, account) in self.conversations.gossip.members() {
            if let Some(target) = targets.get_mut(&device) {
                target.groups.insert(group);
                continue;
            }
            let is_blocked = |person: &Person| person.state() == ContactState::Blocked;
            if account == self.account.id() || self.contacts.people.get(&account).is_some_and(is_blocked) {
                continue;
            }
            let relays = self.directory().list_of(&account).map(|list| list.homes.clone()).unwrap_or_default();
            let groups = BTreeSet::from([group]);
            targets.insert(device, Target { relays, groups, gossip_only: true, ..Target::default() });
        }
    }

    /// How we are, and these devices are, recognised on a LAN.
    fn lan_keys<'a>(&self, devices: impl Iterator<Item = &'a DeviceId>) -> LanKeys {
        let of_contact = |device: &DeviceId| {
            let person = self.contacts.people.get(&self.contacts.owners.get(device)?)?;
            let known = person.row.addresses.iter().find(|a| a.device == device.as_bytes())?;
            known.lan_key.as_slice().try_into().ok().map(LanKey)
        };
        let of_own = |device: &DeviceId| self.account.own_devices.lan_keys.get(device).copied();
        let key = |device: &DeviceId| of_own(device).or_else(|| of_contact(device));
        let others = devices.filter_map(|device| Some((*device, key(device)?))).collect();
        LanKeys { own: self.account.identity.lan_key(), others }
    }

    /// The servers that we want to be connected to: our own, those with our conversations' logs, those that an operation needs.
    /// And what was not answered where the way to them changes.
    fn wanted_homes(&mut self, turn: &Turn<'_>) -> (HashMap<HomeId, WantedHome>, Vec<Pending>) {
        let dir = Directory { account: &self.account, contacts: &self.contacts };
        let mut wanted: HashMap<HomeId, WantedHome> = HashMap::new();
        let mut want = |address: &RendezvousAddr, own: bool| {
            let entry = wanted.entry(address.peer).or_default();
            entry.own |= own;
            if !entry.addresses.contains(address) && entry.addresses.len() < 8 {
                entry.addresses.push(address.clone());
            }
        };
        for home in &self.account.identity.homes {
            want(home, true);
        }
        for home in self.conversations.groups.homes_where(|group| self.conversations.is_linked_group(dir, group)) {
            want(home, false);
        }
        for (_, person) in self.contacts.people.iter().filter(|(id, p)| p.is_linked() && !self.meets(turn.now(), id, p))
        {
            // Their relays: only through them can they be reached before there is a direct path.
            for home in person.list.iter().flat_map(|l| &l.homes) {
                want(home, false);
            }
        }
        for home in self.account.own_devices.changes.left_homes.iter().filter_map(|h| h.address.parse().ok()) {
            want(&home, false);
        }
        for home in self.conversations.chats.door_homes() {
            want(&home, false);
        }
        for home in self.conversations.joins.homes() {
            want(home, false);
        }
        for home in self.conversations.homes_to_trim(&mut self.homes) {
            want(&home, false);
        }
        for code in self.account.used_codes.iter().filter(|code| code.is_link()) {
            want(&code.home, false);
        }
        let visited = self.plan_visits(turn, &wanted);
        for code in &self.account.used_codes {
            if let Some(home) = wanted.get_mut(&code.home.peer) {
                home.named = true;
            }
        }
        let mut lost = Vec::new();
        for (id, home) in wanted.iter().chain(&visited) {
            let is_visited = visited.contains_key(id);
            lost.append(&mut self.homes.reach_by(turn, *id, is_visited));
            if let Some(state) = self.homes.servers.get_mut(id) {
                state.addresses.clone_from(&home.addresses);
                state.own = home.own;
            }
        }
        self.homes.servers.retain(|id, _| wanted.contains_key(id) || visited.contains_key(id));
        self.homes.forget_outages();
        wanted.extend(visited.into_iter().filter(|(_, home)| home.visit.is_some()));
        (wanted, lost)
    }
}
