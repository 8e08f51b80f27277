//! A thousand contacts, and a network that changes: how many dials that makes, and who comes first.

use super::*;

/// The rendezvous of these tests: of no device.
const HOME: u32 = 5_000;
const CONTACTS: u32 = 1_000;
/// Those that are there. The others are away, and their next tries are hours off.
const THERE: u32 = 100;

impl World {
    /// With a home, and contacts who have been away for some hours.
    fn with_contacts() -> (Self, HomeId) {
        let mut world = World::with_targets(21, 0..CONTACTS);
        let home = world.home(HOME, true);
        world.connect(HOME, false, None);
        world.open_streams();
        for _ in 0..10 {
            world.fail_dials();
        }
        world.pass_with(4 * 3_600 * SECOND, &[]);
        world.log.clear();
        (world, home)
    }

    /// Of them, these are connected now.
    fn meet(&mut self, numbers: std::ops::Range<u32>) -> Vec<ConnectionId> {
        let mut all = Vec::new();
        for n in numbers {
            all.push(self.connect(n, false, None));
            self.open_streams();
        }
        all
    }

    fn flap(&mut self, gone: Vec<ConnectionId>) {
        let networks = vec![Network { address: "10.200.0.9".parse().unwrap(), prefix: 8 }];
        self.input(Input::NetworkChanged(NetworkChange { networks, gone, rerouted: true, ..NetworkChange::default() }));
        self.break_streams();
        self.fail_dials();
    }

    fn dialled(&self) -> BTreeSet<PeerId> {
        self.log.iter().map(|(_, peer)| *peer).collect()
    }
}

#[test]
fn a_thousand_contacts_are_no_storm_of_dials_however_often_the_network_changes() {
    let (mut world, _) = World::with_contacts();
    let began = world.now;
    for tenth in 0..50 {
        world.now = began + SECOND * tenth / 10;
        world.flap(vec![]);
    }
    let server = peer(HOME);
    let dials = world.log.iter().filter(|(_, to)| *to != server).count();
    assert!((50..=100).contains(&dials), "{dials} dials in five seconds");
    // Nobody is forgotten, and nobody waits longer because of it.
    world.pass_with(105 * SECOND, &[]);
    let dialled = world.dialled();
    assert!((0..CONTACTS).all(|n| dialled.contains(&peer(n))), "{} were dialled", dialled.len());
    let dials = world.log.iter().filter(|(_, to)| *to != server).count();
    assert!(dials <= 1_400, "{dials} dials");
}

#[test]
fn who_was_connected_comes_first_when_the_network_has_changed() {
    let (mut world, _) = World::with_contacts();
    let gone = world.meet(0..THERE);
    // What was sent last was for these.
    world.now += SECOND;
    let last: Vec<u32> = (THERE - 10..THERE).collect();
    for n in &last {
        world.input(Input::AnswerDue(Subject::Device(device(*n))));
    }
    world.log.clear();
    world.flap(gone);
    assert!(world.log.len() <= 64 + 16 + 2, "{} dials at once", world.log.len());
    let dialled = world.dialled();
    assert!(last.iter().all(|n| dialled.contains(&peer(*n))));
    world.pass_with(3 * SECOND, &[]);
    let dialled = world.dialled();
    assert!((0..THERE).all(|n| dialled.contains(&peer(n))), "{} were dialled", dialled.len());
    let others = dialled.len() - THERE as usize;
    assert!(others <= 50, "{others} others were dialled");
}

#[test]
fn paths_that_may_be_dead_are_dialled_beside_in_turn() {
    let (mut world, _) = World::with_contacts();
    world.meet(0..THERE);
    world.log.clear();
    world.flap(vec![]);
    let beside = |world: &World| (0..THERE).filter(|n| !world.dials_to(*n).is_empty()).count();
    assert_eq!(beside(&world), 64);
    world.pass_with(2 * SECOND, &[]);
    assert_eq!(beside(&world), THERE as usize);
    assert!((0..THERE).all(|n| world.net.stream_of(&device(n)).is_some()));
}

#[test]
fn dials_to_devices_that_do_not_answer_leave_room_for_those_to_servers() {
    let mut world = World::new(22);
    world.keep_dials = true;
    let id = world.home(HOME, true);
    let dial = *world.dials.first_key_value().unwrap().0;
    let session = world.connect(HOME, false, Some(dial));
    world.open_streams();
    world.targets(0..CONTACTS);
    assert_eq!(world.dials.len(), MAX_DIALS - 2);
    world.disconnect(session);
    world.input(Input::HomeEnded { home: id, left: ConnectionProblem::Broken.into() });
    world.pass(SECOND);
    assert!(world.dials.values().any(|(to, _)| *to == peer(HOME)), "it is dialled at once");
}
