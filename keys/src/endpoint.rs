//! Where a rendezvous server is: host, transport, port and peer key, as a multiaddr or in a compact form for invites.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use multiaddr::{Multiaddr, PeerId, Protocol};

/// Longest text that is read as an address, in bytes: a DNS name has up to 253.
const MAX_WRITTEN: usize = 1024;

/// Why a rendezvous address was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EndpointError {
    /// Not a multiaddr.
    #[error("not an address: expected a form like /ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3Koo…")]
    Syntax,
    /// No `/p2p/PEER` at the end.
    #[error("the address does not say whose it is: it must end in /p2p/PEER, as the server prints it")]
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

    /// As a multiaddr that ends in `/p2p/PEER`.
    pub fn to_multiaddr(&self) -> Multiaddr {
        let mut addr = Multiaddr::empty();
        match &self.host {
            Host::V4(ip) => addr.push(Protocol::Ip4(*ip)),
            Host::V6(ip) => addr.push(Protocol::Ip6(*ip)),
            Host::Dns(name) => addr.push(Protocol::Dns(name.clone().into())),
        }
        match self.transport {
            Transport::Quic => {
                addr.push(Protocol::Udp(self.port));
                addr.push(Protocol::QuicV1);
            }
            Transport::Tcp => addr.push(Protocol::Tcp(self.port)),
            Transport::Ws => {
                addr.push(Protocol::Tcp(self.port));
                addr.push(Protocol::Ws("/".into()));
            }
            Transport::Wss => {
                addr.push(Protocol::Tcp(self.port));
                addr.push(Protocol::Wss("/".into()));
            }
        }
        addr.push(Protocol::P2p(self.peer_id()));
        addr
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
        self.to_multiaddr().fmt(f)
    }
}

impl FromStr for RendezvousAddr {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = starling_text::unquoted(starling_text::shortened(text, MAX_WRITTEN)).replace(' ', "");
        let addr: Multiaddr = text.parse().map_err(|_| EndpointError::Syntax)?;
        Self::try_from(&addr)
    }
}

impl TryFrom<&Multiaddr> for RendezvousAddr {
    type Error = EndpointError;

    fn try_from(addr: &Multiaddr) -> Result<Self, EndpointError> {
        let parts: Vec<Protocol<'_>> = addr.iter().collect();
        let Some(Protocol::P2p(peer)) = parts.last() else {
            return Err(EndpointError::NoPeer);
        };
        let peer = peer
            .to_bytes()
            .strip_prefix(&PEER_PREFIX)
            .and_then(|key| <[u8; 32]>::try_from(key).ok())
            .ok_or(EndpointError::Peer)?;
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
