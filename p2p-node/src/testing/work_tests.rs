//! What a turn costs: work is proportional to what happened, not to how much there is.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_wire::{Text, rendezvous::RequestBody};

use super::world::{Who, World};
use crate::{
    conversation::limits::{STATE_MESSAGES, STATE_WITHIN_MS},
    engine::ConversationCommand,
    store::{MLS, MlsRow, Reading, TREES, TreeRow, prefix},
};

fn say(world: &mut World, who: Who, to: Who, text: &str) {
    let chat = world.chat_id(who, to);
    let texts = vec![Text { text: text.into(), ..Text::default() }];
    world.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap();
}

/// What somebody's engine looks at while messages go both ways, beside so many other contacts with conversations.
fn visits_beside(contacts: u32) -> u64 {
    let mut world = World::new(11);
    let (alice, bob) = world.friends();
    world.fill(alice, contacts);
    world.pass(20_000);
    let before = world.visits(alice);
    for n in 0..30 {
        say(&mut world, alice, bob, &format!("to bob {n}"));
        say(&mut world, bob, alice, &format!("to alice {n}"));
    }
    world.pass(10_000);
    world.visits(alice) - before
}

#[test]
fn messages_cost_the_same_beside_thousands_of_other_conversations() {
    let (alone, beside) = (visits_beside(0), visits_beside(2_000));
    assert!(beside <= alone + alone / 10, "{beside} values were looked at beside 2,000 contacts, {alone} without");
}

/// What somebody's engine looks at in turns that have to do with a group of so many people, in which nothing changes.
fn visits_in_group_of(count: usize) -> u64 {
    let mut world = World::new(12);
    world.gossip.on = true;
    let people = world.company(count);
    let chat = world.group_of(&people);
    world.pass(300_000);
    let looks_at_it = |world: &mut World| {
        world.begin_modified(people[1], |engine, _| {
            let group = engine.active_group(chat).unwrap();
            engine.conversations.groups.touch(group);
        });
    };
    looks_at_it(&mut world);
    let before = world.visits(people[1]);
    (0..30).for_each(|_| looks_at_it(&mut world));
    world.visits(people[1]) - before
}

#[test]
fn a_turn_in_a_group_costs_the_same_however_many_are_in_it() {
    let (few, many) = (visits_in_group_of(3), visits_in_group_of(12));
    assert!(many <= few + few / 2, "{many} values were looked at in a group of 12, {few} in one of 3");
}

/// The bytes of the rows that somebody has of a group's encryption state, and of its ratchet tree.
fn state_and_tree(world: &World, who: Who, group: &[u8; 16]) -> (MlsRow, TreeRow) {
    let (store, whole) = (world.store(who), prefix(group));
    let read = store.read().unwrap();
    let state = read.range::<MlsRow>(MLS, whole.clone(), 1, false).unwrap().remove(0).1;
    (state, read.range::<TreeRow>(TREES, whole, 1, false).unwrap().remove(0).1)
}

#[test]
fn what_is_read_in_a_large_group_writes_no_ratchet_tree() {
    let mut world = World::new(14);
    let people = world.company(8);
    let chat = world.group_of(&people);
    world.pass(60_000);
    let (alice, bob) = (people[0], people[1]);
    let group = world.engine(bob).active_group(chat).unwrap();
    let (before, tree) = state_and_tree(&world, bob, &group);
    assert_eq!(before.tree, tree.hash);
    for n in 0..4 * STATE_MESSAGES {
        world.say_in(alice, chat, &format!("{n}")).unwrap();
        world.pass(500);
    }
    world.pass(2 * STATE_WITHIN_MS);
    let (after, same) = state_and_tree(&world, bob, &group);
    assert!(after.state != before.state, "the keys of what was read are gone");
    assert!(same == tree, "nobody has committed");
    // Both together are the group, also after a crash.
    world.kill(bob);
    world.start(bob);
    world.pass(5_000);
    world.say_in(alice, chat, "after it").unwrap();
    world.pass(5_000);
    world.say_in(bob, chat, "here").unwrap();
    world.pass(5_000);
    for who in [alice, bob, people[2]] {
        assert_eq!(world.texts_in(who, chat).split_off(4 * STATE_MESSAGES as usize), ["after it", "here"], "{who}");
    }
    // A commit brings another.
    world.wish_out(alice, chat, people[7]).unwrap();
    world.pass(60_000);
    let (last, other) = state_and_tree(&world, bob, &group);
    assert!(last.tree == other.hash && other.hash != tree.hash);
}

#[test]
fn a_start_asks_for_each_log_of_many_groups_once() {
    let mut world = World::new(15);
    let (alice, bob) = world.friends();
    let groups: Vec<_> = (0..5).map(|_| world.group_of(&[alice, bob])).collect();
    world.pass(120_000);
    world.kill(bob);
    world.kill(alice);
    world.asked = Some(Vec::new());
    world.start(alice);
    world.pass(5_000);
    let asked = world.asked.take().unwrap();
    let read = asked.iter().filter_map(|request| match &request.body {
        Some(RequestBody::LogRead(read)) => Some(read.address.clone()),
        _ => None,
    });
    let mut read: Vec<_> = read.collect();
    let times = read.len();
    read.sort();
    read.dedup();
    assert_eq!(times, read.len(), "a log was read twice");
    let engine = world.engine(alice);
    let followed: usize = engine.conversations.groups.values().map(|group| group.logs.len()).sum();
    assert!(times <= followed, "{times} requests for {followed} logs of {} groups", groups.len());
}
