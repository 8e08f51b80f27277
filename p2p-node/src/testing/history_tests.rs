//! The history on a new device, as stories in the test world: pages are small there, so that each has many.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{
    Clock, Text,
    history::{HistoryMessage, HistoryStep, Nothing},
};

use crate::{
    api::types::{CopyPhase, HistoryState, Message, MessageId, TransientEvent, Via},
    engine::{AccountCommand, ConversationCommand, HistoryCommand},
    testing::world::{Who, World},
    timeline::search::{Scan, Search},
};

/// How many messages there are before a device is linked.
const BEFORE: usize = 150;

/// Alice and bob, who have written to one another, changed messages, deleted some, and read some.
fn talkative(seed: u64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    write(&mut world, alice, bob, BEFORE);
    (world, alice, bob)
}

fn write(world: &mut World, alice: Who, bob: Who, count: usize) {
    for n in 0..count {
        let (from, to) = if n % 3 == 0 { (bob, alice) } else { (alice, bob) };
        let message = world.say(from, to, &format!("message {n}"));
        let (chat, other) = (world.chat(from, to), world.chat(to, from));
        world.settle();
        match n % 10 {
            3 => world
                .call(from, |reply| ConversationCommand::Edit { chat, message, text: format!("better {n}"), reply })
                .unwrap(),
            6 => world
                .call(to, |r| ConversationCommand::React { chat: other, message, emoji: "👍".into(), reply: r })
                .unwrap(),
            9 => world.call(from, |reply| ConversationCommand::Delete { chat, message, reply }).unwrap(),
            _ => {}
        }
        if n == count / 2 {
            let upto = Clock(u64::MAX);
            world
                .call(alice, |reply| ConversationCommand::MarkRead {
                    chat: if from == alice { chat } else { other },
                    upto,
                    reply,
                })
                .unwrap();
        }
    }
    world.pass(10_000);
}

/// A message as it is on every device of an account.
fn same(message: Message) -> Message {
    let own_chat = crate::ChatId([0; 16]);
    Message { chat: own_chat, via: Via::Own, ..message }
}

fn all(world: &mut World, who: Who, other: Who) -> Vec<Message> {
    let chat = world.chat(who, other);
    world.messages_in(who, chat).into_iter().map(same).collect()
}

fn assert_same(world: &mut World, devices: &[Who], other: Who) {
    let expected = all(world, devices[0], other);
    let unread = world.chat_row(devices[0], other).unread;
    for device in &devices[1..] {
        let got = all(world, *device, other);
        let ids = |messages: &[Message]| messages.iter().map(|m| (m.id, m.text.clone())).collect::<Vec<_>>();
        assert_eq!(ids(&got), ids(&expected), "device {device}");
        assert_eq!(got, expected, "device {device}");
        assert_eq!(world.chat_row(*device, other).unread, unread, "unread on device {device}");
    }
}

fn state(world: &mut World, who: Who) -> HistoryState {
    world.call(who, HistoryCommand::State).unwrap()
}

fn phase(world: &mut World, who: Who) -> CopyPhase {
    state(world, who).copy.unwrap().phase
}

/// The number of the permission that a device of the account has.
fn permission(world: &mut World, of: Who, to: Who) -> u64 {
    let (device, mut number) = (world.of(to).device, 0);
    world.modified(of, |engine, _| number = engine.history.number_for(&device));
    number
}

/// How many rows somebody has, without asking.
fn rows(world: &World, who: Who, other: Who) -> usize {
    if !world.is_running(who) || !world.knows(who, other) {
        return 0;
    }
    let chat = world.chat_id(who, other);
    world.messages_in(who, chat).len()
}

#[test]
fn a_new_device_gets_the_history_as_it_is() {
    let (mut world, alice, bob) = talkative(1200);
    let before = rows(&world, alice, bob);
    let laptop = world.linked_with_history(alice);
    world.pass(60_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Done);
    assert!(rows(&world, laptop, bob) >= before);
    assert_same(&mut world, &[alice, laptop], bob);
    assert!(permission(&mut world, alice, laptop) == 0, "a permission is for one copy");
    // It is no news, and it is told how far it is.
    let told = |news: &TransientEvent| matches!(news, TransientEvent::HistoryCopy(copy) if copy.total > 0);
    assert!(world.of(laptop).live.iter().any(told));
    assert!(world.durable_events(laptop).len() < BEFORE / 2, "nothing of it has happened now");
    let chat = world.chat(laptop, bob);
    let wanted = Search { words: "better 3".into(), limit: 10, ..Search::default() };
    let mut scan = Scan::new(&wanted, vec![chat]).unwrap();
    while scan.step(&world.store(laptop)).unwrap() {}
    assert!(!scan.into_found().is_empty());
    // What comes then is counted as ever.
    let unread = world.chat_row(laptop, bob).unread;
    world.say(bob, alice, "new");
    world.pass(5_000);
    assert_eq!(world.chat_row(laptop, bob).unread, unread + 1);
    assert_same(&mut world, &[alice, laptop], bob);
}

#[test]
fn without_the_users_word_there_is_no_history() {
    let (mut world, alice, bob) = talkative(1201);
    let laptop = world.linked(alice);
    world.pass(30_000);
    let few = rows(&world, laptop, bob);
    assert!(few < BEFORE / 4);
    let source = world.of(alice).device;
    // Its program is a modified one, which makes permissions up.
    for grant in [1, 99] {
        world.modified(laptop, |engine, turn| {
            engine.history.wish(turn, source);
            engine.history.on_offer(turn, source, grant);
        });
        assert_eq!(phase(&mut world, laptop), CopyPhase::Refused);
    }
    world.pass(30_000);
    assert_eq!(rows(&world, laptop, bob), few);
}

/// Everybody writes, and somebody's process ends, again and again while the history is copied.
fn killed_again_and_again(seed: u64, kills: impl Fn(Who, Who, usize) -> Vec<Who>) {
    let (mut world, alice, bob) = talkative(seed);
    let laptop = world.linked_with_history(alice);
    for round in 0..10 {
        let until = rows(&world, laptop, bob) + 8;
        for _ in 0..2_000 {
            if rows(&world, laptop, bob) >= until || !world.step() {
                break;
            }
        }
        let killed = kills(alice, laptop, round);
        killed.iter().for_each(|who| world.kill(*who));
        for who in [alice, bob, laptop] {
            let to = if who == bob { alice } else { bob };
            if killed.contains(&who) || !world.knows(who, to) {
                continue;
            }
            let chat = world.chat_id(who, to);
            let texts = vec![Text { text: format!("round {round} of {who}"), ..Text::default() }];
            drop(world.begin(who, |reply| ConversationCommand::Send { chat, texts, reply }));
        }
        for _ in 0..world.one_of(40) {
            world.step();
        }
        killed.iter().for_each(|who| world.start(*who));
    }
    world.heal();
    world.pass(60_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Done, "seed {seed}");
    assert_same(&mut world, &[alice, laptop], bob);
    let mut ids: Vec<MessageId> = all(&mut world, laptop, bob).iter().map(|m| m.id).collect();
    let before = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), before, "nothing is doubled");
}

#[test]
fn the_device_with_the_history_is_killed_ten_times() {
    killed_again_and_again(1210, |alice, _, _| vec![alice]);
}

#[test]
fn the_device_that_copies_is_killed_ten_times() {
    killed_again_and_again(1211, |_, laptop, _| vec![laptop]);
}

#[test]
fn either_or_both_are_killed_ten_times() {
    for seed in 1212..1215 {
        killed_again_and_again(seed, |alice, laptop, round| match round % 3 {
            0 => vec![alice],
            1 => vec![laptop],
            _ => vec![alice, laptop],
        });
    }
}

#[test]
fn a_device_that_is_removed_midway_gets_nothing_more() {
    let (mut world, alice, bob) = talkative(1220);
    let laptop = world.linked_with_history(alice);
    while rows(&world, laptop, bob) < 20 {
        assert!(world.step());
    }
    let device = world.of(laptop).device;
    drop(world.begin(alice, |reply| AccountCommand::RemoveDevice(device, reply)));
    world.all_at_once(alice);
    let had = rows(&world, laptop, bob);
    world.pass(60_000);
    // A page may have been on its way.
    assert!(rows(&world, laptop, bob) < had + 20, "{had}");
    assert!(rows(&world, laptop, bob) < BEFORE / 2);
    assert_eq!(permission(&mut world, alice, laptop), 0);
    assert!(!phase(&mut world, laptop).is_open());
}

#[test]
fn devices_that_cannot_connect_copy_through_the_home() {
    let (mut world, alice, bob) = talkative(1230);
    world.direct = false;
    world.cut(alice, bob);
    let laptop = world.linked_with_history(alice);
    world.pass(120_000);
    assert!(world.appended.iter().all(|item| item.sealed.len() <= starling_wire::limits::MAX_INBOX_ITEM));
    assert!(phase(&mut world, laptop) != CopyPhase::Copying);
    assert_same(&mut world, &[alice, laptop], bob);
}

#[test]
fn what_was_deleted_on_the_new_device_stays_deleted() {
    let (mut world, alice, bob) = talkative(1240);
    let laptop = world.linked_with_history(alice);
    while rows(&world, laptop, bob) < 40 {
        assert!(world.step());
    }
    let chat = world.chat_id(laptop, bob);
    drop(world.begin(laptop, |reply| ConversationCommand::ClearChat(chat, reply)));
    world.all_at_once(laptop);
    world.pass(60_000);
    assert_eq!(rows(&world, laptop, bob), 0);
    assert!(rows(&world, alice, bob) >= BEFORE);
}

#[test]
fn a_contact_that_does_not_know_of_the_new_device_yet_leaves_no_hole() {
    let (mut world, alice, bob) = talkative(1250);
    world.kill(bob);
    let laptop = world.linked_with_history(alice);
    world.pass(30_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Following);
    // Bob writes before he hears of it: only the first device can read that.
    world.stop_server();
    world.start(bob);
    let chat = world.chat_id(bob, alice);
    for n in 0..5 {
        let texts = vec![Text { text: format!("unaware {n}"), ..Text::default() }];
        drop(world.begin(bob, |reply| ConversationCommand::Send { chat, texts, reply }));
    }
    world.settle();
    world.start_server();
    world.pass(700_000);
    world.say(bob, alice, "aware");
    world.pass(1_500_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Done);
    assert_same(&mut world, &[alice, laptop], bob);
    assert!(all(&mut world, laptop, bob).iter().any(|m| m.text == "unaware 4"));
}

#[test]
fn what_the_authors_have_sent_is_not_changed_by_a_copy() {
    let (mut world, alice, bob) = talkative(1260);
    let laptop = world.linked(alice);
    world.pass(30_000);
    let message = world.say(bob, alice, "what bob has said");
    world.pass(5_000);
    // The other device is a modified one: it says that bob has written something else.
    let forged = |world: &mut World, id: MessageId| {
        let chat = world.chat(alice, bob);
        world.modified(alice, |_, turn| {
            use crate::store::{EventRow, Reading, TIMELINE};
            let key = crate::events::key(chat, id.0);
            let row: EventRow = turn.get(TIMELINE, &key).unwrap().unwrap();
            let edited = Some("what bob has not said".to_owned());
            let row = EventRow { edited, edit_clock: u64::MAX, ..row };
            turn.put(TIMELINE, &key, &row).unwrap();
        });
    };
    forged(&mut world, message);
    let (device, source) = (world.of(laptop).device, world.of(alice).device);
    world.call(alice, |reply| HistoryCommand::Give(device, reply)).unwrap();
    assert!(world.of(laptop).live.contains(&TransientEvent::HistoryOffered(source)));
    world.call(laptop, |reply| HistoryCommand::Get(None, reply)).unwrap();
    world.pass(60_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Done);
    let got = all(&mut world, laptop, bob);
    assert_eq!(got.iter().find(|m| m.id == message).unwrap().text, "what bob has said");
    assert!(got.len() >= BEFORE);
}

#[test]
fn a_copy_begins_when_both_devices_want_it() {
    let (mut world, alice, bob) = talkative(1270);
    let laptop = world.linked(alice);
    world.pass(30_000);
    let (device, source) = (world.of(laptop).device, world.of(alice).device);
    assert_eq!(world.call(laptop, |reply| HistoryCommand::Get(None, reply)).unwrap(), source);
    world.pass(5_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Wished);
    assert_eq!(state(&mut world, alice).wishes, [device]);
    assert!(world.of(alice).live.contains(&TransientEvent::HistoryWished(device)));
    world.call(alice, |reply| HistoryCommand::Give(device, reply)).unwrap();
    world.pass(60_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Done);
    assert_same(&mut world, &[alice, laptop], bob);
    // An offer that nobody wants changes nothing, and a bot's is none.
    world.call(alice, |reply| HistoryCommand::Give(device, reply)).unwrap();
    world.pass(5_000);
    assert_eq!(phase(&mut world, laptop), CopyPhase::Done);
    let offer = HistoryMessage { grant: 5, step: Some(HistoryStep::Offer(Nothing {})) };
    let bob_device = world.of(bob).device;
    world.modified(bob, |engine, turn| engine.history().send(turn, bob_device, &offer).unwrap());
}

#[test]
fn a_copy_that_was_cancelled_does_not_go_on() {
    let (mut world, alice, bob) = talkative(1280);
    let laptop = world.linked_with_history(alice);
    while rows(&world, laptop, bob) < 20 {
        assert!(world.step());
    }
    drop(world.begin(laptop, HistoryCommand::Cancel));
    world.all_at_once(laptop);
    let had = rows(&world, laptop, bob);
    world.pass(60_000);
    world.kill(laptop);
    world.start(laptop);
    world.pass(60_000);
    assert!(rows(&world, laptop, bob) < had + 20);
    assert_eq!(permission(&mut world, alice, laptop), 0);
}
