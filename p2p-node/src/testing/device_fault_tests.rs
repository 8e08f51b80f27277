//! What goes wrong with an account's devices: a home that is gone for good while one is removed, an admin who comes back after a month with a change of
//! its own, the phrase that is used while all devices run, and a chain that is long.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{cell::Cell, collections::BTreeSet, rc::Rc, time::Instant};

use starling_keys::AccountKey;
use starling_wire::{
    Text,
    rendezvous::{Refusal, Refused, RequestBody},
};

use super::world::{Treatment, Who, World};
use crate::{
    Origin, Rights,
    api::{
        error::{NodeError, NotAllowed},
        problem::HomeProblem,
    },
    engine::{AccountCommand, ConversationCommand},
};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// Entries of the long chain.
const LONG: u32 = 300;
/// What a chain may cost: a first contact in bytes, and a contact's start in milliseconds (of a build for tests, which is several times slower).
const MAX_LONG_BYTES: usize = 300 * 400;

/// Alice with a laptop and a phone, and bob.
fn four(world: &mut World, alice: Who) -> (Who, Who) {
    let laptop = world.linked(alice);
    world.pass(10_000);
    let phone = world.linked(alice);
    world.pass(60_000);
    (laptop, phone)
}

fn begin_removal(world: &mut World, by: Who, gone: Who) {
    let device = world.of(gone).device;
    drop(world.begin(by, |reply| AccountCommand::RemoveDevice(device, reply)));
}

/// Writes without waiting for anything; whether it was taken.
fn write(world: &mut World, who: Who, other: Who, text: &str) -> bool {
    let chat = world.chat_id(who, other);
    let texts = vec![Text { text: text.into(), ..Text::default() }];
    let mut sent = world.begin(who, |reply| ConversationCommand::Send { chat, texts, reply });
    world.all_at_once(who);
    matches!(sent.try_recv(), Ok(Ok(_)))
}

fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|message| message.text).collect()
}

/// Whether a device knows that its account has given it up.
fn is_out(world: &mut World, who: Who) -> bool {
    let answer: Result<(), NodeError> = world.call(who, |reply| AccountCommand::SetName("other".into(), reply));
    answer == Err(NotAllowed::Superseded.into())
}

/// All of them see just these devices of alice's account.
fn list_is(world: &mut World, seen_by: &[Who], devices: &[Who], context: &str) {
    let account = world.of(devices[0]).account;
    let expected: BTreeSet<_> = devices.iter().map(|who| world.of(*who).device).collect();
    for who in seen_by {
        let listed: BTreeSet<_> = world.listed(*who, account).into_iter().collect();
        assert_eq!(listed, expected, "{context}: as {who} sees it");
    }
}

/// Who is in reads what all of them write, and who is out does not.
fn all_talk(world: &mut World, devices: &[Who], bob: Who, out: &[Who], context: &str) {
    let mut said = Vec::new();
    for who in devices {
        assert!(world.knows(*who, bob), "{context}: {who} has no contacts");
    }
    for who in devices.iter().copied().chain([bob]) {
        let other = if who == bob { devices[0] } else { bob };
        let text = format!("{context}: by {who}");
        world.say(who, other, &text);
        said.push(text);
        world.pass(5_000);
    }
    world.pass(2 * 60_000);
    for who in devices.iter().copied().chain([bob]) {
        let seen = texts(world, who, if who == bob { devices[0] } else { bob });
        let new: Vec<&String> = seen.iter().filter(|text| said.contains(text)).collect();
        assert_eq!(new, said.iter().collect::<Vec<_>>(), "{context}: {who}");
    }
    for who in out {
        if world.is_running(*who) && world.knows(*who, bob) {
            let seen = texts(world, *who, bob);
            assert!(!said.iter().any(|text| seen.contains(text)), "{context}: {who} is out and reads {seen:?}");
        }
    }
}

#[test]
fn a_device_is_removed_though_one_of_the_homes_is_gone_for_good_meanwhile() {
    for lost in [0, 1] {
        for steps in [0, 3, 8, 16, 40] {
            let context = format!("home {lost} after {steps} steps");
            let mut world = World::new(1_800 + steps as u64);
            world.add_server();
            world.direct = false;
            let (alice, bob) = (world.person_at("alice", &[0, 1]), world.person_at("bob", &[1, 0]));
            let invite = world.invite(alice);
            let mut added = world.add(bob, &invite);
            world.pass(5_000);
            added.try_recv().expect("no answer").unwrap();
            let (laptop, phone) = four(&mut world, alice);
            begin_removal(&mut world, alice, laptop);
            for _ in 0..steps {
                world.step();
            }
            world.kill_server(lost);
            world.pass(HOUR);
            assert!(is_out(&mut world, laptop), "{context}");
            list_is(&mut world, &[alice, phone, bob], &[alice, phone], &context);
            all_talk(&mut world, &[alice, phone], bob, &[laptop], &context);
        }
    }
}

#[test]
fn a_removal_for_which_the_only_home_is_gone_is_done_at_the_next_one() {
    for steps in [0, 2, 5, 12] {
        let context = format!("after {steps} steps");
        let mut world = World::new(1_820 + steps as u64);
        let (alice, bob) = world.friends_at(0, 0);
        let (laptop, phone) = four(&mut world, alice);
        world.direct = steps % 2 == 0;
        begin_removal(&mut world, alice, laptop);
        for _ in 0..steps {
            world.step();
        }
        let next = world.add_server();
        world.kill_server(0);
        world.pass(HOUR);
        // All of them choose another home; bob was told by somebody.
        let homes = vec![world.servers[next].address.clone()];
        for who in [alice, phone, bob] {
            let (homes, token) = (homes.clone(), String::new());
            drop(world.begin(who, |reply| AccountCommand::SetHomes { homes, token, reply }));
            world.pass(60_000);
        }
        world.direct = true;
        world.pass(HOUR);
        if world.listed(alice, world.people[alice].account).contains(&world.people[laptop].device) {
            // It was refused while there was no home.
            begin_removal(&mut world, alice, laptop);
        }
        world.pass(HOUR);
        list_is(&mut world, &[alice, phone, bob], &[alice, phone], &context);
        all_talk(&mut world, &[alice, phone], bob, &[laptop], &context);
    }
}

/// What an admin wants of the list.
#[derive(Clone, Copy, Debug)]
enum Change {
    RemoveOther,
    RemovePhone,
    Link,
}

fn change(world: &mut World, by: Who, other: Who, phone: Who, change: Change) -> Option<Who> {
    match change {
        Change::RemoveOther => begin_removal(world, by, other),
        Change::RemovePhone => begin_removal(world, by, phone),
        Change::Link => return Some(world.begin_linking(by)),
    }
    None
}

#[test]
fn an_admin_who_was_offline_for_a_month_has_changed_the_list_at_the_same_time() {
    let changes = [Change::RemoveOther, Change::RemovePhone, Change::Link];
    for (seed, (ours, theirs)) in (0..).zip(changes.iter().flat_map(|a| changes.map(|b| (*a, b)))) {
        if matches!((ours, theirs), (Change::Link, Change::Link)) {
            // A device is not there before a home has it on the list.
            continue;
        }
        let context = format!("alice {ours:?}, the laptop {theirs:?}");
        let mut world = World::new(1_840 + seed);
        let (alice, bob) = world.friends();
        let (laptop, phone) = four(&mut world, alice);
        // The laptop's change is begun where it reaches nobody, a moment before it goes away.
        world.apart = [laptop].into();
        for other in [alice, phone, bob] {
            world.cut(laptop, other);
        }
        let gone = match theirs {
            Change::RemoveOther => Some(world.of(alice).device),
            Change::RemovePhone => Some(world.of(phone).device),
            Change::Link => None,
        };
        let theirs = change(&mut world, laptop, alice, phone, theirs);
        world.all_at_once(laptop);
        let is_signed = gone.is_none_or(|gone| world.chain(laptop).has_removed(&gone));
        assert!(is_signed, "{context}: its removal stands in its own chain");
        // What it has sent is lost with the server.
        world.stop_server();
        world.kill(laptop);
        if let Some(who) = theirs {
            world.kill(who);
        }
        world.start_server();
        let ours = change(&mut world, alice, laptop, phone, ours);
        world.pass(60_000);
        write(&mut world, bob, alice, "meanwhile");
        world.pass(30 * DAY);
        world.apart = [].into();
        for who in [Some(laptop), theirs].into_iter().flatten() {
            world.start(who);
        }
        world.pass(DAY);
        if world.home_problem(laptop) == Some(HomeProblem::OtherHistory) {
            // Of its removal nobody had heard for a month: it comes too late for the others. The laptop keeps to it, as they may be a thief's, and
            // says so. The phrase ends that.
            assert!(gone.is_some(), "{context}");
            world.recover(alice);
            world.pass(HOUR);
            assert_ne!(world.home_problem(laptop), Some(HomeProblem::OtherHistory), "{context}");
        }
        let all: Vec<Who> = [Some(alice), Some(laptop), Some(phone), ours, theirs].into_iter().flatten().collect();
        let account = world.of(alice).account;
        // What bob has is what all have who are on it.
        let listed = world.listed(bob, account);
        let (inside, out): (Vec<Who>, Vec<Who>) =
            all.iter().partition(|who| listed.contains(&world.people[**who].device));
        assert!(!inside.is_empty() && inside.len() == listed.len(), "{context}: {listed:?}");
        let seen_by: Vec<Who> = inside.iter().copied().chain([bob]).collect();
        list_is(&mut world, &seen_by, &inside, &context);
        for who in &out {
            assert!(is_out(&mut world, *who), "{context}: {who}");
        }
        all_talk(&mut world, &inside, bob, &out, &context);
        // What was removed does not count again, whoever comes back.
        world.pass(30 * DAY);
        list_is(&mut world, &seen_by, &inside, &context);
    }
}

#[test]
fn a_device_whose_link_was_interrupted_at_any_step_has_the_contacts() {
    let mut listed = 0;
    for steps in 0..40 {
        let mut world = World::new(1_858);
        let (alice, bob) = world.friends();
        world.pass(10_000);
        let (device, _) = world.let_in(alice, false);
        for _ in 0..steps {
            world.step();
        }
        world.kill(alice);
        world.start(alice);
        world.pass(60_000);
        if world.chain(alice).device(&device.id()).is_none() {
            continue;
        }
        let laptop = world.joined(alice, device);
        world.pass(60_000);
        assert!(world.knows(laptop, bob), "after {steps} steps");
        listed += 1;
    }
    assert!(listed > 20, "{listed}");
}

#[test]
fn a_server_that_takes_no_chain_is_asked_again_after_minutes_and_not_at_once() {
    let mut world = World::new(1_859);
    let (alice, _) = world.friends();
    let asked: Rc<Cell<u32>> = Rc::default();
    let published = asked.clone();
    world.treats = Some(Box::new(move |_, body| {
        let publishes = matches!(body, RequestBody::Publish(_));
        published.set(published.get() + u32::from(publishes));
        let stale = Refused { reason: Refusal::Stale.into(), ..Refused::default() };
        publishes.then_some(Treatment::Refusal(stale))
    }));
    world.kill(alice);
    world.start(alice);
    world.pass(HOUR);
    assert_eq!(world.home_problem(alice), Some(HomeProblem::OtherHistory));
    assert!((2..=20).contains(&asked.get()), "{} times in an hour", asked.get());
    world.treats = None;
    world.pass(HOUR);
    assert_eq!(world.home_problem(alice), None);
}

#[test]
fn the_phrase_is_used_while_three_devices_run_and_write() {
    for seed in 0..6 {
        let context = format!("seed {seed}");
        let mut world = World::new(1_860 + seed);
        let (alice, bob) = world.friends();
        let (laptop, phone) = four(&mut world, alice);
        let account = world.of(alice).account;
        let old = [alice, laptop, phone];
        for (n, who) in old.iter().enumerate() {
            write(&mut world, *who, bob, &format!("before {n}"));
        }
        world.pass(20_000);
        world.direct = seed % 2 == 0;
        let root = AccountKey::from_seed(&world.phrases[&account].seed());
        let again = world.profile("alice", Origin::Restored(root));
        let mut written = 0;
        while world.step() && written < 60 {
            // All of them write on, until they hear of it; some go away in the middle of it.
            if world.one_of(4) == 0 {
                let who = old[world.one_of(3)];
                if world.is_running(who) {
                    write(&mut world, who, bob, &format!("meanwhile {written}"));
                }
                write(&mut world, bob, alice, &format!("to them {written}"));
                written += 1;
            }
            if written == 30 && seed % 3 == 1 {
                world.kill(phone);
            }
        }
        world.pass(10 * 60_000);
        if !world.is_running(phone) {
            world.start(phone);
        }
        world.direct = true;
        world.pass(HOUR);
        list_is(&mut world, &[again, bob], &[again], &context);
        for who in old {
            assert!(is_out(&mut world, who), "{context}: {who}");
        }
        assert!(!world.has_root(again), "{context}");
        all_talk(&mut world, &[again], bob, &old, &context);
    }
}

#[test]
fn a_chain_of_three_hundred_entries_goes_through_a_server() {
    let mut world = World::new(1_880);
    let (alice, bob) = world.friends();
    let (laptop, phone) = four(&mut world, alice);
    let away = world.person("away");
    world.befriend(alice, away);
    world.kill(away);
    let device = world.of(laptop).device;
    let mut n = 0;
    while world.chain(alice).len() < LONG {
        n += 1;
        let rights = if n % 2 == 0 { Rights::Admin } else { Rights::Member };
        let mut done = world.begin(alice, |reply| AccountCommand::SetRights { device, rights, reply });
        world.pass(1_000);
        done.try_recv().expect("no answer").unwrap();
    }
    let bytes = world.chain(alice).as_bytes().len();
    println!("a chain of {LONG} entries has {bytes} bytes");
    assert!(bytes < MAX_LONG_BYTES);
    // Who was away, who meets it for the first time, and who is linked by it.
    let start = Instant::now();
    world.start(away);
    world.pass(60_000);
    println!("a contact that was away has it after {:?} of this machine's time", start.elapsed());
    let carol = world.person("carol");
    world.befriend(alice, carol);
    let tablet = world.linked(alice);
    world.pass(60_000);
    let head = world.chain(alice).head();
    for who in [laptop, phone, tablet] {
        assert_eq!(world.chain(who).head(), head, "{who}");
    }
    let devices = [alice, laptop, phone, tablet];
    list_is(&mut world, &[alice, laptop, phone, tablet, bob, carol, away], &devices, "long");
    for other in [bob, carol, away] {
        all_talk(&mut world, &devices, other, &[], &format!("long, with {other}"));
    }
    // A removal and a recovery still have room.
    begin_removal(&mut world, alice, laptop);
    world.pass(60_000);
    list_is(&mut world, &[alice, phone, tablet, bob, carol, away], &[alice, phone, tablet], "shorter by one");
    world.recover(phone);
    world.pass(60_000);
    list_is(&mut world, &[phone, bob, carol, away], &[phone], "recovered");
    all_talk(&mut world, &[phone], bob, &[alice, laptop, tablet], "recovered");
}
