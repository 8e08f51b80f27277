//! Servers with IPv4 addresses on networks that have IPv6 alone. A translator (NAT64) reaches them under IPv6 addresses that contain theirs (RFC 6052),
//! if one knows its prefix. That is told by what the network's resolver makes up for a name that has no IPv6 address (RFC 7050).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::paths::Picture;

/// The name that has IPv4 addresses alone, which are known ...
const NAME: &str = "ipv4only.arpa";
/// ... and are these.
const KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// A resolver that takes longer says nothing: a dial or a call waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Answers that are looked at. A resolver gives two for each prefix.
const MAX_ANSWERS: usize = 16;
/// Prefixes that are used: each is one more address to dial.
const MAX_PREFIXES: usize = 2;
/// How many bits a prefix can have (RFC 6052, section 2.2).
const LENGTHS: [usize; 6] = [96, 64, 56, 48, 40, 32];
/// The one that is tried where no resolver tells another.
const WELL_KNOWN: Nat64Prefix =
    Nat64Prefix { octets: [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], length: 96 };

/// The prefix of a translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64Prefix {
    octets: [u8; 16],
    length: usize,
}

/// The octets of an address that contain the IPv4 address behind a prefix of this length. The ninth is not used for anything.
fn places(length: usize) -> impl Iterator<Item = usize> {
    (length / 8..16).filter(|octet| *octet != 8).take(4)
}

impl Nat64Prefix {
    /// An address behind the translator. `None` for addresses that mean something on this machine or its link alone; and for private ones behind the
    /// well-known prefix, where they would be another network's (RFC 6052, section 3.1).
    fn address(&self, ip: Ipv4Addr) -> Option<Ipv6Addr> {
        let is_private_behind_any = ip.is_private() && *self == WELL_KNOWN;
        if ip.is_loopback() || ip.is_unspecified() || ip.is_link_local() || is_private_behind_any {
            return None;
        }
        let mut octets = self.octets;
        for (place, octet) in places(self.length).zip(ip.octets()) {
            octets[place] = octet;
        }
        Some(octets.into())
    }

    /// The prefix of an answer for the known name. An answer that fits none, or several, says nothing.
    fn of_answer(answer: Ipv6Addr) -> Option<Self> {
        let mut found = LENGTHS.iter().filter_map(|length| Self::of_length(answer, *length));
        let prefix = found.next()?;
        (found.next().is_none() && prefix.is_possible()).then_some(prefix)
    }

    fn of_length(answer: Ipv6Addr, length: usize) -> Option<Self> {
        let all = answer.octets();
        let (mut octets, mut contained) = ([0; 16], [0; 4]);
        octets[..length / 8].copy_from_slice(&all[..length / 8]);
        for (octet, place) in contained.iter_mut().zip(places(length)) {
            *octet = all[place];
        }
        (all[8] == 0 && KNOWN.contains(&contained.into())).then_some(Self { octets, length })
    }

    /// Whether it is one of the internet, of a private network, or of those that are set aside for translators (RFC 8215), and not one that means something
    /// on this machine or its link alone.
    fn is_possible(&self) -> bool {
        let first = Ipv6Addr::from(self.octets);
        let segments = first.segments();
        segments[0] >> 13 == 1 || first.is_unique_local() || segments[..2] == [0x64, 0xff9b]
    }

    /// An address with an IPv4 address at its start, as it is dialled by way of the translator.
    pub fn translate(&self, address: &Multiaddr) -> Option<Multiaddr> {
        address.replace(0, |host| match host {
            Protocol::Ip4(ip) => self.address(*ip).map(Protocol::Ip6),
            _ => None,
        })
    }

    /// The same for the address of a socket.
    pub fn translate_socket(&self, server: SocketAddrV4) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address(*server.ip())?.into(), server.port()))
    }

    /// The same for the URL of a STUN or TURN server (RFC 7064, RFC 7065).
    pub fn translate_url(&self, url: &str) -> Option<String> {
        let (scheme, place) = url.split_once(':')?;
        let (host, rest) = place.split_at(place.find([':', '?']).unwrap_or(place.len()));
        let ip = self.address(host.parse().ok()?)?;
        Some(format!("{scheme}:[{ip}]{rest}"))
    }
}

/// The prefixes that answers for the known name tell, else the well-known one.
pub(super) fn told_by(answers: impl Iterator<Item = IpAddr>) -> Vec<Nat64Prefix> {
    let mut all = Vec::new();
    for answer in answers.take(MAX_ANSWERS) {
        if let IpAddr::V6(ip) = answer
            && let Some(prefix) = Nat64Prefix::of_answer(ip)
            && all.len() < MAX_PREFIXES
            && !all.contains(&prefix)
        {
            all.push(prefix);
        }
    }
    if all.is_empty() {
        all.push(WELL_KNOWN);
    }
    all
}

/// The prefixes of the network's translators: they may change with the network, so they are asked for each time.
pub(super) async fn prefixes() -> Vec<Nat64Prefix> {
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((NAME, 0))).await {
        Ok(Ok(answers)) => told_by(answers.map(|answer| answer.ip())),
        Ok(Err(_)) | Err(_) => vec![WELL_KNOWN],
    }
}

/// The prefixes by which servers with IPv4 addresses are reached; none where IPv4 leads out.
pub async fn translators() -> Vec<Nat64Prefix> {
    if Picture::now().is_ipv6_only() { prefixes().await } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn prefix(text: &str, length: usize) -> Nat64Prefix {
        Nat64Prefix { octets: ip(text).octets(), length }
    }

    /// RFC 6052, section 2.4.
    const EXAMPLES: [(&str, usize, &str); 7] = [
        ("2001:db8::", 32, "2001:db8:c000:221::"),
        ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
        ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
    ];

    #[test]
    fn addresses_are_made_as_in_the_examples_of_rfc_6052() {
        for (text, length, expected) in EXAMPLES {
            assert_eq!(
                prefix(text, length).address(Ipv4Addr::new(192, 0, 2, 33)),
                Some(ip(expected)),
                "{text}/{length}"
            );
        }
    }

    #[test]
    fn the_prefix_is_found_in_the_answer_for_the_known_name() {
        for (text, length, _) in EXAMPLES {
            for known in KNOWN {
                let prefix = prefix(text, length);
                assert_eq!(Nat64Prefix::of_answer(prefix.address(known).unwrap()), Some(prefix), "{text}/{length}");
            }
        }
    }

    #[test]
    fn answers_that_lie_tell_no_prefix() {
        for answer in [
            // No address of the name; not where it may be; with something between; in two places.
            "2001:db8:64::192.0.2.33",
            "2001:db8:64:0:c000:aa::",
            "2001:db8:64:c000:100:aa00::",
            "2001:db8:c000:aa::192.0.0.170",
            // Of this machine, its link, many, or IPv4 in another form.
            "::192.0.0.170",
            "::ffff:192.0.0.170",
            "fe80::192.0.0.170",
            "ff02::192.0.0.170",
        ] {
            assert_eq!(Nat64Prefix::of_answer(ip(answer)), None, "{answer}");
        }
    }

    #[test]
    fn however_much_is_answered_few_prefixes_are_used_and_without_any_the_well_known_one() {
        let known = |n: u32| IpAddr::V6(ip(&format!("2001:db8:{n:x}::192.0.0.170")));
        assert_eq!(told_by((1..1_000).map(known)), [prefix("2001:db8:1::", 96), prefix("2001:db8:2::", 96)]);
        assert_eq!(told_by([known(1), known(1)].into_iter()), [prefix("2001:db8:1::", 96)]);
        assert_eq!(told_by([IpAddr::V4(KNOWN[0])].into_iter()), [WELL_KNOWN]);
    }

    #[test]
    fn addresses_and_urls_of_servers_are_translated_and_those_of_this_machine_are_not() {
        let translate = |text: &str| WELL_KNOWN.translate(&text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(
            translate("/ip4/192.0.2.33/udp/4001/quic-v1").as_deref(),
            Some("/ip6/64:ff9b::c000:221/udp/4001/quic-v1")
        );
        for other in
            ["/ip4/127.0.0.1/tcp/1", "/ip4/169.254.1.1/tcp/1", "/ip6/2001:db8::1/tcp/1", "/dns/a.example/tcp/1"]
        {
            assert_eq!(translate(other), None, "{other}");
        }
        for (url, expected) in [
            ("turn:192.0.2.33:3478?transport=udp", Some("turn:[64:ff9b::c000:221]:3478?transport=udp")),
            ("stun:192.0.2.33", Some("stun:[64:ff9b::c000:221]")),
            ("turn:127.0.0.1:3478", None),
            ("turn:turn.example:3478", None),
            ("turn:[2001:db8::1]:3478", None),
        ] {
            assert_eq!(WELL_KNOWN.translate_url(url).as_deref(), expected, "{url}");
        }
    }
}
