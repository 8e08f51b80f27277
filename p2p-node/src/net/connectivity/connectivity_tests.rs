//! Decisions in virtual time, against a small model of peers that can or cannot be reached.

use std::{collections::BTreeSet, time::Duration};

use rand::SeedableRng;
use starling_keys::{DeviceKey, RendezvousAddr};

use super::{backoff::EARLY_TRIES, dials::MAX_DIALS, *};
use crate::net::ConnectionProblem;

#[path = "addresses_tests.rs"]
mod address_decisions;
#[path = "changes_tests.rs"]
mod changes;
#[path = "connections_tests.rs"]
mod connections;
#[path = "last_resort_tests.rs"]
mod last_resort;
#[path = "liveness_tests.rs"]
mod liveness;
#[path = "members_tests.rs"]
mod member_decisions;
#[path = "opening_tests.rs"]
mod opening;
#[path = "quic_tests.rs"]
mod over_quic;
#[path = "schedules_tests.rs"]
mod schedules;
#[path = "storms_tests.rs"]
mod storms;
#[path = "visits_tests.rs"]
mod visits;

const SECOND: Duration = Duration::from_secs(1);

fn device(n: u32) -> DeviceId {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&n.to_le_bytes());
    DeviceKey::from_seed(&seed).id()
}

fn peer(n: u32) -> PeerId {
    peer_of(&device(n)).unwrap()
}

fn address(n: u32) -> Multiaddr {
    let n = u16::try_from(n).unwrap();
    format!("/ip4/10.{}.{}.1/udp/4001/quic-v1", n >> 8, n & 255).parse().unwrap()
}

fn target(n: u32) -> Target {
    Target { relays: vec![], addresses: vec![address(n)], ..Target::default() }
}

fn home(n: u32) -> (HomeId, RendezvousAddr) {
    let address = format!("/ip4/10.9.9.{}/tcp/4001/p2p/{}", n % 200, peer(n)).parse().unwrap();
    (*device(n).as_bytes(), address)
}

/// The state machine, and the world that it acts on.
struct World {
    net: Connectivity,
    start: Instant,
    now: Instant,
    next_connection: usize,
    open: BTreeMap<ConnectionId, (PeerId, bool)>,
    dials: BTreeMap<DialId, (PeerId, Vec<Multiaddr>)>,
    opening: Vec<(DeviceId, ConnectionId)>,
    opening_homes: Vec<(HomeId, ConnectionId)>,
    streams: BTreeMap<DeviceId, Connection>,
    /// When each dial began, and to whom.
    log: Vec<(Instant, PeerId)>,
    told: Vec<NetEvent>,
    listeners: Vec<(HomeId, ListenerId)>,
    /// Probes under way: since when, for whom, on which connection, which.
    probes: Vec<(Instant, Subject, ConnectionId, u64)>,
    /// How many there were.
    probed: usize,
    /// When they began, for whom, and whether at rest.
    probe_log: Vec<(Instant, Subject, bool)>,
    /// How often the network has forgotten a connection.
    mappings_lost: usize,
    /// Dials neither fail nor end while time passes.
    keep_dials: bool,
    /// Peers to whom all was to end, dials as well.
    disconnected: Vec<PeerId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self::without_networks(seed);
        let networks = vec![Network { address: "10.200.0.1".parse().unwrap(), prefix: 8 }];
        world.input(Input::OwnAddresses { confirmed: vec![], listening: vec![], networks });
        world
    }

    fn without_networks(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            net: Connectivity::new(SmallRng::seed_from_u64(seed)),
            start: now,
            now,
            next_connection: 1,
            open: BTreeMap::new(),
            dials: BTreeMap::new(),
            opening: Vec::new(),
            opening_homes: Vec::new(),
            streams: BTreeMap::new(),
            log: Vec::new(),
            told: Vec::new(),
            listeners: Vec::new(),
            probes: Vec::new(),
            probed: 0,
            probe_log: Vec::new(),
            mappings_lost: 0,
            keep_dials: false,
            disconnected: Vec::new(),
        }
    }

    fn with_targets(seed: u64, numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut world = Self::new(seed);
        world.targets(numbers);
        world
    }

    fn targets(&mut self, numbers: impl IntoIterator<Item = u32>) {
        self.input(Input::Targets(numbers.into_iter().map(|n| (device(n), target(n))).collect()));
    }

    fn home(&mut self, n: u32, reserve: bool) -> HomeId {
        self.wanted_home(n, WantedHome { own: reserve, ..WantedHome::default() })
    }

    /// A rendezvous that the user has named, and that is none of ours.
    fn named_home(&mut self, n: u32) -> HomeId {
        self.wanted_home(n, WantedHome { named: true, ..WantedHome::default() })
    }

    fn wanted_home(&mut self, n: u32, wanted: WantedHome) -> HomeId {
        let (id, address) = home(n);
        self.input(Input::Homes(HashMap::from([(id, WantedHome { addresses: vec![address], ..wanted })])));
        id
    }

    fn input(&mut self, input: Input) {
        self.net.handle(self.now, input);
        while let Some(action) = self.net.next_action() {
            self.act(action);
        }
        if let Some(deadline) = self.net.next_deadline() {
            assert!(deadline > self.now, "it would spin");
        }
        assert!(self.net.dials.len() <= MAX_DIALS);
        assert_eq!(self.net.dials.keys().collect::<BTreeSet<_>>(), self.dials.keys().collect());
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { dial, peer, addresses, .. } => {
                assert!(!addresses.is_empty() && addresses.len() <= MAX_DIAL_ADDRESSES);
                self.log.push((self.now, peer));
                self.dials.insert(dial, (peer, addresses));
            }
            Action::Confine { .. } => {}
            Action::Close(id) => self.close(id),
            Action::Disconnect(peer) => {
                self.disconnected.push(peer);
                let all: Vec<_> = self.open.iter().filter(|(_, (p, _))| *p == peer).map(|(id, _)| *id).collect();
                all.into_iter().for_each(|id| self.close(id));
            }
            Action::OpenStream { device, on, .. } => {
                assert!(self.opening.len() < 64, "streams are opened without end");
                self.opening.push((device, on));
            }
            Action::DropStream(device) => {
                self.streams.remove(&device);
            }
            Action::DropStreams(device) => {
                self.streams.remove(&device);
                // The engine knows: it has asked for it.
                self.told.push(NetEvent::DirectDown(device));
            }
            Action::OpenHome { home, on, .. } => self.opening_homes.push((home, on)),
            Action::Reserve { home, circuit } => {
                assert!(is_circuit(&circuit));
                let listener = ListenerId::next();
                self.listeners.push((home, listener));
                self.net.handle(self.now, Input::Reserving { home, listener });
            }
            Action::StopListening(listener) => self.listeners.retain(|(_, l)| *l != listener),
            Action::Tell(event) => self.told.push(event),
            Action::Probe { subject, peer, on, number, at_rest } => {
                assert!(self.open.get(&on).is_none_or(|(p, _)| *p == peer));
                self.probes.push((self.now, subject, on, number));
                self.probed += 1;
                self.probe_log.push((self.now, subject, at_rest));
            }
            Action::MappingLost(_) => self.mappings_lost += 1,
            Action::DropHome(_) | Action::Admit(_) => {}
        }
    }

    /// Closes a connection; what depends on it breaks. The reports are inputs, so only the connection's own is passed on here.
    fn close(&mut self, id: ConnectionId) {
        if let Some((peer, _)) = self.open.remove(&id) {
            self.net.handle(self.now, Input::ConnectionDown { peer, connection: id });
        }
    }

    fn number(&mut self) -> ConnectionId {
        self.next_connection += 1;
        ConnectionId::new_unchecked(self.next_connection - 1)
    }

    fn connect(&mut self, n: u32, relayed: bool, dial: Option<DialId>) -> ConnectionId {
        let id = self.number();
        self.connect_as(id, n, relayed, dial);
        id
    }

    /// A connection comes that has had its number before.
    fn connect_as(&mut self, id: ConnectionId, n: u32, relayed: bool, dial: Option<DialId>) {
        self.open.insert(id, (peer(n), relayed));
        if let Some(dial) = dial {
            self.dials.remove(&dial);
        }
        let connection = Connection { id, relayed };
        self.input(Input::ConnectionUp { peer: peer(n), connection, dial, datagrams: Some(IpVersion::V4) });
    }

    /// A direct connection that nobody here has dialled; over which datagrams, if over any.
    fn connect_over(&mut self, n: u32, datagrams: Option<IpVersion>) -> ConnectionId {
        let id = self.number();
        self.open.insert(id, (peer(n), false));
        let connection = Connection { id, relayed: false };
        self.input(Input::ConnectionUp { peer: peer(n), connection, dial: None, datagrams });
        id
    }

    fn disconnect(&mut self, id: ConnectionId) {
        self.close(id);
        self.input(Input::Tick);
    }

    fn fail_dials(&mut self) {
        while !self.keep_dials
            && let Some((dial, (peer, _))) = self.dials.pop_first()
        {
            self.input(Input::DialFailed { peer: Some(peer), dial: Some(dial), problem: ConnectionProblem::Refused });
        }
    }

    /// All streams that are being opened are there, or have failed if their connection is gone.
    fn open_streams(&mut self) {
        while let Some((device, on)) = self.opening.pop() {
            match self.open.get(&on) {
                Some((_, relayed)) => {
                    let connection = Connection { id: on, relayed: *relayed };
                    self.input(Input::StreamOpened { device, on, connection });
                    if self.net.stream_of(&device) == Some(connection) {
                        self.streams.insert(device, connection);
                    }
                }
                None => self.input(Input::StreamFailed { device, on }),
            }
        }
        while let Some((home, on)) = self.opening_homes.pop() {
            if self.open.contains_key(&on) {
                self.input(Input::HomeOpened { home, connection: on });
                self.input(Input::HomeGreeted(home));
            } else {
                self.input(Input::HomeFailed { home, connection: on, problem: ConnectionProblem::Broken });
            }
        }
    }

    /// Streams whose connection is gone end.
    fn break_streams(&mut self) {
        let open = &self.open;
        let broken: Vec<_> =
            self.streams.iter().filter(|(_, c)| !open.contains_key(&c.id)).map(|(d, c)| (*d, *c)).collect();
        for (device, connection) in broken {
            self.streams.remove(&device);
            self.input(Input::StreamEnded { device, connection });
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.net.next_deadline().filter(|at| *at <= until) {
            self.now = deadline;
            self.input(Input::Tick);
            self.fail_dials();
        }
        self.now = until;
        self.input(Input::Tick);
    }

    fn dials_to(&self, n: u32) -> Vec<Duration> {
        let peer = peer(n);
        self.log.iter().filter(|(_, p)| *p == peer).map(|(at, _)| *at - self.start).collect()
    }

    fn ups(&self, n: u32) -> Vec<bool> {
        let up = |event: &NetEvent| match event {
            NetEvent::DirectUp { device: d, relayed } if *d == device(n) => Some(*relayed),
            _ => None,
        };
        self.told.iter().filter_map(up).collect()
    }
}

#[test]
fn waits_between_tries_double_up_to_two_minutes() {
    let mut world = World::with_targets(1, [1]);
    world.fail_dials();
    world.pass(600 * SECOND);
    let dials = world.dials_to(1);
    let waits: Vec<f64> = dials.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    let mut wanted = 0.5;
    for wait in &waits {
        assert!(*wait >= wanted * 0.79 && *wait <= wanted * 1.21, "{wait} instead of {wanted}");
        wanted = (wanted * 2.0).min(120.0);
    }
    assert!(waits.len() >= 9);
}

#[test]
fn a_rendezvous_is_tried_every_fifteen_seconds_at_least() {
    let mut world = World::new(2);
    world.home(9, false);
    world.fail_dials();
    world.pass(600 * SECOND);
    let dials = world.dials_to(9);
    assert!(dials.windows(2).all(|pair| pair[1] - pair[0] <= 19 * SECOND));
    assert!(dials.len() >= 30 && dials.len() <= 60, "{}", dials.len());
    assert!(matches!(&world.told[..], [NetEvent::HomeDown(_, ConnectionProblem::Refused), ..]));
}

#[test]
fn jitter_differs_between_clients() {
    let second_try = |seed| {
        let mut world = World::with_targets(seed, [1]);
        world.fail_dials();
        world.pass(SECOND);
        world.dials_to(1)[1]
    };
    assert_ne!(second_try(1), second_try(2));
}

#[test]
fn a_stable_session_resets_the_back_off_and_a_short_one_does_not() {
    for (lasted, reset) in [(backoff::STABLE, true), (SECOND, false)] {
        let mut world = World::with_targets(3, [1]);
        world.fail_dials();
        world.pass(300 * SECOND);
        let connection = world.connect(1, false, None);
        world.open_streams();
        world.pass(lasted);
        world.disconnect(connection);
        world.break_streams();
        world.fail_dials();
        let before = world.log.len();
        world.pass(20 * SECOND);
        assert_eq!(world.log.len() - before >= 4, reset, "after {lasted:?}: {:?}", world.dials_to(1));
    }
}

#[test]
fn a_hint_leads_to_a_try_at_once() {
    let mut world = World::with_targets(4, [1]);
    world.fail_dials();
    world.pass(400 * SECOND);
    let before = world.log.len();
    world.input(Input::Hint(device(1)));
    assert_eq!(world.log.len(), before + 1);
}

#[test]
fn a_flapping_peer_causes_no_storm_of_dials() {
    let mut world = World::with_targets(5, [1]);
    let begin = world.now;
    // Each dial succeeds, and the connection breaks a moment later; hints, addresses and streams of the peer say that it is there.
    let mut round = 0;
    while world.now - begin < 600 * SECOND {
        round += 1;
        if let Some((&dial, _)) = world.dials.first_key_value() {
            let connection = world.connect(1, false, Some(dial));
            world.open_streams();
            world.disconnect(connection);
            world.break_streams();
        }
        world.input(Input::Hint(device(1)));
        let changed = Target { addresses: vec![address(round % 1000)], ..Target::default() };
        world.input(Input::Targets(HashMap::from([(device(1), changed)])));
        world.now += Duration::from_millis(100);
        world.input(Input::Tick);
    }
    let most = EARLY_TRIES as usize + 600 / backoff::EARLY_REFILL.as_secs() as usize + 20;
    assert!(world.log.len() <= most, "{} dials in ten minutes", world.log.len());
}

#[test]
fn a_peer_that_takes_no_streams_is_not_asked_in_a_loop() {
    let mut world = World::with_targets(6, [1]);
    world.connect(1, false, None);
    let mut opened = 0;
    let begin = world.now;
    while world.now - begin < 60 * SECOND {
        if let Some((device, on)) = world.opening.pop() {
            opened += 1;
            world.input(Input::StreamFailed { device, on });
        } else {
            world.now = world.net.next_deadline().unwrap();
            world.input(Input::Tick);
        }
    }
    assert!(opened < 40, "{opened} streams in a minute");
}

#[test]
fn a_reservation_is_kept_while_the_session_lasts_and_given_up_with_the_home() {
    let mut world = World::new(13);
    let id = world.home(9, true);
    let dial = *world.dials.first_key_value().unwrap().0;
    world.connect(9, false, Some(dial));
    world.open_streams();
    let [(_, first)] = world.listeners[..] else { panic!("{:?}", world.listeners) };
    world.listeners.clear();
    world.input(Input::ListenerClosed(first));
    world.pass(3 * SECOND);
    assert_eq!(world.listeners.len(), 1, "reserved again");
    world.home(9, false);
    assert!(world.listeners.is_empty());
    world.home(9, true);
    assert_eq!(world.listeners.len(), 1);
    world.input(Input::Homes(HashMap::new()));
    assert!(world.listeners.is_empty());
    assert!(!world.net.has_session(&id));
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let mut world = World::new(14);
    let id = world.home(9, false);
    let dial = *world.dials.first_key_value().unwrap().0;
    world.connect(9, false, Some(dial));
    world.open_streams();
    let left = Left { come_again: Some(10 * SECOND), ..Left::from(ConnectionProblem::Restarting) };
    world.input(Input::HomeEnded { home: id, left });
    // The one that takes its place knows nothing of this connection.
    assert!(world.open.is_empty());
    let before = world.log.len();
    world.pass(Duration::from_millis(9_900));
    assert_eq!(world.log.len(), before);
    world.pass(11 * SECOND);
    assert!(world.log.len() > before);
}

#[test]
fn many_targets_do_not_dial_all_at_once_and_leave_nothing_behind() {
    let mut world = World::with_targets(16, 0..3_000);
    assert_eq!(world.dials.len(), MAX_DIALS);
    for _ in 0..10 {
        world.fail_dials();
    }
    let dialled: HashSet<PeerId> = world.log.iter().map(|(_, peer)| *peer).collect();
    assert!((0..3_000).all(|n| dialled.contains(&peer(n))), "everybody gets a turn");
    world.targets([]);
    world.fail_dials();
    assert_eq!((world.net.devices.len(), world.net.dials.len()), (0, 0));
    assert_eq!((world.net.agenda.len(), world.net.devices_due.len()), (0, 0));
    assert!(world.net.connections.is_empty());
    assert_eq!(world.net.next_deadline(), None);
}

#[test]
fn nothing_is_dialled_after_leaving() {
    let mut world = World::with_targets(17, [1, 2]);
    world.connect(1, false, None);
    world.open_streams();
    let before = world.log.len();
    world.input(Input::Leave);
    assert!(world.open.is_empty());
    world.break_streams();
    world.fail_dials();
    world.pass(300 * SECOND);
    assert_eq!(world.log.len(), before);
}
