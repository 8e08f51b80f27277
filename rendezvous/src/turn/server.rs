//! Sockets for [`Turn`]: one task owns the state and the listening socket, and one task for each allocation reads from its socket.

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

use super::{Action, AllocationId, Moment, Setup, Turn};
use crate::{
    config::Config,
    limits::{TURN_DATAGRAM, TURN_PORT_TRIES, TURN_QUEUE, TURN_QUEUE_PER_RELAY},
    network::is_private,
    operator::Metrics,
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

/// A STUN and TURN server.
pub struct TurnServer {
    turn: Turn,
    socket: UdpSocket,
    address: SocketAddr,
    relay_ip: IpAddr,
    /// What the sockets of allocations are bound to.
    bind_ip: IpAddr,
    ports: RangeInclusive<u16>,
    relays: HashMap<AllocationId, Relay>,
    queue: mpsc::Sender<FromPeer>,
    arrived: mpsc::Receiver<FromPeer>,
    allocations: Gauge,
    bytes: Counter,
    dropped: Counter,
}

impl TurnServer {
    /// Starts listening. The server works once [`TurnServer::run`] is polled.
    pub async fn bind(config: &Config, secret: [u8; 32], metrics: &Metrics) -> Result<Self, TurnError> {
        let settings = &config.turn;
        let address = config.turn_listen();
        let listen = |error| TurnError::Listen { address, error };
        let relay_ip = relay_ip(config).ok_or(TurnError::NoPublicIp(address))?;
        let socket = UdpSocket::bind(address).await.map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let bind_ip = match relay_ip {
            _ if !address.ip().is_unspecified() && address.is_ipv4() == relay_ip.is_ipv4() => address.ip(),
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let own = config.listen.iter().chain(&config.public_addresses).filter_map(|a| a.ip_addr());
        let setup = Setup {
            realm: REALM.into(),
            secret,
            relay_ip,
            own: own.chain([address.ip()]).collect(),
            // A server with a private address serves a private network.
            private_peers: settings.private_peers || is_private(relay_ip),
            allocations: settings.allocations,
            per_user: settings.allocations_per_user,
            per_address: settings.allocations_per_address,
            bytes_per_second: settings.kilobytes_per_second * 1024,
        };
        let (queue, arrived) = mpsc::channel(TURN_QUEUE);
        Ok(Self {
            turn: Turn::new(setup, Moment::now().instant),
            socket,
            address,
            relay_ip,
            bind_ip,
            ports: settings.first_port..=settings.last_port,
            relays: HashMap::new(),
            queue,
            arrived,
            allocations: metrics.turn_allocations.clone(),
            bytes: metrics.turn_bytes.clone(),
            dropped: metrics.turn_dropped.clone(),
        })
    }

    /// Where clients ask, as seen from elsewhere.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.relay_ip, self.address.port())
    }

    /// Serves until it is dropped.
    pub async fn run(mut self) {
        // One byte more than is taken: what is cut off is seen to be.
        let mut buffer = vec![0; TURN_DATAGRAM + 1];
        let mut out = Vec::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) if length <= TURN_DATAGRAM => {
                        let datagram = buffer.get(..length).unwrap_or_default();
                        self.turn.handle(Moment::now(), canonical(from), datagram, &mut out);
                    }
                    Ok(_) => {}
                    Err(_) => sleep(PAUSE).await,
                },
                Some(datagram) = self.arrived.recv() => {
                    let FromPeer { allocation, from, data, .. } = datagram;
                    self.turn.relayed(Moment::now(), allocation, from, &data, &mut out);
                }
                _ = tick.tick() => {
                    self.turn.expire(Moment::now().instant, &mut out);
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
                    Action::Reply { to, data } => {
                        let _ = self.socket.try_send_to(&data, self.as_listening(to));
                    }
                    Action::Relay { allocation, to, data } => {
                        if let Some(relay) = self.relays.get(&allocation) {
                            let _ = relay.socket.try_send_to(&data, to);
                        }
                    }
                    Action::Open(allocation) => {
                        let port = self.open(allocation);
                        self.turn.opened(allocation, port, out);
                    }
                    Action::Close(allocation) => {
                        self.relays.remove(&allocation);
                    }
                }
            }
        }
    }

    /// Opens a socket on a port that cannot be foreseen.
    fn open(&mut self, allocation: AllocationId) -> Option<u16> {
        for _ in 0..TURN_PORT_TRIES {
            let port = rand::random_range(self.ports.clone());
            match bind(SocketAddr::new(self.bind_ip, port)) {
                Ok((socket, port)) => {
                    let socket = Arc::new(socket);
                    let reader = tokio::spawn(read(socket.clone(), allocation, self.queue.clone()));
                    self.relays.insert(allocation, Relay { socket, _reader: AbortOnDropHandle::new(reader) });
                    return Some(port);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot open a socket for a call");
                    return None;
                }
            }
        }
        None
    }

    /// An IPv6 socket sends to IPv4 addresses in their mapped form.
    fn as_listening(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.address.is_ipv6() => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        }
    }
}

/// The address that peers send to.
fn relay_ip(config: &Config) -> Option<IpAddr> {
    let listen = config.turn_listen().ip();
    let any_family = listen.is_ipv6() && listen.is_unspecified();
    let mut public = config.public_addresses.iter().filter_map(|a| a.ip_addr());
    let named = config.turn.public_ip.parse::<IpAddr>().ok();
    named
        .or_else(|| public.find(|ip| any_family || ip.is_ipv4() == listen.is_ipv4()))
        .or_else(|| (!listen.is_unspecified()).then_some(listen))
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

/// IPv4 addresses as such, also if they come through an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Instant;

    use bytes::BytesMut;
    use rtc::{
        sansio::Protocol,
        shared::{TaggedBytesMut, TransportContext, TransportProtocol},
        turn::client::{Client, ClientConfig, Event},
    };
    use tokio::time::timeout;

    use super::*;
    use crate::{config, hub::now_ms, turn::credentials};

    /// webrtc's client, on a socket.
    struct User {
        socket: UdpSocket,
        client: Client,
    }

    impl User {
        async fn flush(&mut self) {
            while let Some(datagram) = self.client.poll_write() {
                self.socket.send_to(&datagram.message, datagram.transport.peer_addr).await.unwrap();
            }
        }

        /// The next event; what is to be sent is sent, and repeated in time.
        async fn event(&mut self) -> Event {
            let mut buffer = vec![0; 4096];
            for _ in 0..200 {
                self.flush().await;
                if let Some(event) = self.client.poll_event() {
                    return event;
                }
                let wait = Duration::from_millis(50);
                if let Ok(Ok((length, from))) = timeout(wait, self.socket.recv_from(&mut buffer)).await {
                    let transport = TransportContext {
                        local_addr: self.socket.local_addr().unwrap(),
                        peer_addr: from,
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    };
                    let message = BytesMut::from(&buffer[..length]);
                    self.client.handle_read(TaggedBytesMut { now: Instant::now(), transport, message }).unwrap();
                } else {
                    self.client.handle_timeout(Instant::now()).unwrap();
                }
            }
            unreachable!("no event within ten seconds")
        }
    }

    #[tokio::test]
    async fn webrtc_talks_to_a_peer_over_sockets() {
        let turn = config::Turn {
            enabled: true,
            listen: "127.0.0.1:0".into(),
            first_port: 0,
            last_port: 0,
            private_peers: true,
            ..config::Turn::default()
        };
        let config = Config { turn, ..Config::default() };
        let server = TurnServer::bind(&config, [7; 32], &Metrics::new()).await.unwrap();
        let address = server.address();
        let serving = tokio::spawn(server.run());

        let credentials = credentials(&[7; 32], now_ms() / 1000 + 60, "anna").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let config = ClientConfig {
            turn_serv_addr: address.to_string(),
            local_addr: socket.local_addr().unwrap(),
            username: credentials.username,
            password: credentials.password,
            ..ClientConfig::default()
        };
        let client = Client::new(config, rtc::crypto::default_provider().unwrap()).unwrap();
        let mut user = User { socket, client };
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer_address = peer.local_addr().unwrap();

        user.client.allocate(Instant::now()).unwrap();
        let Event::AllocateResponse(_, relayed) = user.event().await else { unreachable!("not allocated") };
        user.client.relay(relayed).unwrap().create_permission(Instant::now(), peer_address).unwrap();
        assert!(
            matches!(user.event().await, Event::CreatePermissionResponse(_, permitted) if permitted == peer_address)
        );

        let mut buffer = [0; 64];
        // The first goes in a Send indication, and a channel is bound; the later ones go through it.
        for text in [b"one", b"two"] {
            user.client.relay(relayed).unwrap().send_to(Instant::now(), text, peer_address).unwrap();
            user.flush().await;
            let (length, from) = timeout(Duration::from_secs(5), peer.recv_from(&mut buffer)).await.unwrap().unwrap();
            assert_eq!((&buffer[..length], from), (text.as_slice(), relayed));
            peer.send_to(b"back", relayed).await.unwrap();
            let Event::DataIndicationOrChannelData(_, from, data) = user.event().await else { unreachable!("no data") };
            assert_eq!((from, data.as_ref()), (peer_address, b"back".as_slice()));
        }
        serving.abort();
    }

    #[tokio::test]
    async fn a_wildcard_needs_a_public_address() {
        let turn = config::Turn { enabled: true, ..config::Turn::default() };
        let config = Config { turn, ..Config::default() };
        let bound = TurnServer::bind(&config, [7; 32], &Metrics::new()).await;
        assert!(matches!(bound, Err(TurnError::NoPublicIp(_))));
    }
}
