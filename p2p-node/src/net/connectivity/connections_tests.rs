//! Which of several connections is used, in virtual time.

use super::*;

#[test]
fn the_newest_connection_wins() {
    let mut world = World::with_targets(7, [1]);
    let first = world.connect(1, false, None);
    world.open_streams();
    let second = world.connect(1, false, None);
    world.open_streams();
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(second));
    // The older one's end changes nothing.
    world.input(Input::StreamEnded { device: device(1), connection: Connection { id: first, relayed: false } });
    world.disconnect(first);
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(second));
    assert!(!world.told.iter().any(|event| matches!(event, NetEvent::DirectDown(_))));
}

/// Two devices meet; the first packet of one dial over TCP is lost, so that its connection comes a second after those over UDP, which is blocked
/// meanwhile. Who had dialled stayed on a connection that was dead, as that had the higher number: what the other device sent came at once, and
/// its acknowledgement went nowhere for eight seconds.
#[test]
fn both_ends_move_to_the_connection_that_comes_last_though_its_dial_began_before() {
    let (mut dialer, mut listener) = (World::with_targets(12, [1]), World::with_targets(13, [1]));
    dialer.keep_dials = true;
    let (&dial, _) = dialer.dials.first_key_value().unwrap();
    let slow = dialer.number();
    let dead = dialer.connect(1, false, None);
    assert!(slow < dead);
    listener.connect(1, false, None);
    for world in [&mut dialer, &mut listener] {
        world.open_streams();
        world.pass_without_answers(SECOND, |_| true);
    }
    dialer.input(Input::AnswerDue(Subject::Device(device(1))));
    let owed_since = dialer.now;
    dialer.connect_as(slow, 1, false, Some(dial));
    let came = listener.connect(1, false, None);
    for (world, living) in [(&mut listener, came), (&mut dialer, slow)] {
        while world.net.stream_of(&device(1)).map(|c| c.id) != Some(living) {
            world.open_streams();
            world.pass_without_answers(SECOND / 10, |on| on != living);
            assert!(
                world.now - owed_since <= SECOND / 2,
                "what is owed after {:?} still waits for a dead path",
                world.now - owed_since
            );
        }
    }
}

#[test]
fn a_direct_connection_that_has_come_after_one_through_the_relay_is_not_taken_for_dead() {
    let mut world = World::with_targets(14, [1]);
    world.keep_dials = true;
    let (&dial, _) = world.dials.first_key_value().unwrap();
    let direct = world.number();
    let relayed = world.connect(1, true, None);
    world.connect_as(direct, 1, false, Some(dial));
    world.open_streams();
    world.input(Input::StreamIn { device: device(1), connection: Connection { id: relayed, relayed: true } });
    assert!(world.open.contains_key(&direct));
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(direct));
}

#[test]
fn connections_beyond_four_are_closed_the_oldest_first_and_none_that_is_used() {
    let mut world = World::with_targets(11, [1]);
    let first = world.connect(1, false, None);
    world.open_streams();
    // It writes to us on the oldest one; ours moves to the newest.
    world.input(Input::StreamIn { device: device(1), connection: Connection { id: first, relayed: false } });
    let mut last = Vec::new();
    for n in 0..7 {
        last.push(world.connect(1, false, None));
        world.open_streams();
        assert!(world.open.len() <= peers::MAX_CONNECTIONS, "{n}");
    }
    assert_eq!(world.open.keys().copied().collect::<Vec<_>>(), [&[first], &last[4..]].concat());
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(last[6]));
    // The way through a relay may be the only one that lives.
    let relayed = world.connect(1, true, None);
    assert!(world.open.contains_key(&relayed) && world.open.len() <= peers::MAX_CONNECTIONS);
}

#[test]
fn a_stream_that_opens_late_on_an_older_connection_is_not_used() {
    let mut world = World::with_targets(8, [1]);
    let first = world.connect(1, false, None);
    let second = world.connect(1, false, None);
    assert_eq!(world.opening, [(device(1), first), (device(1), second)]);
    world.input(Input::StreamOpened {
        device: device(1),
        on: first,
        connection: Connection { id: first, relayed: false },
    });
    assert_eq!(world.net.stream_of(&device(1)), None);
    world.input(Input::StreamOpened {
        device: device(1),
        on: second,
        connection: Connection { id: second, relayed: false },
    });
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(second));
}

#[test]
fn a_direct_connection_replaces_a_relayed_one() {
    let mut world = World::with_targets(9, [1]);
    let relayed = world.connect(1, true, None);
    world.open_streams();
    assert_eq!(world.ups(1), [true]);
    let direct = world.connect(1, false, None);
    world.open_streams();
    assert_eq!(world.ups(1), [true, false]);
    assert!(!world.open.contains_key(&relayed), "DCUtR would keep it open");
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(direct));
    // A relayed one that comes later changes nothing.
    world.connect(1, true, None);
    world.open_streams();
    assert_eq!(world.ups(1), [true, false]);
}

#[test]
fn a_direct_path_is_looked_for_beside_a_relayed_one_ever_more_seldom() {
    let mut world = World::with_targets(10, [1]);
    world.fail_dials();
    world.connect(1, true, None);
    world.open_streams();
    let before = world.log.len();
    world.fail_dials();
    world.pass(600 * SECOND);
    let tries = world.log.len() - before;
    assert!((5..=14).contains(&tries), "{tries}");
}

#[test]
fn a_stream_through_the_relay_shows_that_the_direct_connection_is_dead() {
    let mut world = World::with_targets(11, [1]);
    let direct = world.connect(1, false, None);
    world.open_streams();
    let relayed = world.connect(1, true, None);
    world.input(Input::StreamIn { device: device(1), connection: Connection { id: relayed, relayed: true } });
    assert!(!world.open.contains_key(&direct));
    world.break_streams();
    world.open_streams();
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(relayed));
}

#[test]
fn a_relayed_connection_is_used_as_soon_as_the_direct_one_is_closed() {
    let mut world = World::with_targets(18, [1]);
    let direct = world.connect(1, false, None);
    world.open_streams();
    let relayed = world.connect(1, true, None);
    world.disconnect(direct);
    world.open_streams();
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(relayed));
}

#[test]
fn a_device_is_not_said_to_be_gone_while_its_stream_moves_from_a_connection_that_is_closed() {
    let mut world = World::with_targets(19, [1]);
    let relayed = world.connect(1, true, None);
    world.open_streams();
    let direct = world.connect(1, false, None);
    // It has moved before us, and closes what it needs no more.
    world.disconnect(relayed);
    world.open_streams();
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(direct));
    assert_eq!(world.ups(1), [true, false]);
    assert!(!world.told.iter().any(|event| matches!(event, NetEvent::DirectDown(_))));
}

#[test]
fn relays_are_dialled_through_only_while_they_are_connected() {
    let mut world = World::new(12);
    let id = world.home(9, false);
    let (_, relay) = home(9);
    world.input(Input::Targets(HashMap::from([(
        device(1),
        Target { relays: vec![relay], addresses: vec![], ..Target::default() },
    )])));
    assert!(world.dials_to(1).is_empty());
    let dial = *world.dials.first_key_value().unwrap().0;
    world.connect(9, false, Some(dial));
    world.open_streams();
    assert!(world.net.has_session(&id));
    let (_, addresses) = world.dials.values().next().unwrap();
    assert!(addresses.iter().all(is_circuit));
    assert_eq!(world.dials_to(1).len(), 1);
}

/// Its waits were never short again: after some changes of the network one that was refused left a device out of reach for two minutes.
#[test]
fn a_reservation_that_has_lasted_is_made_again_soon_however_often_others_were_lost() {
    let mut world = World::new(13);
    world.home(9, true);
    let dial = *world.dials.first_key_value().unwrap().0;
    world.connect(9, false, Some(dial));
    world.open_streams();
    for _ in 0..10 {
        world.pass_with(600 * SECOND, &[]);
        // The one that follows at once is refused.
        for within in [Duration::ZERO, SECOND] {
            let [(_, listener)] = world.listeners[..] else { panic!("{:?}", world.listeners) };
            world.listeners.clear();
            world.input(Input::ListenerClosed(listener));
            world.pass_with(within, &[]);
            assert_eq!(world.listeners.len(), 1);
        }
    }
}

/// Behind a proxy that cuts connections after a minute, a client of a large server was away for half a minute after each.
#[test]
fn a_session_that_is_cut_again_is_no_server_that_has_died() {
    for (run, lasts, expected) in [(7, 60, true), (8, 60, false), (0, 60, false), (7, 600, false)] {
        let mut world = World::new(17);
        let home = world.home(9, false);
        for (run, lasts) in [(if run == 0 { 0 } else { 7 }, 1), (run, lasts)] {
            while world.dials.is_empty() {
                world.now = world.net.next_deadline().unwrap();
                world.input(Input::Tick);
            }
            let (&dial, _) = world.dials.first_key_value().unwrap();
            let connection = world.connect(9, false, Some(dial));
            world.open_streams();
            world.pass_with(lasts * SECOND, &[]);
            world.disconnect(connection);
            let left = Left { retry_window: 60 * SECOND, run, ..Left::from(ConnectionProblem::Broken) };
            world.input(Input::HomeEnded { home, left });
        }
        assert_eq!(!world.dials.is_empty(), expected, "{run}, {lasts} s");
    }
}
