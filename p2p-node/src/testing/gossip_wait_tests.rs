//! What members pass on waits a moment for the log: where that has it in time, and where it has not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::world::{Who, World};
use crate::{
    api::types::{ChatId, DurableEventKind, Via},
    conversation::gossip::limits::{APPEND_FOR_OTHERS_MS, GOSSIP_GRACE_MS, MAX_GOSSIP_WAIT_MS},
};

/// A group of so many people, where what is passed on waits.
fn waiting(seed: u64, count: usize) -> (World, Vec<Who>, ChatId) {
    let mut world = World::new(seed);
    world.gossip.on = true;
    let people = world.company(count);
    let chat = world.group_of(&people);
    world.pass(2 * GOSSIP_GRACE_MS);
    for who in &people {
        wait(&mut world, *who);
    }
    (world, people, chat)
}

fn wait(world: &mut World, who: Who) {
    world.begin_modified(who, |engine, _| engine.conversations.wait_for_logs(40));
}

/// How a message came that somebody has.
fn via(world: &World, who: Who, chat: ChatId, text: &str) -> Option<Via> {
    world.messages_in(who, chat).into_iter().find(|message| message.text == text).map(|message| message.via)
}

/// Everybody has the same messages, each of which is final and was told once.
fn agree(world: &World, people: &[Who], chat: ChatId, count: usize) {
    let texts = world.texts_in(people[0], chat);
    assert_eq!(texts.len(), count, "{texts:?}");
    for who in people {
        assert_eq!(world.texts_in(*who, chat), texts, "{who}");
        assert!(world.messages_in(*who, chat).iter().all(|m| m.own || m.via == Via::Log), "{who}");
        let told = world.durable_events(*who);
        let new = told.iter().filter(|e| e.kind == DurableEventKind::New && e.chat == Some(chat)).count();
        assert_eq!(new, count, "{who}: {told:?}");
        assert_eq!(world.engine(*who).conversations.gossip_kept(&chat), 0, "{who}");
    }
}

#[test]
fn what_the_log_has_in_time_comes_from_there_alone() {
    let (mut world, people, chat) = waiting(31, 4);
    for round in 0..5 {
        for who in &people {
            world.say_in(*who, chat, &format!("{round} from {who}")).unwrap();
        }
        world.settle();
        for (who, author) in people.iter().zip(people.iter().skip(1)) {
            assert_eq!(via(&world, *who, chat, &format!("{round} from {author}")), Some(Via::Log));
        }
    }
    world.pass(MAX_GOSSIP_WAIT_MS);
    agree(&world, &people, chat, 20);
}

#[test]
fn what_the_log_does_not_have_is_shown_a_moment_later() {
    let (mut world, people, chat) = waiting(32, 3);
    let (bob, carol) = (people[1], people[2]);
    world.stop_server();
    world.say_in(bob, chat, "without the log").unwrap();
    world.pass(MAX_GOSSIP_WAIT_MS);
    assert_eq!(via(&world, carol, chat, "without the log"), Some(Via::Gossip));
    // Whoever ends before that has it from the log.
    world.say_in(bob, chat, "while carol ends").unwrap();
    world.kill(carol);
    world.start_server();
    world.start(carol);
    wait(&mut world, carol);
    world.heal();
    world.pass(2 * APPEND_FOR_OTHERS_MS);
    agree(&world, &people, chat, 2);
}

#[test]
fn what_is_lost_doubled_and_overtaken_while_it_waits_is_in_every_history_once() {
    for seed in 0..3 {
        let (mut world, people, chat) = waiting(40 + seed, 4);
        (world.gossip.lost, world.gossip.doubled, world.gossip.reordered) = (30, 30, true);
        for round in 0..4 {
            for who in &people {
                world.say_in(*who, chat, &format!("{round} from {who}")).unwrap();
            }
            world.pass(10);
        }
        world.heal();
        world.pass(2 * APPEND_FOR_OTHERS_MS);
        agree(&world, &people, chat, 16);
    }
}
