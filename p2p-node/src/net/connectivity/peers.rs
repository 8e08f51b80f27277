//! What is known of one device, one rendezvous, and the connections to a peer.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::transport::ListenerId, multiaddr::Protocol, swarm::ConnectionId};
use rand::rngs::SmallRng;
use starling_keys::RendezvousAddr;
use starling_wire::streams::Connection;

use super::{DialId, Target, backoff::Backoff, liveness::Liveness, quic::QuicAgain, reach::Reach};
use crate::net::ConnectionProblem;

/// Longest wait between two tries to reach a device.
pub const MAX_DEVICE_WAIT: Duration = Duration::from_secs(120);
/// The same while we are connected to a home of ours, which says when a device is there; a device that is back dials us, too. So there is rest however
/// many are away.
const MAX_AWAY_WAIT: Duration = Duration::from_secs(6 * 3600);
/// The same to find a direct way to a device that is there through a relay: nobody says when there is one.
const MAX_RELAYED_WAIT: Duration = Duration::from_secs(600);
/// Longest wait between two tries to reach a rendezvous: everything that is offline is reached through it.
pub const MAX_HOME_WAIT: Duration = Duration::from_secs(15);
/// A device with which there was something within this time is tried before others once it may be reached again.
const IN_USE: Duration = Duration::from_secs(600);
/// Addresses in one dial. libp2p tries them side by side.
pub const MAX_DIAL_ADDRESSES: usize = 16;
/// Connections to one device that are kept. When two meet, both dial, all their addresses and through the hole that both have punched, and the
/// swarm takes eight: of those that all went over one path, one has to leave room for another path once that is gone.
pub const MAX_CONNECTIONS: usize = 4;
/// Addresses of one device that are learnt from the LAN.
const MAX_LAN_ADDRESSES: usize = 16;

/// A dial that is under way, and where to.
pub type Dialing = Option<(DialId, Vec<Multiaddr>)>;

/// A device that we want to be connected to.
#[derive(Debug)]
pub struct Device {
    pub peer: PeerId,
    pub target: Target,
    pub backoff: Backoff,
    /// The connection of the stream that we write to, and since when.
    pub out: Option<(Connection, Instant)>,
    /// The connection on which a stream is being opened.
    pub opening: Option<ConnectionId>,
    /// The connection on which it has opened its last stream to us.
    pub inbound: Option<ConnectionId>,
    /// The dial to its own addresses.
    pub dialing: Dialing,
    /// The dial through relays.
    pub dialing_relays: Dialing,
    /// Whether it answers on the stream that we write to.
    pub liveness: Liveness,
    /// It is to be dialled beside the connection that there is.
    pub beside: bool,
    /// When a stream to it began or ended last, or something was sent that has to arrive.
    pub used: Option<Instant>,
    lan: BTreeSet<Multiaddr>,
}

impl Device {
    pub fn new(peer: PeerId, target: Target, now: Instant) -> Self {
        Self {
            peer,
            target,
            backoff: Backoff::new(now),
            out: None,
            opening: None,
            inbound: None,
            dialing: None,
            dialing_relays: None,
            liveness: Liveness::default(),
            beside: false,
            used: None,
            lan: BTreeSet::new(),
        }
    }

    /// When to try to reach it, or to reach it better: there is no stream yet, or only one through a relay, or one that may be dead.
    pub fn due(&self) -> Option<Instant> {
        let wants_path = self.opening.is_none() && self.out.is_none_or(|(connection, _)| connection.relayed);
        (wants_path || self.beside).then(|| self.backoff.due())
    }

    /// Whether it is in use, or was until a moment ago: somebody may wait for it.
    pub fn is_in_use(&self, now: Instant) -> bool {
        let is_recent = |used: Instant| now.saturating_duration_since(used) < IN_USE;
        self.out.is_some() || self.used.is_some_and(is_recent)
    }

    /// Notes a try to reach it. A home would say if it were there.
    pub fn tried(&mut self, now: Instant, has_home: bool, rng: &mut SmallRng) {
        let longest = match self.out {
            _ if !has_home => MAX_DEVICE_WAIT,
            None => MAX_AWAY_WAIT,
            Some(_) => MAX_RELAYED_WAIT,
        };
        self.backoff.tried(now, longest, rng);
    }

    /// Notes an address on the LAN. Returns whether it is new.
    pub fn found_on_lan(&mut self, address: Multiaddr) -> bool {
        self.lan.len() < MAX_LAN_ADDRESSES && self.lan.insert(address)
    }

    pub fn expired_on_lan(&mut self, address: &Multiaddr) {
        self.lan.remove(address);
    }

    /// Where it may be reached without a relay.
    pub fn direct_addresses(&self, reach: &Reach) -> Vec<Multiaddr> {
        let all = self.target.addresses.iter().chain(&self.lan);
        all.filter(|address| reach.admits(address)).take(MAX_DIAL_ADDRESSES).cloned().collect()
    }

    /// The stream has ended. Returns false if that was another one than the current one.
    pub fn stream_ended(&mut self, connection: Connection, now: Instant) -> bool {
        match self.out {
            Some((current, _)) if current != connection => false,
            Some((_, since)) => {
                self.out = None;
                self.backoff.session_ended(since, now);
                true
            }
            None => true,
        }
    }

    /// Whether a connection has a stream, or is to have one.
    pub fn uses(&self, connection: ConnectionId) -> bool {
        self.out.is_some_and(|(current, _)| current.id == connection)
            || [self.opening, self.inbound].contains(&Some(connection))
    }

    pub fn dial_ended(&mut self, dial: DialId) {
        for dialing in [&mut self.dialing, &mut self.dialing_relays] {
            if dialing.as_ref().is_some_and(|(id, _)| *id == dial) {
                *dialing = None;
            }
        }
    }
}

/// Where the session with a rendezvous stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// There is none.
    Down,
    /// Its stream is being opened on this connection.
    Opening { on: ConnectionId },
    /// There is one, since this moment and on this connection.
    Up { since: Instant, on: ConnectionId },
    /// There is one, since this moment, on a connection of its own.
    Visiting { since: Instant },
}

/// The way to a rendezvous that is left where a network lets out nothing but port 443.
#[derive(Debug, Default)]
pub struct LastResort {
    /// When to dial it, unless another way has led to a connection before.
    pub due: Option<Instant>,
    /// The dial that is under way.
    pub dialing: Option<DialId>,
    /// One that was under way when another way led to a connection.
    pub superseded: Option<DialId>,
    /// It was what worked last.
    pub worked: bool,
    /// It is tried for the case that the session's connection is dead, which it may not be.
    pub spare: bool,
    /// Why the one of both, this way and the others, has failed while the other is tried.
    pub problem: Option<ConnectionProblem>,
}

/// A rendezvous that we use.
#[derive(Debug)]
pub struct Home {
    pub addresses: Vec<RendezvousAddr>,
    /// We want to be reachable through it.
    pub reserve: bool,
    /// The user has named it.
    pub named: bool,
    /// It is visited, under keys that live for a visit.
    pub visit: Option<u64>,
    pub backoff: Backoff,
    pub session: Session,
    /// The server has greeted us in it: nothing is owed that no request has asked for.
    pub is_greeted: bool,
    /// The process of the server that the last session was with which has ended, and when that was.
    pub broke: Option<(u64, Instant)>,
    pub liveness: Liveness,
    pub dialing: Option<DialId>,
    pub last_resort: LastResort,
    /// Tries to reach it over QUIC beside a session over TCP.
    pub quic: QuicAgain,
    /// A dial for the case that the session's connection is dead, which it may not be.
    pub spare: Option<DialId>,
    /// When the engine is to learn that it is not reached yet.
    pub delay_due: Option<Instant>,
    /// The engine knows why it was not reached by the last try, and nothing has changed since.
    pub is_explained: bool,
    pub listener: Option<ListenerId>,
    /// When the last reservation was asked for.
    pub reserved: Instant,
    pub reservation_backoff: Backoff,
}

impl Home {
    pub fn new(now: Instant) -> Self {
        Self {
            addresses: Vec::new(),
            reserve: false,
            named: false,
            visit: None,
            backoff: Backoff::new(now),
            session: Session::Down,
            is_greeted: false,
            broke: None,
            liveness: Liveness::default(),
            dialing: None,
            last_resort: LastResort::default(),
            quic: QuicAgain::default(),
            spare: None,
            delay_due: None,
            is_explained: false,
            listener: None,
            reserved: now,
            reservation_backoff: Backoff::new(now),
        }
    }

    pub fn peer(&self) -> Option<PeerId> {
        self.addresses.first().map(RendezvousAddr::peer_id)
    }

    /// Our own are our choice, and so are those that the user has named; others are the choice of others.
    pub fn is_chosen(&self) -> bool {
        self.reserve || self.named
    }

    pub fn is_up(&self) -> bool {
        matches!(self.session, Session::Up { .. } | Session::Visiting { .. })
    }

    /// Whether there is a session, and nothing speaks against its connection.
    pub fn is_sound(&self) -> bool {
        self.is_up() && self.liveness.is_sound()
    }

    /// Whether there is a session that has begun within this time, and does not answer.
    pub fn stalls_within(&self, now: Instant, time: Duration) -> bool {
        let Session::Up { since, .. } = self.session else { return false };
        !self.liveness.is_sound() && now.saturating_duration_since(since) < time
    }

    /// Whether a dial is one to it that is still of use.
    pub fn dials(&self, dial: DialId) -> bool {
        [self.dialing, self.last_resort.dialing].contains(&Some(dial))
    }

    /// It is being dialled: if it is not reached in time, the engine is to learn that.
    pub fn expect(&mut self, by: Instant) {
        if !self.is_up() && !self.is_explained {
            self.delay_due.get_or_insert(by);
        }
    }

    /// Whether a dial to it is under way.
    pub fn is_dialled(&self) -> bool {
        self.dialing.or(self.last_resort.dialing).is_some()
    }

    /// Nothing that the engine knows of why it is not reached holds any more.
    pub fn forget_delay(&mut self) {
        (self.delay_due, self.is_explained) = (None, false);
    }

    /// Whether the last resort is to be tried alone at first: of a visit, as two of them at once would be one too many.
    pub fn begins_by_last_resort(&self) -> bool {
        self.visit.is_some() && self.last_resort.worked && self.last_resort.dialing.is_none()
    }

    /// Forgets a dial that has ended. Returns whether there was one.
    pub fn dial_ended(&mut self, dial: DialId) -> bool {
        let last = &mut self.last_resort;
        let mut is_known = false;
        for dialing in [&mut self.dialing, &mut last.dialing, &mut last.superseded, &mut self.quic.dialing] {
            is_known |= dialing.take_if(|id| *id == dial).is_some();
        }
        is_known
    }

    /// When to try to reach it.
    pub fn due(&self) -> Option<Instant> {
        (self.session == Session::Down && self.dialing.is_none()).then(|| self.backoff.due())
    }

    /// When to try to reach it over QUIC beside its session.
    pub fn quic_due(&self) -> Option<Instant> {
        self.quic.due.filter(|_| matches!(self.session, Session::Up { .. }))
    }

    /// When to try to be reachable through it.
    pub fn reservation_due(&self) -> Option<Instant> {
        (self.reserve && self.is_up() && self.listener.is_none()).then(|| self.reservation_backoff.due())
    }
}

/// The connections to one peer.
#[derive(Debug, Default)]
pub struct Connections {
    /// In the order in which they have come.
    all: Vec<Connection>,
    /// Those of [`Self::all`] on which a probe was not answered, and none since.
    suspects: BTreeSet<ConnectionId>,
}

impl Connections {
    /// The one that streams are opened on: one that answers before one that does not, direct before relayed, then the one that has come last, as a peer
    /// that was restarted leaves dead ones behind. Both ends see nearly the same order.
    pub fn best(&self) -> Option<Connection> {
        self.all.iter().min_by_key(|c| self.rank(c)).copied()
    }

    /// Those beyond [`MAX_CONNECTIONS`], the worst first, but for those that are kept.
    pub fn excess(&self, is_kept: impl Fn(ConnectionId) -> bool) -> Vec<ConnectionId> {
        let mut all: Vec<&Connection> = self.all.iter().collect();
        all.sort_by_key(|c| Reverse(self.rank(c)));
        let count = all.len().saturating_sub(MAX_CONNECTIONS);
        all.iter().map(|c| c.id).filter(|id| !is_kept(*id)).take(count).collect()
    }

    /// The lower, the better. One that is closed is the worst of its kind.
    pub fn rank(&self, connection: &Connection) -> (bool, bool, Reverse<Option<usize>>) {
        (self.suspects.contains(&connection.id), connection.relayed, Reverse(self.place(connection.id)))
    }

    /// Whether a connection is one of these.
    pub fn contains(&self, connection: ConnectionId) -> bool {
        self.place(connection).is_some()
    }

    /// Whether a connection has come after another.
    pub fn came_after(&self, connection: ConnectionId, other: ConnectionId) -> bool {
        self.place(connection) > self.place(other)
    }

    /// The place of a connection in the order in which they have come, of which its id says nothing.
    fn place(&self, id: ConnectionId) -> Option<usize> {
        self.all.iter().position(|c| c.id == id)
    }

    /// Notes whether the last probe of a connection was not answered.
    pub fn set_suspect(&mut self, id: ConnectionId, suspect: bool) {
        if !suspect {
            self.suspects.remove(&id);
        } else if self.all.iter().any(|c| c.id == id) {
            self.suspects.insert(id);
        }
    }

    pub fn suspects(&self) -> impl Iterator<Item = ConnectionId> {
        self.suspects.iter().copied()
    }

    pub fn relayed(&self) -> impl Iterator<Item = ConnectionId> {
        self.all.iter().filter(|c| c.relayed).map(|c| c.id)
    }

    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.all.iter().map(|c| c.id)
    }

    pub fn others(&self, than: ConnectionId) -> impl Iterator<Item = ConnectionId> {
        self.all.iter().map(|c| c.id).filter(move |id| *id != than)
    }

    pub fn add(&mut self, connection: Connection) {
        self.remove(connection.id);
        self.all.push(connection);
    }

    pub fn remove(&mut self, id: ConnectionId) {
        self.all.retain(|c| c.id != id);
        self.suspects.remove(&id);
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

pub fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|p| matches!(p, Protocol::P2pCircuit))
}
