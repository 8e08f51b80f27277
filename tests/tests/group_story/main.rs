//! A group and a community of five accounts, two of them with two devices, with every verb that there is for them, while devices are killed at random:
//! one member is offline for all of it, one is removed and comes back by a link with nobody else online, one is banned. In the end
//! `group show --json`, `group audit --json` and `history --json` are the same on all honest devices.
//!
//! `STARLING_GROUP_KILLS_SEED=7 cargo test --test group_story -- --nocapture` kills at other points, and says what is done when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod agreement;
mod community;
mod devices;
mod group;

use std::time::Duration;

use community::{a_community_gets_channels, dave_comes_and_answers, dave_is_removed_and_banned};
use devices::Devices;
use group::{
    a_group_is_made_and_changed, a_message_is_reported, eve_comes_back_by_a_link_with_nobody_else_online,
    eve_declines_and_is_let_in_by_approval, eve_is_removed_and_dave_banned, the_group_is_as_it_was_written,
};

/// The group, which is renamed, and the community.
const OPS: &str = "#ops";
const WORKS: &str = "#works";
const CLUB: &str = "#club";
/// The devices of the owner, and of the admin.
const LEADERS: [&str; 4] = ["alice", "laptop", "bob", "tablet"];

fn seed() -> u64 {
    std::env::var("STARLING_GROUP_KILLS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn all_devices_agree_on_a_group_and_a_community_through_every_verb_while_they_are_killed() {
    starling_tests::allow_time(Duration::from_secs(540));
    let mut devices = Devices::new(seed());
    carol_comes_and_is_away(&mut devices);
    a_group_is_made_and_changed(&mut devices);
    a_message_is_reported(&mut devices);
    eve_declines_and_is_let_in_by_approval(&mut devices);
    eve_is_removed_and_dave_banned(&mut devices);
    eve_comes_back_by_a_link_with_nobody_else_online(&mut devices);
    a_community_gets_channels(&mut devices);
    dave_comes_and_answers(&mut devices);
    dave_is_removed_and_banned(&mut devices);
    carol_is_back(&mut devices);
    the_group_is_as_it_was_written(&devices);
    members_leave(&mut devices);
    println!("{} kills", devices.kills);
    assert!(devices.kills > 10, "it was killed {} times", devices.kills);
}

/// She is in the group and in the community, and hears nothing of what follows.
fn carol_comes_and_is_away(devices: &mut Devices) {
    let made = devices.does("alice", &["group", "new", "ops", "@bob", "@carol", "@eve"]);
    assert_eq!(made["name"], "ops");
    devices.does("laptop", &["community", "new", "club", "@bob", "@carol"]);
    devices.stand(&["alice"], "club", "member");
    for (name, verb) in [("ops", "group"), ("club", "community")] {
        devices.stand(&["carol"], name, "invited");
        devices.does("carol", &[verb, "accept", &format!("#{name}")]);
        devices.stand(&["carol"], name, "member");
    }
    devices.does("alice", &["community", "channel", "new", CLUB, "general"]);
    devices.stand(&["carol"], "general", "member");
    devices.stop("carol");
}

/// All devices print the same. Those of the owner were there from the beginning.
fn carol_is_back(devices: &mut Devices) {
    devices.start("carol");
    let members = ["alice", "laptop", "bob", "tablet", "carol", "eve"];
    devices.agree(&members[..5], WORKS);
    devices.agree_since(&["alice", "eve"], WORKS, Some("eve is alone"));
    for group in [CLUB, "#club/general", "#club/news"] {
        devices.agree(&members, group);
    }
    devices.agree(&LEADERS, "#club/staff");
    // The last word, before all see that it is there.
    devices.says("carol", WORKS, "carol is back", &[]);
    devices.have(&members, WORKS, "carol is back");
}

/// Who leaves is gone for all; the last owner stays.
fn members_leave(devices: &mut Devices) {
    devices.may_not("alice", &["group", "leave", WORKS], 6);
    devices.does("eve", &["group", "leave", WORKS]);
    devices.does("tablet", &["community", "leave", CLUB]);
    let count = |value: &serde_json::Value| value["members"].as_array().map_or(0, Vec::len);
    devices.show_that(&["alice", "laptop", "carol"], CLUB, "that bob is gone", |group| count(group) == 3);
    devices.show_that(&["alice", "laptop", "carol"], "#club/general", "that bob is gone", |group| count(group) == 3);
    devices.show_that(&LEADERS, WORKS, "that eve is gone", |group| count(group) == 3);
    devices.stand(&["bob", "tablet"], "club", "left");
    devices.stand(&["eve"], "works", "left");
    devices.agree(&["alice", "laptop", "bob", "tablet", "carol"], WORKS);
    devices.agree(&["alice", "laptop", "carol", "eve"], CLUB);
}
