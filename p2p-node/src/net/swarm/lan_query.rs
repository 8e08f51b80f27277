//! Asks everybody on the LAN who they are. All answer to all, this device as well: so it is also how others learn its addresses after these have
//! changed. libp2p's mDNS asks by itself, too, but at the moment at which an address appears, when it may not be listened on yet.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    time::{Duration, Instant},
};

use if_addrs::Interface;

/// A question for pointers (type 12, class 1) of `_p2p._udp.local`, in the form of RFC 6762.
const QUESTION: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_p2p\x04_udp\x05local\0\0\x0c\0\x01";
const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
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

/// Asks on all interfaces that this machine has; by IPv6 only if that is wanted. What cannot be sent is left out: it is asked again by itself.
pub(super) fn ask(ipv6: bool) {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    for (from, to) in ways(&interfaces, ipv6) {
        if let Err(error) = send(from, to) {
            tracing::debug!(%error, ipv6 = from.is_ipv6(), "cannot ask on the LAN");
        }
    }
}

fn send(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(from)?;
    socket.set_nonblocking(true)?;
    socket.send_to(QUESTION, to).map(|_| ())
}

/// Where to ask from, and whom: once on each interface, however many addresses it has. By IPv6 that is the link-local one, which it always has.
fn ways(interfaces: &[Interface], ipv6: bool) -> Vec<(SocketAddr, SocketAddr)> {
    let mut asked = BTreeSet::new();
    let ways = interfaces.iter().filter(|interface| !interface.is_loopback()).filter_map(|interface| {
        let way = match interface.ip() {
            IpAddr::V4(ip) => (SocketAddr::from((ip, 0)), SocketAddr::from((GROUP_V4, PORT))),
            IpAddr::V6(ip) if ipv6 && ip.is_unicast_link_local() => {
                let scope = interface.index.unwrap_or_default();
                let scoped = |ip, port| SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope));
                (scoped(ip, 0), scoped(GROUP_V6, PORT))
            }
            IpAddr::V6(_) => return None,
        };
        asked.insert((interface.name.as_str(), way.0.is_ipv6())).then_some(way)
    });
    ways.take(MAX_INTERFACES).collect()
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
            ways(&interfaces, ipv6).into_iter().map(|(from, to)| format!("{from} {to}")).collect()
        };
        let v4 = ["192.168.1.7:0 224.0.0.251:5353", "10.0.0.7:0 224.0.0.251:5353"];
        assert_eq!(text(false), v4);
        assert_eq!(text(true), [v4[0], "[fe80::7%2]:0 [ff02::fb%2]:5353", v4[1]]);
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
