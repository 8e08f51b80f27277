//! Many who accept an invitation at once are added by few commits; and what becomes of them where that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use starling_wire::{
    inbox::{GroupAcceptance, GroupWelcome},
    rendezvous::RequestBody,
};

use super::world::{Treatment, Who, World};
use crate::{
    api::{
        problem::ItemRefused,
        types::{Arriving, ChatId, GroupKind, Standing},
    },
    conversation::{
        door::limits::{ADDED_WITHIN_MS, MAX_WAITS_TO_BE_ADDED, TREE_WITHIN_MS},
        policy::limits::{ADD_WITHIN_MS, OFFERED_WITHIN_MS, adds_at_once},
    },
    engine::GroupCommand,
    limits::{DOOR_WAITS_DEVICES, INVITED_AT_ONCE},
};

/// All are in the group, at one place, and read each other.
fn all_are_in(world: &mut World, chat: ChatId, people: &[Who]) {
    for who in people {
        assert_eq!(world.standing(*who, chat), Some(Standing::Member), "{who}");
        assert_eq!(world.epoch_in(*who, chat), world.epoch_in(people[0], chat), "{who}");
        assert_eq!(world.epoch_in(*who, chat).unwrap().1, people.len(), "{who}");
    }
    world.say_in(people[people.len() - 1], chat, "all here").unwrap();
    world.pass(20_000);
    for who in people {
        assert_eq!(world.texts_in(*who, chat), ["all here"], "{who}");
    }
}

fn epoch(world: &World, who: Who, chat: ChatId) -> u64 {
    world.epoch_in(who, chat).unwrap().0
}

/// Whether somebody's commit waits to win in a group.
fn has_pending(world: &World, who: Who, chat: ChatId) -> bool {
    let engine = world.engine(who);
    let group = engine.active_group(chat).and_then(|id| engine.conversations.groups.get(&id));
    group.is_some_and(|group| group.has_pending)
}

/// A group whose others were invited and have heard of it.
fn invited(seed: u64, count: usize) -> (World, Vec<Who>, ChatId) {
    let mut world = World::new(seed);
    let people = world.company(count);
    let chat = world.found(people[0], &people[1..]);
    world.pass(10_000);
    (world, people, chat)
}

/// How many commits it takes that all who were invited come in, who accept at once.
fn commits_of(seed: u64, count: usize) -> u64 {
    let (mut world, people, chat) = invited(seed, count);
    let before = epoch(&world, people[0], chat);
    for who in &people[1..] {
        world.accept(*who, chat).unwrap();
    }
    world.pass(60_000);
    let commits = epoch(&world, people[0], chat) - before;
    all_are_in(&mut world, chat, &people);
    commits
}

#[test]
fn who_accept_at_once_come_in_by_one_commit() {
    for seed in 5_000..5_005 {
        let commits = commits_of(seed, 3);
        assert!((1..=2).contains(&commits), "{commits}");
    }
}

#[test]
fn seventy_who_accept_at_once_come_in_by_few_commits() {
    let commits = commits_of(5_010, 70);
    let (mut there, mut fewest) = (1, 0);
    while there < 70 {
        there += adds_at_once(there);
        fewest += 1;
    }
    assert_eq!(fewest, 5, "a commit adds some of them, and is soon made");
    assert!((fewest..=fewest + 2).contains(&commits), "{commits}");
}

#[test]
fn the_last_who_are_added_to_a_large_group_find_its_tree_at_once() {
    let (mut world, people, chat) = invited(5_020, DOOR_WAITS_DEVICES + 3);
    let _answers: Vec<_> =
        people[1..].iter().map(|who| world.begin(*who, |reply| GroupCommand::Accept(chat, reply))).collect();
    // Everybody who was let in is in the group, which puts off doors where nobody needs them.
    world.pass(ADD_WITHIN_MS + TREE_WITHIN_MS);
    for who in &people {
        assert_eq!(world.standing(*who, chat), Some(Standing::Member), "{who}");
    }
    all_are_in(&mut world, chat, &people);
}

#[test]
fn a_group_of_many_begins_with_some_of_them_and_invites_the_rest_by_itself() {
    let mut world = World::new(5_030);
    let people = world.company(INVITED_AT_ONCE + 4);
    let invite = people[1..].iter().map(|who| world.of(*who).account).collect();
    let (name, kind) = ("ops".into(), GroupKind::Group);
    let mut made = world.begin(people[0], |reply| GroupCommand::New { name, kind, invite, reply });
    let chat = loop {
        match made.try_recv() {
            Ok(made) => break made.unwrap(),
            Err(_) => assert!(world.step(), "no group is made"),
        }
    };
    let begun = world.group_seen(people[0], chat).unwrap().arriving;
    assert_eq!((begun.noted + begun.invited) as usize, people.len() - 1);
    assert!(begun.invited as usize <= INVITED_AT_ONCE, "{begun:?}");
    world.pass(10_000);
    let arriving = world.group_seen(people[0], chat).unwrap().arriving;
    let invited = u32::try_from(people.len() - 1).unwrap();
    assert_eq!(arriving, Arriving { invited, here: 1, ..Arriving::default() });
    assert!(people[1..].iter().all(|who| world.standing(*who, chat) == Some(Standing::Invited)));
}

#[test]
fn who_adds_others_and_is_killed_has_added_them_when_it_is_back() {
    for steps in 0..12 {
        let (mut world, people, chat) = invited(5_100 + steps, 4);
        let _answers: Vec<_> =
            people[1..].iter().map(|who| world.begin(*who, |reply| GroupCommand::Accept(chat, reply))).collect();
        while !has_pending(&world, people[0], chat) {
            assert!(world.step() || world.timer(u64::MAX), "nobody is added");
        }
        // The commit is stored: it is sent, or counts, or the welcomes have left, after some steps.
        for _ in 0..steps {
            world.step();
        }
        world.kill(people[0]);
        world.pass(60_000);
        world.start(people[0]);
        world.pass(300_000);
        all_are_in(&mut world, chat, &people);
    }
}

#[test]
fn whose_welcome_is_lost_enters_by_the_door_in_place_of_its_leaf() {
    let (mut world, people, chat) = invited(5_200, 3);
    let (alice, bob) = (people[0], people[1]);
    let device = world.of(bob).device;
    let _answers: Vec<_> =
        people[1..].iter().map(|who| world.begin(*who, |reply| GroupCommand::Accept(chat, reply))).collect();
    while !has_pending(&world, alice, chat) {
        assert!(world.step() || world.timer(u64::MAX), "nobody is added");
    }
    // The streams break, and what is left in his inbox is lost.
    world.direct = false;
    world.treats = Some(Box::new(move |_, body| {
        let is_for_bob = matches!(body, RequestBody::InboxAppend(append) if append.device[..] == *device.as_bytes());
        is_for_bob.then_some(Treatment::Silence)
    }));
    world.pass(2_000);
    assert_eq!(world.epoch_in(alice, chat).unwrap().1, 3, "he is there, and does not know");
    assert_eq!(world.standing(bob, chat), Some(Standing::Entering));
    let before = epoch(&world, alice, chat);
    world.pass(60_000);
    let commits = epoch(&world, alice, chat) - before;
    assert!((1..=2).contains(&commits), "{commits}");
    world.treats = None;
    world.direct = true;
    all_are_in(&mut world, chat, &people);
}

#[test]
fn with_nobody_there_who_accepts_enters_by_the_door() {
    let (mut world, people, chat) = invited(5_300, 4);
    world.kill(people[0]);
    world.pass(1_000);
    for who in &people[1..] {
        world.accept(*who, chat).unwrap();
    }
    world.pass(120_000);
    for who in &people[1..] {
        assert_eq!(world.standing(*who, chat), Some(Standing::Member), "{who}");
    }
    world.start(people[0]);
    world.pass(60_000);
    all_are_in(&mut world, chat, &people);
}

/// What a device sends that accepts an invitation into a group, as it is or changed.
fn acceptance(
    world: &mut World,
    who: Who,
    chat: ChatId,
    from: Who,
    change: impl FnOnce(&mut Vec<u8>),
) -> GroupAcceptance {
    let id = world.engine(from).active_group(chat).unwrap();
    let mut package = Vec::new();
    world.begin_modified(who, |engine, turn| package = engine.mls.package_for(&id, turn.agreed_ms()).unwrap());
    change(&mut package);
    let (conversation, group) = (Bytes::copy_from_slice(&chat.0), Bytes::copy_from_slice(&id));
    GroupAcceptance { conversation, group, package: package.into(), place: 0 }
}

/// What somebody makes of it.
fn takes(world: &mut World, who: Who, from: Who, acceptance: &GroupAcceptance) -> Result<(), ItemRefused> {
    let member = (world.of(from).account, world.of(from).device);
    let mut taken = Ok(());
    world.begin_modified(who, |engine, turn| {
        let (conversations, cx) = engine.conversing();
        taken = conversations.on_acceptance(turn, &cx, member, acceptance);
    });
    taken
}

fn has_device(world: &mut World, who: Who, chat: ChatId, of: Who) -> bool {
    let device = world.of(of).device;
    let engine = world.engine(who);
    let group = engine.active_group(chat).and_then(|id| engine.conversations.groups.get(&id));
    group.is_some_and(|group| group.has_member(&device))
}

#[test]
fn a_package_that_cannot_be_used_keeps_nobody_else_out() {
    let (mut world, people, chat) = invited(5_400, 4);
    let (alice, bob, carol) = (people[0], people[1], people[2]);
    // Its signature is wrong.
    let broken = acceptance(&mut world, bob, chat, alice, |package| {
        let last = package.len() - 1;
        package[last] ^= 1;
    });
    let good = acceptance(&mut world, carol, chat, alice, |_| {});
    assert_eq!(takes(&mut world, alice, bob, &broken), Ok(()));
    assert_eq!(takes(&mut world, alice, carol, &good), Ok(()));
    world.pass(3_000);
    assert!(has_device(&mut world, alice, chat, carol) && !has_device(&mut world, alice, chat, bob));
    assert_eq!(takes(&mut world, alice, bob, &broken), Err(ItemRefused::NoAcceptance), "it is not tried again");
    assert_eq!(takes(&mut world, alice, carol, &good), Err(ItemRefused::NoAcceptance), "she is there");
    for who in &people[1..] {
        world.accept(*who, chat).unwrap();
    }
    world.pass(120_000);
    all_are_in(&mut world, chat, &people);
}

#[test]
fn what_is_no_acceptance_of_an_invitation_adds_nobody() {
    let mut world = World::new(5_410);
    let people = world.company(4);
    let (alice, bob, carol, dave) = (people[0], people[1], people[2], people[3]);
    let chat = world.group_of(&[alice, bob]);
    world.wish_in(alice, chat, &[carol]).unwrap();
    world.pass(10_000);
    let of_carol = acceptance(&mut world, carol, chat, alice, |_| {});
    let of_dave = acceptance(&mut world, dave, chat, alice, |_| {});
    let refused = Err(ItemRefused::NoAcceptance);
    assert_eq!(takes(&mut world, alice, dave, &of_dave), refused, "he was not invited");
    assert_eq!(takes(&mut world, alice, dave, &of_carol), refused, "it is hers");
    assert_eq!(takes(&mut world, bob, carol, &of_carol), refused, "he may not invite");
    let garbage = GroupAcceptance { package: Bytes::from_static(b"garbage"), ..of_carol.clone() };
    assert_eq!(takes(&mut world, alice, carol, &garbage), refused);
    let elsewhere = GroupAcceptance { group: Bytes::from(vec![7; 16]), ..of_carol.clone() };
    assert_eq!(takes(&mut world, alice, carol, &elsewhere), refused);
    world.pass(5_000);
    assert_eq!(world.epoch_in(alice, chat).unwrap().1, 2);
    assert_eq!(takes(&mut world, alice, carol, &of_carol), Ok(()));
    world.pass(5_000);
    assert_eq!(world.epoch_in(bob, chat).unwrap().1, 3);
    assert_eq!(world.standing(carol, chat), Some(Standing::Invited), "nothing joins that its user has not accepted");
}

/// Bob is in the tree before he knows, and with carol goes the door that he knows: nobody comes in by it any more.
#[test]
fn who_was_added_and_has_not_come_is_told_the_door_that_takes_the_place_of_its_own() {
    for seed in 5_450..5_454 {
        let (mut world, people, chat) = invited(seed, 3);
        let (alice, bob, carol) = (people[0], people[1], people[2]);
        world.accept(carol, chat).unwrap();
        world.pass(60_000);
        let _accepted = world.begin(bob, |reply| GroupCommand::Accept(chat, reply));
        while !has_device(&mut world, alice, chat, bob) {
            assert!(world.step() || world.timer(u64::MAX), "he is not added");
        }
        // The welcome is on its way to him, and lost.
        world.kill(bob);
        world.wish_out(alice, chat, carol).unwrap();
        world.pass(60_000);
        world.start(bob);
        world.pass(600_000);
        all_are_in(&mut world, chat, &[alice, bob]);
    }
}

#[test]
fn who_leaves_before_it_is_added_is_in_nobodys_group() {
    for steps in 0..8 {
        let mut world = World::new(5_500 + steps);
        let people = world.company(3);
        let chat = world.group_of(&[people[0], people[2]]);
        world.wish_in(people[0], chat, &[people[1]]).unwrap();
        world.pass(10_000);
        let _accepted = world.begin(people[1], |reply| GroupCommand::Accept(chat, reply));
        while world.standing(people[1], chat) == Some(Standing::Invited) {
            assert!(world.step(), "it does not accept");
        }
        for _ in 0..steps {
            world.step();
        }
        world.leave(people[1], chat).unwrap();
        world.pass(300_000);
        assert_eq!(world.standing(people[1], chat), Some(Standing::Left));
        assert_eq!(world.group_seen(people[0], chat).unwrap().members.len(), 2);
        all_are_in(&mut world, chat, &[people[0], people[2]]);
    }
}

#[test]
fn who_stops_inviting_lets_nobody_in_who_has_not_come() {
    let (mut world, people, chat) = invited(5_600, 4);
    let alice = people[0];
    world.accept(people[1], chat).unwrap();
    world.pass(5_000);
    let arriving = world.group_seen(alice, chat).unwrap().arriving;
    assert_eq!(arriving, Arriving { invited: 2, here: 2, ..Arriving::default() });
    world.call(alice, |reply| GroupCommand::StopInviting { chat, reply }).unwrap();
    world.pass(10_000);
    let seen = world.group_seen(alice, chat).unwrap();
    assert_eq!((seen.members.len(), seen.changing), (2, false));
    assert_eq!(seen.arriving, Arriving { here: 2, ..Arriving::default() });
    world.accept(people[2], chat).unwrap();
    world.pass(120_000);
    assert_eq!(world.standing(people[2], chat), Some(Standing::Removed));
    assert_eq!(world.group_seen(alice, chat).unwrap().members.len(), 2);
    all_are_in(&mut world, chat, &people[..2]);
}

#[test]
fn nobody_is_added_before_the_door_for_those_who_were_is_there() {
    let (mut world, people, chat) = invited(5_690, 4);
    let (alice, bob) = (people[0], people[1]);
    let writes = |world: &mut World, is_written: bool| {
        world.begin_modified(alice, |engine, _| {
            let id = engine.active_group(chat).unwrap();
            engine.conversations.groups.get_mut(&id).unwrap().writing_door = !is_written;
        });
    };
    writes(&mut world, false);
    world.accept(bob, chat).unwrap();
    world.pass(2 * ADD_WITHIN_MS);
    assert!(!has_device(&mut world, alice, chat, bob));
    writes(&mut world, true);
    world.pass(ADD_WITHIN_MS);
    assert!(has_device(&mut world, alice, chat, bob));
    assert_eq!(world.standing(bob, chat), Some(Standing::Member));
}

#[test]
fn who_has_a_stream_is_invited_on_it() {
    let mut world = World::new(5_700);
    let people = world.company(4);
    world.pass(10_000);
    world.appended.clear();
    let chat = world.found(people[0], &people[1..]);
    world.pass(2 * OFFERED_WITHIN_MS);
    assert!(people[1..].iter().all(|who| world.standing(*who, chat) == Some(Standing::Invited)));
    assert_eq!(world.appended.len(), 0, "an item costs work");
}

#[test]
fn whose_invitation_is_not_heard_finds_it_in_the_inbox() {
    let mut world = World::new(5_710);
    let people = world.company(3);
    world.pass(10_000);
    let (alice, carol) = (people[0], people[2]);
    let chat = world.group_of(&people[..2]);
    let accounts = vec![world.of(carol).account];
    world.appended.clear();
    let _invited = world.begin(alice, |reply| GroupCommand::Invite { chat, accounts, reply });
    while world.group_seen(alice, chat).unwrap().members.len() < 3 {
        assert!(world.step(), "she is not let in");
    }
    // What is on its way to her is lost.
    world.kill(carol);
    world.pass(2 * OFFERED_WITHIN_MS);
    let device = world.of(carol).device;
    let items = world.appended.iter().filter(|item| item.device[..] == device.as_bytes()[..]);
    assert_eq!(items.count(), 1);
    world.start(carol);
    world.pass(10_000);
    assert_eq!(world.standing(carol, chat), Some(Standing::Invited));
}

#[test]
fn who_invites_and_is_killed_has_invited_when_it_is_back() {
    for steps in 0..10 {
        let mut world = World::new(5_720 + steps);
        let people = world.company(3);
        world.pass(10_000);
        let chat = world.group_of(&people[..2]);
        let accounts = vec![world.of(people[2]).account];
        let _invited = world.begin(people[0], |reply| GroupCommand::Invite { chat, accounts, reply });
        for _ in 0..steps {
            world.step();
        }
        world.kill(people[0]);
        world.pass(20_000);
        world.start(people[0]);
        world.pass(60_000);
        let is_let_in = world.group_seen(people[0], chat).unwrap().members.len() == 3;
        assert_eq!(world.standing(people[2], chat), is_let_in.then_some(Standing::Invited), "after {steps} steps");
    }
}

#[test]
fn who_is_about_to_be_added_waits_and_not_for_ever() {
    let (mut world, people, chat) = invited(5_800, 3);
    let (alice, bob) = (people[0], people[1]);
    let account = world.of(alice).account;
    let id = world.engine(alice).active_group(chat).unwrap();
    world.accept(bob, chat).unwrap();
    world.kill(alice);
    let (conversation, group) = (Bytes::copy_from_slice(&chat.0), Bytes::copy_from_slice(&id));
    let soon = GroupWelcome { conversation, group, waits: true, ..GroupWelcome::default() };
    let mut told = 0;
    while world.standing(bob, chat) == Some(Standing::Entering) {
        assert!(told < 2 * MAX_WAITS_TO_BE_ADDED, "it waits for ever");
        world.pass(ADDED_WITHIN_MS - 100);
        world.begin_modified(bob, |engine, turn| {
            let (conversations, mut cx) = engine.conversing();
            // Who is in does not care.
            let _ = conversations.on_added(turn, &mut cx, account, &soon);
        });
        told += 1;
    }
    assert!(told >= MAX_WAITS_TO_BE_ADDED, "it has gone to the door after it was told to wait {told} times");
    assert_eq!(world.standing(bob, chat), Some(Standing::Member));
}
