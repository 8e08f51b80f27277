//! Pings, as a behaviour of the swarm: those of clients are answered, and clients over TCP are asked whether they are there. On connections over QUIC
//! they say so themselves, or the connection ends ([`QUIC_IDLE`](crate::limits::QUIC_IDLE)): a client at rest is woken up by nobody.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    ping,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};

use crate::limits::PING_INTERVAL;

/// Between pings over QUIC, where they are of no use.
const SELDOM: Duration = Duration::from_secs(7 * 86_400);

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

/// Answers pings, and pings clients over TCP.
pub struct Pings {
    tcp: ping::Behaviour,
    quic: ping::Behaviour,
}

impl Pings {
    /// Knows no connection.
    pub fn new() -> Self {
        let every = |interval| ping::Behaviour::new(ping::Config::new().with_interval(interval));
        Self { tcp: every(PING_INTERVAL), quic: every(SELDOM) }
    }

    fn of(&mut self, address: &Multiaddr) -> &mut ping::Behaviour {
        if is_quic(address) { &mut self.quic } else { &mut self.tcp }
    }
}

impl NetworkBehaviour for Pings {
    type ConnectionHandler = THandler<ping::Behaviour>;
    type ToSwarm = ping::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.of(remote).handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.of(address).handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        // It says the same of all connections.
        self.tcp.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.tcp.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn clients_over_quic_are_told_from_those_over_tcp() {
        assert!(is_quic(&"/ip4/192.0.2.1/udp/4001/quic-v1".parse().unwrap()));
        for tcp in ["/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/tcp/443/tls/ws"] {
            assert!(!is_quic(&tcp.parse().unwrap()), "{tcp}");
        }
    }
}
