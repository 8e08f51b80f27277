//! What connections get of the system: sockets, which repeat handshakes and perhaps have a bad network below them, and the addresses of servers.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime,
};

use super::{
    handshake::HandshakeSocket,
    link::Link,
    other_port::{OtherPortSocket, OtherPorts},
    peer::{IceServer, PeerConfig},
    translator::Translator,
    tunnel::{Shared, Tunnel, TunnelSocket, Tunnels},
};

/// Everything of a connection waits while a server's name is looked up. After this time it goes on with what the name was before, or without it.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Addresses that are nobody's (RFC 5737), for servers that nothing but a tunnel leads to.
const STAND_INS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0);

/// The runtime of one connection.
#[derive(Debug)]
pub(super) struct MediaRuntime {
    inner: TokioRuntime,
    link: Option<Link>,
    tunnel_only: bool,
    translator: Option<Translator>,
    servers: Arc<Servers>,
}

impl MediaRuntime {
    /// Sockets send through the link, if there is one, and reach those servers that have one through their tunnels.
    pub fn new(config: &PeerConfig) -> Self {
        let of_server = |server: &IceServer| {
            let tunnel = server.tunnel.clone()?;
            Some((places(server), tunnel))
        };
        let tunnels = config.servers.iter().filter_map(of_server).collect();
        let with_other_port = |server: &IceServer| Some((places(server), server.other_port?));
        let other_ports = config.servers.iter().filter_map(with_other_port).collect();
        Self {
            inner: TokioRuntime,
            link: config.link.clone(),
            tunnel_only: config.tunnel_only,
            translator: config.translator.clone(),
            servers: Arc::new(Servers { tunnels, other_ports, ..Servers::default() }),
        }
    }

    /// Where a server at an address is reached: there, and where the network's translator has it.
    async fn reached_at(&self, host: &str, address: SocketAddr) -> Vec<SocketAddr> {
        let (SocketAddr::V4(server), Some(translator)) = (address, &self.translator) else { return vec![address] };
        let translated = tokio::time::timeout(LOOK_UP, translator.translate(server)).await.unwrap_or_default();
        let found = [vec![address], translated].concat();
        // By this its tunnel is found.
        self.servers.known().insert(host.to_owned(), found.clone());
        found
    }

    /// The socket of a connection that has nothing but tunnels. The one that the library has bound is closed.
    fn without_datagrams(&self, bound: &std::net::UdpSocket) -> io::Result<Arc<TunnelSocket>> {
        Ok(TunnelSocket::without_datagrams(bound.local_addr()?, self.servers.clone()))
    }
}

/// The servers of a connection, which has few of them.
#[derive(Debug, Default)]
struct Servers {
    /// Where they were when they were looked up last.
    known: Mutex<HashMap<String, Vec<SocketAddr>>>,
    /// Ways to those at these places.
    tunnels: Vec<(Vec<String>, Tunnel)>,
    /// Ports at which those at these places answer, too.
    other_ports: Vec<(Vec<String>, u16)>,
    /// The sockets that may use them.
    sockets: Mutex<Vec<Weak<Shared>>>,
}

impl Servers {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Vec<SocketAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a server is at one of these places.
    fn is_at_one_of(&self, places: &[String], server: SocketAddr) -> bool {
        let known = self.known();
        places.iter().any(|place| {
            literal(place) == Some(server) || known.get(place).is_some_and(|found| found.contains(&server))
        })
    }

    /// Lets a socket use them.
    fn serve(&self, socket: &TunnelSocket) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(socket.shared());
    }

    /// An address that stands for a server that nothing but its tunnel leads to, the same for all its places: so there is one question for it, and no
    /// name is looked up.
    fn stand_in(&self, host: &str) -> Option<SocketAddr> {
        let is_host = |place: &String| place == host || literal(host).is_some_and(|here| literal(place) == Some(here));
        let index = self.tunnels.iter().position(|(places, _)| places.iter().any(is_host))?;
        let [a, b, c, _] = STAND_INS.octets();
        let address = SocketAddr::from(([a, b, c, u8::try_from(index + 1).ok()?], 3478));
        let (places, _) = self.tunnels.get(index)?;
        self.known().extend(places.iter().map(|place| (place.clone(), vec![address])));
        Some(address)
    }
}

impl Tunnels for Servers {
    fn to(&self, server: SocketAddr) -> Option<Tunnel> {
        let found = self.tunnels.iter().find(|(places, _)| self.is_at_one_of(places, server));
        found.map(|(_, tunnel)| tunnel.clone())
    }

    fn take(&self, server: SocketAddr, socket: &Arc<Shared>) -> bool {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let tunnel = self.to(server);
        let is_same = |address| self.to(address) == tunnel;
        let mut others = sockets.iter().filter_map(Weak::upgrade).filter(|other| !Arc::ptr_eq(other, socket));
        !others.any(|other| other.reaches(server, is_same))
    }
}

impl OtherPorts for Servers {
    fn of(&self, mut server: SocketAddr) -> Option<SocketAddr> {
        let (_, port) = self.other_ports.iter().find(|(places, _)| self.is_at_one_of(places, server))?;
        let is_another = server.port() != *port;
        server.set_port(*port);
        is_another.then_some(server)
    }
}

/// The places of a server.
fn places(server: &IceServer) -> Vec<String> {
    server.urls.iter().filter_map(|url| place(url)).collect()
}

/// The host and port of a server's URL (RFC 7064, RFC 7065), as they are looked up.
fn place(url: &str) -> Option<String> {
    let place = url.split_once(':')?.1.split('?').next()?;
    let has_port = place.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    Some(if has_port { place.to_owned() } else { format!("{place}:3478") })
}

impl Runtime for MediaRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.inner.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if self.tunnel_only {
            let socket = self.without_datagrams(&socket)?;
            self.servers.serve(&socket);
            return Ok(HandshakeSocket::wrap(socket));
        }
        let socket = self.inner.wrap_udp_socket(socket)?;
        let socket = match &self.link {
            Some(link) => link.wrap(socket),
            None => socket,
        };
        let socket: Arc<dyn AsyncUdpSocket> = match self.servers.other_ports.is_empty() {
            true => socket,
            false => OtherPortSocket::wrap(socket, self.servers.clone()),
        };
        Ok(HandshakeSocket::wrap(match self.servers.tunnels.is_empty() {
            true => socket,
            false => {
                let socket = TunnelSocket::wrap(socket, self.servers.clone());
                self.servers.serve(&socket);
                socket
            }
        }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.inner.wrap_tcp_listener(listener)
    }

    /// Never: media go over UDP, and over streams that are not the library's. It would connect to whatever address the other end names, past relays
    /// and proxies.
    fn connect_tcp<'a>(
        &'a self,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        Box::pin(async move { Err(io::Error::from(io::ErrorKind::Unsupported)) })
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            if self.tunnel_only {
                let stand_in = self.servers.stand_in(host);
                return stand_in.map(|address| vec![address]).ok_or_else(|| io::ErrorKind::NotFound.into());
            }
            let known = || self.servers.known().get(host).cloned();
            if let Some(address) = literal(host) {
                return Ok(self.reached_at(host, address).await);
            }
            match tokio::time::timeout(LOOK_UP, self.inner.resolve_host(host)).await {
                Ok(Ok(found)) => {
                    self.servers.known().insert(host.to_owned(), found.clone());
                    Ok(found)
                }
                Ok(Err(error)) => known().ok_or(error),
                Err(_) => known().ok_or_else(|| io::ErrorKind::TimedOut.into()),
            }
        })
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.inner.sleep(time)
    }

    fn interval(&self, time: Duration) -> Box<dyn AsyncInterval> {
        self.inner.interval(time)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.inner.block_on(future);
    }
}

/// An IP address and a port. `webrtc` forgets the brackets around an IPv6 address in the URL of a TURN server.
fn literal(host: &str) -> Option<SocketAddr> {
    host.parse().ok().or_else(|| {
        let (ip, port) = host.rsplit_once(':')?;
        Some(SocketAddr::new(IpAddr::V6(ip.parse().ok()?), port.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    #[test]
    fn addresses_of_servers_are_read_with_and_without_brackets() {
        for (text, expected) in [
            ("192.0.2.1:3478", "192.0.2.1:3478"),
            ("[2001:db8::2]:3478", "[2001:db8::2]:3478"),
            ("2001:db8::2:3478", "[2001:db8::2]:3478"),
        ] {
            assert_eq!(literal(text), Some(expected.parse().unwrap()), "{text}");
        }
        for name in ["localhost:3478", "turn.example:1", "192.0.2.1", ""] {
            assert_eq!(literal(name), None, "{name}");
        }
    }

    #[test]
    fn the_place_of_a_server_is_that_which_is_looked_up() {
        for (url, expected) in [
            ("turn:192.0.2.1:3479", "192.0.2.1:3479"),
            ("turn:192.0.2.1:3479?transport=udp", "192.0.2.1:3479"),
            ("turn:[2001:db8::2]:3479", "[2001:db8::2]:3479"),
            ("turn:[2001:db8::2]", "[2001:db8::2]:3478"),
            ("turn:turn.example", "turn.example:3478"),
        ] {
            assert_eq!(place(url).as_deref(), Some(expected), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_any_more_is_where_it_was() {
        let runtime = MediaRuntime::new(&PeerConfig::default());
        let found = runtime.resolve_host("localhost:7").await.unwrap();
        assert!(!found.is_empty());
        runtime.servers.known().insert("nowhere.invalid:7".into(), found.clone());
        assert_eq!(runtime.resolve_host("nowhere.invalid:7").await.unwrap(), found);
        runtime.resolve_host("never.invalid:7").await.unwrap_err();
    }

    /// They were translated when the call began alone: one that moved to a network with IPv6 alone lost its relay.
    #[tokio::test]
    async fn a_server_with_an_ipv4_address_is_also_where_the_translator_of_the_moment_has_it() {
        let tunnel = Tunnel::new(|| Box::pin(async { None }));
        let server = IceServer {
            urls: vec!["turn:192.0.2.7:3478".into()],
            username: "user".into(),
            credential: "word".into(),
            other_port: None,
            tunnel: Some(tunnel.clone()),
        };
        let ipv6_alone = Arc::new(AtomicBool::new(false));
        let asked = ipv6_alone.clone();
        let translator = Translator::new(move |server| {
            let translated = SocketAddr::new(server.ip().to_ipv6_mapped().into(), server.port());
            let found: Vec<SocketAddr> = asked.load(Relaxed).then_some(translated).into_iter().collect();
            Box::pin(async move { found })
        });
        let config = PeerConfig { servers: vec![server], translator: Some(translator), ..PeerConfig::default() };
        let runtime = MediaRuntime::new(&config);
        let [v4, v6]: [SocketAddr; 2] = ["192.0.2.7:3478", "[::ffff:192.0.2.7]:3478"].map(|text| text.parse().unwrap());
        assert_eq!(runtime.resolve_host("192.0.2.7:3478").await.unwrap(), [v4]);
        ipv6_alone.store(true, Relaxed);
        assert_eq!(runtime.resolve_host("192.0.2.7:3478").await.unwrap(), [v4, v6]);
        assert_eq!(runtime.servers.to(v6), Some(tunnel));
    }

    #[tokio::test]
    async fn the_other_port_of_a_server_is_one_of_the_same_host() {
        let server = |url: &str, other_port| IceServer {
            urls: vec![url.to_owned()],
            username: "user".into(),
            credential: "word".into(),
            other_port,
            tunnel: None,
        };
        let servers = vec![
            server("turn:192.0.2.1:3478?transport=udp", Some(4001)),
            server("turn:[2001:db8::2]:3479", Some(4002)),
            server("turn:192.0.2.3", None),
        ];
        let runtime = MediaRuntime::new(&PeerConfig { servers, ..PeerConfig::default() });
        for (server, other) in [
            ("192.0.2.1:3478", Some("192.0.2.1:4001")),
            ("[2001:db8::2]:3479", Some("[2001:db8::2]:4002")),
            ("192.0.2.1:3479", None),
            ("192.0.2.3:3478", None),
        ] {
            let found = OtherPorts::of(&*runtime.servers, server.parse().unwrap());
            assert_eq!(found, other.map(|other| other.parse().unwrap()), "{server}");
        }
    }

    #[tokio::test]
    async fn no_connection_over_tcp_is_made_to_an_address_that_the_other_end_names() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        for tunnel_only in [false, true] {
            let runtime = MediaRuntime::new(&PeerConfig { tunnel_only, ..PeerConfig::default() });
            runtime.connect_tcp(listener.local_addr().unwrap()).await.unwrap_err();
        }
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn where_there_are_tunnels_alone_no_socket_stays_open_and_no_name_is_looked_up() {
        let server = |urls: &[&str]| IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: "user".into(),
            credential: "word".into(),
            other_port: None,
            tunnel: Some(Tunnel::new(|| Box::pin(async { None }))),
        };
        let servers = vec![
            server(&["stun:turn.invalid:3478", "turn:turn.invalid:3478", "turn:[2001:db8::2]:3479"]),
            server(&["turn:localhost:1"]),
        ];
        let runtime = MediaRuntime::new(&PeerConfig { servers, tunnel_only: true, ..PeerConfig::default() });
        let first: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        for place in ["turn.invalid:3478", "2001:db8::2:3479", "[2001:db8::2]:3479"] {
            assert_eq!(runtime.resolve_host(place).await.unwrap(), [first], "{place}");
        }
        let second = runtime.resolve_host("localhost:1").await.unwrap()[0];
        assert_eq!(runtime.servers.to(first).as_ref(), runtime.servers.tunnels.first().map(|(_, tunnel)| tunnel));
        assert!(second != first && runtime.servers.to(second).is_some());
        runtime.resolve_host("localhost:2").await.unwrap_err();
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = bound.local_addr().unwrap();
        let socket = runtime.wrap_udp_socket(bound).unwrap();
        assert_eq!(socket.local_addr().unwrap(), local);
        std::net::UdpSocket::bind(local).unwrap();
    }
}
