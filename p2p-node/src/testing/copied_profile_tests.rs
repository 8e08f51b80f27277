//! An older copy of a device's profile that is started again, in place of the real one or beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::Text;

use crate::{
    api::{
        error::{NodeError, NotAllowed},
        types::{DeliveryState, DurableEventKind},
    },
    conversation::commands::ConversationCommand,
    testing::world::{Who, World},
};

/// What somebody sees of a conversation.
fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|m| m.text).collect()
}

/// Tries to write.
fn write(world: &mut World, who: Who, to: Who, text: &str) -> Result<(), NodeError> {
    let chat = world.chat_id(who, to);
    let texts = vec![Text { text: text.into(), ..Text::default() }];
    world.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).map(drop)
}

/// Whether somebody was told that a device of the account is there twice.
fn is_warned(world: &World, who: Who) -> bool {
    world.durable_events(who).iter().any(|n| n.kind == DurableEventKind::DeviceCopied)
}

/// Nothing is shown as delivered on the copy that bob does not have, and it writes nothing more, also after another start.
fn is_stopped(world: &mut World, copy: Who, bob: Who, seed: u64) {
    let has = texts(world, bob, copy);
    for message in world.messages(copy, bob).into_iter().filter(|m| m.own && m.text.starts_with("lost")) {
        let delivered = matches!(message.state, DeliveryState::Delivered | DeliveryState::Read);
        assert!(!delivered || has.contains(&message.text), "seed {seed}: {message:?}");
    }
    assert!(is_warned(world, copy), "seed {seed}");
    for _ in 0..2 {
        assert_eq!(write(world, copy, bob, "more"), Err(NotAllowed::Outdated.into()), "seed {seed}");
        assert!(texts(world, copy, bob).contains(&"before".to_owned()), "what it has can be read");
        world.kill(copy);
        world.start(copy);
    }
    world.pass(60_000);
    assert!(!texts(world, bob, copy).contains(&"more".to_owned()), "seed {seed}");
}

/// Alice, who may have a second device, and bob; a copy of alice's profile, after which she has written so many messages, and which does not run.
fn copied(seed: u64, devices: bool, after: usize) -> (World, Who, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    if devices {
        world.linked(alice);
        world.pass(10_000);
    }
    world.say(alice, bob, "before");
    world.pass(5_000);
    let copy = world.copied(alice);
    world.pass(5_000);
    for n in 0..after {
        world.say(alice, bob, &format!("real {n}"));
        world.say(bob, alice, &format!("answer {n}"));
    }
    world.pass(60_000);
    (world, alice, bob, copy)
}

#[test]
fn an_older_copy_of_a_profile_stops_before_it_writes() {
    for seed in 0..4 {
        let (mut world, alice, bob, copy) = copied(960 + seed, seed % 2 == 1, 3);
        world.kill(alice);
        world.start(copy);
        world.pass(5_000);
        is_stopped(&mut world, copy, bob, seed);
    }
}

#[test]
fn what_an_older_copy_has_written_while_nobody_was_there_is_not_delivered() {
    for (seed, count) in [(0, 1), (1, 3), (2, 4), (3, 6), (4, 6)] {
        let (mut world, alice, bob, copy) = copied(970 + seed, false, 3);
        world.kill(alice);
        world.kill(bob);
        world.start(copy);
        for n in 0..count {
            write(&mut world, copy, bob, &format!("lost {n}")).unwrap();
        }
        world.pass(20_000);
        world.start(bob);
        world.pass(60_000);
        is_stopped(&mut world, copy, bob, seed);
    }
}

#[test]
fn a_copy_beside_the_real_device_is_seen_by_the_owner() {
    for seed in 0..4 {
        let (mut world, alice, bob, copy) = copied(980 + seed, true, 0);
        let laptop = 2;
        world.start(copy);
        world.pass(5_000);
        for n in 0..4 {
            let _ = write(&mut world, alice, bob, &format!("real {n}"));
            let _ = write(&mut world, copy, bob, &format!("lost {n}"));
            world.pass(2_000);
        }
        world.pass(60_000);
        assert!([alice, copy, laptop].into_iter().any(|who| is_warned(&world, who)), "seed {seed}");
        let has = texts(&mut world, bob, alice);
        for (who, text) in [(alice, "real"), (copy, "lost")] {
            for message in world.messages(who, bob).into_iter().filter(|m| m.own && m.text.starts_with(text)) {
                let delivered = matches!(message.state, DeliveryState::Delivered | DeliveryState::Read);
                assert!(!delivered || has.contains(&message.text), "seed {seed}: {message:?}");
            }
        }
    }
}

#[test]
fn a_contact_that_lies_about_what_it_has_stops_its_own_conversation_alone() {
    let mut world = World::new(990);
    let (alice, bob) = world.friends();
    let carol = world.person("carol");
    let invite = world.invite(alice);
    let mut added = world.add(carol, &invite);
    world.pass(10_000);
    added.try_recv().unwrap().unwrap();
    world.say(alice, bob, "before");
    world.pass(5_000);
    let (chat, device) = (world.chat_id(alice, bob), world.of(bob).device);
    world.modified(alice, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        conversations.acknowledged(turn, &mut cx, chat, device, (1_000_000, starling_wire::Clock(7))).unwrap();
    });
    assert_eq!(write(&mut world, alice, bob, "no"), Err(NotAllowed::Outdated.into()));
    world.say(alice, carol, "yes");
    world.pass(5_000);
    assert_eq!(texts(&mut world, carol, alice), ["yes"]);
}
