//! Addresses at which this device was reached from outside, in networks that it has left. AutoNAT tests each address once. So one at which we are seen
//! again, as at home in the evening, counts as confirmed again: the router that has let others in there is the same.

use std::collections::VecDeque;

use libp2p::Multiaddr;

/// Those that are remembered: two transports, in some networks.
const MAX_LEFT: usize = 16;

/// The addresses, the one that was left last at the end.
#[derive(Debug, Default)]
pub(super) struct LeftAddresses(VecDeque<Multiaddr>);

impl LeftAddresses {
    /// The network of a confirmed address is left.
    pub fn leave(&mut self, address: Multiaddr) {
        self.is_back(&address);
        if self.0.len() >= MAX_LEFT {
            self.0.pop_front();
        }
        self.0.push_back(address);
    }

    /// We are seen at an address. Whether it is one of these, which it is no more then.
    pub fn is_back(&mut self, address: &Multiaddr) -> bool {
        let known = self.0.iter().position(|left| left == address);
        known.and_then(|known| self.0.remove(known)).is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/192.0.2.1/udp/{port}/quic-v1").parse().unwrap()
    }

    #[test]
    fn an_address_that_was_confirmed_counts_again_when_we_are_seen_there_and_others_do_not() {
        let mut left = LeftAddresses::default();
        left.leave(address(1));
        assert!(!left.is_back(&address(2)));
        assert!(left.is_back(&address(1)) && !left.is_back(&address(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_of_the_networks_that_were_left_last() {
        let mut left = LeftAddresses::default();
        for port in 1..=2 * MAX_LEFT {
            left.leave(address(port));
            left.leave(address(port));
        }
        assert_eq!(left.0.len(), MAX_LEFT);
        assert!(!left.is_back(&address(MAX_LEFT)) && left.is_back(&address(MAX_LEFT + 1)));
    }
}
