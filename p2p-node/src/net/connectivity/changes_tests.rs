//! Networks that change, machines that wake up, and interfaces that flap.

use super::*;

fn change() -> NetworkChange {
    NetworkChange {
        networks: vec![Network { address: "10.200.0.9".parse().unwrap(), prefix: 8 }],
        ..NetworkChange::default()
    }
}

impl World {
    /// With a session, and a stream to a device; their connections.
    fn with_both() -> (Self, HomeId, [ConnectionId; 2]) {
        let mut world = Self::with_targets(1, [1]);
        let home = world.home(9, false);
        let connections = [world.connect(9, false, None), world.connect(1, false, None)];
        world.open_streams();
        world.pass_with(60 * SECOND, &[]);
        world.log.clear();
        (world, home, connections)
    }

    fn change(&mut self, change: NetworkChange) {
        self.input(Input::NetworkChanged(change));
    }

    /// A session ends with its connection.
    fn break_session(&mut self, home: HomeId) {
        if self.net.has_session(&home) {
            self.input(Input::HomeEnded { home, left: ConnectionProblem::Broken.into() });
        }
        self.break_streams();
    }
}

#[test]
fn connections_from_an_address_that_is_gone_are_closed_and_replaced_at_once() {
    let (mut world, home, [server, contact]) = World::with_both();
    world.change(NetworkChange { gone: vec![server, contact], ..change() });
    assert!(world.open.is_empty());
    world.break_session(home);
    for n in [1, 9] {
        assert_eq!(world.dials_to(n).len(), 1, "dialled in the same moment");
    }
    let dial = *world.dials.iter().find(|(_, (to, _))| *to == peer(9)).unwrap().0;
    world.connect(9, false, Some(dial));
    world.open_streams();
    assert!(world.net.has_session(&home));
}

/// Nothing was written on the streams of both sides, so that neither noticed their end. Each heard on the LAN where the other one was, and went
/// on waiting for it on a connection that was closed.
#[test]
fn a_stream_that_nothing_is_written_on_ends_with_its_connection_and_the_device_is_dialled_where_it_is_found() {
    for last_is_first in [true, false] {
        let (mut world, _, [_, first]) = World::with_both();
        let last = world.connect(1, false, None);
        world.open_streams();
        assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(last));
        let gone = if last_is_first { vec![last, first] } else { vec![first, last] };
        world.change(NetworkChange { gone, ..change() });
        // One that was asked for on a connection before that was closed as well. No stream has reported its end.
        world.open_streams();
        assert_eq!(world.net.stream_of(&device(1)), None);
        assert_eq!(world.dials_to(1).len(), 1, "dialled in the same moment");
        let downs = world.told.iter().filter(|event| matches!(event, NetEvent::DirectDown(_))).count();
        assert_eq!(downs, 1);
        world.input(Input::Found { peer: peer(1), address: address(300) });
        assert_eq!(world.dials_to(1).len(), 2, "dialled there as soon as it is heard");
    }
}

#[test]
fn a_session_moves_to_the_new_path_and_the_old_connection_is_kept_until_then() {
    let (mut world, home, [server, contact]) = World::with_both();
    world.change(NetworkChange { moved: vec![server], ..change() });
    assert!(world.open.contains_key(&server) && world.open.contains_key(&contact));
    assert_eq!(world.dials_to(1).len(), 0, "its path is the same");
    let dial = *world.dials.iter().find(|(_, (to, _))| *to == peer(9)).unwrap().0;
    let new = world.connect(9, false, Some(dial));
    assert!(!world.open.contains_key(&server));
    world.break_session(home);
    world.open_streams();
    assert!(world.net.has_session(&home));
    assert!(world.open.contains_key(&new));
}

#[test]
fn after_a_suspension_everybody_is_probed_and_dialled_beside_the_old_connections() {
    let (mut world, ..) = World::with_both();
    world.probes.clear();
    world.change(NetworkChange { rerouted: true, ..change() });
    assert_eq!(world.probes.len(), 2);
    assert_eq!(world.open.len(), 2);
    assert_eq!((world.dials_to(1).len(), world.dials_to(9).len()), (1, 1));
}

#[test]
fn what_waits_for_its_next_try_is_tried_when_the_network_is_back() {
    let mut world = World::with_targets(6, [1]);
    world.home(9, false);
    world.pass(600 * SECOND);
    world.log.clear();
    world.change(change());
    assert_eq!((world.dials_to(1).len(), world.dials_to(9).len()), (1, 1));
}

#[test]
fn a_server_that_waits_for_its_next_try_is_tried_when_other_name_servers_are_asked() {
    let mut world = World::with_targets(8, [1]);
    world.home(9, false);
    world.pass(600 * SECOND);
    world.log.clear();
    world.input(Input::NamesChanged);
    assert_eq!((world.dials_to(1).len(), world.dials_to(9).len()), (0, 1), "there are no names of devices");
    // However often that is.
    for _ in 0..100 {
        world.fail_dials();
        world.input(Input::NamesChanged);
    }
    assert!(world.dials_to(9).len() <= EARLY_TRIES as usize + 1, "{}", world.dials_to(9).len());
}

#[test]
fn an_interface_that_flaps_ten_times_a_second_makes_bounded_work() {
    let (mut world, home, [server, contact]) = World::with_both();
    let mut open = vec![server, contact];
    let (mut probes, began) = (0, world.now);
    for tenth in 0..600_u32 {
        world.now = began + SECOND * tenth / 10;
        let networks = if tenth % 2 == 0 { vec![] } else { change().networks };
        world.change(NetworkChange { networks, gone: std::mem::take(&mut open), rerouted: true, ..change() });
        world.break_session(home);
        world.fail_dials();
        probes += world.probes.drain(..).count();
        // The server is reached every second, until the next change.
        if tenth % 10 == 5 {
            open.push(world.connect(9, false, None));
            world.open_streams();
        }
    }
    let budget = EARLY_TRIES as usize + 12;
    for n in [1, 9] {
        let dials = world.dials_to(n).len();
        assert!(dials <= 2 * budget, "{dials} dials to {n} in a minute");
    }
    assert!(probes <= 60, "{probes} probes in a minute");
}

#[test]
fn a_server_that_tests_whether_we_can_be_reached_leaves_one_connection() {
    let (mut world, home, [server, _]) = World::with_both();
    let back = world.connect(9, false, None);
    world.input(Input::ReachabilityTested(peer(9)));
    assert!(world.open.contains_key(&server) && !world.open.contains_key(&back));
    assert!(world.net.has_session(&home));
}

#[test]
fn who_is_away_is_left_alone_more_and_more_while_a_home_would_say_when_it_is_back() {
    let mut world = World::with_targets(7, [1]);
    world.home(9, true);
    world.connect(9, false, None);
    world.open_streams();
    world.pass_with(1_800 * SECOND, &[]);
    let before = world.dials_to(1).len();
    world.pass_with(24 * 3_600 * SECOND, &[]);
    let dials = world.dials_to(1).len() - before;
    assert!((4..=10).contains(&dials), "{dials} in a day");
    world.input(Input::Hint(device(1)));
    assert_eq!(world.dials_to(1).len() - before, dials + 1, "and at once when it is there");
    // Through a relay it is there, and a direct way is looked for as before.
    world.fail_dials();
    world.connect(1, true, None);
    world.open_streams();
    let before = world.dials_to(1).len();
    world.pass_with(3_600 * SECOND, &[]);
    let dials = world.dials_to(1).len() - before;
    assert!((5..=10).contains(&dials), "{dials} in an hour");
}

/// libp2p ends dials with the connections of a peer: the server was said to be “unreachable”, whatever was the matter, until the next dial had ended.
#[test]
fn a_rendezvous_that_is_given_up_goes_on_being_dialled() {
    let (mut world, home, _) = World::with_both();
    world.fail_dials();
    world.keep_dials = true;
    world.input(Input::AnswerDue(Subject::Home(home)));
    world.pass_with(25 * SECOND, &[9]);
    assert!(!world.open.values().any(|(to, _)| *to == peer(9)), "its connection is closed");
    assert!(world.dials.values().any(|(to, _)| *to == peer(9)) && world.disconnected.is_empty());
}
