//! The key of a server of which nothing but a name or an IP address is known: whoever answers there is asked for it, once. What it is called by from
//! then on holds the key.

use std::{collections::HashSet, pin::pin, time::Duration};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    identity::Keypair,
    swarm::{SwarmEvent, dial_opts::DialOpts},
    yamux,
};
use starling_keys::{RendezvousAddr, ServerPlace};
use starling_wire::streams::{self, Authorities, Gate};

use super::{
    behaviour::BuildError,
    cause::problem_of_all,
    names::{Names, may_be_ipv4, resolve},
    paths::Picture,
    proxied, visit,
};
use crate::net::{ConnectionProblem, Proxy, connectivity::DialId, device_of};

#[cfg(test)]
#[path = "introduction_tests.rs"]
mod tests;

/// Nobody who answers later is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// Somebody whose name nobody vouches for has to wait so long for somebody else.
const VOUCHED: Duration = Duration::from_secs(5);

/// What a server has said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Its address, with its key.
    pub address: RendezvousAddr,
    /// A public authority says that the name is that of who has shown the key. Otherwise it is the key of whoever has answered, which may have been
    /// anybody on the way.
    pub vouched: bool,
}

/// Asks whoever is at a place for its key: by WebSocket over TLS at port 443, where the certificate may say whose the name is, and by all ways at the
/// place itself.
pub async fn introduce(place: &ServerPlace, proxy: Option<&Proxy>) -> Result<Introduction, ConnectionProblem> {
    let isolated = proxy.map(Proxy::isolated);
    let proxy = isolated.as_ref();
    let more = if proxy.is_some() { proxied::PATIENCE } else { Duration::ZERO };
    let authorities = Authorities::public();
    let web = [place.web()];
    let vouched = async {
        let asked = answer(&web, proxy, || by_authority(authorities, proxy));
        tokio::time::timeout(VOUCHED + more, asked).await.unwrap_or(Err(ConnectionProblem::NoAnswer))
    };
    let all = [&place.ways()[..], &web[..]].concat();
    let anybody = answer(&all, proxy, || visit::build(proxy));
    let introduced = tokio::time::timeout(PATIENCE + more, preferred(vouched, anybody)).await;
    let (peer, vouched) = introduced.unwrap_or(Err(ConnectionProblem::NoAnswer))?;
    let key = device_of(&peer).ok_or(ConnectionProblem::OtherProtocol)?;
    Ok(Introduction { address: place.clone().with_key(*key.as_bytes()), vouched })
}

/// The answer that somebody vouches for, if there is one, whichever comes first; and whether it is.
async fn preferred<K, E>(
    vouched: impl Future<Output = Result<K, E>>,
    anybody: impl Future<Output = Result<K, E>>,
) -> Result<(K, bool), E> {
    let (mut vouched, mut anybody) = (pin!(vouched), pin!(anybody));
    let mut answered = None;
    loop {
        tokio::select! {
            biased;
            answer = &mut vouched => {
                if let Ok(key) = answer {
                    return Ok((key, true));
                }
                let answer = match answered {
                    Some(answer) => answer,
                    None => anybody.await,
                };
                return answer.map(|key| (key, false));
            }
            answer = &mut anybody, if answered.is_none() => answered = Some(answer),
        }
    }
}

/// Who answers first at one of these addresses, over connections of a swarm that is made for that.
async fn answer(
    addresses: &[Multiaddr],
    proxy: Option<&Proxy>,
    build: impl FnOnce() -> Result<Swarm<streams::Behaviour>, BuildError>,
) -> Result<PeerId, ConnectionProblem> {
    let addresses = located(addresses, proxy).await?;
    let swarm = build().map_err(|error| {
        tracing::warn!(%error, "the network to ask a server for its key cannot be set up");
        ConnectionProblem::Unreachable
    })?;
    Box::pin(first(swarm, addresses)).await
}

async fn first(mut swarm: Swarm<streams::Behaviour>, addresses: Vec<Multiaddr>) -> Result<PeerId, ConnectionProblem> {
    let mut errors = Vec::new();
    let mut dialled = 0;
    for address in addresses {
        match swarm.dial(DialOpts::unknown_peer_id().address(address).build()) {
            Ok(()) => dialled += 1,
            Err(error) => errors.push(error),
        }
    }
    while dialled > 0 {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                dialled -= 1;
                errors.push(error);
            }
            _ => {}
        }
    }
    Err(problem_of_all(&errors))
}

/// Where names lead; a proxy looks them up itself.
async fn located(addresses: &[Multiaddr], proxy: Option<&Proxy>) -> Result<Vec<Multiaddr>, ConnectionProblem> {
    if proxy.is_some() {
        return Ok(addresses.iter().filter(|address| proxied::is_reachable(address)).cloned().collect());
    }
    let translate = addresses.iter().any(may_be_ipv4) && Picture::now().is_ipv6_only();
    let names = Names::default();
    let to_look_up = names.to_look_up(addresses);
    let named = resolve(DialId(0), PeerId::random(), addresses.to_vec(), true, translate, to_look_up).await;
    let found = names.addresses(&named)?;
    Ok(named.translated(found))
}

/// A swarm that connects to nobody but servers whose name is known to an authority.
fn by_authority(authorities: Authorities, proxy: Option<&Proxy>) -> Result<Swarm<streams::Behaviour>, BuildError> {
    let transport = |key: &Keypair| -> Result<_, BuildError> {
        match proxy {
            Some(proxy) => proxied::vouched(authorities, key, proxy),
            None => Ok(streams::vouched_websocket(authorities, key, yamux::Config::default())?),
        }
    };
    Ok(SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_other_transport(transport)?
        .with_behaviour(|_| streams::Behaviour::new(&[], Gate::Only(HashSet::new())))?
        .with_swarm_config(|swarm| swarm.with_smart_dial())
        .with_connection_timeout(proxied::PATIENCE)
        .build())
}
