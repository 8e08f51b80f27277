//! What the devices of an account have of a group that they have entered one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::rendezvous::{Refusal, Refused, RequestBody};

use super::world::{Treatment, Who, World};
use crate::{
    api::types::{ChatId, CopyPhase, Message, Standing, Via},
    engine::{ConversationCommand, GroupCommand, HistoryCommand},
};

/// What somebody sees of a group, whichever way it has come.
fn seen(world: &World, who: Who, chat: ChatId) -> Vec<Message> {
    world.messages_in(who, chat).into_iter().map(|message| Message { via: Via::Own, ..message }).collect()
}

fn copied(world: &World, who: Who, chat: ChatId) -> usize {
    world.messages_in(who, chat).iter().filter(|message| message.via == Via::Copy).count()
}

/// Somebody writes so often, a moment apart.
fn write(world: &mut World, who: Who, chat: ChatId, count: usize, what: &str) {
    for n in 0..count {
        world.say_in(who, chat, &format!("{what} {n}")).unwrap();
        world.pass(100);
    }
}

#[test]
fn devices_that_accept_at_the_same_time_have_the_same_messages() {
    let mut handed_on = 0;
    for seed in 1..=6 {
        let mut world = World::new(seed);
        let people = world.company(2);
        let (alice, bob) = (people[0], people[1]);
        let laptop = world.linked(bob);
        world.pass(20_000);
        let devices = [bob, laptop, world.linked(bob)];
        world.pass(60_000);
        let chat = world.found(alice, &[bob]);
        world.pass(5_000);
        for who in devices {
            assert_eq!(world.standing(who, chat), Some(Standing::Invited), "seed {seed}");
            drop(world.begin(who, |reply| GroupCommand::Accept(chat, reply)));
        }
        write(&mut world, alice, chat, 30, "while they come");
        let messages = world.messages_in(alice, chat);
        let (first, last) = (messages[10].id, messages[20].id);
        let text = "changed".to_owned();
        world.call(alice, |reply| ConversationCommand::Edit { chat, message: first, text, reply }).unwrap();
        world.call(alice, |reply| ConversationCommand::Delete { chat, message: last, reply }).unwrap();
        world.pass(120_000);
        let expected = seen(&world, devices[0], chat);
        assert!(expected.iter().any(|message| message.text == "while they come 29"), "seed {seed}");
        for who in devices {
            assert_eq!(world.standing(who, chat), Some(Standing::Member), "seed {seed}");
            assert_eq!(seen(&world, who, chat), expected, "seed {seed}, device {who}");
            handed_on += copied(&world, who, chat);
        }
    }
    assert!(handed_on > 0, "all have come at once");
}

#[test]
fn a_device_that_enters_while_the_other_is_away_is_given_what_it_lacks_later() {
    let mut world = World::new(20);
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let laptop = world.linked(bob);
    world.pass(60_000);
    world.kill(laptop);
    let chat = world.found(alice, &[bob]);
    world.pass(5_000);
    world.accept(bob, chat).unwrap();
    world.pass(5_000);
    // More than one page, while the laptop is off.
    write(&mut world, alice, chat, 60, "before the laptop");
    world.kill(bob);
    world.start(laptop);
    world.pass(120_000);
    assert_eq!(world.standing(laptop, chat), Some(Standing::Member));
    world.say_in(alice, chat, "after").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(laptop, chat), ["after"], "nobody is there who has the rest");
    // Neither end loses its place when it is killed.
    world.start(bob);
    for _ in 0..20_000 {
        if world.texts_in(laptop, chat).len() >= 20 || !(world.step() || world.timer(u64::MAX)) {
            break;
        }
    }
    assert!((20..61).contains(&world.texts_in(laptop, chat).len()), "it is midway");
    world.kill(laptop);
    world.start(laptop);
    world.pass(120_000);
    assert_eq!(seen(&world, laptop, chat), seen(&world, bob, chat));
    assert_eq!(seen(&world, laptop, chat).len(), 61);
}

#[test]
fn devices_that_cannot_connect_hand_on_through_the_home() {
    let mut world = World::new(21);
    world.direct = false;
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let laptop = world.linked(bob);
    world.pass(60_000);
    world.kill(laptop);
    let chat = world.group_of(&people);
    write(&mut world, alice, chat, 10, "before the laptop");
    world.start(laptop);
    world.pass(600_000);
    assert_eq!(world.texts_in(laptop, chat).len(), 10);
    assert_eq!(seen(&world, laptop, chat), seen(&world, bob, chat));
}

#[test]
fn a_device_that_is_linked_later_has_of_a_group_what_its_user_has_chosen() {
    let mut world = World::new(22);
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    write(&mut world, alice, chat, 40, "before");
    world.pass(2_000);
    let without = world.linked(bob);
    world.pass(60_000);
    world.say_in(alice, chat, "after").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(without, chat), ["after"]);
    let with = world.linked_with_history(bob);
    world.pass(120_000);
    assert_eq!(world.call(with, HistoryCommand::State).unwrap().copy.unwrap().phase, CopyPhase::Done);
    assert_eq!(seen(&world, with, chat), seen(&world, bob, chat));
    // Its user changes their mind.
    let (device, source) = (world.of(without).device, world.of(bob).device);
    world.call(bob, |reply| HistoryCommand::Give(device, reply)).unwrap();
    world.call(without, |reply| HistoryCommand::Get(Some(source), reply)).unwrap();
    world.pass(120_000);
    assert_eq!(world.call(without, HistoryCommand::State).unwrap().copy.unwrap().phase, CopyPhase::Done);
    assert_eq!(seen(&world, without, chat), seen(&world, bob, chat));
}

#[test]
fn a_copy_is_not_done_before_its_device_knows_the_groups() {
    let mut world = World::new(24);
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    write(&mut world, alice, chat, 40, "before");
    world.pass(2_000);
    let laptop = world.linked_with_history(bob);
    // The home, which has the snapshot with the groups, is slower than the direct connection.
    world.treats = Some(Box::new(|_, body| {
        let refused = Refused { reason: Refusal::RateLimited.into(), retry_after_ms: 1_000, ..Refused::default() };
        matches!(body, RequestBody::GetSnapshot(_)).then_some(Treatment::Refusal(refused))
    }));
    world.pass(60_000);
    assert_eq!(world.call(laptop, HistoryCommand::State).unwrap().copy.unwrap().phase, CopyPhase::Following);
    world.treats = None;
    world.pass(400_000);
    assert_eq!(world.call(laptop, HistoryCommand::State).unwrap().copy.unwrap().phase, CopyPhase::Done);
    assert_eq!(seen(&world, laptop, chat), seen(&world, bob, chat));
}

#[test]
fn a_device_that_comes_back_with_its_account_has_what_was_written_before_it_came() {
    let mut world = World::new(23);
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let laptop = world.linked(bob);
    world.pass(60_000);
    let chat = world.group_of(&people);
    world.say_in(alice, chat, "first").unwrap();
    world.pass(30_000);
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(30_000);
    world.say_in(alice, chat, "not for him").unwrap();
    world.pass(5_000);
    world.kill(laptop);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(5_000);
    world.accept(bob, chat).unwrap();
    world.pass(30_000);
    world.say_in(alice, chat, "again").unwrap();
    world.pass(5_000);
    world.start(laptop);
    world.pass(120_000);
    assert_eq!(world.texts_in(bob, chat), ["first", "again"]);
    assert_eq!(seen(&world, laptop, chat), seen(&world, bob, chat));
}
