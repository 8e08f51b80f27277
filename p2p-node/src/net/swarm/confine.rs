//! Keeps dials that other parts of libp2p begin, such as hole punching to addresses that a peer has named, to where devices may be dialled.

use std::{
    collections::HashSet,
    convert::Infallible,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
};

use crate::net::connectivity::{Reach, is_circuit};

/// A dial to where no device of a contact may be.
#[derive(Debug, thiserror::Error)]
#[error("the address is in a network that this machine does not share")]
struct OutOfReach;

/// The behaviour that refuses such dials.
#[derive(Default)]
pub(super) struct Confine {
    /// What may be dialled.
    pub reach: Reach,
    /// Rendezvous servers: their addresses were checked when they were chosen.
    pub homes: HashSet<PeerId>,
    /// Devices are reached through relays alone.
    pub relayed_only: bool,
}

impl Confine {
    /// Whether all addresses of a dial may be dialled.
    fn admits(&self, peer: Option<PeerId>, addresses: &[Multiaddr]) -> bool {
        peer.is_some_and(|peer| self.homes.contains(&peer))
            || addresses.iter().all(|address| is_circuit(address) || (!self.relayed_only && self.reach.admits(address)))
    }
}

impl NetworkBehaviour for Confine {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.admits(peer, addresses) { Ok(Vec::new()) } else { Err(ConnectionDenied::new(OutOfReach)) }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_peer_cannot_have_us_punch_holes_into_our_own_network() {
        let (home, peer) = (PeerId::random(), PeerId::random());
        let confine = Confine { homes: HashSet::from([home]), ..Confine::default() };
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Multiaddr>>();
        let inside = addresses(&["/ip4/93.184.216.34/udp/4001/quic-v1", "/ip4/10.0.0.1/udp/4001/quic-v1"]);
        assert!(!confine.admits(Some(peer), &inside));
        assert!(!confine.admits(None, &addresses(&["/dns4/router.lan/tcp/4001"])));
        assert!(confine.admits(Some(peer), &inside[..1]));
        assert!(confine.admits(Some(home), &inside));
        let circuit = addresses(&[&format!("/ip4/93.184.216.34/udp/4001/quic-v1/p2p/{home}/p2p-circuit")]);
        let confine = Confine { relayed_only: true, ..confine };
        assert!(!confine.admits(Some(peer), &inside[..1]));
        assert!(confine.admits(Some(peer), &circuit) && confine.admits(Some(home), &inside));
    }
}
