//! The swarm task: connections, dialling with back-off, relay reservations, hole punching, LAN discovery.

mod behaviour;
mod events;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::ListenerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use rand::RngExt;
use starling_keys::{DeviceId, DeviceKey, RendezvousAddr};
use starling_wire::{
    DIRECT_PROTOCOL, RENDEZVOUS_PROTOCOL,
    direct::DirectFrame,
    rendezvous::Ask,
    streams::{Connection, Gate, OpenError, Opened},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use behaviour::{Behaviour, build};

use super::{
    HomeId, NetCommand, NetEvent, Target, device_of, direct, peer_of,
    rendezvous::{self, Left},
};
use crate::turn::Input;

/// Frames that may wait for one device; its window of unacknowledged bytes is smaller. A device that lets it fill reads too slowly.
const FRAMES: usize = 256;
/// Requests that may wait for one rendezvous.
const REQUESTS: usize = 65_536;
/// Inbound direct streams of one device at a time: one, and one that is about to take its place.
const INBOUND_STREAMS: usize = 3;
/// First and longest wait between two tries to reach somebody.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(120));
/// Longest wait between two tries to reach a rendezvous: it matters more.
const HOME_BACKOFF: Duration = Duration::from_secs(15);

/// How the network side is set up.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Addresses to listen on.
    pub listen: Vec<Multiaddr>,
    /// Look for contacts on the LAN.
    pub mdns: bool,
}

/// Why the network side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A transport cannot be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(Multiaddr, String),
}

/// The engine's line to the swarm task.
#[derive(Clone, Debug)]
pub struct NetHandle(mpsc::UnboundedSender<NetCommand>);

impl NetHandle {
    /// Passes a command on. Not bounded here: the swarm task waits for the engine at times, so the engine may not wait for it. What the engine
    /// gives is bounded by its windows.
    pub fn send(&self, command: NetCommand) {
        let _ = self.0.send(command);
    }
}

/// The last error of a chain: what the system said.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Starts the swarm task on the current runtime. It ends when the handle is dropped.
pub async fn start(key: &DeviceKey, config: &NetConfig, engine: mpsc::Sender<Input>) -> Result<NetHandle, NetError> {
    let mut swarm = build(key, config).await.map_err(|e| NetError::Setup(format!("{e}")))?;
    for address in &config.listen {
        swarm.listen_on(address.clone()).map_err(|e| NetError::Listen(address.clone(), root_cause(&e)))?;
    }
    let (commands, inbox) = mpsc::unbounded_channel();
    let net = Net {
        swarm,
        engine,
        tasks: JoinSet::new(),
        opening: FuturesUnordered::new(),
        targets: HashMap::new(),
        homes: HashMap::new(),
        devices: HashMap::new(),
        listeners: HashMap::new(),
        lan: HashMap::new(),
        addresses: (Vec::new(), false),
    };
    tokio::spawn(net.run(inbox));
    Ok(NetHandle(commands))
}

/// When to try again.
#[derive(Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { at: Instant::now(), wait: BACKOFF.0 }
    }
}

impl Retry {
    fn due(&self) -> bool {
        self.at <= Instant::now()
    }

    /// Doubles the wait, with some jitter so that many clients do not come back in step.
    fn tried(&mut self, longest: Duration) {
        let jitter = rand::rng().random_range(0.8..1.2);
        self.at = Instant::now() + self.wait.mul_f64(jitter);
        self.wait = (self.wait * 2).min(longest);
    }

    fn now(&mut self) {
        *self = Self::default();
    }
}

/// A device that we talk to.
#[derive(Default)]
struct Device {
    retry: Retry,
    /// The stream that we write to.
    out: Option<(Connection, mpsc::Sender<DirectFrame>)>,
    /// The connection on which a stream is being opened.
    opening: Option<ConnectionId>,
    inbound: Vec<AbortHandle>,
    /// The dial to its own addresses that is under way.
    dialing: Option<(ConnectionId, Vec<Multiaddr>)>,
}

impl Device {
    /// There is no path yet, or only one through a relay.
    fn wants_path(&self) -> bool {
        self.opening.is_none() && self.out.as_ref().is_none_or(|(connection, _)| connection.relayed)
    }
}

/// A rendezvous that we use.
struct Home {
    addresses: Vec<RendezvousAddr>,
    /// We want to be reachable through it.
    reserve: bool,
    retry: Retry,
    requests: Option<mpsc::Sender<(u64, Ask)>>,
    opening: bool,
    listener: Option<ListenerId>,
    listen_retry: Retry,
}

enum Ended {
    Out(DeviceId, Connection),
    Inbound,
    Home(HomeId, Left),
    Work,
}

enum OpenedFor {
    Device(DeviceId, Option<ConnectionId>, Result<Opened, OpenError>),
    Home(HomeId, Result<Opened, OpenError>),
}

struct Net {
    swarm: Swarm<Behaviour>,
    engine: mpsc::Sender<Input>,
    tasks: JoinSet<Ended>,
    opening: FuturesUnordered<BoxFuture<'static, OpenedFor>>,
    targets: HashMap<DeviceId, Target>,
    homes: HashMap<HomeId, Home>,
    devices: HashMap<DeviceId, Device>,
    listeners: HashMap<ListenerId, HomeId>,
    lan: HashMap<DeviceId, HashSet<Multiaddr>>,
    /// What the engine was told last.
    addresses: (Vec<Multiaddr>, bool),
}

impl Net {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<NetCommand>) {
        loop {
            let next = self.next_try();
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => {
                        self.on_command(command);
                        // A burst of frames is handed over before the swarm is polled again, but never without end.
                        for _ in 0..256 {
                            let Ok(command) = inbox.try_recv() else { break };
                            self.on_command(command);
                        }
                    }
                    None => break,
                },
                event = self.swarm.select_next_some() => self.on_event(event).await,
                Some(opened) = self.opening.next(), if !self.opening.is_empty() => self.on_opened(opened).await,
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.on_ended(ended).await,
                () = sleep_until(next) => {}
            }
            self.try_due();
        }
    }

    async fn tell(&mut self, event: NetEvent) {
        let _ = self.engine.send(Input::Net(event)).await;
    }

    fn on_command(&mut self, command: NetCommand) {
        match command {
            NetCommand::Targets(targets) => self.set_targets(targets),
            NetCommand::Homes(homes) => self.set_homes(homes),
            NetCommand::Leave => {
                let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
                for peer in peers {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
            }
            NetCommand::Hint(device) => {
                if let Some(device) = self.devices.get_mut(&device) {
                    device.retry.now();
                }
            }
            NetCommand::Direct(id, frame) => {
                if let Some(device) = self.devices.get_mut(&id)
                    && let Some((_, out)) = &device.out
                    && out.try_send(frame).is_err()
                {
                    // Too slow, or broken: the stream's end is reported, and what was not acknowledged is sent again.
                    device.out = None;
                }
            }
            NetCommand::Ask(home, id, ask) => self.ask(home, id, ask),
            NetCommand::AskWithWork(home, id, puzzle, work) => {
                let Some(requests) = self.homes.get(&home).and_then(|h| h.requests.clone()) else {
                    return;
                };
                self.tasks.spawn(async move {
                    let solved = tokio::task::spawn_blocking(move || puzzle.solve()).await;
                    if let Ok(solution) = solved {
                        let _ = requests.send((id, work.solved(solution.0))).await;
                    }
                    Ended::Work
                });
            }
        }
    }

    fn ask(&mut self, home: HomeId, id: u64, ask: Ask) {
        if let Some(home) = self.homes.get_mut(&home)
            && let Some(requests) = &home.requests
            && requests.try_send((id, ask)).is_err()
        {
            home.requests = None;
        }
    }

    fn set_targets(&mut self, targets: HashMap<DeviceId, Target>) {
        self.devices.retain(|id, device| {
            let keep = targets.contains_key(id);
            if !keep {
                for inbound in &device.inbound {
                    inbound.abort();
                }
                if let Some(peer) = peer_of(id) {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
            }
            keep
        });
        for (id, target) in &targets {
            let known = self.targets.get(id);
            let device = self.devices.entry(*id).or_default();
            if known != Some(target) {
                device.retry.now();
            }
        }
        self.targets = targets;
        self.set_gate();
    }

    fn set_gate(&mut self) {
        let devices = self.targets.keys().filter_map(peer_of);
        // A rendezvous dials back to test whether we can be reached.
        let homes = self.homes.values().filter_map(|h| Some(h.addresses.first()?.peer_id()));
        let gate = devices.chain(homes).collect();
        self.swarm.behaviour_mut().streams.set_gate(Gate::Only(gate));
    }

    fn set_homes(&mut self, homes: HashMap<HomeId, (Vec<RendezvousAddr>, bool)>) {
        self.homes.retain(|id, _| homes.contains_key(id));
        for (id, (addresses, reserve)) in homes {
            let home = self.homes.entry(id).or_insert_with(|| Home {
                addresses: Vec::new(),
                reserve,
                retry: Retry::default(),
                requests: None,
                opening: false,
                listener: None,
                listen_retry: Retry::default(),
            });
            home.reserve = reserve;
            if home.addresses != addresses {
                home.addresses = addresses;
                home.retry.now();
            }
        }
        self.set_gate();
    }

    /// The next moment at which something is due; far away if nothing is.
    fn next_try(&self) -> Instant {
        let devices = self.devices.values().filter(|d| d.wants_path()).map(|d| d.retry.at);
        let homes = self.homes.values().filter(|h| h.requests.is_none() && !h.opening).map(|h| h.retry.at);
        let listeners = self
            .homes
            .values()
            .filter(|h| h.reserve && h.requests.is_some() && h.listener.is_none())
            .map(|h| h.listen_retry.at);
        let far = Instant::now() + Duration::from_secs(3600);
        // Never in the past twice in a row: a try that cannot even begin waits, too.
        devices.chain(homes).chain(listeners).min().unwrap_or(far).max(Instant::now() + Duration::from_millis(5))
    }

    fn try_due(&mut self) {
        let due: Vec<HomeId> = self
            .homes
            .iter()
            .filter(|(_, h)| h.requests.is_none() && !h.opening && h.retry.due())
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.try_home(id);
        }
        let due: Vec<HomeId> = self
            .homes
            .iter()
            .filter(|(_, h)| h.reserve && h.requests.is_some() && h.listener.is_none() && h.listen_retry.due())
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.reserve(id);
        }
        let due: Vec<DeviceId> =
            self.devices.iter().filter(|(_, d)| d.wants_path() && d.retry.due()).map(|(id, _)| *id).collect();
        for id in due {
            self.try_device(id);
        }
    }

    fn try_home(&mut self, id: HomeId) {
        let Some(home) = self.homes.get_mut(&id) else {
            return;
        };
        home.retry.tried(HOME_BACKOFF);
        let Some(peer) = home.addresses.first().map(RendezvousAddr::peer_id) else {
            return;
        };
        if self.swarm.behaviour().streams.best(&peer).is_some() {
            home.opening = true;
            let opened = self.swarm.behaviour_mut().streams.open(peer, RENDEZVOUS_PROTOCOL);
            self.opening.push(Box::pin(async move { OpenedFor::Home(id, opened.await) }));
            return;
        }
        let addresses = home.addresses.iter().map(RendezvousAddr::to_multiaddr).collect();
        let dial = DialOpts::peer_id(peer).addresses(addresses).build();
        let _ = self.swarm.dial(dial);
    }

    fn reserve(&mut self, id: HomeId) {
        let Some(home) = self.homes.get_mut(&id) else {
            return;
        };
        home.listen_retry.tried(BACKOFF.1);
        let Some(address) = home.addresses.first() else {
            return;
        };
        let circuit = address.to_multiaddr().with(Protocol::P2pCircuit);
        if let Ok(listener) = self.swarm.listen_on(circuit) {
            home.listener = Some(listener);
            self.listeners.insert(listener, id);
        }
    }

    fn try_device(&mut self, id: DeviceId) {
        let (Some(device), Some(peer)) = (self.devices.get_mut(&id), peer_of(&id)) else {
            return;
        };
        device.retry.tried(BACKOFF.1);
        let linked = device.out.is_some();
        let best = self.swarm.behaviour().streams.best(&peer).map(|best| best.relayed);
        if best == Some(false) || (best.is_some() && !linked) {
            self.open_direct(id, peer);
            return;
        }
        let Some(target) = self.targets.get(&id) else {
            return;
        };
        let mut direct: Vec<Multiaddr> = target.addresses.clone();
        direct.extend(self.lan.get(&id).into_iter().flatten().cloned());
        direct.retain(|a| !a.iter().any(|p| matches!(p, Protocol::P2pCircuit)));
        direct.truncate(16);
        let under_way = self.devices.get(&id).and_then(|d| d.dialing.as_ref()).is_some_and(|(_, to)| *to == direct);
        if !direct.is_empty() && !under_way {
            // Also beside a relayed connection, as a direct one is better, and beside a dial to addresses that have changed.
            let dial = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(direct.clone()).build();
            let connection = dial.connection_id();
            if self.swarm.dial(dial).is_ok()
                && let Some(device) = self.devices.get_mut(&id)
            {
                device.dialing = Some((connection, direct));
            }
        }
        if linked {
            return;
        }
        // A second dial, since one stale direct address fails the whole of the first. Only through a relay that we are connected to: its dial
        // would otherwise compete with our own.
        let circuits: Vec<Multiaddr> = target
            .relays
            .iter()
            .filter(|relay| self.swarm.is_connected(&relay.peer_id()))
            .map(|relay| relay.to_multiaddr().with(Protocol::P2pCircuit))
            .collect();
        if !circuits.is_empty() {
            let dial = DialOpts::peer_id(peer).condition(PeerCondition::Disconnected).addresses(circuits).build();
            let _ = self.swarm.dial(dial);
        }
    }

    fn dial_ended(&mut self, peer: &PeerId, connection: ConnectionId) {
        if let Some(device) = device_of(peer).and_then(|id| self.devices.get_mut(&id))
            && device.dialing.as_ref().is_some_and(|(id, _)| *id == connection)
        {
            device.dialing = None;
        }
    }

    fn open_direct(&mut self, id: DeviceId, peer: PeerId) {
        if let Some(device) = self.devices.get_mut(&id) {
            let on = self.swarm.behaviour().streams.best(&peer).map(|c| c.id);
            device.opening = on;
            let opened = self.swarm.behaviour_mut().streams.open(peer, DIRECT_PROTOCOL);
            self.opening.push(Box::pin(async move { OpenedFor::Device(id, on, opened.await) }));
        }
    }

    async fn on_opened(&mut self, opened: OpenedFor) {
        match opened {
            OpenedFor::Device(id, on, Ok(Opened { stream, connection })) => {
                let Some(device) = self.devices.get_mut(&id) else {
                    return;
                };
                if device.opening == on {
                    device.opening = None;
                } else if device.opening.is_some() {
                    // A better connection has come meanwhile, and a stream is being opened there.
                    return;
                }
                let (out, frames) = mpsc::channel(FRAMES);
                tracing::debug!(?connection, "a direct stream is open");
                device.retry.now();
                device.out = Some((connection, out));
                self.tasks.spawn(async move {
                    direct::write(stream, frames).await;
                    Ended::Out(id, connection)
                });
                let relayed = connection.relayed;
                self.tell(NetEvent::DirectUp { device: id, relayed }).await;
                if let Some(peer) = peer_of(&id) {
                    if !relayed {
                        // DCUtR would keep them open for ever.
                        for connection in self.swarm.behaviour().streams.relayed(&peer) {
                            self.swarm.close_connection(connection);
                        }
                    }
                    self.prefer_best(id, peer);
                }
            }
            OpenedFor::Device(id, on, Err(error)) => {
                tracing::debug!(%error, "a direct stream cannot be opened");
                if let Some(device) = self.devices.get_mut(&id).filter(|d| d.opening == on) {
                    device.opening = None;
                    device.retry.now();
                }
            }
            OpenedFor::Home(id, Ok(Opened { stream, .. })) => {
                let Some(home) = self.homes.get_mut(&id) else {
                    return;
                };
                // It may be the relay that others are waiting to be reached through.
                for device in self.devices.values_mut().filter(|d| d.out.is_none()) {
                    device.retry.now();
                }
                let (requests, inbox) = mpsc::channel(REQUESTS);
                home.opening = false;
                home.requests = Some(requests);
                home.retry.now();
                let engine = self.engine.clone();
                self.tasks.spawn(async move { Ended::Home(id, rendezvous::run(id, stream, inbox, engine).await) });
                // Contacts may be reachable through it now.
                for device in self.devices.values_mut() {
                    device.retry.now();
                }
            }
            OpenedFor::Home(id, Err(error)) => {
                if let Some(home) = self.homes.get_mut(&id) {
                    home.opening = false;
                }
                self.tell(NetEvent::HomeDown(id, error.to_string())).await;
            }
        }
    }

    async fn on_ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Ended::Out(id, connection)) => {
                if let Some(device) = self.devices.get_mut(&id) {
                    match &device.out {
                        // A newer stream has taken its place.
                        Some((current, _)) if *current != connection => return,
                        _ => device.out = None,
                    }
                    self.tell(NetEvent::DirectDown(id)).await;
                }
            }
            Ok(Ended::Home(id, Left { reason, come_again })) => {
                if let Some(home) = self.homes.get_mut(&id) {
                    home.requests = None;
                    if let Some(wait) = come_again {
                        // Not all at the same moment.
                        home.retry.at = Instant::now() + wait.mul_f64(rand::rng().random_range(1.0..2.0));
                    }
                    self.tell(NetEvent::HomeDown(id, reason)).await;
                }
            }
            Ok(Ended::Inbound | Ended::Work) | Err(_) => {}
        }
    }

    /// Moves the stream to the best connection, and drops relayed connections once there is a direct one.
    fn prefer_best(&mut self, id: DeviceId, peer: PeerId) {
        let Some(best) = self.swarm.behaviour().streams.best(&peer) else {
            return;
        };
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        // One that has begun on a connection which died with the peer's process would take ten seconds to fail.
        if device.opening == Some(best.id) {
            return;
        }
        match &device.out {
            Some((current, _)) if (current.relayed, Reverse(current.id)) <= (best.relayed, Reverse(best.id)) => {}
            _ => self.open_direct(id, peer),
        }
    }
}
