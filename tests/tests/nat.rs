//! NATs and networks without a server, in network namespaces. Needs root, `ip` and `nft`; skipped with a word where they are missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use starling_tests::{Process, lab::Lab};

#[test]
fn port_preserving_nats_on_both_sides_end_in_a_direct_path() {
    let Some((lab, _server, _daemons)) = Lab::behind_nats(false) else { return };
    lab.wait_for_path("direct");
    let sent = lab.json("hb", &["send", "@alice", "directly", "--wait", "delivered"]);
    assert!(matches!(sent["state"].as_str(), Some("delivered" | "read")));
}

#[test]
fn symmetric_nats_stay_on_the_relay_and_work() {
    let Some((lab, _server, _daemons)) = Lab::behind_nats(true) else { return };
    lab.wait_for_path("relay");
    let sent = lab.json("hb", &["send", "@alice", "through the relay", "--wait", "delivered"]);
    assert!(matches!(sent["state"].as_str(), Some("delivered" | "read")));
    assert_eq!(lab.path(), "relay");
}

#[test]
fn a_call_goes_through_two_symmetric_nats_by_the_relay_and_directly_through_others() {
    for (random, path) in [(true, "relay"), (false, "direct")] {
        let Some((lab, _server, _daemons)) = Lab::behind_nats(random) else { return };
        let stats = lab.call().stats;
        let route = &stats["routes"][0];
        assert_eq!(route["path"], path, "{stats:#}");
        assert!(route["video"]["pattern"]["received"].as_u64() > Some(20), "{stats:#}");
        assert_eq!(route["video"]["pattern"]["bad"], 0, "{stats:#}");
        assert!(route["audio"]["packets"].as_u64() > Some(60), "{stats:#}");
    }
}

#[test]
fn a_call_goes_on_when_the_network_was_gone_for_a_while() {
    let Some((lab, _server, _daemons)) = Lab::behind_nats(false) else { return };
    let media = ["--audio-in", "tone", "--audio-out", "none", "--json"];
    let mut answer = lab.starling("hb");
    let bob = Process::start(answer.args(["call", "answer", "--auto"]).args(media));
    bob.wait_for("readiness", |e| e["type"] == "call.ready");
    let mut start = lab.starling("ha");
    let mut alice = Process::start(start.args(["call", "start", "@bob"]).args(media));
    alice.wait_for("the connection", |e| e["call"]["state"] == "connected");
    lab.must("nb", "ip link set wan down");
    alice.wait_for("the interruption", |e| e["call"]["state"] == "interrupted");
    // The length of the fault: with what passed before it was noticed, eight seconds.
    std::thread::sleep(Duration::from_secs(5));
    lab.must("nb", "ip link set wan up");
    alice.wait_for("the connection again", |e| e["call"]["state"] == "connected");
    assert_eq!(alice.terminate(), 0);
    bob.wait_for("the end", |e| e["call"]["state"] == "ended" && e["call"]["reason"] == "hung_up");
}

#[test]
fn on_a_lan_without_a_rendezvous_mdns_finds_contacts() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    lab.wire("ha", "198.18.0.2");
    lab.wire("hb", "198.18.0.3");
    for host in ["ha", "hb"] {
        lab.must(host, "ip route add default dev wan");
    }
    let (server, home) = lab.rendezvous("rel", "198.18.0.1");
    let daemons = lab.contacts(&[&home]);
    drop((server, daemons));
    // Other ports than before, and nobody to tell them.
    let _daemons = (lab.daemon("ha"), lab.daemon("hb"));
    lab.wait_for_path("direct");
    lab.json("hb", &["send", "@alice", "without any server", "--wait", "delivered"]);
}
