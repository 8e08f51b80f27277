//! Several devices of one account, as stories in the test world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{CallEnd, CallId};

use crate::{
    api::{
        error::{CallRefused, NotAllowed},
        problem::CallProblem,
        types::{CallInfo, CallPhase, ContactState, DeliveryState},
    },
    call_media::{CallCommand, CallInput},
    calls::CallRequest,
    engine::{AccountCommand, ContactCommand, ConversationCommand},
    testing::{
        engine_tests::{answer, connect, leg, ring, setup, talk},
        world::{Who, World},
    },
};

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
        assert_eq!(world.call(who, AccountCommand::Devices).unwrap().len(), 2);
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
        ["bob: to both", "alice: from the first [Delivered]", "alice: from the second [Delivered]"]
    );
    assert_eq!(
        world.seen(alice, bob),
        ["bob: to both", "alice: from the first [Delivered]", "alice: from the second [Delivered]"]
    );
    // Read on one, it is read on the other.
    assert_eq!(world.chat_row(laptop, bob).unread, 1);
    let chat = world.chat(alice, bob);
    let upto = world.messages(alice, bob).last().unwrap().id.0.clock;
    world.call(alice, |reply| ConversationCommand::MarkRead { chat, upto, reply }).unwrap();
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

/// What is encrypted again for a new device is what was written, whatever has become of the timeline since.
#[test]
fn what_was_cleared_or_deleted_before_it_was_delivered_still_counts() {
    let mut world = World::new(63);
    let (alice, bob) = world.friends();
    world.kill(bob);
    world.stop_server();
    let chat = world.chat(alice, bob);
    world.say(alice, bob, "first");
    let second = world.say(alice, bob, "second");
    world.call(alice, |r| ConversationCommand::Delete { chat, message: second, reply: r }).unwrap();
    world.call(alice, |r| ConversationCommand::ClearChat(chat, r)).unwrap();
    world.say(alice, bob, "third");
    world.kill(alice);
    world.start(alice);
    world.start_server();
    let laptop = world.linked(alice);
    world.pass(5_000);
    world.start(bob);
    world.pass(10_000);
    let got: Vec<(String, bool)> = world.messages(bob, alice).into_iter().map(|m| (m.text, m.deleted)).collect();
    let expected = [("first", false), ("", true), ("third", false)];
    assert_eq!(got, expected.map(|(text, deleted)| (text.to_owned(), deleted)));
    assert_eq!(texts(&mut world, alice, bob), ["third"]);
    assert!(world.messages(laptop, bob).iter().any(|m| m.text == "third"));
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
        assert!(world.call(who, ContactCommand::Requests).unwrap().is_empty());
    }
    world.say(bob, alice, "hi");
    world.say(alice, bob, "hello");
    world.pass(5_000);
    assert_eq!(texts(&mut world, laptop, bob), ["hi", "hello"]);
    // So do a name, a block and a request.
    let account = world.of(bob).account;
    world.call(laptop, |reply| ContactCommand::Rename(account, "Bobby".into(), reply)).unwrap();
    world.pass(5_000);
    assert_eq!(world.contact(alice, bob).unwrap().name, "Bobby");
    world.call(alice, |reply| ContactCommand::Block(account, reply)).unwrap();
    world.pass(5_000);
    assert_eq!(world.contact(laptop, bob).unwrap().state, ContactState::Blocked);
    let carol = world.person("carol");
    let address = starling_keys::Invite { token: None, ..world.invite(alice) };
    let mut added = world.add(carol, &address);
    world.pass(10_000);
    added.try_recv().expect("no answer").unwrap();
    let account = world.of(carol).account;
    for who in [alice, laptop] {
        assert_eq!(world.call(who, ContactCommand::Requests).unwrap().len(), 1);
    }
    world.call(alice, |reply| ContactCommand::Accept(account, reply)).unwrap();
    world.pass(10_000);
    assert!(world.call(laptop, ContactCommand::Requests).unwrap().is_empty());
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
    world.call(alice, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
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
    let refused = world.call(laptop, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap_err();
    assert_eq!(refused, NotAllowed::Superseded.into());
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

#[test]
fn what_is_written_in_the_breath_in_which_a_group_is_joined_arrives() {
    for moment in 0..25 {
        let mut world = World::new(67);
        let (alice, bob) = world.friends();
        world.kill(bob);
        let laptop = world.linked(alice);
        world.pass(5_000);
        world.start(bob);
        // One of the moments after his start is the turn in which he joins the group of three.
        for _ in 0..moment {
            world.all_at_once(bob);
            world.answer_all();
        }
        let chat = world.chat_id(bob, alice);
        let texts = vec![starling_wire::Text { text: "now".into(), ..Default::default() }];
        drop(world.begin(bob, |reply| ConversationCommand::Send { chat, texts, reply }));
        world.all_at_once(bob);
        world.pass(60_000);
        for who in [alice, laptop] {
            let seen: Vec<String> = world.messages(who, bob).into_iter().map(|m| m.text).collect();
            // Before he joins it is written for the first device alone.
            assert!(seen == ["now"] || (who == laptop && moment < 5 && seen.is_empty()), "{who}, {moment}: {seen:?}");
        }
    }
}

#[test]
fn a_group_that_somebody_joins_late_is_used_in_the_end() {
    for seed in 0..10 {
        let mut world = World::new(6800 + seed);
        let (alice, bob) = world.friends();
        world.stop_server();
        world.direct = false;
        // He has something to say in the group that he knows, and comes with it long after the other was made.
        world.say(bob, alice, "late");
        world.kill(bob);
        world.start_server();
        world.direct = true;
        let laptop = world.linked(alice);
        world.pass(HOUR);
        world.start(bob);
        world.pass(60_000);
        world.kill(alice);
        world.pass(2 * HOUR);
        for n in 0..3 {
            world.say(bob, laptop, &n.to_string());
            world.say(laptop, bob, &(10 + n).to_string());
            world.pass(5_000);
        }
        world.start(alice);
        world.pass(60_000);
        world.kill(laptop);
        world.say(alice, bob, "back");
        world.pass(60_000);
        let expected = ["late", "0", "10", "1", "11", "2", "12", "back"];
        assert_eq!(texts(&mut world, alice, bob), expected, "seed {seed}");
        assert_eq!(texts(&mut world, bob, alice), expected, "seed {seed}");
    }
}

#[test]
fn what_was_said_later_counts() {
    let (mut world, alice, laptop, bob) = three(69);
    let account = world.of(bob).account;
    // Two devices without a connection between them: the block is the later word.
    world.stop_server();
    world.direct = false;
    world.call(laptop, |reply| ContactCommand::Rename(account, "Bobby".into(), reply)).unwrap();
    world.pass(1_000);
    world.call(alice, |reply| ContactCommand::Block(account, reply)).unwrap();
    world.kill(laptop);
    world.start_server();
    world.pass(60_000);
    world.start(laptop);
    world.direct = true;
    world.pass(120_000);
    for who in [alice, laptop] {
        assert_eq!(world.contact(who, bob).unwrap().state, ContactState::Blocked, "{who}");
    }
    world.call(laptop, |reply| ContactCommand::Unblock(account, reply)).unwrap();
    world.pass(60_000);
    assert_eq!(world.contact(alice, bob).unwrap().state, ContactState::Active);
    world.say(bob, alice, "again");
    world.pass(60_000);
    for who in [alice, laptop] {
        assert_eq!(texts(&mut world, who, bob), ["again"], "{who}");
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
                    world.call(who, |reply| ConversationCommand::Send { chat, texts, reply }).unwrap();
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

// Calls.

/// The phases of somebody's calls.
fn phases(world: &mut World, who: Who) -> Vec<CallPhase> {
    world.call(who, CallRequest::List).unwrap().iter().map(|c: &CallInfo| c.phase).collect()
}

/// How somebody's newest call ended, as the timeline has it.
fn noted(world: &mut World, who: Who, other: Who) -> (CallEnd, u64) {
    let note = world.messages(who, other).last().unwrap().call.unwrap();
    (note.why, note.duration_ms)
}

#[test]
fn a_call_rings_on_all_devices_and_who_answers_stops_the_rest() {
    let (mut world, alice, laptop, bob) = three(80);
    let id = ring(&mut world, bob, alice);
    for who in [alice, laptop] {
        assert_eq!(phases(&mut world, who), [CallPhase::Ringing]);
    }
    answer(&mut world, laptop, id);
    connect(&mut world, id, &[laptop, bob]);
    assert!(phases(&mut world, alice).is_empty());
    assert_eq!(noted(&mut world, alice, bob), (CallEnd::Elsewhere, 0));
    assert_eq!(world.chat_row(alice, bob).unread, 0);
    world.pass(10_000);
    world.call(bob, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.pass(1_000);
    for (who, other) in [(alice, bob), (laptop, bob), (bob, alice)] {
        let (why, duration) = noted(&mut world, who, other);
        assert_eq!(why, CallEnd::HungUp, "{who}");
        assert!((10_000..14_000).contains(&duration), "{who}: {duration}");
    }
}

#[test]
fn declined_on_one_device_it_rings_on_none() {
    let (mut world, alice, laptop, bob) = three(81);
    let id = ring(&mut world, bob, alice);
    world.call(laptop, |reply| CallRequest::HangUp { id, text: "later".into(), reply }).unwrap();
    world.pass(1_000);
    for (who, other) in [(alice, bob), (laptop, bob), (bob, alice)] {
        assert!(phases(&mut world, who).is_empty(), "{who}");
        assert_eq!(noted(&mut world, who, other).0, CallEnd::Declined, "{who}");
    }
}

#[test]
fn a_busy_device_does_not_keep_the_others_from_ringing() {
    let (mut world, alice, laptop, bob) = three(82);
    let others: Vec<Who> = ["carol", "dave", "erin"].map(|name| world.person(name)).into();
    for other in &others {
        let invite = world.invite(*other);
        let mut added = world.add(laptop, &invite);
        world.pass(10_000);
        added.try_recv().expect("no answer").unwrap();
        ring(&mut world, laptop, *other);
    }
    let id = ring(&mut world, bob, alice);
    assert_eq!(phases(&mut world, bob), [CallPhase::Ringing]);
    assert_eq!(phases(&mut world, alice), [CallPhase::Ringing]);
    answer(&mut world, alice, id);
    connect(&mut world, id, &[alice, bob]);
    assert_eq!(phases(&mut world, bob), [CallPhase::Connected]);
}

#[test]
fn both_answer_and_one_of_them_has_the_call() {
    let (mut world, alice, laptop, bob) = three(83);
    let id = ring(&mut world, bob, alice);
    for who in [alice, laptop] {
        world.call(who, |reply| CallRequest::Answer { id, setup: setup(), reply }).unwrap();
    }
    world.pass(100);
    for who in [alice, laptop] {
        world.media(who, CallInput::Answer(leg(id), format!("answer of {who}")));
    }
    world.pass(500);
    let calls = &world.of(bob).calls;
    let took = |who: Who| calls.contains(&CallCommand::Accept(leg(id), 0, format!("answer of {who}")));
    assert!(took(alice) != took(laptop));
    let (first, second) = if took(alice) { (alice, laptop) } else { (laptop, alice) };
    // The other one knows at once.
    assert!(phases(&mut world, second).is_empty());
    connect(&mut world, id, &[first, bob]);
    world.pass(60_000);
    assert_eq!(noted(&mut world, second, bob).0, CallEnd::Elsewhere);
    assert_eq!(phases(&mut world, first), [CallPhase::Connected]);
    assert_eq!(phases(&mut world, bob), [CallPhase::Connected]);
}

/// What follows once a device has taken a call that was handed over to it.
fn takes(world: &mut World, who: Who, bob: Who, id: CallId) {
    world.pass(100);
    world.media(who, CallInput::Offer(leg(id), 0, "offer of another".into()));
    world.pass(100);
    assert!(world.of(bob).calls.contains(&CallCommand::Restart(leg(id), 0, "offer of another".into())));
    world.media(bob, CallInput::Restarted(leg(id), 0, "answer".into()));
    world.pass(100);
    assert!(world.of(who).calls.contains(&CallCommand::Accept(leg(id), 0, "answer".into())));
    connect(world, id, &[who, bob]);
}

#[test]
fn a_call_moves_to_another_device() {
    let (mut world, alice, laptop, bob) = three(84);
    let id = talk(&mut world, bob, alice);
    world.pass(5_000);
    world.call(alice, |reply| CallRequest::Transfer { id, to: None, reply }).unwrap();
    world.pass(500);
    let handed = world.call(laptop, CallRequest::List).unwrap();
    assert!(handed[0].moved && handed[0].phase == CallPhase::Ringing, "{handed:?}");
    // Until it is taken, it goes on where it is.
    assert_eq!(phases(&mut world, alice), [CallPhase::Connected]);
    world.call(laptop, |reply| CallRequest::Answer { id, setup: setup(), reply }).unwrap();
    takes(&mut world, laptop, bob, id);
    assert!(phases(&mut world, alice).is_empty());
    assert!(world.of(alice).calls.contains(&CallCommand::End(id)));
    for who in [laptop, bob] {
        assert_eq!(phases(&mut world, who), [CallPhase::Connected], "{who}");
    }
    // And back, asked for from there.
    assert_eq!(world.call(alice, CallRequest::ListOnOtherDevices).unwrap().len(), 1);
    world.call(alice, |reply| CallRequest::Fetch { chat: None, setup: setup(), reply }).unwrap();
    world.of(bob).calls.clear();
    takes(&mut world, alice, bob, id);
    assert!(phases(&mut world, laptop).is_empty());
    assert_eq!(phases(&mut world, alice), [CallPhase::Connected]);
    world.pass(5_000);
    world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.pass(1_000);
    for (who, other) in [(alice, bob), (laptop, bob), (bob, alice)] {
        assert!(phases(&mut world, who).is_empty(), "{who}");
        let (why, duration) = noted(&mut world, who, other);
        assert_eq!(why, CallEnd::HungUp, "{who}");
        assert!((10_500..18_000).contains(&duration), "{who}: {duration}");
    }
}

#[test]
fn a_call_that_is_not_taken_stays_where_it_is() {
    let (mut world, alice, laptop, bob) = three(85);
    let id = talk(&mut world, bob, alice);
    world.call(alice, |reply| CallRequest::Transfer { id, to: None, reply }).unwrap();
    world.pass(500);
    world.call(laptop, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.pass(500);
    assert!(phases(&mut world, laptop).is_empty());
    let here = world.call(alice, CallRequest::List).unwrap();
    assert_eq!(here[0].trouble, Some(CallProblem::NotTaken));
    // Handed over once more, and nobody answers; then the other side hangs up.
    world.call(alice, |reply| CallRequest::Transfer { id, to: None, reply }).unwrap();
    world.pass(70_000);
    assert!(phases(&mut world, laptop).is_empty());
    for who in [alice, bob] {
        assert_eq!(phases(&mut world, who), [CallPhase::Connected], "{who}");
    }
    world.call(alice, |reply| CallRequest::Transfer { id, to: None, reply }).unwrap();
    world.pass(500);
    world.call(bob, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.pass(500);
    for (who, other) in [(alice, bob), (laptop, bob), (bob, alice)] {
        assert!(phases(&mut world, who).is_empty(), "{who}");
        let (why, duration) = noted(&mut world, who, other);
        assert_eq!(why, CallEnd::HungUp, "{who}");
        assert!(duration > 70_000, "{who}: {duration}");
    }
}

#[test]
fn a_call_that_another_device_answered_was_not_missed() {
    let (mut world, alice, laptop, bob) = three(88);
    world.kill(alice);
    let id = ring(&mut world, bob, laptop);
    answer(&mut world, laptop, id);
    connect(&mut world, id, &[laptop, bob]);
    world.pass(120_000);
    world.start(alice);
    world.pass(5_000);
    assert_eq!(noted(&mut world, alice, bob).0, CallEnd::Elsewhere);
    assert_eq!(world.chat_row(alice, bob).unread, 0);
    // Who wants to call them is told where the call is.
    let chat = world.chat(alice, bob);
    let refused = world.call(alice, |reply| CallRequest::Start { chat, setup: setup(), reply }).unwrap_err();
    assert_eq!(refused, CallRefused::InCallElsewhere.into());
    world.call(alice, |reply| CallRequest::Fetch { chat: None, setup: setup(), reply }).unwrap();
    takes(&mut world, alice, bob, id);
    assert!(phases(&mut world, laptop).is_empty());
    // One that nobody answered was missed by all.
    world.call(bob, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.kill(laptop);
    ring(&mut world, bob, alice);
    world.pass(70_000);
    world.start(laptop);
    world.pass(5_000);
    for who in [alice, laptop] {
        assert_eq!(noted(&mut world, who, bob).0, CallEnd::NoAnswer, "{who}");
        assert_eq!(world.chat_row(who, bob).unread, 1, "{who}");
    }
}

#[test]
fn nobody_takes_a_call_that_was_not_handed_over() {
    let (mut world, alice, laptop, bob) = three(86);
    let id = talk(&mut world, bob, alice);
    // The laptop's engine is made to offer, though the device that has the call is gone.
    world.kill(alice);
    world.call(laptop, |reply| CallRequest::Fetch { chat: None, setup: setup(), reply }).unwrap();
    world.media(laptop, CallInput::Offer(leg(id), 0, "offer of a thief".into()));
    world.pass(500);
    assert!(!world.of(bob).calls.iter().any(|c| matches!(c, CallCommand::Restart(_, _, o) if o.contains("thief"))));
}

#[test]
fn a_conversation_has_calls_of_all_devices() {
    let (mut world, alice, laptop, bob) = three(87);
    let id = ring(&mut world, laptop, bob);
    answer(&mut world, bob, id);
    connect(&mut world, id, &[laptop, bob]);
    world.pass(5_000);
    assert_eq!(noted(&mut world, alice, bob).0, CallEnd::Elsewhere);
    world.call(laptop, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    world.pass(1_000);
    let (why, duration) = noted(&mut world, alice, bob);
    assert_eq!(why, CallEnd::HungUp);
    assert!((5_000..9_000).contains(&duration), "{duration}");
    // Both sides call at once, from several devices: one call is left.
    let chat = world.chat(laptop, bob);
    let theirs = world.chat(bob, alice);
    let mine = world.call(laptop, |reply| CallRequest::Start { chat, setup: setup(), reply }).unwrap();
    let other = world.call(bob, |reply| CallRequest::Start { chat: theirs, setup: setup(), reply }).unwrap();
    world.pass(100);
    world.media(laptop, CallInput::Offer(leg(mine), 0, "mine".into()));
    world.media(bob, CallInput::Offer(leg(other), 0, "other".into()));
    world.pass(2_000);
    let winner = if phases(&mut world, laptop) == [CallPhase::Connecting] { laptop } else { bob };
    let id = world.call(winner, CallRequest::List).unwrap()[0].id;
    world.media(winner, CallInput::Answer(leg(id), "answer".into()));
    world.pass(1_000);
    assert!(phases(&mut world, alice).is_empty(), "{:?}", phases(&mut world, alice));
    for who in [laptop, bob] {
        assert_eq!(phases(&mut world, who), [CallPhase::Connecting], "{who}");
    }
}

/// Its account's other device cannot ask the home whether the new one is listed, and everybody else has what it writes.
#[test]
fn what_is_written_before_a_new_device_is_known_reaches_it() {
    let mut world = World::new(932);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    let tablet = world.linked(alice);
    world.pass(60_000);
    // Several make the next group.
    let gone = world.of(tablet).device;
    world.call(alice, |reply| AccountCommand::RemoveDevice(gone, reply)).unwrap();
    world.pass(60_000);
    let chat = world.chat_id(alice, bob);
    assert!(world.engine(alice).conversations.chats.get(&chat).unwrap().row.groups.len() > 1);
    world.lie = Some(Box::new(move |who, response| {
        if who == alice {
            response.body = None;
        }
    }));
    let phone = world.linked(laptop);
    world.pass(10_000);
    world.say(alice, bob, "hi");
    world.pass(10_000);
    for (who, other) in [(laptop, bob), (bob, alice)] {
        assert_eq!(world.messages(who, other).last().unwrap().text, "hi", "{who}");
    }
    world.lie = None;
    world.stop_server();
    world.start_server();
    world.pass(60_000);
    assert_eq!(world.messages(phone, bob).last().map(|m| m.text.clone()).as_deref(), Some("hi"));
    assert!(world.engine(alice).conversations.chats.values().all(|chat| chat.outbox.is_empty()));
}
