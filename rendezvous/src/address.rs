//! IP addresses: which are private, and which belong together.

use std::{
    fmt::{self, Display, Formatter},
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Whether an address is not one of the public internet.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified();
            let reserved = a >= 240 || (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19));
            special || shared || reserved || a == 0 || ip.is_broadcast() || ip.is_multicast()
        }
        IpAddr::V6(ip) => match (ip.to_ipv4_mapped(), ip.segments()) {
            (Some(ip), _) => is_private(ip.into()),
            // 6to4 embeds an address of IPv4.
            (None, [0x2002, high, low, ..]) => {
                is_private(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into())
            }
            // 2000::/3 is all that is routed.
            (None, [first, ..]) => first & 0xe000 != 0x2000,
        },
    }
}

/// Whether an address is that of this host or of its link alone: what listens there trusts those who reach it.
pub fn is_of_this_link(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// The addresses that peers send to: one of IPv4, one of IPv6, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayIps {
    first: IpAddr,
    other: Option<IpAddr>,
}

impl RelayIps {
    /// From those that there are, the most important first: one of each protocol counts.
    pub fn new(first: IpAddr, others: impl IntoIterator<Item = IpAddr>) -> Self {
        let other = others.into_iter().find(|ip| ip.is_ipv4() != first.is_ipv4());
        Self { first, other }
    }

    /// All.
    pub fn all(self) -> impl Iterator<Item = IpAddr> {
        [self.first].into_iter().chain(self.other)
    }

    /// Whether it is one of them.
    pub fn contains(self, ip: IpAddr) -> bool {
        self.all().any(|ours| ours == ip)
    }

    /// That of a protocol.
    pub fn of_family(self, ipv4: bool) -> Option<IpAddr> {
        self.all().find(|ip| ip.is_ipv4() == ipv4)
    }
}

/// An IPv6 user has a /64 at least.
pub fn prefix(ip: IpAddr) -> IpAddr {
    Network::new(ip, if ip.is_ipv4() { 32 } else { 64 }).address
}

/// All addresses that begin with the same bits. Written as `10.0.0.0/8`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Text that is no network.
#[derive(Debug, thiserror::Error)]
#[error("“{0}” is neither an IP address nor a network such as 10.0.0.0/8")]
pub struct NotANetwork(String);

impl Network {
    fn new(ip: IpAddr, bits: u8) -> Self {
        let address = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
                IpAddr::V4((ip.to_bits() & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
                IpAddr::V6((ip.to_bits() & mask).into())
            }
        };
        Self { address, bits }
    }

    /// The networks that an address counts against, from the narrowest to the widest: one user has the first at least and may have all of the last.
    /// An IPv4 address in an IPv6 one is the IPv4 address.
    pub fn around(ip: IpAddr) -> [Self; 3] {
        let ip = ip.to_canonical();
        let bits = if ip.is_ipv4() { [32, 28, 24] } else { [64, 56, 48] };
        bits.map(|bits| Self::new(ip, bits))
    }

    /// The network of a provider, or what it has of one region: an IPv4 /16 or IPv6 /32.
    pub fn wide(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        Self::new(ip, if ip.is_ipv4() { 16 } else { 32 })
    }

    /// Whether an address is in this network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.address.is_ipv4() && Self::new(ip, self.bits) == *self
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self::new(address, bits)) }
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The networks around a client's address.
    Client([Network; 3]),
    /// A trusted proxy.
    Proxy(Network),
}

impl Origin {
    /// Where an address is, for a server with these proxies.
    pub fn of(ip: IpAddr, proxies: &[Network]) -> Self {
        match proxies.iter().find(|network| network.contains(ip)) {
            Some(proxy) => Self::Proxy(*proxy),
            None => Self::Client(Network::around(ip)),
        }
    }

    /// All networks that it counts against, from the narrowest to the widest.
    pub fn networks(&self) -> &[Network] {
        match self {
            Self::Client(networks) => networks,
            Self::Proxy(network) => std::slice::from_ref(network),
        }
    }

    /// Whether two clients are in one network, as far as their addresses tell: in an IPv4 /24 or IPv6 /64, or behind the same NAT.
    pub fn is_near(&self, other: &Self) -> bool {
        let near = |around: &[Network; 3]| if around[0].address.is_ipv4() { around[2] } else { around[0] };
        match (self, other) {
            (Self::Client(one), Self::Client(another)) => near(one) == near(another),
            _ => false,
        }
    }

    /// The network by which strangers are compared.
    pub fn widest(&self) -> Network {
        match self {
            Self::Client([.., widest]) => *widest,
            Self::Proxy(network) => *network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_ever_wider_networks() {
        let around = |text: &str| Network::around(text.parse().unwrap()).map(|network| network.to_string());
        assert_eq!(around("192.0.2.77"), ["192.0.2.77/32", "192.0.2.64/28", "192.0.2.0/24"]);
        assert_eq!(around("::ffff:192.0.2.77"), around("192.0.2.77"));
        assert_eq!(around("2001:db8:1:203::9"), ["2001:db8:1:203::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]);
    }

    #[test]
    fn clients_of_one_small_network_are_near() {
        let origin = |text: &str| Origin::of(text.parse().unwrap(), &["10.9.0.0/16".parse().unwrap()]);
        let near = |one, another| origin(one).is_near(&origin(another));
        assert!(near("192.0.2.7", "::ffff:192.0.2.200") && near("2001:db8:1:2::1", "2001:db8:1:2::ffff"));
        assert!(!near("192.0.2.7", "192.0.3.7") && !near("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!near("192.0.2.7", "2001:db8::1"));
        assert!(!near("10.9.1.1", "10.9.1.1"), "whoever comes through a proxy may be anywhere");
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        let network: Network = "10.1.2.3/8".parse().unwrap();
        assert_eq!(network.to_string(), "10.0.0.0/8");
        assert!(
            network.contains("10.200.0.1".parse().unwrap()) && network.contains("::ffff:10.0.0.1".parse().unwrap())
        );
        assert!(!network.contains("11.0.0.1".parse().unwrap()) && !network.contains("::1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("192.0.2.1".parse().unwrap()));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "localhost"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
