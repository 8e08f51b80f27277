//! Calls whose front end dies, and calls whose microphone is held open.

use super::{
    engine_tests::{answer, connect, ring, setup, talk},
    world::{Treatment, Who, World},
};
use crate::{
    api::{
        problem::CallProblem,
        types::{CallEnded, CallSetup, TransientEvent},
    },
    call_media::{CallCommand, CallInput},
    calls::{
        AttendantId, CallRequest,
        limits::{CALL_RELAY_MS, CALL_SERVERS_MS, CALL_UNATTENDED_MS, MAX_RINGS, RINGS_MS},
    },
};
use starling_media::MediaError;
use starling_wire::{CallEnd, CallId, rendezvous::RequestBody};

fn attend(world: &mut World, who: Who, id: CallId, attendant: u64) {
    let attendant = AttendantId(attendant);
    world.call(who, |reply| CallRequest::Attend { id, attendant, reply }).unwrap();
}

fn leave(world: &mut World, who: Who, attendant: u64) {
    let attendant = AttendantId(attendant);
    drop(world.begin::<(), _>(who, |_| CallRequest::AttendantLeft(attendant)));
    world.settle();
}

fn count(world: &mut World, who: Who, command: &CallCommand) -> usize {
    world.of(who).calls.iter().filter(|c| *c == command).count()
}

#[test]
fn a_call_whose_front_end_dies_falls_silent_at_once_and_ends_after_a_while() {
    let mut world = World::new(90);
    let (alice, bob) = world.friends();
    let id = talk(&mut world, alice, bob);
    attend(&mut world, alice, id, 1);
    attend(&mut world, alice, id, 2);
    leave(&mut world, alice, 1);
    world.pass(2 * CALL_UNATTENDED_MS);
    assert_eq!(count(&mut world, alice, &CallCommand::Silence(id)), 0, "a screen attends it");
    leave(&mut world, alice, 2);
    world.pass(100);
    assert_eq!(count(&mut world, alice, &CallCommand::Silence(id)), 1);
    world.pass(CALL_UNATTENDED_MS);
    for who in [alice, bob] {
        assert_eq!(count(&mut world, who, &CallCommand::End(id)), 1);
    }
    assert_eq!(world.messages(bob, alice).last().unwrap().call.unwrap().why, CallEnd::HungUp);
}

#[test]
fn a_call_that_another_front_end_attends_in_time_goes_on() {
    let mut world = World::new(91);
    let (alice, bob) = world.friends();
    let id = talk(&mut world, alice, bob);
    attend(&mut world, alice, id, 1);
    leave(&mut world, alice, 1);
    world.pass(CALL_UNATTENDED_MS / 2);
    attend(&mut world, alice, id, 2);
    world.pass(2 * CALL_UNATTENDED_MS);
    assert_eq!(count(&mut world, alice, &CallCommand::End(id)), 0);
    assert_eq!(count(&mut world, alice, &CallCommand::Silence(id)), 1);
}

#[test]
fn a_ring_is_not_declined_by_a_front_end_that_only_looked_at_it() {
    let mut world = World::new(92);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    attend(&mut world, bob, id, 1);
    leave(&mut world, bob, 1);
    world.pass(CALL_UNATTENDED_MS + 1_000);
    let calls = world.call(bob, CallRequest::List).unwrap();
    assert_eq!(calls.len(), 1, "it still rings");
    world.call(bob, |reply| CallRequest::Answer { id, setup: setup(), reply }).unwrap();
}

#[test]
fn a_microphone_that_is_held_open_is_closed_when_nobody_holds_it_any_more() {
    let mut world = World::new(93);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    let hold =
        |world: &mut World, for_ms| world.call(alice, |reply| CallRequest::Talk { id, for_ms: Some(for_ms), reply });
    connect(&mut world, id, &[alice]);
    for _ in 0..5 {
        hold(&mut world, 500).unwrap();
        world.pass(300);
    }
    assert_eq!(count(&mut world, alice, &CallCommand::Microphone(id, false)), 0);
    world.pass(300);
    assert_eq!(count(&mut world, alice, &CallCommand::Microphone(id, false)), 1);
    // Switched on by hand meanwhile, it stays on.
    hold(&mut world, 500).unwrap();
    world.call(alice, |reply| CallRequest::Talk { id, for_ms: None, reply }).unwrap();
    world.pass(5_000);
    assert_eq!(count(&mut world, alice, &CallCommand::Microphone(id, false)), 1);
    assert!(world.call(bob, |reply| CallRequest::Talk { id, for_ms: Some(1), reply }).is_err());
}

/// Calls, and what becomes of it after a moment: `None` while it rings.
fn calls(world: &mut World, caller: Who, called: Who) -> (CallId, Option<CallEnd>) {
    let id = ring(world, caller, called);
    let live = std::mem::take(&mut world.of(caller).live);
    let end = live.iter().find_map(|event| match event {
        TransientEvent::Call(call) if call.id == id => call.end.as_ref().map(|end| end.why),
        _ => None,
    });
    (id, end)
}

#[test]
fn calls_that_are_answered_may_be_as_many_as_both_like() {
    let mut world = World::new(92);
    let (alice, bob) = world.friends();
    for _ in 0..2 * MAX_RINGS {
        let id = talk(&mut world, alice, bob);
        world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
        world.pass(1_000);
    }
    assert_eq!(calls(&mut world, alice, bob).1, None, "it rings");
}

#[test]
fn a_contact_who_rings_again_and_again_without_an_answer_finds_us_busy() {
    let mut world = World::new(93);
    let (alice, bob) = world.friends();
    for _ in 0..MAX_RINGS {
        let (id, end) = calls(&mut world, alice, bob);
        assert_eq!(end, None);
        world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
        world.pass(1_000);
    }
    world.of(bob).live.clear();
    assert_eq!(calls(&mut world, alice, bob).1, Some(CallEnd::Busy));
    assert!(!world.of(bob).live.iter().any(|event| matches!(event, TransientEvent::Call(_))), "it is not announced");
    world.pass(RINGS_MS);
    assert_eq!(calls(&mut world, alice, bob).1, None, "it rings again");
}

#[test]
fn what_is_wrong_with_a_call_here_is_not_told_to_the_other_side() {
    let mut world = World::new(94);
    let (alice, bob) = world.friends();
    let id = ring(&mut world, alice, bob);
    answer(&mut world, bob, id);
    let file = CallProblem::Media(MediaError::File("/home/bob/private.wav: no such file".into()));
    world.media(bob, CallInput::Broken(id, file.clone()));
    world.settle();
    let ended = |world: &mut World, who: Who| {
        world.of(who).live.iter().find_map(|event| match event {
            TransientEvent::Call(call) => call.end.clone(),
            _ => None,
        })
    };
    assert_eq!(ended(&mut world, bob), Some(CallEnded::by(CallEnd::Failed, file)));
    assert_eq!(ended(&mut world, alice), Some(CallEnd::Failed.into()));
}

#[test]
fn a_call_that_may_only_go_through_a_relay_waits_longer_for_one() {
    let mut world = World::new(93);
    let (alice, bob) = world.friends();
    let is_asked = |body: &RequestBody| matches!(body, RequestBody::TurnCredentials(_));
    world.treats = Some(Box::new(move |_, body| is_asked(body).then_some(Treatment::Silence)));
    let chat = world.chat(alice, bob);
    for (relay_only, waits) in [(false, CALL_SERVERS_MS), (true, CALL_RELAY_MS)] {
        let setup = CallSetup { relay_only, ..setup() };
        let id = world.call(alice, |reply| CallRequest::Start { chat, setup, reply }).unwrap();
        let has_begun = |world: &mut World| {
            let mut all = world.of(alice).calls.iter();
            all.any(|command| matches!(command, CallCommand::Start { leg, .. } if leg.call == id))
        };
        world.pass(waits - 300);
        assert!(!has_begun(&mut world), "{relay_only}");
        world.pass(600);
        assert!(has_begun(&mut world), "{relay_only}");
        world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
        world.settle();
    }
}
