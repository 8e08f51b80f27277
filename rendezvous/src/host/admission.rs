//! Whom the server lets in, as a behaviour of the swarm: connections by [`Slots`] and by rate, and no dial-backs into the operator's own network.

use std::{
    collections::VecDeque,
    net::IpAddr,
    num::NonZeroU32,
    task::{Context, Poll, Waker},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

use super::slots::{Bounds, Origin, Slots};
use crate::{
    address::{Network, is_private},
    config::Limits,
    limits::{PENDING_CONNECTIONS, PROXY_RATE, RATED_NETWORKS},
};

/// Limits connections by where they come from.
pub struct Admission {
    slots: Slots,
    rates: Rates,
    allow_private: bool,
    to_close: VecDeque<(ConnectionId, PeerId)>,
    waker: Option<Waker>,
}

impl Admission {
    /// `allow_private`: dial-backs may go to private addresses, as this server has one.
    pub fn new(limits: &Limits, allow_private: bool) -> Self {
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let bounds = Bounds {
            pending: PENDING_CONNECTIONS,
            open: size(limits.connections),
            per_address: size(limits.connections_per_address),
            proxies: limits.trusted_proxies.clone(),
        };
        Self {
            slots: Slots::new(bounds),
            rates: Rates::new(limits.connections_per_minute),
            allow_private,
            to_close: VecDeque::new(),
            waker: None,
        }
    }

    /// The session on a connection is that of a registered account.
    pub fn is_member(&mut self, connection: ConnectionId) {
        self.slots.is_member(connection);
    }
}

/// New connections by network.
struct Rates {
    /// For the networks around an address, each twice as generous as the one before; then for proxies.
    by_network: [DefaultKeyedRateLimiter<Network>; 4],
}

impl Rates {
    fn new(per_minute: u32) -> Self {
        let of = |factor: u32| {
            let quota = NonZeroU32::new(per_minute.saturating_mul(factor)).unwrap_or(NonZeroU32::MIN);
            RateLimiter::keyed(Quota::per_minute(quota))
        };
        Self { by_network: [of(1), of(2), of(4), of(PROXY_RATE)] }
    }

    fn check(&self, origin: &Origin) -> bool {
        let limiters = match origin {
            Origin::Client(_) => &self.by_network[..3],
            Origin::Proxy(_) => &self.by_network[3..],
        };
        limiters.iter().zip(origin.networks()).all(|(limiter, network)| {
            if limiter.len() > RATED_NETWORKS {
                limiter.retain_recent();
            }
            // An attacker with that many networks is bounded by the slots.
            limiter.len() > RATED_NETWORKS || limiter.check_key(network).is_ok()
        })
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
        if !self.rates.check(&self.slots.origin(ip)) {
            return Err(ConnectionDenied::new(NotAdmitted::Rate));
        }
        self.slots.knock(id, ip).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if let Some(displaced) = self.slots.open(id, peer).map_err(ConnectionDenied::new)? {
            self.to_close.push_back(displaced);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        // A name could be resolved to any address.
        let into_private = addresses.iter().any(|a| a.ip_addr().is_none_or(is_private));
        if into_private && !self.allow_private {
            return Err(ConnectionDenied::new(NotAdmitted::Private));
        }
        Ok(Vec::new())
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

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.slots.closed(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.slots.closed(failure.connection_id),
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
