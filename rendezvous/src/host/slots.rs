//! Which connections a server takes: a state machine without I/O.
//!
//! A connection is *pending* until its handshake is done, then *open*, first as a *stranger's* and, once its session knows an account, as a
//! *member's*. Every state is bounded for each network around an address and for all together:
//!
//! - Handshakes: half of all places are kept for networks from which members have come before. Those over QUIC and those over TCP have places of their own,
//!   as the source address of a QUIC handshake can be forged: whoever does that keeps nobody from connecting over TCP.
//! - Open connections: strangers have half of all places. Who comes when the share of strangers from the same network is full takes the place of the
//!   oldest of them; when that of all strangers, or the server, is full, the place of the oldest stranger of the network that has most. Newcomers
//!   get in, so that members can show who they are, also those who share an address with a crowd.
//!
//! Connections from a trusted proxy cannot be told apart: a proxy counts as one network that may have half of everything.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
};

use libp2p::{PeerId, swarm::ConnectionId};

use crate::{
    address::{Network, Origin},
    limits::FAMILIAR_NETWORKS,
};

/// How many connections there may be.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Handshakes under way over each transport.
    pub pending: usize,
    /// Open connections, all together.
    pub open: usize,
    /// Open connections of members from one IPv4 address or IPv6 /64. Strangers may have an eighth of that, handshakes a sixteenth.
    pub per_address: usize,
    /// Networks of reverse proxies.
    pub proxies: Vec<Network>,
}

/// Over what a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Who sends the first packet may have forged its source address.
    Quic,
    /// Also WebSocket: whoever completes TCP's handshake is where it says.
    Tcp,
}

/// What a connection counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Pending(Transport),
    Stranger,
    Member,
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// Its network has too many.
    #[error("too many connections from one network")]
    Network,
    /// There are too many.
    #[error("too many connections")]
    Total,
}

struct Slot {
    ip: IpAddr,
    origin: Origin,
    class: Class,
    peer: Option<PeerId>,
    /// Counts connections: a lower one is older.
    order: u64,
}

/// The connections of a server.
pub struct Slots {
    bounds: Bounds,
    slots: HashMap<ConnectionId, Slot>,
    by_network: HashMap<(Network, Class), usize>,
    totals: HashMap<Class, usize>,
    /// The strangers of each network, oldest first …
    strangers: HashMap<Network, BTreeSet<(u64, ConnectionId)>>,
    /// … and the networks by how many they have.
    crowds: BTreeSet<(usize, Network)>,
    familiar: HashMap<Network, u64>,
    familiar_order: VecDeque<(Network, u64)>,
    next: u64,
}

impl Slots {
    /// No connections yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            slots: HashMap::new(),
            by_network: HashMap::new(),
            totals: HashMap::new(),
            strangers: HashMap::new(),
            crowds: BTreeSet::new(),
            familiar: HashMap::new(),
            familiar_order: VecDeque::new(),
            next: 0,
        }
    }

    /// Where an address is.
    pub fn origin(&self, ip: IpAddr) -> Origin {
        Origin::of(ip, &self.bounds.proxies)
    }

    /// Where a connection comes from.
    pub fn origin_of(&self, id: ConnectionId) -> Option<Origin> {
        self.slots.get(&id).map(|slot| slot.origin)
    }

    /// The address that a connection comes from.
    pub fn ip_of(&self, id: ConnectionId) -> Option<IpAddr> {
        self.slots.get(&id).map(|slot| slot.ip)
    }

    /// A handshake begins.
    pub fn knock(&mut self, id: ConnectionId, ip: IpAddr, transport: Transport) -> Result<(), NoSlot> {
        let class = Class::Pending(transport);
        let origin = self.origin(ip);
        let familiar = origin.networks().first().is_some_and(|network| self.familiar.contains_key(network));
        let most = if familiar { self.bounds.pending } else { self.bounds.pending / 2 };
        if self.total(class) >= most {
            return Err(NoSlot::Total);
        }
        self.check_networks(&origin, class)?;
        self.next += 1;
        self.insert(id, Slot { ip, origin, class, peer: None, order: self.next });
        Ok(())
    }

    /// The handshake is done. Gives the connection that has to be closed for it, if any.
    pub fn open(&mut self, id: ConnectionId, peer: PeerId) -> Result<Option<(ConnectionId, PeerId)>, NoSlot> {
        let Some(mut slot) = self.remove(id) else { return Ok(None) };
        let strangers = self.total(Class::Stranger);
        let is_full = strangers + self.total(Class::Member) >= self.bounds.open;
        let oldest = if let Some(network) = self.full_network(&slot.origin, Class::Stranger) {
            self.oldest_stranger_of(slot.origin.widest(), network)
        } else if is_full || strangers >= (self.bounds.open / 2).max(1) {
            Some(self.oldest_of_the_largest_crowd().ok_or(NoSlot::Total)?)
        } else {
            None
        };
        let evicted = oldest.and_then(|oldest| Some((oldest, self.remove(oldest)?.peer?)));
        slot.class = Class::Stranger;
        slot.peer = Some(peer);
        self.insert(id, slot);
        Ok(evicted)
    }

    /// The session on a connection is that of a registered account. A network that has too many members keeps it among its strangers.
    pub fn is_member(&mut self, id: ConnectionId) {
        let Some(mut slot) = self.remove(id) else { return };
        if self.check_networks(&slot.origin, Class::Member).is_ok() {
            slot.class = Class::Member;
            if let Some(network) = slot.origin.networks().first() {
                self.remember(*network);
            }
        }
        self.insert(id, slot);
    }

    /// A connection is gone, or never came to be.
    pub fn closed(&mut self, id: ConnectionId) {
        self.remove(id);
    }

    fn total(&self, class: Class) -> usize {
        self.totals.get(&class).copied().unwrap_or_default()
    }

    fn check_networks(&self, origin: &Origin, class: Class) -> Result<(), NoSlot> {
        self.full_network(origin, class).map_or(Ok(()), |_| Err(NoSlot::Network))
    }

    /// The narrowest of the networks around an address that have as many connections as they may: one place less there is one less in all of them.
    fn full_network(&self, origin: &Origin, class: Class) -> Option<Network> {
        let (total, share) = match class {
            Class::Pending(_) => (self.bounds.pending, 16),
            Class::Stranger => (self.bounds.open, 8),
            Class::Member => (self.bounds.open, 1),
        };
        let narrow = (self.bounds.per_address / share).max(1);
        let is_full = |(step, network): &(usize, &Network)| {
            let most = match origin {
                Origin::Proxy(_) => total / 2,
                Origin::Client(_) => narrow << step,
            };
            self.by_network.get(&(**network, class)).is_some_and(|count| *count >= most.max(1))
        };
        origin.networks().iter().enumerate().find(is_full).map(|(_, network)| *network)
    }

    fn oldest_stranger_of(&self, widest: Network, network: Network) -> Option<ConnectionId> {
        let is_there = |id: &ConnectionId| self.slots.get(id).is_some_and(|s| s.origin.networks().contains(&network));
        self.strangers.get(&widest)?.iter().map(|(_, id)| *id).find(is_there)
    }

    fn oldest_of_the_largest_crowd(&self) -> Option<ConnectionId> {
        let (_, network) = self.crowds.last()?;
        self.strangers.get(network)?.first().map(|(_, id)| *id)
    }

    fn insert(&mut self, id: ConnectionId, slot: Slot) {
        *self.totals.entry(slot.class).or_default() += 1;
        for network in slot.origin.networks() {
            *self.by_network.entry((*network, slot.class)).or_default() += 1;
        }
        if slot.class == Class::Stranger {
            self.change_crowd(slot.origin.widest(), |crowd| {
                crowd.insert((slot.order, id));
            });
        }
        self.slots.insert(id, slot);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Slot> {
        let slot = self.slots.remove(&id)?;
        if let Some(total) = self.totals.get_mut(&slot.class) {
            *total -= 1;
        }
        for network in slot.origin.networks() {
            if let Some(count) = self.by_network.get_mut(&(*network, slot.class)) {
                *count -= 1;
                if *count == 0 {
                    self.by_network.remove(&(*network, slot.class));
                }
            }
        }
        if slot.class == Class::Stranger {
            self.change_crowd(slot.origin.widest(), |crowd| {
                crowd.remove(&(slot.order, id));
            });
        }
        Some(slot)
    }

    fn change_crowd(&mut self, network: Network, change: impl FnOnce(&mut BTreeSet<(u64, ConnectionId)>)) {
        let crowd = self.strangers.entry(network).or_default();
        self.crowds.remove(&(crowd.len(), network));
        change(crowd);
        if crowd.is_empty() {
            self.strangers.remove(&network);
        } else {
            self.crowds.insert((crowd.len(), network));
        }
    }

    /// Members have come from here. The network that was longest without one is forgotten when there are too many.
    fn remember(&mut self, network: Network) {
        self.next += 1;
        self.familiar.insert(network, self.next);
        self.familiar_order.push_back((network, self.next));
        while self.familiar.len() > FAMILIAR_NETWORKS || self.familiar_order.len() > 2 * FAMILIAR_NETWORKS {
            let Some((oldest, order)) = self.familiar_order.pop_front() else { return };
            if self.familiar.get(&oldest) == Some(&order) {
                self.familiar.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
