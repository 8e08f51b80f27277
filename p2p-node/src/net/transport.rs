//! What connections go over.

use libp2p::{Multiaddr, multiaddr::Protocol};

/// What a connection goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC, over UDP.
    Quic,
    /// TCP.
    Tcp,
    /// WebSocket over TCP, with TLS or without it.
    WebSocket,
    /// TCP or WebSocket, through a proxy.
    Proxy,
}

impl Transport {
    /// That of a connection without a proxy, by the address of its other end; nothing where we use none of the kind.
    pub fn of(address: &Multiaddr) -> Option<Self> {
        address.iter().fold(None, |known, part| match part {
            Protocol::QuicV1 => Some(Self::Quic),
            Protocol::Ws(_) | Protocol::Wss(_) => Some(Self::WebSocket),
            Protocol::Tcp(_) => Some(Self::Tcp),
            _ => known,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_transport_is_known_by_the_address_of_the_other_end() {
        for (address, expected) in [
            ("/ip4/192.0.2.1/udp/4001/quic-v1", Some(Transport::Quic)),
            ("/ip6/2001:db8::1/tcp/4001", Some(Transport::Tcp)),
            ("/dns/rendezvous.example/tcp/4002/ws", Some(Transport::WebSocket)),
            ("/dns/rendezvous.example/tcp/443/wss", Some(Transport::WebSocket)),
            ("/ip4/192.0.2.1/tcp/443/tls/ws", Some(Transport::WebSocket)),
            ("/ip4/192.0.2.1/udp/4001", None),
        ] {
            assert_eq!(Transport::of(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
