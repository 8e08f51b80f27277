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
