//! Names of servers, and what their addresses are on this network. The system's resolver is asked at each dial, so that a change of its configuration
//! holds at once, and nothing is needed of it to start; while it gives no answer, the address is used that worked last.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    net::IpAddr,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::nat64::{self, Nat64Prefix};
use crate::net::{
    ConnectionProblem, IpVersion,
    connectivity::{DialId, MAX_DIAL_ADDRESSES, is_circuit},
};

/// A resolver that takes longer gives no answer: the dial goes on without it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where it is known at which address the server was reached last, which is most often where it still is.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// Addresses of one name that are dialled.
const MAX_OF_NAME: usize = 4;
/// Names whose addresses are remembered.
const MAX_NAMES: usize = 64;

/// Why a name has no address, by what the system's resolver says.
fn unresolved(error: &io::Error) -> ConnectionProblem {
    // The words of getaddrinfo(3), of which the standard library keeps no code.
    let text = error.to_string();
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if says(&["not known", "No address associated", "does not exist"]) {
        ConnectionProblem::NoSuchName
    } else if says(&["Temporary failure", "timed out"]) {
        ConnectionProblem::NoNameServer
    } else {
        ConnectionProblem::NameLookup
    }
}

/// A dial to names, and what they stand for.
#[derive(Debug)]
pub(super) struct Named {
    pub dial: DialId,
    pub peer: PeerId,
    /// As they were asked for.
    pub addresses: Vec<Multiaddr>,
    /// It is nobody else's choice where the names lead.
    pub anywhere: bool,
    answers: HashMap<String, Result<Vec<IpAddr>, ConnectionProblem>>,
    /// Those of translators, by which IPv4 addresses are dialled, too.
    prefixes: Vec<Nat64Prefix>,
}

impl Named {
    /// Addresses, and those by which translators reach the IPv4 addresses among them.
    pub fn translated(&self, mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let of_prefix = |prefix: &Nat64Prefix| -> Vec<Multiaddr> {
            addresses.iter().filter_map(|address| prefix.translate(address)).collect()
        };
        let translated: Vec<Multiaddr> = self.prefixes.iter().flat_map(of_prefix).collect();
        for address in translated {
            // A resolver may have done the same.
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(MAX_DIAL_ADDRESSES);
        addresses
    }
}

/// The name at the start of an address, if it has one.
fn name_of(address: &Multiaddr) -> Option<String> {
    match address.iter().next()? {
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Some(name.into_owned()),
        _ => None,
    }
}

/// Whether an address begins with a name that has to be resolved. Through a relay only a connection is used that is there.
pub(super) fn is_named(address: &Multiaddr) -> bool {
    !is_circuit(address) && name_of(address).is_some()
}

/// Whether an address leads, or may lead, to an IPv4 address.
pub(super) fn may_be_ipv4(address: &Multiaddr) -> bool {
    let is_elsewhere = |part| matches!(part, Protocol::Ip4(ip) if !ip.is_loopback());
    is_named(address) || (!is_circuit(address) && address.iter().next().is_some_and(is_elsewhere))
}

/// The address with one of its name's addresses in place of the name. WebSocket over TLS goes on asking for the name.
fn with_ip(address: &Multiaddr, ip: IpAddr) -> Multiaddr {
    let name = name_of(address).unwrap_or_default();
    let mut with = Multiaddr::from(ip);
    for part in address.iter().skip(1) {
        match part {
            Protocol::Wss(path) => {
                with.push(Protocol::Tls);
                with.push(Protocol::Sni(name.clone().into()));
                with.push(Protocol::Ws(path));
            }
            part => with.push(part),
        }
    }
    with
}

/// Of the addresses of a name a few, of both internet protocols if it has both: one of them may lead nowhere here.
fn chosen(all: Vec<IpAddr>) -> Vec<IpAddr> {
    // The resolver names those first that the system would use itself.
    let first = all.first().map(|ip| IpVersion::of(*ip));
    let (preferred, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|ip| Some(IpVersion::of(*ip)) == first);
    let room = MAX_OF_NAME - others.len().min(MAX_OF_NAME / 2);
    preferred.into_iter().take(room).chain(others).take(MAX_OF_NAME).collect()
}

async fn look_up(name: &str, patience: Duration) -> Result<Vec<IpAddr>, ConnectionProblem> {
    let answer = tokio::time::timeout(patience, tokio::net::lookup_host((name, 0))).await;
    let mut all = Vec::new();
    for address in answer.map_err(|_| ConnectionProblem::NoNameServer)?.map_err(|error| unresolved(&error))? {
        if !all.contains(&address.ip()) {
            all.push(address.ip());
        }
    }
    if all.is_empty() { Err(ConnectionProblem::NoSuchName) } else { Ok(chosen(all)) }
}

/// Looks up all names of a dial, side by side, each with its patience; and the translators of the network, if IPv4 addresses are to be reached
/// through one.
pub(super) async fn resolve(
    dial: DialId,
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    anywhere: bool,
    translate: bool,
    names: BTreeMap<String, Duration>,
) -> Named {
    let lookups = names.into_iter().map(|(name, patience)| async move {
        let answer = look_up(&name, patience).await;
        (name, answer)
    });
    let prefixes = async { if translate { nat64::prefixes().await } else { Vec::new() } };
    let (answers, prefixes) = futures::future::join(futures::future::join_all(lookups), prefixes).await;
    Named { dial, peer, addresses, anywhere, answers: answers.into_iter().collect(), prefixes }
}

/// The addresses of names that worked last.
#[derive(Debug, Default)]
pub(super) struct Names {
    worked: HashMap<String, IpAddr>,
    /// Those of them to which a dial has failed for which the resolver gave no answer: it is waited for.
    doubted: HashSet<String>,
}

impl Names {
    /// Takes what was remembered when the program ended.
    pub fn remember(&mut self, name: String, ip: IpAddr) {
        if self.worked.len() < MAX_NAMES || self.worked.contains_key(&name) {
            self.worked.insert(name, ip);
        }
    }

    /// The names in addresses, and how long the resolver is waited for with each.
    pub fn to_look_up(&self, addresses: &[Multiaddr]) -> BTreeMap<String, Duration> {
        let is_known = |name: &String| self.worked.contains_key(name) && !self.doubted.contains(name);
        let with_patience = |name: String| {
            let patience = if is_known(&name) { SHORT_PATIENCE } else { PATIENCE };
            (name, patience)
        };
        addresses.iter().filter_map(name_of).map(with_patience).collect()
    }

    /// A dial has failed.
    pub fn failed(&mut self, named: &Named) {
        let unanswered = named.answers.iter().filter(|(_, answer)| answer.is_err()).map(|(name, _)| name);
        let known = unanswered.filter(|name| self.worked.contains_key(*name));
        self.doubted.extend(known.cloned());
    }

    /// Where to dial; the last one that worked is tried beside what a resolver says now, and instead of it if that says nothing. Fails if there is
    /// nothing at all.
    pub fn addresses(&self, named: &Named) -> Result<Vec<Multiaddr>, ConnectionProblem> {
        let mut all = Vec::new();
        let mut problem = ConnectionProblem::NameLookup;
        for address in &named.addresses {
            let Some(name) = name_of(address) else {
                all.push(address.clone());
                continue;
            };
            let mut ips = match named.answers.get(&name) {
                Some(Ok(ips)) => ips.clone(),
                Some(Err(error)) => {
                    problem = *error;
                    Vec::new()
                }
                None => Vec::new(),
            };
            ips.extend(self.worked.get(&name).filter(|ip| !ips.contains(ip)));
            all.extend(ips.into_iter().map(|ip| with_ip(address, ip)));
        }
        all.truncate(MAX_DIAL_ADDRESSES);
        if all.is_empty() { Err(problem) } else { Ok(all) }
    }

    /// A dial has ended in a connection to an address. Gives the name that this is news of.
    pub fn connected(&mut self, named: &Named, ip: IpAddr) -> Option<String> {
        self.doubted.retain(|name| !named.answers.contains_key(name));
        let of_name = |(name, answer): (&String, &Result<Vec<IpAddr>, _>)| {
            answer.as_ref().is_ok_and(|ips| ips.contains(&ip)).then(|| name.clone())
        };
        let name = named.answers.iter().find_map(of_name)?;
        let is_news = self.worked.get(&name) != Some(&ip);
        self.remember(name.clone(), ip);
        is_news.then_some(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn named(addresses: &[&str], answers: &[(&str, Result<Vec<IpAddr>, ConnectionProblem>)]) -> Named {
        Named {
            dial: DialId(1),
            peer: PeerId::random(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            anywhere: true,
            answers: answers.iter().map(|(name, answer)| ((*name).to_owned(), answer.clone())).collect(),
            prefixes: Vec::new(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn texts(addresses: Vec<Multiaddr>) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_replaced_by_their_addresses_and_tls_goes_on_asking_for_the_name() {
        let asked = ["/dns/a.example/udp/4001/quic-v1", "/dns/a.example/tcp/443/wss", "/ip4/192.0.2.9/tcp/4001"];
        let named = named(&asked, &[("a.example", Ok(vec![ip("192.0.2.1"), ip("2001:db8::1")]))]);
        let wanted = [
            "/ip4/192.0.2.1/udp/4001/quic-v1",
            "/ip6/2001:db8::1/udp/4001/quic-v1",
            "/ip4/192.0.2.1/tcp/443/tls/sni/a.example/ws",
            "/ip6/2001:db8::1/tcp/443/tls/sni/a.example/ws",
            "/ip4/192.0.2.9/tcp/4001",
        ];
        assert_eq!(texts(Names::default().addresses(&named).unwrap()), wanted);
    }

    #[test]
    fn addresses_and_names_with_ipv4_alone_are_dialled_by_way_of_translators_too() {
        let asked = ["/ip4/192.0.2.9/tcp/4001", "/dns/a.example/udp/4001/quic-v1", "/dns/b.example/tcp/443/wss"];
        let answers = [
            ("a.example", Ok(vec![ip("192.0.2.1")])),
            // A resolver of such a network makes up an address itself.
            ("b.example", Ok(vec![ip("64:ff9b::192.0.2.2"), ip("192.0.2.2")])),
        ];
        let mut named = named(&asked, &answers);
        let untouched = Names::default().addresses(&named).unwrap();
        assert_eq!(named.translated(untouched.clone()), untouched, "nobody translates");
        named.prefixes = nat64::told_by(std::iter::empty());
        let wanted = ["/ip6/64:ff9b::c000:209/tcp/4001", "/ip6/64:ff9b::c000:201/udp/4001/quic-v1"];
        assert_eq!(
            texts(named.translated(untouched.clone())),
            [texts(untouched), wanted.map(str::to_owned).into()].concat()
        );
        assert!(named.translated(vec![asked[0].parse().unwrap(); 40]).len() <= MAX_DIAL_ADDRESSES);
    }

    #[test]
    fn without_a_name_server_the_address_that_worked_last_is_used() {
        let asked = ["/dns/a.example/udp/4001/quic-v1"];
        let mut names = Names::default();
        let offline = named(&asked, &[("a.example", Err(ConnectionProblem::NoNameServer))]);
        assert_eq!(names.addresses(&offline), Err(ConnectionProblem::NoNameServer));
        let online = named(&asked, &[("a.example", Ok(vec![ip("192.0.2.1"), ip("192.0.2.2")]))]);
        assert_eq!(names.connected(&online, ip("192.0.2.2")).as_deref(), Some("a.example"));
        assert_eq!(names.connected(&online, ip("192.0.2.2")), None, "known already");
        assert_eq!(names.connected(&online, ip("192.0.2.77")), None, "not one of its addresses");
        assert_eq!(texts(names.addresses(&offline).unwrap()), ["/ip4/192.0.2.2/udp/4001/quic-v1"]);
    }

    #[test]
    fn a_resolver_that_lies_takes_away_no_address_that_has_worked_and_is_not_believed_later() {
        let asked = ["/dns/a.example/udp/4001/quic-v1"];
        let mut names = Names::default();
        let honest = named(&asked, &[("a.example", Ok(vec![ip("192.0.2.1")]))]);
        assert!(names.connected(&honest, ip("192.0.2.1")).is_some());
        // As many addresses as are taken from one, and no such name.
        let lies: Vec<IpAddr> = (1..=MAX_OF_NAME).map(|n| ip(&format!("198.51.100.{n}"))).collect();
        let lying = named(&asked, &[("a.example", Ok(lies))]);
        let dialled = texts(names.addresses(&lying).unwrap());
        assert_eq!(dialled.len(), MAX_OF_NAME + 1);
        assert_eq!(dialled[MAX_OF_NAME], "/ip4/192.0.2.1/udp/4001/quic-v1");
        let denying = named(&asked, &[("a.example", Err(ConnectionProblem::NoSuchName))]);
        assert_eq!(texts(names.addresses(&denying).unwrap()), ["/ip4/192.0.2.1/udp/4001/quic-v1"]);
        // What is dialled has to show the server's key, or there is no connection, and nothing to remember.
        assert_eq!(names.worked.get("a.example"), Some(&ip("192.0.2.1")));
    }

    #[test]
    fn what_the_resolver_says_is_told_apart() {
        let of = |text: &str| unresolved(&io::Error::other(text.to_owned()));
        let said = "failed to lookup address information: ";
        assert_eq!(of(&format!("{said}Name or service not known")), ConnectionProblem::NoSuchName);
        assert_eq!(of(&format!("{said}Temporary failure in name resolution")), ConnectionProblem::NoNameServer);
        assert_eq!(of("out of memory"), ConnectionProblem::NameLookup);
    }

    /// After each change of the network 5 s were lost where the name server does not answer.
    #[test]
    fn a_resolver_that_does_not_answer_is_not_waited_for_long_where_the_address_is_known_until_that_fails() {
        let asked = ["/dns/a.example/udp/4001/quic-v1", "/ip4/192.0.2.9/tcp/4001"];
        let mut names = Names::default();
        let silent = named(&asked, &[("a.example", Err(ConnectionProblem::NoNameServer))]);
        let patience = |names: &Names| names.to_look_up(&silent.addresses).into_values().collect::<Vec<_>>();
        names.failed(&silent);
        assert_eq!(patience(&names), [PATIENCE]);
        names.remember("a.example".into(), ip("192.0.2.1"));
        assert_eq!(patience(&names), [SHORT_PATIENCE]);
        // Another address is to be found out.
        names.failed(&silent);
        assert_eq!(patience(&names), [PATIENCE]);
        let answered = named(&asked, &[("a.example", Ok(vec![ip("192.0.2.2")]))]);
        assert!(names.connected(&answered, ip("192.0.2.2")).is_some());
        assert_eq!(patience(&names), [SHORT_PATIENCE]);
        // What fails although the resolver answers says nothing of the resolver.
        names.failed(&answered);
        assert_eq!(patience(&names), [SHORT_PATIENCE]);
    }

    /// A name with four addresses of IPv6 was not reached where that leads nowhere.
    #[test]
    fn of_a_name_with_many_addresses_some_of_each_internet_protocol_are_dialled() {
        let v4 = |n: u8| IpAddr::from([192, 0, 2, n]);
        let v6 = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
        let (many_v4, many_v6): (Vec<_>, Vec<_>) = (1..=9).map(|n| (v4(n), v6(n.into()))).unzip();
        assert_eq!(chosen([many_v6.clone(), many_v4.clone()].concat()), [v6(1), v6(2), v4(1), v4(2)]);
        assert_eq!(chosen([many_v6.clone(), vec![v4(1)]].concat()), [v6(1), v6(2), v6(3), v4(1)]);
        assert_eq!(chosen([vec![v4(1)], many_v6].concat()), [v4(1), v6(1), v6(2), v6(3)]);
        assert_eq!(chosen(many_v4.clone()), many_v4[..MAX_OF_NAME]);
        assert!(chosen(Vec::new()).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut names = Names::default();
        for n in 0..2 * MAX_NAMES {
            names.remember(format!("{n}.example"), ip("192.0.2.1"));
        }
        assert_eq!(names.worked.len(), MAX_NAMES);
    }
}
