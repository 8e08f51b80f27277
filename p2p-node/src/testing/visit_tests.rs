//! Visits: what other people's servers see of who asks them, and who leaves something there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;

use starling_wire::rendezvous::{Refusal, Refused, RequestBody};

use super::{
    servers::At,
    world::{Treatment, Who, World},
};
use crate::{
    api::types::ContactState,
    home::limits::{VISIT_MS, VISIT_REST_MS},
    limits::REACH_TIMEOUT_MS,
};

/// Two people with a server each.
fn strangers(seed: u64) -> (World, Who, Who) {
    let mut world = World::new(seed);
    world.add_server();
    let alice = world.person_at("alice", &[0]);
    let bob = world.person_at("bob", &[1]);
    (world, alice, bob)
}

/// The keys under which somebody has come to a server.
fn keys(world: &World, who: Who, at: At) -> Vec<[u8; 32]> {
    let of = world.seen.iter().filter(|(server, person, _)| *server == at && *person == who);
    of.map(|(_, _, key)| *key).collect()
}

/// Asks somebody to become a contact, who does not answer.
fn ask(world: &mut World, from: Who, to: Who) {
    let invite = world.invite(to);
    world.kill(to);
    let mut added = world.add(from, &invite);
    world.pass(5_000);
    added.try_recv().expect("no answer").unwrap();
}

#[test]
fn the_server_of_somebody_who_is_asked_does_not_see_who_asks() {
    let (mut world, alice, bob) = strangers(7_000);
    ask(&mut world, alice, bob);
    assert_eq!(world.appended.len(), 1, "nothing was left");
    let keys = keys(&world, alice, 1);
    assert!(!keys.is_empty(), "she was never there");
    assert!(!keys.contains(world.of(alice).device.as_bytes()), "her device's key was seen");
    world.pass(3_600_000);
    let later = self::keys(&world, alice, 1);
    assert_eq!(later, keys, "there was nothing more to do there");
    // It arrives all the same.
    world.start(bob);
    world.pass(5_000);
    assert_eq!(world.contact(bob, alice).unwrap().state, ContactState::Active);
}

#[test]
fn a_visit_is_about_one_account_and_each_has_a_key_of_its_own() {
    let (mut world, alice, bob) = strangers(7_001);
    let carol = world.person_at("carol", &[1]);
    let invites = [world.invite(bob), world.invite(carol)];
    world.kill(bob);
    world.kill(carol);
    let mut added: Vec<_> = invites.iter().map(|invite| world.add(alice, invite)).collect();
    world.pass(5_000);
    for answer in &mut added {
        answer.try_recv().expect("no answer").unwrap();
    }
    assert_eq!(world.appended.len(), 2);
    let keys = keys(&world, alice, 1);
    let different: BTreeSet<_> = keys.iter().collect();
    assert_eq!((keys.len(), different.len()), (2, 2));
}

#[test]
fn a_server_that_is_our_own_home_is_not_visited() {
    let mut world = World::new(7_002);
    let alice = world.person_at("alice", &[0]);
    let bob = world.person_at("bob", &[0]);
    world.befriend(alice, bob);
    let device = *world.of(alice).device.as_bytes();
    assert!(keys(&world, alice, 0).iter().all(|key| *key == device));
}

#[test]
fn a_server_that_never_answers_is_left_and_visited_again_under_another_key() {
    let (mut world, alice, bob) = strangers(7_003);
    let invite = world.invite(bob);
    world.treats = Some(Box::new(|at, _| (at == 1).then_some(Treatment::Silence)));
    let mut added = world.add(alice, &invite);
    world.pass(REACH_TIMEOUT_MS + 1_000);
    added.try_recv().expect("it waits for ever").unwrap_err();
    let visits = keys(&world, alice, 1).len();
    world.pass(600_000);
    assert_eq!(keys(&world, alice, 1).len(), visits, "nobody waits for anything there");
    // What is durable is tried again and again, and never for long.
    world.treats = None;
    ask(&mut world, alice, bob);
    world.start(bob);
    world.pass(5_000);
    assert_eq!(world.contact(bob, alice).unwrap().state, ContactState::Active);
}

#[test]
fn what_a_server_does_not_take_waits_and_each_visit_ends() {
    let (mut world, alice, bob) = strangers(7_004);
    let invite = world.invite(bob);
    let items = |at, ask: &RequestBody| at == 1 && matches!(ask, RequestBody::InboxAppend(_));
    world.treats = Some(Box::new(move |at, ask| items(at, ask).then_some(Treatment::Silence)));
    let mut added = world.add(alice, &invite);
    world.pass(5_000);
    added.try_recv().expect("no answer").unwrap();
    let before = keys(&world, alice, 1).len();
    let rounds = 10;
    world.pass(rounds * (VISIT_MS + VISIT_REST_MS));
    let visits = keys(&world, alice, 1);
    let begun = visits.len() - before;
    assert!((5..=usize::try_from(rounds).unwrap() + 1).contains(&begun), "{begun} visits");
    assert_eq!(visits.iter().collect::<BTreeSet<_>>().len(), visits.len(), "a key was used twice");
    world.treats = None;
    world.pass(2 * (VISIT_MS + VISIT_REST_MS));
    assert_eq!(world.contact(bob, alice).unwrap().state, ContactState::Active);
}

#[test]
fn a_server_that_is_away_holds_up_nobody_at_others() {
    let (mut world, alice, bob) = strangers(7_005);
    let other = world.add_server();
    let carol = world.person_at("carol", &[other]);
    let invites = [world.invite(bob), world.invite(carol)];
    world.kill_server(1);
    let mut lost = world.add(alice, &invites[0]);
    let mut added = world.add(alice, &invites[1]);
    world.pass(5_000);
    added.try_recv().expect("no answer").unwrap();
    assert_eq!(world.contact(alice, carol).unwrap().state, ContactState::Active);
    world.pass(REACH_TIMEOUT_MS);
    lost.try_recv().expect("it waits for ever").unwrap_err();
}

#[test]
fn an_inbox_that_is_full_holds_up_nobody_else_at_that_server() {
    let (mut world, alice, bob) = strangers(7_006);
    let carol = world.person_at("carol", &[1]);
    let invites = [world.invite(bob), world.invite(carol)];
    let full = world.of(bob).device;
    let busy = Refused { reason: Refusal::RateLimited.into(), retry_after_ms: 1_000, ..Refused::default() };
    world.treats = Some(Box::new(move |at, ask| match ask {
        RequestBody::InboxAppend(append) if at == 1 && append.device == full.as_bytes()[..] => {
            Some(Treatment::Refusal(busy.clone()))
        }
        _ => None,
    }));
    for invite in &invites {
        let mut added = world.add(alice, invite);
        world.pass(5_000);
        added.try_recv().expect("no answer").unwrap();
    }
    assert_eq!(world.contact(carol, alice).unwrap().state, ContactState::Active);
    world.treats = None;
    world.pass(60_000);
    assert_eq!(world.contact(bob, alice).unwrap().state, ContactState::Active);
}
