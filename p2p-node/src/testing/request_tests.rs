//! Contact requests: more than are kept.
#![allow(clippy::unwrap_used, reason = "tests")]

use starling_keys::{AccountId, AccountKey};

use super::world::{Who, World};
use crate::{engine::ContactCommand, meeting::limits::MAX_REQUESTS, store::RequestRow};

/// Somebody's request, as if it had come to `who` now.
fn arrives(world: &mut World, who: Who, from: usize, standing: u32) {
    let account = AccountKey::from_seed(blake3::hash(&from.to_le_bytes()).as_bytes()).id();
    world.modified(who, |engine, turn| {
        let row = RequestRow { body: Vec::new(), at_ms: turn.wall(), standing };
        engine.meeting().keep_request(turn, account, &row).unwrap();
    });
}

fn flood(world: &mut World, who: Who, from: std::ops::Range<usize>, every_ms: u64) {
    for n in from {
        arrives(world, who, n, 0);
        world.pass(every_ms);
    }
}

/// Those whose requests can be read.
fn shown(world: &mut World, who: Who) -> Vec<AccountId> {
    world.call(who, ContactCommand::Requests).unwrap().into_iter().map(|request| request.account).collect()
}

/// `from` asks `who` to become a contact, as anybody may who knows the address.
fn asks(world: &mut World, from: Who, who: Who) {
    let mut invite = world.invite(who);
    invite.token = None;
    drop(world.add(from, &invite));
    world.pass(10_000);
}

#[test]
fn a_flood_of_requests_pushes_none_out_that_came_by_itself() {
    let mut world = World::new(980);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| world.person(name));
    world.pass(5_000);
    asks(&mut world, bob, alice);
    flood(&mut world, alice, 0..MAX_REQUESTS + 1, 1_000);
    world.pass(60_000);
    asks(&mut world, carol, alice);
    // As many again, and slowly.
    flood(&mut world, alice, 1_000..1_000 + MAX_REQUESTS + 1, 5_000);
    let accounts = [bob, carol].map(|who| world.of(who).account);
    let shown = shown(&mut world, alice);
    for account in accounts {
        assert!(shown.contains(&account));
    }
}

#[test]
fn requests_for_which_something_speaks_give_way_last() {
    let mut world = World::new(981);
    let [alice, bob] = ["alice", "bob"].map(|name| world.person(name));
    world.pass(5_000);
    flood(&mut world, alice, 0..20, 100);
    // With an invite that is used up: in the midst of the flood.
    let invite = world.invite(alice);
    let carol = world.person("carol");
    drop(world.add(carol, &invite));
    world.pass(10_000);
    drop(world.add(bob, &invite));
    world.pass(10_000);
    flood(&mut world, alice, 100..100 + 2 * MAX_REQUESTS, 0);
    let account = world.of(bob).account;
    assert_eq!(shown(&mut world, alice), [account]);
    // Among themselves they go by the same rule.
    for n in 10_000..10_000 + MAX_REQUESTS + 1 {
        arrives(&mut world, alice, n, 1);
    }
    flood(&mut world, alice, 20_000..20_010, 0);
    assert_eq!(shown(&mut world, alice), [account]);
}
