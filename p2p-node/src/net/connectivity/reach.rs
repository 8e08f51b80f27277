//! Which addresses are dialled that others have given. Who names an address makes this machine send to it: no host of a network behind it, or on the
//! machine itself, is reached in this way, unless the two devices are in that network together.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use starling_keys::{Host, RendezvousAddr};

/// A network that an interface of this machine is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The interface's address.
    pub address: IpAddr,
    /// How many of its first bits are the network's.
    pub prefix: u8,
}

impl Network {
    /// Whether an address is one of this network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |differs: u128, bits: u32| differs.leading_zeros() - (128 - bits) >= u32::from(self.prefix);
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(a.to_bits() ^ b.to_bits()), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits() ^ b.to_bits(), 128),
            _ => false,
        }
    }
}

/// Where an address leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Global,
    Private,
    Loopback,
    /// Nowhere, or to many.
    Other,
}

fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(ip) if ip.is_unspecified() || ip.is_multicast() || ip.octets()[0] == 0 || ip.octets()[0] >= 240 => {
            Scope::Other
        }
        // The last are shared by the customers of a provider (RFC 6598), and by private networks over the internet.
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || ip.to_bits() >> 22 == 0b01_1001_0001 => {
            Scope::Private
        }
        IpAddr::V4(_) => Scope::Global,
        IpAddr::V6(ip) if ip.is_loopback() => Scope::Loopback,
        IpAddr::V6(ip) if ip.is_unique_local() => Scope::Private,
        // Of all others, only this eighth is in use for hosts; link-local ones mean nothing without their interface.
        IpAddr::V6(ip) if ip.segments()[0] >> 13 == 1 => Scope::Global,
        IpAddr::V6(_) => Scope::Other,
    }
}

/// Below this, ports are those of system services, on hosts of a private network above all of routers.
const FIRST_PORT: u16 = 1024;

/// What may be dialled from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The networks that this machine is in.
    pub networks: Vec<Network>,
    /// A home of ours is on this machine: then contacts may be, too.
    pub loopback: bool,
}

impl Reach {
    /// Whether an address of a device may be dialled.
    pub fn admits(&self, address: &Multiaddr) -> bool {
        let mut parts = address.iter();
        let ip = match parts.next() {
            Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
            Some(Protocol::Ip6(ip)) => IpAddr::V6(ip),
            // A name may lead anywhere.
            _ => return false,
        };
        let (Some(Protocol::Tcp(port)) | Some(Protocol::Udp(port))) = parts.next() else { return false };
        self.admits_ip(ip) && (scope(ip) == Scope::Global || port >= FIRST_PORT)
    }

    /// Whether the rendezvous of somebody else may be dialled there. Where names lead is checked when they are resolved.
    pub fn admits_home(&self, home: &RendezvousAddr) -> bool {
        match &home.host {
            Host::V4(ip) => self.admits_ip(IpAddr::V4(*ip)),
            Host::V6(ip) => self.admits_ip(IpAddr::V6(*ip)),
            Host::Dns(_) => true,
        }
    }

    /// Whether it may be dialled in this way, which has a port of its own.
    pub fn admits_way(&self, address: &Multiaddr) -> bool {
        let is_name = |part| matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_));
        address.iter().next().is_some_and(is_name) || self.admits(address)
    }

    fn admits_ip(&self, ip: IpAddr) -> bool {
        match scope(ip) {
            Scope::Global => true,
            Scope::Private => self.networks.iter().any(|network| network.contains(ip.to_canonical())),
            Scope::Loopback => self.loopback,
            Scope::Other => false,
        }
    }
}

/// Whether an address is of the form under which devices are reached directly: an IP address and a transport, and no other peer.
pub fn is_direct(address: &Multiaddr, peer: &PeerId) -> bool {
    let mut parts: Vec<Protocol<'_>> = address.iter().collect();
    if parts.last() == Some(&Protocol::P2p(*peer)) {
        parts.pop();
    }
    matches!(
        parts.as_slice(),
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(1..)]
            | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(1..), Protocol::QuicV1]
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_public_addresses_and_those_of_shared_networks_are_dialled() {
        let network = |ip: &str, prefix| Network { address: ip.parse().unwrap(), prefix };
        let reach = Reach {
            networks: vec![
                network("192.168.4.7", 22),
                network("fd00:1::5", 64),
                network("fe80::5", 64),
                network("127.0.0.1", 8),
            ],
            loopback: false,
        };
        for good in [
            "/ip4/93.184.216.34/udp/443/quic-v1",
            "/ip4/192.168.7.255/tcp/4001",
            "/ip6/2606:2800::1/tcp/22",
            "/ip6/fd00:1::9/udp/4001/quic-v1",
            "/ip6/::ffff:192.168.5.1/tcp/4001",
        ] {
            assert!(reach.admits(&address(good)), "{good}");
        }
        for bad in [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip4/192.168.8.1/tcp/4001",
            "/ip4/192.168.4.1/tcp/80",
            "/ip4/10.0.0.1/udp/4001/quic-v1",
            "/ip4/169.254.169.254/tcp/8080",
            "/ip4/100.64.0.1/tcp/4001",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/224.0.0.251/udp/5353/quic-v1",
            "/ip4/255.255.255.255/udp/4001/quic-v1",
            "/ip6/::1/tcp/4001",
            "/ip6/::ffff:127.0.0.1/tcp/4001",
            "/ip6/::ffff:10.0.0.1/tcp/4001",
            "/ip6/fe80::1/tcp/4001",
            "/ip6/64:ff9b::a00:1/tcp/4001",
            "/dns4/intranet.example/tcp/4001",
        ] {
            assert!(!reach.admits(&address(bad)), "{bad}");
        }
        assert!(Reach { loopback: true, ..reach }.admits(&address("/ip4/127.0.0.1/tcp/4001")));
    }

    #[test]
    fn a_direct_address_is_an_ip_address_with_a_transport() {
        let (own, other) = (PeerId::random(), PeerId::random());
        for good in ["/ip4/1.2.3.4/tcp/1", "/ip6/2606::1/udp/1/quic-v1"] {
            assert!(is_direct(&address(good), &own));
            assert!(is_direct(&address(good).with(Protocol::P2p(own)), &own));
            assert!(!is_direct(&address(good).with(Protocol::P2p(other)), &own));
        }
        for bad in ["/dns4/a.example/tcp/1", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/tcp/0", "/ip4/1.2.3.4/tcp/80/ws"] {
            assert!(!is_direct(&address(bad), &own), "{bad}");
        }
        let circuit = format!("/ip4/1.2.3.4/tcp/1/p2p/{other}/p2p-circuit/p2p/{own}");
        assert!(!is_direct(&address(&circuit), &own));
    }
}
