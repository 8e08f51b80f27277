//! QUIC is tried again where a session goes over TCP.

use super::*;

/// With a home by the address that stands for all ways, and a session over TCP; that is in `world.open`.
fn over_tcp(seed: u64) -> (World, HomeId) {
    let mut world = World::new(seed);
    world.keep_dials = true;
    let address: RendezvousAddr = format!("10.9.9.9/{}", peer(1)).parse().unwrap();
    let wanted = WantedHome { addresses: vec![address], own: true, ..WantedHome::default() };
    let id = *device(1).as_bytes();
    world.input(Input::Homes(HashMap::from([(id, wanted)])));
    let (&dial, _) = world.dials.first_key_value().unwrap();
    comes_over_tcp(&mut world, dial);
    world.open_streams();
    assert!(world.net.has_session(&id));
    world.log.clear();
    (world, id)
}

fn comes_over_tcp(world: &mut World, dial: DialId) {
    let connection = Connection { id: world.number(), relayed: false };
    world.open.insert(connection.id, (peer(1), false));
    world.dials.remove(&dial);
    world.input(Input::ConnectionUp { peer: peer(1), connection, dial: Some(dial), datagrams: None });
}

/// When the server was dialled, in seconds.
fn seconds(world: &World, since: Instant) -> Vec<u64> {
    world.log.iter().map(|(at, _)| (*at - since).as_secs()).collect()
}

#[test]
fn a_session_over_tcp_moves_to_quic_once_that_answers() {
    let (mut world, id) = over_tcp(31);
    let old = *world.open.first_key_value().unwrap().0;
    world.pass_with(11 * SECOND, &[]);
    let [(&dial, (_, addresses))] = world.dials.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", world.dials) };
    assert!(matches!(&addresses[..], [address] if address.to_string().contains("/quic-v1")), "{addresses:?}");
    let new = world.connect(1, false, Some(dial));
    assert!(!world.open.contains_key(&old) && world.open.contains_key(&new));
    world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Closed.into() });
    world.open_streams();
    assert_eq!(world.net.session_on(&id), Some(new));
    world.log.clear();
    world.pass_with(3_600 * SECOND, &[]);
    assert!(world.log.is_empty(), "there is nothing to be tried");
}

#[test]
fn where_udp_is_blocked_it_is_tried_ever_more_seldom_until_the_network_changes() {
    let (mut world, id) = over_tcp(32);
    world.keep_dials = false;
    let began = world.now;
    world.pass_with(2_000 * SECOND, &[]);
    assert_eq!(seconds(&world, began), [10, 70, 670, 1270, 1870]);
    assert!(world.net.has_session(&id));
    assert!(!world.told.iter().any(|event| matches!(event, NetEvent::HomeDown(..) | NetEvent::HomeDelayed { .. })));
    world.log.clear();
    let changed = world.now;
    let networks = vec![Network { address: "10.200.0.9".parse().unwrap(), prefix: 8 }];
    world.input(Input::NetworkChanged(NetworkChange { networks, ..NetworkChange::default() }));
    world.pass_with(100 * SECOND, &[]);
    assert_eq!(seconds(&world, changed), [10, 70]);
}

#[test]
fn sessions_that_are_cut_again_and_again_make_no_more_tries() {
    let (mut world, id) = over_tcp(33);
    let began = world.now;
    for _ in 0..40 {
        world.pass_with(45 * SECOND, &[]);
        // All dials of this time were over QUIC, and have failed.
        world.keep_dials = false;
        world.fail_dials();
        world.keep_dials = true;
        let session = *world.open.first_key_value().unwrap().0;
        world.disconnect(session);
        world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Broken.into() });
        while world.dials.is_empty() {
            world.now = world.net.next_deadline().unwrap();
            world.input(Input::Tick);
        }
        let (&dial, _) = world.dials.first_key_value().unwrap();
        comes_over_tcp(&mut world, dial);
        world.open_streams();
    }
    let tries = world.log.len() - 40;
    assert!((3..=6).contains(&tries), "{tries} in {:?}", world.now - began);
}

#[test]
fn a_session_by_port_443_moves_as_well() {
    let (mut world, id) = over_tcp(34);
    // It breaks, and nothing but port 443 goes out.
    let session = *world.open.first_key_value().unwrap().0;
    world.disconnect(session);
    world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Broken.into() });
    world.pass_with(3 * SECOND, &[]);
    let [(&first, _), (&web, _)] = world.dials.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", world.dials) };
    comes_over_tcp(&mut world, web);
    world.open_streams();
    world.dials.remove(&first);
    world.input(Input::DialFailed { peer: Some(peer(1)), dial: Some(first), problem: ConnectionProblem::NoAnswer });
    world.pass_with(11 * SECOND, &[]);
    let [&dial] = world.dials.keys().collect::<Vec<_>>()[..] else { panic!("{:?}", world.dials) };
    let new = world.connect(1, false, Some(dial));
    assert_eq!(world.open.keys().copied().collect::<Vec<_>>(), [new]);
}
