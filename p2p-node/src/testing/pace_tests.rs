//! A home that was asked too often, and says when it may be asked again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{cell::Cell, rc::Rc};

use starling_wire::rendezvous::{Refusal, Refused, RequestBody};

use super::world::{Treatment, Who, World};
use crate::{
    api::types::ChatId,
    limits::{MAX_RETRY_MS, RETRY_REFUSED_MS},
};

fn group(seed: u64) -> (World, [Who; 3], ChatId) {
    let mut world = World::new(seed);
    let people = world.company(3);
    let chat = world.group_of(&people);
    world.pass(60_000);
    (world, [people[0], people[1], people[2]], chat)
}

/// The next requests of a kind are refused, so many of them, until a time that the home says. Gives how many were.
fn refuse(world: &mut World, most: usize, retry_after_ms: u64, which: fn(&RequestBody) -> bool) -> Rc<Cell<usize>> {
    let refused = Rc::new(Cell::new(0));
    let count = refused.clone();
    world.treats = Some(Box::new(move |_, body| {
        if !which(body) || count.get() >= most {
            return None;
        }
        count.set(count.get() + 1);
        Some(Treatment::Refusal(Refused { reason: Refusal::RateLimited.into(), retry_after_ms, ..Refused::default() }))
    }));
    refused
}

fn is_append(body: &RequestBody) -> bool {
    matches!(body, RequestBody::LogAppend(append) if !append.receipt)
}

fn is_read(body: &RequestBody) -> bool {
    matches!(body, RequestBody::LogRead(_))
}

#[test]
fn what_is_refused_for_a_moment_goes_to_the_log_after_that_moment() {
    let (mut world, [_, bob, carol], chat) = group(71);
    let refused = refuse(&mut world, 1, 1_000, is_append);
    world.say_in(bob, chat, "one").unwrap();
    world.pass(500);
    assert_eq!((refused.get(), world.texts_in(carol, chat)), (1, Vec::new()));
    world.say_in(bob, chat, "two").unwrap();
    world.pass(1_500);
    assert_eq!(world.texts_in(carol, chat), ["one", "two"]);
}

#[test]
fn logs_whose_pages_are_refused_for_a_moment_are_read_after_that_moment() {
    let (mut world, [_, bob, carol], chat) = group(72);
    world.kill(carol);
    world.say_in(bob, chat, "one").unwrap();
    world.pass(5_000);
    let refused = refuse(&mut world, 2, 1_000, is_read);
    world.start(carol);
    world.pass(RETRY_REFUSED_MS - 1_000);
    assert_eq!((refused.get(), world.texts_in(carol, chat)), (2, vec!["one".to_owned()]));
}

#[test]
fn a_home_that_says_nonsense_is_asked_again_within_a_bounded_time() {
    let (mut world, [_, bob, carol], chat) = group(73);
    refuse(&mut world, 1, u64::MAX, is_append);
    world.say_in(bob, chat, "one").unwrap();
    world.pass(MAX_RETRY_MS + 5_000);
    assert_eq!(world.texts_in(carol, chat), ["one"]);
}

#[test]
fn a_home_that_refuses_everything_is_not_asked_in_a_loop() {
    let (mut world, [_, bob, _], chat) = group(74);
    let refused = refuse(&mut world, usize::MAX, 1, |body| is_append(body) || is_read(body));
    world.say_in(bob, chat, "one").unwrap();
    world.pass(60_000);
    assert!((5..40).contains(&refused.get()), "{} requests", refused.get());
}
