//! Servers that die or freeze, and networks that change: how soon everything works again.
//!
//! What is promised is 3 s after a change of the network, 5 s after the death of a server for what waits, if it is back or there is another home, and
//! 10 s for who waits for nothing. The limits leave room for a busy machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use starling_tests::{
    PATIENCE, Process, World,
    lab::{Lab, deliver},
    program, run_to_end, until,
};

/// How long a server that was killed is away: the length of the fault.
const AWAY: Duration = Duration::from_secs(1);

/// The devices that the server has a session with, and their connections.
fn sessions(world: &World) -> (u64, u64) {
    let mut ask = Command::new(program("starling-rendezvous"));
    let output = run_to_end(ask.args(["admin", "status", "--data-dir"]).arg(world.dir.path().join("rendezvous")));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (status["sessions"].as_u64().unwrap_or(0), status["connections"].as_u64().unwrap_or(0))
}

/// Kills the server, and starts it again where it was.
fn kill_and_restart(world: &mut World) {
    world.rendezvous.as_mut().unwrap().kill();
    std::thread::sleep(AWAY);
    world.restart_rendezvous();
}

#[test]
fn devices_that_wait_for_nothing_are_back_soon_after_their_server_was_killed() {
    let mut world = World::new();
    let names = ["ann", "ben", "cem", "dov", "eve"];
    let mut daemons = Vec::new();
    for name in names {
        world.person(name);
        daemons.push(world.daemon(name));
    }
    until("the sessions", || (sessions(&world).0 == names.len() as u64).then_some(()));
    kill_and_restart(&mut world);
    let back = Instant::now();
    until("the sessions", || (sessions(&world).0 == names.len() as u64).then_some(()));
    let took = back.elapsed();
    println!("all are back after {took:.1?}");
    assert!(took <= Duration::from_secs(12), "{took:?}");
}

#[test]
fn what_is_sent_after_the_server_was_killed_and_came_back_is_stored_and_delivered() {
    let mut world = World::of_friends();
    let _alice = world.daemon("alice");
    until("the rendezvous", || (sessions(&world).0 == 1).then_some(()));
    kill_and_restart(&mut world);
    let sent = Instant::now();
    world.json("alice", &["send", "@bob", "after the crash", "--wait", "sent"]);
    let took = sent.elapsed();
    println!("stored after {took:.1?}");
    assert!(took <= Duration::from_secs(7), "{took:?}");
    let bob = world.listen("bob", "all");
    bob.wait_for("the message", |e| e["message"]["text"] == "after the crash");
}

/// Both directions, each right after a change.
fn both_directions(lab: &Lab, change: impl Fn(usize)) {
    for (n, (from, to)) in [("ha", "@bob"), ("hb", "@alice")].into_iter().enumerate() {
        change(n);
        let took = deliver(lab, from, to, &format!("change {n}"));
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }
}

#[test]
fn a_direct_conversation_goes_on_within_seconds_when_the_address_of_one_side_changes() {
    let Some((lab, _server, _daemons)) = Lab::on_a_lan(|_| {}) else { return };
    let addresses = ["198.18.0.2", "198.18.0.12", "198.18.0.22"];
    both_directions(&lab, |n| lab.readdress("ha", "wan", addresses[n], addresses[n + 1], None));
    lab.wait_for_path("direct");
}

#[test]
fn a_relayed_conversation_goes_on_within_seconds_when_the_address_of_one_side_changes() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    lab.behind_nat("ha", "na", "198.18.0.11", "192.168.11", true);
    lab.behind_nat("hb", "nb", "198.18.0.12", "192.168.12", true);
    let (_server, home) = lab.rendezvous("rel", "198.18.0.1");
    let _daemons: (Process, Process) = lab.contacts(&[&home]);
    lab.wait_for_path("relay");
    let addresses = ["192.168.11.2", "192.168.11.3", "192.168.11.4"];
    both_directions(&lab, |n| {
        lab.readdress("ha", "eth0", addresses[n], addresses[n + 1], Some("192.168.11.1"));
    });
}

/// Another server of the world.
fn second_home(world: &World) -> (Process, String) {
    second_home_at(world, "/ip4/127.0.0.1/udp/0/quic-v1")
}

fn second_home_at(world: &World, listen: &str) -> (Process, String) {
    let mut command = Command::new(program("starling-rendezvous"));
    command.args(["--listen", listen, "--http", "127.0.0.1:0", "--json", "--data-dir"]);
    let process = Process::start(command.arg(world.dir.path().join("second")).stderr(Stdio::null()));
    let address = process.json()["addresses"][0].as_str().unwrap().to_owned();
    (process, address)
}

/// Two who are strangers, with the same two homes and their programs running.
fn with_two_homes() -> (World, Process, [Process; 2]) {
    let world = World::new();
    let (second, address) = second_home(&world);
    let daemons = ["alice", "bob"].map(|name| {
        world.json(name, &["init", "--name", name, "--rendezvous", &world.address, "--rendezvous", &address]);
        let daemon = world.daemon(name);
        until("both homes", || {
            let homes = world.json(name, &["whoami"])["rendezvous"].clone();
            homes.as_array().unwrap().iter().all(|home| home["registered"] == true).then_some(())
        });
        daemon
    });
    (world, second, daemons)
}

/// The same, who are contacts, and of whom alice is away.
fn with_two_homes_and_one_away() -> (World, Process, Process) {
    let (world, second, [alice, bob]) = with_two_homes();
    world.befriend("alice", "bob");
    world.json("bob", &["send", "@alice", "hello", "--wait", "delivered"]);
    drop(alice);
    (world, second, bob)
}

/// Sends alice something, until a server has it; how long that took.
fn stored(world: &World, text: &str) -> Duration {
    let began = Instant::now();
    world.json("bob", &["send", "@alice", text, "--wait", "sent", "--timeout", "100s"]);
    let took = began.elapsed();
    println!("{text}: stored after {took:.1?}");
    assert!(took <= PATIENCE, "{took:?}");
    took
}

#[test]
fn what_waits_for_somebody_is_stored_at_the_second_home_when_the_first_was_killed() {
    let (mut world, _second, _bob) = with_two_homes_and_one_away();
    stored(&world, "at the first");
    world.rendezvous.as_mut().unwrap().kill();
    let took = stored(&world, "at the second");
    assert!(took <= Duration::from_secs(8), "{took:?}");
    // She has both though the first home is not there.
    let _alice = world.daemon("alice");
    until("both messages", || {
        (world.texts("alice", "@bob", 9) == ["hello", "at the first", "at the second"]).then_some(())
    });
}

#[test]
fn homes_may_be_killed_in_turn_and_everything_comes_once() {
    let (mut world, mut second, bob) = with_two_homes_and_one_away();
    let listen = |address: &str| address.split("/p2p/").next().unwrap().to_owned();
    let homes = world.json("bob", &["whoami"])["rendezvous"].clone();
    let mut addresses = homes.as_array().unwrap().iter().map(|home| home["address"].as_str().unwrap().to_owned());
    let address = addresses.find(|address| *address != world.address).unwrap();
    world.rendezvous.as_mut().unwrap().kill();
    stored(&world, "at the second");
    world.restart_rendezvous();
    until("the first home", || {
        let homes = world.json("bob", &["whoami"])["rendezvous"].clone();
        homes.as_array().unwrap().iter().all(|home| home["registered"] == true).then_some(())
    });
    second.kill();
    // A conversation does not move again at once.
    stored(&world, "at the first");
    drop(bob);
    let _alice = world.daemon("alice");
    let expected = ["hello", "at the second", "at the first"];
    until("both messages", || (world.texts("alice", "@bob", 9) == expected).then_some(()));
    let _second = second_home_at(&world, &listen(&address));
    let _bob = world.daemon("bob");
    world.json("bob", &["send", "@alice", "all are here", "--wait", "delivered"]);
    world.json("alice", &["send", "@bob", "so they are", "--wait", "delivered"]);
    assert_eq!(world.texts("alice", "@bob", 9).len(), 5);
    assert_eq!(world.texts("bob", "@alice", 9).len(), 5);
}

/// Adds a contact right after the fault, by the home that is left; then a message goes through.
fn meet_by_the_second_home(world: &World, link: &str) {
    let began = Instant::now();
    world.json("bob", &["contacts", "add", link]);
    println!("contacts after {:.1?}", began.elapsed());
    // Her name comes with her answer.
    until("her name", || (world.json("bob", &["contacts", "list"])["name"] == "alice").then_some(()));
    world.json("bob", &["send", "@alice", "by the other home", "--wait", "delivered"]);
    let took = began.elapsed();
    println!("delivered after {took:.1?}");
    // The request, its answer and the message: 5 s each.
    assert!(took <= Duration::from_secs(15), "{took:?}");
}

#[test]
fn contacts_are_made_by_the_second_home_when_the_first_was_killed() {
    let (mut world, _second, _daemons) = with_two_homes();
    let link = world.json("alice", &["invite"])["link"].as_str().unwrap().to_owned();
    world.rendezvous.as_mut().unwrap().kill();
    meet_by_the_second_home(&world, &link);
}

#[test]
fn contacts_are_made_by_the_second_home_while_the_first_is_frozen() {
    let (world, _second, _daemons) = with_two_homes();
    let link = world.json("alice", &["invite"])["link"].as_str().unwrap().to_owned();
    let first = world.rendezvous.as_ref().unwrap();
    first.signal("STOP");
    // Also if the test fails, it has to be able to end.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| meet_by_the_second_home(&world, &link)));
    first.signal("CONT");
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure);
    }
}

/// What `doctor` says of the rendezvous.
fn doctor(lab: &Lab, host: &str) -> String {
    let output = run_to_end(lab.starling(host).args(["doctor", "--json"]).stdin(Stdio::null()));
    let text = String::from_utf8(output.stdout).unwrap();
    let checks = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_home = checks.filter(|check| check["check"] == "rendezvous");
    of_home.map(|check| check["found"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn without_network_or_names_it_starts_says_what_is_missing_and_goes_on_when_it_is_there() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    let (server, home) = lab.rendezvous("rel", "198.18.0.1");
    let named = home.replace("/ip4/198.18.0.1/", "/dns/home.test/");
    assert!(lab.host("ha"));
    lab.names("ha", "127.0.0.1 localhost\n", "");
    let mut init = lab.starling("ha");
    let output =
        run_to_end(init.args(["init", "--name", "alice", "--rendezvous", &named, "--json"]).stdin(Stdio::null()));
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let daemon = lab.daemon("ha");
    assert!(doctor(&lab, "ha").contains("not connected to any network"), "{}", doctor(&lab, "ha"));
    lab.connect("ha", "198.18.0.2");
    until("the next cause", || doctor(&lab, "ha").contains("no name server answers (DNS)").then_some(()));
    lab.names("ha", "127.0.0.1 localhost\n198.18.0.1 home.test\n", "");
    let registered = || (lab.json("ha", &["whoami"])["rendezvous"][0]["registered"] == true).then_some(());
    until("the server, by its name", registered);
    // The name is lost, and the program starts again.
    lab.names("ha", "127.0.0.1 localhost\n", "");
    drop(daemon);
    let daemon = lab.daemon("ha");
    until("the server, where it was", registered);
    drop(server);
    until("the next cause", || doctor(&lab, "ha").contains("does not answer").then_some(()));
    drop(daemon);
}

#[test]
fn two_who_have_ipv6_alone_are_connected_directly() {
    let Some(mut lab) = Lab::new() else { return };
    for (host, address) in [("rel", "2001:db8::1"), ("ha", "2001:db8::2"), ("hb", "2001:db8::3")] {
        lab.wire(host, address);
    }
    let (_server, home) = lab.rendezvous("rel", "2001:db8::1");
    let _daemons: (Process, Process) = lab.contacts(&[&home]);
    lab.wait_for_path("direct");
    deliver(&lab, "ha", "@bob", "without IPv4");
}

#[test]
fn with_ipv6_alone_a_server_with_an_ipv4_address_is_reached_where_a_translator_would_have_it() {
    let Some(mut lab) = Lab::new() else { return };
    // No translator is needed to see where one is looked for: the server itself listens there, behind this network's prefix and the well-known one.
    let (known, translated) = ("64:ff9b::c612:1", "2001:db8:64::c612:1");
    for (host, address) in [("rel", translated), ("ha", "2001:db8:64::2"), ("hb", "2001:db8:64::3")] {
        lab.wire(host, address);
        lab.must(host, "ip -6 route add 64:ff9b::/96 dev wan");
    }
    lab.must("rel", &format!("ip addr add {known}/128 dev wan nodad"));
    // Alice's resolver knows the prefix, Bob's nothing.
    lab.names("ha", "127.0.0.1 localhost\n2001:db8:64::c000:aa ipv4only.arpa\n", "");
    lab.names("hb", "127.0.0.1 localhost\n", "");
    let (_server, homes) = lab.rendezvous_on("rel", &[translated, known]);
    let key = homes[0].rsplit('/').next().unwrap();
    let home = format!("/ip4/198.18.0.1/udp/4001/quic-v1/p2p/{key}");
    let _daemons: (Process, Process) = lab.contacts(&[&home]);
    deliver(&lab, "ha", "@bob", "through no translator");
    lab.wait_for_path("direct");
}

#[test]
fn a_conversation_goes_on_within_seconds_when_the_addresses_of_both_sides_change() {
    let Some((lab, _server, _daemons)) = Lab::on_a_lan(|_| {}) else { return };
    lab.readdress("ha", "wan", "198.18.0.2", "198.18.0.12", None);
    lab.readdress("hb", "wan", "198.18.0.3", "198.18.0.13", None);
    let took = deliver(&lab, "ha", "@bob", "both have moved");
    assert!(took <= Duration::from_secs(3), "{took:?}");
    lab.wait_for_path("direct");
}

/// Two who have met, on a LAN that the server has left since.
fn on_a_lan_without_a_server(addresses: [&str; 3]) -> Option<(Lab, [Process; 2])> {
    let mut lab = Lab::new()?;
    for (host, address) in ["rel", "ha", "hb"].into_iter().zip(addresses) {
        lab.wire(host, address);
        if !address.contains(':') {
            lab.must(host, "ip route add default dev wan");
        }
    }
    let (server, home) = lab.rendezvous("rel", addresses[0]);
    drop((lab.contacts(&[&home]), server));
    // Other ports than before, and nobody to tell them.
    let daemons = ["ha", "hb"].map(|host| lab.daemon(host));
    lab.wait_for_path("direct");
    Some((lab, daemons))
}

fn both_move_on_a_lan_without_a_server(addresses: [&str; 3], moved: [&str; 2]) {
    let Some((lab, _daemons)) = on_a_lan_without_a_server(addresses) else { return };
    for ((host, from), to) in ["ha", "hb"].into_iter().zip(&addresses[1..]).zip(moved) {
        lab.readdress(host, "wan", from, to, None);
    }
    let took = deliver(&lab, "ha", "@bob", "both have moved");
    assert!(took <= Duration::from_secs(3), "{took:?}");
    lab.wait_for_path("direct");
}

#[test]
fn on_a_lan_without_a_server_both_find_each_other_within_seconds_when_their_addresses_change() {
    both_move_on_a_lan_without_a_server(["198.18.0.1", "198.18.0.2", "198.18.0.3"], ["198.18.0.12", "198.18.0.13"]);
}

#[test]
fn on_a_lan_with_ipv6_alone_and_no_server_they_find_each_other_as_well() {
    both_move_on_a_lan_without_a_server(
        ["2001:db8::1", "2001:db8::2", "2001:db8::3"],
        ["2001:db8::12", "2001:db8::13"],
    );
}

#[test]
fn a_server_as_it_comes_is_reached_by_both_internet_protocols_and_starts_where_one_is_missing() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    lab.must("rel", "ip addr add 2001:db8::1/64 nodad dev wan");
    lab.wire("ha", "198.18.0.2");
    lab.wire("hb", "2001:db8::3");
    let (_server, homes) = lab.rendezvous_on("rel", &[]);
    for (host, start) in [("ha", "/ip4/198.18.0.1/"), ("hb", "/ip6/2001:db8::1/")] {
        let home = homes.iter().find(|home| home.starts_with(start)).unwrap_or_else(|| panic!("{homes:?}"));
        lab.json(host, &["init", "--name", "somebody", "--rendezvous", home]);
    }
    assert!(!homes.iter().any(|home| home.contains("/ip6/::/") || home.contains("/ip6/fe80")), "{homes:?}");
    lab.wire("old", "198.18.0.4");
    lab.must("old", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    let (_old, homes) = lab.rendezvous_on("old", &[]);
    assert!(matches!(homes.as_slice(), [home] if home.starts_with("/ip4/198.18.0.4/")), "{homes:?}");
}

/// At both hosts.
fn block(lab: &Lab, protocol: &str) {
    ["ha", "hb"].into_iter().for_each(|host| lab.block(host, protocol));
}

#[test]
fn a_conversation_moves_to_tcp_within_seconds_when_udp_is_blocked() {
    let Some((lab, _server, _daemons)) = Lab::on_a_lan(|lab| block(lab, "tcp")) else { return };
    block(&lab, "udp");
    let took = deliver(&lab, "ha", "@bob", "without UDP");
    assert!(took <= Duration::from_secs(8), "{took:?}");
}

#[test]
fn with_the_short_address_of_a_server_people_talk_where_udp_was_blocked_from_the_start() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    lab.wire("ha", "198.18.0.2");
    lab.wire("hb", "198.18.0.3");
    block(&lab, "udp");
    let (_server, home) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    assert!(home.starts_with("starling-server:198.18.0.1/12D3"), "{home}");
    let began = Instant::now();
    let _daemons = lab.contacts(&[&home]);
    println!("they are contacts after {:.1?}", began.elapsed());
    for (from, to) in [("ha", "@bob"), ("hb", "@alice")] {
        let took = deliver(&lab, from, to, "without UDP");
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }
    let status = lab.json("ha", &["whoami"]);
    let server = &status["rendezvous"][0];
    assert_eq!(server["address"], home.as_str());
    assert_eq!(server["transport"], "tcp", "{status:#}");
    assert_eq!(server["udp_blocked"], true, "{status:#}");
    let said = doctor(&lab, "ha");
    assert!(said.contains("UDP is blocked here: connected over TCP"), "{said}");
}

#[test]
fn a_server_that_is_only_named_is_asked_for_its_key_and_known_by_it_from_then_on() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    lab.wire("ha", "198.18.0.2");
    lab.names("ha", "127.0.0.1 localhost\n198.18.0.1 rendezvous.test\n", "");
    let (mut server, home) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    let named = home.replace("198.18.0.1", "rendezvous.test");
    let init = |name: &str, more: &[&str]| {
        let args = [&["init", "--name", "alice", "--rendezvous", name, "--no-input"], more].concat();
        run_to_end(lab.starling("ha").args(args).stdin(Stdio::null()))
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // A script is told what to compare, and nothing is made.
    let refused = init("rendezvous.test", &["--json"]);
    let error: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(error["error"]["code"], "unvouched_key", "{error}");
    assert!(error["error"]["hint"].as_str().unwrap().contains(&named), "{error}");
    let refused = init("rendezvous.test", &[]);
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(6) && said.contains(&named), "{refused:?}");
    assert!(said.contains("--accept-unvouched-key"), "{said}");
    let nobody = init("nowhere.test", &[]);
    assert!(nobody.status.code() == Some(3) && text(&nobody.stderr).contains("(DNS)"), "{nobody:?}");
    let made = init("rendezvous.test", &["--accept-unvouched-key"]);
    let said = text(&made.stderr);
    assert!(made.status.success() && said.contains("compare") && said.contains(&named), "{made:?}");
    let _daemon = lab.daemon("ha");
    assert_eq!(lab.json("ha", &["whoami"])["rendezvous"][0]["address"], named.as_str());
    // It is not asked again: who is there now is another one.
    server.kill();
    std::fs::remove_dir_all(lab.file("rel-rendezvous")).unwrap();
    let (_other, _) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    until("the other key", || {
        let server = &lab.json("ha", &["whoami"])["rendezvous"][0];
        (server["problem_code"] == "other_server").then_some(())
    });
    let moved = run_to_end(lab.starling("ha").args(["profile", "rendezvous", "rendezvous.test"]).stdin(Stdio::null()));
    assert!(!moved.status.success(), "{moved:?}");
    assert_eq!(lab.json("ha", &["whoami"])["rendezvous"][0]["address"], named.as_str());
}

#[test]
fn with_the_short_address_of_a_server_people_talk_and_call_where_port_443_alone_is_let_out() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    for (host, address) in [("ha", "198.18.0.2"), ("hb", "198.18.0.3")] {
        lab.wire(host, address);
        lab.let_the_web_alone_in(host);
    }
    let (_server, home) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    let began = Instant::now();
    let _daemons = lab.contacts(&[&home]);
    println!("they are contacts after {:.1?}", began.elapsed());
    lab.wait_for_path("relay");
    for (from, to) in [("ha", "@bob"), ("hb", "@alice")] {
        let took = deliver(&lab, from, to, "by the port of the web");
        assert!(took <= Duration::from_secs(3), "{took:?}");
    }
    let status = lab.json("ha", &["whoami"]);
    let server = &status["rendezvous"][0];
    assert_eq!(server["transport"], "websocket", "{status:#}");
    assert_eq!(server["udp_blocked"], true, "{status:#}");
    let stats = lab.call().stats;
    let route = &stats["routes"][0];
    assert_eq!(route["path"], "relay", "{stats:#}");
    assert!(route["audio"]["packets"].as_u64() > Some(60), "{stats:#}");
}

#[test]
fn a_server_notices_that_a_device_was_killed_in_less_than_a_minute() {
    let world = World::new();
    world.person("alice");
    let mut daemon = world.daemon("alice");
    until("the session", || (sessions(&world).0 == 1).then_some(()));
    daemon.kill();
    let killed = Instant::now();
    until("its end", || (sessions(&world).0 == 0).then_some(()));
    println!("noticed after {:.0?}", killed.elapsed());
    // A connection that is silent is closed after 40 s.
    assert!(killed.elapsed() <= Duration::from_secs(45));
}

#[test]
fn a_relayed_conversation_moves_to_the_second_home_within_seconds_when_the_first_was_killed() {
    let Some(mut lab) = Lab::new() else { return };
    lab.wire("rel", "198.18.0.1");
    lab.wire("other", "198.18.0.2");
    lab.behind_nat("ha", "na", "198.18.0.11", "192.168.11", true);
    lab.behind_nat("hb", "nb", "198.18.0.12", "192.168.12", true);
    let (first, second) = (lab.rendezvous("rel", "198.18.0.1"), lab.rendezvous("other", "198.18.0.2"));
    let _daemons: (Process, Process) = lab.contacts(&[&first.1, &second.1]);
    lab.wait_for_path("relay");
    for host in ["ha", "hb"] {
        until("both homes", || {
            let status = lab.json(host, &["whoami"]);
            status["rendezvous"].as_array().unwrap().iter().all(|home| home["registered"] == true).then_some(())
        });
    }
    // It may go through either.
    drop(first.0);
    let took = deliver(&lab, "ha", "@bob", "by the other home");
    assert!(took <= Duration::from_secs(9), "{took:?}");
    drop(second.0);
}
