//! Members with whom there is nothing but gossip, in virtual time.

use super::{
    members::{ENOUGH_MEMBERS, MAX_MEMBER_DIALS},
    *,
};

/// So many members of one group, and nothing else.
fn members(count: u32) -> HashMap<DeviceId, Target> {
    let of_group = |n| Target { groups: BTreeSet::from([[1; 16]]), gossip_only: true, ..target(n) };
    (1..=count).map(|n| (device(n), of_group(n))).collect()
}

#[test]
fn a_few_members_are_dialled_at_a_time_and_none_once_enough_are_there() {
    let mut world = World::new(1);
    world.keep_dials = true;
    world.input(Input::Targets(members(40)));
    world.pass(SECOND);
    assert_eq!(world.dials.len(), MAX_MEMBER_DIALS);
    for n in 1..=ENOUGH_MEMBERS as u32 {
        let dial = world.dials.iter().find(|(_, (to, _))| *to == peer(n)).map(|(dial, _)| *dial);
        world.connect(n, false, dial);
    }
    assert!(world.opening.is_empty(), "there is no stream to them");
    world.keep_dials = false;
    world.fail_dials();
    let before = world.log.len();
    world.pass(SECOND * 600);
    assert_eq!(world.log.len(), before, "no more are needed");
    // Once some have gone others are tried.
    let gone: Vec<ConnectionId> = world.open.keys().take(3).copied().collect();
    gone.into_iter().for_each(|id| world.disconnect(id));
    world.pass(SECOND * 120);
    let tried: BTreeSet<PeerId> = world.log[before..].iter().map(|(_, peer)| *peer).collect();
    assert!(tried.len() > 10, "{}", tried.len());
}

#[test]
fn a_member_has_no_stream_until_it_is_a_contact_and_none_after_that() {
    let mut world = World::new(2);
    world.input(Input::Targets(members(1)));
    world.connect(1, false, None);
    assert!(!world.net.admits(&device(1)) && world.opening.is_empty());
    world.targets([1]);
    world.open_streams();
    assert!(world.net.admits(&device(1)));
    assert!(world.net.stream_of(&device(1)).is_some());
    world.input(Input::Targets(members(1)));
    assert!(!world.net.admits(&device(1)) && world.net.stream_of(&device(1)).is_none());
    assert!(world.open.is_empty(), "what was opened for a contact is closed");
}

#[test]
fn a_relayed_connection_to_a_member_gives_way_to_a_direct_one() {
    let mut world = World::new(3);
    world.input(Input::Targets(members(1)));
    world.connect(1, true, None);
    let direct = world.connect(1, false, None);
    assert_eq!(world.open.keys().copied().collect::<Vec<_>>(), [direct]);
}

#[test]
fn members_who_are_away_are_looked_for_more_and_more_seldom() {
    let mut world = World::new(4);
    world.home(99, true);
    world.connect(99, false, None);
    world.open_streams();
    world.input(Input::Targets(members(40)));
    world.fail_dials();
    world.pass_with(SECOND * 3_600, &[]);
    let before = world.log.len();
    world.pass_with(SECOND * 3_600, &[]);
    let looks: BTreeSet<Instant> =
        world.log[before..].iter().filter(|(_, to)| *to != peer(99)).map(|(at, _)| *at).collect();
    assert!((1..=7).contains(&looks.len()), "{}", looks.len());
}

#[test]
fn whom_to_dial_of_many_members_is_no_order_that_all_have() {
    let first = |seed| {
        let mut world = World::new(seed);
        world.keep_dials = true;
        world.input(Input::Targets(members(40)));
        world.log.iter().map(|(_, to)| *to).collect::<BTreeSet<PeerId>>()
    };
    assert_ne!(first(6), first(7));
}

#[test]
fn connections_to_members_are_kept_at_rest_and_closed_once_they_are_dead() {
    let mut world = World::new(5);
    world.input(Input::Targets(members(2)));
    world.fail_dials();
    world.connect(1, false, None);
    world.connect(2, false, None);
    world.input(Input::Watch(true));
    world.pass_with(SECOND * 600, &[]);
    let is_first = |(_, subject, _): &&(Instant, Subject, bool)| *subject == Subject::Device(device(1));
    let probes: Vec<Instant> = world.probe_log.iter().filter(is_first).map(|(at, ..)| *at).collect();
    assert!(probes.windows(2).all(|pair| pair[1] - pair[0] <= FIRST_REST));
    assert!((49..=70).contains(&probes.len()), "also while a user looks: {}", probes.len());
    world.pass_with(SECOND * 60, &[1]);
    assert_eq!(world.open.values().map(|(to, _)| *to).collect::<Vec<_>>(), [peer(2)]);
    assert!(!world.told.iter().any(|event| matches!(event, NetEvent::DirectSilent(..))));
}
