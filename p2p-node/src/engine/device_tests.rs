//! Several devices of one account, as stories in the test world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{
    Command,
    world::{Who, World},
};
use crate::types::{ContactState, DeliveryState};

const HOUR: u64 = 3_600_000;

/// Alice with two devices, and bob.
fn three(seed: u64) -> (World, Who, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let other = world.linked(alice);
    world.pass(10_000);
    (world, alice, other, bob)
}

fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|m| m.text).collect()
}

#[test]
fn a_linked_device_takes_part_in_every_conversation() {
    let (mut world, alice, laptop, bob) = three(60);
    for who in [alice, laptop] {
        assert_eq!(world.call(who, Command::Devices).unwrap().len(), 2);
    }
    assert_eq!(world.contact(bob, alice).unwrap().devices.len(), 2);
    assert!(!world.contact(bob, alice).unwrap().key_changed);
    world.say(bob, alice, "to both");
    world.say(alice, bob, "from the first");
    world.pass(1_000);
    world.say(laptop, bob, "from the second");
    world.pass(3_000);
    assert_eq!(world.seen(bob, alice), ["bob: to both [Delivered]", "alice: from the first", "alice: from the second"]);
    assert_eq!(
        world.seen(laptop, bob),
        ["bob: to both", "alice: from the first [Sent]", "alice: from the second [Delivered]"]
    );
    assert_eq!(
        world.seen(alice, bob),
        ["bob: to both", "alice: from the first [Delivered]", "alice: from the second [Sent]"]
    );
    // Read on one, it is read on the other.
    assert_eq!(world.chat_row(laptop, bob).unread, 1);
    let chat = world.chat(alice, bob);
    let upto = world.messages(alice, bob).last().unwrap().id.0.clock;
    world.call(alice, |reply| Command::MarkRead { chat, upto, reply }).unwrap();
    world.pass(3_000);
    assert_eq!(world.chat_row(laptop, bob).unread, 0);
    assert_eq!(world.messages(bob, alice)[0].state, DeliveryState::Read);
}

#[test]
fn each_device_gets_what_it_missed() {
    let (mut world, alice, laptop, bob) = three(61);
    world.kill(laptop);
    world.say(bob, alice, "one");
    world.say(alice, bob, "two");
    world.pass(10_000);
    assert_eq!(world.seen(bob, alice), ["bob: one [Delivered]", "alice: two"]);
    world.kill(alice);
    world.kill(bob);
    world.start(laptop);
    world.pass(10_000);
    assert_eq!(texts(&mut world, laptop, bob), ["one", "two"]);
    world.say(laptop, bob, "three");
    world.pass(10_000);
    world.kill(laptop);
    world.start(alice);
    world.start(bob);
    world.pass(10_000);
    for (who, other) in [(alice, bob), (bob, alice)] {
        assert_eq!(texts(&mut world, who, other), ["one", "two", "three"]);
    }
}

#[test]
fn a_device_is_linked_while_everybody_else_is_away() {
    let mut world = World::new(62);
    let (alice, bob) = world.friends();
    world.say(alice, bob, "before");
    world.pass(5_000);
    world.kill(bob);
    let laptop = world.linked(alice);
    world.pass(5_000);
    world.say(alice, bob, "first");
    world.say(laptop, bob, "second");
    world.pass(5_000);
    assert_eq!(texts(&mut world, laptop, bob), ["first", "second"]);
    assert_eq!(texts(&mut world, alice, bob), ["before", "first", "second"]);
    world.kill(alice);
    world.kill(laptop);
    world.start(bob);
    world.pass(5_000);
    world.say(bob, alice, "third");
    world.pass(5_000);
    world.start(alice);
    world.start(laptop);
    world.pass(10_000);
    assert_eq!(texts(&mut world, bob, alice), ["before", "first", "second", "third"]);
    assert_eq!(texts(&mut world, laptop, bob), ["first", "second", "third"]);
    assert_eq!(texts(&mut world, alice, bob), ["before", "first", "second", "third"]);
}

#[test]
fn whom_one_device_knows_the_others_know() {
    let mut world = World::new(63);
    let alice = world.person("alice");
    let laptop = world.linked(alice);
    let bob = world.person("bob");
    world.pass(5_000);
    // An invite of one device makes a contact on both.
    let invite = world.invite(laptop);
    let mut added = world.add(bob, &invite);
    world.pass(10_000);
    added.try_recv().expect("no answer").unwrap();
    for who in [alice, laptop] {
        assert_eq!(world.contact(who, bob).unwrap().state, ContactState::Active, "{who}");
        assert!(world.call(who, Command::Requests).unwrap().is_empty());
    }
    world.say(bob, alice, "hi");
    world.say(alice, bob, "hello");
    world.pass(5_000);
    assert_eq!(texts(&mut world, laptop, bob), ["hi", "hello"]);
    // So do a name, a block and a request.
    let account = world.of(bob).account;
    world.call(laptop, |reply| Command::Rename(account, "Bobby".into(), reply)).unwrap();
    world.pass(5_000);
    assert_eq!(world.contact(alice, bob).unwrap().name, "Bobby");
    world.call(alice, |reply| Command::Block(account, reply)).unwrap();
    world.pass(5_000);
    assert_eq!(world.contact(laptop, bob).unwrap().state, ContactState::Blocked);
    let carol = world.person("carol");
    let address = starling_keys::Invite { token: None, ..world.invite(alice) };
    let mut added = world.add(carol, &address);
    world.pass(10_000);
    added.try_recv().expect("no answer").unwrap();
    let account = world.of(carol).account;
    for who in [alice, laptop] {
        assert_eq!(world.call(who, Command::Requests).unwrap().len(), 1);
    }
    world.call(alice, |reply| Command::Accept(account, reply)).unwrap();
    world.pass(10_000);
    assert!(world.call(laptop, Command::Requests).unwrap().is_empty());
    world.say(carol, laptop, "to both");
    world.pass(5_000);
    for who in [alice, laptop] {
        assert_eq!(texts(&mut world, who, carol), ["to both"]);
    }
}

#[test]
fn who_adds_somebody_adds_them_on_all_devices() {
    let mut world = World::new(64);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let (laptop, phone) = (world.linked(alice), world.linked(bob));
    world.pass(5_000);
    let invite = world.invite(bob);
    let mut added = world.add(alice, &invite);
    world.pass(20_000);
    added.try_recv().expect("no answer").unwrap();
    for (n, (who, to)) in [(alice, bob), (laptop, bob), (bob, alice), (phone, alice)].into_iter().enumerate() {
        world.say(who, to, &n.to_string());
        world.pass(3_000);
    }
    for (who, to) in [(alice, bob), (laptop, bob), (bob, alice), (phone, alice)] {
        assert_eq!(texts(&mut world, who, to), ["0", "1", "2", "3"], "{who}");
        assert_eq!(world.contact(who, to).unwrap().state, ContactState::Active);
    }
}

#[test]
fn a_removed_device_hears_nothing_more_and_says_why() {
    let (mut world, alice, laptop, bob) = three(65);
    world.say(bob, alice, "for all");
    world.pass(5_000);
    let device = world.of(laptop).device;
    world.kill(bob);
    world.call(alice, |reply| Command::RemoveDevice(device, reply)).unwrap();
    world.pass(5_000);
    world.say(alice, bob, "not for the lost one");
    world.pass(5_000);
    world.start(bob);
    world.pass(10_000);
    world.say(bob, alice, "nor this");
    world.pass(HOUR);
    assert_eq!(texts(&mut world, alice, bob), ["for all", "not for the lost one", "nor this"]);
    assert_eq!(texts(&mut world, bob, alice), ["for all", "not for the lost one", "nor this"]);
    assert_eq!(texts(&mut world, laptop, bob), ["for all"]);
    assert_eq!(world.contact(bob, alice).unwrap().devices.len(), 1);
    let chat = world.chat(laptop, bob);
    let texts = vec![starling_wire::Text { text: "hello?".into(), ..Default::default() }];
    let refused = world.call(laptop, |reply| Command::Send { chat, texts, reply }).unwrap_err().to_string();
    assert!(refused.contains("no longer"), "{refused}");
}

#[test]
fn a_conversation_that_lacks_a_device_is_mended() {
    let mut world = World::new(66);
    let (alice, bob) = world.friends();
    // Both link a device while the other side is away, and neither sees the other's.
    world.kill(bob);
    let laptop = world.linked(alice);
    world.pass(2_000);
    world.kill(alice);
    world.kill(laptop);
    world.start(bob);
    let phone = world.linked(bob);
    world.pass(2_000);
    world.start(alice);
    world.start(laptop);
    world.pass(HOUR);
    for (n, (who, to)) in [(alice, bob), (laptop, bob), (bob, alice), (phone, alice)].into_iter().enumerate() {
        world.say(who, to, &n.to_string());
        world.pass(3_000);
    }
    for (who, to) in [(alice, bob), (laptop, bob), (bob, alice), (phone, alice)] {
        assert_eq!(texts(&mut world, who, to), ["0", "1", "2", "3"], "{who}");
    }
}

/// What is promised, with several devices, under everything that can happen at once.
#[test]
fn all_devices_see_the_same_whatever_happens() {
    let rounds = std::env::var("STARLING_WORLD_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(8);
    for seed in 0..rounds {
        let (mut world, alice, laptop, bob) = three(7000 + seed);
        let all = [(alice, bob), (laptop, bob), (bob, alice)];
        let mut written = 0;
        for _ in 0..100 {
            let (who, to) = all[world.one_of(3)];
            match world.one_of(11) {
                0 => world.direct = !world.direct,
                1 => world.cut(who, to),
                2 if world.server_runs() => world.stop_server(),
                2 => world.start_server(),
                3 if world.is_running(who) => world.kill(who),
                3 => world.start(who),
                4 => {
                    let ms = [100, 2_000, 60_000, HOUR][world.one_of(4)];
                    world.pass(ms);
                }
                5 | 6 => {
                    for _ in 0..world.one_of(40) {
                        world.step();
                    }
                }
                _ if world.is_running(who) => {
                    let texts = vec![starling_wire::Text { text: format!("{who}-{written}"), ..Default::default() }];
                    let chat = world.chat(who, to);
                    world.call(who, |reply| Command::Send { chat, texts, reply }).unwrap();
                    written += 1;
                }
                _ => {}
            }
        }
        world.heal();
        world.pass(2 * HOUR);
        let views = all.map(|(who, to)| texts(&mut world, who, to));
        assert_eq!(views[0].len(), written, "seed {seed}: {:?}", views[0]);
        assert_eq!(views[0], views[1], "seed {seed}");
        assert_eq!(views[0], views[2], "seed {seed}");
    }
}
