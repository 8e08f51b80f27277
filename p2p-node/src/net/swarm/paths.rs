//! Which path connections take: the address of this machine that each sends from, and what of that is still true after the network has changed.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use if_addrs::IfAddr;
use libp2p::{Multiaddr, multiaddr::Protocol, swarm::ConnectionId};
use tracing::Span;

use crate::net::{
    NetworkId, Transport,
    connectivity::{Network, is_circuit},
    send_queue::SendQueue,
};

/// What is known of an established connection.
#[derive(Debug)]
pub(super) struct Path {
    /// What is logged of it and its streams has this context; no peer, no address.
    pub span: Span,
    /// What it goes over, if not through a proxy.
    pub transport: Option<Transport>,
    /// What it has sent and is not acknowledged, if it goes over TCP.
    pub queue: Option<SendQueue>,
    /// Where the other end is. `None` through a relay.
    remote: Option<IpAddr>,
    /// The address of this machine that it was made from.
    source: Option<IpAddr>,
}

impl Path {
    pub fn new(span: Span, remote: &Multiaddr) -> Self {
        let (transport, queue) = (Transport::of(remote), SendQueue::towards(remote));
        let ip = match remote.iter().next() {
            Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
            Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip)),
            _ => None,
        };
        let remote = ip.filter(|_| !is_circuit(remote));
        Self { span, transport, queue, remote, source: remote.and_then(source_towards) }
    }

    /// The address of the other end. `None` through a relay.
    pub fn remote(&self) -> Option<IpAddr> {
        self.remote
    }
}

/// The address of this machine from which the system would send to another one now. Nothing is sent.
fn source_towards(remote: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    // Of no matter: the port of no service.
    socket.connect(SocketAddr::new(remote, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The address of a host that no network has (RFC 7050), to see whether IPv4 leads out.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 170));

/// The network as it is at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    addresses: Vec<IpAddr>,
    /// The networks that this machine is in; none, if the system does not say.
    pub networks: Vec<Network>,
    /// Where all else is sent: interfaces and their next hops, as the kernel writes them.
    gateways: Vec<String>,
    /// The interface by which IPv4 leads out: that of a VPN, whose routes are often not among those.
    way_out: Option<String>,
    /// An interface has IPv6 alone.
    pub ipv6_alone: bool,
}

impl Picture {
    pub fn now() -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let network = |interface: &if_addrs::Interface| match &interface.addr {
            IfAddr::V4(v4) => Network { address: v4.ip.into(), prefix: v4.prefixlen },
            IfAddr::V6(v6) => Network { address: v6.ip.into(), prefix: v6.prefixlen },
        };
        let all: Vec<Network> = interfaces.iter().map(network).collect();
        let usable = interfaces.iter().filter(|interface| !interface.is_loopback() && !interface.is_link_local());
        let usable: Vec<(&str, IpAddr)> = usable.map(|interface| (interface.name.as_str(), interface.ip())).collect();
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let source = source_towards(OUTSIDE);
        let way_out = interfaces.iter().find(|interface| Some(interface.ip()) == source);
        Self {
            way_out: way_out.map(|interface| interface.name.clone()),
            addresses: all.iter().map(|network| network.address).collect(),
            // An interface that claims everything is no network to be in.
            networks: all.into_iter().filter(|network| network.prefix >= 8).collect(),
            gateways: gateways(&read("/proc/net/route"), &read("/proc/net/ipv6_route")),
            ipv6_alone: has_ipv6_alone(&usable),
        }
    }

    /// What tells the network from others: where it sends all else to. Nothing if there is no router to tell it by, as with a modem.
    pub fn network(&self) -> Option<NetworkId> {
        self.network_by(&std::fs::read_to_string("/proc/net/arp").unwrap_or_default())
    }

    fn network_by(&self, arp: &str) -> Option<NetworkId> {
        let has_router =
            |gateway: &String| gateway.split_once(' ').is_some_and(|(_, hop)| hop.bytes().any(|b| b != b'0'));
        if !self.gateways.iter().any(has_router) {
            return None;
        }
        let mut hasher = blake3::Hasher::new_derive_key("starling 2026 network v1");
        hasher.update(format!("{}\n", self.way_out.as_deref().unwrap_or_default()).as_bytes());
        for gateway in &self.gateways {
            // Many routers have the same address in their networks, but each has its own on the link.
            hasher.update(format!("{gateway} {}\n", link_address(gateway, arp).unwrap_or_default()).as_bytes());
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Some(NetworkId(id))
    }

    /// Whether an address is one of this machine.
    pub fn has(&self, ip: &IpAddr) -> bool {
        self.addresses.contains(ip)
    }

    /// There is no network but the machine itself.
    pub fn is_offline(&self) -> bool {
        self.addresses.iter().all(IpAddr::is_loopback)
    }

    /// IPv6 alone leads out: there is no route to IPv4 addresses elsewhere.
    pub fn is_ipv6_only(&self) -> bool {
        let leads_out = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local());
        self.addresses.iter().any(leads_out) && source_towards(OUTSIDE).is_none()
    }

    /// What has become of connections, if the network was as `before` when it was last looked at.
    pub fn compare(&self, before: &Self, paths: &HashMap<ConnectionId, Path>) -> Outcome {
        let mut outcome = Outcome { rerouted: self.gateways != before.gateways, ..Outcome::default() };
        for (id, path) in paths {
            let (Some(remote), Some(source)) = (path.remote, path.source) else { continue };
            if !self.addresses.contains(&source) {
                outcome.gone.push(*id);
            } else if source_towards(remote).is_some_and(|now| now != source) {
                outcome.moved.push(*id);
            }
        }
        outcome
    }
}

/// What has become of connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Those whose address is none of this machine any more.
    pub gone: Vec<ConnectionId>,
    /// Those that would be made from another address now.
    pub moved: Vec<ConnectionId>,
    /// What is not in a network of this machine is sent elsewhere now.
    pub rerouted: bool,
}

/// The address on the link of who has not said yet what it is.
const NOT_KNOWN: &str = "00:00:00:00:00:00";

/// The address on the link of a router with IPv4, in `/proc/net/arp`. With IPv6, their addresses are made of those already.
fn link_address<'a>(gateway: &str, arp: &'a str) -> Option<&'a str> {
    let (interface, hop) = gateway.split_once(' ')?;
    let hop = Ipv4Addr::from(u32::from_str_radix(hop, 16).ok()?.to_ne_bytes());
    arp.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [ip, _, _, link, _, device]
            if *device == interface && *link != NOT_KNOWN && ip.parse::<Ipv4Addr>() == Ok(hop) =>
        {
            Some(*link)
        }
        _ => None,
    })
}

/// Whether an interface, of those with these addresses, has IPv6 alone. Not the machine as a whole: many have IPv4 networks of containers or a VPN.
fn has_ipv6_alone(interfaces: &[(&str, IpAddr)]) -> bool {
    let has_ipv4 = |name: &str| interfaces.iter().any(|(other, ip)| *other == name && ip.is_ipv4());
    interfaces.iter().any(|(name, ip)| ip.is_ipv6() && !has_ipv4(name))
}

/// The default routes in `/proc/net/route` and `/proc/net/ipv6_route`.
fn gateways(ipv4: &str, ipv6: &str) -> Vec<String> {
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    let v4 = ipv4.lines().map(fields).filter_map(|f| match f.as_slice() {
        [interface, to, hop, _, _, _, _, mask, ..] if to == "00000000" && mask == "00000000" => {
            Some(format!("{interface} {hop}"))
        }
        _ => None,
    });
    let is_zero = |address: &str| address.bytes().all(|b| b == b'0');
    let v6 = ipv6.lines().map(fields).filter_map(|f| match f.as_slice() {
        [to, prefix, _, _, hop, .., interface] if is_zero(to) && prefix == "00" && interface != "lo" => {
            Some(format!("{interface} {hop}"))
        }
        _ => None,
    });
    let mut all: Vec<String> = v4.chain(v6).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        wlan0\t00000000\t0104A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
        wlan0\t0004A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0\n";
    const ROUTES_6: &str = "\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 wlan0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n\
        20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001 wlan0\n";

    #[test]
    fn default_routes_are_found_and_others_are_not() {
        assert_eq!(gateways(ROUTES, ROUTES_6), ["wlan0 0104A8C0", "wlan0 fe800000000000000000000000000001"]);
        assert_eq!(gateways("", "nonsense\n"), [] as [&str; 0]);
    }

    #[test]
    fn networks_are_told_apart_by_their_routers() {
        let entry = |link: &str| {
            format!("IP address HW type Flags HW address Mask Device\n192.168.4.1 0x1 0x2 {link} * wlan0\n")
        };
        let network = |routes: &str, link: &str| {
            let picture = Picture { gateways: gateways(routes, ""), ..Picture::default() };
            picture.network_by(&entry(link))
        };
        assert_eq!(link_address("wlan0 0104A8C0", &entry("02:00:00:00:00:01")), Some("02:00:00:00:00:01"));
        assert_eq!(link_address("eth0 0104A8C0", &entry("02:00:00:00:00:01")), None);
        assert_eq!(link_address("wlan0 0104A8C0", &entry("00:00:00:00:00:00")), None, "it is being asked");
        assert_eq!(link_address("wlan0 fe800000000000000000000000000001", &entry("02:00:00:00:00:01")), None);
        let here = network(ROUTES, "02:00:00:00:00:01");
        assert!(here.is_some() && here == network(ROUTES, "02:00:00:00:00:01"));
        assert_ne!(here, network(ROUTES, "02:00:00:00:00:02"), "another router with the same address");
        assert_ne!(here, network(&ROUTES.replace("0104A8C0", "0204A8C0"), "02:00:00:00:00:01"));
        assert_eq!(network("", "02:00:00:00:00:01"), None);
        assert_eq!(network(&ROUTES.replace("0104A8C0", "00000000"), "02:00:00:00:00:01"), None, "a modem's");
        let with_vpn = Picture { gateways: gateways(ROUTES, ""), way_out: Some("tun0".into()), ..Picture::default() };
        assert_ne!(with_vpn.network_by(&entry("02:00:00:00:00:01")), here);
    }

    #[test]
    fn an_interface_with_ipv6_alone_is_noticed_beside_others() {
        let v4 = |name| (name, IpAddr::from([192, 168, 1, 7]));
        let v6 = |name| (name, IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]));
        assert!(has_ipv6_alone(&[v6("wlan0")]) && has_ipv6_alone(&[v4("docker0"), v6("wlan0")]));
        assert!(
            !has_ipv6_alone(&[]) && !has_ipv6_alone(&[v4("wlan0")]) && !has_ipv6_alone(&[v6("wlan0"), v4("wlan0")])
        );
    }

    #[test]
    fn connections_from_an_address_that_is_gone_are_told_from_those_that_stay() {
        let there = Picture::now();
        let path = |source: &str| Path {
            span: Span::none(),
            transport: None,
            queue: None,
            remote: Some(Ipv4Addr::LOCALHOST.into()),
            source: source.parse().ok(),
        };
        let id = ConnectionId::new_unchecked;
        let relayed = Path { span: Span::none(), transport: None, queue: None, remote: None, source: None };
        let paths = HashMap::from([(id(1), path("127.0.0.1")), (id(2), path("203.0.113.9")), (id(3), relayed)]);
        assert_eq!(there.compare(&there, &paths), Outcome { gone: vec![id(2)], ..Outcome::default() });
    }
}
