//! What a turn costs: work is proportional to what happened, not to how much there is.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_wire::Text;

use super::world::{Who, World};
use crate::engine::ConversationCommand;

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
    assert!(many <= few + few / 10, "{many} values were looked at in a group of 12, {few} in one of 3");
}
