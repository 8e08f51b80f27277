//! The swarm: transports, relay, AutoNAT, and who gets in. One task owns it; sessions are tasks of their own.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, autonat,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, relay,
    swarm::NetworkBehaviour,
    tcp, yamux,
};
use starling_wire::{
    IDENTIFY_PROTOCOL, RENDEZVOUS_PROTOCOL, TURN_PROTOCOL,
    streams::{self, Gate},
};

use super::{
    admission::Admission,
    boxed::Boxed,
    pings::Pings,
    relay_shares::{RelayShares, Resource},
};
use crate::{
    address::is_private,
    config::Config,
    limits::{CONNECTIONS_PER_DEVICE, HANDSHAKE_TIMEOUT, QUIC_IDLE},
    services::relay::turn::QuicPorts,
};

/// How often clients are asked again what their connection looks like from there, which the server has no use for.
const IDENTIFY: Duration = Duration::from_secs(3600);

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub admission: Admission,
    limits: connection_limits::Behaviour,
    pub streams: streams::Behaviour,
    relay: relay::Behaviour,
    autonat: autonat::v2::server::Behaviour,
    identify: identify::Behaviour,
    ping: Pings,
}

/// A swarm that listens on nothing yet. It shares the ports of QUIC with TURN, if there is that.
pub async fn build(
    keypair: Keypair,
    config: &Config,
    shares: RelayShares,
    quic_ports: Option<QuicPorts>,
) -> anyhow::Result<Swarm<Boxed<Behaviour>>> {
    let behaviour = |key: &Keypair| Boxed(behaviour(key, config, shares));
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
            // The client keeps the connection alive, as seldom as its network allows; 32 streams instead of 256 save 15 KB for each connection.
            quic.max_idle_timeout = u32::try_from(QUIC_IDLE.as_millis()).unwrap_or(u32::MAX);
            quic.handshake_timeout = HANDSHAKE_TIMEOUT;
            quic.keep_alive_interval = Duration::from_secs(3600);
            quic.max_concurrent_stream_limit = 32;
            quic.max_stream_data = 1024 * 1024;
            quic.max_connection_data = 4 * 1024 * 1024;
            match quic_ports {
                Some(ports) => quic.wrap_listen_sockets(move |bound| ports.share(bound)),
                None => quic,
            }
        })
        .with_other_transport(|key| -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            Ok(streams::websocket_server(key, yamux())?)
        })?
        .with_behaviour(behaviour)?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(Duration::from_secs(30)).with_max_negotiating_inbound_streams(32)
        })
        .with_connection_timeout(HANDSHAKE_TIMEOUT)
        .build())
}

fn behaviour(key: &Keypair, config: &Config, shares: RelayShares) -> Behaviour {
    let peer = key.public().to_peer_id();
    let may_have = |resource| -> Box<dyn relay::RateLimiter> {
        let shares = shares.clone();
        Box::new(move |peer: PeerId, _: &Multiaddr, _: Instant| shares.may_have(&peer, resource))
    };
    let relay_config = relay::Config {
        max_reservations: config.relay.reservations,
        max_reservations_per_peer: 8,
        reservation_duration: Duration::from_secs(3600),
        // Not by rate: a client comes back at once after a network change, and connections are limited by address already.
        reservation_rate_limiters: vec![may_have(Resource::Reservation)],
        max_circuits: config.relay.circuits,
        max_circuits_per_peer: config.relay.circuits_per_peer,
        max_circuit_duration: Duration::from_secs(config.relay.circuit_minutes * 60),
        max_circuit_bytes: config.relay.circuit_megabytes * 1024 * 1024,
        circuit_src_rate_limiters: vec![may_have(Resource::Circuit)],
    }
    .circuit_src_per_peer(NonZeroU32::new(120).unwrap_or(NonZeroU32::MIN), Duration::from_secs(5));
    let private = config.listen.iter().all(|a| a.ip_addr().is_some_and(is_private));
    Behaviour {
        admission: Admission::new(&config.limits, shares, private),
        limits: connection_limits::Behaviour::new(
            ConnectionLimits::default().with_max_established_per_peer(Some(CONNECTIONS_PER_DEVICE)),
        ),
        streams: streams::Behaviour::new(&[RENDEZVOUS_PROTOCOL, TURN_PROTOCOL], Gate::Open),
        relay: relay::Behaviour::new(peer, relay_config),
        autonat: autonat::v2::server::Behaviour::default(),
        identify: identify::Behaviour::new(
            identify::Config::new(IDENTIFY_PROTOCOL.into(), key.public())
                .with_agent_version("starling-rendezvous".into())
                .with_cache_size(0)
                .with_interval(IDENTIFY),
        ),
        ping: Pings::new(),
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
