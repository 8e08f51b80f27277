//! Messages of a group that its log does not show to a member, who sees by their numbers that they are missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{MissingEvents, Receipt, rendezvous::ResponseBody};

use super::world::{Who, World};
use crate::{
    api::types::{ChatId, MessageId, Role, Standing, Via},
    conversation::gossip::limits::{ANSWER_MISSING_EVERY_MS, APPEND_FOR_OTHERS_MS, ASK_FOR_MISSING_MS},
    engine::GroupCommand,
};

/// How far somebody has read the log of a group.
fn cursor(world: &World, who: Who, chat: ChatId) -> u64 {
    let engine = world.engine(who);
    let id = engine.active_group(chat).unwrap();
    engine.conversations.groups.get(&id).unwrap().current_log().unwrap().cursor
}

/// A message of one of these people that the server keeps from another for ever.
fn kept_from(world: &mut World, people: &[Who], (from, to): (Who, Who), chat: ChatId, text: &str) {
    // All that was written before has been read by somebody.
    let lost = people.iter().map(|who| cursor(world, *who, chat)).max().unwrap() + 1;
    world.lie = Some(Box::new(move |who, response| {
        if let Some(ResponseBody::Page(page)) = &mut response.body
            && who == to
        {
            page.entries.retain(|entry| entry.sequence != lost);
        }
    }));
    world.say_in(from, chat, text).unwrap();
    world.pass(2_000);
    world.say_in(from, chat, "seen").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(to, chat).last().unwrap(), "seen");
    assert!(!world.texts_in(to, chat).contains(&text.to_owned()), "it was not the next entry of the log");
}

/// Somebody asks for all that another one has ever written, whatever is lacking.
fn ask_for_all(world: &mut World, who: Who, chat: ChatId, author: Who) {
    let device = world.of(author).device.tag();
    world.modified(who, |engine, turn| {
        let missing = vec![MissingEvents { device, first: 1, last: u64::MAX }];
        let receipt = Receipt { missing, ..Receipt::default() };
        let (conversations, mut cx) = engine.conversing();
        let id = conversations.active_group(cx.dir, chat).unwrap();
        conversations.ask_falsely(turn, &mut cx, id, receipt);
    });
}

/// The epochs in which the messages were encrypted that somebody keeps for others.
fn encrypted_in(world: &World, who: Who, chat: ChatId) -> Vec<u64> {
    world.engine(who).conversations.chats.get(&chat).unwrap().outbox.iter().map(|item| item.epoch).collect()
}

fn seen(world: &World, who: Who, chat: ChatId) -> Vec<(MessageId, String)> {
    world.messages_in(who, chat).into_iter().map(|message| (message.id, message.text)).collect()
}

#[test]
fn what_the_log_does_not_show_is_written_again_by_its_author() {
    let mut world = World::new(1);
    let people = world.company(3);
    let (alice, carol) = (people[0], people[2]);
    let chat = world.group_of(&people);
    world.say_in(alice, chat, "before").unwrap();
    world.pass(60_000);
    kept_from(&mut world, &people, (alice, carol), chat, "lost");
    world.pass(ASK_FOR_MISSING_MS + 20_000);
    assert_eq!(world.texts_in(carol, chat), ["before", "lost", "seen"]);
    for who in &people {
        assert_eq!(seen(&world, *who, chat), seen(&world, alice, chat), "{who}");
        assert!(world.messages_in(*who, chat).iter().all(|message| message.own || message.via == Via::Log));
    }
}

#[test]
fn what_the_log_does_not_show_any_member_who_has_it_appends_if_its_author_is_away() {
    let mut world = World::new(2);
    let people = world.company(4);
    let (bob, carol) = (people[1], people[2]);
    let chat = world.group_of(&people);
    world.say_in(bob, chat, "before").unwrap();
    world.pass(60_000);
    kept_from(&mut world, &people, (bob, carol), chat, "lost");
    world.kill(bob);
    world.pass(ASK_FOR_MISSING_MS + APPEND_FOR_OTHERS_MS + 60_000);
    assert_eq!(world.texts_in(carol, chat), ["before", "lost", "seen"]);
    world.start(bob);
    world.pass(60_000);
    for who in &people {
        assert_eq!(seen(&world, *who, chat), seen(&world, bob, chat), "{who}");
        assert_eq!(world.engine(*who).conversations.gossip_kept(&chat), 0, "{who} keeps what the log has");
    }
    let message = world.messages_in(carol, chat).into_iter().find(|message| message.text == "lost").unwrap();
    assert_eq!(message.author, world.of(bob).account);
}

#[test]
fn who_asks_again_and_again_has_nothing_written_into_the_log_for_it() {
    let mut world = World::new(3);
    let people = world.company(3);
    let (alice, mallory) = (people[0], people[2]);
    let chat = world.group_of(&people);
    world.kill(people[1]);
    for n in 0..20 {
        world.say_in(alice, chat, &format!("{n}")).unwrap();
    }
    world.pass(60_000);
    let asks = |world: &mut World, count: u64| -> u64 {
        let before = cursor(world, alice, chat);
        for _ in 0..count {
            ask_for_all(world, mallory, chat, alice);
            world.pass(1_000);
        }
        cursor(world, alice, chat) - before
    };
    let once = asks(&mut world, 1);
    assert!(once <= 40, "{once}");
    assert!(asks(&mut world, 30) <= 2 * 30, "each is its own entry and what is said of it, and no more");
    assert_eq!(world.texts_in(mallory, chat).len(), 20, "nothing is there twice");
}

#[test]
fn nothing_of_before_somebody_came_is_encrypted_again_whoever_asks() {
    let mut world = World::new(4);
    let people = world.company(4);
    let (alice, carol, dave) = (people[0], people[2], people[3]);
    let chat = world.group_of(&people[..3]);
    // Somebody is away, so that it is kept.
    world.kill(people[1]);
    world.say_in(alice, chat, "before").unwrap();
    world.pass(30_000);
    let (written_in, _) = world.epoch_in(alice, chat).unwrap();
    assert!(encrypted_in(&world, alice, chat).contains(&written_in));
    // Of those who were there then somebody may lack it in the next epoch.
    world.call(alice, |reply| GroupCommand::Rename { chat, name: "new".into(), reply }).unwrap();
    world.pass(30_000);
    let (epoch, _) = world.epoch_in(alice, chat).unwrap();
    assert!(epoch > written_in);
    ask_for_all(&mut world, carol, chat, alice);
    world.pass(30_000);
    let kept = encrypted_in(&world, alice, chat);
    assert!(kept.contains(&epoch) && !kept.contains(&written_in), "{kept:?}");
    world.wish_in(alice, chat, &[dave]).unwrap();
    world.pass(5_000);
    world.accept(dave, chat).unwrap();
    world.pass(60_000);
    assert_eq!(world.standing(dave, chat), Some(Standing::Member));
    // What she has written since stands behind it.
    assert_eq!(encrypted_in(&world, alice, chat)[..kept.len()], kept);
    for who in [dave, carol] {
        world.pass(ANSWER_MISSING_EVERY_MS);
        ask_for_all(&mut world, who, chat, alice);
        world.pass(APPEND_FOR_OTHERS_MS + 60_000);
        assert_eq!(encrypted_in(&world, alice, chat)[..kept.len()], kept, "{who}");
        assert!(world.texts_in(dave, chat).is_empty(), "{who}");
    }
    assert_eq!(world.texts_in(carol, chat), ["before"]);
}

#[test]
fn an_author_who_comes_back_writes_again_what_was_asked_for_meanwhile() {
    let mut world = World::new(5);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.say_in(bob, chat, "before").unwrap();
    world.pass(60_000);
    kept_from(&mut world, &people, (bob, carol), chat, "lost");
    // Nobody else has it any more as it stood in the log.
    for who in [alice, bob] {
        world.kill(who);
    }
    world.start(alice);
    world.pass(ASK_FOR_MISSING_MS + APPEND_FOR_OTHERS_MS + 60_000);
    assert_eq!(world.texts_in(carol, chat), ["before", "seen"]);
    world.start(bob);
    world.pass(60_000);
    for who in &people {
        assert_eq!(world.texts_in(*who, chat), ["before", "lost", "seen"], "{who}");
        assert_eq!(seen(&world, *who, chat), seen(&world, bob, chat), "{who}");
    }
}

#[test]
fn who_may_not_write_any_more_encrypts_nothing_again() {
    let mut world = World::new(6);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&people);
    world.say_in(bob, chat, "before").unwrap();
    world.pass(60_000);
    kept_from(&mut world, &people, (bob, carol), chat, "lost");
    let (written_in, _) = world.epoch_in(bob, chat).unwrap();
    world.wish_role(alice, chat, bob, Role::Reader).unwrap();
    world.pass(10_000);
    assert!(world.epoch_in(bob, chat).unwrap().0 > written_in);
    let kept = encrypted_in(&world, bob, chat);
    ask_for_all(&mut world, carol, chat, bob);
    world.pass(30_000);
    assert!(kept.contains(&written_in));
    assert_eq!(encrypted_in(&world, bob, chat), kept, "it would be void for carol, and its number taken");
}
