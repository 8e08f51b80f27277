//! Conversations whose network changes, or whose server dies.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use starling_tests::{
    Process,
    lab::{ENDS, Lab, deliver},
    until,
};

use crate::table::Figures;

/// How long a server that was killed is away: the length of the fault.
pub const AWAY: Duration = Duration::from_secs(1);

pub fn seconds<const N: usize>(times: [Duration; N]) -> Figures {
    Some(times.iter().map(Duration::as_secs_f64).collect())
}

pub fn one_address_changes() -> Figures {
    let (lab, _server, _daemons) = Lab::on_a_lan(|_| {})?;
    lab.readdress("ha", "wan", "198.18.0.2", "198.18.0.12", None);
    let from = deliver(&lab, "ha", "@bob", "from who moved");
    lab.readdress("ha", "wan", "198.18.0.12", "198.18.0.22", None);
    seconds([from, deliver(&lab, "hb", "@alice", "to who moved")])
}

pub fn one_address_changes_behind_a_relay() -> Figures {
    let (lab, _server, _daemons) = Lab::behind_nats(true)?;
    lab.wait_for_path("relay");
    lab.readdress("ha", "eth0", "192.168.11.2", "192.168.11.3", Some("192.168.11.1"));
    let from = deliver(&lab, "ha", "@bob", "from who moved");
    lab.readdress("ha", "eth0", "192.168.11.3", "192.168.11.4", Some("192.168.11.1"));
    seconds([from, deliver(&lab, "hb", "@alice", "to who moved")])
}

pub fn both_addresses_change() -> Figures {
    let (lab, _server, _daemons) = Lab::on_a_lan(|_| {})?;
    lab.readdress("ha", "wan", "198.18.0.2", "198.18.0.12", None);
    lab.readdress("hb", "wan", "198.18.0.3", "198.18.0.13", None);
    seconds([deliver(&lab, "ha", "@bob", "both have moved")])
}

pub fn both_addresses_change_behind_a_relay() -> Figures {
    let (lab, _server, _daemons) = Lab::behind_nats(true)?;
    lab.wait_for_path("relay");
    both_move_behind_nats(&lab);
    seconds([deliver(&lab, "ha", "@bob", "both have moved")])
}

pub fn both_move_behind_nats(lab: &Lab) {
    lab.readdress("ha", "eth0", "192.168.11.2", "192.168.11.3", Some("192.168.11.1"));
    lab.readdress("hb", "eth0", "192.168.12.2", "192.168.12.3", Some("192.168.12.1"));
}

pub fn udp_is_dropped() -> Figures {
    // Over QUIC, as nothing else was let through.
    let (lab, _server, _daemons) = Lab::on_a_lan(|lab| ENDS.iter().for_each(|host| lab.block(host, "tcp")))?;
    ENDS.iter().for_each(|host| lab.block(host, "udp"));
    seconds([deliver(&lab, "ha", "@bob", "without UDP")])
}

/// Two in one network that never let UDP through, and their server.
pub fn without_udp() -> Option<(Lab, Process, (Process, Process))> {
    let mut lab = Lab::new()?;
    for (host, address) in [("rel", "198.18.0.1"), ("ha", "198.18.0.2"), ("hb", "198.18.0.3")] {
        lab.wire(host, address);
    }
    ENDS.iter().for_each(|host| lab.block(host, "udp"));
    let (server, home) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    let daemons = lab.contacts(&[&home]);
    Some((lab, server, daemons))
}

pub fn udp_is_blocked_from_the_start() -> Figures {
    let (lab, _server, _daemons) = without_udp()?;
    let there = deliver(&lab, "ha", "@bob", "without UDP");
    seconds([there, deliver(&lab, "hb", "@alice", "without UDP")])
}

/// Sends something that is on its way until the process ends.
pub fn send(lab: &Lab, from: &str, to: &str, text: &str, wait: &str) -> Process {
    let mut command = lab.starling(from);
    Process::start(command.args(["send", to, text, "--wait", wait, "--timeout", "90s", "--json"]))
}

pub fn server_is_killed_and_comes_back() -> Figures {
    let (lab, mut server, _daemons) = Lab::behind_nats(true)?;
    lab.wait_for_path("relay");
    server.kill();
    let killed = Instant::now();
    let mut sent = send(&lab, "ha", "@bob", "after the crash", "delivered");
    sleep(AWAY);
    let _server = lab.rendezvous("rel", "198.18.0.1");
    assert_eq!(sent.wait(), 0, "not delivered");
    seconds([killed.elapsed()])
}

/// Two behind symmetric NATs whose accounts have the same two homes, on `rel` and `other`.
pub fn with_two_homes() -> Option<(Lab, [Process; 2], (Process, Process))> {
    let mut lab = Lab::new()?;
    lab.wire("rel", "198.18.0.1");
    lab.wire("other", "198.18.0.2");
    lab.behind_nat("ha", "na", "198.18.0.11", "192.168.11", true);
    lab.behind_nat("hb", "nb", "198.18.0.12", "192.168.12", true);
    let (first, home) = lab.rendezvous("rel", "198.18.0.1");
    let (second, other) = lab.rendezvous("other", "198.18.0.2");
    let daemons = lab.contacts(&[&home, &other]);
    lab.wait_for_path("relay");
    for host in ENDS {
        until("both homes", || {
            let status = lab.json(host, &["whoami"]);
            status["rendezvous"].as_array().unwrap().iter().all(|home| home["registered"] == true).then_some(())
        });
    }
    Some((lab, [first, second], daemons))
}

pub fn server_is_killed_for_good() -> Figures {
    let (lab, [mut first, _second], _daemons) = with_two_homes()?;
    // It may go through either.
    first.kill();
    seconds([deliver(&lab, "ha", "@bob", "by the other home")])
}

pub fn server_is_killed_for_good_and_a_contact_is_away() -> Figures {
    let (lab, [mut first, _second], (_alice, bob)) = with_two_homes()?;
    drop(bob);
    assert_eq!(send(&lab, "ha", "@bob", "at the first home", "sent").wait(), 0, "not stored");
    first.kill();
    let killed = Instant::now();
    assert_eq!(send(&lab, "ha", "@bob", "at the second home", "sent").wait(), 0, "not stored");
    seconds([killed.elapsed()])
}
