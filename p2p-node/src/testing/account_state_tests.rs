//! What is the account's is the same on all its devices: authors and states of messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use starling_wire::{rendezvous::ResponseBody, snapshot::SealedSnapshot};

use crate::{
    api::types::{ContactState, DeliveryState, DurableEventKind},
    engine::ContactCommand,
    store::{AUTHORS, AuthorRow, META, Reading, UnreadableSnapshot, UnreadableSnapshotsRow},
    testing::world::{Who, World},
};

/// Alice with two devices, and bob.
fn three(seed: u64) -> (World, Who, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    (world, alice, laptop, bob)
}

/// The state of the newest message of a conversation, as a device shows it.
fn newest(world: &mut World, who: Who, other: Who) -> DeliveryState {
    world.messages(who, other).last().unwrap().state
}

/// How often a device was told that a message was delivered.
fn told_delivered(world: &World, who: Who) -> usize {
    let news = world.durable_events(who);
    news.iter().filter(|n| n.kind == DurableEventKind::State && n.state == DeliveryState::Delivered).count()
}

#[test]
fn a_message_names_the_device_that_wrote_it_on_every_device() {
    let (mut world, alice, laptop, bob) = three(900);
    let phone = world.linked(bob);
    world.pass(10_000);
    let all = [(alice, bob), (laptop, bob), (bob, alice), (phone, alice)];
    for (who, other) in all {
        world.say(who, other, &who.to_string());
        world.pass(3_000);
    }
    let written = all.map(|(who, _)| (who.to_string(), Some(world.of(who).device)));
    for (who, other) in all {
        let seen: Vec<_> = world.messages(who, other).into_iter().map(|m| (m.text, m.device)).collect();
        assert_eq!(seen, written, "{who}");
    }
}

/// A call's signal names a device by its tag alone, before anything of it was received.
#[test]
fn an_author_known_by_its_tag_is_named_by_its_first_message() {
    let (mut world, alice, _, bob) = three(905);
    let stranger = starling_keys::DeviceKey::from_seed(&[3; 32]).id();
    let account = world.of(bob).account;
    world.modified(alice, |engine, turn| {
        let (conversations, cx) = engine.conversing();
        let number = conversations.authors.author_with_tag(turn, cx.dir, account, stranger.tag()).unwrap();
        assert!(!conversations.authors.is_named(number));
        assert_eq!(conversations.authors.author(turn, cx.dir, account, &stranger).unwrap(), number);
        let row: AuthorRow = turn.get(AUTHORS, &number.to_be_bytes()).unwrap().unwrap();
        assert_eq!(row.device, stranger.as_bytes());
    });
}

#[test]
fn a_message_of_one_device_is_delivered_on_all_connected_ones() {
    let (mut world, alice, laptop, bob) = three(901);
    world.say(alice, bob, "hi");
    world.pass(1_000);
    for who in [alice, laptop] {
        assert_eq!(newest(&mut world, who, bob), DeliveryState::Delivered, "{who}");
        assert_eq!(told_delivered(&world, who), 1, "{who}");
    }
    // It stays so after a restart, and is told once.
    world.kill(laptop);
    world.start(laptop);
    world.pass(60_000);
    assert_eq!(newest(&mut world, laptop, bob), DeliveryState::Delivered);
    assert_eq!(told_delivered(&world, laptop), 1);
}

#[test]
fn a_device_that_comes_later_finds_in_the_log_what_was_delivered() {
    let (mut world, alice, laptop, bob) = three(902);
    world.kill(laptop);
    world.say(alice, bob, "hi");
    world.pass(10_000);
    assert_eq!(newest(&mut world, alice, bob), DeliveryState::Delivered);
    world.kill(alice);
    world.kill(bob);
    world.start(laptop);
    world.pass(10_000);
    assert_eq!(newest(&mut world, laptop, bob), DeliveryState::Delivered);
}

#[test]
fn what_was_delivered_while_the_server_and_a_device_were_away_is_told_later() {
    let (mut world, alice, laptop, bob) = three(903);
    world.kill(laptop);
    world.stop_server();
    world.say(alice, bob, "hi");
    world.pass(10_000);
    // Whoever tells it begins again, too.
    world.kill(alice);
    world.start(alice);
    world.start_server();
    world.pass(10_000);
    world.kill(alice);
    world.kill(bob);
    world.start(laptop);
    world.pass(10_000);
    assert_eq!(newest(&mut world, laptop, bob), DeliveryState::Delivered);
}

/// It is told on a stream, by one whose newest group it has not joined yet.
#[test]
fn a_device_that_joins_a_group_late_has_heard_what_was_delivered_before() {
    let (mut world, alice, laptop, bob) = three(908);
    world.lie = Some(Box::new(move |who, response| {
        if who == laptop {
            response.body = None;
        }
    }));
    let chat = world.chat_id(alice, bob);
    world.modified(alice, |engine, turn| {
        let group = engine.active_group(chat).unwrap();
        engine.conversations.abandon_group(turn, group);
    });
    world.pass(5_000);
    world.say(alice, bob, "hi");
    world.pass(5_000);
    assert_eq!(newest(&mut world, alice, bob), DeliveryState::Delivered);
    assert_eq!(world.messages(laptop, bob).len(), 0);
    world.lie = None;
    world.stop_server();
    world.start_server();
    world.pass(60_000);
    assert_eq!(newest(&mut world, laptop, bob), DeliveryState::Delivered);
}

#[test]
fn a_contact_cannot_say_what_was_delivered_between_our_devices() {
    let (mut world, _, laptop, bob) = three(904);
    let chat = world.chat(laptop, bob);
    let theirs = world.of(bob).device;
    world.modified(laptop, |engine, turn| {
        let group = engine.active_group(chat).unwrap();
        let (conversations, cx) = engine.conversing();
        conversations.on_delivered(turn, cx.dir, theirs, &group, 1_000).unwrap();
        let roster = &conversations.chats.get(&chat).unwrap().roster;
        assert!(roster.devices().all(|row| row.delivered == 0));
    });
}

/// Bob is blocked while a device of alice's is linked; then `unblocks` says that he is not any more.
fn unblock_after_linking(seed: u64, unblocks: impl Fn(Who, Who) -> Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let account = world.of(bob).account;
    world.call(alice, |reply| ContactCommand::Block(account, reply)).unwrap();
    let laptop = world.linked(alice);
    world.pass(60_000);
    assert_eq!(world.contact(laptop, bob).unwrap().state, ContactState::Blocked);
    let by = unblocks(alice, laptop);
    world.call(by, |reply| ContactCommand::Unblock(account, reply)).unwrap();
    world.pass(1_000);
    for (n, (who, to)) in [(laptop, bob), (bob, alice), (alice, bob)].into_iter().enumerate() {
        world.say(who, to, &n.to_string());
        world.pass(1_000);
    }
    for (who, to) in [(alice, bob), (laptop, bob), (bob, alice)] {
        let texts: Vec<String> = world.messages(who, to).into_iter().map(|m| m.text).collect();
        assert_eq!(texts, ["0", "1", "2"], "{who}");
        assert_eq!(world.contact(who, to).unwrap().state, ContactState::Active, "{who}");
    }
}

#[test]
fn a_device_linked_while_a_contact_was_blocked_talks_to_them_once_they_are_unblocked() {
    unblock_after_linking(906, |alice, _| alice);
}

#[test]
fn a_device_linked_while_a_contact_was_blocked_can_unblock_them() {
    unblock_after_linking(907, |_, laptop| laptop);
}

#[test]
fn whose_contacts_cannot_be_read_is_told_so() {
    let mut world = World::new(909);
    let (alice, bob) = world.friends();
    // It runs when the home has a snapshot that it can read, as outside of tests; one that is older it could not.
    let laptop = world.link_within(alice, 1_000).unwrap();
    world.pass(60_000);
    world.kill(laptop);
    world.lie = Some(Box::new(|_, response| {
        if let Some(ResponseBody::Snapshot(snapshot)) = &mut response.body {
            snapshot.sealed = Bytes::from_static(b"no snapshot");
        }
    }));
    let told = |world: &World, who| {
        let news = world.durable_events(who).into_iter();
        news.filter(|n| n.kind == DurableEventKind::AccountUnreadable && n.text.contains("/p2p/")).count()
    };
    // A device that has its contacts has lost nothing.
    world.start(laptop);
    world.pass(60_000);
    assert_eq!(told(&world, laptop), 0);
    let again = world.restored(alice);
    world.pass(60_000);
    assert_eq!(told(&world, again), 1);
    // It can be used all the same.
    world.lie = None;
    let invite = world.invite(bob);
    world.add(again, &invite);
    world.pass(60_000);
    world.say(again, bob, "it is me");
    world.pass(60_000);
    assert_eq!(world.seen(bob, again), ["alice: it is me"]);
}

/// What somebody's device keeps of snapshots that it cannot read.
fn unreadable(world: &World, who: Who) -> Vec<Vec<u8>> {
    let store = world.store(who);
    let row: Option<UnreadableSnapshotsRow> = store.read().unwrap().get(META, b"unreadable_snapshots").unwrap();
    row.unwrap_or_default().snapshots.into_iter().map(|snapshot| snapshot.sealed).collect()
}

#[test]
fn a_snapshot_that_cannot_be_read_is_kept_when_another_takes_its_place_and_is_taken_once_it_can_be() {
    let mut world = World::new(910);
    let (alice, bob) = world.friends();
    world.pass(60_000);
    // The home spoils what alice has written, for her new device alone.
    let (laptop, writer) = (world.how_many(), world.of(alice).device);
    let real = Rc::new(RefCell::new(Bytes::new()));
    let spoilt = real.clone();
    world.lie = Some(Box::new(move |who, response| {
        if who == laptop
            && let Some(ResponseBody::Snapshot(snapshot)) = &mut response.body
            && SealedSnapshot::from_bytes(&snapshot.sealed).is_some_and(|s| s.device[..] == writer.as_bytes()[..])
        {
            *spoilt.borrow_mut() = std::mem::replace(&mut snapshot.sealed, Bytes::from_static(b"no snapshot"));
        }
    }));
    assert_eq!(world.linked(alice), laptop);
    world.pass(60_000);
    assert!(unreadable(&world, laptop).contains(&b"no snapshot".to_vec()));
    // It has written its own since, and was started again.
    world.kill(laptop);
    world.start(laptop);
    world.pass(60_000);
    assert_eq!(unreadable(&world, laptop).iter().filter(|sealed| sealed[..] == b"no snapshot"[..]).count(), 1);
    // What was kept can be read now.
    let kept = UnreadableSnapshot { sealed: real.borrow().to_vec(), ..UnreadableSnapshot::default() };
    let row = UnreadableSnapshotsRow { snapshots: vec![kept] };
    world.begin_modified(laptop, move |_, turn| turn.put(META, b"unreadable_snapshots", &row).unwrap());
    world.kill(laptop);
    world.start(laptop);
    world.pass(60_000);
    assert!(world.knows(laptop, bob));
    assert!(!unreadable(&world, laptop).contains(&real.borrow().to_vec()));
}
