//! Room for the logs of groups: many changes at a home that has little of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_wire::LogContent;

use super::{
    epoch_tests::append_in,
    world::{Who, World},
};
use crate::{
    api::{
        problem::ChatProblem,
        types::{ChatId, Role},
    },
    conversation::{GroupEntry, limits::ACKNOWLEDGING_ACCOUNTS},
    engine::{AccountCommand, ConversationCommand, GroupCommand},
};

/// A world whose server has room for some ten commits of a conversation.
fn narrow_world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.config.limits.conversation_bytes = 256 * 1024;
    world.reload_server();
    world
}

fn set_topic(world: &mut World, who: Who, chat: ChatId, topic: &str) {
    world.call(who, |reply| GroupCommand::SetTopic { chat, topic: topic.into(), reply }).unwrap();
}

fn topic(world: &World, who: Who, chat: ChatId) -> String {
    world.group_seen(who, chat).map(|group| group.topic).unwrap_or_default()
}

/// Whether all of them see this topic.
fn see(world: &World, people: &[Who], chat: ChatId, wanted: &str) -> bool {
    people.iter().all(|who| topic(world, *who, chat) == wanted)
}

fn problem(world: &World, who: Who, chat: ChatId) -> Option<ChatProblem> {
    world.group_seen(who, chat).and_then(|group| group.problem)
}

/// Lets time pass until something is so.
fn until(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) {
    for _ in 0..3_600 {
        if is_so(world) {
            return;
        }
        world.pass(1_000);
    }
    panic!("this does not come about: {what}");
}

/// Somebody changes the topic so many times, and all of these see each change.
fn change(world: &mut World, (who, chat): (Who, ChatId), times: usize, people: &[Who]) {
    for n in 1..=times {
        let wanted = format!("topic {n}");
        set_topic(world, who, chat, &wanted);
        until(world, &wanted, |world| see(world, people, chat, &wanted));
    }
}

/// How many logs somebody's home has for them.
fn logs(world: &mut World, who: Who) -> u64 {
    let mut answer = world.begin(who, |reply| AccountCommand::Storage { delete: None, reply });
    world.pass(5_000);
    let storage = answer.try_recv().unwrap().unwrap();
    storage.conversations.iter().map(|logs| logs.logs).sum()
}

#[test]
fn two_hundred_changes_go_through_where_there_is_room_for_few() {
    let mut world = narrow_world(1_301);
    let people = world.company(3);
    let chat = world.group_of(&people);
    change(&mut world, (people[0], chat), 200, &people);
    assert_eq!(problem(&world, people[0], chat), None);
    assert!(logs(&mut world, people[0]) < 64);
    world.say_in(people[2], chat, "still here").unwrap();
    world.pass(30_000);
    for who in &people {
        assert_eq!(world.texts_in(*who, chat), ["still here"]);
    }
}

#[test]
fn what_a_member_who_is_away_needs_is_kept() {
    let mut world = World::new(1_302);
    let people = world.company(3);
    let chat = world.group_of(&people);
    world.kill(people[2]);
    world.say_in(people[0], chat, "at first").unwrap();
    world.pass(10_000);
    change(&mut world, (people[0], chat), 15, &people[..2]);
    world.say_in(people[1], chat, "at last").unwrap();
    world.pass(10_000);
    let kept = logs(&mut world, people[0]);
    assert!(kept > 15, "{kept}");
    world.start(people[2]);
    until(&mut world, "who was away has read all", |world| see(world, &people, chat, "topic 15"));
    world.pass(30_000);
    assert_eq!(world.texts_in(people[2], chat), ["at first", "at last"]);
    // Now nobody needs them.
    change(&mut world, (people[0], chat), 8, &people);
    world.pass(10_000);
    let left = logs(&mut world, people[0]);
    assert!(left < kept, "{left} of {kept}");
}

#[test]
fn somebody_is_removed_where_logs_for_who_is_away_take_all_room() {
    let mut world = narrow_world(1_303);
    let people = world.company(4);
    let (alice, carol, dave) = (people[0], people[2], people[3]);
    let chat = world.group_of(&people);
    world.kill(dave);
    world.say_in(alice, chat, "while you were away").unwrap();
    world.pass(10_000);
    change(&mut world, (alice, chat), 60, &people[..3]);
    world.wish_out(alice, chat, carol).unwrap();
    let account = world.of(carol).account;
    until(&mut world, "she is out", |world| {
        [alice, people[1]].iter().all(|who| {
            let group = world.group_seen(*who, chat).unwrap();
            !group.changing && group.members.iter().all(|member| member.account != account)
        })
    });
    assert_eq!(problem(&world, alice, chat), None);
    // Who was left behind comes back, and is given what was written meanwhile.
    world.start(dave);
    until(&mut world, "who was away is back", |world| see(world, &[dave], chat, "topic 60"));
    world.say_in(dave, chat, "I am back").unwrap();
    until(&mut world, "it is read", |world| world.texts_in(alice, chat).contains(&"I am back".to_owned()));
    until(&mut world, "the message is not lost", |world| {
        world.texts_in(dave, chat).contains(&"while you were away".to_owned())
    });
}

#[test]
fn who_was_left_behind_before_the_door_was_changed_comes_back_when_it_is_invited_again() {
    let mut world = narrow_world(1_320);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let chat = world.group_of(&people);
    world.kill(dave);
    change(&mut world, (alice, chat), 60, &people[..3]);
    world.wish_out(alice, chat, carol).unwrap();
    until(&mut world, "she is out", |world| {
        [alice, bob].iter().all(|who| world.group_seen(*who, chat).is_some_and(|group| group.members.len() == 3))
    });
    change(&mut world, (alice, chat), 20, &[alice, bob]);
    // The door that he knows is deleted, and nobody shows him the way.
    world.direct = false;
    world.start(dave);
    world.pass(60_000);
    assert_ne!(topic(&world, dave, chat), "topic 20");
    let account = world.of(dave).account;
    world.call(alice, |reply| GroupCommand::Invite { chat, accounts: vec![account], reply }).unwrap();
    until(&mut world, "who was away is back", |world| see(world, &[dave], chat, "topic 20"));
}

fn group(world: &World, who: Who, chat: ChatId) -> &GroupEntry {
    let engine = world.engine(who);
    engine.conversations.groups.get(&engine.active_group(chat).unwrap()).unwrap()
}

/// The other devices of a plain member invite nobody: they know the new door, and tell it.
#[test]
fn a_members_other_device_that_was_left_behind_before_the_door_was_changed_comes_back() {
    let mut world = narrow_world(1_321);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let tablet = world.linked(dave);
    world.pass(60_000);
    let chat = world.group_of(&people);
    until(&mut world, "both his devices are in", |world| {
        world.epoch_in(tablet, chat).is_some() && world.epoch_in(tablet, chat) == world.epoch_in(dave, chat)
    });
    world.kill(tablet);
    change(&mut world, (alice, chat), 60, &people);
    assert!(group(&world, alice, chat).row.left_behind > 0);
    world.wish_out(alice, chat, carol).unwrap();
    let left = [alice, bob, dave];
    until(&mut world, "she is out", |world| {
        left.iter().all(|who| world.group_seen(*who, chat).is_some_and(|group| group.members.len() == 3))
    });
    change(&mut world, (alice, chat), 20, &left);
    // Nobody shows it the way on a stream.
    world.direct = false;
    world.start(tablet);
    until(&mut world, "it is back", |world| see(world, &[tablet], chat, "topic 20"));
    world.say_in(tablet, chat, "from the tablet").unwrap();
    until(&mut world, "it is read", |world| world.texts_in(bob, chat) == ["from the tablet"]);
}

#[test]
fn a_member_who_floods_a_large_group_costs_who_is_away_no_messages() {
    let mut world = World::new(1_322);
    let people = world.company(ACKNOWLEDGING_ACCOUNTS + 2);
    let (alice, mallory, carol, dave) = (people[0], people[1], people[2], people[people.len() - 1]);
    let there = &people[..people.len() - 1];
    let chat = world.group_of(&people);
    until(&mut world, "all are in", |world| {
        people.iter().all(|who| world.epoch_in(*who, chat).is_some_and(|(_, devices)| devices == people.len()))
    });
    world.kill(dave);
    world.say_in(carol, chat, "while you were away").unwrap();
    world.pass(10_000);
    change(&mut world, (alice, chat), 14, there);
    world.pass(10_000);
    let (epoch, keys) = (world.epoch_in(alice, chat), group(&world, alice, chat).current_keys().unwrap());
    let before = world.stored_in_log(&keys.key).len();
    for n in 0..60 {
        let garbage = LogContent::Message(Bytes::from(vec![n; 60_000]));
        assert!(append_in(&mut world, mallory, chat, false, &garbage));
        world.pass(500);
    }
    let stored = world.stored_in_log(&keys.key).len() - before;
    assert!(stored < 60, "there was room for all of the flood");
    world.pass(60_000);
    assert_eq!(world.epoch_in(alice, chat), epoch);
    assert_eq!(group(&world, alice, chat).row.left_behind, 0);
    world.start(dave);
    until(&mut world, "who was away has read all", |world| see(world, &[dave], chat, "topic 14"));
    until(&mut world, "nothing is lost", |world| world.texts_in(dave, chat) == ["while you were away"]);
}

#[test]
fn who_writes_into_a_log_is_counted_by_whoever_owns_it() {
    let mut world = World::new(1_323);
    let people = world.company(3);
    let chat = world.group_of(&people);
    for n in 0..10 {
        world.say_in(people[1], chat, &format!("{n} {}", "x".repeat(1_000))).unwrap();
    }
    until(&mut world, "all is read", |world| world.texts_in(people[0], chat).len() == 10);
    world.pass(30_000);
    let account = world.of(people[1]).account;
    let tag = u64::from_le_bytes(account.as_bytes()[..8].try_into().unwrap());
    let written = group(&world, people[0], chat).current_log().unwrap().written.clone().unwrap();
    let most = written.writers.iter().max_by_key(|writer| writer.bytes).unwrap();
    assert_eq!(most.tag, tag);
    assert!((10_000..=written.bytes).contains(&most.bytes), "{} of {}", most.bytes, written.bytes);
}

#[test]
fn whoever_owns_the_logs_makes_room_for_others() {
    let mut world = narrow_world(1_304);
    let people = world.company(4);
    let chat = world.group_of(&people);
    world.wish_role(people[0], chat, people[1], Role::Admin).unwrap();
    world.pass(30_000);
    world.kill(people[3]);
    change(&mut world, (people[1], chat), 60, &people[..3]);
    assert_eq!(problem(&world, people[1], chat), None);
}

#[test]
fn a_change_that_finds_no_room_says_so_and_goes_through_once_there_is_some() {
    let mut world = narrow_world(1_305);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(30_000);
    // Nobody else can make room.
    world.kill(alice);
    let is_full = |world: &World| problem(world, bob, chat) == Some(ChatProblem::LogFull);
    let mut last = String::new();
    for n in 0..200 {
        last = format!("topic {n}");
        set_topic(&mut world, bob, chat, &last);
        until(&mut world, &last, |world| see(world, &[bob], chat, &last) || is_full(world));
        if is_full(&world) {
            break;
        }
    }
    assert!(is_full(&world));
    assert!(world.group_seen(bob, chat).unwrap().changing);
    let chats = world.call(bob, ConversationCommand::List).unwrap();
    assert!(chats.iter().any(|listed| listed.id == chat && listed.problem == Some(ChatProblem::LogFull)));
    world.start(alice);
    until(&mut world, &last, |world| see(world, &people, chat, &last) && !is_full(world));
}

#[test]
fn of_two_changes_that_wait_the_newer_stays_whichever_commit_comes_first() {
    for seed in 0..4 {
        let mut world = World::new(1_306 + seed);
        let people = world.company(3);
        let chat = world.group_of(&people);
        world.wish_role(people[0], chat, people[1], Role::Admin).unwrap();
        world.pass(30_000);
        world.stop_server();
        world.pass(10_000);
        let (first, second) = if seed % 2 == 0 { (people[0], people[1]) } else { (people[1], people[0]) };
        set_topic(&mut world, first, chat, "older");
        world.pass(60_000);
        set_topic(&mut world, second, chat, "newer");
        world.pass(10_000);
        world.start_server();
        until(&mut world, "the newer one", |world| {
            let waits = |who: &Who| world.group_seen(*who, chat).unwrap().changing;
            see(world, &people, chat, "newer") && !people.iter().any(waits)
        });
        world.pass(60_000);
        assert!(see(&world, &people, chat, "newer"), "seed {seed}");
    }
}
