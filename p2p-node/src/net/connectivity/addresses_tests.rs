//! Which addresses are used and told, in virtual time.

use super::*;

#[test]
fn addresses_on_the_lan_are_used_for_targets_alone_and_bounded() {
    let mut world = World::with_targets(15, [1]);
    world.fail_dials();
    for n in 0..100 {
        world.input(Input::Found { peer: peer(1), address: address(500 + n) });
        world.input(Input::Found { peer: peer(2), address: address(500 + n) });
    }
    world.fail_dials();
    world.pass(10 * SECOND);
    assert!(world.dials_to(2).is_empty());
    assert!(world.net.devices[&device(1)].direct_addresses(&world.net.reach).len() <= MAX_DIAL_ADDRESSES);
}

#[test]
fn addresses_that_others_name_lead_into_no_network_that_is_not_theirs_too() {
    let mut world = World::without_networks(70);
    let inside = Target {
        relays: vec![],
        addresses: vec![address(1), "/ip4/127.0.0.1/tcp/6379".parse().unwrap()],
        ..Target::default()
    };
    world.input(Input::Targets(HashMap::from([(device(1), inside)])));
    world.input(Input::Found { peer: peer(1), address: "/ip4/172.16.0.9/tcp/8080".parse().unwrap() });
    // The rendezvous of a contact.
    let id = world.home(9, false);
    world.pass(300 * SECOND);
    assert!(world.log.is_empty(), "something was dialled");
    assert!(matches!(world.told.last(), Some(NetEvent::HomeDown(home, _)) if *home == id));
    // One that the user has named is the user's choice: a device that joins its account has no home yet.
    world.named_home(9);
    world.pass(300 * SECOND);
    assert_eq!(world.log.last().map(|(_, peer)| *peer), Some(peer(9)));
    world.log.clear();
    // Our own home is our own choice, and a network that we come into is shared.
    world.home(9, true);
    world.pass(300 * SECOND);
    assert_eq!(world.log.last().map(|(_, peer)| *peer), Some(peer(9)));
    let networks = vec![Network { address: "10.200.0.1".parse().unwrap(), prefix: 8 }];
    world.input(Input::OwnAddresses { confirmed: vec![], listening: vec![], networks });
    let (_, dialled) = world.dials.values().find(|(to, _)| *to == peer(1)).expect("no dial");
    assert_eq!(dialled, &[address(1)]);
}

#[test]
fn loopback_addresses_are_told_only_beside_a_loopback_home() {
    let listening: Vec<Multiaddr> =
        ["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1"].map(|a| a.parse().unwrap()).into();
    let lan = OwnAddresses::choose(&[], &listening, std::iter::empty());
    assert_eq!(lan, OwnAddresses { all: vec![listening[1].clone()], public: false });
    let local: RendezvousAddr = format!("/ip4/127.0.0.1/tcp/4001/p2p/{}", peer(9)).parse().unwrap();
    let all = OwnAddresses::choose(&listening[1..], &listening, [&local].into_iter());
    assert_eq!(all, OwnAddresses { all: vec![listening[1].clone(), listening[0].clone()], public: true });
}

/// Calls between two programs of one machine were offered no path where the server was named by its short address or by IPv6.
#[test]
fn a_rendezvous_on_this_machine_is_known_by_each_form_of_its_address() {
    let peer = peer(1);
    for (address, expected) in [
        (format!("/ip4/127.0.0.2/tcp/4001/p2p/{peer}"), true),
        (format!("/ip6/::1/udp/4001/quic-v1/p2p/{peer}"), true),
        (format!("starling-server:127.0.0.1/{peer}"), true),
        (format!("starling-server:[::1]:4002/{peer}"), true),
        (format!("/ip4/192.0.2.127/tcp/4001/p2p/{peer}"), false),
        (format!("starling-server:localhost.example/{peer}"), false),
    ] {
        assert_eq!(is_loopback(&address.parse().unwrap()), expected, "{address}");
    }
}
