//! What the driver does on the LAN: it announces this device to contacts there, and tells the state machine where they are.

use std::time::Instant;

use data_encoding::HEXLOWER;

use super::{
    driver::Driver,
    lan::{Found, Lan},
    lan_link::LanLink,
    lan_packet::{self, Packet, told},
};
use crate::net::{LanKeys, connectivity::Input};

/// This device and its contacts on the LAN.
pub(super) struct OnLan {
    /// They are looked for.
    pub wanted: bool,
    /// By which names they know each other.
    pub names: Lan,
    pub link: LanLink,
}

impl OnLan {
    pub fn new(wanted: bool) -> Self {
        let now = Instant::now();
        Self { wanted, names: Lan::new(now), link: LanLink::new(now) }
    }
}

impl Driver {
    /// The keys by which this device and those that it looks for know each other have changed.
    pub(super) async fn set_lan_keys(&mut self, keys: LanKeys) {
        let (found, name) = self.lan.names.set_keys(keys, Lan::now());
        if name.is_some() {
            self.begin_on_lan();
        }
        self.report_found(found).await;
    }

    /// Another period has begun: this device announces itself under its next name, and others do.
    pub(super) async fn rename_on_lan(&mut self) {
        let (gone, name) = self.lan.names.next_period(Lan::now());
        if name.is_some() {
            self.begin_on_lan();
        }
        self.report_gone(gone).await;
    }

    fn begin_on_lan(&mut self) {
        self.lan.link.begin(Instant::now(), self.picture.ipv6_alone);
    }

    /// The network has changed: this device and its contacts on the LAN find each other again.
    pub(super) fn change_on_lan(&mut self) {
        if self.lan.names.own_name().is_some() {
            self.lan.link.network_changed(Instant::now(), self.picture.ipv6_alone);
        }
    }

    /// Something is due on the LAN.
    pub(super) async fn act_on_lan(&mut self) {
        let now = Instant::now();
        self.lan.link.act(now);
        let gone = self.lan.names.expire(now);
        self.report_gone(gone).await;
    }

    /// Something was said on the LAN.
    pub(super) async fn on_lan(&mut self, packet: Packet) {
        let now = Instant::now();
        let Some(own) = self.lan.names.own_name() else { return };
        match packet {
            Packet::Question => {
                let listening: Vec<_> = self.swarm.listeners().cloned().collect();
                self.lan.link.answer(now, |place, of_interface| {
                    let told = told(listening.iter(), &own, place, of_interface);
                    // It tells nothing of this device, and is another one each time.
                    let label = HEXLOWER.encode(&rand::random::<[u8; 16]>());
                    (!told.is_empty()).then(|| lan_packet::announcement(&own, &label, &told).ok()).flatten()
                });
            }
            Packet::Announced(all) => {
                let others = all.into_iter().filter(|(name, _)| *name != own);
                let found = others.filter_map(|(name, address)| self.lan.names.hear(now, name, address)).collect();
                self.report_found(found).await;
            }
        }
    }

    async fn report_found(&mut self, found: Vec<Found>) {
        for Found { peer, address } in found {
            self.report(Input::Found { peer, address }).await;
        }
    }

    async fn report_gone(&mut self, gone: Vec<Found>) {
        for Found { peer, address } in gone {
            self.report(Input::Expired { peer, address }).await;
        }
    }
}
