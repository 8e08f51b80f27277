//! Sockets for [`Turn`]: one task owns the state and the listening socket, and one task for each allocation reads from its socket. What comes to ports of
//! QUIC is read by its tasks.

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    net::UdpSocket,
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::TrySendError},
    },
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Action, AllocationId, Client, Moment, Opened, PortWish, Revoked, Setup, Token, Turn,
    listening::{Listening, canonical},
    quic_port::{FromQuicPort, QuicPorts},
    stream::{StreamTable, Streams},
};
use crate::{
    address::{RelayIps, is_of_this_link},
    config::Config,
    limits::{INTERFACES_INTERVAL, TURN_DATAGRAM, TURN_PORT_TRIES, TURN_QUEUE, TURN_QUEUE_PER_RELAY},
    services::operator::Metrics,
};

/// Short: it is sent to strangers.
const REALM: &str = "starling";
/// How often ended allocations are looked for.
const TICK: Duration = Duration::from_secs(1);
/// After an error of a socket, which is rare: one that stays does not take a processor.
const PAUSE: Duration = Duration::from_millis(10);

/// Why TURN cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} (UDP) for calls: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Peers need an address to send to.
    #[error("turn.public_ip has to be set: {0} says not where peers can send to")]
    NoPublicIp(SocketAddr),
}

/// A datagram of a peer.
struct FromPeer {
    allocation: AllocationId,
    from: SocketAddr,
    data: Vec<u8>,
    /// Its place in the queue.
    _place: OwnedSemaphorePermit,
}

struct Relay {
    socket: Arc<UdpSocket>,
    _reader: AbortOnDropHandle<()>,
}

/// All addresses of this host: those that are named, and those that its interfaces have now. Loopback and link-local ones are never relayed to anyway.
fn with_interfaces(named: &[IpAddr]) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list this host's addresses: TURN relays to those that are private and not configured");
        Vec::new()
    });
    let found = interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| !is_of_this_link(*ip));
    named.iter().copied().chain(found).collect()
}

/// A STUN and TURN server.
pub struct TurnServer {
    revoked: Revoked,
    /// Addresses of this host that the configuration names.
    named: Vec<IpAddr>,
    turn: Turn,
    listening: Listening,
    relay_ips: RelayIps,
    ports: RangeInclusive<u16>,
    relays: HashMap<AllocationId, Relay>,
    /// Sockets on ports that are kept for another allocation.
    kept: HashMap<Token, UdpSocket>,
    queue: mpsc::Sender<FromPeer>,
    arrived: mpsc::Receiver<FromPeer>,
    streams: StreamTable,
    quic_ports: QuicPorts,
    /// What comes to them.
    at_quic_ports: mpsc::Receiver<FromQuicPort>,
    allocations: Gauge,
    bytes: Counter,
    dropped: Counter,
}

impl TurnServer {
    /// Starts listening. The server works once [`TurnServer::run`] is polled.
    pub async fn bind(config: &Config, secret: [u8; 32], metrics: &Metrics) -> Result<Self, TurnError> {
        let settings = &config.turn;
        let (address, other) = config.turn_listen();
        let relay_ips = config.turn_relay_ips().ok_or(TurnError::NoPublicIp(address))?;
        let listening = Listening::bind(address, other).map_err(|error| TurnError::Listen { address, error })?;
        let revoked = Revoked::default();
        let (quic_ports, at_quic_ports) = QuicPorts::new();
        let named: Vec<IpAddr> = config.own_ips().chain(listening.addresses().map(|address| address.ip())).collect();
        let setup = Setup {
            realm: REALM.into(),
            secret,
            revoked: revoked.clone(),
            quic_clients: quic_ports.clients(),
            relay_ips,
            own: with_interfaces(&named),
            private_peers: settings.private_peers,
            local_peers: false,
            allocations: settings.allocations,
            per_user: settings.allocations_per_user,
            per_address: settings.allocations_per_address,
            bytes_per_second: settings.kilobytes_per_second * 1024,
        };
        let (queue, arrived) = mpsc::channel(TURN_QUEUE);
        Ok(Self {
            revoked,
            named,
            turn: Turn::new(setup, Moment::now().instant),
            listening,
            relay_ips,
            ports: settings.first_port..=settings.last_port,
            relays: HashMap::new(),
            kept: HashMap::new(),
            queue,
            arrived,
            streams: StreamTable::new(settings.allocations, settings.allocations_per_address),
            quic_ports,
            at_quic_ports,
            allocations: metrics.turn_allocations.clone(),
            bytes: metrics.turn_bytes.clone(),
            dropped: metrics.turn_dropped.clone(),
        })
    }

    /// Users who may not go on: whoever has a clone of it adds to them.
    pub fn revoked(&self) -> Revoked {
        self.revoked.clone()
    }

    /// Takes streams of clients whose networks let no datagrams through.
    pub fn streams(&self) -> Streams {
        self.streams.streams()
    }

    /// Shares the ports of QUIC with it, for clients whose networks let out no other.
    pub fn quic_ports(&self) -> QuicPorts {
        self.quic_ports.clone()
    }

    /// What it is bound to.
    pub fn sockets(&self) -> Vec<SocketAddr> {
        self.listening.addresses().collect()
    }

    /// Where clients ask, as seen from elsewhere: the first address that it listens on, and that of the other protocol if there is one.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listening = self.sockets();
        let at = |ip: IpAddr| {
            let own = listening.iter().find(|ours| ours.is_ipv4() == ip.is_ipv4());
            // Alone it takes what comes by either protocol, or stands behind something that does.
            let alone = listening.first().filter(|_| listening.len() == 1);
            own.or(alone).map(|ours| SocketAddr::new(ip, ours.port()))
        };
        self.relay_ips.all().filter_map(at).collect()
    }

    /// What the sockets of allocations with a relayed address are bound to.
    fn bind_ip(&self, relayed: IpAddr) -> IpAddr {
        let listening = self.listening.addresses().map(|address| address.ip());
        let mut named = listening.filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == relayed.is_ipv4());
        named.next().unwrap_or(match relayed {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
    }

    /// Serves until it is dropped.
    pub async fn run(mut self) {
        // One byte more than is taken: what is cut off is seen to be.
        let mut buffer = vec![0; TURN_DATAGRAM + 1];
        let mut out = Vec::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interfaces = interval(INTERFACES_INTERVAL);
        loop {
            tokio::select! {
                received = self.listening.recv_from(&mut buffer) => match received {
                    Ok((length, from)) if length <= TURN_DATAGRAM => {
                        let datagram = buffer.get(..length).unwrap_or_default();
                        self.turn.handle(Moment::now(), from.into(), datagram, &mut out);
                    }
                    Ok(_) => {}
                    Err(_) => sleep(PAUSE).await,
                },
                Some(datagram) = self.arrived.recv() => {
                    let FromPeer { allocation, from, data, .. } = datagram;
                    self.turn.relayed(Moment::now(), allocation, from, &data, &mut out);
                }
                Some((from, datagram)) = self.at_quic_ports.recv() => {
                    self.turn.handle(Moment::now(), Client::QuicPort(from), &datagram, &mut out);
                }
                Some(from_stream) = self.streams.recv() => self.streams.take(from_stream, &mut self.turn, &mut out),
                _ = interfaces.tick() => self.turn.set_own(with_interfaces(&self.named)),
                _ = tick.tick() => {
                    self.turn.expire(Moment::now().instant, &mut out);
                    self.streams.end_unused(&self.turn);
                    let counts = self.turn.take_counts();
                    self.allocations.set(self.turn.allocations() as i64);
                    self.bytes.inc_by(counts.bytes);
                    self.dropped.inc_by(counts.dropped);
                }
            }
            self.act(&mut out);
        }
    }

    /// Does what is to be done. What a socket has no room for is lost, as in any network.
    fn act(&mut self, out: &mut Vec<Action>) {
        while !out.is_empty() {
            for action in std::mem::take(out) {
                match action {
                    Action::Reply { to: Client::Datagram(to), data } => self.listening.reply(to, &data),
                    Action::Reply { to: Client::QuicPort(to), data } => self.quic_ports.reply(to, &data),
                    Action::Reply { to: stream, data } => self.streams.reply(stream, data),
                    Action::Relay { allocation, to, data } => {
                        if let Some(relay) = self.relays.get(&allocation) {
                            let _ = relay.socket.try_send_to(&data, to);
                        }
                    }
                    Action::Open(allocation, ip, wish) => {
                        let opened = self.open(allocation, ip, wish);
                        self.turn.opened(allocation, opened, out);
                    }
                    Action::Release(token) => {
                        self.kept.remove(&token);
                    }
                    Action::Close(allocation) => {
                        self.relays.remove(&allocation);
                    }
                }
            }
        }
    }

    /// Opens a socket for an allocation.
    fn open(&mut self, allocation: AllocationId, ip: IpAddr, wish: PortWish) -> Option<Opened> {
        let (socket, opened) = match wish {
            PortWish::Kept(token) => {
                let socket = self.kept.remove(&token)?;
                let port = socket.local_addr().ok()?.port();
                (socket, Opened { port, kept: None })
            }
            _ => self.bind_new(self.bind_ip(ip), wish)?,
        };
        let socket = Arc::new(socket);
        let reader = tokio::spawn(read(socket.clone(), allocation, self.queue.clone()));
        self.relays.insert(allocation, Relay { socket, _reader: AbortOnDropHandle::new(reader) });
        Some(opened)
    }

    /// A socket on a port that cannot be foreseen, and perhaps one on the port after it, which is kept.
    fn bind_new(&mut self, ip: IpAddr, wish: PortWish) -> Option<(UdpSocket, Opened)> {
        for _ in 0..TURN_PORT_TRIES {
            let port = rand::random_range(self.ports.clone());
            let even = if wish == PortWish::Any { port } else { port & !1 };
            if !self.ports.contains(&even) {
                continue;
            }
            let (socket, port) = match bind(SocketAddr::new(ip, even)) {
                Ok(bound) => bound,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot open a socket for a call");
                    return None;
                }
            };
            // Where the system chooses, it may be an odd one.
            let fits = wish == PortWish::Any || port.is_multiple_of(2);
            match wish {
                PortWish::Pair if fits && (even == 0 || self.ports.contains(&(port + 1))) => {
                    if let Ok((next, _)) = bind(SocketAddr::new(ip, port + 1)) {
                        let token = rand::random();
                        self.kept.insert(token, next);
                        return Some((socket, Opened { port, kept: Some(token) }));
                    }
                }
                PortWish::Any | PortWish::Even if fits => return Some((socket, Opened { port, kept: None })),
                _ => {}
            }
        }
        None
    }
}

fn bind(address: SocketAddr) -> io::Result<(UdpSocket, u16)> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let port = socket.local_addr()?.port();
    Ok((UdpSocket::from_std(socket)?, port))
}

async fn read(socket: Arc<UdpSocket>, allocation: AllocationId, queue: mpsc::Sender<FromPeer>) {
    let places = Arc::new(Semaphore::new(TURN_QUEUE_PER_RELAY));
    let mut buffer = vec![0; TURN_DATAGRAM + 1];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        if length > TURN_DATAGRAM {
            continue;
        }
        let data = buffer.get(..length).unwrap_or_default().to_vec();
        let datagram = FromPeer { allocation, from: canonical(from), data, _place: place };
        if let Err(TrySendError::Closed(_)) = queue.try_send(datagram) {
            return;
        }
    }
}
