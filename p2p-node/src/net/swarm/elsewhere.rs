//! A dial one of whose addresses leads to somebody else, or to this device: the resolver lies, or the address was given to another machine.
//!
//! libp2p gives such a dial up as a whole, so that of a wrong server and the right one whichever answers first decides. So what is left is dialled
//! again without the place where somebody else is. Each time there is less of it.

use libp2p::{Multiaddr, swarm::DialError};

use crate::net::connectivity::is_circuit;

/// Whether two addresses lead to one port of one host, or through it.
fn is_same_place(a: &Multiaddr, b: &Multiaddr) -> bool {
    is_circuit(a) == is_circuit(b) && a.iter().take(2).eq(b.iter().take(2))
}

/// What is left of the addresses of a dial that has led to somebody else; nothing if it has failed for another reason.
pub(super) fn left_of(addresses: &[Multiaddr], error: &DialError) -> Vec<Multiaddr> {
    let (DialError::WrongPeerId { address: wrong, .. } | DialError::LocalPeerId { address: wrong }) = error else {
        return Vec::new();
    };
    let left: Vec<_> = addresses.iter().filter(|address| !is_same_place(address, wrong)).cloned().collect();
    // One that was not dialled says nothing.
    if left.len() < addresses.len() { left } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use libp2p::PeerId;

    use super::*;

    fn way(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_leads_to_another_port_or_host_is_left_until_there_is_nothing() {
        let wrong = |address: &str| DialError::WrongPeerId { obtained: PeerId::random(), address: way(address) };
        let all =
            ["/ip4/198.51.100.1/udp/4001/quic-v1", "/ip4/198.51.100.1/tcp/4001", "/ip4/192.0.2.1/udp/4001/quic-v1"]
                .map(way);
        let of_peer = format!("/ip4/198.51.100.1/udp/4001/quic-v1/p2p/{}", PeerId::random());
        let left = left_of(&all, &wrong(&of_peer));
        assert_eq!(left, all[1..]);
        let left = left_of(&left, &wrong("/ip4/198.51.100.1/tcp/4001"));
        assert_eq!(left, all[2..]);
        assert!(left_of(&left, &wrong("/ip4/192.0.2.1/udp/4001/quic-v1")).is_empty());
        assert!(left_of(&all, &wrong("/ip4/203.0.113.1/tcp/4001")).is_empty(), "it was not dialled");
        assert_eq!(left_of(&all, &DialError::LocalPeerId { address: all[0].clone() }), all[1..]);
        assert!(left_of(&all, &DialError::Aborted).is_empty());
    }

    #[test]
    fn a_relay_is_another_place_than_what_it_leads_to() {
        let (host, relay) = (way("/ip4/192.0.2.1/tcp/4001"), PeerId::random());
        let through = way(&format!("/ip4/192.0.2.1/tcp/4001/p2p/{relay}/p2p-circuit"));
        let error = DialError::WrongPeerId { obtained: PeerId::random(), address: host.clone() };
        assert_eq!(left_of(&[host, through.clone()], &error), [through]);
    }
}
