//! Which servers are reached by TCP alone in the network that the machine is in: where UDP is blocked, QUIC is not waited for at each dial.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

/// QUIC is tried again after this time: its packets may have been lost only once. A change of the network makes all of it void.
const QUIC_AGAIN: Duration = Duration::from_secs(600);
/// Servers that are remembered.
const MAX_SERVERS: usize = 64;

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

/// The servers that TCP reached, and QUIC did not; since when.
#[derive(Debug, Default)]
pub(super) struct Transports {
    by_tcp: HashMap<PeerId, Instant>,
}

impl Transports {
    /// The addresses of a server that are dialled. libp2p dials those of QUIC first, and others some hundred milliseconds later.
    pub fn choose(&self, now: Instant, server: &PeerId, addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let is_fresh = |since: &Instant| now.saturating_duration_since(*since) < QUIC_AGAIN;
        let by_tcp = self.by_tcp.get(server).is_some_and(is_fresh);
        if by_tcp && !addresses.iter().all(is_quic) {
            return addresses.into_iter().filter(|address| !is_quic(address)).collect();
        }
        addresses
    }

    /// A dial to a server has made a connection to one of the addresses: those of QUIC were dialled before the others.
    pub fn connected(&mut self, now: Instant, server: PeerId, dialled_quic: bool, by: &Multiaddr) {
        if is_quic(by) {
            self.by_tcp.remove(&server);
        } else if dialled_quic && (self.by_tcp.len() < MAX_SERVERS || self.by_tcp.contains_key(&server)) {
            self.by_tcp.insert(server, now);
        }
    }

    /// A dial to a server has failed: nothing is known of how it is reached.
    pub fn failed(&mut self, server: &PeerId) {
        self.by_tcp.remove(server);
    }

    /// The machine is in another network, perhaps.
    pub fn forget(&mut self) {
        self.by_tcp.clear();
    }

    /// Whether a dial to these addresses tells how QUIC and TCP do. That of the last resort does not.
    pub fn tells(addresses: &[Multiaddr]) -> bool {
        let is_secured = |part: Protocol<'_>| matches!(part, Protocol::Tls | Protocol::Wss(_));
        !addresses.iter().all(|address| address.iter().any(is_secured))
    }

    /// Whether nothing but QUIC is dialled.
    pub fn is_quic_alone(addresses: &[Multiaddr]) -> bool {
        addresses.iter().all(is_quic)
    }

    /// Whether QUIC is among what is dialled.
    pub fn has_quic(addresses: &[Multiaddr]) -> bool {
        addresses.iter().any(is_quic)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const QUIC: &str = "/ip4/192.0.2.1/udp/4001/quic-v1";
    const TCP: &str = "/ip4/192.0.2.1/tcp/4001";

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn where_tcp_has_won_quic_is_not_dialled_until_the_network_changes_or_some_time_has_passed() {
        let (now, server, other) = (Instant::now(), PeerId::random(), PeerId::random());
        let both = addresses(&[QUIC, TCP]);
        let mut transports = Transports::default();
        let dialled = |transports: &Transports, now, server| transports.choose(now, server, both.clone()).len();
        assert_eq!(dialled(&transports, now, &server), 2);
        transports.connected(now, server, true, &both[1]);
        assert_eq!(transports.choose(now, &server, both.clone()), both[1..]);
        assert_eq!(dialled(&transports, now, &other), 2);
        assert_eq!(transports.choose(now, &server, addresses(&[QUIC])).len(), 1, "there is nothing else");
        assert_eq!(dialled(&transports, now + QUIC_AGAIN, &server), 2);
        transports.forget();
        assert_eq!(dialled(&transports, now, &server), 2);
        // TCP that was dialled alone says nothing about QUIC; what fails says that it was no good idea.
        transports.connected(now, server, false, &both[1]);
        assert_eq!(dialled(&transports, now, &server), 2);
        transports.connected(now, server, true, &both[1]);
        transports.failed(&server);
        assert_eq!(dialled(&transports, now, &server), 2);
        transports.connected(now, server, true, &both[1]);
        transports.connected(now, server, true, &both[0]);
        assert_eq!(dialled(&transports, now, &server), 2);
    }

    #[test]
    fn the_last_resort_tells_nothing_of_the_other_ways() {
        for web in ["/ip4/192.0.2.1/tcp/443/wss", "/ip4/192.0.2.1/tcp/443/tls/sni/a.example/ws"] {
            assert!(!Transports::tells(&addresses(&[web])) && Transports::tells(&addresses(&[web, TCP])));
        }
    }

    #[test]
    fn a_dial_over_quic_alone_is_told_from_others() {
        assert!(Transports::is_quic_alone(&addresses(&[QUIC])));
        assert!(!Transports::is_quic_alone(&addresses(&[QUIC, TCP])));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut transports = Transports::default();
        for _ in 0..2 * MAX_SERVERS {
            transports.connected(Instant::now(), PeerId::random(), true, &addresses(&[TCP])[0]);
        }
        assert_eq!(transports.by_tcp.len(), MAX_SERVERS);
    }
}
