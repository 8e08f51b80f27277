//! The addresses of this machine that media come from and go to.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
};

use rtc::shared::ifaces::ifaces;

/// Addresses outside of any network (RFC 5737, 3849), to see by which of ours it would go there.
const OUTSIDE: [&str; 2] = ["192.0.2.1:9", "[2001:db8::9]:9"];

/// Nothing is sent to it.
const ANY_PORT: u16 = 9;

/// Addresses of one protocol that are used: each costs a socket, a question to each server, and checks with each address of the other end.
const MAX_ADDRESSES: usize = 4;

/// Where sockets are bound: asked for anew whenever they are, so that they are those of the moment.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Also on the loopback interface.
    pub loopback: bool,
    /// Nothing is sent from there, and nothing is to come: a connection needs a socket all the same.
    pub unused: bool,
}

impl ToSocketAddrs for Addresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let mut found = if self.unused { Vec::new() } else { here() };
        if self.loopback || self.unused {
            found.push(Ipv4Addr::LOCALHOST.into());
        }
        if found.is_empty() {
            // A connection needs a socket, even while there is no network.
            found.push(Ipv4Addr::UNSPECIFIED.into());
        }
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
    }
}

/// All addresses of this machine.
pub fn all() -> Vec<IpAddr> {
    let interfaces =
        ifaces().inspect_err(|error| tracing::warn!(%error, "addresses are not known")).unwrap_or_default();
    interfaces.into_iter().filter_map(|interface| Some(interface.addr?.ip())).collect()
}

/// The addresses that others may reach this machine by, those that it would use itself first.
pub fn here() -> Vec<IpAddr> {
    let used: Vec<IpAddr> = OUTSIDE.iter().filter_map(|address| used_towards(address.parse().ok()?)).collect();
    chosen(all(), &used)
}

/// Whether what is sent to an address leaves this machine by another interface now than the one that has `local`.
pub fn is_detour(local: IpAddr, remote: IpAddr) -> bool {
    let interfaces = ifaces().unwrap_or_default();
    let named: Vec<(String, IpAddr)> =
        interfaces.into_iter().filter_map(|interface| Some((interface.name, interface.addr?.ip()))).collect();
    used_towards(SocketAddr::new(remote, ANY_PORT)).is_some_and(|used| are_of_two(&named, local, used))
}

/// Whether two addresses are of two interfaces.
fn are_of_two(named: &[(String, IpAddr)], one: IpAddr, other: IpAddr) -> bool {
    let name_of = |ip: IpAddr| named.iter().find(|(_, of)| *of == ip).map(|(name, _)| name);
    name_of(one).zip(name_of(other)).is_some_and(|(one, other)| one != other)
}

/// Of all addresses of a machine, some of which it uses itself.
fn chosen(mut all: Vec<IpAddr>, used: &[IpAddr]) -> Vec<IpAddr> {
    all.retain(|ip| is_usable(*ip));
    // One that follows the machine through all networks is not told without need.
    let private = all.iter().any(|ip| ip.is_ipv6() && !names_the_machine(*ip));
    all.retain(|ip| !private || used.contains(ip) || !names_the_machine(*ip));
    all.sort_by_key(|ip| !used.contains(ip));
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in all {
        let of_kind = found.iter().filter(|known| known.is_ipv4() == ip.is_ipv4()).count();
        if of_kind < MAX_ADDRESSES && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

fn is_usable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        // It needs the interface beside it, which a candidate cannot name.
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !link_local
}

/// Whether an address is made of the number of the network card (RFC 4291, appendix A).
fn names_the_machine(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.octets()[11..13] == [0xff, 0xfe],
    }
}

/// The address from which the system would send to another one. Nothing is sent.
fn used_towards(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn of_many_addresses_a_few_of_each_protocol_are_used_and_those_of_the_route_in_any_case() {
        let of_v4 = (1..=40).map(|n| IpAddr::from([10, 0, 0, n]));
        let of_v6 = (1..=40).map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]));
        let many: Vec<IpAddr> = of_v4.chain(of_v6).chain(ips(&["10.0.0.1", "127.0.0.1"])).collect();
        let used = chosen(many, &ips(&["10.0.0.33", "fd00::21"]));
        let expected = ["10.0.0.33", "fd00::21", "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2", "fd00::3"];
        assert_eq!(used, ips(&expected));
    }

    #[test]
    fn addresses_of_the_link_and_those_that_name_the_machine_are_left_out() {
        assert!(chosen(ips(&["169.254.1.1", "fe80::1", "::1", "::", "::ffff:10.0.0.1"]), &[]).is_empty());
        let (named, temporary) = ("2001:db8::215:5dff:fe01:203", "2001:db8::8d11:77aa:1:2");
        assert_eq!(chosen(ips(&[named, temporary]), &[]), ips(&[temporary]));
        assert_eq!(chosen(ips(&[named]), &[]), ips(&[named]), "it has no other");
        assert_eq!(chosen(ips(&[named, temporary]), &ips(&[named])), ips(&[named, temporary]), "it is used anyway");
    }

    #[test]
    fn another_address_of_the_same_interface_is_no_detour() {
        let named = [("eth0", "10.0.0.1"), ("eth0", "10.0.0.2"), ("wlan0", "10.1.0.1")];
        let named = named.map(|(name, ip)| (name.to_owned(), ip.parse().unwrap()));
        let are_of_two = |one: &str, other: &str| are_of_two(&named, one.parse().unwrap(), other.parse().unwrap());
        assert!(are_of_two("10.0.0.1", "10.1.0.1"));
        assert!(!are_of_two("10.0.0.1", "10.0.0.2") && !are_of_two("10.0.0.1", "10.0.0.1"));
        assert!(!are_of_two("10.0.0.1", "10.9.0.1"), "whose that is, is not known");
        assert!(!is_detour(Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn there_is_always_something_to_bind() {
        for loopback in [true, false] {
            assert!(Addresses { loopback, unused: false }.to_socket_addrs().unwrap().next().is_some());
            let unused = Addresses { loopback, unused: true }.to_socket_addrs().unwrap();
            assert_eq!(unused.collect::<Vec<_>>(), [SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
        }
    }
}
