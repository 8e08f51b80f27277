//! Where a server listens: on the addresses of its configuration, and beside them, if it can, on port 443 for networks that let out nothing else.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    time::Duration,
};

use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, Swarm, core::transport::ListenerId, multiaddr::Protocol, swarm::SwarmEvent};

use super::{
    StartError,
    boxed::Boxed,
    network::{self, Behaviour, BehaviourEvent},
    preflight::Warning,
};
use crate::config::Config;

/// Those of [`Config::listen_web`] that could be bound when that was tried.
pub(super) fn web_addresses(config: &Config, warnings: &[Warning]) -> Vec<Multiaddr> {
    let is_taken = |wanted: &Multiaddr| {
        warnings.iter().any(|warning| matches!(warning, Warning::NoWeb { address, .. } if address == wanted))
    };
    let mut web = config.listen_web();
    web.retain(|address| !is_taken(address));
    web
}

/// What is listened on, and what happened before the server was ready.
pub(super) struct Listening {
    pub addresses: Vec<Multiaddr>,
    /// Those of the web that could be had, as they were wanted.
    pub web: Vec<Multiaddr>,
    pub early: Vec<SwarmEvent<BehaviourEvent>>,
}

/// Waits until every address is listened on; those of the web are done without if they have gone to somebody else meanwhile. Those found are in the
/// order of those wanted, before those of the web.
pub(super) async fn listen(
    swarm: &mut Swarm<Boxed<Behaviour>>,
    wanted: &[Multiaddr],
    web: &[Multiaddr],
) -> Result<Listening, StartError> {
    let Begun { places, mut waiting, web: had } = begin(swarm, wanted, web)?;
    let mut found = Vec::new();
    let mut early = Vec::new();
    // The first address of each listener; interface addresses of a wildcard follow within the same poll, so a moment is given to them. Not more:
    // clients may be knocking all the time.
    let mut until = None;
    loop {
        if waiting.is_empty() && until.is_none() {
            until = Some(tokio::time::Instant::now() + Duration::from_millis(50));
        }
        let event = async {
            match until {
                Some(until) => tokio::time::timeout_at(until, swarm.select_next_some()).await.ok(),
                None => Some(swarm.select_next_some().await),
            }
        };
        match event.await {
            Some(SwarmEvent::NewListenAddr { listener_id, address }) => {
                waiting.remove(&listener_id);
                found.push((places.get(&listener_id).copied(), address));
            }
            Some(SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }) => {
                let address = places.get(&listener_id).and_then(|place| wanted.iter().chain(web).nth(*place));
                return Err(StartError::Listen { address: address.cloned().unwrap_or_else(Multiaddr::empty), error });
            }
            Some(event) => early.push(event),
            None => {
                found.sort_by_key(|(place, _)| *place);
                let addresses = found.into_iter().map(|(_, address)| address).collect();
                return Ok(Listening { addresses, web: had, early });
            }
        }
    }
}

/// Listeners that were begun.
struct Begun {
    /// Which of all addresses each is for, those of the web last.
    places: HashMap<ListenerId, usize>,
    /// Those that will say by themselves where they listen.
    waiting: HashSet<ListenerId>,
    /// Those of the web that could be had.
    web: Vec<Multiaddr>,
}

/// Begins to listen on every address.
fn begin(swarm: &mut Swarm<Boxed<Behaviour>>, wanted: &[Multiaddr], web: &[Multiaddr]) -> Result<Begun, StartError> {
    let own: Option<Vec<IpAddr>> =
        if_addrs::get_if_addrs().ok().map(|all| all.iter().map(if_addrs::Interface::ip).collect());
    let mut begun = Begun { places: HashMap::new(), waiting: HashSet::new(), web: Vec::new() };
    for (place, address) in wanted.iter().chain(web).enumerate() {
        let id = match swarm.listen_on(address.clone()) {
            Ok(id) => id,
            Err(error) => {
                let (address, error) = (address.clone(), io_error(&error));
                if place < wanted.len() {
                    return Err(StartError::Listen { address, error });
                }
                tracing::warn!("{}", Warning::NoWeb { address, error });
                continue;
            }
        };
        begun.places.insert(id, place);
        if place >= wanted.len() {
            begun.web.push(address.clone());
        }
        if own.as_ref().is_none_or(|own| has_addresses(address, own)) {
            begun.waiting.insert(id);
        }
    }
    Ok(begun)
}

/// Addresses to give to users, each with the server's peer id: those that are configured, else those of `listening` that are of use. The swarm learns
/// them.
pub(super) fn announce(
    swarm: &mut Swarm<Boxed<Behaviour>>,
    config: &Config,
    listening: &[Multiaddr],
    peer_id: PeerId,
) -> Vec<Multiaddr> {
    let mut addresses =
        if config.public_addresses.is_empty() { useful(listening) } else { config.public_addresses.clone() };
    for address in &mut addresses {
        if !matches!(address.iter().last(), Some(Protocol::P2p(_))) {
            address.push(Protocol::P2p(peer_id));
        }
        let bare: Multiaddr = address.iter().filter(|p| !matches!(p, Protocol::P2p(_))).collect();
        // A reservation's answer carries these; without any, clients cannot use the relay.
        swarm.add_external_address(bare);
    }
    addresses
}

/// The UDP port of QUIC at an address of this server, as clients see it: TURN is there, too. If none of its addresses is this one, that of the first.
pub(super) fn quic_port(addresses: &[Multiaddr], ip: IpAddr) -> Option<u16> {
    let port = |address: &Multiaddr| match address.iter().nth(1) {
        Some(Protocol::Udp(port)) if address.iter().any(|part| part == Protocol::QuicV1) => Some(port),
        _ => None,
    };
    let is_there = |address: &&Multiaddr| address.ip_addr() == Some(ip);
    addresses.iter().filter(is_there).find_map(port).or_else(|| addresses.iter().find_map(port))
}

/// Those that others can dial; those of this machine alone only if there is no other.
fn useful(listening: &[Multiaddr]) -> Vec<Multiaddr> {
    let all: Vec<Multiaddr> = listening.iter().filter(|a| network::is_useful(a)).cloned().collect();
    let is_loopback = |a: &Multiaddr| a.ip_addr().is_some_and(|ip| ip.is_loopback());
    let elsewhere: Vec<Multiaddr> = all.iter().filter(|a| !is_loopback(a)).cloned().collect();
    if elsewhere.is_empty() { all } else { elsewhere }
}

/// Whether a listener on this address says by itself where it listens: one on all addresses of an internet protocol says nothing until the host has
/// one, which it never has where IPv6 is switched off.
fn has_addresses(address: &Multiaddr, own: &[IpAddr]) -> bool {
    let is_there = |ip: IpAddr| !ip.is_unspecified() || own.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
    address.ip_addr().is_none_or(is_there)
}

/// What the system said, which is the innermost error.
fn io_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<io::Error>() {
        Some(error) => io::Error::new(error.kind(), innermost.to_string()),
        None => io::Error::other(innermost.to_string()),
    }
}
