//! Calls whose path is dead: either end begins to repair it, and what they say about it does not wait for a stream that may be dead as well.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use starling_wire::{Body, Call, CallId, CallSignal, rendezvous::RequestBody};

use super::{
    engine_tests::{answer, leg, ring, talk},
    world::{Who, World},
};
use crate::{
    call_media::{CallCommand, CallInput},
    calls::limits::CALL_HASTE_MS,
    net::NetEvent,
};

/// How often a call's connection was made again.
fn again(world: &mut World, who: Who, id: CallId) -> usize {
    world.of(who).calls.iter().filter(|command| **command == CallCommand::Again(leg(id))).count()
}

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

/// It was waited for for 10 s.
#[test]
fn a_connection_in_the_making_is_made_again_at_once_if_either_end_has_lost_its_address() {
    for is_caller in [true, false] {
        let mut world = World::new(973);
        let (alice, bob) = world.friends();
        let id = ring(&mut world, alice, bob);
        answer(&mut world, bob, id);
        world.settle();
        assert_eq!(again(&mut world, alice, id), 0);
        let who = if is_caller { alice } else { bob };
        world.media(who, CallInput::Reconnect(leg(id)));
        world.settle();
        world.pass(CALL_HASTE_MS + 500);
        assert_eq!(again(&mut world, alice, id), 1);
        // A network that goes on changing leaves tries for when it has settled.
        for _ in 0..20 {
            world.media(who, CallInput::Reconnect(leg(id)));
            world.pass(200);
        }
        assert_eq!(again(&mut world, alice, id), 2);
        assert!(!world.of(alice).calls.contains(&CallCommand::End(id)));
    }
}

#[test]
fn an_offer_that_was_made_in_another_network_is_made_again_once_it_is_answered() {
    let mut world = World::new(974);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    world.media(alice, CallInput::Reconnect(leg(id)));
    world.pass(5_000);
    assert_eq!(again(&mut world, alice, id), 0, "it still rings");
    answer(&mut world, bob, id);
    world.settle();
    world.pass(500);
    assert_eq!(again(&mut world, alice, id), 1);
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
