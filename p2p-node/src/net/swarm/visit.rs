//! A visit to a rendezvous: one connection and one session under a key that nobody has seen before and nobody sees again.

use std::{collections::HashSet, pin::pin, time::Duration};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, SwarmBuilder,
    identity::Keypair,
    noise,
    swarm::{SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use starling_wire::{
    RENDEZVOUS_PROTOCOL,
    streams::{self, Gate, OpenError},
};

use super::{behaviour::BuildError, cause::dial_problem, elsewhere::left_of, proxied};
use crate::net::{
    ConnectionProblem, Proxy, Transport,
    rendezvous::{Left, Path},
    send_queue::SendQueue,
};

/// A server with which there is no stream after this time does not answer.
const OPENING: Duration = Duration::from_secs(15);
/// What is left to be written when a visit is over has this time.
const LEAVING: Duration = Duration::from_secs(1);

/// A visit that has begun.
pub(super) struct Visit {
    swarm: Swarm<streams::Behaviour>,
    peer: PeerId,
    stream: Stream,
    /// What its connection goes over.
    pub(super) path: Path,
}

/// A swarm with a key of its own.
pub(super) fn build(proxy: Option<&Proxy>) -> Result<Swarm<streams::Behaviour>, BuildError> {
    let builder = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519()).with_tokio();
    let behaviour = |_: &Keypair| streams::Behaviour::new(&[], Gate::Only(HashSet::new()));
    if let Some(proxy) = proxy {
        return Ok(builder
            .with_other_transport(|key| proxied::transport(key, proxy))?
            .with_behaviour(behaviour)?
            .with_swarm_config(|swarm| swarm.with_smart_dial())
            .with_connection_timeout(proxied::PATIENCE)
            .build());
    }
    Ok(builder
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = 30_000;
            quic
        })
        .with_other_transport(|key| -> Result<_, BuildError> {
            Ok(streams::websocket(key, yamux::Config::default())?)
        })?
        .with_behaviour(behaviour)?
        .with_swarm_config(|swarm| swarm.with_smart_dial())
        .build())
}

/// Begins a visit.
pub(super) async fn begin(
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    proxy: Option<Proxy>,
) -> Result<Box<Visit>, ConnectionProblem> {
    // What is seen of one visit is not to be seen as part of another, or of the session with a home.
    let proxy = proxy.as_ref().map(Proxy::isolated);
    let opening = if proxy.is_some() { OPENING + proxied::PATIENCE } else { OPENING };
    let begun = tokio::time::timeout(opening, connect(peer, addresses, proxy.as_ref())).await;
    begun.unwrap_or(Err(ConnectionProblem::NoAnswer))
}

async fn connect(
    peer: PeerId,
    mut addresses: Vec<Multiaddr>,
    proxy: Option<&Proxy>,
) -> Result<Box<Visit>, ConnectionProblem> {
    let mut swarm = build(proxy).map_err(|error| {
        tracing::warn!(%error, "the network for a visit cannot be set up");
        ConnectionProblem::Unreachable
    })?;
    let to = |addresses: &[Multiaddr]| DialOpts::peer_id(peer).addresses(addresses.to_vec()).build();
    swarm.dial(to(&addresses)).map_err(|error| dial_problem(&error))?;
    let (connection, path) = loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { connection_id, endpoint, .. } => {
                let remote = endpoint.get_remote_address();
                let transport = proxy.map(|_| Transport::Proxy).or_else(|| Transport::of(remote));
                break (connection_id, Path { transport, queue: SendQueue::towards(remote) });
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                addresses = left_of(&addresses, &error);
                if addresses.is_empty() {
                    return Err(dial_problem(&error));
                }
                swarm.dial(to(&addresses)).map_err(|error| dial_problem(&error))?;
            }
            _ => {}
        }
    };
    let mut opened = pin!(swarm.behaviour_mut().open_on(peer, connection, RENDEZVOUS_PROTOCOL));
    loop {
        tokio::select! {
            opened = &mut opened => return match opened {
                Ok(opened) => Ok(Box::new(Visit { swarm, peer, stream: opened.stream, path })),
                Err(OpenError::Unsupported) => Err(ConnectionProblem::OtherProtocol),
                Err(OpenError::NotConnected | OpenError::Failed) => Err(ConnectionProblem::Broken),
            },
            event = swarm.select_next_some() => if matches!(event, SwarmEvent::ConnectionClosed { .. }) {
                return Err(ConnectionProblem::Broken);
            },
        }
    }
}

impl Visit {
    /// Has the session run until it ends, and closes the connection.
    pub(super) async fn serve<S: Future<Output = Left>>(mut self, session: impl FnOnce(Stream) -> S) -> Left {
        let mut session = pin!(session(self.stream));
        let left = loop {
            tokio::select! {
                left = &mut session => break left,
                // The end of the connection ends the stream.
                _ = self.swarm.select_next_some() => {}
            }
        };
        let _ = self.swarm.disconnect_peer_id(self.peer);
        let closed =
            async { while !matches!(self.swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {} };
        let _ = tokio::time::timeout(LEAVING, closed).await;
        left
    }
}
