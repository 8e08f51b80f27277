//! What is shown of peers that are connected and do not answer.

use starling_wire::Availability;

use super::world::{Who, World};
use crate::{
    api::{problem::HomeProblem, types::Status},
    engine::Command,
    net::{ConnectionProblem, NetEvent},
};

fn status(world: &mut World, who: Who) -> Status {
    world.call(who, Command::Status).unwrap()
}

#[test]
fn a_contact_whose_device_is_frozen_is_shown_as_away_until_it_answers_again() {
    let mut world = World::new(95);
    let (alice, bob) = world.friends();
    world.pass(1_000);
    let device = world.of(bob).device;
    assert_eq!(world.contact(alice, bob).unwrap().availability, Some(Availability::Online));
    assert_eq!(status(&mut world, alice).peers, (1, 0));
    world.tell(alice, NetEvent::DirectSilent(device, true));
    world.settle();
    let contact = world.contact(alice, bob).unwrap();
    // Its session at the rendezvous is still open, and counts as a reader there.
    assert_eq!((contact.availability, contact.relayed), (Some(Availability::Offline), None));
    assert_eq!(status(&mut world, alice).peers, (0, 0));
    world.tell(alice, NetEvent::DirectSilent(device, false));
    world.settle();
    let contact = world.contact(alice, bob).unwrap();
    assert_eq!((contact.availability, contact.relayed), (Some(Availability::Online), Some(false)));
}

#[test]
fn a_rendezvous_that_is_silent_is_not_shown_as_connected() {
    let mut world = World::new(96);
    let (alice, _) = world.friends();
    world.pass(1_000);
    assert!(status(&mut world, alice).homes.iter().all(|home| home.connected && home.registered));
    let home = world.home_id();
    world.tell(alice, NetEvent::HomeSilent(home, true));
    world.settle();
    let homes = world.call(alice, Command::CheckedStatus).unwrap().homes;
    assert!(homes.iter().all(|home| !home.connected && !home.registered), "{homes:?}");
}

/// `doctor` said that the clock was wrong after it had been set, until the rendezvous was connected again.
#[test]
fn how_far_the_clock_is_off_is_told_by_the_clock_as_it_is_now() {
    const HOUR_MS: u64 = 3_600_000;
    let mut world = World::new(94);
    let (alice, _) = world.friends();
    world.pass(1_000);
    let offset = |world: &mut World| status(world, alice).homes[0].clock_offset_ms;
    let before = offset(&mut world);
    world.now.wall_ms += HOUR_MS;
    assert_eq!(offset(&mut world), before - HOUR_MS as i64);
    world.now.wall_ms -= HOUR_MS;
    assert_eq!(offset(&mut world), before);
}

#[test]
fn what_is_known_of_a_rendezvous_that_is_still_tried_is_shown_until_the_cause_is() {
    use ConnectionProblem::{Broken, NoAnswer, Refused};
    let mut world = World::new(97);
    let (alice, _) = world.friends();
    world.pass(1_000);
    let home = world.home_id();
    let mut shown_after = |event| {
        world.tell(alice, event);
        world.settle();
        world.home_problem(alice)
    };
    let delayed = |problem, last_resort| NetEvent::HomeDelayed { home, problem, last_resort };
    let connecting = |problem, last_resort| Some(HomeProblem::Connecting { problem, last_resort });
    assert_eq!(shown_after(delayed(NoAnswer, false)), None, "it is connected");
    shown_after(NetEvent::HomeDown(home, Broken));
    assert_eq!(shown_after(delayed(NoAnswer, false)), connecting(NoAnswer, false));
    assert_eq!(shown_after(delayed(Refused, true)), connecting(Refused, true));
    assert_eq!(shown_after(NetEvent::HomeDown(home, Refused)), Some(Refused.into()));
    assert_eq!(shown_after(delayed(Refused, true)), Some(Refused.into()));
}

#[test]
fn who_leaves_does_not_wait_for_a_rendezvous_that_is_silent() {
    let mut world = World::new(98);
    let (alice, _) = world.friends();
    world.pass(1_000);
    let home = world.home_id();
    for silent in [false, true] {
        world.tell(alice, NetEvent::HomeSilent(home, silent));
        world.settle();
        let mut has_pending = None;
        world.begin_modified(alice, |engine, turn| {
            engine.account.snapshot_due = Some(turn.now());
            has_pending = Some(engine.flush(turn));
        });
        assert_eq!(has_pending, Some(!silent));
    }
}
