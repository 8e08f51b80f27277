//! Which of this device's addresses are worth telling to others.

use libp2p::{Multiaddr, multiaddr::Protocol};
use starling_keys::{Host, RendezvousAddr};
use starling_wire::limits::MAX_SIGNAL_ADDRESSES;

/// Addresses under which this device can be reached, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Those that were confirmed from outside first, then those on the LAN; at most `MAX_SIGNAL_ADDRESSES`.
    pub all: Vec<Multiaddr>,
    /// AutoNAT has confirmed one of them from outside.
    pub public: bool,
}

impl OwnAddresses {
    /// Chooses from what was confirmed from outside and what is listened on. Loopback addresses are of use only where a home is on loopback, too:
    /// then everything is on this machine.
    pub fn choose<'a>(
        confirmed: &[Multiaddr],
        listening: &[Multiaddr],
        mut homes: impl Iterator<Item = &'a RendezvousAddr>,
    ) -> Self {
        let loopback = homes.any(is_loopback);
        let useful = |address: &&Multiaddr| is_useful(address, loopback);
        let mut all: Vec<Multiaddr> = confirmed.iter().filter(useful).cloned().collect();
        let public = !all.is_empty();
        for address in listening.iter().filter(useful) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all.truncate(MAX_SIGNAL_ADDRESSES);
        Self { all, public }
    }
}

/// Whether a rendezvous is on this machine.
pub fn is_loopback(home: &RendezvousAddr) -> bool {
    match &home.host {
        Host::V4(ip) => ip.is_loopback(),
        Host::V6(ip) => ip.is_loopback(),
        Host::Dns(_) => false,
    }
}

fn is_useful(address: &Multiaddr, loopback: bool) -> bool {
    !address.iter().any(|part| match part {
        Protocol::P2pCircuit => true,
        Protocol::Ip4(ip) => ip.is_unspecified() || (ip.is_loopback() && !loopback),
        Protocol::Ip6(ip) => ip.is_unspecified() || ip.is_unicast_link_local() || (ip.is_loopback() && !loopback),
        _ => false,
    })
}
