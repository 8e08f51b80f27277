//! Who may use the relay: a state machine without I/O that the relay asks before it grants something.
//!
//! Reservations make a device reachable, so they are for members; strangers, who may be about to register, have a sixteenth of them. Circuits come from
//! whoever wants to reach a member; strangers have half of them. Of both, one network may have no more than its share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::PeerId;

use crate::address::{Network, Origin};

/// The part of everything that one IPv4 address or IPv6 /64 may have; wider networks have twice and four times as much.
const ADDRESS_SHARE: usize = 64;
/// The part of the reservations that strangers may have.
const STRANGERS_RESERVATIONS: usize = 16;
/// The part of the circuits that strangers may have.
const STRANGERS_CIRCUITS: usize = 2;

/// What a peer can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// It can be reached through the relay.
    Reservation,
    /// It reaches another through the relay.
    Circuit,
}

struct Peer {
    origin: Option<Origin>,
    connections: usize,
    member: bool,
    reserved: bool,
    circuits: usize,
}

#[derive(Default)]
struct State {
    peers: HashMap<PeerId, Peer>,
    by_network: HashMap<(Network, Resource), usize>,
    strangers: HashMap<Resource, usize>,
}

/// A handle to what peers hold; clones share it.
#[derive(Clone)]
pub struct RelayShares {
    reservations: usize,
    circuits: usize,
    state: Arc<Mutex<State>>,
}

impl RelayShares {
    /// For a relay with so many of both.
    pub fn new(reservations: usize, circuits: usize) -> Self {
        Self { reservations, circuits, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call below panics between changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of a peer is open.
    pub fn connected(&self, peer: PeerId, origin: Option<Origin>) {
        let mut state = self.lock();
        let new = Peer { origin, connections: 0, member: false, reserved: false, circuits: 0 };
        state.peers.entry(peer).or_insert(new).connections += 1;
    }

    /// The peer is a device of a registered account.
    pub fn is_member(&self, peer: &PeerId) {
        let mut state = self.lock();
        let Some(before) = state.peers.remove(peer) else { return };
        state.count(&before, false);
        let member = Peer { member: true, ..before };
        state.count(&member, true);
        state.peers.insert(*peer, member);
    }

    /// Whether a peer is connected that is a device of a registered account.
    pub fn has_member(&self, peer: &PeerId) -> bool {
        self.lock().peers.get(peer).is_some_and(|peer| peer.member)
    }

    /// A connection of a peer is gone; with the last one goes all that it holds.
    pub fn disconnected(&self, peer: &PeerId) {
        let mut state = self.lock();
        let Some(mut before) = state.peers.remove(peer) else { return };
        before.connections -= 1;
        if before.connections == 0 {
            state.count(&before, false);
        } else {
            state.peers.insert(*peer, before);
        }
    }

    /// Whether a peer may have one more. What it has already it keeps.
    pub fn may_have(&self, peer: &PeerId, resource: Resource) -> bool {
        let state = self.lock();
        let Some(known) = state.peers.get(peer) else { return false };
        if resource == Resource::Reservation && known.reserved {
            return true;
        }
        let (total, strangers) = match resource {
            Resource::Reservation => (self.reservations, STRANGERS_RESERVATIONS),
            Resource::Circuit => (self.circuits, STRANGERS_CIRCUITS),
        };
        let held_by_strangers = state.strangers.get(&resource).copied().unwrap_or_default();
        if !known.member && held_by_strangers >= (total / strangers).max(1) {
            return false;
        }
        let Some(origin) = &known.origin else { return true };
        origin.networks().iter().enumerate().all(|(step, network)| {
            let most = match origin {
                Origin::Client(_) => (total / ADDRESS_SHARE).max(1) << step,
                Origin::Proxy(_) => total / 2,
            };
            state.by_network.get(&(*network, resource)).is_none_or(|held| *held < most)
        })
    }

    /// A peer has got a reservation, or has it no more.
    pub fn reserved(&self, peer: &PeerId, reserved: bool) {
        self.change(peer, |known| known.reserved = reserved);
    }

    /// A circuit of a peer begins (`true`) or ends.
    pub fn circuit(&self, peer: &PeerId, begins: bool) {
        self.change(peer, |known| {
            known.circuits = if begins { known.circuits + 1 } else { known.circuits.saturating_sub(1) };
        });
    }

    fn change(&self, peer: &PeerId, change: impl FnOnce(&mut Peer)) {
        let mut state = self.lock();
        let Some(mut known) = state.peers.remove(peer) else { return };
        state.count(&known, false);
        change(&mut known);
        state.count(&known, true);
        state.peers.insert(*peer, known);
    }
}

impl State {
    /// Counts what a peer holds, or discounts it.
    fn count(&mut self, peer: &Peer, up: bool) {
        for (resource, held) in
            [(Resource::Reservation, usize::from(peer.reserved)), (Resource::Circuit, peer.circuits)]
        {
            let change = |count: &mut usize| *count = if up { *count + held } else { count.saturating_sub(held) };
            if held == 0 {
                continue;
            }
            if !peer.member {
                change(self.strangers.entry(resource).or_default());
            }
            for network in peer.origin.iter().flat_map(Origin::networks) {
                let count = self.by_network.entry((*network, resource)).or_default();
                change(count);
                if *count == 0 {
                    self.by_network.remove(&(*network, resource));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer_from(shares: &RelayShares, ip: &str) -> PeerId {
        let peer = PeerId::random();
        shares.connected(peer, Some(Origin::of(ip.parse().unwrap(), &[])));
        peer
    }

    fn reserve(shares: &RelayShares, peer: PeerId) -> bool {
        let may = shares.may_have(&peer, Resource::Reservation);
        if may {
            shares.reserved(&peer, true);
        }
        may
    }

    #[test]
    fn strangers_have_a_small_share_of_the_reservations() {
        let shares = RelayShares::new(640, 64);
        let got = (0..200).filter(|n| reserve(&shares, peer_from(&shares, &format!("192.0.{n}.1")))).count();
        assert_eq!(got, 40);
        let member = peer_from(&shares, "203.0.113.1");
        assert!(!reserve(&shares, member));
        shares.is_member(&member);
        assert!(reserve(&shares, member) && reserve(&shares, member), "the second is a renewal");
    }

    #[test]
    fn one_network_has_no_more_than_its_share() {
        let shares = RelayShares::new(640, 640);
        let members = |ip: &'static str| {
            (0..100).map(|_| peer_from(&shares, ip)).inspect(|peer| shares.is_member(peer)).collect::<Vec<PeerId>>()
        };
        assert_eq!(members("192.0.2.1").into_iter().filter(|peer| reserve(&shares, *peer)).count(), 10);
        let src = peer_from(&shares, "192.0.2.1");
        for _ in 0..10 {
            assert!(shares.may_have(&src, Resource::Circuit));
            shares.circuit(&src, true);
        }
        assert!(!shares.may_have(&src, Resource::Circuit));
        assert!(!shares.may_have(&peer_from(&shares, "192.0.2.1"), Resource::Circuit));
        shares.circuit(&src, false);
        assert!(shares.may_have(&src, Resource::Circuit));
    }

    #[test]
    fn what_a_peer_held_is_free_when_its_last_connection_closes() {
        let shares = RelayShares::new(64, 64);
        let peer = peer_from(&shares, "192.0.2.1");
        shares.connected(peer, None);
        shares.is_member(&peer);
        assert!(reserve(&shares, peer));
        shares.circuit(&peer, true);
        shares.disconnected(&peer);
        assert!(!reserve(&shares, peer_from(&shares, "192.0.2.1")));
        shares.disconnected(&peer);
        assert!(reserve(&shares, peer_from(&shares, "192.0.2.1")));
        let state = shares.lock();
        assert!(state.by_network.len() == 3 && !state.peers.contains_key(&peer));
    }
}
