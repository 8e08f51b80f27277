//! The swarm: transports, relay, AutoNAT, and who gets in. One task owns it; sessions are tasks of their own.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, autonat,
    connection_limits::{self, ConnectionLimits},
    core::{Endpoint, transport::PortUse},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
    tcp, yamux,
};
use starling_wire::{
    IDENTIFY_PROTOCOL, RENDEZVOUS_PROTOCOL,
    streams::{self, Gate},
};

use super::boxed::Boxed;
use crate::{
    address::{is_private, prefix},
    config::Config,
    limits::PING_INTERVAL,
};

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    admission: Admission,
    limits: connection_limits::Behaviour,
    pub streams: streams::Behaviour,
    relay: relay::Behaviour,
    autonat: autonat::v2::server::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

pub async fn build(keypair: Keypair, config: &Config) -> anyhow::Result<Swarm<Boxed<Behaviour>>> {
    let behaviour = |key: &Keypair| Boxed(behaviour(key, config));
    // One direct stream, one relay stop, identify, ping and some that end: far below both bounds.
    let yamux = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(256);
        config
    };
    Ok(SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux)?
        .with_quic_config(|mut quic| {
            // The client keeps the connection alive; 32 streams instead of 256 save 15 KB for each connection.
            quic.max_idle_timeout = 60_000;
            quic.keep_alive_interval = Duration::from_secs(3600);
            quic.max_concurrent_stream_limit = 32;
            quic.max_stream_data = 1024 * 1024;
            quic.max_connection_data = 4 * 1024 * 1024;
            quic
        })
        .with_dns()?
        .with_websocket(noise::Config::new, yamux)
        .await?
        .with_behaviour(behaviour)?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(Duration::from_secs(30)).with_max_negotiating_inbound_streams(32)
        })
        .build())
}

fn behaviour(key: &Keypair, config: &Config) -> Behaviour {
    let peer = key.public().to_peer_id();
    let relay_config = relay::Config {
        max_reservations: config.relay.reservations,
        max_reservations_per_peer: 8,
        reservation_duration: Duration::from_secs(3600),
        // A client comes back at once after a network change; connections are limited by address already.
        reservation_rate_limiters: Vec::new(),
        max_circuits: config.relay.circuits,
        max_circuits_per_peer: config.relay.circuits_per_peer,
        max_circuit_duration: Duration::from_secs(config.relay.circuit_minutes * 60),
        max_circuit_bytes: config.relay.circuit_megabytes * 1024 * 1024,
        circuit_src_rate_limiters: Vec::new(),
    }
    .circuit_src_per_peer(NonZeroU32::new(120).unwrap_or(NonZeroU32::MIN), Duration::from_secs(5));
    let private = config.listen.iter().all(|a| a.ip_addr().is_some_and(is_private));
    Behaviour {
        admission: Admission::new(config.limits.connections_per_minute, private),
        limits: connection_limits::Behaviour::new(
            ConnectionLimits::default()
                .with_max_pending_incoming(Some(1024))
                .with_max_established(Some(config.limits.connections))
                .with_max_established_per_peer(Some(8)),
        ),
        streams: streams::Behaviour::new(&[RENDEZVOUS_PROTOCOL], Gate::Open),
        relay: relay::Behaviour::new(peer, relay_config),
        autonat: autonat::v2::server::Behaviour::default(),
        identify: identify::Behaviour::new(
            identify::Config::new(IDENTIFY_PROTOCOL.into(), key.public())
                .with_agent_version("starling-rendezvous".into())
                .with_cache_size(0),
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL)),
    }
}

/// Whether users elsewhere could reach this address.
pub fn is_useful(addr: &Multiaddr) -> bool {
    !addr.iter().any(|p| match p {
        Protocol::Ip4(ip) => ip.is_unspecified() || ip.is_link_local(),
        Protocol::Ip6(ip) => ip.is_unspecified() || ip.is_unicast_link_local(),
        _ => false,
    })
}

/// Limits new connections by address, and keeps AutoNAT's dial-backs out of the operator's own network.
pub struct Admission {
    by_prefix: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    allow_private: bool,
}

impl Admission {
    fn new(per_minute: u32, allow_private: bool) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self { by_prefix: Arc::new(RateLimiter::keyed(Quota::per_minute(per_minute))), allow_private }
    }
}

#[derive(Debug, thiserror::Error)]
enum NotAdmitted {
    #[error("too many connections from one address")]
    Rate,
    #[error("dial-backs into the operator's network are not made")]
    Private,
}

impl NetworkBehaviour for Admission {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = remote.ip_addr().filter(|ip| !ip.is_loopback()) else {
            return Ok(());
        };
        self.by_prefix.check_key(&prefix(ip)).map_err(|_| ConnectionDenied::new(NotAdmitted::Rate))?;
        if self.by_prefix.len() > 100_000 {
            self.by_prefix.retain_recent();
        }
        Ok(())
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

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
