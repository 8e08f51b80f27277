//! Commits that members tell of before their log was read: what stands there before them counts.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::world::{Who, World};
use crate::{api::types::ChatId, engine::GroupCommand};

/// Somebody writes in each of some epochs.
fn write_in_epochs(world: &mut World, who: Who, chat: ChatId, epochs: usize) -> Vec<String> {
    let mut written = Vec::new();
    for n in 0..epochs {
        written.push(format!("message {n}"));
        world.say_in(who, chat, &written[n]).unwrap();
        world.pass(5_000);
        let topic = format!("topic {n}");
        world.call(who, |reply| GroupCommand::SetTopic { chat, topic, reply }).unwrap();
        world.pass(5_000);
    }
    written
}

#[test]
fn who_was_away_reads_all_epochs_though_members_lead_it_past_them() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        let people = world.company(3);
        let (alice, bob) = (people[0], people[1]);
        let chat = world.group_of(&people);
        world.kill(bob);
        let written = write_in_epochs(&mut world, alice, chat, 6);
        world.start(bob);
        world.pass(60_000);
        assert_eq!(world.texts_in(bob, chat), written, "seed {seed}");
    }
}

#[test]
fn who_is_led_on_without_the_home_reads_the_logs_when_it_is_back() {
    let mut world = World::new(20);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    world.cut_off([bob].into());
    let written = write_in_epochs(&mut world, alice, chat, 3);
    let epoch = |world: &World, who: Who| {
        let engine = world.engine(who);
        engine.active_group(chat).and_then(|id| engine.conversations.groups.get(&id)).unwrap().epoch()
    };
    assert_eq!(epoch(&world, bob), epoch(&world, alice), "the others have told him");
    assert!(world.texts_in(bob, chat).is_empty());
    world.kill(bob);
    world.start(bob);
    world.pass(5_000);
    world.cut_off(BTreeSet::new());
    world.pass(60_000);
    assert_eq!(world.texts_in(bob, chat), written);
}
