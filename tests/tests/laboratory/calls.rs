//! Calls: how soon they are connected, and how soon both ends receive one another again.

use std::time::Duration;

use starling_tests::{
    Process,
    lab::{CallMedia, CallOutcome, ENDS, Lab, Restored, Talk, can_delay, can_translate, deliver},
    until,
};

use super::{chat, speech::Speech};
use crate::table::{Figures, UNMEASURED, unmeasured};

/// Bytes by which the relay of a call is told from the other server.
const BUSY: u64 = 100_000;
/// Statistics at the beginning of a call that are left out, as the rate is still being found.
const BEGINNING: usize = 3;
/// How long a call with loss is, and how long one is whose speech is judged, in pieces of eight seconds.
const LOSSY: &str = "10s";
const SPOKEN: &str = "28s";

/// The network changes during a call with pictures.
fn restored(rig: Option<(Lab, Process, (Process, Process))>, change: impl FnOnce(&Lab)) -> Option<Restored> {
    let mut talk = Talk::with_pictures(rig?);
    let restored = talk.restore(change);
    talk.end();
    Some(restored)
}

fn both_figures(restored: Restored) -> Figures {
    chat::seconds([restored.sound, restored.pictures?])
}

fn sound(restored: Restored) -> Figures {
    chat::seconds([restored.sound])
}

fn relayed() -> Option<(Lab, Process, (Process, Process))> {
    let rig = Lab::behind_nats(true)?;
    rig.0.wait_for_path("relay");
    Some(rig)
}

pub fn caller_moves() -> Figures {
    let moves = |lab: &Lab| lab.readdress("ha", "wan", "198.18.0.2", "198.18.0.12", None);
    both_figures(restored(Lab::on_a_lan(|_| {}), moves)?)
}

pub fn called_moves() -> Figures {
    let moves = |lab: &Lab| lab.readdress("hb", "wan", "198.18.0.3", "198.18.0.13", None);
    both_figures(restored(Lab::on_a_lan(|_| {}), moves)?)
}

pub fn both_move() -> Figures {
    let move_both = |lab: &Lab| {
        lab.readdress("ha", "wan", "198.18.0.2", "198.18.0.12", None);
        lab.readdress("hb", "wan", "198.18.0.3", "198.18.0.13", None);
    };
    both_figures(restored(Lab::on_a_lan(|_| {}), move_both)?)
}

pub fn caller_moves_behind_a_relay() -> Figures {
    let moves = |lab: &Lab| lab.readdress("ha", "eth0", "192.168.11.2", "192.168.11.3", Some("192.168.11.1"));
    both_figures(restored(relayed(), moves)?)
}

pub fn both_move_behind_a_relay() -> Figures {
    both_figures(restored(relayed(), chat::both_move_behind_nats)?)
}

pub fn udp_is_dropped() -> Figures {
    let block = |lab: &Lab| ENDS.iter().for_each(|host| lab.block(host, "udp"));
    sound(restored(Lab::on_a_lan(|_| {}), block)?)
}

pub fn cut_in_one_direction() -> Figures {
    let deaf = |host: &str, other: &str| {
        restored(Lab::on_a_lan(|_| {}), |lab| lab.filter(host, &format!("ip saddr {other} drop")))
    };
    let (called, caller) = (deaf("hb", "198.18.0.2")?, deaf("ha", "198.18.0.3")?);
    chat::seconds([called.sound, caller.sound])
}

/// The one of two servers through which a call goes is killed.
pub fn turn_server_dies() -> Figures {
    let (lab, mut servers, daemons) = chat::with_two_homes()?;
    let mut talk = Talk::of(lab, true, vec![daemons.0, daemons.1]);
    let received = |talk: &Talk| ["rel", "other"].map(|host| talk.lab.received_bytes(host));
    let before = received(&talk);
    let relay = until("the relay of the call", || {
        let now = received(&talk);
        (0..2_usize).max_by_key(|n| now[*n] - before[*n]).filter(|n| now[*n] - before[*n] > BUSY)
    });
    let restored = talk.restore(|_| servers[relay].kill());
    talk.end();
    sound(restored)
}

/// How long a call takes until it is connected, by the path that it has to take.
pub fn connected(lab: &Lab, path: &str) -> Duration {
    let CallOutcome { connected_after, stats, .. } = lab.call();
    assert_eq!(stats["routes"][0]["path"], path, "not by this path");
    connected_after
}

pub fn udp_is_blocked_from_the_start() -> Figures {
    let (lab, _server, _daemons) = chat::without_udp()?;
    chat::seconds([connected(&lab, "relay")])
}

pub fn ipv6_alone() -> Figures {
    let mut lab = Lab::new()?;
    for (host, address) in [("rel", "2001:db8::1"), ("ha", "2001:db8::2"), ("hb", "2001:db8::3")] {
        lab.wire(host, address);
    }
    let (_server, home) = lab.rendezvous("rel", "2001:db8::1");
    let _daemons = lab.contacts(&[&home]);
    chat::seconds([connected(&lab, "direct")])
}

pub fn ipv4_alone_and_ipv6_alone() -> Figures {
    let mut lab = Lab::new()?;
    lab.wire("rel", "198.18.0.1");
    lab.must("rel", "ip addr add 2001:db8::1/64 nodad dev wan");
    lab.wire("ha", "198.18.0.2");
    lab.wire("hb", "2001:db8::3");
    let (_server, homes) = lab.rendezvous_on("rel", &["198.18.0.1", "2001:db8::1"]);
    let homes: Vec<&str> = homes.iter().map(String::as_str).collect();
    let _daemons = lab.contacts(&homes);
    chat::seconds([connected(&lab, "relay")])
}

/// One has IPv4 alone, the other IPv6 alone and a translator.
pub fn ipv6_alone_with_a_translator() -> Figures {
    if !can_translate() {
        return unmeasured(3);
    }
    let mut lab = Lab::new()?;
    lab.wire("rel", "198.18.0.1");
    lab.wire("ha", "198.18.0.2");
    lab.translator("gw", "198.18.0.64");
    assert!(lab.host("hb"));
    lab.know_translator("hb");
    lab.join_translator("hb", "gw");
    let (_server, home) = lab.rendezvous("rel", "198.18.0.1");
    let _daemons = lab.contacts(&[&home]);
    let to = deliver(&lab, "ha", "@bob", "through the translator");
    let from = deliver(&lab, "hb", "@alice", "and back");
    // By whatever path there is.
    chat::seconds([to, from, lab.call().connected_after])
}

/// The called moves from IPv4 into a network that has IPv6 alone and a translator.
pub fn called_moves_behind_a_translator() -> Figures {
    if !can_translate() {
        return unmeasured(2);
    }
    let prepare = |lab: &mut Lab| {
        lab.translator("gw", "198.18.0.64");
        lab.know_translator("hb");
    };
    let move_over = |lab: &Lab| {
        lab.must("hb", "ip link set wan down");
        lab.join_translator("hb", "gw");
    };
    both_figures(restored(Lab::on_a_prepared_lan(prepare), move_over)?)
}

/// Each packet between the two takes so long, and each direction loses so many percent of all, signalling included.
pub fn at_loss(percent: u32, delay: Duration) -> Figures {
    if !can_delay() {
        return unmeasured(4);
    }
    let (lab, _server, _daemons) = Lab::on_a_slow_lan(delay)?;
    for host in ENDS {
        lab.filter(host, &format!("numgen random mod 100 < {percent} drop"));
    }
    let speech = Speech::new(&lab);
    let media = CallMedia { pictures: "pattern:320x180@30", ..CallMedia::default() };
    let outcome = match &speech {
        Some(speech) => lab.call_with(CallMedia { said: speech.said(), heard: speech.heard(), ..media }, SPOKEN),
        None => lab.call_with(media, LOSSY),
    };
    let gap_ms = outcome.stats["routes"][0]["audio"]["longest_gap_ms"].as_u64().unwrap();
    // What is kept begins with the answer.
    let beginning = outcome.connected_after + Duration::from_secs(BEGINNING as u64);
    let score = speech.map_or(UNMEASURED, |speech| speech.score(beginning));
    Some(vec![outcome.connected_after.as_secs_f64(), score, frames_a_second(&outcome), gap_ms as f64 / 1e3])
}

/// Pictures that were received each second, in whole ones.
fn frames_a_second(outcome: &CallOutcome) -> f64 {
    // The last statistics are those of the end.
    let seconds = outcome.seconds.get(BEGINNING..outcome.seconds.len() - 1).unwrap_or_default();
    let [first, .., last] = seconds else { panic!("too few statistics: {}", outcome.seconds.len()) };
    let difference = |of: fn(&serde_json::Value) -> Option<f64>| of(last).zip(of(first)).map_or(0.0, |(b, a)| b - a);
    let frames = difference(|stats| stats["routes"][0]["video"]["frames"].as_f64());
    (frames * 1e3 / difference(|stats| stats["at_ms"].as_f64())).round()
}
