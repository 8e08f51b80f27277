//! The network side of a node.
//!
//! Tasks: [`swarm`] owns the libp2p swarm; for each device and each rendezvous that is connected there is one task that writes its stream and one
//! that reads it. All belong to the swarm task's `JoinSet` and end with it. The engine is told what happens over one bounded channel, so a
//! peer that sends faster than the engine works is slowed down by its own stream's flow control.

mod connectivity;
mod direct;
pub mod gossip;
mod problem;
mod proxy;
mod rendezvous;
mod send_queue;
mod swarm;
mod transport;
mod turn;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use starling_keys::{DeviceId, RendezvousAddr};
use starling_media::transport::tunnel::TunnelEnds;
use starling_wire::{
    Puzzle, TopicId,
    direct::DirectFrame,
    rendezvous::{RequestBody, Response, ServerHello},
};
use tokio::sync::oneshot;

use crate::mls::GroupId;
pub use connectivity::{is_direct, is_loopback};
pub use problem::ConnectionProblem;
pub use proxy::{Proxy, ProxyAddressError, ProxyKind};
#[cfg(feature = "fuzz")]
pub use swarm::fuzz;
pub use swarm::{
    Introduction, Nat64Prefix, NetConfig, NetError, NetHandle, WeakNetHandle, introduce, start, translators,
};
pub use transport::Transport;

/// A rendezvous, by its Ed25519 key.
pub type HomeId = [u8; 32];

/// A device that we want to be connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Rendezvous servers that it can be reached through.
    pub relays: Vec<RendezvousAddr>,
    /// Where it was last reachable.
    pub addresses: Vec<Multiaddr>,
    /// The groups that it takes part in with us, among those whose entries we pass on.
    pub groups: BTreeSet<GroupId>,
    /// It is a member of these groups, and nothing else of ours: only what is written there is passed on, and it is dialled if too few others are
    /// there.
    pub gossip_only: bool,
}

impl Target {
    /// Whether the way to it, and what it is reached for, are those of another.
    pub fn is_reached_as(&self, other: &Self) -> bool {
        (&self.relays, &self.addresses, self.gossip_only) == (&other.relays, &other.addresses, other.gossip_only)
    }
}

/// A secret of a device and its contacts, that its names on a LAN follow from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LanKey(pub [u8; 32]);

impl std::fmt::Debug for LanKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LanKey(…)")
    }
}

/// How devices are recognised on a LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanKeys {
    /// Our own.
    pub own: LanKey,
    /// Those of the devices that we look for.
    pub others: HashMap<DeviceId, LanKey>,
}

/// A rendezvous to stay connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedHome {
    /// Where it is.
    pub addresses: Vec<RendezvousAddr>,
    /// It is one of ours: we are reachable through it.
    pub own: bool,
    /// The user has named it. Like our own, it is dialled wherever it is; those that others have named, in networks that we are in only.
    pub named: bool,
    /// It is reached under a key that is made for this and no longer; another number takes another one. `None`: under the device's own.
    pub visit: Option<u64>,
}

/// The internet protocol that something goes over. A network treats what goes over each in its own way: there is NAT for IPv4 and a firewall for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Tells networks apart that this machine has been in. It does not name a router, but who tries the addresses of all finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkId(pub [u8; 16]);

/// What is known of a network for one internet protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNetwork {
    /// Which network, and which protocol there.
    pub network: NetworkId,
    /// For so many seconds connections over datagrams may be silent there.
    pub rest_s: u32,
    /// When that was found, in seconds since 1970.
    pub measured_s: u64,
}

/// What the engine tells the network.
#[derive(Debug)]
pub enum NetCommand {
    /// The devices that may connect, and to which we connect.
    Targets(HashMap<DeviceId, Target>),
    /// How to announce this device on a LAN, and how others are recognised there.
    Lan(LanKeys),
    /// The rendezvous servers to stay connected to.
    Homes(HashMap<HomeId, WantedHome>),
    /// Addresses of servers' names that worked before: they are used while names cannot be resolved.
    Remember(Vec<(String, IpAddr)>),
    /// Networks that the machine has been in.
    RememberNetworks(Vec<KnownNetwork>),
    /// A rendezvous that has greeted us answers STUN at this port of its host, and to other ports than that of who asks; 0 if it does not.
    Stun(HomeId, u16),
    /// Close all connections: the process ends.
    Leave,
    /// A device may be there now: try at once.
    Hint(DeviceId),
    /// A user begins or ends to look at who is connected: what is told of it has to be true within seconds.
    Watch(bool),
    /// Probe everybody now. Ends in [`NetEvent::Checked`].
    Check,
    /// A frame for a device.
    Direct(DeviceId, DirectFrame),
    /// Take part in a topic, with these members; or no longer.
    Topic(TopicId, Option<gossip::Topic>),
    /// Pass an envelope on, on a topic that we take part in.
    Publish(TopicId, Bytes),
    /// Open a stream of TURN to a rendezvous that is connected. If there is none, the sender is dropped.
    Turn(HomeId, oneshot::Sender<TunnelEnds>),
    /// A request to a rendezvous, under a number that the engine chose.
    Request(HomeId, u64, RequestBody),
    /// A request that needs a proof of work first; the solution goes where `place` puts it.
    RequestWithWork(HomeId, u64, Puzzle, WorkFor),
}

/// A request whose proof of work is still missing.
#[derive(Debug)]
pub enum WorkFor {
    /// Registering.
    Publish(starling_wire::rendezvous::Publish),
    /// Writing to a stranger.
    Inbox(starling_wire::rendezvous::InboxAppend),
}

impl WorkFor {
    /// The request with its solution.
    pub fn solved(self, solution: u64) -> RequestBody {
        match self {
            Self::Publish(publish) => {
                RequestBody::Publish(starling_wire::rendezvous::Publish { solution: Some(solution), ..publish })
            }
            Self::Inbox(append) => {
                RequestBody::InboxAppend(starling_wire::rendezvous::InboxAppend { solution: Some(solution), ..append })
            }
        }
    }
}

/// What the network tells the engine.
#[derive(Debug)]
pub enum NetEvent {
    /// Frames can be sent to a device; what was sent before on another stream may be lost.
    DirectUp {
        /// The device.
        device: DeviceId,
        /// Through a relay.
        relayed: bool,
    },
    /// No frames can be sent to a device.
    DirectDown(DeviceId),
    /// A device does not answer on its stream, or answers again. Its connection may still be good.
    DirectSilent(DeviceId, bool),
    /// A frame of a device.
    Direct(DeviceId, DirectFrame),
    /// A member of a group has passed on an entry of its log.
    Gossip {
        /// The topic.
        topic: TopicId,
        /// The entry, sealed.
        entry: Bytes,
    },
    /// Another member can be reached on a topic, after it could not be.
    GossipPeer(TopicId),
    /// A rendezvous has greeted us, on a connection that goes over this, as far as is known.
    HomeUp(HomeId, ServerHello, Option<Transport>),
    /// A rendezvous does not answer, or answers again. The connection may still be good.
    HomeSilent(HomeId, bool),
    /// A rendezvous is there, but has owed answers for some seconds and gives none, or gives some again.
    HomeSlow(HomeId, bool),
    /// A rendezvous has answered a probe while everybody is probed.
    HomeAnswered(HomeId),
    /// A rendezvous is not reached yet, and is still tried.
    HomeDelayed {
        /// Which.
        home: HomeId,
        /// What is known of why.
        problem: ConnectionProblem,
        /// Port 443 is tried, as its own has led to nothing so far.
        last_resort: bool,
    },
    /// A rendezvous is gone, or cannot be reached.
    HomeDown(HomeId, ConnectionProblem),
    /// This machine is in another network, or has other addresses, or was suspended.
    NetworkChanged,
    /// A server was reached at this address of its name, and at another one before.
    Resolved(String, IpAddr),
    /// Something else than before is known of a network.
    NetworkKnown(KnownNetwork),
    /// Everybody was probed: who does not answer is known to be silent by events before this one.
    Checked,
    /// An answer or a push of a rendezvous.
    Home(HomeId, Response),
    /// Addresses under which this device can be reached, as far as is known.
    Addresses {
        /// On the LAN and, if confirmed, from outside.
        own: Vec<Multiaddr>,
        /// AutoNAT has confirmed one of them from outside.
        public: bool,
    },
}

/// The peer id of a device.
pub fn peer_of(device: &DeviceId) -> Option<PeerId> {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(device.as_bytes()).ok()?;
    Some(libp2p::identity::PublicKey::from(key).to_peer_id())
}

/// The device with a peer id.
pub fn device_of(peer: &PeerId) -> Option<DeviceId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20])?;
    DeviceId::from_bytes(key).ok()
}
