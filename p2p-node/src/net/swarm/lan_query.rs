//! What is sent to everybody on the LAN: questions who is there, and answers. All answer to all, this device as well: so a question is also how
//! others learn its addresses after these have changed.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    time::{Duration, Instant},
};

use if_addrs::Interface;

/// A question for pointers (type 12, class 1) of `_p2p._udp.local`, in the form of RFC 6762.
pub(super) const QUESTION: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_p2p\x04_udp\x05local\0\0\x0c\0\x01";
pub(super) const PORT: u16 = 5353;
pub(super) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
pub(super) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// Interfaces that are asked on; of more than these, most are those of containers.
const MAX_INTERFACES: usize = 16;
/// Questions that may be asked at once: a network that is changed changes several times within seconds.
const MAX_QUESTIONS: u32 = 4;
/// Time after which one more may be: everybody answers each, to all.
const REFILL: Duration = Duration::from_secs(5);

/// How often this device asks, however often its network changes.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    refilled: Instant,
    due: Option<Instant>,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { left: MAX_QUESTIONS, refilled: now, due: None }
    }

    /// Whether a question may be asked now. If not, it is due later.
    pub fn may_ask(&mut self, now: Instant) -> bool {
        let periods = now.saturating_duration_since(self.refilled).as_secs() / REFILL.as_secs();
        if periods > 0 {
            let refill = u32::try_from(periods).unwrap_or(u32::MAX);
            (self.left, self.refilled) = (self.left.saturating_add(refill).min(MAX_QUESTIONS), now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.due = (!may).then(|| self.refilled + REFILL);
        may
    }

    /// When one is due that could not be asked before.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// An interface, as each internet protocol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By an address that it has.
    V4(Ipv4Addr),
    /// By its number.
    V6(u32),
}

impl Place {
    fn is_ipv6(self) -> bool {
        matches!(self, Self::V6(_))
    }

    /// Where to send from. With IPv6 the kernel takes the link-local address, or another one as long as it looks for that on the network. To name it
    /// would fail until then, and `if-addrs` does not tell it.
    fn source(self) -> SocketAddr {
        match self {
            Self::V4(ip) => (ip, 0).into(),
            Self::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        }
    }

    /// Where everybody there is.
    fn group(self) -> SocketAddr {
        match self {
            Self::V4(_) => (GROUP_V4, PORT).into(),
            Self::V6(index) => SocketAddrV6::new(GROUP_V6, PORT, 0, index).into(),
        }
    }
}

/// Asks on all interfaces that this machine has; by IPv6 only if that is wanted. What cannot be sent is left out: it is asked again by itself.
pub(super) fn ask(ipv6: bool) {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    for (_, place) in places_of(&interfaces, ipv6) {
        if let Err(error) = send(place, QUESTION) {
            tracing::debug!(%error, ipv6 = place.is_ipv6(), "cannot ask on the LAN");
        }
    }
}

/// Sends an answer on all of them: what it says is asked for each, by the place and all addresses that the interface has.
pub(super) fn answer(ipv6: bool, datagram: impl Fn(Place, &[IpAddr]) -> Option<Vec<u8>>) {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    for (name, place) in places_of(&interfaces, ipv6) {
        let Some(datagram) = datagram(place, &addresses_of(&interfaces, name)) else { continue };
        if let Err(error) = send(place, &datagram) {
            tracing::debug!(%error, ipv6 = place.is_ipv6(), "cannot answer on the LAN");
        }
    }
}

fn send(place: Place, datagram: &[u8]) -> io::Result<()> {
    let socket = UdpSocket::bind(place.source())?;
    socket.set_nonblocking(true)?;
    socket.send_to(datagram, place.group()).map(|_| ())
}

/// All addresses of the interface with this name.
fn addresses_of(interfaces: &[Interface], name: &str) -> Vec<IpAddr> {
    interfaces.iter().filter(|interface| interface.name == name).map(Interface::ip).collect()
}

/// Where everybody is asked, and heard.
pub(super) fn places(ipv6: bool) -> Vec<Place> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    places_of(&interfaces, ipv6).into_iter().map(|(_, place)| place).collect()
}

/// Where to ask, and the interface's name: once on each by each protocol, however many addresses it has. By IPv6 not where it has only a link-local
/// one, which is nothing to dial.
fn places_of(interfaces: &[Interface], ipv6: bool) -> Vec<(&str, Place)> {
    let mut asked = BTreeSet::new();
    let places = interfaces.iter().filter(|interface| !interface.is_loopback()).filter_map(|interface| {
        let place = match interface.ip() {
            IpAddr::V4(ip) => Place::V4(ip),
            IpAddr::V6(ip) if ipv6 && !ip.is_unicast_link_local() => Place::V6(interface.index?),
            IpAddr::V6(_) => return None,
        };
        let name = interface.name.as_str();
        asked.insert((name, place.is_ipv6())).then_some((name, place))
    });
    places.take(MAX_INTERFACES).collect()
}

#[cfg(test)]
mod tests {
    use if_addrs::{IfAddr, IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(name: &str, index: u32, ip: &str) -> Interface {
        let addr = match ip.parse::<IpAddr>().unwrap() {
            IpAddr::V4(ip) => {
                IfAddr::V4(Ifv4Addr { ip, netmask: Ipv4Addr::from_bits(!0 << 8), prefixlen: 24, broadcast: None })
            }
            IpAddr::V6(ip) => {
                IfAddr::V6(Ifv6Addr { ip, netmask: Ipv6Addr::from_bits(!0 << 64), prefixlen: 64, broadcast: None })
            }
        };
        Interface { name: name.into(), addr, index: Some(index), oper_status: IfOperStatus::Up, is_p2p: false }
    }

    #[test]
    fn each_interface_is_asked_once_by_each_protocol() {
        let interfaces = [
            interface("lo", 1, "127.0.0.1"),
            interface("lo", 1, "::1"),
            interface("wlan0", 2, "192.168.1.7"),
            interface("wlan0", 2, "192.168.1.8"),
            interface("wlan0", 2, "2001:db8::7"),
            interface("wlan0", 2, "fe80::7"),
            interface("eth0", 3, "10.0.0.7"),
        ];
        let text = |ipv6| -> Vec<String> {
            let places = places_of(&interfaces, ipv6).into_iter();
            places.map(|(name, place)| format!("{name} {} {}", place.source(), place.group())).collect()
        };
        let v4 = ["wlan0 192.168.1.7:0 224.0.0.251:5353", "eth0 10.0.0.7:0 224.0.0.251:5353"];
        assert_eq!(text(false), v4);
        assert_eq!(text(true), [v4[0], "wlan0 [::]:0 [ff02::fb%2]:5353", v4[1]]);
        let of_wlan: Vec<String> = addresses_of(&interfaces, "wlan0").iter().map(IpAddr::to_string).collect();
        assert_eq!(of_wlan, ["192.168.1.7", "192.168.1.8", "2001:db8::7", "fe80::7"]);
    }

    #[test]
    fn forty_addresses_on_one_machine_are_asked_in_as_few_places_as_it_has_interfaces_up_to_a_bound() {
        let on = |name: &dyn Fn(u8) -> String| -> Vec<Interface> {
            (1..=40).map(|n| interface(&name(n), n.into(), &format!("10.0.{n}.7"))).collect()
        };
        assert_eq!(places_of(&on(&|_| "eth0".into()), true).len(), 1);
        assert_eq!(places_of(&on(&|n| format!("veth{n}")), true).len(), MAX_INTERFACES);
    }

    /// `if-addrs` leaves link-local addresses out.
    #[test]
    fn an_interface_whose_link_local_address_is_not_told_is_asked_by_ipv6_all_the_same() {
        let interfaces = [interface("wan", 7, "2001:db8::2"), interface("other", 8, "fe80::2")];
        assert_eq!(places_of(&interfaces, true), [("wan", Place::V6(7))]);
        let nameless = Interface { index: None, ..interface("wan", 7, "2001:db8::2") };
        assert!(places_of(&[nameless], true).is_empty());
    }

    #[test]
    fn an_interface_that_flaps_has_few_questions_asked_and_the_last_change_one() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut asked = Vec::new();
        let mut at = |ms: u64, pace: &mut Pace| {
            if pace.may_ask(start + Duration::from_millis(ms)) {
                asked.push(ms);
            }
        };
        for ms in (0..62_000).step_by(200) {
            at(ms, &mut pace);
        }
        let due = pace.due().unwrap();
        assert!(due > start + Duration::from_millis(62_000) && due <= start + Duration::from_millis(67_000));
        at((due - start).as_millis() as u64, &mut pace);
        assert_eq!(pace.due(), None);
        assert_eq!(asked[..5], [0, 200, 400, 600, 5_000]);
        assert_eq!(asked.len(), 4 + 13, "{asked:?}");
    }

    #[test]
    fn the_question_has_the_form_of_dns() {
        let (header, name) = QUESTION.split_at(12);
        assert_eq!(header, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(name, [b"\x04_p2p\x04_udp\x05local\0".as_slice(), &[0, 12, 0, 1]].concat());
    }
}
