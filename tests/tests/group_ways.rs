//! Ways into a group of real programs, and out of it, for those who took another one before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::Value;
use starling_tests::{Process, World, until};

const GROUP: &str = "#ops";

/// Alice, whose contacts bob and carol are, and eve, who is nobody's; and a group of alice and bob. All are online.
fn group() -> (World, Vec<Process>) {
    let world = World::new();
    for who in ["alice", "bob", "carol", "eve"] {
        world.person(who);
    }
    for who in ["bob", "carol"] {
        world.befriend("alice", who);
    }
    let running = ["alice", "bob", "carol", "eve"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob"]);
    comes(&world, "bob", "invited");
    world.json("bob", &["group", "accept", GROUP]);
    comes(&world, "bob", "member");
    (world, running)
}

/// What a device is in the group; empty if it has not heard of it yet.
fn standing(world: &World, who: &str) -> String {
    let list = String::from_utf8(world.run(who, &["group", "list", "--json"]).stdout).unwrap();
    let groups = list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    groups.map(|group| group["standing"].as_str().unwrap_or_default().to_owned()).next().unwrap_or_default()
}

fn comes(world: &World, who: &str, expected: &str) {
    until(&format!("{who} is {expected}"), || (standing(world, who) == expected).then_some(()));
}

fn link(world: &World, options: &[&str]) -> String {
    let made = world.json("alice", &[&["group", "link", "new", GROUP][..], options].concat());
    made["link"].as_str().unwrap().to_owned()
}

#[test]
fn who_was_removed_and_is_no_contact_is_banned_by_name() {
    let (world, _running) = group();
    let link = link(&world, &[]);
    assert_eq!(world.json("eve", &["group", "join", &link, "--yes"])["done"], "member");
    let named = |member: &Value| member["name"] == "eve";
    until("eve's name at alice", || {
        let seen = world.json("alice", &["group", "show", GROUP]);
        seen["members"].as_array().unwrap().iter().any(named).then_some(())
    });
    world.json("alice", &["group", "remove", GROUP, "@eve"]);
    comes(&world, "eve", "removed");
    assert_eq!(world.json("alice", &["group", "ban", GROUP, "@eve"])["done"], "banned");
    let log = String::from_utf8(world.run("alice", &["group", "audit", GROUP]).stdout).unwrap();
    assert!(log.contains("alice banned eve"), "{log}");
    let (exit, error) = world.error("alice", &["group", "ban", GROUP, "@nobody"]);
    assert_eq!(exit, 5, "{error}");
}

/// Invites carol, who declines.
fn invite_carol_in_vain(world: &World) {
    world.json("alice", &["group", "invite", GROUP, "@carol"]);
    comes(world, "carol", "invited");
    world.json("carol", &["group", "decline", GROUP]);
}

fn count(world: &World, who: &str) -> usize {
    world.json(who, &["group", "show", GROUP])["members"].as_array().unwrap().len()
}

#[test]
fn who_accepts_after_the_invitation_was_withdrawn_is_told_so() {
    let (world, _running) = group();
    invite_carol_in_vain(&world);
    // Else it would be as if she were gone already.
    until("carol is there at bob", || (count(&world, "bob") == 3).then_some(()));
    world.json("alice", &["group", "remove", GROUP, "@carol"]);
    until("carol is gone at bob", || (count(&world, "bob") == 2).then_some(()));
    let (exit, error) = world.error("carol", &["group", "accept", GROUP]);
    assert_eq!(exit, 6, "{error}");
    assert!(error.contains("holds no more") && error.contains("removed"), "{error}");
    assert_eq!(standing(&world, "carol"), "removed");
}

#[test]
fn who_has_declined_comes_in_by_a_link_of_either_kind() {
    for options in [&[][..], &["--approval"][..]] {
        let (world, _running) = group();
        invite_carol_in_vain(&world);
        let link = link(&world, options);
        world.json("carol", &["group", "join", &link, "--yes"]);
        comes(&world, "carol", "member");
        world.json("carol", &["send", GROUP, "here I am", "--wait", "sent"]);
        until("it at bob", || (world.texts("bob", GROUP, 10) == ["here I am"]).then_some(()));
    }
}

fn asking(world: &World, who: &str) -> Vec<String> {
    let lines = String::from_utf8(world.run(who, &["group", "requests", GROUP, "--json"]).stdout).unwrap();
    let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned();
    lines.lines().map(name).collect()
}

#[test]
fn a_refusal_counts_at_all_who_may_approve_and_each_of_them_may_approve_later() {
    let (world, _running) = group();
    world.json("alice", &["group", "role", GROUP, "@bob", "admin"]);
    until("bob is an admin", || (world.json("bob", &["group", "show", GROUP])["role"] == "admin").then_some(()));
    let link = link(&world, &["--approval"]);
    assert_eq!(world.json("eve", &["group", "join", &link, "--yes"])["done"], "asked");
    for who in ["alice", "bob"] {
        until(&format!("the request at {who}"), || (asking(&world, who) == ["eve"]).then_some(()));
    }
    world.json("alice", &["group", "refuse", GROUP, "@eve"]);
    until("it is refused at bob", || asking(&world, "bob").is_empty().then_some(()));
    world.json("alice", &["group", "approve", GROUP, "@eve"]);
    comes(&world, "eve", "member");
}
