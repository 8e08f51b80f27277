//! What becomes of a device that its account has removed, and of what it was doing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use starling_wire::{CallEnd, CallId};

use crate::{
    api::types::{CallInfo, CallPhase},
    call_media::CallCommand,
    calls::CallRequest,
    engine::AccountCommand,
    testing::{
        engine_tests::{answer, connect, ring, talk},
        world::{Who, World},
    },
};

/// Alice with two devices, and bob.
fn three(seed: u64) -> (World, Who, Who, Who) {
    let mut world = World::new(seed);
    let (alice, bob) = world.friends();
    let laptop = world.linked(alice);
    world.pass(10_000);
    (world, alice, laptop, bob)
}

fn remove(world: &mut World, by: Who, device: Who) {
    let device = world.of(device).device;
    world.call(by, |reply| AccountCommand::RemoveDevice(device, reply)).unwrap();
}

fn phases(world: &mut World, who: Who) -> Vec<CallPhase> {
    world.call(who, CallRequest::List).unwrap().iter().map(|c: &CallInfo| c.phase).collect()
}

/// How somebody's newest call ended, and for how long people talked.
fn noted(world: &mut World, who: Who, other: Who) -> (CallEnd, u64) {
    let note = world.messages(who, other).last().unwrap().call.unwrap();
    (note.why, note.duration_ms)
}

#[test]
fn a_call_of_a_removed_device_ends_at_both_ends() {
    let (mut world, alice, laptop, bob) = three(920);
    let id = ring(&mut world, bob, laptop);
    answer(&mut world, laptop, id);
    connect(&mut world, id, &[laptop, bob]);
    world.pass(10_000);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    for who in [laptop, bob] {
        assert!(phases(&mut world, who).is_empty(), "{who}");
        assert!(world.of(who).calls.contains(&CallCommand::End(id)), "{who}");
    }
    assert!(world.call(alice, CallRequest::ListOnOtherDevices).unwrap().is_empty());
    for (who, to) in [(alice, bob), (bob, alice)] {
        let (why, duration) = noted(&mut world, who, to);
        assert_eq!(why, CallEnd::HungUp, "{who}");
        assert!((9_000..14_000).contains(&duration), "{who}: {duration}");
    }
}

#[test]
fn a_call_ends_though_the_removed_device_hears_nothing_of_it() {
    let (mut world, alice, laptop, bob) = three(921);
    let id = talk(&mut world, laptop, bob);
    world.kill(laptop);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    assert!(phases(&mut world, bob).is_empty());
    assert!(world.of(bob).calls.contains(&CallCommand::End(id)));
}

#[test]
fn a_ring_of_a_removed_device_stops() {
    let (mut world, alice, laptop, bob) = three(922);
    ring(&mut world, laptop, bob);
    assert_eq!(phases(&mut world, bob), [CallPhase::Ringing]);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    assert!(phases(&mut world, bob).is_empty());
}

#[test]
fn a_call_that_a_removed_device_has_handed_over_no_longer_rings() {
    let (mut world, alice, laptop, bob) = three(923);
    let id: CallId = talk(&mut world, bob, laptop);
    world.call(laptop, |reply| CallRequest::Transfer { id, to: None, reply }).unwrap();
    world.pass(500);
    assert_eq!(phases(&mut world, alice), [CallPhase::Ringing]);
    remove(&mut world, alice, laptop);
    world.pass(1_000);
    for who in [alice, laptop, bob] {
        assert!(phases(&mut world, who).is_empty(), "{who}");
    }
}
