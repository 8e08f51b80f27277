//! Where a rendezvous server is: host, transport, port and peer key, as `starling-server:HOST/PEER`, as a multiaddr, or in a compact form for invites.
//! Its place alone is not enough to connect to it: whoever answers there has to be asked for the key first.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use multiaddr::{Multiaddr, PeerId, Protocol};

/// Longest text that is read as an address, in bytes: a DNS name has up to 253.
const MAX_WRITTEN: usize = 1024;

/// What a short address begins with.
const SCHEME: &str = "starling-server:";
/// The port of a short address that names none.
const DEFAULT_PORT: u16 = 4001;
/// The port that networks let out which let out little else.
const WEB_PORT: u16 = 443;

/// Why a rendezvous address was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EndpointError {
    /// Neither a short address nor a multiaddr.
    #[error(
        "not an address: expected a form like starling-server:rendezvous.example/12D3Koo… or /ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3Koo…"
    )]
    Syntax,
    /// No key at the end.
    #[error("the address does not say whose it is: it must end in /PEER, or /p2p/PEER, as the server prints it")]
    NoPeer,
    /// The peer is not an Ed25519 key.
    #[error("the peer in the address is not an Ed25519 key")]
    Peer,
    /// A transport that Starling does not use.
    #[error("the transport of the address is not one of udp/…/quic-v1, tcp, tcp/…/ws, tcp/…/wss")]
    Transport,
}

/// A host name or number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A DNS name, at most 253 bytes.
    Dns(String),
}

/// How to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// QUIC v1 over UDP.
    Quic,
    /// TCP with Noise and Yamux.
    Tcp,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// QUIC over UDP and TCP at one port, and WebSocket over TLS at port 443 of the same host: what the network lets through.
    Any,
}

/// One address of one rendezvous server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RendezvousAddr {
    /// The server's Ed25519 public key.
    pub peer: [u8; 32],
    /// Where it is.
    pub host: Host,
    /// UDP or TCP port.
    pub port: u16,
    /// How to connect.
    pub transport: Transport,
}

/// Host and port of a server whose key is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPlace {
    /// Where it is.
    pub host: Host,
    /// UDP and TCP port.
    pub port: u16,
}

impl ServerPlace {
    /// The short address of the server with a key.
    pub fn with_key(self, peer: [u8; 32]) -> RendezvousAddr {
        RendezvousAddr { peer, host: self.host, port: self.port, transport: Transport::Any }
    }

    /// Whether a server is at this place.
    pub fn is_of(&self, address: &RendezvousAddr) -> bool {
        let is_host = match (&self.host, &address.host) {
            // However it is written: who is known is not asked again.
            (Host::Dns(name), Host::Dns(known)) => {
                name.trim_end_matches('.').eq_ignore_ascii_case(known.trim_end_matches('.'))
            }
            (host, known) => host == known,
        };
        is_host && (self.port == address.port || address.port == WEB_PORT)
    }

    /// The ways to whoever is there: QUIC and TCP, which say nothing of who that is.
    pub fn ways(&self) -> [Multiaddr; 2] {
        [way(&self.host, self.port, Transport::Quic), way(&self.host, self.port, Transport::Tcp)]
    }

    /// WebSocket over TLS, whose certificate may say that whoever is there has the name.
    pub fn web(&self) -> Multiaddr {
        way(&self.host, WEB_PORT, Transport::Wss)
    }
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V4(ip) => write!(f, "{ip}")?,
            Host::V6(ip) => write!(f, "[{ip}]")?,
            Host::Dns(name) => write!(f, "{name}")?,
        }
        if self.port != DEFAULT_PORT {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl FromStr for ServerPlace {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = as_pasted(text);
        let (host, port) = host_and_port(after_scheme(&text).trim_end_matches('/')).ok_or(EndpointError::Syntax)?;
        Ok(Self { host, port })
    }
}

/// How to get to a host by a transport, whoever is there.
fn way(host: &Host, port: u16, transport: Transport) -> Multiaddr {
    let mut addr = Multiaddr::empty();
    match host {
        Host::V4(ip) => addr.push(Protocol::Ip4(*ip)),
        Host::V6(ip) => addr.push(Protocol::Ip6(*ip)),
        Host::Dns(name) => addr.push(Protocol::Dns(name.clone().into())),
    }
    match transport {
        Transport::Quic | Transport::Any => {
            addr.push(Protocol::Udp(port));
            addr.push(Protocol::QuicV1);
        }
        Transport::Tcp => addr.push(Protocol::Tcp(port)),
        Transport::Ws => {
            addr.push(Protocol::Tcp(port));
            addr.push(Protocol::Ws("/".into()));
        }
        Transport::Wss => {
            addr.push(Protocol::Tcp(port));
            addr.push(Protocol::Wss("/".into()));
        }
    }
    addr
}

/// The protobuf header of an Ed25519 public key inside an identity multihash (libp2p peer ids spec).
const PEER_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl RendezvousAddr {
    /// The server's libp2p peer id.
    pub fn peer_id(&self) -> PeerId {
        let bytes = [&PEER_PREFIX[..], &self.peer].concat();
        match PeerId::from_bytes(&bytes) {
            Ok(peer) => peer,
            Err(_) => unreachable!("an identity multihash of 36 bytes is a peer id"),
        }
    }

    /// The ways to it that are tried first, the best before the others, each as a multiaddr that ends in `/p2p/PEER`. There is at least one.
    pub fn multiaddrs(&self) -> Vec<Multiaddr> {
        match self.transport {
            Transport::Any => vec![self.over(Transport::Quic), self.over(Transport::Tcp)],
            transport => vec![self.over(transport)],
        }
    }

    /// The way to try where those are blocked: WebSocket over TLS at port 443. Of an address that stands for all ways alone.
    pub fn last_resort(&self) -> Option<Multiaddr> {
        let web = || Self { port: WEB_PORT, ..self.clone() }.over(Transport::Wss);
        (self.transport == Transport::Any).then(web)
    }

    /// The addresses that stand for two of several ways each: QUIC and TCP at the same place and port.
    pub fn shortened(ways: &[Self]) -> Vec<Self> {
        let over = |way: &Self, transport| Self { transport, ..way.clone() };
        let both = |way: &&Self| way.transport == Transport::Quic && ways.contains(&over(way, Transport::Tcp));
        ways.iter().filter(both).map(|way| over(way, Transport::Any)).collect()
    }

    fn over(&self, transport: Transport) -> Multiaddr {
        way(&self.host, self.port, transport).with(Protocol::P2p(self.peer_id()))
    }

    /// The compact form used in invites: kind, host, port, key; 39 bytes for an IPv4 address.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let host = match self.host {
            Host::V4(_) => 0,
            Host::V6(_) => 1,
            Host::Dns(_) => 2,
        };
        let transport = match self.transport {
            Transport::Quic => 0,
            Transport::Tcp => 1,
            Transport::Ws => 2,
            Transport::Wss => 3,
            Transport::Any => 4,
        };
        out.push(host | transport << 4);
        match &self.host {
            Host::V4(ip) => out.extend(ip.octets()),
            Host::V6(ip) => out.extend(ip.octets()),
            Host::Dns(name) => {
                let name = &name.as_bytes()[..name.len().min(253)];
                out.push(name.len() as u8);
                out.extend(name);
            }
        }
        out.extend(self.port.to_be_bytes());
        out.extend(self.peer);
    }

    /// Reads the compact form from the front of `bytes`.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
            let (head, tail) = bytes.split_at_checked(n)?;
            *bytes = tail;
            Some(head)
        }
        let kind = take(bytes, 1)?[0];
        let host = match kind & 0x0f {
            0 => Host::V4(Ipv4Addr::from(<[u8; 4]>::try_from(take(bytes, 4)?).ok()?)),
            1 => Host::V6(Ipv6Addr::from(<[u8; 16]>::try_from(take(bytes, 16)?).ok()?)),
            2 => {
                let len = usize::from(take(bytes, 1)?[0]);
                Host::Dns(dns_name(std::str::from_utf8(take(bytes, len)?).ok()?)?)
            }
            _ => return None,
        };
        let transport = match kind >> 4 {
            0 => Transport::Quic,
            1 => Transport::Tcp,
            2 => Transport::Ws,
            3 => Transport::Wss,
            4 => Transport::Any,
            _ => return None,
        };
        let port = u16::from_be_bytes(take(bytes, 2)?.try_into().ok()?);
        let peer = take(bytes, 32)?.try_into().ok()?;
        Some(Self { peer, host, port, transport })
    }
}

/// A DNS name with nothing in it that a multiaddr or a terminal would take for something else.
fn dns_name(name: &str) -> Option<String> {
    let ok = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_');
    ok.then(|| name.to_owned())
}

impl fmt::Display for RendezvousAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transport != Transport::Any {
            return self.over(self.transport).fmt(f);
        }
        let place = ServerPlace { host: self.host.clone(), port: self.port };
        write!(f, "{SCHEME}{place}/{}", self.peer_id())
    }
}

impl FromStr for RendezvousAddr {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = as_pasted(text);
        if !text.starts_with('/') {
            return short(&text);
        }
        let addr: Multiaddr = text.parse().map_err(|_| EndpointError::Syntax)?;
        Self::try_from(&addr)
    }
}

/// Without what comes along when an address is pasted.
fn as_pasted(text: &str) -> String {
    starling_text::unquoted(starling_text::shortened(text, MAX_WRITTEN)).replace(' ', "")
}

/// Without the scheme, if it is there.
fn after_scheme(text: &str) -> &str {
    let is_scheme = text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    let text = if is_scheme { &text[SCHEME.len()..] } else { text };
    text.strip_prefix("//").unwrap_or(text)
}

/// `HOST/PEER` or `HOST:PORT/PEER`, with the scheme or without.
fn short(text: &str) -> Result<RendezvousAddr, EndpointError> {
    let text = after_scheme(text);
    let (place, peer) = match text.split_once('/') {
        Some((place, peer)) if !peer.is_empty() => (place, peer),
        _ if host_and_port(text.trim_end_matches('/')).is_some() => return Err(EndpointError::NoPeer),
        _ => return Err(EndpointError::Syntax),
    };
    let (host, port) = host_and_port(place).filter(|_| !peer.contains('/')).ok_or(EndpointError::Syntax)?;
    let peer = key_of(&peer.parse().map_err(|_| EndpointError::Peer)?).ok_or(EndpointError::Peer)?;
    Ok(RendezvousAddr { peer, host, port, transport: Transport::Any })
}

/// An IPv6 address with a port is in brackets, as in a URL. The first of them may be gone with what stood around a pasted address.
fn host_and_port(place: &str) -> Option<(Host, u16)> {
    let is_open = place.contains(']') && !place.starts_with('[');
    let place = &if is_open { format!("[{place}") } else { place.to_owned() };
    let of_ip = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => Host::V4(ip),
        IpAddr::V6(ip) => Host::V6(ip),
    };
    if let Ok(address) = place.parse::<SocketAddr>() {
        return (address.port() > 0).then(|| (of_ip(address.ip()), address.port()));
    }
    let bare = place.strip_prefix('[').and_then(|place| place.strip_suffix(']')).unwrap_or(place);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some((of_ip(ip), DEFAULT_PORT));
    }
    let (name, port) = match place.split_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port > 0)?),
        None => (place.as_str(), DEFAULT_PORT),
    };
    Some((Host::Dns(dns_name(name)?), port))
}

/// The Ed25519 key of a peer.
fn key_of(peer: &PeerId) -> Option<[u8; 32]> {
    peer.to_bytes().strip_prefix(&PEER_PREFIX)?.try_into().ok()
}

impl TryFrom<&Multiaddr> for RendezvousAddr {
    type Error = EndpointError;

    fn try_from(addr: &Multiaddr) -> Result<Self, EndpointError> {
        let parts: Vec<Protocol<'_>> = addr.iter().collect();
        let Some(Protocol::P2p(peer)) = parts.last() else {
            return Err(EndpointError::NoPeer);
        };
        let peer = key_of(peer).ok_or(EndpointError::Peer)?;
        let host = match parts.first() {
            Some(Protocol::Ip4(ip)) => Host::V4(*ip),
            Some(Protocol::Ip6(ip)) => Host::V6(*ip),
            Some(Protocol::Dns(n) | Protocol::Dns4(n) | Protocol::Dns6(n)) => {
                Host::Dns(dns_name(n).ok_or(EndpointError::Syntax)?)
            }
            _ => return Err(EndpointError::Syntax),
        };
        let (port, transport) = match &parts[1..parts.len() - 1] {
            [Protocol::Udp(port), Protocol::QuicV1] => (*port, Transport::Quic),
            [Protocol::Tcp(port)] => (*port, Transport::Tcp),
            [Protocol::Tcp(port), Protocol::Ws(_)] => (*port, Transport::Ws),
            [Protocol::Tcp(port), Protocol::Wss(_)] | [Protocol::Tcp(port), Protocol::Tls, Protocol::Ws(_)] => {
                (*port, Transport::Wss)
            }
            _ => return Err(EndpointError::Transport),
        };
        Ok(Self { peer, host, port, transport })
    }
}
