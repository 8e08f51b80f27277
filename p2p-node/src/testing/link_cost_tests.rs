//! What it costs to link a device: counted, so that it says the same on every machine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::world::{Who, World};
use crate::{
    account::limits::ANNOUNCED_AT_ONCE,
    conversation::group::GroupEntry,
    engine::{ConversationCommand, Engine},
    meeting::limits::ENTERED_AT_ONCE,
};

/// Somebody with so many contacts, who are all there.
fn with_contacts(seed: u64, count: usize) -> (World, Who, Vec<Who>) {
    let mut world = World::new(seed);
    let alice = world.person("alice");
    let mut contacts = Vec::new();
    for n in 0..count {
        let contact = world.person(&format!("contact {n}"));
        let invite = world.invite(alice);
        let mut added = world.add(contact, &invite);
        world.pass(1_000);
        added.try_recv().expect("no answer").unwrap();
        contacts.push(contact);
    }
    world.pass(60_000);
    (world, alice, contacts)
}

/// The conversations that a device can use.
fn entered(engine: &Engine) -> usize {
    engine.conversations.groups.values().filter(|group| GroupEntry::chat(group).is_some()).count()
}

/// Until something is so.
fn until(world: &mut World, mut is_so: impl FnMut(&World) -> bool) {
    for _ in 0..200_000 {
        if is_so(world) {
            return;
        }
        if !world.step() {
            world.pass(50);
        }
    }
    panic!("it never comes to that");
}

/// Requests and frames that were sent.
struct Cost {
    /// By the old device, until it has answered the new one.
    answer: u64,
    /// By the new one, until it knows its contacts.
    known: u64,
    /// By both, until the new one is in all conversations.
    all: u64,
}

fn cost(contacts: usize) -> Cost {
    let (mut world, alice, _) = with_contacts(1_300, contacts);
    let before = world.sent(alice);
    let (device, mut linked) = world.let_in(alice, false);
    while linked.try_recv().is_err() {
        assert!(world.step() || world.timer(u64::MAX), "not linked");
    }
    let answer = world.sent(alice) - before;
    let laptop = world.joined(alice, device);
    until(&mut world, |world| world.engine(laptop).contacts.people.iter().count() == contacts);
    let known = world.sent(laptop);
    until(&mut world, |world| entered(world.engine(laptop)) == contacts);
    Cost { answer, known, all: world.sent(alice) - before + world.sent(laptop) }
}

#[test]
fn a_device_is_linked_at_the_same_cost_beside_many_conversations_and_enters_them_at_the_same_cost_each() {
    let [few, some, many] = [2, 26, 38].map(cost);
    // It announces the device to the first of them in the same turn.
    let announced = ANNOUNCED_AT_ONCE as u64;
    assert!(
        many.answer <= few.answer + announced,
        "the old device has sent {} before it answered, or {}",
        many.answer,
        few.answer
    );
    let at_once = ENTERED_AT_ONCE as u64;
    assert!(many.known <= few.known + at_once + 4, "the new one has sent {}, or {}", many.known, few.known);
    // While the last are entered, those that were entered before go on, which counts, too: a third more for each.
    let (of_24, of_12) = (some.all - few.all, many.all - some.all);
    assert!(of_12 <= of_24, "12 more conversations cost {of_12}, the first 24 of them {of_24}");
}

#[test]
fn the_most_recent_conversations_are_entered_first_and_one_that_the_user_wants_before_them() {
    let (mut world, alice, contacts) = with_contacts(1_310, ENTERED_AT_ONCE + 4);
    let recent: Vec<Who> = contacts.iter().rev().copied().collect();
    for contact in &contacts {
        world.say(*contact, alice, "hello");
        world.pass(1_000);
    }
    let laptop = world.link_within(alice, 10_000).expect("not linked");
    let count = contacts.len();
    until(&mut world, |world| world.engine(laptop).contacts.people.iter().count() == count);
    let waiting: Vec<_> = world.engine(laptop).conversations.entering.waiting().map(|((_, chat), _)| chat).collect();
    let expected: Vec<_> = recent[ENTERED_AT_ONCE..].iter().map(|contact| world.chat_id(laptop, *contact)).collect();
    assert_eq!(waiting, expected);
    let wanted = *expected.last().unwrap();
    let texts = vec![starling_wire::Text { text: "at last".into(), ..Default::default() }];
    let _sent = world.begin(laptop, |reply| ConversationCommand::Send { chat: wanted, texts, reply });
    until(&mut world, |world| {
        world.engine(laptop).conversations.entering.waiting().next().is_none_or(|((_, next), _)| next == wanted)
    });
    world.pass(30_000);
    assert_eq!(entered(world.engine(laptop)), count);
    let oldest = contacts[0];
    assert!(world.seen(oldest, alice).iter().any(|line| line.contains("at last")));
}
