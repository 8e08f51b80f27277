//! The network's decisions: whom to dial and when, which connection and which stream to use, what to close, where to reserve a relay.
//!
//! A state machine without sockets, tasks or clock. [`Connectivity::handle`] takes what happened and when; [`Connectivity::next_action`] gives what to
//! do about it, in order; [`Connectivity::next_deadline`] says when to pass the time ([`Input::Tick`]) if nothing happens before. The owner of
//! libp2p's `Swarm` (`net::swarm`) carries the actions out. Time never goes back.
//!
//! What is kept is bounded by the targets and homes that the engine names, by [`dials::MAX_DIALS`], and by the connections that libp2p admits.

mod addresses;
mod agenda;
mod backoff;
mod changes;
mod devices;
mod dials;
mod homes;
mod liveness;
mod members;
mod peers;
mod quic;
mod reach;
mod rest;
#[cfg(test)]
#[path = "connectivity_tests.rs"]
mod tests;
mod turns;
mod visits;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::transport::ListenerId, swarm::ConnectionId};
use rand::rngs::SmallRng;
use starling_keys::DeviceId;
use starling_wire::streams::Connection;

use super::{HomeId, IpVersion, NetEvent, Target, WantedHome, device_of, peer_of, rendezvous::Left};
use crate::{mls::GroupId, net::ConnectionProblem};
use addresses::OwnAddresses;
use agenda::Agenda;
use devices::{EARLY_AT_ONCE, EARLY_EVERY, OTHERS_AT_ONCE, OTHERS_EVERY};
use dials::DialFor;
use liveness::Probes;
use peers::{Connections, Device, Home, Session};

pub use addresses::is_loopback;
pub use changes::NetworkChange;
pub use dials::DialId;
pub use liveness::Subject;
pub use peers::{MAX_DIAL_ADDRESSES, is_circuit};
pub use reach::{Network, Reach, is_direct};
pub use rest::FIRST_REST;
use rest::Rest;
use turns::Turns;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The devices that may connect, and to which we connect, have changed.
    Targets(HashMap<DeviceId, Target>),
    /// The rendezvous servers to stay connected to have changed; for `true`, also to be reachable through.
    Homes(HashMap<HomeId, WantedHome>),
    /// A device may be reachable now.
    Hint(DeviceId),
    /// The process ends.
    Leave,
    /// A connection is established; by which of our dials, if by one. It may go over datagrams of an internet protocol, which networks forget sooner
    /// than TCP.
    ConnectionUp { peer: PeerId, connection: Connection, dial: Option<DialId>, datagrams: Option<IpVersion> },
    /// A connection is closed.
    ConnectionDown { peer: PeerId, connection: ConnectionId },
    /// A connection could not be made.
    DialFailed { peer: Option<PeerId>, dial: Option<DialId>, problem: ConnectionProblem },
    /// A connection does not answer pings.
    Unresponsive(ConnectionId),
    /// Something was sent that has to be answered, or at least to arrive.
    AnswerDue(Subject),
    /// A user begins or ends to look at what is connected.
    Watch(bool),
    /// The engine wants to know who answers now.
    Check,
    /// A probe is not answered yet, but what was sent before it is being acknowledged.
    ProbeMoves { subject: Subject, number: u64 },
    /// A probe has ended.
    Probed { subject: Subject, number: u64, answered: bool },
    /// Hole punching has made a direct connection.
    HolePunched(PeerId),
    /// A device has opened a stream to us.
    StreamIn { device: DeviceId, connection: Connection },
    /// The stream to a device that was being opened on `on` is there.
    StreamOpened { device: DeviceId, on: ConnectionId, connection: Connection },
    /// … could not be opened.
    StreamFailed { device: DeviceId, on: ConnectionId },
    /// A device does not read what we write: the stream was given up, and its end will be reported.
    StreamStalled(DeviceId),
    /// The stream to a device has ended.
    StreamEnded { device: DeviceId, connection: Connection },
    /// The stream to a rendezvous is there.
    HomeOpened { home: HomeId, connection: ConnectionId },
    /// … could not be opened.
    HomeFailed { home: HomeId, connection: ConnectionId, problem: ConnectionProblem },
    /// The rendezvous has greeted us on it.
    HomeGreeted(HomeId),
    /// The visit to a rendezvous that this dial was for has begun.
    Visiting { home: HomeId, dial: DialId },
    /// The stream to a rendezvous has ended.
    HomeEnded { home: HomeId, left: Left },
    /// A relay is listened through, as [`Action::Reserve`] has asked.
    Reserving { home: HomeId, listener: ListenerId },
    /// A listener is closed.
    ListenerClosed(ListenerId),
    /// An address of a peer on the LAN.
    Found { peer: PeerId, address: Multiaddr },
    /// … is no longer valid.
    Expired { peer: PeerId, address: Multiaddr },
    /// Our own addresses have changed, and with them perhaps the networks that we are in.
    OwnAddresses { confirmed: Vec<Multiaddr>, listening: Vec<Multiaddr>, networks: Vec<Network> },
    /// The network that this machine is in has changed, or the machine was suspended.
    NetworkChanged(NetworkChange),
    /// Other name servers are asked from now on.
    NamesChanged,
    /// How long a connection over datagrams of an internet protocol may be silent here before the network forgets it.
    Rest(IpVersion, Duration),
    /// A rendezvous has tested whether we can be reached.
    ReachabilityTested(PeerId),
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Dial, whatever other connections and dials to this peer there are. Names may lead into networks of others only if `anywhere`. Ends in
    /// `ConnectionUp` or `DialFailed` with this id.
    Dial { dial: DialId, peer: PeerId, addresses: Vec<Multiaddr>, anywhere: bool },
    /// Close a connection.
    Close(ConnectionId),
    /// Close all connections to a peer.
    Disconnect(PeerId),
    /// Open a stream to a device on a connection. Ends in `StreamOpened` or `StreamFailed`.
    OpenStream { device: DeviceId, peer: PeerId, on: ConnectionId },
    /// Drop the stream that is used to write to a device. Its end is not reported.
    DropStream(DeviceId),
    /// Drop all streams of a device.
    DropStreams(DeviceId),
    /// Open the stream to a rendezvous on a connection. Ends in `HomeOpened`, which `HomeGreeted` follows, or in `HomeFailed`.
    OpenHome { home: HomeId, peer: PeerId, on: ConnectionId },
    /// Drop the stream to a rendezvous.
    DropHome(HomeId),
    /// Listen through a relay. Ends in `Reserving`, or in nothing.
    Reserve { home: HomeId, circuit: Multiaddr },
    /// Stop listening.
    StopListening(ListenerId),
    /// Send an echo to a peer on a connection. Ends in `Probed` with this number, within seconds. At rest it is to cost little.
    Probe { subject: Subject, peer: PeerId, on: ConnectionId, number: u64, at_rest: bool },
    /// The network has forgotten a connection over this internet protocol that was silent for no longer than it was thought to allow.
    MappingLost(IpVersion),
    /// Only these peers may connect to us.
    Admit(HashSet<PeerId>),
    /// Peers that are not among these rendezvous may only be dialled as far as this reaches.
    Confine { reach: Reach, homes: HashSet<PeerId> },
    /// Tell the engine.
    Tell(NetEvent),
}

/// Something that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Errand {
    Home(HomeId),
    LastResort(HomeId),
    Quic(HomeId),
    Delay(HomeId),
    Reservation(HomeId),
    Device(DeviceId),
    Members,
    Probe(Subject),
    LateProbe(HomeId),
}

/// The state of the network side.
pub struct Connectivity {
    rng: SmallRng,
    devices: BTreeMap<DeviceId, Device>,
    homes: BTreeMap<HomeId, Home>,
    connections: HashMap<PeerId, Connections>,
    /// The devices of each group that takes part in something with us.
    members: BTreeMap<GroupId, Vec<DeviceId>>,
    /// How often those that are missing were looked for since something has changed.
    member_looks: u32,
    dials: HashMap<DialId, DialFor>,
    last_dial: u64,
    agenda: Agenda<Errand>,
    /// When devices are to be tried. Apart from the rest, which goes on while no more of them can be.
    devices_due: Agenda<DeviceId>,
    /// Early tries of devices that are in use, or of which something was heard, ...
    early_turns: Turns,
    /// ... and those of the others.
    other_turns: Turns,
    probes: Probes,
    /// How long connections over datagrams may be silent.
    rest: Rest,
    /// The connections over datagrams that go through no relay, and the internet protocol of each.
    over_datagrams: BTreeMap<ConnectionId, IpVersion>,
    own: OwnAddresses,
    reach: Reach,
    leaving: bool,
    actions: VecDeque<Action>,
}

impl Connectivity {
    /// Knows nobody. `rng` is for jitter.
    pub fn new(rng: SmallRng) -> Self {
        Self {
            rng,
            devices: BTreeMap::new(),
            homes: BTreeMap::new(),
            connections: HashMap::new(),
            members: BTreeMap::new(),
            member_looks: 0,
            dials: HashMap::new(),
            last_dial: 0,
            agenda: Agenda::default(),
            devices_due: Agenda::default(),
            early_turns: Turns::new(EARLY_AT_ONCE, EARLY_EVERY),
            other_turns: Turns::new(OTHERS_AT_ONCE, OTHERS_EVERY),
            probes: Probes::default(),
            rest: Rest::default(),
            over_datagrams: BTreeMap::new(),
            own: OwnAddresses::default(),
            reach: Reach::default(),
            leaving: false,
            actions: VecDeque::new(),
        }
    }

    /// Takes what happened, and does what is due.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Targets(targets) => self.set_targets(now, targets),
            Input::Homes(homes) => self.set_homes(now, homes),
            Input::Hint(device) => self.expedite_device(now, &device),
            Input::Leave => self.leave(),
            Input::ConnectionUp { peer, connection, dial, datagrams } => {
                self.connection_up(now, peer, connection, dial, datagrams);
            }
            Input::ConnectionDown { peer, connection } => self.connection_down(now, peer, connection),
            Input::DialFailed { peer, dial, problem } => self.dial_failed(now, peer, dial, problem),
            Input::Unresponsive(connection) => self.act(Action::Close(connection)),
            Input::AnswerDue(subject) => self.answer_due(now, subject),
            Input::Watch(watched) => self.watch(now, watched),
            Input::Check => self.check(now),
            Input::ProbeMoves { subject, number } => self.probe_moves(now, subject, number),
            Input::Probed { subject, number, answered } => self.probed(now, subject, number, answered),
            Input::HolePunched(peer) => self.prefer_best(peer),
            Input::StreamIn { device, connection } => self.stream_in(now, &device, connection),
            Input::StreamOpened { device, on, connection } => self.stream_opened(now, device, on, connection),
            Input::StreamFailed { device, on } => self.stream_failed(now, &device, on),
            Input::StreamStalled(device) => self.stream_stalled(now, &device),
            Input::StreamEnded { device, connection } => self.stream_ended(now, device, connection),
            Input::HomeOpened { home, connection } => self.home_opened(now, home, connection),
            Input::HomeFailed { home, connection, problem } => self.home_failed(home, connection, problem),
            Input::HomeGreeted(home) => self.home_greeted(now, home),
            Input::Visiting { home, dial } => self.visiting(now, home, dial),
            Input::HomeEnded { home, left } => self.home_ended(now, home, left),
            Input::Reserving { home, listener } => self.reserving(now, home, listener),
            Input::ListenerClosed(listener) => self.listener_closed(now, listener),
            Input::Found { peer, address } => self.found_on_lan(now, peer, address),
            Input::Expired { peer, address } => self.expired_on_lan(peer, &address),
            Input::OwnAddresses { confirmed, listening, networks } => {
                self.set_networks(now, networks);
                self.set_own_addresses(&confirmed, &listening);
            }
            Input::NetworkChanged(change) => self.network_changed(now, change),
            Input::NamesChanged => self.expedite_homes(now),
            Input::Rest(version, rest) => self.set_rest(now, version, rest),
            Input::ReachabilityTested(server) => self.reachability_tested(server),
            Input::Tick => {}
        }
        self.run_due(now);
    }

    fn connection_up(
        &mut self,
        now: Instant,
        peer: PeerId,
        connection: Connection,
        dial: Option<DialId>,
        datagrams: Option<IpVersion>,
    ) {
        if let Some(version) = datagrams.filter(|_| !connection.relayed) {
            self.over_datagrams.insert(connection.id, version);
        }
        let home = self.home_of_dial(dial);
        let is_wanted = home.zip(dial).is_none_or(|(home, dial)| self.home_reached(now, home, dial));
        self.dial_ended(dial);
        if !is_wanted {
            self.act(Action::Close(connection.id));
            return;
        }
        self.with_connections(now, peer, |all| all.add(connection));
        if dial.is_none() && !connection.relayed {
            self.heed_return(now, &peer, connection.id);
        }
        if let Some(home) = home {
            self.move_session(home, connection.id);
        }
        self.close_excess(peer, connection.id);
    }

    fn connection_down(&mut self, now: Instant, peer: PeerId, connection: ConnectionId) {
        self.over_datagrams.remove(&connection);
        self.with_connections(now, peer, |all| all.remove(connection));
        if let Some(id) = device_of(&peer) {
            self.end_lost_stream(now, id);
        }
    }

    fn dial_failed(&mut self, now: Instant, peer: Option<PeerId>, dial: Option<DialId>, problem: ConnectionProblem) {
        let (home, problem) = (self.home_of_dial(dial), self.problem_of(now, dial, problem));
        self.dial_ended(dial);
        match (problem, home) {
            (Some(problem), _) => self.home_unreachable(peer, problem),
            (None, Some(home)) => self.way_failed(home),
            (None, None) => {}
        }
    }

    /// The next thing to do. To be asked until there is none.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to pass [`Input::Tick`] if nothing else happens before. Always after the time of the last input.
    pub fn next_deadline(&self) -> Option<Instant> {
        // The end of any dial is an input.
        let errand = self.agenda.next().filter(|_| self.may_dial());
        let device = self.devices_due.next().filter(|_| self.may_dial_device());
        errand.into_iter().chain(device).min()
    }

    /// Whether streams of a device are taken.
    pub fn admits(&self, device: &DeviceId) -> bool {
        self.devices.get(device).is_some_and(|device| !device.target.gossip_only)
    }

    /// The connection of the stream that is used to write to a device.
    pub fn stream_of(&self, device: &DeviceId) -> Option<Connection> {
        self.devices.get(device)?.out.map(|(connection, _)| connection)
    }

    /// Whether there is a session with a rendezvous.
    #[cfg(test)]
    pub fn has_session(&self, home: &HomeId) -> bool {
        self.homes.get(home).is_some_and(Home::is_up)
    }

    /// The connection that carries the session with a rendezvous.
    pub fn session_on(&self, home: &HomeId) -> Option<ConnectionId> {
        match self.homes.get(home)?.session {
            Session::Up { on, .. } => Some(on),
            Session::Down | Session::Opening { .. } | Session::Visiting { .. } => None,
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Takes what is due, devices last.
    fn next_errand(&mut self, now: Instant) -> Option<Errand> {
        if self.may_dial()
            && let Some(errand) = self.agenda.pop_due(now)
        {
            return Some(errand);
        }
        if self.may_dial_device() { self.devices_due.pop_due(now).map(Errand::Device) } else { None }
    }

    fn run_due(&mut self, now: Instant) {
        while let Some(errand) = self.next_errand(now) {
            match errand {
                Errand::Home(id) => self.try_home(now, id),
                Errand::LastResort(id) => self.try_last_resort(id),
                Errand::Quic(id) => self.try_quic(now, id),
                Errand::Delay(id) => self.tell_delay(id),
                Errand::Reservation(id) => self.try_reservation(now, id),
                Errand::Device(id) => self.try_device(now, id),
                Errand::Members => self.seek_members(now),
                Errand::Probe(subject) => self.probe_due(now, subject),
                Errand::LateProbe(id) => self.probe_late(now, id),
            }
        }
    }

    fn is_connected(&self, peer: &PeerId) -> bool {
        self.connections.contains_key(peer)
    }

    fn best(&self, peer: &PeerId) -> Option<Connection> {
        self.connections.get(peer)?.best()
    }

    fn with_connections(&mut self, now: Instant, peer: PeerId, change: impl FnOnce(&mut Connections)) {
        let before = self.best(&peer);
        let all = self.connections.entry(peer).or_default();
        change(all);
        if all.is_empty() {
            self.connections.remove(&peer);
        }
        let best = self.best(&peer);
        if best == before {
            return;
        }
        let Some(id) = device_of(&peer) else { return };
        self.watch_member(now, id);
        match best {
            Some(_) if self.devices.contains_key(&id) => self.prefer_best(peer),
            Some(_) => self.home_connected(now, id.as_bytes()),
            None => {
                self.expedite_device(now, &id);
                if self.devices.get(&id).is_some_and(|device| !device.target.groups.is_empty()) {
                    self.seek_members_soon(now);
                }
            }
        }
    }

    fn admit_known(&mut self) {
        let devices = self.devices.values().map(|device| device.peer);
        // A rendezvous dials back to test whether we can be reached.
        let homes = self.homes.values().filter_map(Home::peer);
        let admitted = devices.chain(homes).collect();
        self.act(Action::Admit(admitted));
        self.confine();
    }

    fn confine(&mut self) {
        let own = self.homes.values().filter(|home| home.reserve).flat_map(|home| &home.addresses);
        self.reach.loopback = own.into_iter().any(is_loopback);
        let homes = self.homes.values().filter_map(Home::peer).collect();
        self.act(Action::Confine { reach: self.reach.clone(), homes });
    }

    fn leave(&mut self) {
        self.leaving = true;
        let peers: Vec<PeerId> = self.connections.keys().copied().collect();
        for peer in peers {
            self.act(Action::Disconnect(peer));
        }
    }

    fn set_own_addresses(&mut self, confirmed: &[Multiaddr], listening: &[Multiaddr]) {
        let homes = self.homes.values().flat_map(|home| &home.addresses);
        let own = OwnAddresses::choose(confirmed, listening, homes);
        if own != self.own {
            self.own = own.clone();
            self.act(Action::Tell(NetEvent::Addresses { own: own.all, public: own.public }));
        }
    }
}
