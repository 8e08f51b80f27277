//! Whom the server lets in, as a behaviour of the swarm: connections by [`Slots`] and by rate, and no dial-backs into the operator's own network.

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
    task::{Context, Poll, Waker},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

use super::{
    relay_shares::RelayShares,
    slots::{Bounds, Slots, Transport},
};
use crate::{
    address::{Origin, is_private},
    config::Limits,
    limits::PENDING_CONNECTIONS,
    services::rates::ConnectionRates,
};

/// Limits connections by where they come from.
pub struct Admission {
    slots: Slots,
    /// Of handshakes over QUIC, whose source address may be forged …
    quic_rates: ConnectionRates,
    /// … and over TCP.
    rates: ConnectionRates,
    relay: RelayShares,
    allow_private: bool,
    /// Dials to clients that were connected before, wherever that is. They end in connections like those that clients make.
    returns: HashSet<ConnectionId>,
    to_close: VecDeque<(ConnectionId, PeerId)>,
    waker: Option<Waker>,
}

impl Admission {
    /// `allow_private`: dial-backs may go to private addresses, as this server has one.
    pub fn new(limits: &Limits, relay: RelayShares, allow_private: bool) -> Self {
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let bounds = Bounds {
            pending: PENDING_CONNECTIONS,
            open: size(limits.connections),
            per_address: size(limits.connections_per_address),
            proxies: limits.trusted_proxies.clone(),
        };
        Self {
            slots: Slots::new(bounds),
            quic_rates: ConnectionRates::new(limits.connections_per_minute),
            rates: ConnectionRates::new(limits.connections_per_minute),
            relay,
            allow_private,
            returns: HashSet::new(),
            to_close: VecDeque::new(),
            waker: None,
        }
    }

    /// The session on a connection is that of a registered account.
    pub fn is_member(&mut self, connection: ConnectionId, peer: &PeerId) {
        self.slots.is_member(connection);
        self.relay.is_member(peer);
    }

    /// A client is about to be called back by a dial with this id.
    pub fn expect_return(&mut self, dial: ConnectionId) {
        self.returns.insert(dial);
    }

    /// A handshake is done.
    fn established(&mut self, id: ConnectionId, peer: PeerId) -> Result<(), ConnectionDenied> {
        if let Some(displaced) = self.slots.open(id, peer).map_err(ConnectionDenied::new)? {
            self.to_close.push_back(displaced);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        Ok(())
    }

    /// Where a connection comes from, as long as it is open.
    pub fn origin(&self, connection: ConnectionId) -> Option<Origin> {
        self.slots.origin_of(connection)
    }

    /// The address that it comes from.
    pub fn ip(&self, connection: ConnectionId) -> Option<IpAddr> {
        self.slots.ip_of(connection)
    }

    /// Forgets networks that have not connected for a while.
    pub fn retain_recent(&self) {
        self.quic_rates.retain_recent();
        self.rates.retain_recent();
    }
}

#[derive(Debug, thiserror::Error)]
enum NotAdmitted {
    #[error("too many connections a minute from one network")]
    Rate,
    #[error("the connection has no address")]
    Unknown,
    #[error("dial-backs into the operator's network are not made")]
    Private,
}

impl NetworkBehaviour for Admission {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let ip: IpAddr = remote.ip_addr().ok_or_else(|| ConnectionDenied::new(NotAdmitted::Unknown))?;
        let is_quic = remote.iter().any(|p| matches!(p, Protocol::Quic | Protocol::QuicV1));
        let (transport, rates) =
            if is_quic { (Transport::Quic, &self.quic_rates) } else { (Transport::Tcp, &self.rates) };
        rates.check(ip, &self.slots.origin(ip)).map_err(|_| ConnectionDenied::new(NotAdmitted::Rate))?;
        self.slots.knock(id, ip, transport).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.established(id, peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.returns.remove(&id) {
            let ip = addresses.first().and_then(|address| address.ip_addr());
            let ip = ip.ok_or_else(|| ConnectionDenied::new(NotAdmitted::Unknown))?;
            self.slots.knock(id, ip, Transport::Quic).map_err(ConnectionDenied::new)?;
            return Ok(Vec::new());
        }
        // A name could be resolved to any address.
        let into_private = addresses.iter().any(|a| a.ip_addr().is_none_or(is_private));
        if into_private && !self.allow_private {
            return Err(ConnectionDenied::new(NotAdmitted::Private));
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Of a dial-back nothing is known here, and nothing counted.
        self.established(id, peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                self.relay.connected(established.peer_id, self.slots.origin_of(established.connection_id));
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.slots.closed(closed.connection_id);
                self.relay.disconnected(&closed.peer_id);
            }
            FromSwarm::ListenFailure(failure) => self.slots.closed(failure.connection_id),
            FromSwarm::DialFailure(failure) => self.slots.closed(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((connection, peer_id)) = self.to_close.pop_front() {
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
