//! What devices say on a LAN, in the form of mDNS (RFC 6762) that libp2p has: a question for `_p2p._udp.local`, and answers with addresses in TXT
//! records. Everybody on the LAN can send anything, so a datagram is read up to its bounds and no further.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::{
    limits::{MAX_LAN_ANNOUNCED, MAX_LAN_RECORDS},
    net::is_direct,
};

/// Bytes of the header of DNS (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// The name that is asked for, as DNS writes it.
const SERVICE: &[u8] = b"\x04_p2p\x04_udp\x05local\0";
/// Types and classes of records (RFC 1035, 3.2). The second class says that what was known before is replaced.
const PTR: [u8; 2] = [0, 12];
const TXT: [u8; 2] = [0, 16];
const INTERNET: [u8; 2] = [0, 1];
const INTERNET_ALONE: [u8; 2] = [0x80, 1];
/// For how many seconds others are to remember an answer: they ask every five minutes.
const LIFE: u32 = 360;
/// What stands before an address.
const ADDRESS: &str = "dnsaddr=";

/// What a datagram says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// Who is there?
    Question,
    /// Names, and an address of each.
    Announced(Vec<(PeerId, Multiaddr)>),
}

fn number(two: &[u8]) -> usize {
    two.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte))
}

/// What follows a name, and whether it is that of the service. Names that point to others, which nobody needs to write here, are not followed.
fn after_name(bytes: &[u8]) -> Option<(bool, &[u8])> {
    if let Some((name, rest)) = bytes.split_at_checked(SERVICE.len())
        && name.eq_ignore_ascii_case(SERVICE)
    {
        return Some((true, rest));
    }
    let mut rest = bytes;
    loop {
        let (length, after) = rest.split_first()?;
        match *length {
            0 => return Some((false, after)),
            1..=63 => rest = after.get(usize::from(*length)..)?,
            192.. => return Some((false, after.get(1..)?)),
            _ => return None,
        }
    }
}

/// Reads a datagram from an address. Nothing, if it is none of ours, or says nothing.
pub(super) fn read(datagram: &[u8], from: IpAddr) -> Option<Packet> {
    let (header, mut rest) = datagram.split_at_checked(HEADER)?;
    let [questions, answers, authorities, more] =
        [4, 6, 8, 10].map(|at| number(header.get(at..at + 2).unwrap_or_default()));
    for _ in 0..questions.min(MAX_LAN_RECORDS) {
        let (is_service, after) = after_name(rest)?;
        if is_service {
            return Some(Packet::Question);
        }
        rest = after.get(4..)?;
    }
    if questions > 0 {
        return None;
    }
    let mut announced = Vec::new();
    for _ in 0..(answers + authorities + more).min(MAX_LAN_RECORDS) {
        let (_, after) = after_name(rest)?;
        let (head, after) = after.split_at_checked(10)?;
        let (data, after) = after.split_at_checked(number(head.get(8..)?))?;
        rest = after;
        if head.starts_with(&TXT) {
            let room = MAX_LAN_ANNOUNCED - announced.len();
            announced.extend(texts(data).filter_map(|text| address_in(text, from)).take(room));
        }
    }
    (!announced.is_empty()).then_some(Packet::Announced(announced))
}

/// The texts of a record: each follows its length.
fn texts(mut data: &[u8]) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        data = rest;
        // What is no text stands for none that could be an address.
        Some(std::str::from_utf8(text).unwrap_or_default())
    })
}

fn address_in(text: &str, from: IpAddr) -> Option<(PeerId, Multiaddr)> {
    let mut address: Multiaddr = text.strip_prefix(ADDRESS)?.parse().ok()?;
    let Some(Protocol::P2p(name)) = address.pop() else { return None };
    let own = ip_of(&address)?;
    let ip = match from.to_canonical() {
        // Of use on one interface alone: with IPv6 a device sends from there, whatever other addresses it has.
        IpAddr::V6(from) if from.is_unicast_link_local() => Some(own).filter(IpAddr::is_ipv6)?,
        from => Some(from).filter(|from| from.is_ipv4() == own.is_ipv4())?,
    };
    let address = with_ip(ip, &address);
    is_direct(&address, &name).then_some((name, address))
}

/// The IP address at the beginning.
fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// The same with another IP address at the beginning.
fn with_ip(ip: IpAddr, address: &Multiaddr) -> Multiaddr {
    std::iter::once(Protocol::from(ip)).chain(address.iter().skip(1)).collect()
}

/// Which of the addresses that are listened on are told from an interface with addresses of its `own`, where the datagram goes out from one of them.
pub(super) fn told<'a>(
    listening: impl Iterator<Item = &'a Multiaddr>,
    name: &PeerId,
    from: IpAddr,
    own: &[IpAddr],
) -> Vec<Multiaddr> {
    let mut told = Vec::new();
    for address in listening.filter(|address| is_direct(address, name)) {
        let Some(ip) = ip_of(address).filter(|ip| own.contains(ip)) else { continue };
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if is_link_local || ip.is_ipv4() != from.is_ipv4() {
            continue;
        }
        // Who hears it takes the IPv4 address that it comes from: an interface with forty of them has no more to tell than one with one.
        let address = if from.is_ipv4() { with_ip(from, address) } else { address.clone() };
        if !told.contains(&address) && told.len() < MAX_LAN_ANNOUNCED / 2 {
            told.push(address);
        }
    }
    told
}

fn record(name: &[u8], kind: [u8; 2], class: [u8; 2], data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [name, &kind, &class, &LIFE.to_be_bytes(), &length, data].concat()
}

/// An answer: a name and its addresses. `label` stands for it within the answer, and is another text of some 32 letters each time.
pub(super) fn announcement(name: &PeerId, label: &str, addresses: &[Multiaddr]) -> Vec<u8> {
    let label = starling_text::shortened(label, 63).as_bytes();
    let label = [&[label.len() as u8], label, &[0]].concat();
    let texts = addresses.iter().take(MAX_LAN_ANNOUNCED).map(|address| format!("{ADDRESS}{address}/p2p/{name}"));
    let records: Vec<Vec<u8>> = texts
        .filter_map(|text| {
            let length = u8::try_from(text.len()).ok()?;
            Some(record(&label, TXT, INTERNET_ALONE, &[&[length], text.as_bytes()].concat()))
        })
        .collect();
    let count = (records.len() as u16).to_be_bytes();
    let header = [[0, 0], [0x84, 0], [0, 0], [0, 1], [0, 0], count].concat();
    [vec![header, record(SERVICE, PTR, INTERNET, &label)], records].concat().concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{super::lan_query::QUESTION, *};

    const LABEL: &str = "0123456789abcdef0123456789abcdef";

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn announced(datagram: &[u8], from: &str) -> Vec<String> {
        match read(datagram, ip(from)) {
            Some(Packet::Announced(all)) => all.into_iter().map(|(_, address)| address.to_string()).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_is_announced_is_read_with_the_address_that_it_comes_from() {
        let name = PeerId::random();
        let own =
            ["/ip4/10.0.0.7/udp/4001/quic-v1", "/ip6/2001:db8::7/tcp/4002", "/ip4/10.0.0.7/tcp/80/ws", "/dns/a/tcp/5"];
        let datagram = announcement(&name, LABEL, &addresses(&own));
        assert!(datagram.len() < 1_232, "fits any network");
        assert_eq!(announced(&datagram, "192.168.1.9"), ["/ip4/192.168.1.9/udp/4001/quic-v1"]);
        assert_eq!(announced(&datagram, "2001:db8::9"), ["/ip6/2001:db8::9/tcp/4002"]);
        assert_eq!(announced(&datagram, "fe80::9"), ["/ip6/2001:db8::7/tcp/4002"]);
        let Some(Packet::Announced(all)) = read(&datagram, ip("192.168.1.9")) else { unreachable!() };
        assert!(all.iter().all(|(peer, _)| *peer == name));
    }

    #[test]
    fn a_question_is_told_from_others() {
        assert_eq!(read(QUESTION, ip("192.168.1.9")), Some(Packet::Question));
        let other = [&QUESTION[..12], b"\x05_http\x04_tcp\x05local\0\0\x0c\0\x01"].concat();
        assert_eq!(read(&other, ip("192.168.1.9")), None);
    }

    #[test]
    fn no_datagram_makes_more_of_itself_than_its_bound_or_ends_the_program() {
        let name = PeerId::random();
        let many =
            |n: u16| (1..=n).map(|port| format!("/ip4/10.0.0.7/tcp/{port}").parse().unwrap()).collect::<Vec<_>>();
        let datagram = announcement(&name, LABEL, &many(8));
        assert_eq!(announced(&datagram, "192.168.1.9").len(), 8);
        // A record with many texts, and a header that claims as many records as there can be.
        let text = format!("{ADDRESS}/ip4/10.0.0.7/tcp/4001/p2p/{name}");
        let texts = [&[text.len() as u8], text.as_bytes()].concat().repeat(400);
        let crowded =
            [&[0, 0, 0x84, 0, 0, 0, 255, 255, 255, 255, 255, 255], record(&[0], TXT, INTERNET, &texts).as_slice()]
                .concat();
        assert_eq!(announced(&crowded, "192.168.1.9").len(), MAX_LAN_ANNOUNCED);
        for length in 0..datagram.len() {
            read(&datagram[..length], ip("192.168.1.9"));
            let mut bent = datagram.clone();
            for bits in [0xff, 0x80, 0x01] {
                bent[length] ^= bits;
                read(&bent, ip("192.168.1.9"));
            }
        }
    }

    #[test]
    fn each_interface_tells_of_its_own_addresses_and_forty_are_no_more_than_one() {
        let name = PeerId::random();
        let own: Vec<IpAddr> = (1..=40).map(|n| ip(&format!("10.0.0.{n}"))).collect();
        let mut listening: Vec<Multiaddr> =
            own.iter().map(|ip| format!("/ip4/{ip}/udp/4001/quic-v1").parse().unwrap()).collect();
        listening.extend(own.iter().map(|ip| format!("/ip4/{ip}/tcp/4002").parse::<Multiaddr>().unwrap()));
        listening.extend(addresses(&[
            "/ip4/192.168.1.7/tcp/4002",
            "/ip6/2001:db8::7/tcp/4002",
            "/ip6/fe80::7/tcp/4002",
        ]));
        let told = |from, own: &[IpAddr]| told(listening.iter(), &name, ip(from), own);
        assert_eq!(told("10.0.0.3", &own), addresses(&["/ip4/10.0.0.3/udp/4001/quic-v1", "/ip4/10.0.0.3/tcp/4002"]));
        let own = [ip("2001:db8::7"), ip("fe80::7")];
        assert_eq!(told("fe80::7", &own), addresses(&["/ip6/2001:db8::7/tcp/4002"]));
    }
}
