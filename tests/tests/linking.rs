//! Linking devices, when several people or programs do it at the same time, and when somebody gives up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::Value;
use starling_tests::{Process, World};

/// The rights of a device on the list of another.
fn rights(world: &World, on: &str, device: &Value) -> String {
    let list = world.devices(on);
    let found = list.iter().find(|entry| entry["device"] == *device);
    found.unwrap_or_else(|| panic!("{device} is not on the list: {list:?}"))["rights"].as_str().unwrap().to_owned()
}

#[test]
fn two_devices_that_are_linked_at_once_get_the_rights_of_their_own_code() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    let (as_bot, bot_code, home) = world.linking("alice", &["--yes", "--rights", "bot"]);
    let (as_member, member_code, _) = world.linking("alice", &["--yes", "--rights", "member"]);
    let (member, bot) = (
        world.joining("tablet", &[&member_code, "--rendezvous", &home]),
        world.joining("robot", &[&bot_code, "--rendezvous", &home]),
    );
    let (member, bot) = (member.json(), bot.json());
    assert_eq!(as_member.json()["device"], member["device"]);
    assert_eq!(as_bot.json()["device"], bot["device"]);
    assert_eq!(rights(&world, "alice", &member["device"]), "member");
    assert_eq!(rights(&world, "alice", &bot["device"]), "bot");
}

/// A device that waits for the user of another to say yes: its process, and what it is called.
fn asking(world: &World, who: &str, code: &str, home: &str) -> (Process, Value) {
    let events = world.listen("alice", "now");
    events.wait_for("the listener", |event| event["type"] == "stream.ready");
    let process = world.joining(who, &[code, "--rendezvous", home]);
    let asks = events.wait_for("a device that asks", |event| event["type"] == "device.asks");
    (process, asks["device"].clone())
}

#[test]
fn a_device_that_ends_before_it_is_let_in_goes_on_as_the_same_one() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    let offered = world.json("alice", &["rpc", "device.link"]);
    let (code, home) = (offered["code"].as_str().unwrap(), offered["rendezvous"].as_str().unwrap());
    let (mut process, device) = asking(&world, "laptop", code, home);
    process.kill();
    let answer = serde_json::json!({ "device": device, "rights": "admin" }).to_string();
    world.json("alice", &["rpc", "device.answer", &answer]);
    assert_eq!(world.devices("alice").len(), 2);
    let (_, error) = world.error("laptop", &["history", "@bob"]);
    assert!(error.contains("no profile"), "{error}");
    let joined = world.json("laptop", &["device", "join"]);
    assert_eq!(joined["device"], device);
    assert_eq!(world.devices("laptop").len(), 2);
    assert!(!world.dir.path().join("profiles/laptop/joining").exists());
}

#[test]
fn a_device_that_asks_does_not_wait_for_one_that_is_gone() {
    let world = World::new();
    world.person("alice");
    let mut daemon = world.daemon("alice");
    let offered = world.json("alice", &["rpc", "device.link"]);
    let (code, home) = (offered["code"].as_str().unwrap(), offered["rendezvous"].as_str().unwrap());
    let (mut process, _) = asking(&world, "laptop", code, home);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(process.wait(), 3);
    // It may still be let in: what it asked with is kept.
    assert!(world.dir.path().join("profiles/laptop/joining/profile.redb").exists());
}

#[test]
fn a_device_that_was_not_let_in_while_it_was_away_begins_again() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    let offered = world.json("alice", &["rpc", "device.link"]);
    let (code, home) = (offered["code"].as_str().unwrap(), offered["rendezvous"].as_str().unwrap());
    let (mut process, device) = asking(&world, "laptop", code, home);
    process.kill();
    let answer = serde_json::json!({ "device": device }).to_string();
    world.json("alice", &["rpc", "device.answer", &answer]);
    let other = world.link("alice", "laptop");
    assert_ne!(Value::from(other), device);
    assert_eq!(world.devices("alice").len(), 2);
}

#[test]
fn a_device_without_a_place_for_its_profile_does_not_ask() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    let (_link, code, home) = world.linking("alice", &["--yes"]);
    // A file where the profile's directory is to be.
    let place = world.dir.path().join("profiles/laptop");
    std::fs::write(&place, "").unwrap();
    let (exit, _) = world.error("laptop", &["device", "join", &code, "--rendezvous", &home]);
    assert_eq!(exit, 1);
    std::fs::remove_file(&place).unwrap();
    assert_eq!(world.devices("alice").len(), 1);
    // The code is still good.
    let join = world.joining("laptop", &[&code, "--rendezvous", &home]);
    assert!(join.json()["device"].is_string());
}

#[test]
fn two_admins_link_devices_at_once() {
    let world = World::new();
    world.person("alice");
    world.link("alice", "laptop");
    let (_one, _other) = (world.daemon("alice"), world.daemon("laptop"));
    let (by_one, code_of_one, home) = world.linking("alice", &["--yes"]);
    let (by_other, code_of_other, _) = world.linking("laptop", &["--yes"]);
    let joining = [
        world.joining("tablet", &[&code_of_one, "--rendezvous", &home]),
        world.joining("phone", &[&code_of_other, "--rendezvous", &home]),
    ];
    let joined = joining.map(|process| process.json()["device"].clone());
    assert_eq!(by_one.json()["device"], joined[0]);
    assert_eq!(by_other.json()["device"], joined[1]);
    for device in &joined {
        let is_listed = || world.devices("laptop").iter().any(|entry| entry["device"] == *device);
        starling_tests::until("a device that the other one has linked", || is_listed().then_some(()));
        assert_eq!(rights(&world, "laptop", device), "admin");
    }
}

#[test]
fn a_code_ends_with_the_command_that_has_made_it() {
    let world = World::new();
    world.person("alice");
    let _daemon = world.daemon("alice");
    // More than a rendezvous gives at a time.
    for _ in 0..5 {
        let (mut link, code, home) = world.linking("alice", &["--yes"]);
        link.kill();
        starling_tests::until("the code, withdrawn", || {
            let output = world.run("tablet", &["device", "join", &code, "--rendezvous", &home]);
            assert!(!output.status.success());
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!error.contains("Say yes"), "{error}");
            error.contains("no such code").then_some(())
        });
    }
}

/// A conversation as `history --json` prints it, without what differs between devices: how a message came.
fn history(world: &World, who: &str, with: &str) -> Vec<Value> {
    let output = world.run(who, &["history", with, "--json", "--limit", "10000"]);
    let mut lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("via");
    }
    lines
}

/// Waits until the history is copied to a device.
fn until_copied(world: &World, who: &str) {
    starling_tests::until("the whole history", || {
        let copy = world.json(who, &["device", "history"])["copy"].clone();
        (copy["state"] == "complete").then_some(())
    });
}

/// Alice and bob, with so many messages that the history has several pages.
fn talkative() -> World {
    let world = World::of_friends();
    let _bob = world.daemon("bob");
    let lines = |who: &str| (0..250).map(|n| format!("{who} {n} {}\n", "x".repeat(1_000))).collect::<String>();
    assert_eq!(world.send_lines("alice", "bob", &lines("alice")), 0);
    assert_eq!(world.send_lines("bob", "alice", &lines("bob")), 0);
    let all = history(&world, "alice", "bob");
    let message = |at: usize| all[at]["id"].as_str().unwrap().to_owned();
    let alice = world.daemon("alice");
    let params = |method: &str, params: Value| world.json("alice", &["rpc", method, &params.to_string()]);
    let chat = world.json("alice", &["chats", "show", "bob"])["id"].clone();
    params("edit", serde_json::json!({ "chat": chat, "message": message(3), "text": "changed" }));
    params("delete", serde_json::json!({ "chat": chat, "message": message(4) }));
    params("react", serde_json::json!({ "chat": chat, "message": message(5), "emoji": "👍" }));
    drop(alice);
    world
}

#[test]
fn a_linked_device_gets_the_history_that_it_is_given() {
    let world = talkative();
    let _daemon = world.daemon("alice");
    let (link, code, home) = world.linking("alice", &["--yes", "--history", "all"]);
    let join = world.joining("laptop", &[&code, "--rendezvous", &home]);
    assert_eq!(join.json()["device"], link.json()["device"]);
    let done = join.wait_for("the whole history", |copy| copy["state"] == "complete");
    assert!(done["copied"].as_u64().unwrap() >= 500, "{done}");
    let (alice, laptop) = (history(&world, "alice", "bob"), history(&world, "laptop", "bob"));
    assert!(alice.len() >= 500);
    assert_eq!(alice, laptop);
    let found = world.run("laptop", &["search", "249", "--json"]);
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().count(), 2);
}

#[test]
fn an_interrupted_copy_of_the_history_goes_on_by_itself() {
    let world = talkative();
    let mut daemon = world.daemon("alice");
    let (link, code, home) = world.linking("alice", &["--yes", "--history", "all"]);
    let mut join = world.joining("laptop", &[&code, "--rendezvous", &home]);
    let linked = link.json();
    daemon.kill();
    assert_eq!(join.json()["device"], linked["device"]);
    // How many conversations it can use comes between.
    let first = std::iter::repeat_with(|| join.json()).find(|line| line["state"].is_string()).unwrap();
    assert_eq!(first["state"], "copying", "{first}");
    join.kill();
    let mut laptop = world.daemon("laptop");
    world.send_lines("bob", "alice", "meanwhile\n");
    let mut daemon = world.daemon("alice");
    starling_tests::until("a page", || {
        let copy = world.json("laptop", &["device", "history"])["copy"].clone();
        (copy["done"].as_u64().unwrap() > 0).then_some(())
    });
    daemon.kill();
    laptop.kill();
    let (_daemon, _laptop) = (world.daemon("alice"), world.daemon("laptop"));
    until_copied(&world, "laptop");
    starling_tests::until("equal histories", || {
        (history(&world, "alice", "bob") == history(&world, "laptop", "bob")).then_some(())
    });
    assert_eq!(world.texts("laptop", "bob", 10_000).iter().filter(|text| *text == "meanwhile").count(), 1);
}

#[test]
fn without_a_word_a_linked_device_gets_no_history() {
    let world = talkative();
    let _daemon = world.daemon("alice");
    world.link("alice", "laptop");
    assert!(world.texts("laptop", "bob", 10_000).len() < 100);
    assert_eq!(world.json("laptop", &["device", "history"])["copy"], Value::Null);
}
