//! Whom the network is to be connected to.

use std::collections::HashMap;

use libp2p::Multiaddr;
use starling_keys::{DeviceId, RendezvousAddr};

use crate::{
    engine::Engine,
    net::{HomeId, NetCommand, Target},
    turn::{Effect, Turn},
};

/// What the network was told to connect to.
#[derive(Default)]
pub struct LastAnnounced {
    targets: HashMap<DeviceId, Target>,
    homes: HashMap<HomeId, (Vec<RendezvousAddr>, bool)>,
}

impl Engine {
    /// Tells the network whom we want to be connected to, if that has changed.
    pub(crate) fn sync_net(&mut self, turn: &mut Turn<'_>) {
        if !std::mem::take(&mut self.delivery.net_changed) {
            return;
        }
        let mut targets = HashMap::new();
        let own = self
            .account
            .other_devices()
            .iter()
            .map(|d| (d.certificate.device(), self.account.id()))
            .collect::<Vec<_>>();
        let contacts = self.contacts.devices.iter().map(|(device, account)| (*device, *account));
        for (device, account) in contacts.chain(own) {
            if !self.may_talk(&device) {
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
            targets.insert(device, Target { relays, addresses });
        }
        let homes = self.wanted_homes();
        if targets != self.delivery.told.targets {
            self.delivery.told.targets.clone_from(&targets);
            turn.emit(Effect::Net(NetCommand::Targets(targets)));
        }
        if homes != self.delivery.told.homes {
            self.delivery.told.homes.clone_from(&homes);
            turn.emit(Effect::Net(NetCommand::Homes(homes)));
        }
    }
}
