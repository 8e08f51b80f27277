//! Starting, running, reloading and stopping.

#[cfg(test)]
#[path = "quic_port_tests.rs"]
mod quic_port_tests;

use std::{
    collections::{HashMap, hash_map::Entry},
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, ping,
    swarm::{ConnectionId, SwarmEvent},
};
use starling_keys::RendezvousAddr;
use starling_wire::{TURN_PROTOCOL, rendezvous::ResponseBody, streams};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    boxed::Boxed,
    connection::{self, Ended},
    identity::Identity,
    listening::{Listening, announce, listen, quic_port, web_addresses},
    network::{self, Behaviour, BehaviourEvent},
    preflight::{bind_turn, has_ipv6, preflight},
    relay_shares::RelayShares,
    returns::Returns,
    start_error::StartError,
};
use crate::{
    address::Origin,
    clock::now_ms,
    config::Config,
    limits::{
        CALL_BACK_INTERVAL, CLAIMS_EVERY, DISK_INTERVAL, EXPIRY_INTERVAL, LAST_SEEN_INTERVAL, TURN_STREAMS_PER_DEVICE,
    },
    services::{Services, TurnEndpoint, operator, relay::turn::TurnServer, sweep::Sweep},
    store::{Key, StoreError, Topic, redb::RedbStore},
};

/// Sessions that wait to say that they are those of registered accounts; more wait themselves.
const MEMBER_QUEUE: usize = 64;
/// How long devices stay away, at least, from a server that is being restarted.
const MIN_AWAY: Duration = Duration::from_secs(2);
/// How long a server that ends waits for its connections to be closed.
const CLOSING: Duration = Duration::from_millis(500);

/// A connection whose session is that of a registered account, and its device.
type Member = (ConnectionId, PeerId);

/// What users and operators need to know of a running server.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The server's peer id.
    pub peer_id: PeerId,
    /// Addresses to give to users that stand for UDP and TCP each, the best first.
    pub short: Vec<RendezvousAddr>,
    /// The ways to this server; each ends in `/p2p/PEER`.
    pub addresses: Vec<Multiaddr>,
    /// The operators' port.
    pub http: SocketAddr,
    /// STUN and TURN for calls.
    pub turn: Option<SocketAddr>,
}

/// A running server.
pub struct Server {
    services: Arc<Services>,
    swarm: Box<Swarm<Boxed<Behaviour>>>,
    sessions: JoinSet<(Key, PeerId, Ended)>,
    by_device: HashMap<Key, tokio::task::AbortHandle>,
    /// Connections whose sessions turn out to be those of registered accounts.
    members: (mpsc::Sender<Member>, mpsc::Receiver<Member>),
    shares: RelayShares,
    /// Where members are connected from, and were when the process before this one was killed.
    returns: Returns,
    /// Streams to TURN.
    turn: JoinSet<PeerId>,
    turn_of: HashMap<PeerId, u32>,
    /// Accepted circuits that are open.
    circuits: HashMap<(PeerId, PeerId), u32>,
    drain: Duration,
    early: Vec<SwarmEvent<BehaviourEvent>>,
    stop: watch::Receiver<bool>,
    _operator: JoinSet<()>,
    ready: Ready,
}

impl Server {
    /// Starts listening. The server works once [`Server::run`] is polled.
    pub async fn start(config: &Config, stop: watch::Receiver<bool>) -> Result<Self, StartError> {
        let warnings = preflight(config).await?;
        let config = &config.on_host(has_ipv6());
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let web = web_addresses(config, &warnings);
        let dir = &config.data_dir;
        let data_dir = |error| StartError::DataDir { path: dir.clone(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(data_dir)?;
        let identity = Identity::load_or_create(&dir.join("identity"))?;
        let store = RedbStore::open(&dir.join("rendezvous.redb"))?;
        let peer_id = identity.keypair.public().to_peer_id();
        let server_key = device_key(&peer_id).unwrap_or_default();
        let returns = Returns::new(&identity.last_seen_name);
        let services = Arc::new(Services::new(store, server_key, identity.name_key, config));

        let shares = RelayShares::new(config.relay.reservations, config.relay.circuits);
        let relay = bind_relay(config, identity.turn_key, &services).await?;
        let quic_ports = relay.as_ref().map(|relay| relay.quic_ports());
        let built = network::build(identity.keypair, config, shares.clone(), quic_ports).await;
        let mut swarm = built.map_err(StartError::Network)?;
        let Listening { addresses: listening, web, early } = listen(&mut swarm, &config.listen, &web).await?;
        let addresses = announce(&mut swarm, config, &listening, peer_id);

        let http =
            TcpListener::bind(config.http).await.map_err(|error| StartError::Http { address: config.http, error })?;
        let http_address = http.local_addr().unwrap_or(config.http);
        let admin = bind_admin(dir).map_err(data_dir)?;
        let mut operator = JoinSet::new();
        let turn = match relay {
            Some(relay) => serve_turn(relay, (config, identity.turn_key), &addresses, &services, &mut operator).await?,
            None => Vec::new(),
        };
        let _ = services.sockets.set(config.sockets(&web, &turn));
        let turn = services.turn.get().and_then(|endpoint| endpoint.addresses.first().copied());
        let ways: Vec<RendezvousAddr> =
            addresses.iter().filter_map(|address| RendezvousAddr::try_from(address).ok()).collect();
        let short = RendezvousAddr::shortened(&ways);
        let ready = Ready { peer_id, short, addresses, http: http_address, turn };
        operator.spawn(operator::serve_http(http, services.clone()));
        operator.spawn(operator::serve_admin(admin, services.clone()));
        operator.spawn(sweep(services.clone()));
        services.expect_sessions().await?;
        Ok(Self {
            services,
            swarm: Box::new(swarm),
            sessions: JoinSet::new(),
            by_device: HashMap::new(),
            members: mpsc::channel(MEMBER_QUEUE),
            shares,
            returns,
            turn: JoinSet::new(),
            turn_of: HashMap::new(),
            circuits: HashMap::new(),
            drain: Duration::from_secs(config.drain_seconds),
            early,
            stop,
            _operator: operator,
            ready,
        })
    }

    /// Addresses and peer id.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// A handle by which the reloadable part of the configuration can be changed.
    pub fn reloader(&self) -> impl Fn(&Config) + Send + Sync + 'static {
        let services = self.services.clone();
        move |config| services.reload(config)
    }

    /// Serves until told to stop, then drains; or until the store fails.
    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut stop = self.stop.clone();
        let services = self.services.clone();
        let broken = services.store.health.broken();
        tokio::pin!(broken);
        let mut tidy = tokio::time::interval(EXPIRY_INTERVAL);
        let mut disk = tokio::time::interval(DISK_INTERVAL);
        let mut last_seen = tokio::time::interval(LAST_SEEN_INTERVAL);
        let mut call_back = tokio::time::interval(CALL_BACK_INTERVAL);
        for event in std::mem::take(&mut self.early) {
            self.on_event(event);
        }
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                Some((connection, peer)) = self.members.1.recv() => {
                    self.swarm.behaviour_mut().0.admission.is_member(connection, &peer);
                    self.returns.is_member(connection);
                }
                _ = last_seen.tick() => self.returns.save(),
                _ = call_back.tick(), if self.returns.has_missing() => self.call_back(),
                _ = tidy.tick() => self.swarm.behaviour().admission.retain_recent(),
                Some(ended) = self.sessions.join_next(), if !self.sessions.is_empty() => self.ended(ended),
                Some(ended) = self.turn.join_next(), if !self.turn.is_empty() => self.turn_ended(ended),
                _ = disk.tick() => services.look_at_disk(),
                _ = stop.wait_for(|stop| *stop) => break,
                () = &mut broken => {
                    return Err(StoreError::Failed("it cannot be written to: see the log, make room, start again".into()));
                }
            }
        }
        self.drain().await;
        Ok(())
    }

    /// Connects to some of those who were connected when the process before this one was killed: they are at rest, and notice.
    fn call_back(&mut self) {
        for dial in self.returns.next_dials() {
            self.swarm.behaviour_mut().0.admission.expect_return(dial.connection_id());
            if let Err(error) = self.swarm.dial(dial) {
                tracing::debug!(%error, "a client is not called back");
            }
        }
    }

    fn ended(&mut self, ended: Result<(Key, PeerId, Ended), tokio::task::JoinError>) {
        let Ok((device, peer, ended)) = ended else { return };
        if self.by_device.get(&device).is_some_and(tokio::task::AbortHandle::is_finished) {
            self.by_device.remove(&device);
            // A device that was removed or banned loses what its connections have as a member's, in the relay, too.
            if ended == Ended::Dismissed {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
        }
    }

    /// A device opens a stream: it gets a session, in place of the one that it had.
    fn on_stream(&mut self, peer: PeerId, stream: libp2p::Stream, connection: ConnectionId) {
        let Some(device) = device_key(&peer) else {
            return;
        };
        let services = self.services.clone();
        if services.rates.sessions.check_key(&device).is_err() {
            // A stream more costs it nothing; a connection counts.
            self.swarm.close_connection(connection);
            return;
        }
        let origin = self.swarm.behaviour().admission.origin(connection);
        let members = self.members.0.clone();
        let task = self.sessions.spawn(async move {
            let ended = connection::serve(services, device, origin, stream, || async move {
                let _ = members.send((connection, peer)).await;
            })
            .await;
            (device, peer, ended)
        });
        // One session a device: the newest, as the older one may hang on a dead network.
        if let Some(older) = self.by_device.insert(device, task) {
            older.abort();
        }
        // Their connections, too: the relay would go on passing circuits to a process that is gone.
        for older in self.swarm.behaviour().streams.older(&peer, connection) {
            self.swarm.close_connection(older);
        }
    }

    /// A member opens a stream to TURN.
    fn on_turn_stream(&mut self, peer: PeerId, stream: libp2p::Stream, connection: ConnectionId) {
        let admission = &self.swarm.behaviour().admission;
        let from = admission.ip(connection).zip(admission.origin(connection));
        let (Some((ip, origin)), Some(turn)) = (from, self.services.turn.get()) else { return };
        let open = self.turn_of.get(&peer).copied().unwrap_or_default();
        if open >= TURN_STREAMS_PER_DEVICE || !self.shares.has_member(&peer) {
            return;
        }
        self.turn_of.insert(peer, open + 1);
        let streams = turn.streams.clone();
        self.turn.spawn(async move {
            streams.serve(stream, ip.to_canonical(), matches!(origin, Origin::Proxy(_))).await;
            peer
        });
    }

    fn turn_ended(&mut self, ended: Result<PeerId, tokio::task::JoinError>) {
        let Ok(peer) = ended else { return };
        if let Entry::Occupied(mut open) = self.turn_of.entry(peer) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    fn on_relay(&mut self, event: libp2p::relay::Event) {
        use libp2p::relay::Event;
        let metrics = &self.services.metrics;
        match event {
            Event::ReservationReqAccepted { renewed, src_peer_id } => {
                self.shares.reserved(&src_peer_id, true);
                if !renewed {
                    metrics.reservations.inc();
                }
            }
            Event::ReservationTimedOut { src_peer_id } => self.shares.reserved(&src_peer_id, false),
            Event::CircuitReqAccepted { src_peer_id, dst_peer_id } => {
                self.shares.circuit(&src_peer_id, true);
                *self.circuits.entry((src_peer_id, dst_peer_id)).or_default() += 1;
                metrics.circuits.inc();
            }
            // Also told of those that were never accepted.
            Event::CircuitClosed { src_peer_id, dst_peer_id, .. } => {
                let pair = (src_peer_id, dst_peer_id);
                if let Some(count) = self.circuits.get_mut(&pair) {
                    *count -= 1;
                    self.shares.circuit(&src_peer_id, false);
                    metrics.circuits.dec();
                    if *count == 0 {
                        self.circuits.remove(&pair);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(streams::Event::Inbound {
                peer,
                stream,
                connection,
                protocol,
            })) => match protocol.as_ref() {
                TURN_PROTOCOL => self.on_turn_stream(peer, stream, connection.id),
                _ => self.on_stream(peer, stream, connection.id),
            },
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { connection, result: Err(error), .. }))
                if !matches!(error, ping::Failure::Unsupported) =>
            {
                self.swarm.close_connection(connection);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => self.on_relay(event),
            SwarmEvent::ConnectionEstablished { num_established, established_in, connection_id, endpoint, .. } => {
                self.returns.connected(connection_id, endpoint.get_remote_address());
                tracing::debug!(of_peer = num_established, ms = established_in.as_millis(), "connected");
                self.services.metrics.connections.inc();
            }
            SwarmEvent::ConnectionClosed { num_established, connection_id, .. } => {
                self.returns.closed(connection_id);
                tracing::debug!(left_of_peer = num_established, "disconnected");
                self.services.metrics.connections.dec();
            }
            SwarmEvent::IncomingConnectionError { .. } => {
                tracing::debug!("a connection was refused, or broke before it was one");
                self.services.metrics.refused_connections.inc();
            }
            // It goes on by itself: out of descriptors, for example.
            SwarmEvent::ListenerError { .. } => tracing::debug!("a listener could not accept"),
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => tracing::error!(%error, "a listener has closed"),
            _ => {}
        }
    }

    async fn drain(mut self) {
        tracing::info!(sessions = self.services.metrics.sessions.get(), "draining");
        self.returns.forget();
        self.services.draining.store(true, Ordering::Relaxed);
        // They come after once to twice this time.
        let away = self.services.retry_window().max(MIN_AWAY);
        let away = u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
        self.services.store.fanout.publish(Topic::Everyone, None, &ResponseBody::Drain(away));
        let all_gone = async {
            while !self.sessions.is_empty() {
                tokio::select! {
                    _ = self.swarm.select_next_some() => {}
                    _ = self.sessions.join_next() => {}
                }
            }
        };
        if tokio::time::timeout(self.drain, all_gone).await.is_err() {
            tracing::info!(sessions = self.sessions.len(), "closing the remaining sessions");
        }
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        // Until they have heard of it; who does not finds out by itself.
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(CLOSING, closed).await;
        // What was acknowledged is durable already; this waits for requests that are being written.
        let _ = self.services.store.health.check().await;
        tracing::info!("stopped");
    }
}

/// The socket that operators ask over.
fn bind_admin(dir: &Path) -> io::Result<UnixListener> {
    let socket = dir.join("admin.sock");
    let _ = fs::remove_file(&socket);
    let admin = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
    Ok(admin)
}

/// STUN and TURN, if they are wanted and can be had.
async fn bind_relay(
    config: &Config,
    secret: [u8; 32],
    services: &Services,
) -> Result<Option<Box<TurnServer>>, StartError> {
    if !config.turn.enabled {
        return Ok(None);
    }
    // A warning was logged when that was tried before.
    Ok(bind_turn(config, secret, &services.metrics).await?.ok().map(Box::new))
}

/// Serves STUN and TURN; the sockets for it. `addresses` are those of the server, by which clients find it.
async fn serve_turn(
    relay: Box<TurnServer>,
    (config, secret): (&Config, [u8; 32]),
    addresses: &[Multiaddr],
    services: &Services,
    tasks: &mut JoinSet<()>,
) -> Result<Vec<SocketAddr>, StartError> {
    let sockets = relay.sockets();
    let asked_at = relay.addresses();
    let endpoint = TurnEndpoint {
        other_port: asked_at.first().and_then(|at| quic_port(addresses, at.ip())),
        addresses: asked_at,
        secret,
        hours: config.turn.credential_hours,
        revoked: relay.revoked(),
        streams: relay.streams(),
    };
    operator::revoke_banned(&services.store, &endpoint).await?;
    let _ = services.turn.set(endpoint);
    tasks.spawn(relay.run());
    Ok(sockets)
}

async fn sweep(services: Arc<Services>) {
    let mut interval = tokio::time::interval(EXPIRY_INTERVAL);
    let mut sweep = Sweep::default();
    if let Err(error) = Sweep::count(&services.store).await {
        tracing::error!(%error, "cannot count what is stored");
    }
    for round in 0_u64.. {
        interval.tick().await;
        services.rates.retain_recent();
        match sweep.expire(&services, now_ms() / 1000).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "expired"),
            Err(error) => tracing::error!(%error, "cannot delete expired entries"),
        }
        if round.is_multiple_of(CLAIMS_EVERY)
            && let Err(error) = sweep.repair_claims(&services).await
        {
            tracing::error!(%error, "cannot repair the directory");
        }
    }
}

/// The Ed25519 key inside a peer id.
fn device_key(peer: &PeerId) -> Option<Key> {
    let bytes = peer.to_bytes();
    bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20]).and_then(|key| key.try_into().ok())
}
