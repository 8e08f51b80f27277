//! The emoji of calls, and what somebody in between may try.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_wire::{Body, Call, CallEnd, CallId, CallSignal, SasCommitment};

use super::{
    engine_tests::{answer, leg, ring, setup},
    world::{Who, World},
};
use crate::{
    api::{
        problem::CallProblem,
        types::{CallInfo, CallPhase},
    },
    call_media::{CallCommand, CallInput, Fingerprints},
    calls::{CallRequest, limits::CALL_REVEAL_MS},
};

const OFFER: &str = "v=0\r\na=fingerprint:sha-256 AA:AA\r\n";
const ANSWER: &str = "v=0\r\na=fingerprint:sha-256 BB:BB\r\n";
const OTHER: &str = "v=0\r\na=fingerprint:sha-256 CC:CC\r\n";

fn calls(world: &mut World, who: Who) -> Vec<CallInfo> {
    world.call(who, CallRequest::List).unwrap()
}

/// Sends a signal that our program would not.
fn inject(world: &mut World, from: Who, to: Who, id: CallId, signal: CallSignal) {
    let chat = world.chat(from, to);
    world.modified(from, |engine, turn| {
        engine.views().announce(turn, chat, Body::Call(Call { id, signal }));
    });
}

/// `mallory` rings at `alice` with a program of her own, and is answered.
fn rung_by_a_modified_program(
    world: &mut World,
    mallory: Who,
    alice: Who,
    commitment: Option<SasCommitment>,
) -> CallId {
    let id = CallId([0x77; 16]);
    inject(world, mallory, alice, id, CallSignal::Ring { video: false, offer: OFFER.into(), commitment });
    world.call(alice, |reply| CallRequest::Answer { id, setup: setup(), reply }).unwrap();
    world.pass(100);
    world.media(alice, CallInput::Answer(leg(id), ANSWER.into()));
    id
}

fn certificates(of: [&str; 2]) -> Fingerprints {
    of.map(|pair| format!("SHA-256 {pair}:{pair}")).into()
}

fn connect(world: &mut World, who: Who, id: CallId) {
    world.media(who, CallInput::Connected(leg(id), certificates(["AA", "BB"])));
}

/// How the last call of a conversation ended for somebody.
fn ended(world: &mut World, who: Who, other: Who) -> CallEnd {
    assert_eq!(calls(world, who).len(), 0, "the call goes on");
    world.messages(who, other).last().unwrap().call.unwrap().why
}

#[test]
fn both_ends_see_the_same_emoji_and_others_in_the_next_call() {
    let mut world = World::new(940);
    let (alice, bob) = world.friends();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let id = ring(&mut world, alice, bob);
        answer(&mut world, bob, id);
        for who in [alice, bob] {
            world.media(who, CallInput::Connected(leg(id), Fingerprints::new()));
        }
        let [a, b] = [alice, bob].map(|who| calls(&mut world, who).remove(0).emoji);
        assert_eq!(a.split(' ').count(), 6);
        assert_eq!(a, b);
        seen.push(a);
        world.call(alice, |reply| CallRequest::HangUp { id, text: String::new(), reply }).unwrap();
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn a_caller_who_picks_the_nonce_after_the_answer_is_found_out() {
    let mut world = World::new(941);
    let (alice, mallory) = world.friends();
    let id = rung_by_a_modified_program(&mut world, mallory, alice, Some([1; 32]));
    connect(&mut world, alice, id);
    assert_eq!(calls(&mut world, alice)[0].emoji, "", "nothing to compare before the caller has kept the word");
    inject(&mut world, mallory, alice, id, CallSignal::Reveal { nonce: [9; 32], to: None });
    assert_eq!(ended(&mut world, alice, mallory), CallEnd::Insecure);
    assert!(world.of(alice).calls.contains(&CallCommand::End(id)));
}

#[test]
fn a_certificate_that_was_not_in_the_offer_ends_the_call() {
    let mut world = World::new(942);
    let (alice, mallory) = world.friends();
    let restart = CallSignal::Restart { number: 1, offer: OTHER.into() };
    let id = rung_by_a_modified_program(&mut world, mallory, alice, Some([1; 32]));
    inject(&mut world, mallory, alice, id, restart);
    assert_eq!(ended(&mut world, alice, mallory), CallEnd::Insecure);
    let taken = |c: &CallCommand| matches!(c, CallCommand::Restart(..));
    assert!(!world.of(alice).calls.iter().any(taken), "no media with it");
}

#[test]
fn a_connection_with_a_certificate_of_nobodys_ends_the_call() {
    let mut world = World::new(943);
    let (alice, mallory) = world.friends();
    let id = rung_by_a_modified_program(&mut world, mallory, alice, Some([1; 32]));
    world.media(alice, CallInput::Connected(leg(id), certificates(["BB", "CC"])));
    assert_eq!(ended(&mut world, alice, mallory), CallEnd::Insecure);
}

#[test]
fn a_caller_of_an_older_version_is_heard_without_emoji_and_the_user_knows_why() {
    let mut world = World::new(944);
    let (alice, bob) = world.friends();
    let id = rung_by_a_modified_program(&mut world, bob, alice, None);
    connect(&mut world, alice, id);
    let call = calls(&mut world, alice).remove(0);
    assert_eq!((call.phase, call.emoji.as_str()), (CallPhase::Connected, ""));
    assert_eq!(call.trouble, Some(CallProblem::OldVersion));
}

#[test]
fn a_caller_who_reveals_nothing_is_pointed_out() {
    let mut world = World::new(945);
    let (alice, mallory) = world.friends();
    let id = rung_by_a_modified_program(&mut world, mallory, alice, Some([1; 32]));
    connect(&mut world, alice, id);
    assert_eq!(calls(&mut world, alice)[0].trouble, None);
    world.pass(CALL_REVEAL_MS + 1);
    let call = calls(&mut world, alice).remove(0);
    assert_eq!((call.phase, call.emoji.as_str()), (CallPhase::Connected, ""));
    assert_eq!(call.trouble, Some(CallProblem::NotRevealed));
}
