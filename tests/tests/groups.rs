//! Groups of real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::Value;
use starling_tests::{Process, World, until};

const GROUP: &str = "#ops";

/// Five people: the others are contacts of alice, and of nobody else.
fn five() -> World {
    let world = World::new();
    for who in ["alice", "bob", "carol", "dave", "eve"] {
        world.person(who);
    }
    for who in ["bob", "carol", "dave", "eve"] {
        world.befriend("alice", who);
    }
    world
}

fn show(world: &World, who: &str) -> Value {
    world.json(who, &["group", "show", GROUP])
}

/// Names and roles of a group's members, as somebody sees them.
fn members(world: &World, who: &str) -> Vec<(String, String)> {
    let mut members: Vec<(String, String)> =
        show(world, who)["members"].as_array().unwrap().iter().map(member).collect();
    members.sort();
    members
}

fn member(member: &Value) -> (String, String) {
    let text = |key: &str| member[key].as_str().unwrap().to_owned();
    (text("name"), text("role"))
}

/// What a device is in the group; empty if it has not heard of it yet.
fn standing(world: &World, who: &str) -> String {
    let list = String::from_utf8(world.run(who, &["group", "list", "--json"]).stdout).unwrap();
    let groups = list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    groups.map(|group| group["standing"].as_str().unwrap_or_default().to_owned()).next().unwrap_or_default()
}

fn accept(world: &World, who: &str) {
    until(&format!("the invitation at {who}"), || (standing(world, who) == "invited").then_some(()));
    world.json(who, &["group", "accept", GROUP]);
    until(&format!("{who} is in"), || (show(world, who)["standing"] == "member").then_some(()));
}

fn sees(world: &World, who: &str, texts: &[&str]) {
    until(&format!("{texts:?} at {who}"), || (world.texts(who, GROUP, 50) == texts).then_some(()));
}

#[test]
fn five_people_make_a_group_write_and_part() {
    let world = five();
    let everybody = ["alice", "bob", "carol", "dave", "eve"];
    let mut running: Vec<Process> = everybody[..4].iter().map(|who| world.daemon(who)).collect();
    let news = world.listen("bob", "now");
    news.wait_for("the listener", |e| e["type"] == "stream.ready");
    let made = world.json("alice", &["group", "new", "ops", "@bob", "@carol", "@dave", "@eve"]);
    assert_eq!(made["name"], "ops");
    let invited = news.wait_for("the invitation", |e| e["type"] == "group.invited");
    assert_eq!((&invited["chat"]["kind"], &invited["chat"]["name"]), (&"group".into(), &"ops".into()));
    assert_eq!(invited["contact"]["name"], "alice");
    for who in ["bob", "carol", "dave"] {
        accept(&world, who);
        assert_eq!(show(&world, who)["id"], made["id"]);
    }
    until("they are there", || {
        let there = |m: &&Value| m["devices"] == 1;
        let seen = show(&world, "alice");
        (seen["members"].as_array().unwrap().iter().filter(there).count() == 4).then_some(())
    });
    world.json("bob", &["send", GROUP, "from bob", "--wait", "delivered"]);
    world.json("dave", &["send", GROUP, "from dave", "--wait", "delivered"]);
    let heard = news.wait_for("dave's message", |e| e["message"]["text"] == "from dave");
    // Bob and dave are no contacts, and know each other's names here.
    until("dave's name at bob", || {
        let messages = world.run("bob", &["history", GROUP, "--json"]);
        String::from_utf8(messages.stdout).unwrap().contains("\"name\":\"dave\"").then_some(())
    });
    assert_eq!(heard["chat"]["id"], made["id"]);
    let contacts = world.run("bob", &["contacts", "list", "--json"]);
    assert!(!String::from_utf8(contacts.stdout).unwrap().contains("dave"), "it makes nobody a contact");
    for who in &everybody[..4] {
        sees(&world, who, &["from bob", "from dave"]);
    }
    // Whoever was away for all of it comes in when nobody else is there.
    for process in &mut running {
        process.terminate();
    }
    accept(&world, "eve");
    world.json("eve", &["send", GROUP, "from eve", "--wait", "sent"]);
    for who in &everybody[..4] {
        sees(&world, who, &["from bob", "from dave", "from eve"]);
    }
    sees(&world, "eve", &["from eve"]);
    let first = members(&world, "alice");
    assert_eq!(first.len(), 5);
    for who in &everybody[1..] {
        until(&format!("the members at {who}"), || (members(&world, who) == first).then_some(()));
    }
}

#[test]
fn who_was_removed_reads_nothing_more_and_who_leaves_is_gone() {
    let world = five();
    let _running: Vec<Process> = ["alice", "bob", "carol", "dave"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob", "@carol", "@dave"]);
    for who in ["bob", "carol", "dave"] {
        accept(&world, who);
    }
    let (exit, _) = world.error("bob", &["group", "remove", GROUP, "@carol"]);
    assert_eq!(exit, 6, "a member removes nobody");
    world.json("alice", &["group", "role", GROUP, "@bob", "admin"]);
    until("bob is an admin", || (show(&world, "bob")["role"] == "admin").then_some(()));
    world.json("bob", &["group", "remove", GROUP, "carol"]);
    until("carol is out", || (show(&world, "carol")["standing"] == "removed").then_some(()));
    // What alice writes before she has heard of it is for carol, too.
    until("carol is out, at alice", || (members(&world, "alice").len() == 3).then_some(()));
    world.json("alice", &["send", GROUP, "without carol", "--wait", "delivered"]);
    sees(&world, "dave", &["without carol"]);
    assert!(world.texts("carol", GROUP, 50).is_empty());
    let (exit, _) = world.error("carol", &["send", GROUP, "let me in"]);
    assert_eq!(exit, 6);
    let (exit, _) = world.error("carol", &["group", "accept", GROUP]);
    assert_eq!(exit, 5);
    world.json("dave", &["group", "leave", GROUP]);
    until("dave is gone", || (members(&world, "alice").len() == 2).then_some(()));
    until("dave knows it", || (show(&world, "dave")["standing"] == "left").then_some(()));
    let (exit, error) = world.error("alice", &["send", "#nothing", "hi"]);
    assert_eq!(exit, 5, "{error}");
}

#[test]
fn the_devices_of_a_member_are_all_in_the_group_and_survive_being_killed() {
    let world = five();
    world.link("bob", "tablet");
    let mut running: Vec<Process> = ["alice", "bob", "tablet"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob"]);
    accept(&world, "tablet");
    until("bob's other device", || (standing(&world, "bob") == "member").then_some(()));
    world.json("alice", &["send", GROUP, "to both", "--wait", "delivered"]);
    for who in ["bob", "tablet"] {
        sees(&world, who, &["to both"]);
    }
    for (n, who) in [(0, "alice"), (1, "bob"), (2, "tablet")] {
        running[n].kill();
        world.json(who, &["send", GROUP, &format!("after the kill of {who}"), "--wait", "sent"]);
        running[n] = world.daemon(who);
    }
    let all = ["to both", "after the kill of alice", "after the kill of bob", "after the kill of tablet"];
    for who in ["alice", "bob", "tablet"] {
        sees(&world, who, &all);
    }
}

/// The audit log of a group, as somebody sees it.
fn audit(world: &World, who: &str) -> Value {
    world.json(who, &["group", "audit", GROUP])
}

#[test]
fn settings_bans_and_the_audit_log_are_the_same_for_all() {
    let world = five();
    let _running: Vec<Process> = ["alice", "bob", "carol", "dave"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob", "@carol"]);
    for who in ["bob", "carol"] {
        accept(&world, who);
    }
    world.json("alice", &["group", "role", GROUP, "@bob", "moderator"]);
    until("bob is a moderator", || (show(&world, "bob")["role"] == "moderator").then_some(()));
    world.json("alice", &["group", "settings", GROUP, "--slow-mode", "3600", "--history", "yes"]);
    until("the settings at carol", || (show(&world, "carol")["policy"]["slow_mode"] == 3600).then_some(()));
    assert_eq!(world.json("carol", &["group", "settings", GROUP])["history"], true);
    let (exit, _) = world.error("carol", &["group", "settings", GROUP, "--slow-mode", "0"]);
    assert_eq!(exit, 6, "a member changes no settings");
    world.json("carol", &["send", GROUP, "one an hour", "--wait", "delivered"]);
    let (exit, error) = world.error("carol", &["send", GROUP, "and another"]);
    assert_eq!(exit, 8, "{error}");
    world.json("bob", &["group", "ban", GROUP, "@carol"]);
    until("carol is out", || (show(&world, "carol")["standing"] == "removed").then_some(()));
    let banned = |who: &str| show(&world, who)["banned"].as_array().map_or(0, Vec::len);
    until("the ban at alice", || (banned("alice") == 1).then_some(()));
    let (exit, _) = world.error("alice", &["group", "invite", GROUP, "@carol"]);
    assert_eq!(exit, 6, "who is banned is not invited");
    world.json("bob", &["group", "unban", GROUP, "carol"]);
    until("the end of the ban at alice", || (banned("alice") == 0).then_some(()));
    world.json("alice", &["group", "invite", GROUP, "@dave"]);
    accept(&world, "dave");
    until("dave has the audit log", || (audit(&world, "dave")["complete"] == true).then_some(()));
    let log = audit(&world, "alice");
    let actions: Vec<&str> =
        log["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions[0], "made");
    for action in ["role", "setting", "removed", "banned", "unbanned"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    for who in ["bob", "dave"] {
        // Alice may hear of the last change later than those who have made it.
        until(&format!("the audit log at {who}"), || (audit(&world, who) == audit(&world, "alice")).then_some(()));
    }
}

/// Texts of the group's messages and how they came, as somebody sees them.
fn history(world: &World, who: &str) -> Vec<(String, String)> {
    let output = String::from_utf8(world.run(who, &["history", GROUP, "--json", "--limit", "50"]).stdout).unwrap();
    let messages = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |message: &Value, key: &str| message[key].as_str().unwrap_or_default().to_owned();
    messages.filter(|m| m["device_note"].is_null()).map(|m| (text(&m, "text"), text(&m, "via"))).collect()
}

#[test]
fn members_go_on_while_the_home_is_dead_and_its_log_has_all_of_it_later() {
    let mut world = five();
    let members = ["alice", "bob", "carol"];
    let mut running: Vec<Process> = members.iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob", "@carol"]);
    for who in ["bob", "carol"] {
        accept(&world, who);
    }
    world.json("alice", &["send", GROUP, "before", "--wait", "delivered"]);
    for who in ["bob", "carol"] {
        // Only on direct paths do they go on without the server. They are no contacts of each other: alice passes on what they write.
        until(&format!("a direct path at {who}"), || {
            (world.json(who, &["contacts", "list"])["path"] == "direct").then_some(())
        });
        sees(&world, who, &["before"]);
    }
    world.rendezvous = None;
    let mut texts = vec!["before"];
    for (who, text) in [("bob", "from bob"), ("carol", "from carol"), ("alice", "from alice"), ("bob", "bob again")] {
        world.json(who, &["send", GROUP, text]);
        texts.push(text);
        for other in members {
            sees(&world, other, &texts);
        }
    }
    let came = ["alice", "carol", "bob"].map(|who| {
        let of_bob = history(&world, who).into_iter().find(|(text, _)| text == "from bob");
        of_bob.unwrap().1
    });
    assert_eq!(came, ["gossip", "gossip", "own"]);
    // What was passed on survives the end of a program.
    running[2].kill();
    running[2] = world.daemon("carol");
    sees(&world, "carol", &texts);
    world.restart_rendezvous();
    for who in members {
        until(&format!("the log at {who}"), || {
            history(&world, who).iter().all(|(_, via)| via == "log" || via == "own").then_some(())
        });
        sees(&world, who, &texts);
    }
    world.json("carol", &["send", GROUP, "after", "--wait", "delivered"]);
    texts.push("after");
    for who in members {
        sees(&world, who, &texts);
    }
}

#[test]
fn a_link_brings_in_who_is_no_contact_with_nobody_else_online() {
    let world = five();
    world.person("frank");
    let mut running: Vec<Process> = ["alice", "bob"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob"]);
    accept(&world, "bob");
    world.json("alice", &["group", "topic", GROUP, "what runs"]);
    let (exit, _) = world.error("bob", &["group", "link", "new", GROUP]);
    assert_eq!(exit, 6, "a member makes no links");
    let made = world.json("alice", &["group", "link", "new", GROUP, "--uses", "1", "--expires", "7d"]);
    let link = made["link"].as_str().unwrap().to_owned();
    let listed = until("the link at bob", || {
        let output = world.run("bob", &["group", "link", "list", GROUP, "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).ok()
    });
    assert_eq!((&listed["id"], &listed["uses"], &listed["link"]), (&made["id"], &1.into(), &Value::Null));
    for process in &mut running {
        process.terminate();
    }
    let (exit, error) = world.error("frank", &["group", "join", &link]);
    assert_eq!(exit, 2, "it is asked before anything is done: {error}");
    let joined = world.json("frank", &["group", "join", &link, "--yes"]);
    assert_eq!(joined["done"], "member");
    world.json("frank", &["send", GROUP, "from frank", "--wait", "sent"]);
    let _running: Vec<Process> = ["alice", "bob"].iter().map(|who| world.daemon(who)).collect();
    for who in ["alice", "bob"] {
        sees(&world, who, &["from frank"]);
        until(&format!("the members at {who}"), || (members(&world, who).len() == 3).then_some(()));
    }
    let (exit, error) = world.error("eve", &["group", "join", &link, "--yes"]);
    assert_eq!(exit, 6, "it was used up: {error}");
    let (exit, error) = world.error("eve", &["group", "join", "starling:nonsense", "--yes"]);
    assert_eq!(exit, 2);
    assert!(error.to_string().contains("the link into a group"), "{error}");
}

#[test]
fn who_asks_by_a_link_is_let_in_or_not_by_those_who_may() {
    let world = five();
    world.person("frank");
    let _running: Vec<Process> = ["alice", "bob", "frank"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob"]);
    accept(&world, "bob");
    let made = world.json("alice", &["group", "link", "new", GROUP, "--approval"]);
    let link = made["link"].as_str().unwrap().to_owned();
    let news = world.listen("alice", "now");
    news.wait_for("the listener", |e| e["type"] == "stream.ready");
    assert_eq!(world.json("frank", &["group", "join", &link, "--yes"])["done"], "asked");
    let (exit, error) = world.error("frank", &["send", GROUP, "too early"]);
    assert_eq!(exit, 6);
    assert!(error.to_string().contains("your request to be let into"), "{error}");
    let asks = news.wait_for("the request", |e| e["type"] == "group.request");
    assert_eq!(asks["contact"]["name"], "frank");
    let (exit, _) = world.error("bob", &["group", "requests", GROUP]);
    assert_eq!(exit, 6, "a member lets nobody in");
    let asking = world.json("alice", &["group", "requests", GROUP]);
    assert_eq!(asking["name"], "frank");
    world.json("alice", &["group", "approve", GROUP, "@frank"]);
    until("frank is in", || (standing(&world, "frank") == "member").then_some(()));
    world.json("frank", &["send", GROUP, "from frank", "--wait", "delivered"]);
    sees(&world, "bob", &["from frank"]);
    world.json("eve", &["group", "join", &link, "--yes"]);
    news.wait_for("her request", |e| e["type"] == "group.request" && e["contact"]["name"] == "eve");
    world.json("alice", &["group", "refuse", GROUP, "@eve"]);
    assert_eq!(standing(&world, "eve"), "asked");
    let id = made["id"].as_str().unwrap();
    world.json("alice", &["group", "link", "revoke", GROUP, &id[..8]]);
    let (exit, error) = world.error("eve", &["group", "join", &link, "--yes"]);
    assert_eq!(exit, 6, "{error}");
}

/// Texts of the group's messages and who has handed them on, as somebody sees them; empty for what nobody has.
fn handed(world: &World, who: &str) -> Vec<(String, String)> {
    let output = String::from_utf8(world.run(who, &["history", GROUP, "--json", "--limit", "50"]).stdout).unwrap();
    let messages = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let one = |m: Value| {
        let member = m["handed_on_by"]["name"].as_str().unwrap_or_default().to_owned();
        assert_eq!(m["via"] == "handed", !m["handed_on_by"].is_null(), "{m}");
        (m["text"].as_str().unwrap().to_owned(), member)
    };
    messages.filter(|m| m["device_note"].is_null()).map(one).collect()
}

fn is_handed(world: &World, who: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(text, by)| ((*text).to_owned(), (*by).to_owned())).collect();
    until(&format!("{expected:?} at {who}"), || (handed(world, who) == expected).then_some(()));
}

#[test]
fn who_comes_sees_what_the_policy_allows_marked_as_handed_on() {
    let world = five();
    world.person("frank");
    let mut running: Vec<Process> = ["alice", "bob", "carol", "dave"].iter().map(|who| world.daemon(who)).collect();
    world.json("alice", &["group", "new", "ops", "@bob"]);
    accept(&world, "bob");
    world.json("alice", &["send", GROUP, "before", "--wait", "delivered"]);
    sees(&world, "bob", &["before"]);
    // The policy says nothing: who comes sees nothing, also when it says something else later.
    world.json("alice", &["group", "invite", GROUP, "@carol"]);
    accept(&world, "carol");
    world.json("alice", &["group", "settings", GROUP, "--history", "yes"]);
    until("the setting at bob", || (show(&world, "bob")["policy"]["history"] == true).then_some(()));
    world.json("bob", &["send", GROUP, "after", "--wait", "delivered"]);
    is_handed(&world, "carol", &[("after", "")]);
    // She can hand on what she has.
    sees(&world, "alice", &["before", "after"]);
    let news = world.listen("dave", "now");
    news.wait_for("the listener", |e| e["type"] == "stream.ready");
    world.json("alice", &["group", "invite", GROUP, "@dave"]);
    accept(&world, "dave");
    let told = news.wait_for("the history", |e| e["type"] == "group.history");
    assert_eq!((&told["member"]["name"], &told["messages"]), (&"alice".into(), &2.into()));
    is_handed(&world, "dave", &[("before", "alice"), ("after", "alice")]);
    // It is there after a crash, and once.
    drop(news);
    running[3].kill();
    running[3] = world.daemon("dave");
    world.json("bob", &["send", GROUP, "news", "--wait", "delivered"]);
    is_handed(&world, "dave", &[("before", "alice"), ("after", "alice"), ("news", "")]);
    is_handed(&world, "carol", &[("after", ""), ("news", "")]);
    // By a link, with nobody there.
    let made = world.json("alice", &["group", "link", "new", GROUP]);
    let link = made["link"].as_str().unwrap().to_owned();
    for process in &mut running {
        process.terminate();
    }
    assert_eq!(world.json("frank", &["group", "join", &link, "--yes"])["done"], "member");
    let _frank = world.daemon("frank");
    assert!(handed(&world, "frank").is_empty());
    let _alice = world.daemon("alice");
    is_handed(&world, "frank", &[("before", "alice"), ("after", "alice"), ("news", "alice")]);
}
