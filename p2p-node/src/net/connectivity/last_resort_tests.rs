//! The way that is left where nothing but port 443 goes out.

use super::*;

/// A rendezvous of ours by the address that stands for all ways.
fn short_home(world: &mut World, n: u32, visit: Option<u64>) -> HomeId {
    let address: RendezvousAddr = format!("10.9.9.9/{}", peer(n)).parse().unwrap();
    let wanted = WantedHome { addresses: vec![address], own: true, visit, ..WantedHome::default() };
    world.input(Input::Homes(HashMap::from([(*device(n).as_bytes(), wanted)])));
    *device(n).as_bytes()
}

/// The dials under way, the oldest first, and whether each goes to port 443.
fn dials(world: &World) -> Vec<(DialId, bool)> {
    let is_web = |address: &Multiaddr| address.to_string().contains("/tcp/443/wss");
    world.dials.iter().map(|(dial, (_, addresses))| (*dial, addresses.iter().all(is_web))).collect()
}

fn kinds(world: &World) -> Vec<bool> {
    dials(world).into_iter().map(|(_, is_web)| is_web).collect()
}

fn fail(world: &mut World, dial: DialId, problem: ConnectionProblem) {
    let (peer, _) = world.dials.remove(&dial).unwrap();
    world.input(Input::DialFailed { peer: Some(peer), dial: Some(dial), problem });
}

fn problems(world: &World) -> Vec<ConnectionProblem> {
    let problem = |event: &NetEvent| if let NetEvent::HomeDown(_, problem) = event { Some(*problem) } else { None };
    world.told.iter().filter_map(problem).collect()
}

/// What was told of the server while it was still tried.
fn delays(world: &World) -> Vec<(ConnectionProblem, bool)> {
    let delay = |event: &NetEvent| match event {
        NetEvent::HomeDelayed { problem, last_resort, .. } => Some((*problem, *last_resort)),
        _ => None,
    };
    world.told.iter().filter_map(delay).collect()
}

#[test]
fn what_is_the_case_is_told_within_three_seconds_until_the_cause_is_known() {
    use ConnectionProblem::{Intercepted, NoAnswer, Refused};
    let dialled = |seed| {
        let mut world = World::new(seed);
        world.keep_dials = true;
        short_home(&mut world, 1, None);
        world
    };
    // Nothing answers.
    let mut world = dialled(11);
    world.pass(2 * SECOND);
    assert_eq!(delays(&world), []);
    world.pass(SECOND);
    assert_eq!(delays(&world), [(NoAnswer, true)]);
    let [(first, false), (web, true)] = dials(&world)[..] else { unreachable!() };
    fail(&mut world, first, NoAnswer);
    fail(&mut world, web, NoAnswer);
    assert_eq!(problems(&world), [NoAnswer]);
    // While it is tried again that stays, until something has changed.
    world.told.clear();
    world.pass(9 * SECOND);
    assert!(delays(&world).is_empty() && !dials(&world).is_empty());
    world.input(Input::NetworkChanged(NetworkChange::default()));
    world.pass(3 * SECOND);
    assert_eq!(delays(&world).len(), 1);

    // One way has failed at once, or something else answers in another.
    let mut world = dialled(12);
    let [(first, false)] = dials(&world)[..] else { unreachable!() };
    fail(&mut world, first, Refused);
    assert_eq!(delays(&world), [(Refused, true)]);
    let mut world = dialled(13);
    world.pass(3 * SECOND);
    let [_, (web, true)] = dials(&world)[..] else { unreachable!() };
    fail(&mut world, web, Intercepted);
    assert_eq!(delays(&world), [(NoAnswer, true), (Intercepted, false)]);

    // An address for one way.
    let mut world = World::new(14);
    world.keep_dials = true;
    world.home(9, true);
    world.pass(3 * SECOND);
    assert_eq!(delays(&world), [(NoAnswer, false)]);
    // Who is reached is not late.
    let mut world = dialled(15);
    let [(first, false)] = dials(&world)[..] else { unreachable!() };
    world.connect(1, false, Some(first));
    world.open_streams();
    world.pass(3 * SECOND);
    assert_eq!(delays(&world), []);
}

#[test]
fn what_leads_to_nothing_for_two_seconds_is_helped_by_port_443_and_that_is_remembered() {
    let mut world = World::new(1);
    world.keep_dials = true;
    let id = short_home(&mut world, 1, None);
    assert_eq!(kinds(&world), [false]);
    world.pass(SECOND * 19 / 10);
    assert_eq!(kinds(&world), [false]);
    world.pass(SECOND / 5);
    assert_eq!(kinds(&world), [false, true]);
    let [(first, _), (web, _)] = dials(&world)[..] else { unreachable!() };
    let connection = world.connect(1, false, Some(web));
    world.open_streams();
    assert!(world.net.has_session(&id));
    fail(&mut world, first, ConnectionProblem::NoAnswer);
    // Before it would be asked whether it is still there.
    world.pass(3 * SECOND);
    assert_eq!((kinds(&world), problems(&world)), (vec![], vec![]));

    world.disconnect(connection);
    world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Broken.into() });
    world.pass(SECOND);
    assert_eq!(kinds(&world), [false, true], "both at once");
}

#[test]
fn what_fails_is_followed_by_port_443_at_once_and_told_once_nothing_is_left() {
    let mut world = World::new(2);
    world.keep_dials = true;
    short_home(&mut world, 1, None);
    let [(first, false)] = dials(&world)[..] else { unreachable!() };
    fail(&mut world, first, ConnectionProblem::ProxyRefused);
    let [(web, true)] = dials(&world)[..] else { unreachable!() };
    assert_eq!(problems(&world), []);
    fail(&mut world, web, ConnectionProblem::Refused);
    assert_eq!(problems(&world), [ConnectionProblem::ProxyRefused]);

    // Another port does not help where there is no name or no network.
    world.pass(SECOND);
    let (first, _) = dials(&world)[0];
    world.told.clear();
    let before = kinds(&world);
    fail(&mut world, first, ConnectionProblem::NoSuchName);
    assert!(before == [false] && kinds(&world).is_empty(), "{before:?}, {:?}", kinds(&world));
    assert_eq!(problems(&world), [ConnectionProblem::NoSuchName]);
}

#[test]
fn what_answers_in_place_of_a_server_at_port_443_is_told_whichever_way_fails_last() {
    for is_web_last in [true, false] {
        let mut world = World::new(7);
        world.keep_dials = true;
        short_home(&mut world, 1, None);
        world.pass(3 * SECOND);
        let [(first, false), (web, true)] = dials(&world)[..] else { unreachable!() };
        let mut failures = [(first, ConnectionProblem::NoAnswer), (web, ConnectionProblem::Intercepted)];
        if !is_web_last {
            failures.reverse();
        }
        for (dial, problem) in failures {
            assert_eq!(problems(&world), []);
            fail(&mut world, dial, problem);
        }
        assert_eq!(problems(&world), [ConnectionProblem::Intercepted]);
    }
}

#[test]
fn a_web_site_at_port_443_is_not_taken_for_a_portal_where_the_server_refuses() {
    let mut world = World::new(8);
    world.keep_dials = true;
    short_home(&mut world, 1, None);
    world.pass(3 * SECOND);
    let [(first, false), (web, true)] = dials(&world)[..] else { unreachable!() };
    fail(&mut world, first, ConnectionProblem::Refused);
    fail(&mut world, web, ConnectionProblem::Intercepted);
    assert_eq!(problems(&world), [ConnectionProblem::Refused]);
}

#[test]
fn a_visit_that_has_come_by_another_way_leaves_nothing_to_be_dialled() {
    let mut world = World::new(9);
    world.keep_dials = true;
    let id = short_home(&mut world, 1, Some(7));
    world.pass(3 * SECOND);
    let [(first, false), (web, true)] = dials(&world)[..] else { unreachable!() };
    assert!(!world.net.is_past_visit(first) && !world.net.is_past_visit(web));
    world.dials.remove(&first);
    world.input(Input::Visiting { home: id, dial: first });
    // Its name was still being looked up: on a connection that is not the visit's own the server would learn who comes.
    assert!(world.net.is_past_visit(web));
}

#[test]
fn a_better_way_that_comes_first_makes_port_443_superfluous() {
    let mut world = World::new(3);
    world.keep_dials = true;
    let id = short_home(&mut world, 1, None);
    world.pass(3 * SECOND);
    let [(first, _), (web, _)] = dials(&world)[..] else { unreachable!() };
    let better = world.connect(1, false, Some(first));
    world.open_streams();
    let late = world.connect(1, false, Some(web));
    assert!(!world.open.contains_key(&late) && world.open.contains_key(&better));
    assert!(world.net.has_session(&id) && problems(&world).is_empty());
    assert!(world.opening_homes.is_empty());
    // A slow one that is better takes the session over all the same.
    let mut world = World::new(3);
    world.keep_dials = true;
    short_home(&mut world, 1, None);
    world.pass(3 * SECOND);
    let [(first, _), (web, _)] = dials(&world)[..] else { unreachable!() };
    let worse = world.connect(1, false, Some(web));
    world.open_streams();
    let better = world.connect(1, false, Some(first));
    assert!(!world.open.contains_key(&worse) && world.open.contains_key(&better));
}

#[test]
fn a_session_that_was_only_slow_moves_to_a_better_way_alone() {
    // A probe that is late has the server dialled; then the session answers.
    let slow = |world: &mut World, id: HomeId, time: Duration| {
        world.input(Input::AnswerDue(Subject::Home(id)));
        world.pass_with(4 * SECOND, &[1]);
        world.pass_with(time, &[]);
    };
    let mut world = World::new(6);
    world.keep_dials = true;
    let id = short_home(&mut world, 1, None);
    let [(first, _)] = dials(&world)[..] else { unreachable!() };
    let session = world.connect(1, false, Some(first));
    world.open_streams();
    slow(&mut world, id, 3 * SECOND);
    let [(spare, false)] = dials(&world)[..] else { panic!("{:?}", kinds(&world)) };
    let late = world.connect(1, false, Some(spare));
    assert!(world.open.contains_key(&session) && !world.open.contains_key(&late));

    let mut world = World::new(6);
    world.keep_dials = true;
    let id = short_home(&mut world, 1, None);
    world.pass(3 * SECOND);
    let [(first, _), (web, _)] = dials(&world)[..] else { unreachable!() };
    let session = world.connect(1, false, Some(web));
    world.open_streams();
    fail(&mut world, first, ConnectionProblem::NoAnswer);
    slow(&mut world, id, 2 * SECOND);
    let [(spare, false), (web, true)] = dials(&world)[..] else { panic!("{:?}", kinds(&world)) };
    let no_better = world.connect(1, false, Some(web));
    assert!(world.open.contains_key(&session) && !world.open.contains_key(&no_better));
    let better = world.connect(1, false, Some(spare));
    assert!(!world.open.contains_key(&session) && world.open.contains_key(&better));
}

#[test]
fn an_address_for_one_way_has_no_other() {
    let mut world = World::new(4);
    world.keep_dials = true;
    world.home(9, true);
    world.pass(10 * SECOND);
    assert_eq!(kinds(&world), [false]);
}

#[test]
fn a_visit_is_made_once_by_whichever_way_leads_there_first() {
    let mut world = World::new(5);
    world.keep_dials = true;
    let id = short_home(&mut world, 1, Some(1));
    world.pass(3 * SECOND);
    let [(first, _), (web, _)] = dials(&world)[..] else { unreachable!() };
    assert_eq!((world.net.visit_of(first), world.net.visit_of(web)), (Some(id), Some(id)));
    world.dials.remove(&web);
    world.input(Input::Visiting { home: id, dial: web });
    assert!(world.net.has_session(&id));
    assert_eq!(world.net.visit_of(first), None);
    world.dials.remove(&first);
    world.input(Input::DialFailed { peer: None, dial: Some(first), problem: ConnectionProblem::NotNeeded });
    assert!(world.net.has_session(&id) && problems(&world).is_empty());
}

#[test]
fn a_visit_that_came_by_port_443_is_made_by_it_alone_again_and_by_other_ways_if_that_fails() {
    for fails in [false, true] {
        let mut world = World::new(10);
        world.keep_dials = true;
        let id = short_home(&mut world, 1, Some(1));
        world.pass(3 * SECOND);
        let [(first, _), (web, _)] = dials(&world)[..] else { unreachable!() };
        world.dials.remove(&web);
        world.input(Input::Visiting { home: id, dial: web });
        fail(&mut world, first, ConnectionProblem::NoAnswer);
        world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Broken.into() });
        world.pass(SECOND);
        let [(web, true)] = dials(&world)[..] else { panic!("{:?}", kinds(&world)) };
        assert_eq!(world.net.visit_of(web), Some(id));
        world.told.clear();
        if fails {
            fail(&mut world, web, ConnectionProblem::NoAnswer);
            assert_eq!(kinds(&world), [false]);
        } else {
            world.pass(2 * SECOND);
            assert_eq!(kinds(&world), [true, false]);
        }
        assert_eq!(problems(&world), []);
    }
}

/// The session is over TCP, and does not answer any more after so long. Whether port 443 is dialled when a new connection is there.
fn dials_web_after_a_stall(world: &mut World, id: HomeId, after: Duration) -> bool {
    let over_tcp = |world: &mut World, dial| {
        let connection = Connection { id: world.number(), relayed: false };
        world.open.insert(connection.id, (peer(1), false));
        world.dials.remove(&dial);
        world.input(Input::ConnectionUp { peer: peer(1), connection, dial: Some(dial), datagrams: None });
    };
    let [(first, false)] = dials(world)[..] else { panic!("{:?}", kinds(world)) };
    over_tcp(world, first);
    world.open_streams();
    world.pass_with(after, &[]);
    // Over QUIC it was tried again.
    for (dial, _) in dials(world) {
        fail(world, dial, ConnectionProblem::NoAnswer);
    }
    world.input(Input::AnswerDue(Subject::Home(id)));
    world.pass_with(4 * SECOND, &[1]);
    let [(spare, false)] = dials(world)[..] else { panic!("{:?}", kinds(world)) };
    over_tcp(world, spare);
    world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Closed.into() });
    world.open_streams();
    let [(web, true)] = dials(world)[..] else { return false };
    over_tcp(world, web);
    assert_eq!(world.open.len(), 1, "the session moves to it, though nothing has stalled yet");
    true
}

/// A path that drops large packets lets the connection be made, and nothing long through: each session stalled as the one before.
#[test]
fn a_session_over_tcp_that_stalls_soon_goes_on_by_port_443_whose_packets_are_small() {
    for (after, expected) in [(SECOND, true), (180 * SECOND, false)] {
        let mut world = World::new(16);
        world.keep_dials = true;
        let id = short_home(&mut world, 1, None);
        assert_eq!(dials_web_after_a_stall(&mut world, id, after), expected, "{after:?}");
    }
}
