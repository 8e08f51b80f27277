//! Who leaves a group before its device knows whether it is in it; and words of leaving that are about something else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_wire::{LEAVE_DOMAIN, Leave, Role, direct::Apart};

use super::world::{Who, World};
use crate::{
    api::Reply,
    api::types::{ChatId, DurableEventKind, GroupKind, Standing},
    engine::GroupCommand,
};

/// A group of alice and carol, which bob has accepted to come into: his device has sent its commit, and has no answer.
fn about_to_enter(world: &mut World) -> (ChatId, [Who; 3]) {
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    let chat = world.group_of(&[alice, carol]);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    begin_to_enter(world, bob, chat);
    (chat, [alice, bob, carol])
}

fn begin_to_enter(world: &mut World, who: Who, chat: ChatId) {
    // Nobody is there who could add the device.
    world.direct = false;
    world.pass(1_000);
    let _accepted = world.begin(who, |reply| GroupCommand::Accept(chat, reply));
    is_entering(world, who, chat);
    world.direct = true;
}

/// Waits until somebody's device has sent its commit.
fn is_entering(world: &mut World, who: Who, chat: ChatId) {
    while world.engine(who).conversations.chats.get(&chat).is_none_or(|state| {
        let door = state.row.door.as_ref();
        door.is_none_or(|door| door.entering.is_none())
    }) {
        assert!(world.step() || world.timer(u64::MAX), "it does not enter");
    }
    assert_eq!(world.standing(who, chat), Some(Standing::Entering));
}

/// Before anything else comes to the device.
fn at_once(world: &mut World, who: Who, command: impl FnOnce(Reply<()>) -> GroupCommand) {
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    world.begin_modified(who, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        conversations.on_group_command(turn, &mut cx, command(reply)).unwrap();
    });
    answer.try_recv().unwrap().unwrap();
}

fn leave_at_once(world: &mut World, who: Who, chat: ChatId) {
    at_once(world, who, |reply| GroupCommand::Leave(chat, reply));
}

/// Nobody sees bob in the group, and the others read each other.
fn is_gone(world: &mut World, chat: ChatId, [alice, bob, carol]: [Who; 3]) {
    assert_eq!(world.standing(bob, chat), Some(Standing::Left));
    world.say_in(alice, chat, "without him").unwrap();
    world.pass(10_000);
    for who in [alice, carol] {
        assert_eq!(world.group_seen(who, chat).unwrap().members.len(), 2, "{who}");
        assert_eq!(world.epoch_in(who, chat).unwrap().1, 2, "{who}");
        assert_eq!(world.texts_in(who, chat), ["without him"], "{who}");
    }
    assert!(world.texts_in(bob, chat).is_empty());
}

#[test]
fn who_leaves_before_it_knows_that_it_has_entered_is_in_nobodys_group() {
    let mut world = World::new(1000);
    let (chat, people) = about_to_enter(&mut world);
    leave_at_once(&mut world, people[1], chat);
    world.pass(120_000);
    is_gone(&mut world, chat, people);
}

#[test]
fn who_declines_what_it_has_accepted_is_in_nobodys_group() {
    let mut world = World::new(1010);
    let (chat, people) = about_to_enter(&mut world);
    at_once(&mut world, people[1], |reply| GroupCommand::Decline(chat, reply));
    world.pass(120_000);
    is_gone(&mut world, chat, people);
}

#[test]
fn who_leaves_before_it_knows_that_it_has_entered_and_is_killed_is_in_nobodys_group() {
    for steps in 0..12 {
        let mut world = World::new(1020 + steps);
        let (chat, people) = about_to_enter(&mut world);
        leave_at_once(&mut world, people[1], chat);
        for _ in 0..steps {
            world.step();
        }
        world.kill(people[1]);
        world.pass(60_000);
        world.start(people[1]);
        world.pass(120_000);
        is_gone(&mut world, chat, people);
    }
}

#[test]
fn who_left_before_and_leaves_before_it_knows_that_it_has_entered_is_in_nobodys_group() {
    let mut world = World::new(1040);
    let (chat, people) = about_to_enter(&mut world);
    let [alice, bob, carol] = people;
    world.pass(60_000);
    world.leave(bob, chat).unwrap();
    world.pass(60_000);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    begin_to_enter(&mut world, bob, chat);
    leave_at_once(&mut world, bob, chat);
    world.pass(120_000);
    is_gone(&mut world, chat, [alice, bob, carol]);
}

#[test]
fn who_leaves_on_a_device_that_is_not_in_yet_leaves_with_those_that_are() {
    let mut world = World::new(1050);
    let (chat, [alice, bob, carol]) = {
        let people = world.company(3);
        (world.group_of(&[people[0], people[2]]), [people[0], people[1], people[2]])
    };
    let laptop = world.linked(bob);
    world.pass(60_000);
    world.kill(laptop);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    world.accept(bob, chat).unwrap();
    world.pass(30_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Member));
    world.stop_server();
    world.start(laptop);
    // It has heard of the invitation when the server is away again.
    world.start_server();
    while world.standing(laptop, chat) != Some(Standing::Entering) {
        assert!(world.step() || world.timer(u64::MAX), "it does not enter");
    }
    world.leave(laptop, chat).unwrap();
    world.pass(120_000);
    for who in [bob, laptop] {
        assert_eq!(world.standing(who, chat), Some(Standing::Left), "{who}");
    }
    is_gone(&mut world, chat, [alice, bob, carol]);
}

#[test]
fn who_comes_back_on_another_device_stays_though_this_one_had_left_before_it_was_in() {
    let mut world = World::new(1055);
    let (chat, [alice, bob, carol]) = about_to_enter(&mut world);
    let laptop = world.linked(bob);
    world.pass(60_000);
    world.leave(bob, chat).unwrap();
    world.pass(60_000);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    // The one device is about to enter, and is gone as soon as its user has left there.
    begin_to_enter(&mut world, bob, chat);
    leave_at_once(&mut world, bob, chat);
    world.kill(bob);
    world.pass(60_000);
    // The other has followed it, leaves, too, and comes back.
    world.leave(laptop, chat).unwrap();
    world.pass(60_000);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    world.accept(laptop, chat).unwrap();
    world.pass(60_000);
    assert_eq!(world.standing(laptop, chat), Some(Standing::Member));
    world.start(bob);
    world.pass(300_000);
    for who in [bob, laptop] {
        assert_eq!(world.standing(who, chat), Some(Standing::Member), "{who}");
    }
    world.say_in(carol, chat, "welcome back").unwrap();
    world.pass(30_000);
    for who in [alice, bob, laptop] {
        assert_eq!(world.texts_in(who, chat), ["welcome back"], "{who}");
    }
}

#[test]
fn who_leaves_what_it_cannot_come_into_has_left() {
    let mut world = World::new(1056);
    let people = world.company(2);
    let (alice, bob) = (people[0], people[1]);
    let laptop = world.linked(bob);
    world.pass(60_000);
    world.kill(laptop);
    let chat = world.found(alice, &[bob]);
    world.pass(10_000);
    world.stop_server();
    world.accept(bob, chat).unwrap();
    world.leave(bob, chat).unwrap();
    assert_eq!(world.standing(bob, chat), Some(Standing::Leaving), "another device of ours may be in");
    world.accept(bob, chat).unwrap();
    assert_eq!(world.standing(bob, chat), Some(Standing::Entering));
    world.leave(bob, chat).unwrap();
    world.leave(bob, chat).unwrap();
    assert_eq!(world.standing(bob, chat), Some(Standing::Left));
}

#[test]
fn the_last_owner_stays_whose_other_device_leaves_before_it_is_in() {
    let mut world = World::new(1060);
    let people = world.company(2);
    let laptop = world.linked(people[0]);
    world.pass(60_000);
    let invite = vec![world.of(people[1]).account];
    let mut made =
        world.begin(people[0], |reply| GroupCommand::New { name: "ops".into(), kind: GroupKind::Group, invite, reply });
    let chat = loop {
        if let Some(chat) = world.engine(laptop).conversations.group_chats().next() {
            break chat;
        }
        assert!(world.step() || world.timer(u64::MAX), "it does not hear of the group");
    };
    is_entering(&mut world, laptop, chat);
    assert_eq!(made.try_recv().unwrap().unwrap(), chat);
    leave_at_once(&mut world, laptop, chat);
    assert_eq!(world.standing(laptop, chat), Some(Standing::Leaving));
    world.pass(10_000);
    world.accept(people[1], chat).unwrap();
    world.pass(120_000);
    for who in [people[0], laptop] {
        assert_eq!(world.standing(who, chat), Some(Standing::Member), "{who}");
    }
    let refused = |n: &crate::api::types::DurableEvent| n.kind == DurableEventKind::GroupRefused;
    assert!(world.durable_events(laptop).iter().any(refused), "it is told why");
    world.say_in(laptop, chat, "still here").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(people[1], chat), ["still here"]);
}

/// A word of leaving that `of` has signed; of a group and an epoch.
fn word(world: &mut World, of: Who, place: impl FnOnce([u8; 16], u64) -> ([u8; 16], u64), chat: ChatId) -> Leave {
    let mut said = None;
    world.begin_modified(of, |engine, _| {
        let id = engine.active_group(chat).unwrap();
        let (group, epoch) = place(id, engine.conversations.groups.get(&id).unwrap().epoch());
        let identity = &engine.account.identity;
        let (account, device) = (*engine.account.id().as_bytes(), *engine.account.device().as_bytes());
        let signature = identity.device_key.sign(LEAVE_DOMAIN, &Leave::statement(&account, &group, epoch));
        said = Some(Leave { account, device, group, epoch, signature });
    });
    said.unwrap()
}

fn tell(world: &mut World, who: Who, from: Who, leave: &Leave) {
    let device = world.of(from).device;
    let leave: Bytes = leave.to_bytes().into();
    world.begin_modified(who, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        let apart = Apart { leave, ..Apart::default() };
        conversations.on_direct_apart(turn, &mut cx, device, apart).unwrap();
    });
    world.pass(120_000);
}

#[test]
fn a_word_of_leaving_counts_for_its_place_and_its_author_alone() {
    let mut world = World::new(1070);
    let people = world.company(3);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    world.befriend(bob, carol);
    let chat = world.group_of(&[alice, carol]);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    world.accept(bob, chat).unwrap();
    world.pass(60_000);
    let other = world.group_of(&[alice, bob]);
    // Of another group, of an epoch in which its author was not yet, of one that has not come, and of somebody else.
    let elsewhere = word(&mut world, bob, |group, epoch| (group, epoch), other);
    let id = world.engine(alice).active_group(chat).unwrap();
    let renamed = Leave { group: id, ..elsewhere.clone() };
    let before = word(&mut world, bob, |group, _| (group, 0), chat);
    let later = word(&mut world, bob, |group, epoch| (group, epoch + 5), chat);
    for (what, leave) in [("elsewhere", &elsewhere), ("renamed", &renamed), ("before", &before), ("later", &later)] {
        tell(&mut world, alice, bob, leave);
        let seen = world.group_seen(alice, chat).unwrap().members.len();
        assert_eq!(seen, 3, "{what}");
    }
    let own = word(&mut world, bob, |group, epoch| (group, epoch), chat);
    tell(&mut world, alice, carol, &own);
    assert_eq!(world.group_seen(alice, chat).unwrap().members.len(), 3, "told by somebody else");
    // So that it is not for another reason that the others do not count.
    let own = word(&mut world, bob, |group, epoch| (group, epoch), chat);
    tell(&mut world, alice, bob, &own);
    assert_eq!(world.group_seen(alice, chat).unwrap().members.len(), 2);
}

#[test]
fn a_word_of_leaving_does_not_count_for_who_was_let_in_again() {
    let mut world = World::new(1080);
    let people = world.company(3);
    let (alice, bob) = (people[0], people[1]);
    let chat = world.group_of(&people);
    let old = word(&mut world, bob, |group, epoch| (group, epoch), chat);
    world.wish_out(alice, chat, bob).unwrap();
    world.pass(30_000);
    world.wish_in(alice, chat, &[bob]).unwrap();
    world.pass(10_000);
    world.accept(bob, chat).unwrap();
    world.pass(60_000);
    assert_eq!(world.standing(bob, chat), Some(Standing::Member));
    tell(&mut world, alice, bob, &old);
    assert_eq!(world.group_seen(alice, chat).unwrap().members.len(), 3);
    world.wish_role(alice, chat, bob, Role::Admin).unwrap();
    world.pass(10_000);
    world.say_in(bob, chat, "here").unwrap();
    world.pass(10_000);
    assert_eq!(world.texts_in(alice, chat), ["here"]);
}
