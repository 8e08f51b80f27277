//! IP addresses: which are private, and which belong together.

use std::net::{IpAddr, Ipv4Addr};

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

/// An IPv6 user has a /64 at least.
pub fn prefix(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
    }
}
