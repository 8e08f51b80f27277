//! Visits in virtual time.

use super::*;

fn visited(world: &mut World, number: u64) -> HomeId {
    world.wanted_home(5, WantedHome { named: true, visit: Some(number), ..WantedHome::default() })
}

/// The dial of the visit that is to begin.
fn dial_of(world: &World, home: HomeId) -> DialId {
    *world.dials.keys().find(|dial| world.net.visit_of(**dial) == Some(home)).unwrap()
}

fn begin(world: &mut World, home: HomeId) {
    let dial = dial_of(world, home);
    world.dials.remove(&dial);
    world.input(Input::Visiting { home, dial });
    assert!(world.net.has_session(&home));
}

#[test]
fn a_visit_uses_no_connection_of_the_device_and_is_not_probed() {
    let mut world = World::new(1);
    world.connect(5, false, None);
    let id = visited(&mut world, 1);
    assert!(world.opening_homes.is_empty(), "the device is known there");
    begin(&mut world, id);
    world.connect(5, false, None);
    world.input(Input::Check);
    assert!(world.opening_homes.is_empty() && world.probes.is_empty());
}

#[test]
fn a_visit_ends_with_the_network_and_begins_again_in_the_next() {
    let mut world = World::new(2);
    let id = visited(&mut world, 1);
    begin(&mut world, id);
    world.input(Input::NetworkChanged(NetworkChange { rerouted: true, ..NetworkChange::default() }));
    assert!(!world.net.has_session(&id));
    assert!(matches!(world.told.last(), Some(NetEvent::HomeDown(home, _)) if *home == id));
    begin(&mut world, id);
    // Many changes make no more dials than the budget of early tries has.
    let before = world.log.len();
    for _ in 0..100 {
        world.input(Input::NetworkChanged(NetworkChange::default()));
        if world.dials.is_empty() {
            break;
        }
        begin(&mut world, id);
    }
    assert!(world.log.len() - before <= EARLY_TRIES as usize + 1, "{} dials", world.log.len() - before);
}

#[test]
fn the_next_visit_ends_the_one_before_and_a_late_one_is_none() {
    let mut world = World::new(3);
    let id = visited(&mut world, 1);
    let late = dial_of(&world, id);
    visited(&mut world, 2);
    assert_eq!(world.net.visit_of(late), None);
    world.input(Input::Visiting { home: id, dial: late });
    assert!(!world.net.has_session(&id));
    world.dials.remove(&late);
    world.input(Input::DialFailed { peer: None, dial: Some(late), problem: ConnectionProblem::NotNeeded });
    begin(&mut world, id);
    visited(&mut world, 3);
    assert!(!world.net.has_session(&id));
    begin(&mut world, id);
    world.wanted_home(5, WantedHome { named: true, ..WantedHome::default() });
    assert!(!world.net.has_session(&id), "the device has a session of its own");
}

/// The stream was taken for the visit's, so that what is asked there was asked under the key of the device.
#[test]
fn a_stream_of_the_device_that_opens_late_is_none_of_a_visit() {
    let mut world = World::new(4);
    world.connect(5, false, None);
    let id = world.wanted_home(5, WantedHome { named: true, ..WantedHome::default() });
    let [(_, connection)] = world.opening_homes[..] else { panic!("{:?}", world.opening_homes) };
    visited(&mut world, 1);
    world.input(Input::HomeOpened { home: id, connection });
    assert!(!world.net.has_session(&id));
    begin(&mut world, id);
    world.input(Input::HomeFailed { home: id, connection, problem: ConnectionProblem::Broken });
    assert!(world.net.has_session(&id), "nor does its failure end one");
}
