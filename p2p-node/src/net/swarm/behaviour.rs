//! The protocols of the swarm, and how it is put together.

use std::{collections::HashSet, time::Duration};

use libp2p::{
    Swarm, SwarmBuilder, autonat,
    connection_limits::{self, ConnectionLimits},
    dcutr, identify,
    identity::Keypair,
    noise, ping, relay,
    swarm::NetworkBehaviour,
    tcp, yamux,
};
use starling_keys::DeviceKey;
use starling_wire::{
    DIRECT_PROTOCOL, IDENTIFY_PROTOCOL,
    streams::{self, Gate},
};

use super::{confine::Confine, gossip::Gossip, proxied};
use crate::net::Proxy;

/// How often AutoNAT looks whether there is an address to test, which it does with a timer that wakes the machine up. Until one is confirmed, contacts
/// connect by hole punching.
const AUTONAT: Duration = Duration::from_secs(120);
/// How often what our addresses look like is asked again on a connection: another network has other connections.
const IDENTIFY: Duration = Duration::from_secs(3600);
/// A connection of QUIC on which nothing was heard for so long is closed. `connectivity` lets none be silent for nearly as long, and finds out much
/// sooner that one is dead; of a server's and our limit the shorter one counts.
const QUIC_IDLE_MS: u32 = 180_000;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub limits: connection_limits::Behaviour,
    pub confine: Confine,
    pub streams: streams::Behaviour,
    pub gossip: Gossip,
    pub relay: relay::client::Behaviour,
    pub dcutr: dcutr::Behaviour,
    pub autonat: autonat::v2::client::Behaviour,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
}

pub(super) type BuildError = Box<dyn std::error::Error + Send + Sync>;

/// A swarm with the device's key.
pub(super) fn build(key: &DeviceKey, proxy: Option<&Proxy>) -> Result<Swarm<Behaviour>, BuildError> {
    let keypair = Keypair::ed25519_from_bytes(*key.seed())?;
    let behaviour = move |key: &Keypair, relay| -> Result<Behaviour, BuildError> {
        let peer = key.public().to_peer_id();
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(
                ConnectionLimits::default()
                    .with_max_pending_incoming(Some(128))
                    .with_max_established_incoming(Some(2048))
                    .with_max_established_per_peer(Some(8)),
            ),
            confine: Confine::default(),
            // Until the engine has said who our contacts are, nobody gets in.
            streams: streams::Behaviour::new(&[DIRECT_PROTOCOL], Gate::Only(HashSet::new())),
            gossip: Gossip::new()?,
            relay,
            dcutr: dcutr::Behaviour::new(peer),
            autonat: autonat::v2::client::Behaviour::new(
                rand::make_rng(),
                autonat::v2::client::Config::default().with_probe_interval(AUTONAT),
            ),
            identify: identify::Behaviour::new(
                identify::Config::new(IDENTIFY_PROTOCOL.into(), key.public())
                    .with_agent_version("starling".into())
                    .with_cache_size(0)
                    .with_interval(IDENTIFY)
                    .with_hide_listen_addrs(true),
            ),
            // It answers; `connectivity` decides when to ask, on streams of its own.
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(3600))),
        })
    };
    let builder = SwarmBuilder::with_existing_identity(keypair).with_tokio();
    if let Some(proxy) = proxy {
        return Ok(builder
            .with_other_transport(|key| proxied::transport(key, proxy))?
            .with_relay_client(noise::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(configured)
            .with_connection_timeout(proxied::PATIENCE)
            .build());
    }
    Ok(builder
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = QUIC_IDLE_MS;
            // How often networks need one is `connectivity`'s to know.
            quic.keep_alive_interval = Duration::from_secs(3600);
            quic.max_concurrent_stream_limit = 64;
            quic
        })
        .with_other_transport(|key| -> Result<_, BuildError> {
            Ok(streams::websocket(key, yamux::Config::default())?)
        })?
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(behaviour)?
        .with_swarm_config(configured)
        .build())
}

fn configured(swarm: libp2p::swarm::Config) -> libp2p::swarm::Config {
    swarm.with_idle_connection_timeout(Duration::from_secs(60)).with_smart_dial()
}
