//! What devices say on a LAN, in the form of mDNS (RFC 6762) that libp2p has: a question for `_p2p._udp.local`, and answers with addresses in TXT
//! records. Everybody on the LAN can send anything, so a datagram is read up to its bounds and no further.

use std::net::IpAddr;

use hickory_proto::{
    ProtoError,
    op::{Header, Message, OpCode, Query},
    rr::{
        DNSClass, Name, RData, Record,
        rdata::{PTR, TXT},
    },
    serialize::binary::{BinDecodable, BinDecoder},
};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::lan_query::Place;
use super::limits::{MAX_LAN_ANNOUNCED, MAX_LAN_RECORDS};
use crate::net::is_direct;

/// The name that is asked for.
const SERVICE: &str = "_p2p._udp.local.";
/// The class of the internet (RFC 1035, 3.2.4), with the bit by which mDNS says that what was known before is replaced (RFC 6762, 10.2).
const INTERNET_ALONE: DNSClass = DNSClass::Unknown(0x8001);
/// For how many seconds others are to remember an answer: they ask every five minutes.
const LIFE: u32 = 360;
/// What stands before an address.
const ADDRESS: &str = "dnsaddr=";
/// Bytes of a text in a record.
const MAX_STRING: usize = 255;

/// What a datagram says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// Who is there?
    Question,
    /// Names, and an address of each.
    Announced(Vec<(PeerId, Multiaddr)>),
}

/// Reads a datagram from an address. Nothing, if it is none of ours, or says nothing.
///
/// One record is read after the other, not the message as a whole: `Message` makes room for as many as the header says.
pub(super) fn read(datagram: &[u8], from: IpAddr) -> Option<Packet> {
    let mut decoder = BinDecoder::new(datagram);
    let counts = Header::read(&mut decoder).ok()?.counts;
    if counts.queries > 0 {
        return asks_for_service(&mut decoder, counts.queries.into())?.then_some(Packet::Question);
    }
    let records: usize = [counts.answers, counts.authorities, counts.additionals].map(usize::from).iter().sum();
    let announced = addresses(&mut decoder, records, from)?;
    (!announced.is_empty()).then_some(Packet::Announced(announced))
}

/// Whether the service is among what is asked for. Nothing, if the questions cannot be read that far.
fn asks_for_service(decoder: &mut BinDecoder<'_>, questions: usize) -> Option<bool> {
    let service = Name::from_ascii(SERVICE).ok()?;
    for _ in 0..questions.min(MAX_LAN_RECORDS) {
        if Query::read(decoder).ok()?.name == service {
            return Some(true);
        }
    }
    Some(false)
}

/// The addresses in records. Nothing, if these cannot be read that far.
fn addresses(decoder: &mut BinDecoder<'_>, records: usize, from: IpAddr) -> Option<Vec<(PeerId, Multiaddr)>> {
    let mut announced = Vec::new();
    for _ in 0..records.min(MAX_LAN_RECORDS) {
        let room = MAX_LAN_ANNOUNCED - announced.len();
        if room == 0 {
            break;
        }
        let record: Record = Record::read(decoder).ok()?;
        if let RData::TXT(texts) = record.data {
            announced.extend(texts.txt_data.iter().filter_map(|text| address_in(text, from)).take(room));
        }
    }
    Some(announced)
}

fn address_in(text: &[u8], from: IpAddr) -> Option<(PeerId, Multiaddr)> {
    let mut address: Multiaddr = std::str::from_utf8(text).ok()?.strip_prefix(ADDRESS)?.parse().ok()?;
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

/// Which of the addresses that are listened on are told in a place, on an interface with addresses of its `own`.
pub(super) fn told<'a>(
    listening: impl Iterator<Item = &'a Multiaddr>,
    name: &PeerId,
    place: Place,
    own: &[IpAddr],
) -> Vec<Multiaddr> {
    let mut told = Vec::new();
    for address in listening.filter(|address| is_direct(address, name)) {
        let Some(ip) = ip_of(address).filter(|ip| own.contains(ip)) else { continue };
        let address = match (place, ip) {
            // Who hears it takes the IPv4 address that it comes from: an interface with forty of them has no more to tell than one with one.
            (Place::V4(from), IpAddr::V4(_)) => with_ip(from.into(), address),
            (Place::V6(_), IpAddr::V6(ip)) if !ip.is_unicast_link_local() => address.clone(),
            (Place::V4(_) | Place::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => continue,
        };
        if !told.contains(&address) && told.len() < MAX_LAN_ANNOUNCED / 2 {
            told.push(address);
        }
    }
    told
}

/// An answer: a name and its addresses. `label` stands for it within the answer, and is another text of some 32 letters each time.
///
/// # Errors
/// If the label is longer than 63 bytes.
pub(super) fn announcement(name: &PeerId, label: &str, addresses: &[Multiaddr]) -> Result<Vec<u8>, ProtoError> {
    let label = Name::from_labels([label.as_bytes()])?;
    let mut message = Message::response(0, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_answer(Record::from_rdata(Name::from_ascii(SERVICE)?, LIFE, RData::PTR(PTR(label.clone()))));
    let texts = addresses.iter().take(MAX_LAN_ANNOUNCED).map(|address| format!("{ADDRESS}{address}/p2p/{name}"));
    for text in texts.filter(|text| text.len() <= MAX_STRING) {
        let mut record = Record::from_rdata(label.clone(), LIFE, RData::TXT(TXT::new(vec![text])));
        record.dns_class = INTERNET_ALONE;
        message.add_additional(record);
    }
    message.to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::{op::MessageType, rr::RecordType};

    use super::{super::lan_query::QUESTION, *};

    const LABEL: &str = "0123456789abcdef0123456789abcdef";
    /// The name that is asked for, as DNS writes it.
    const SERVICE_NAME: &[u8] = b"\x04_p2p\x04_udp\x05local\0";
    const PTR_TYPE: [u8; 2] = [0, 12];
    const TXT_TYPE: [u8; 2] = [0, 16];
    const INTERNET: [u8; 2] = [0, 1];

    fn record(name: &[u8], kind: [u8; 2], class: [u8; 2], data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u16).to_be_bytes();
        [name, &kind, &class, &LIFE.to_be_bytes(), &length, data].concat()
    }

    /// A text after its length.
    fn string(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }

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
        let datagram = announcement(&name, LABEL, &addresses(&own)).unwrap();
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

    /// As `libp2p-mdns` 0.49 writes and reads it, which programs of before have.
    #[test]
    fn programs_of_before_are_understood_and_understand() {
        let name = PeerId::random();
        let text = format!("{ADDRESS}/ip4/10.0.0.7/udp/4001/quic-v1/p2p/{name}");
        let label = [string(LABEL), vec![0]].concat();
        let theirs = [
            &[0xf8, 0xf8, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 1],
            record(SERVICE_NAME, PTR_TYPE, INTERNET, &label).as_slice(),
            record(&label, TXT_TYPE, [0x80, 1], &string(&text)).as_slice(),
        ]
        .concat();
        assert_eq!(announced(&theirs, "192.168.1.9"), ["/ip4/192.168.1.9/udp/4001/quic-v1"]);
        // They look for a pointer from the service to a name, and for texts under that one.
        let ours = announcement(&name, LABEL, &addresses(&["/ip4/10.0.0.7/udp/4001/quic-v1"])).unwrap();
        let ours = Message::from_vec(&ours).unwrap();
        assert!(ours.queries.is_empty() && ours.metadata.authoritative);
        let [answer] = ours.answers.as_slice() else { unreachable!("{:?}", ours.answers) };
        assert_eq!(answer.name.to_string(), SERVICE);
        assert_eq!(answer.ttl, LIFE);
        let RData::PTR(label) = &answer.data else { unreachable!("{answer:?}") };
        let [record] = ours.additionals.as_slice() else { unreachable!("{:?}", ours.additionals) };
        assert_eq!(record.name, label.0);
        assert_eq!(record.data, RData::TXT(TXT::new(vec![text])));
    }

    #[test]
    fn what_does_not_fit_into_a_text_is_left_out_and_a_label_that_is_none_is_refused() {
        let name = PeerId::random();
        let long: Multiaddr = format!("/dns/{}/tcp/4001", "x".repeat(230)).parse().unwrap();
        let short = addresses(&["/ip4/10.0.0.7/tcp/4001"]);
        let datagram = announcement(&name, LABEL, &[vec![long], short].concat()).unwrap();
        assert_eq!(Message::from_vec(&datagram).unwrap().additionals.len(), 1);
        assert!(announcement(&name, &"x".repeat(64), &[]).is_err());
    }

    /// Each name points to one before it, and the last label of all is far away: there are fewer steps than bytes, for each record.
    #[test]
    fn names_that_point_to_others_are_followed_to_their_end() {
        // After the header a record of no type that is known, whose data are the service's name and pointers each to the one before.
        let data_at = 12 + 1 + 10;
        let pointer = |to: usize| (0xc000 | to as u16).to_be_bytes();
        let mut data = SERVICE_NAME.to_vec();
        let mut last = data_at;
        while data.len() < 3_000 {
            let here = data_at + data.len();
            data.extend(pointer(last));
            last = here;
        }
        let mut many =
            [&[0, 0, 0x84, 0, 0, 0, 255, 255, 0, 0, 0, 0], record(&[0], [0xff, 0], INTERNET, &data).as_slice()]
                .concat();
        let text = string(&format!("{ADDRESS}/ip4/10.0.0.7/tcp/4001/p2p/{}", PeerId::random()));
        for _ in 1..MAX_LAN_RECORDS {
            many.extend(record(&pointer(last), TXT_TYPE, INTERNET, &text));
        }
        assert_eq!(announced(&many, "192.168.1.9").len(), MAX_LAN_ANNOUNCED);
        // One that points to itself, or forward, is no name.
        for to in [12, 14] {
            let header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            let question = [&header[..], &pointer(to), SERVICE_NAME, &[0, 12, 0, 1]].concat();
            assert_eq!(read(&question, ip("192.168.1.9")), None);
        }
    }

    #[test]
    fn the_question_is_that_of_the_library() {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(SERVICE).unwrap(), RecordType::PTR));
        assert_eq!(message.to_vec().unwrap(), QUESTION);
        let in_capitals = QUESTION.to_ascii_uppercase();
        assert_eq!(read(&in_capitals, ip("192.168.1.9")), Some(Packet::Question));
    }

    #[test]
    fn no_datagram_makes_more_of_itself_than_its_bound_or_ends_the_program() {
        let name = PeerId::random();
        let many =
            |n: u16| (1..=n).map(|port| format!("/ip4/10.0.0.7/tcp/{port}").parse().unwrap()).collect::<Vec<_>>();
        let datagram = announcement(&name, LABEL, &many(8)).unwrap();
        assert_eq!(announced(&datagram, "192.168.1.9").len(), 8);
        // A record with many texts, and a header that claims as many records as there can be.
        let text = format!("{ADDRESS}/ip4/10.0.0.7/tcp/4001/p2p/{name}");
        let texts = string(&text).repeat(400);
        let crowded =
            [&[0, 0, 0x84, 0, 0, 0, 255, 255, 255, 255, 255, 255], record(&[0], TXT_TYPE, INTERNET, &texts).as_slice()]
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
        let told = |place, own: &[IpAddr]| told(listening.iter(), &name, place, own);
        let place = Place::V4(Ipv4Addr::new(10, 0, 0, 3));
        assert_eq!(told(place, &own), addresses(&["/ip4/10.0.0.3/udp/4001/quic-v1", "/ip4/10.0.0.3/tcp/4002"]));
        let own = [ip("2001:db8::7"), ip("fe80::7")];
        assert_eq!(told(Place::V6(2), &own), addresses(&["/ip6/2001:db8::7/tcp/4002"]));
    }
}
