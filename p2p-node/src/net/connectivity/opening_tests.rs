//! Paths that die, and servers that say nothing, while a session is being opened.

use super::*;

/// A home to which there is a connection, and a stream on its way; nothing answers any more.
fn opening(seed: u64) -> (World, HomeId, ConnectionId) {
    let mut world = World::new(seed);
    world.keep_dials = true;
    let id = world.home(9, false);
    let dial = *world.dials.first_key_value().unwrap().0;
    let on = world.connect(9, false, Some(dial));
    assert_eq!(world.opening_homes, [(id, on)]);
    (world, id, on)
}

fn is_told_of_silence(world: &World) -> bool {
    world.told.iter().any(|event| matches!(event, NetEvent::HomeSilent(..)))
}

/// The session waited for 10 s for a stream that nobody answered.
#[test]
fn a_path_that_dies_while_the_session_is_opened_is_left_within_five_seconds() {
    let (mut world, id, old) = opening(41);
    world.pass_with(4 * SECOND, &[9]);
    let [&dial] = world.dials.keys().collect::<Vec<_>>()[..] else { panic!("{:?}", world.dials) };
    let new = world.connect(9, false, Some(dial));
    assert!(!world.open.contains_key(&old));
    assert!(world.opening_homes.contains(&(id, new)));
    world.open_streams();
    assert_eq!(world.net.session_on(&id), Some(new));
    // The stream that was asked for before has failed by now, which says nothing of this one.
    world.input(Input::HomeFailed { home: id, connection: old, problem: ConnectionProblem::Broken });
    assert!(world.net.has_session(&id) && world.open.contains_key(&new));
    assert!(!is_told_of_silence(&world), "there was no session to be silent");
}

#[test]
fn a_path_that_dies_before_the_greeting_is_left_as_well() {
    let (mut world, id, old) = opening(42);
    world.opening_homes.clear();
    world.input(Input::HomeOpened { home: id, connection: old });
    world.pass_with(4 * SECOND, &[9]);
    let [&dial] = world.dials.keys().collect::<Vec<_>>()[..] else { panic!("{:?}", world.dials) };
    let new = world.connect(9, false, Some(dial));
    assert!(!world.open.contains_key(&old));
    world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Broken.into() });
    world.open_streams();
    assert_eq!(world.net.session_on(&id), Some(new));
    assert!(!is_told_of_silence(&world));
}

#[test]
fn another_connection_that_there_is_already_is_used_once_the_first_does_not_answer() {
    let (mut world, id, old) = opening(43);
    let other = world.connect(9, false, None);
    assert_eq!(world.opening_homes, [(id, old)], "it may be answered yet");
    world.pass_without_answers(5 * SECOND, |on| on == old);
    assert!(world.opening_homes.contains(&(id, other)) && !world.open.contains_key(&old));
}

/// It was asked on the same connection again and again, for 10 s each time.
#[test]
fn a_server_that_accepts_and_says_nothing_is_dialled_again() {
    let (mut world, id, old) = opening(44);
    world.opening_homes.clear();
    world.input(Input::HomeOpened { home: id, connection: old });
    world.pass_with(10 * SECOND, &[]);
    assert!(world.dials.is_empty(), "its machine answers");
    world.input(Input::HomeEnded { home: id, left: ConnectionProblem::NoAnswer.into() });
    assert!(world.open.is_empty());
    world.pass_with(2 * SECOND, &[]);
    assert_eq!(world.dials.len(), 1);
    assert!(world.opening_homes.is_empty());
}

#[test]
fn who_has_greeted_owes_nothing() {
    let (mut world, id, _) = opening(45);
    world.open_streams();
    let before = world.probed;
    world.pass_with(3 * SECOND, &[]);
    assert_eq!(world.probed, before);
    assert!(world.net.has_session(&id));
}
