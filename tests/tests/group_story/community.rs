//! What happens in the community.

use starling_tests::until;

use crate::{CLUB, LEADERS, devices::Devices};

const GENERAL: &str = "#club/general";
const NEWS: &str = "#club/news";

pub fn a_community_gets_channels(devices: &mut Devices) {
    devices.stand(&["bob"], "club", "invited");
    devices.does("bob", &["community", "accept", CLUB]);
    devices.stand(&LEADERS, "club", "member");
    devices.stand(&LEADERS, "general", "member");
    devices.does("alice", &["community", "channel", "new", CLUB, "staff", "--for", "moderator"]);
    devices.does("laptop", &["community", "channel", "new", CLUB, "news", "--few"]);
    devices.does("alice", &["group", "new", "--community", CLUB, "extra"]);
    for name in ["news", "extra"] {
        devices.stand(&LEADERS, name, "member");
    }
    assert_eq!(devices.standing("bob", "staff"), "");
    devices.does("alice", &["community", "role", CLUB, "@bob", "moderator"]);
    devices.stand(&LEADERS, "staff", "member");
    devices.says("tablet", "#club/staff", "for the staff", &[]);
    devices.does("laptop", &["community", "channel", "remove", "#club/extra"]);
    devices.show_that(&LEADERS, CLUB, "three channels", |group| {
        group["channels"].as_array().is_some_and(|channels| channels.len() == 3)
    });
    devices.stand(&LEADERS, "extra", "left");
}

/// He declines first; eve comes by a link.
pub fn dave_comes_and_answers(devices: &mut Devices) {
    devices.does("alice", &["community", "invite", CLUB, "@dave"]);
    devices.stand(&["dave"], "club", "invited");
    devices.does("dave", &["community", "decline", CLUB]);
    devices.stand(&["dave"], "club", "declined");
    devices.does("dave", &["community", "accept", CLUB]);
    let made = devices.does("alice", &["group", "link", "new", CLUB]);
    devices.does("eve", &["group", "join", made["link"].as_str().unwrap(), "--yes"]);
    for name in ["club", "general", "news"] {
        devices.stand(&["dave", "eve"], name, "member");
    }
    let post = devices.says("alice", NEWS, "it is out", &[]);
    devices.have(&["dave", "eve"], NEWS, "it is out");
    devices.may_not("dave", &["send", NEWS, "well done", "--reply-to", &post], 6);
    devices.does("alice", &["group", "settings", NEWS, "--comment", "member"]);
    devices.show_that(&["dave"], NEWS, "the setting", |group| group["policy"]["comment"] == "member");
    devices.says("dave", NEWS, "well done", &["--reply-to", &post]);
    devices.may_not("dave", &["send", NEWS, "me too"], 6);
    devices.says("dave", GENERAL, "I am new", &[]);
    devices.have(&["bob", "eve"], GENERAL, "I am new");
    devices.says("bob", GENERAL, "hello", &[]);
    devices.have(&["dave"], GENERAL, "hello");
}

/// A moderator removes him from all of it, and is killed at once.
pub fn dave_is_removed_and_banned(devices: &mut Devices) {
    devices.does("bob", &["community", "remove", CLUB, "@dave"]);
    devices.kill("bob");
    for name in ["club", "general", "news"] {
        devices.stand(&["dave"], name, "removed");
    }
    let is_out = |group: &serde_json::Value| {
        group["members"].as_array().is_some_and(|members| members.iter().all(|member| member["name"] != "dave"))
    };
    devices.show_that(&["alice"], GENERAL, "that dave is out", is_out);
    devices.says("alice", GENERAL, "without dave", &[]);
    devices.does("alice", &["group", "topic", GENERAL, "all of it"]);
    devices.does("alice", &["group", "ban", CLUB, "@dave"]);
    devices.show_that(&LEADERS, CLUB, "the ban", |group| group["banned"].as_array().is_some_and(|all| all.len() == 1));
    devices.may_not("alice", &["community", "invite", CLUB, "@dave"], 6);
    devices.has_just("dave", GENERAL, &["I am new", "hello"]);
    until("the community in the list", || {
        let all = devices.lines("eve", &["community", "list"]);
        (all.len() == 1 && all[0]["name"] == "club" && all[0]["kind"] == "community").then_some(())
    });
    assert_eq!(devices.does("eve", &["community", "show", CLUB])["name"], "club");
}
