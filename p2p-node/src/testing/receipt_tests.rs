//! What members of a group say that they have got and read: soon where little is written, seldom where much is, and sure in the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{Clock, rendezvous::RequestBody};

use super::world::{Who, World};
use crate::{
    api::types::{ChatId, DeliveryState, DurableEventKind},
    conversation::limits::ACKNOWLEDGING_ACCOUNTS,
    engine::ConversationCommand,
};

/// How many receipts, and how many other things, were appended to logs since it was last asked.
fn appended(world: &mut World) -> (usize, usize) {
    let asked = world.asked.replace(Vec::new()).unwrap_or_default();
    let appends = asked.into_iter().filter_map(|request| match request.body {
        Some(RequestBody::LogAppend(append)) => Some(append.receipt),
        _ => None,
    });
    let (receipts, others): (Vec<bool>, Vec<bool>) = appends.partition(|is_receipt| *is_receipt);
    (receipts.len(), others.len())
}

fn read(world: &mut World, who: Who, chat: ChatId, upto: Clock) {
    world.call(who, |reply| ConversationCommand::MarkRead { chat, upto, reply }).unwrap();
}

/// The states of somebody's own messages.
fn own_states(world: &World, who: Who, chat: ChatId) -> Vec<DeliveryState> {
    world.messages_in(who, chat).into_iter().filter(|m| m.own).map(|m| m.state).collect()
}

#[test]
fn what_sixteen_say_of_each_message_is_a_constant_share_of_what_is_written() {
    const MESSAGES: usize = 60;
    let mut world = World::new(1);
    let people = world.company(16);
    let chat = world.group_of(&people);
    world.pass(60_000);
    appended(&mut world);
    // Where nothing else is written the author soon knows that all have it. The first is a contact of each, the others are strangers.
    world.say_in(people[1], chat, "alone").unwrap();
    world.pass(1_500);
    assert_eq!(own_states(&world, people[1], chat), [DeliveryState::Delivered]);
    world.pass(60_000);
    let (receipts, _) = appended(&mut world);
    assert!(receipts < people.len(), "each says it once: {receipts}");
    // All write, five a second, and some read all the time.
    for n in 0..MESSAGES {
        let id = world.say_in(people[1 + n % 15], chat, &n.to_string()).unwrap();
        for who in &people[1..6] {
            read(&mut world, *who, chat, id.0.clock);
        }
        world.pass(200);
    }
    world.pass(15_000);
    let (receipts, others) = appended(&mut world);
    assert!(receipts <= MESSAGES, "{receipts} receipts");
    assert!(others <= MESSAGES + 4, "{others} other entries");
    for who in &people[1..] {
        let states = own_states(&world, *who, chat);
        assert!(states.iter().all(|state| matches!(state, DeliveryState::Delivered | DeliveryState::Read)), "{who}");
    }
    world.pass(60_000);
    assert_eq!(appended(&mut world).0, 0, "at rest nobody says anything");
}

#[test]
fn states_are_right_once_those_who_were_away_have_come_back() {
    let mut world = World::new(2);
    let people = world.company(5);
    let chat = world.group_of(&people);
    let (author, away) = (people[1], people[2]);
    world.pass(60_000);
    world.kill(away);
    world.pass(1_000);
    let id = world.say_in(author, chat, "one").unwrap();
    assert_eq!(own_states(&world, author, chat), [DeliveryState::Sent]);
    // It is in the log, and nobody has said yet that it is there.
    world.kill(author);
    world.pass(20_000);
    for who in [people[0], people[3], people[4]] {
        assert_eq!(world.texts_in(who, chat), ["one"]);
        read(&mut world, who, chat, id.0.clock);
    }
    world.pass(20_000);
    world.start(author);
    world.pass(10_000);
    assert_eq!(own_states(&world, author, chat), [DeliveryState::Sent], "one of them does not have it");
    world.start(away);
    world.pass(10_000);
    assert_eq!(own_states(&world, author, chat), [DeliveryState::Delivered]);
    read(&mut world, away, chat, id.0.clock);
    world.pass(10_000);
    assert_eq!(own_states(&world, author, chat), [DeliveryState::Read]);
}

#[test]
fn the_author_in_a_small_group_knows_within_a_second_who_has_a_message() {
    for count in 3..=5 {
        let mut world = World::new(3);
        let people = world.company(count);
        let chat = world.group_of(&people);
        world.pass(60_000);
        world.say_in(people[1], chat, "hello").unwrap();
        world.pass(900);
        assert_eq!(own_states(&world, people[1], chat), [DeliveryState::Delivered], "{count}");
    }
}

#[test]
fn what_a_home_did_not_take_for_a_while_is_said_after_that() {
    let mut world = World::new(4);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let (author, other) = (people[1], people[2]);
    world.pass(60_000);
    world.begin_modified(other, |engine, turn| {
        let id = engine.active_group(chat).unwrap();
        engine.conversations.groups.get_mut(&id).unwrap().append.retry_at = turn.now() + 10_000;
    });
    world.say_in(author, chat, "hello").unwrap();
    world.pass(5_000);
    assert_eq!(world.texts_in(other, chat), ["hello"]);
    assert_eq!(own_states(&world, author, chat), [DeliveryState::Sent]);
    world.pass(10_000);
    assert_eq!(own_states(&world, author, chat), [DeliveryState::Delivered]);
}

/// Whoever waits for *sent* waits for an event: it never came where a member was faster than the answer of the log.
#[test]
fn what_a_member_has_counts_as_sent_and_that_is_told() {
    let mut world = World::new(8);
    let people = world.company(3);
    let chat = world.group_of(&people);
    let [alice, bob, carol] = [people[0], people[1], people[2]];
    world.kill(carol);
    world.kill_server(0);
    world.say_in(alice, chat, "before the log says so").unwrap();
    assert_eq!(own_states(&world, alice, chat), [DeliveryState::Queued]);
    let bobs = world.of(bob).device;
    world.modified(alice, |engine, turn| {
        let (conversations, mut cx) = engine.conversing();
        let upto = conversations.chats.get(&chat).unwrap().row.last_sequence;
        conversations.acknowledged(turn, &mut cx, chat, bobs, (upto, Clock(0))).unwrap();
    });
    assert_eq!(own_states(&world, alice, chat), [DeliveryState::Sent]);
    let sent = |world: &World| {
        let events = world.durable_events(alice).into_iter();
        events.filter(|e| e.kind == DurableEventKind::State && e.state == DeliveryState::Sent).count()
    };
    assert_eq!(sent(&world), 1);
    world.revive_server(0);
    world.pass(30_000);
    assert_eq!(sent(&world), 1, "it is told once");
}

#[test]
fn in_a_large_group_a_message_is_not_answered_by_those_who_are_connected_either() {
    let mut world = World::new(9);
    let people = world.company(ACKNOWLEDGING_ACCOUNTS + 1);
    let chat = world.group_of(&people);
    world.pass(300_000);
    // The first is a contact of all the others.
    let (author, others) = (people[0], &people[1..]);
    let said = |world: &World| others.iter().map(|who| world.sent(*who)).sum::<u64>();
    let before = said(&world);
    world.say_in(author, chat, "hello").unwrap();
    world.pass(1_000);
    assert!(others.iter().all(|who| world.texts_in(*who, chat) == ["hello"]));
    let answers = said(&world) - before;
    assert!(answers < others.len() as u64 / 4, "{answers} answers of {}", others.len());
    assert_eq!(own_states(&world, author, chat), [DeliveryState::Sent]);
}
