//! Networks that are broken, or change more than anybody wants.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use starling_tests::{
    Process,
    lab::{ENDS, Lab, Talk, deliver},
    until,
};

use super::{
    calls::connected,
    chat::{seconds, send},
};
use crate::table::Figures;

/// One state of an interface that flaps ten times a second, without what the commands take.
const FLAP: Duration = Duration::from_millis(40);
/// Flaps in 5 s.
const FLAPS: usize = 50;
/// Clock ticks of `/proc` in a second, on all of Linux' machines.
const TICKS: f64 = 100.0;
/// Bytes of a text that does not fit into one packet.
const LONG: usize = 4_000;

/// A router with a NAT that a VPN can lead to.
fn with_vpn_router() -> Option<(Lab, Process, (Process, Process))> {
    let (mut lab, server, daemons) = Lab::on_a_lan(|_| {})?;
    lab.wire("gw", "198.18.0.60");
    lab.nat("gw", false);
    Some((lab, server, daemons))
}

fn vpn_up(lab: &Lab) {
    lab.link("gw", "tunnel", "ha", "vpn", "10.9.0");
    // More exact than the route of the network itself.
    lab.must("ha", "ip route add 198.18.0.0/25 via 10.9.0.1");
}

fn vpn_down(lab: &Lab) {
    lab.must("ha", "ip link del vpn");
}

pub fn vpn_comes_and_goes() -> Figures {
    let (lab, _server, _daemons) = with_vpn_router()?;
    vpn_up(&lab);
    let up = deliver(&lab, "ha", "@bob", "by the VPN");
    vpn_down(&lab);
    seconds([up, deliver(&lab, "hb", "@alice", "without it")])
}

pub fn vpn_comes_and_goes_in_a_call() -> Figures {
    let mut talk = Talk::with_pictures(with_vpn_router()?);
    let up = talk.restore(vpn_up);
    let down = talk.restore(vpn_down);
    talk.end();
    seconds([up.sound, down.sound])
}

/// Seconds of a processor that a process has taken so far.
fn processor(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    // The program's name, in brackets, may contain anything. The eleventh and twelfth after the state are ticks in the program and the kernel.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS
}

/// Attempts to connect that the daemon of a host has logged.
fn dials(lab: &Lab, host: &str) -> usize {
    let log = std::fs::read_to_string(lab.file(&format!("{host}.log"))).unwrap();
    let ended = |line: &&str| line.contains(": ended outcome=") || line.contains(": cannot begin problem=");
    log.lines().filter(|line| line.contains("dial{")).filter(ended).count()
}

pub fn interface_flaps() -> Figures {
    let (lab, _server, (alice, _bob)) = Lab::on_a_lan(|_| {})?;
    drop(alice);
    let alice = lab.daemon_with("ha", &[("STARLING_LOG", "starling_node::net=debug")]);
    lab.wait_for_path("direct");
    deliver(&lab, "ha", "@bob", "before");
    let (time, before) = (processor(&alice), dials(&lab, "ha"));
    assert!(before > 0, "no dial is logged");
    for _ in 0..FLAPS {
        lab.must("ha", "ip link set wan down");
        sleep(FLAP);
        lab.must("ha", "ip link set wan up");
        lab.must("ha", "ip route add default dev wan");
        sleep(FLAP);
    }
    let took = deliver(&lab, "ha", "@bob", "after it has flapped");
    let tried = dials(&lab, "ha") - before;
    Some(vec![took.as_secs_f64(), processor(&alice) - time, tried as f64])
}

pub fn forty_addresses() -> Figures {
    let (lab, _server, _daemons) = Lab::on_a_lan(|lab| {
        for number in 100..140 {
            lab.must("ha", &format!("ip addr add 198.18.0.{number}/24 dev wan"));
        }
    })?;
    let message = deliver(&lab, "hb", "@alice", "to one of 40 addresses");
    seconds([message, connected(&lab, "direct")])
}

/// Nothing above 1,300 bytes comes through, and nobody says so.
fn drop_large_packets(lab: &Lab) {
    for host in ["rel", "ha", "hb"] {
        // Else the kernel hands over several packets as one, which would be dropped for their sum.
        lab.must(host, "ip link set wan gso_max_segs 1");
        lab.filter(host, "meta length > 1300 drop");
        lab.filter(host, "meta l4proto icmp drop");
    }
}

pub fn mtu_black_hole() -> Figures {
    let (lab, _server, _daemons) = Lab::on_a_lan(drop_large_packets)?;
    let message = deliver(&lab, "ha", "@bob", &"long ".repeat(LONG / 5));
    seconds([message, connected(&lab, "direct")])
}

pub fn mtu_black_hole_without_udp() -> Figures {
    let mut lab = Lab::new()?;
    for (host, address) in [("rel", "198.18.0.1"), ("ha", "198.18.0.2"), ("hb", "198.18.0.3")] {
        lab.wire(host, address);
    }
    drop_large_packets(&lab);
    ENDS.iter().for_each(|host| lab.block(host, "udp"));
    let (_server, home) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    let began = Instant::now();
    let _daemons = lab.contacts(&[&home]);
    let contacts = began.elapsed();
    seconds([contacts, deliver(&lab, "ha", "@bob", &"long ".repeat(LONG / 5))])
}

/// Answers whoever connects that he is to go to a page, until it is ended.
struct Portal {
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Portal {
    fn new(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let (asked, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, end) = (asked.clone(), over.clone());
        let thread = spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut client, _)) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        client.set_nonblocking(false).unwrap();
                        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                        // Some wait for a word first, and none has to stay for the answer.
                        let _ = client.read(&mut [0; 512]);
                        let _ = client.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n");
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(10)),
                    Err(error) => panic!("the portal broke: {error}"),
                }
            }
        });
        Self { asked, over, thread }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

pub fn captive_portal() -> Figures {
    let (lab, mut server, (_alice, bob)) = Lab::on_a_lan(|_| {})?;
    drop(bob);
    lab.block("ha", "udp");
    server.kill();
    let portal = Portal::new(lab.listener("rel", "198.18.0.1:4001"));
    until("somebody at the portal", || (portal.asked.load(Ordering::Relaxed) > 1).then_some(()));
    let mut sent = send(&lab, "ha", "@bob", "behind the portal", "sent");
    portal.end();
    lab.must("ha", "nft flush chain ip block in");
    let _server = lab.rendezvous("rel", "198.18.0.1");
    let open = Instant::now();
    assert_eq!(sent.wait(), 0, "not stored");
    seconds([open.elapsed()])
}

/// The name of the server leads to another server for one side from a moment on.
pub fn names_that_lie() -> Figures {
    let mut lab = Lab::new()?;
    for (host, address) in [("rel", "198.18.0.1"), ("other", "198.18.0.9"), ("ha", "198.18.0.2"), ("hb", "198.18.0.3")]
    {
        lab.wire(host, address);
    }
    let names = |server: &str| format!("127.0.0.1 localhost\n{server} rendezvous.test\n");
    ENDS.iter().for_each(|host| lab.names(host, &names("198.18.0.1"), ""));
    let (mut server, home) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    let (_liar, _) = lab.rendezvous_by_its_short_address("other", "198.18.0.9");
    let (_alice, bob) = lab.contacts(&[&home.replace("198.18.0.1", "rendezvous.test")]);
    drop(bob);
    lab.names("ha", &names("198.18.0.9"), "");
    // Nobody asks for a name whose server is connected.
    server.kill();
    let _server = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    let back = Instant::now();
    assert_eq!(send(&lab, "ha", "@bob", "in spite of the names", "sent").wait(), 0, "not stored");
    seconds([back.elapsed()])
}
