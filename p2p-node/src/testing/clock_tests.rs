//! Stamps that a member makes up: ahead of the time, to stay at the end, and behind it, to do what its time is over for.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_wire::{Body, Clock, Delete, Event, EventId, Text};

use super::world::{Who, World};
use crate::{
    api::types::MessageId,
    conversation::limits::MAX_HELD,
    events::limits::{DELETE_WINDOW_MS, MAX_DELETE_DELAY_MS},
    limits::MAX_CLOCK_AHEAD_MS,
};

const HOUR: u64 = 3_600_000;

/// `from` sends an event with a stamp of its choice into its conversation with `to`.
fn stamped(world: &mut World, from: Who, to: Who, clock: Clock, body: &Body) -> EventId {
    let (chat, device) = (world.chat(from, to), world.of(from).device.tag());
    let mut id = EventId::default();
    world.modified(from, |engine, _| {
        let state = engine.conversations.chats.get_mut(&chat).unwrap();
        state.row.last_sequence += 1;
        id = EventId { clock, device, sequence: state.row.last_sequence };
        state.pending.push(Event { id, body: body.clone() });
    });
    id
}

fn text(text: &str) -> Body {
    Body::Text(Text { text: text.into(), ..Text::default() })
}

fn texts(world: &mut World, who: Who, other: Who) -> Vec<String> {
    world.messages(who, other).into_iter().map(|m| m.text).collect()
}

/// Lets days pass at once.
fn jump(world: &mut World, ms: u64) {
    (world.now.wall_ms, world.now.steady_ms) = (world.now.wall_ms + ms, world.now.steady_ms + ms);
    world.pass(10_000);
}

#[test]
fn a_message_that_is_stamped_ahead_is_shown_when_it_is_due_and_in_its_place() {
    let mut world = World::new(960);
    let (alice, bob) = world.friends();
    let ahead = Clock::at(world.now.wall_ms + 3 * HOUR);
    stamped(&mut world, bob, alice, ahead, &text("from the future"));
    stamped(&mut world, bob, alice, Clock(u64::MAX), &text("at the end for ever"));
    world.say(alice, bob, "one");
    world.pass(1_000);
    assert_eq!(texts(&mut world, alice, bob), ["one"]);

    // It is kept, also by a node that starts again, and comes when its time has come.
    world.kill(alice);
    world.start(alice);
    world.pass(HOUR);
    world.say(alice, bob, "two");
    world.pass(2 * HOUR - MAX_CLOCK_AHEAD_MS - 60_000);
    assert_eq!(texts(&mut world, alice, bob), ["one", "two"]);
    world.pass(MAX_CLOCK_AHEAD_MS + 120_000);
    world.say(alice, bob, "three");
    assert_eq!(texts(&mut world, alice, bob), ["one", "two", "from the future", "three"]);
}

#[test]
fn a_member_makes_us_keep_a_bounded_number_of_messages_ahead_of_their_time() {
    let mut world = World::new(961);
    let (alice, bob) = world.friends();
    let (chat, device, ahead) = (world.chat(bob, alice), world.of(bob).device.tag(), world.now.wall_ms + HOUR);
    world.modified(bob, |engine, _| {
        let state = engine.conversations.chats.get_mut(&chat).unwrap();
        for n in 0..MAX_HELD as u64 + 10 {
            state.row.last_sequence += 1;
            let id = EventId { clock: Clock::at(ahead + n), device, sequence: state.row.last_sequence };
            state.pending.push(Event { id, body: text("spam") });
        }
    });
    world.pass(10_000);
    let chat = world.chat(alice, bob);
    world.modified(alice, |engine, _| {
        assert_eq!(engine.conversations.chats.get(&chat).unwrap().held.len(), MAX_HELD);
    });
}

#[test]
fn a_clock_that_is_ahead_is_not_followed() {
    let mut world = World::new(962);
    let (alice, bob) = world.friends();
    let ahead = Clock::at(world.now.wall_ms + MAX_CLOCK_AHEAD_MS + 60_000);
    stamped(&mut world, bob, alice, ahead, &text("in three minutes"));
    let MessageId(id) = world.say(alice, bob, "now");
    assert!(id.clock < Clock::at(world.now.wall_ms + 1_000), "who answers would be held, too");
    world.pass(1_000);
    assert!(texts(&mut world, bob, alice).contains(&"now".into()));
}

/// What of a message that is `age` old is left at Alice when its author deletes it with a stamp from within the window, having written
/// something after it, or not.
fn after_a_backdated_deletion(seed: u64, age: u64, wrote_since: bool) -> Vec<String> {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let MessageId(target) = world.say(bob, alice, "I owe you a hundred");
    world.pass(10_000);
    jump(&mut world, age);
    if wrote_since {
        world.say(bob, alice, "hello again");
        world.pass(10_000);
    }
    let within = Clock::at(target.clock.ms() + HOUR);
    stamped(&mut world, bob, alice, within, &Body::Delete(Delete { target }));
    world.pass(10_000);
    world.messages(alice, bob).into_iter().filter(|m| !m.deleted).map(|m| m.text).collect()
}

#[test]
fn a_deletion_that_is_dated_back_into_its_window_is_void() {
    let left = after_a_backdated_deletion(963, DELETE_WINDOW_MS + HOUR, true);
    assert_eq!(left, ["I owe you a hundred", "hello again"]);
    let left = after_a_backdated_deletion(964, MAX_DELETE_DELAY_MS + DELETE_WINDOW_MS, false);
    assert_eq!(left, ["I owe you a hundred"]);
    // As honest a deletion looks that was a day under way.
    assert!(after_a_backdated_deletion(965, 24 * HOUR, false).is_empty());
}

#[test]
fn nobody_writes_into_the_past_of_a_conversation() {
    let mut world = World::new(966);
    let (alice, bob) = world.friends();
    world.say(bob, alice, "one");
    world.pass(2 * HOUR);
    world.say(bob, alice, "two");
    world.pass(1_000);
    let past = Clock::at(world.now.wall_ms - HOUR);
    stamped(&mut world, bob, alice, past, &text("as I said before"));
    world.pass(1_000);
    assert_eq!(texts(&mut world, alice, bob), ["one", "two"]);
}

/// Alice's home shows another time from now on; bob has another home.
fn with_false_clock(seed: u64, ahead_ms: i64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    world.add_server();
    let (alice, bob) = world.friends_at(0, 1);
    world.pass(10_000);
    world.false_clock = Some((0, ahead_ms));
    world.stop_server();
    world.start_server();
    world.pass(10_000);
    (world, alice, bob)
}

const YEARS: i64 = 10 * 365 * 24 * HOUR as i64;

#[test]
fn a_home_with_a_clock_far_ahead_hides_what_is_written_for_a_day_at_most() {
    let (mut world, alice, bob) = with_false_clock(980, YEARS);
    world.say(alice, bob, "what time is it?");
    world.pass(60_000);
    world.false_clock = None;
    world.stop_server();
    world.start_server();
    jump(&mut world, 25 * HOUR);
    world.say(alice, bob, "and now?");
    world.pass(60_000);
    assert_eq!(texts(&mut world, bob, alice), ["what time is it?", "and now?"]);
}

#[test]
fn a_home_with_a_clock_far_behind_hides_nothing() {
    let (mut world, alice, bob) = with_false_clock(981, -YEARS);
    world.say(bob, alice, "what time is it?");
    world.pass(60_000);
    world.say(alice, bob, "late");
    world.pass(60_000);
    for (who, other) in [(alice, bob), (bob, alice)] {
        assert_eq!(texts(&mut world, who, other), ["what time is it?", "late"]);
    }
}

#[test]
fn a_clock_that_was_never_set_is_corrected_whatever_it_lacks() {
    let mut world = World::new(982);
    let (alice, bob) = world.friends();
    let right = world.now.wall_ms as i64;
    world.now.wall_ms = 3 * HOUR;
    world.false_clock = Some((0, right));
    world.stop_server();
    world.start_server();
    world.pass(10_000);
    let sent = world.say(alice, bob, "I was made today");
    assert!(sent.0.clock.ms() > right as u64);
}
