//! What happens in the group.

use starling_tests::until;

use crate::{LEADERS, OPS, WORKS, devices::Devices};

/// What is written in the group, in its order. `rude` is dave's, who is banned later.
const WRITTEN: [&str; 8] =
    ["welcome", "rude", "eve is in", "without eve", "without dave", "eve is alone", "all are back", "carol is back"];

pub fn a_group_is_made_and_changed(devices: &mut Devices) {
    devices.stand(&["tablet"], "ops", "invited");
    devices.does("tablet", &["group", "accept", OPS]);
    devices.stand(&LEADERS, "ops", "member");
    devices.does("alice", &["group", "invite", OPS, "@dave"]);
    devices.stand(&["dave"], "ops", "invited");
    devices.does("dave", &["group", "accept", OPS]);
    devices.stand(&["dave"], "ops", "member");
    devices.says("alice", OPS, WRITTEN[0], &[]);
    devices.does("alice", &["group", "topic", OPS, "what runs"]);
    devices.does("laptop", &["group", "rename", OPS, "works"]);
    let all = ["alice", "laptop", "bob", "tablet", "dave"];
    devices.show_that(&all, WORKS, "the topic", |group| group["topic"] == "what runs");
    devices.does("alice", &["group", "role", WORKS, "@bob", "admin"]);
    devices.show_that(&["bob", "tablet"], WORKS, "the role", |group| group["role"] == "admin");
    devices.may_not("dave", &["group", "settings", WORKS, "--slow-mode", "1h"], 6);
    devices.does("tablet", &["group", "settings", WORKS, "--mention-all", "admin", "--call", "moderator"]);
    devices.show_that(&all, WORKS, "the settings", |group| {
        group["policy"]["mention_all"] == "admin" && group["policy"]["call"] == "moderator"
    });
    assert_eq!(devices.does("dave", &["group", "settings", WORKS])["call"], "moderator");
}

pub fn a_message_is_reported(devices: &mut Devices) {
    let rude = devices.says("dave", WORKS, WRITTEN[1], &[]);
    devices.have(&LEADERS, WORKS, WRITTEN[1]);
    devices.does("laptop", &["group", "report", WORKS, &rude, "--reason", "it is rude"]);
    for who in ["bob", "tablet"] {
        until(&format!("the report at {who}"), || {
            let reports = devices.lines(who, &["group", "reports", WORKS]);
            let is_there = |report: &serde_json::Value| report["message"] == rude && report["confirmed"] == true;
            reports.first().is_some_and(is_there).then_some(())
        });
    }
    devices.may_not("dave", &["group", "reports", WORKS], 6);
}

/// What is asked of a group by links is known at a device.
fn is_asked(devices: &Devices, who: &str) {
    until(&format!("the request at {who}"), || {
        let requests = devices.lines(who, &["group", "requests", WORKS]);
        requests.first().is_some_and(|request| request["name"] == "eve").then_some(())
    });
}

pub fn eve_declines_and_is_let_in_by_approval(devices: &mut Devices) {
    devices.stand(&["eve"], "ops", "invited");
    devices.does("eve", &["group", "decline", OPS]);
    // She is invited still.
    devices.does("alice", &["group", "remove", WORKS, "@eve"]);
    let made = devices.does("alice", &["group", "link", "new", WORKS, "--approval"]);
    let (link, id) = (made["link"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!(devices.does("eve", &["group", "join", link, "--yes"])["done"], "asked");
    for who in ["alice", "laptop", "tablet"] {
        is_asked(devices, who);
    }
    // Who has refused her has; others may still let her in.
    devices.does("tablet", &["group", "refuse", WORKS, "@eve"]);
    assert!(devices.lines("tablet", &["group", "requests", WORKS]).is_empty());
    devices.does("laptop", &["group", "approve", WORKS, "@eve"]);
    devices.stand(&["eve"], "works", "member");
    devices.says("eve", WORKS, WRITTEN[2], &[]);
    devices.does("alice", &["group", "link", "revoke", WORKS, &id[..8]]);
    devices.may_not("bob", &["group", "join", "starling:nonsense", "--yes"], 2);
}

pub fn eve_is_removed_and_dave_banned(devices: &mut Devices) {
    // They are no contacts: their names are told in the group.
    for (who, name) in [("bob", "eve"), ("tablet", "dave")] {
        devices.show_that(&[who], WORKS, name, |group| {
            group["members"].as_array().is_some_and(|members| members.iter().any(|member| member["name"] == name))
        });
    }
    devices.have(&["dave"], WORKS, WRITTEN[2]);
    devices.does("bob", &["group", "remove", WORKS, "@eve"]);
    devices.stand(&["eve"], "works", "removed");
    devices.says("bob", WORKS, WRITTEN[3], &[]);
    devices.have(&["tablet", "dave"], WORKS, WRITTEN[3]);
    devices.does("tablet", &["group", "ban", WORKS, "@dave"]);
    devices.stand(&["dave"], "works", "removed");
    devices.says("tablet", WORKS, WRITTEN[4], &[]);
    let count = |group: &serde_json::Value| group["banned"].as_array().map_or(0, Vec::len);
    devices.show_that(&["alice"], WORKS, "the ban", |group| count(group) == 1);
    devices.may_not("alice", &["group", "invite", WORKS, "@dave"], 6);
    devices.does("tablet", &["group", "unban", WORKS, "dave"]);
    devices.show_that(&LEADERS, WORKS, "no ban", |group| count(group) == 0);
    devices.does("alice", &["group", "ban", WORKS, "@dave"]);
    devices.show_that(&LEADERS, WORKS, "the ban", |group| count(group) == 1);
    devices.may_not("dave", &["send", WORKS, "let me in"], 6);
}

pub fn eve_comes_back_by_a_link_with_nobody_else_online(devices: &mut Devices) {
    let made = devices.does("alice", &["group", "link", "new", WORKS, "--uses", "1", "--expires", "7d"]);
    let link = made["link"].as_str().unwrap();
    until("one link at bob", || {
        let links = devices.lines("bob", &["group", "link", "list", WORKS]);
        (links.len() == 1 && links[0]["id"] == made["id"] && links[0]["uses"] == 1).then_some(())
    });
    for who in LEADERS {
        devices.stop(who);
    }
    devices.may_not("eve", &["group", "join", link], 2);
    assert_eq!(devices.does("eve", &["group", "join", link, "--yes"])["done"], "member");
    devices.says("eve", WORKS, WRITTEN[5], &[]);
    devices.kill("eve");
    for who in LEADERS {
        devices.start(who);
    }
    devices.have(&LEADERS, WORKS, WRITTEN[5]);
    devices.says("laptop", WORKS, WRITTEN[6], &[]);
    devices.have(&["eve"], WORKS, WRITTEN[6]);
    until("all of the audit log at eve", || {
        (devices.lines("eve", &["group", "audit", WORKS])[0]["complete"] == true).then_some(())
    });
    assert_eq!(devices.standing("eve", "works"), "member");
}

/// Nothing was lost or doubled, and nobody has read what was written without them.
pub fn the_group_is_as_it_was_written(devices: &Devices) {
    for who in LEADERS {
        devices.has_just(who, WORKS, &WRITTEN);
    }
    devices.has_just("carol", WORKS, &WRITTEN);
    devices.has_just("dave", WORKS, &WRITTEN[..4]);
    let of_eve = [&WRITTEN[2..3], &WRITTEN[5..]].concat();
    devices.has_just("eve", WORKS, &of_eve);
}
