//! Invitations into groups that come to who was away, and to the other devices of who has accepted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use super::world::World;
use crate::{
    api::types::{DurableEventKind, Standing},
    engine::GroupCommand,
};

#[test]
fn who_was_removed_and_invited_again_while_away_is_invited_on_return() {
    for seed in 1..=8 {
        let mut world = World::new(seed);
        let people = world.company(3);
        let (alice, bob) = (people[0], people[1]);
        let chat = world.group_of(&people);
        world.kill(bob);
        world.wish_out(alice, chat, bob).unwrap();
        world.pass(10_000);
        world.wish_in(alice, chat, &[bob]).unwrap();
        world.pass(10_000);
        // The log, which says that he was removed, and the inbox with the invitation are read in any order.
        world.start(bob);
        world.pass(2_000);
        assert_eq!(world.standing(bob, chat), Some(Standing::Invited), "seed {seed}");
        let events = world.durable_events(bob).into_iter().map(|event| event.kind);
        let of_group = [DurableEventKind::GroupRemoved, DurableEventKind::GroupInvited];
        let told: Vec<DurableEventKind> = events.filter(|kind| of_group.contains(kind)).collect();
        assert!(told.ends_with(&of_group), "seed {seed}: {told:?}");
        world.accept(bob, chat).unwrap();
        world.pass(10_000);
        world.say_in(alice, chat, "again").unwrap();
        world.pass(5_000);
        assert_eq!(world.texts_in(bob, chat), ["again"], "seed {seed}");
    }
}

#[test]
fn an_invitation_that_a_member_does_not_need_is_not_kept_for_later() {
    let mut world = World::new(20);
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    // Her program sends it all the same.
    let (account, mut offer) = (world.of(alice).account, None);
    world.begin_modified(alice, |engine, _| offer = engine.conversations.ways_into_groups(engine.directory()).pop());
    let offer = offer.unwrap();
    world.modified(bob, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        conversations.on_offer(turn, &mut cx, account, &offer).unwrap().unwrap();
    });
    world.pass(5_000);
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(10_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Removed));
}

#[test]
fn nobody_takes_the_place_of_an_invitation_that_comes_before_the_removal_is_read() {
    for is_false_first in [false, true] {
        let mut world = World::new(21);
        // Nobody shows him the removal but the log.
        world.direct = false;
        let people = world.company(3);
        let (alice, bob, mallory) = (people[0], people[1], people[2]);
        let chat = world.group_of(&people);
        let mut offer = None;
        world
            .begin_modified(alice, |engine, _| offer = engine.conversations.ways_into_groups(engine.directory()).pop());
        let offer = offer.unwrap();
        world.cut_off([bob].into());
        world.wish_out(alice, chat, bob).unwrap();
        world.pass(10_000);
        assert_eq!(world.standing(bob, chat), Some(Standing::Member), "he has not read it");
        let mut from = [alice, mallory].map(|who| world.of(who).account);
        if is_false_first {
            from.reverse();
        }
        world.begin_modified(bob, |engine, turn| {
            for account in from {
                let (conversations, mut cx) = engine.conversing();
                let _ = conversations.on_offer(turn, &mut cx, account, &offer).unwrap();
            }
        });
        world.cut_off(BTreeSet::new());
        world.pass(60_000);
        assert_eq!(world.standing(bob, chat), Some(Standing::Invited));
        let events = world.durable_events(bob);
        let invited = events.iter().rfind(|event| event.kind == DurableEventKind::GroupInvited).unwrap();
        assert_eq!(invited.account, Some(world.of(alice).account), "the false one was first: {is_false_first}");
    }
}

#[test]
fn a_device_that_was_away_comes_in_again_with_the_one_that_has_accepted() {
    for seed in 40..=47 {
        let mut world = World::new(seed);
        let people = world.company(3);
        let (alice, bob) = (people[0], people[1]);
        let laptop = world.linked(bob);
        let chat = world.group_of(&people);
        world.pass(60_000);
        assert_eq!(world.standing(laptop, chat), Some(Standing::Member), "seed {seed}");
        world.kill(laptop);
        world.wish_out(alice, chat, bob).unwrap();
        world.pass(10_000);
        world.wish_in(alice, chat, &[bob]).unwrap();
        world.pass(10_000);
        world.accept(bob, chat).unwrap();
        world.pass(60_000);
        assert_eq!(world.standing(bob, chat), Some(Standing::Member), "seed {seed}");
        // The removal, the invitation and the other device's answer are read in any order.
        world.start(laptop);
        world.pass(60_000);
        assert_eq!(world.standing(laptop, chat), Some(Standing::Member), "seed {seed}");
        world.say_in(alice, chat, "again").unwrap();
        world.pass(5_000);
        assert_eq!(world.texts_in(laptop, chat), ["again"], "seed {seed}");
    }
}

#[test]
fn a_device_that_is_late_comes_in_though_the_door_that_it_knows_has_ended() {
    let mut world = World::new(50);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let laptop = world.linked(bob);
    world.pass(60_000);
    let chat = world.found(alice, &people[1..]);
    world.pass(5_000);
    world.accept(carol, chat).unwrap();
    world.pass(10_000);
    world.accept(bob, chat).unwrap();
    world.settle();
    world.kill(bob);
    world.pass(60_000);
    assert_eq!(world.standing(laptop, chat), Some(Standing::Member));
    // With whoever goes another door begins.
    world.wish_out(alice, chat, carol).unwrap();
    world.pass(60_000);
    world.start(bob);
    world.pass(600_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Member));
}

#[test]
fn our_other_devices_enter_a_group_while_the_home_of_somebody_who_is_invited_is_away() {
    let mut world = World::new(30);
    let other = world.add_server();
    let homes: [&[usize]; 2] = [&[0], &[other]];
    let people = world.company_at(homes.into_iter());
    let laptop = world.linked(people[0]);
    world.pass(60_000);
    world.kill(people[1]);
    world.kill_server(other);
    let chat = world.found(people[0], &people[1..]);
    world.pass(20_000);
    assert_eq!(world.standing(laptop, chat), Some(Standing::Member));
    world.revive_server(other);
    world.start(people[1]);
    world.pass(60_000);
    assert_eq!(world.standing(people[1], chat), Some(Standing::Invited));
}

/// The invited waited for ever for a way in behind the commit that had removed them.
#[test]
fn who_accepts_an_invitation_that_was_withdrawn_is_told_so_at_once() {
    for (seed, banned) in [(40, false), (41, true)] {
        let mut world = World::new(seed);
        let people = world.company(3);
        let (alice, bob, eve) = (people[0], people[1], people[2]);
        let chat = world.found(alice, &people[1..]);
        world.pass(2_000);
        world.call(eve, |reply| GroupCommand::Decline(chat, reply)).unwrap();
        world.accept(bob, chat).unwrap();
        world.pass(10_000);
        let account = world.of(eve).account;
        match banned {
            true => world.call(alice, |reply| GroupCommand::Ban { chat, account, reply }).unwrap(),
            false => world.wish_out(alice, chat, eve).unwrap(),
        }
        world.pass(10_000);
        world.accept(eve, chat).unwrap();
        world.pass(1_000);
        assert_eq!(world.standing(eve, chat), Some(Standing::Removed), "seed {seed}");
        let kind = if banned { DurableEventKind::GroupBanned } else { DurableEventKind::GroupRemoved };
        let told = world.durable_events(eve).into_iter().filter(|event| event.kind == kind).count();
        assert_eq!(told, 1, "seed {seed}");
        if banned {
            continue;
        }
        world.wish_in(alice, chat, &[eve]).unwrap();
        world.pass(10_000);
        assert_eq!(world.standing(eve, chat), Some(Standing::Invited), "seed {seed}");
        world.accept(eve, chat).unwrap();
        world.pass(10_000);
        assert_eq!(world.standing(eve, chat), Some(Standing::Member), "seed {seed}");
    }
}
