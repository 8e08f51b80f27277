//! Who sends to the server.

use std::net::{IpAddr, SocketAddr};

use super::quic_port::AtQuicPort;
use crate::address::prefix;

/// The last number that a channel can have: RFC 5766 let it be this, and webrtc counts up from the first one.
const LAST_CHANNEL: u16 = 0x7fff;
/// And the last one whose data can be told from QUIC (RFC 8656, section 12).
const LAST_CHANNEL_BESIDE_QUIC: u16 = 0x4fff;

/// A client, by all of its 5-tuple that varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Over UDP, from this address.
    Datagram(SocketAddr),
    /// Over UDP, to a port that is QUIC's, too.
    QuicPort(AtQuicPort),
    /// Over a stream.
    Stream {
        /// No other stream has, or had, this number.
        number: u64,
        /// Where its connection comes from.
        ip: IpAddr,
        /// That is a proxy, which has many clients.
        proxied: bool,
    },
}

impl Client {
    /// Where it is. That a stream has no port of its own is not seen by who is told.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Datagram(address) | Self::QuicPort(AtQuicPort { address, .. }) => address,
            Self::Stream { ip, .. } => SocketAddr::new(ip, 0),
        }
    }

    /// The same host at another port, by the same way. A stream has none.
    pub fn at_port(self, port: u16) -> Option<Self> {
        match self {
            Self::Datagram(mut address) => {
                address.set_port(port);
                Some(Self::Datagram(address))
            }
            Self::QuicPort(mut client) => {
                client.address.set_port(port);
                Some(Self::QuicPort(client))
            }
            Self::Stream { .. } => None,
        }
    }

    /// The last number that a channel of its can have.
    pub fn last_channel(self) -> u16 {
        match self {
            Self::QuicPort(_) => LAST_CHANNEL_BESIDE_QUIC,
            Self::Datagram(_) | Self::Stream { .. } => LAST_CHANNEL,
        }
    }

    /// The address that its allocations count against.
    pub fn counted_by(self) -> Option<IpAddr> {
        match self {
            Self::Stream { proxied: true, .. } => None,
            Self::Stream { ip, .. } => Some(prefix(ip)),
            Self::Datagram(address) | Self::QuicPort(AtQuicPort { address, .. }) => Some(prefix(address.ip())),
        }
    }

    /// What its requests count against: its address, or its stream, which nobody else can use.
    pub fn rate_key(self) -> (IpAddr, u64) {
        match self {
            Self::Datagram(address) | Self::QuicPort(AtQuicPort { address, .. }) => (prefix(address.ip()), 0),
            Self::Stream { number, ip, .. } => (ip, number),
        }
    }

    /// What tells it from the others, for nonces.
    pub fn tag(self) -> [u8; 26] {
        let address = self.address();
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let number = match self {
            Self::Datagram(_) => 0,
            // Their addresses have ports, those of streams have none.
            Self::QuicPort(client) => 1 + u64::from(client.socket),
            Self::Stream { number, .. } => number,
        };
        let mut tag = [0; 26];
        tag[..16].copy_from_slice(&ip.octets());
        tag[16..18].copy_from_slice(&address.port().to_be_bytes());
        tag[18..].copy_from_slice(&number.to_be_bytes());
        tag
    }
}

impl From<SocketAddr> for Client {
    fn from(address: SocketAddr) -> Self {
        Self::Datagram(address)
    }
}
