//! Calls whose path is dead: either end begins to repair it, and what they say about it does not wait for a stream that may be dead as well.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use starling_wire::{Body, Call, CallSignal, rendezvous::RequestBody};

use super::{
    engine_tests::{leg, talk},
    world::World,
};
use crate::{
    call_media::{CallCommand, CallInput},
    net::NetEvent,
};

#[test]
fn who_was_called_asks_for_a_new_offer_and_a_change_of_the_network_is_told_to_the_media() {
    let mut world = World::new(970);
    let (alice, bob) = world.friends();
    let id = talk(&mut world, alice, bob);
    world.tell(bob, NetEvent::NetworkChanged);
    world.settle();
    assert!(world.of(bob).calls.contains(&CallCommand::NetworkChanged(id)));
    assert!(!world.of(alice).calls.contains(&CallCommand::NetworkChanged(id)));
    world.media(bob, CallInput::Reconnect(leg(id)));
    world.settle();
    assert!(world.of(alice).calls.contains(&CallCommand::Reconnect(leg(id))));
    world.media(alice, CallInput::Offer(leg(id), 1, "on other addresses".into()));
    world.settle();
    assert!(world.of(bob).calls.contains(&CallCommand::Restart(leg(id), 1, "on other addresses".into())));
}

#[test]
fn who_is_not_in_the_call_asks_for_nothing() {
    let mut world = World::new(971);
    let (alice, bob) = world.friends();
    let id = talk(&mut world, alice, bob);
    let laptop = world.linked(bob);
    world.pass(10_000);
    let chat = world.chat(laptop, alice);
    world.modified(laptop, |engine, turn| {
        engine.views().announce(turn, chat, Body::Call(Call { id, signal: CallSignal::Reconnect }));
    });
    world.pass(10_000);
    assert!(!world.of(alice).calls.contains(&CallCommand::Reconnect(leg(id))));
}

#[test]
fn what_repairs_a_call_does_not_wait_for_a_stream_that_may_be_dead() {
    let mut world = World::new(972);
    let (alice, bob) = world.friends();
    let id = talk(&mut world, alice, bob);
    world.pass(10_000);
    world.asked = Some(Vec::new());
    world.media(bob, CallInput::Reconnect(leg(id)));
    world.pass(500);
    let asked = world.asked.take().unwrap();
    let appends = asked.iter().any(|request| matches!(request.body, Some(RequestBody::LogAppend(_))));
    assert!(appends, "only the stream was tried");
}
