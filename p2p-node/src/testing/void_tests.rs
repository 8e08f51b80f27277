//! Messages that their author may not write any more where the log has them: they count for nobody, and their author sees that.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use starling_wire::Role;

use super::world::{Who, World};
use crate::{
    api::types::{ChatId, DeliveryState, GroupSetting},
    engine::GroupCommand,
};

/// Somebody writes without a server, others change a setting meanwhile. Gives the messages that all others have, and those that are marked.
fn written_before(seed: u64, texts: &[&str], setting: (GroupSetting, u32)) -> (Vec<String>, Vec<String>) {
    let mut world = World::new(seed);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.cut_off([bob].into());
    for text in texts {
        world.say_in(bob, chat, text).unwrap();
    }
    let settings = vec![setting];
    world.call(alice, |reply| GroupCommand::Set { chat, settings, reply }).unwrap();
    world.pass(10_000);
    world.cut_off(BTreeSet::new());
    world.pass(60_000);
    let seen = world.texts_in(alice, chat);
    assert_eq!(world.texts_in(carol, chat), seen);
    let failed = marked(&world, bob, chat);
    // It stays so.
    world.kill(bob);
    world.start(bob);
    world.pass(60_000);
    assert_eq!(marked(&world, bob, chat), failed);
    (seen, failed)
}

fn marked(world: &World, who: Who, chat: ChatId) -> Vec<String> {
    let messages = world.messages_in(who, chat).into_iter();
    messages.filter(|message| message.state == DeliveryState::Failed).map(|message| message.text).collect()
}

#[test]
fn who_may_not_write_any_more_sees_that_what_waited_counts_for_nobody() {
    let (seen, failed) = written_before(1, &["in vain"], (GroupSetting::Post, Role::Admin.rank().into()));
    assert!(seen.is_empty());
    assert_eq!(failed, ["in vain"]);
}

#[test]
fn who_has_written_too_much_for_slow_mode_sees_what_counts_for_nobody() {
    let (seen, failed) = written_before(2, &["1", "2", "3", "4", "5"], (GroupSetting::SlowMode, 3_600));
    assert_eq!(seen, ["1", "2", "3"]);
    assert_eq!(failed, ["4", "5"]);
}

#[test]
fn what_may_still_be_written_is_not_marked() {
    let (seen, failed) = written_before(3, &["1", "2"], (GroupSetting::SlowMode, 3_600));
    assert_eq!(seen, ["1", "2"]);
    assert!(failed.is_empty());
}
