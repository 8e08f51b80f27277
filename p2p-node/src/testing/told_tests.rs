//! Commits that members tell of before their log was read: what stands there before them counts, and nothing waits for a log that is not to be read.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use starling_wire::rendezvous::{Refusal, Refused, RequestBody, ResponseBody};

use super::world::{Treatment, Who, World};
use crate::{
    api::types::ChatId,
    conversation::{GroupEntry, fork::limits::TOLD_WAITS_MS},
    engine::GroupCommand,
    limits::RETRY_REFUSED_MS,
};

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

fn group(world: &World, who: Who, chat: ChatId) -> &GroupEntry {
    let engine = world.engine(who);
    engine.active_group(chat).and_then(|id| engine.conversations.groups.get(&id)).unwrap()
}

/// Alice has written in three epochs, through which members have led bob, who reaches no server.
fn led_on(seed: u64) -> (World, [Who; 2], ChatId, Vec<String>) {
    let mut world = World::new(seed);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    world.cut_off([bob].into());
    let written = write_in_epochs(&mut world, alice, chat, 3);
    assert_eq!(group(&world, bob, chat).epoch(), group(&world, alice, chat).epoch(), "the others have told him");
    assert!(world.texts_in(bob, chat).is_empty());
    (world, [alice, bob], chat, written)
}

/// The addresses of the logs that somebody follows of epochs that are over, but for the last one.
fn past_logs(world: &World, who: Who, chat: ChatId) -> BTreeSet<Vec<u8>> {
    let group = group(world, who, chat);
    let past = group.logs.iter().filter(|log| log.epoch + 1 < group.epoch());
    past.map(|log| log.address.clone()).collect()
}

/// Bob's home is back. He reads what is written now, whatever becomes of the logs that were left.
fn reads_the_current_log(world: &mut World, [alice, bob]: [Who; 2], chat: ChatId, written: &[String]) {
    world.cut_off(BTreeSet::new());
    world.pass(5_000);
    world.say_in(alice, chat, "now").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(bob, chat), [written.last().unwrap().as_str(), "now"]);
    assert!(group(world, bob, chat).read.caught_up);
    world.say_in(bob, chat, "heard").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(alice, chat).last().unwrap(), "heard", "he writes, too");
}

/// Nothing is kept from bob any more: he has all that was written.
fn has_all(world: &mut World, bob: Who, chat: ChatId, written: &[String]) {
    world.cut_off([bob].into());
    world.cut_off(BTreeSet::new());
    world.pass(60_000);
    let mut expected = written.to_vec();
    expected.extend(["now", "heard"].map(String::from));
    assert_eq!(world.texts_in(bob, chat), expected);
    assert!(!group(world, bob, chat).has_unread_logs());
    assert!(past_logs(world, bob, chat).is_empty(), "what was read is followed no longer");
}

#[test]
fn who_was_away_reads_all_epochs_though_members_lead_it_past_them() {
    for epochs in [3, 6] {
        for seed in 0..8 {
            let mut world = World::new(seed);
            let people = world.company(3);
            let (alice, bob) = (people[0], people[1]);
            let chat = world.group_of(&people);
            world.kill(bob);
            let written = write_in_epochs(&mut world, alice, chat, epochs);
            world.start(bob);
            world.pass(60_000);
            assert_eq!(world.texts_in(bob, chat), written, "seed {seed}, {epochs} epochs");
        }
    }
}

#[test]
fn who_is_led_on_without_the_home_reads_the_logs_when_it_is_back() {
    let (mut world, [_, bob], chat, written) = led_on(20);
    world.kill(bob);
    world.start(bob);
    world.pass(5_000);
    world.cut_off(BTreeSet::new());
    world.pass(60_000);
    assert_eq!(world.texts_in(bob, chat), written);
}

#[test]
fn a_log_that_does_not_come_keeps_no_later_one_unread() {
    let (mut world, people, chat, written) = led_on(30);
    let past = past_logs(&world, people[1], chat);
    assert!(!past.is_empty(), "they are kept");
    world.treats = Some(Box::new(move |_, body| {
        let is_past = matches!(body, RequestBody::LogRead(read) if past.contains(&read.address[..]));
        is_past.then_some(Treatment::Silence)
    }));
    reads_the_current_log(&mut world, people, chat, &written);
    world.treats = None;
    has_all(&mut world, people[1], chat, &written);
}

#[test]
fn a_log_that_is_refused_keeps_no_later_one_unread() {
    for (seed, reason) in
        [(40, Refusal::Internal), (41, Refusal::RateLimited), (42, Refusal::Denied), (43, Refusal::NotFound)]
    {
        let (mut world, people, chat, written) = led_on(seed);
        let past = past_logs(&world, people[1], chat);
        world.treats = Some(Box::new(move |_, body| {
            let is_past = matches!(body, RequestBody::LogRead(read) if past.contains(&read.address[..]));
            is_past.then(|| Treatment::Refusal(Refused { reason: reason.into(), ..Refused::default() }))
        }));
        reads_the_current_log(&mut world, people, chat, &written);
        world.treats = None;
        if matches!(reason, Refusal::Internal | Refusal::RateLimited) {
            world.pass(RETRY_REFUSED_MS);
            has_all(&mut world, people[1], chat, &written);
        } else {
            assert!(past_logs(&world, people[1], chat).is_empty(), "they are given up");
        }
    }
}

#[test]
fn a_log_without_an_end_keeps_no_later_one_unread() {
    let (mut world, people, chat, written) = led_on(50);
    let past = past_logs(&world, people[1], chat);
    world.lie = Some(Box::new(move |_, response| {
        if let Some(ResponseBody::Page(page)) = &mut response.body
            && past.contains(&page.address[..])
        {
            page.entries.clear();
            page.more = true;
        }
    }));
    reads_the_current_log(&mut world, people, chat, &written);
}

#[test]
fn what_members_tell_waits_for_a_silent_log_for_a_bounded_time() {
    let mut world = World::new(60);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    world.kill(bob);
    let written = write_in_epochs(&mut world, alice, chat, 3);
    world.treats = Some(Box::new(|_, body| matches!(body, RequestBody::LogRead(_)).then_some(Treatment::Silence)));
    world.start(bob);
    world.pass(TOLD_WAITS_MS + 5_000);
    assert_eq!(group(&world, bob, chat).epoch(), group(&world, alice, chat).epoch());
    world.treats = None;
    world.cut_off([bob].into());
    world.cut_off(BTreeSet::new());
    world.pass(60_000);
    assert_eq!(world.texts_in(bob, chat), written);
}
