//! Decisions when the network has changed, or the machine was suspended: what cannot live is closed at once, what may be dead is probed, and peers are
//! dialled beside the connections that there are.
//!
//! The work is bounded by the budget of early tries of each peer ([`Backoff`](super::backoff::Backoff)), and by the turns of all devices
//! ([`Turns`](super::turns::Turns)), however often this happens. Servers come first: what they lead to is reached through them.

use std::time::Instant;

use libp2p::swarm::ConnectionId;

use super::{Action, Connectivity, Network, Subject, homes::DELAYED};

/// What has become of the network.
#[derive(Clone, Debug, Default)]
pub struct NetworkChange {
    /// The networks that this machine is in now.
    pub networks: Vec<Network>,
    /// Connections that were made from an address that is not this machine's any more.
    pub gone: Vec<ConnectionId>,
    /// Connections that would take another path if they were made now.
    pub moved: Vec<ConnectionId>,
    /// All may: there is another router, or the machine was suspended.
    pub rerouted: bool,
}

impl Connectivity {
    pub(super) fn network_changed(&mut self, now: Instant, change: NetworkChange) {
        let NetworkChange { networks, gone, moved, rerouted } = change;
        self.set_networks(now, networks);
        for subject in self.subjects() {
            let Some((_, on)) = self.connection_of(subject) else { continue };
            match subject {
                // Dialled once its stream has ended.
                Subject::Device(id) if gone.contains(&on) => {
                    let _ = self.take_early_turn(now, &id);
                }
                // Before the old connection is closed: what ends by itself is not dialled again at once.
                Subject::Home(_) if gone.contains(&on) => self.dial_beside(now, subject),
                _ => {
                    if rerouted || moved.contains(&on) {
                        self.dial_beside(now, subject);
                    }
                    self.probe(now, subject);
                }
            }
        }
        for connection in gone {
            self.act(Action::Close(connection));
        }
        self.end_visits();
        self.try_quic_anew(now);
        self.expedite_homes(now);
        self.expedite_all_devices(now);
    }

    /// Something has changed, so that servers may be reached now, or why they are not may be another reason.
    pub(super) fn expedite_homes(&mut self, now: Instant) {
        let down: Vec<_> = self.homes.iter().filter(|(_, home)| !home.is_up()).map(|(id, _)| *id).collect();
        for id in down {
            if let Some(home) = self.homes.get_mut(&id) {
                home.backoff.expedite(now);
                home.is_explained = false;
                if home.is_dialled() {
                    home.expect(now + DELAYED);
                }
            }
            self.schedule_home(id);
        }
    }

    pub(super) fn set_networks(&mut self, now: Instant, networks: Vec<Network>) {
        if self.reach.networks != networks {
            self.reach.networks = networks;
            self.confine();
            self.expedite_all_devices(now);
        }
    }

    /// All that a session or stream may exist to, in the order in which they are of use.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let homes = self.homes.keys().copied().map(Subject::Home);
        homes.chain(self.devices_by_use().into_iter().map(Subject::Device)).collect()
    }
}
