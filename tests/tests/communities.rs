//! Names of groups, channels and communities, with real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::Value;
use starling_tests::{Process, World, until};

/// These people: the others are contacts of the first, and of nobody else.
fn people(names: &[&str]) -> World {
    let world = World::new();
    for who in names {
        world.person(who);
    }
    for who in &names[1..] {
        world.befriend(names[0], who);
    }
    world
}

/// The groups that somebody has to do with.
fn list(world: &World, who: &str) -> Vec<Value> {
    let list = String::from_utf8(world.run(who, &["group", "list", "--json"]).stdout).unwrap();
    list.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a device is in the group of a name; empty if it has not heard of it yet.
fn standing(world: &World, who: &str, name: &str) -> String {
    let groups = list(world, who);
    let found = groups.iter().find(|group| group["name"] == name);
    found.map(|group| group["standing"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

fn stands(world: &World, who: &str, name: &str, expected: &str) {
    until(&format!("{who} is {expected} in #{name}"), || (standing(world, who, name) == expected).then_some(()));
}

fn accept(world: &World, who: &str, name: &str) {
    stands(world, who, name, "invited");
    world.json(who, &["group", "accept", &format!("#{name}")]);
    stands(world, who, name, "member");
}

fn sees(world: &World, who: &str, chat: &str, texts: &[&str]) {
    until(&format!("{texts:?} at {who}"), || (world.texts(who, chat, 50) == texts).then_some(()));
}

#[test]
fn a_group_is_named_in_every_verb_and_what_is_ambiguous_is_said() {
    let world = people(&["alice", "bob"]);
    let _running: Vec<Process> = ["alice", "bob"].iter().map(|who| world.daemon(who)).collect();
    let made = world.json("alice", &["group", "new", "ops", "@bob"]);
    accept(&world, "bob", "ops");
    world.json("alice", &["send", "#ops", "one", "--wait", "delivered"]);
    let events = Process::start(world.starling("bob").args(["listen", "--json", "--since", "now", "--chat", "#ops"]));
    events.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.json("alice", &["send", "ops", "two", "--wait", "delivered"]);
    let new = events.wait_for("the message", |e| e["type"] == "message.new");
    assert_eq!((&new["chat"]["id"], &new["chat"]["kind"]), (&made["id"], &"group".into()));
    let shown = world.json("bob", &["chats", "show", "#ops"]);
    assert_eq!((&shown["id"], &shown["group"]["name"]), (&made["id"], &"ops".into()));
    world.json("bob", &["chats", "pin", "#ops"]);
    assert_eq!(world.json("bob", &["chats", "show", "#ops"])["pinned"], true);
    let found = world.run("bob", &["search", "two", "--chat", "#ops", "--json"]);
    assert!(String::from_utf8(found.stdout).unwrap().contains("two"));
    let (exit, error) = world.error("bob", &["call", "start", "#ops"]);
    assert_eq!(exit, 6, "{error}");
    let (exit, error) = world.error("bob", &["send", "#nothing", "hi"]);
    assert_eq!(exit, 5, "{error}");
    // Two groups of a name, and a group with the name of a contact.
    world.json("alice", &["group", "new", "ops"]);
    let (exit, error) = world.error("alice", &["send", "#ops", "which?"]);
    assert!(exit == 2 && error.contains("the name of 2 groups"), "{exit} {error}");
    world.json("alice", &["send", &format!("id:{}", made["id"].as_str().unwrap()), "this one", "--wait", "delivered"]);
    world.json("alice", &["group", "new", "bob"]);
    let (exit, error) = world.error("alice", &["send", "bob", "whom?"]);
    assert!(exit == 2 && error.contains("of a contact and of a group"), "{exit} {error}");
    world.json("alice", &["send", "@bob", "you", "--wait", "delivered"]);
    sees(&world, "bob", "#ops", &["one", "two", "this one"]);
}

#[test]
fn in_a_channel_few_write_and_the_others_may_answer() {
    let world = people(&["alice", "bob", "carol"]);
    let _running: Vec<Process> = ["alice", "bob", "carol"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "--channel", "news", "@bob", "@carol"]);
    for who in ["bob", "carol"] {
        accept(&world, who, "news");
    }
    assert_eq!(world.json("bob", &["group", "show", "#news"])["kind"], "channel");
    let post = world.json("alice", &["send", "#news", "it is out", "--wait", "delivered"])["id"].clone();
    let post = post.as_str().unwrap();
    let (exit, _) = world.error("bob", &["send", "#news", "me too"]);
    assert_eq!(exit, 6);
    sees(&world, "bob", "#news", &["it is out"]);
    let (exit, _) = world.error("bob", &["send", "#news", "well done", "--reply-to", post]);
    assert_eq!(exit, 6);
    world.json("alice", &["group", "settings", "#news", "--comment", "member"]);
    until("the setting at bob", || {
        (world.json("bob", &["group", "show", "#news"])["policy"]["comment"] == "member").then_some(())
    });
    world.json("bob", &["send", "#news", "well done", "--reply-to", post, "--wait", "delivered"]);
    let (exit, _) = world.error("bob", &["send", "#news", "me too"]);
    assert_eq!(exit, 6);
    sees(&world, "carol", "#news", &["it is out", "well done"]);
}

#[test]
fn a_community_has_channels_with_its_members_and_roles() {
    let world = people(&["alice", "bob", "carol", "dave"]);
    let mut running: Vec<Process> = ["alice", "bob", "carol", "dave"].iter().map(|who| world.daemon(who)).collect();
    let club = world.json("alice", &["community", "new", "club", "@bob", "@carol"]);
    for who in ["bob", "carol"] {
        accept(&world, who, "club");
    }
    world.json("alice", &["community", "channel", "new", "#club", "general"]);
    world.json("alice", &["community", "channel", "new", "#club", "staff", "--for", "moderator"]);
    for who in ["bob", "carol"] {
        stands(&world, who, "general", "member");
        assert_eq!(standing(&world, who, "staff"), "");
    }
    world.json("bob", &["send", "#club/general", "hello", "--wait", "delivered"]);
    let show = || world.json("bob", &["community", "show", "#club"]);
    // The channel that is not for him, too.
    until("two channels", || (show()["channels"].as_array().unwrap().len() == 2).then_some(()));
    assert_eq!(show()["kind"], "community");
    assert_eq!(world.json("bob", &["group", "show", "#club/general"])["community"], club["id"]);
    let (exit, error) = world.error("bob", &["send", "#club/nothing", "hi"]);
    assert_eq!(exit, 5, "{error}");
    let (exit, error) = world.error("alice", &["group", "remove", "#general", "@carol"]);
    assert_eq!(exit, 6, "that is the community's: {error}");
    // Roles and newcomers.
    world.json("alice", &["community", "role", "#club", "@bob", "moderator"]);
    stands(&world, "bob", "staff", "member");
    world.json("alice", &["community", "invite", "#club", "@dave"]);
    accept(&world, "dave", "club");
    stands(&world, "dave", "general", "member");
    world.json("dave", &["send", "#club/general", "I am new", "--wait", "delivered"]);
    sees(&world, "carol", "#club/general", &["hello", "I am new"]);
    // A moderator removes somebody who is away, and is killed: it holds in the channel, too.
    running[2].terminate();
    world.json("bob", &["community", "remove", "#club", "@carol"]);
    running[1].kill();
    until("carol is out of the channel", || {
        let members = world.json("dave", &["group", "show", "#club/general"])["members"].clone();
        (members.as_array().unwrap().len() == 3).then_some(())
    });
    world.json("dave", &["send", "#club/general", "without carol", "--wait", "sent"]);
    stands(&world, "carol", "general", "removed");
    sees(&world, "carol", "#general", &["hello", "I am new"]);
}
