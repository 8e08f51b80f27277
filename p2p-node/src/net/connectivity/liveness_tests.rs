//! Peers that freeze: when that is noticed, and what it costs to look.

use super::*;

/// As long as a probe of a peer that does not answer lasts.
const ECHO: Duration = Duration::from_secs(3);

impl World {
    /// Passes time: probes of frozen peers end without an answer, others are answered at once; dials fail.
    pub(super) fn pass_with(&mut self, time: Duration, frozen: &[u32]) {
        let frozen: Vec<PeerId> = frozen.iter().map(|n| peer(*n)).collect();
        let open = self.open.clone();
        self.pass_without_answers(time, |on| open.get(&on).is_some_and(|(peer, _)| frozen.contains(peer)));
    }

    /// The same for connections on which nothing is answered.
    pub(super) fn pass_without_answers(&mut self, time: Duration, is_dead: impl Fn(ConnectionId) -> bool) {
        let until = self.now + time;
        loop {
            let end = |(began, _, on, _): &(Instant, _, ConnectionId, _)| {
                if is_dead(*on) { *began + ECHO } else { *began }
            };
            let probe = self.probes.iter().enumerate().map(|(i, p)| (end(p), i)).min();
            let deadline = self.net.next_deadline();
            let next = probe.map(|(at, _)| at).into_iter().chain(deadline).min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            match probe.filter(|(at, _)| *at <= next) {
                Some((_, at)) => {
                    let (_, subject, on, number) = self.probes.remove(at);
                    self.input(Input::Probed { subject, number, answered: !is_dead(on) });
                }
                None => self.input(Input::Tick),
            }
            self.fail_dials();
            self.break_streams();
        }
        self.now = until;
    }

    fn silences(&self) -> Vec<bool> {
        let silent = |event: &NetEvent| match event {
            NetEvent::HomeSilent(_, silent) | NetEvent::DirectSilent(_, silent) => Some(*silent),
            _ => None,
        };
        self.told.iter().filter_map(silent).collect()
    }

    /// With a session, and a stream to a device.
    fn connected() -> (Self, HomeId, DeviceId) {
        let mut world = World::with_targets(1, [1]);
        let home = world.home(9, false);
        world.connect(9, false, None);
        world.connect(1, false, None);
        world.open_streams();
        world.pass_with(SECOND, &[]);
        (world, home, device(1))
    }
}

#[test]
fn who_freezes_is_silent_within_five_seconds_after_something_was_sent() {
    let (mut world, home, device) = World::connected();
    for subject in [Subject::Home(home), Subject::Device(device)] {
        world.input(Input::AnswerDue(subject));
    }
    world.pass_with(5 * SECOND, &[1, 9]);
    assert_eq!(world.silences(), [true, true]);
}

#[test]
fn who_freezes_is_silent_within_eight_seconds_while_a_user_looks_and_answers_again_at_once() {
    let (mut world, ..) = World::connected();
    world.input(Input::Watch(true));
    world.pass_with(60 * SECOND, &[]);
    assert_eq!(world.silences(), [] as [bool; 0]);
    world.pass_with(8 * SECOND, &[1, 9]);
    assert_eq!(world.silences(), [true, true]);
    world.pass_with(5 * SECOND, &[]);
    assert_eq!(world.silences(), [true, true, false, false]);
    assert_eq!(world.open.len(), 2, "their connections are kept");
}

#[test]
fn a_connection_that_stays_silent_is_closed() {
    let (mut world, ..) = World::connected();
    world.input(Input::Watch(true));
    world.pass_with(25 * SECOND, &[1, 9]);
    assert!(world.open.is_empty());
    assert!(world.told.iter().any(|e| matches!(e, NetEvent::DirectDown(_))));
}

#[test]
fn a_check_ends_when_everybody_has_answered_or_is_known_to_be_silent() {
    let mut world = World::new(1);
    world.input(Input::Check);
    assert!(matches!(world.told.as_slice(), [NetEvent::Checked]), "there is nobody");
    let (mut world, ..) = World::connected();
    world.told.clear();
    world.input(Input::Check);
    assert!(world.told.is_empty());
    world.pass_with(ECHO, &[9]);
    assert!(matches!(world.told.as_slice(), [NetEvent::HomeSilent(_, true), NetEvent::Checked]), "{:?}", world.told);
}

#[test]
fn while_everybody_is_probed_who_answers_is_known_at_once() {
    let (mut world, home, _) = World::connected();
    world.told.clear();
    world.input(Input::Check);
    world.pass_with(SECOND / 10, &[1]);
    assert!(matches!(world.told.as_slice(), [NetEvent::HomeAnswered(id)] if *id == home), "{:?}", world.told);
}

/// With a probe of the rendezvous that is late, and the dial that follows from it; and the connection of the session.
fn late() -> (World, HomeId, DialId, ConnectionId) {
    let (mut world, home, _) = World::connected();
    world.fail_dials();
    world.keep_dials = true;
    let session = *world.open.iter().find(|(_, (to, _))| *to == peer(9)).unwrap().0;
    world.input(Input::AnswerDue(Subject::Home(home)));
    world.pass_with(4 * SECOND, &[9]);
    let dial = *world.dials.iter().find(|(_, (to, _))| *to == peer(9)).unwrap().0;
    (world, home, dial, session)
}

#[test]
fn a_rendezvous_that_was_killed_and_is_back_is_reached_before_it_is_taken_for_silent() {
    let (mut world, home, dial, session) = late();
    let new = world.connect(9, false, Some(dial));
    assert!(world.open.contains_key(&new) && !world.open.contains_key(&session));
    world.input(Input::HomeEnded { home, left: ConnectionProblem::Closed.into() });
    world.open_streams();
    assert!(world.net.has_session(&home));
    world.pass_with(60 * SECOND, &[]);
    assert_eq!(world.silences(), [] as [bool; 0]);
}

#[test]
fn a_rendezvous_that_was_only_slow_keeps_its_session() {
    let (mut world, home, dial, session) = late();
    world.pass_with(SECOND / 10, &[]);
    let new = world.connect(9, false, Some(dial));
    assert!(!world.open.contains_key(&new) && world.open.contains_key(&session));
    assert!(world.net.has_session(&home));
    // When the network changes the next time, the session moves.
    let networks = vec![Network { address: "10.200.0.9".parse().unwrap(), prefix: 8 }];
    world.input(Input::NetworkChanged(NetworkChange { networks, moved: vec![session], ..NetworkChange::default() }));
    let dial = *world.dials.iter().find(|(_, (to, _))| *to == peer(9)).unwrap().0;
    let new = world.connect(9, false, Some(dial));
    assert!(world.open.contains_key(&new) && !world.open.contains_key(&session));
}

#[test]
fn a_probe_behind_what_is_being_acknowledged_is_not_late() {
    // There is no device, whose probes would come between.
    let mut world = World::new(1);
    let home = world.home(9, false);
    world.connect(9, false, None);
    world.open_streams();
    world.fail_dials();
    world.input(Input::AnswerDue(Subject::Home(home)));
    let before = world.dials_to(9).len();
    // Such a probe ends as an answered one, and the next follows soon.
    for _ in 0..5 {
        while world.probes.is_empty() {
            world.now = world.net.next_deadline().unwrap();
            world.input(Input::Tick);
        }
        let (began, subject, _, number) = world.probes.pop().unwrap();
        for half in 1..6 {
            world.now = began + half * SECOND / 2;
            world.input(Input::Tick);
            world.input(Input::ProbeMoves { subject, number });
        }
        world.now = began + ECHO;
        world.input(Input::Probed { subject, number, answered: true });
        assert!(world.net.next_deadline().is_some_and(|due| due <= world.now + 2 * SECOND));
    }
    assert_eq!((world.dials_to(9).len(), world.silences()), (before, vec![]));
    // What does not move any more is late.
    world.pass_with(5 * SECOND, &[9]);
    assert!(world.dials_to(9).len() > before);
}

#[test]
fn a_new_connection_takes_the_place_of_a_silent_session() {
    let (mut world, home, _) = World::connected();
    let before = world.log.len();
    world.input(Input::AnswerDue(Subject::Home(home)));
    world.pass_with(5 * SECOND, &[9]);
    assert!(world.log[before..].iter().any(|(_, to)| *to == peer(9)), "dialed beside the old one");
    let new = world.connect(9, false, None);
    assert!(!world.open.iter().any(|(id, (p, _))| *p == peer(9) && *id != new));
    world.input(Input::HomeEnded { home, left: ConnectionProblem::Closed.into() });
    world.open_streams();
    assert!(world.net.has_session(&home));
}

#[test]
fn nobody_looks_and_nothing_is_sent_so_probes_are_few() {
    let (mut world, home, _) = World::connected();
    // The network keeps what is silent for so long.
    world.input(Input::Rest(IpVersion::V4, 88 * SECOND));
    let before = world.probed;
    world.pass_with(600 * SECOND, &[]);
    assert!(world.probed - before <= 45, "{}", world.probed - before);
    // However much is sent: 1.5 s after each probe comes the next, which is six times in ten seconds. Both peers are probed before, so that those at
    // their intervals, of 22 s and more by now, are not among them.
    world.input(Input::Check);
    world.pass_with(Duration::ZERO, &[]);
    let before = world.probed;
    for _ in 0..1_000 {
        world.input(Input::AnswerDue(Subject::Home(home)));
        world.pass_with(Duration::from_millis(10), &[]);
    }
    assert_eq!(world.probed - before, 6);
}

impl World {
    /// How long nothing was said to somebody, at most, since a moment.
    fn longest_silence(&self, of: Subject, since: Instant) -> Duration {
        let moments =
            self.probe_log.iter().filter(|(at, subject, _)| *subject == of && *at >= since).map(|(at, ..)| *at);
        let moments: Vec<Instant> = std::iter::once(since).chain(moments).chain([self.now]).collect();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }

    /// Passes ten minutes at rest, after two in which it comes to rest: the first probe of a stream is not one at rest. Gives since when, and how often
    /// the machine has woken up in a minute.
    fn rest(&mut self) -> (Instant, usize) {
        self.pass_with(120 * SECOND, &[]);
        let since = self.now;
        self.pass_with(600 * SECOND, &[]);
        let log = self.probe_log.iter().filter(|(at, ..)| *at >= since);
        assert!(log.clone().all(|(_, _, at_rest)| *at_rest));
        let moments: BTreeSet<Instant> = log.map(|(at, ..)| *at).collect();
        (since, moments.len() / 10)
    }
}

#[test]
fn no_connection_over_datagrams_is_silent_for_longer_than_the_network_allows() {
    for (rest, home_at_most) in [(12, 12), (20, 20), (60, 28), (88, 28)] {
        let (mut world, home, device) = World::connected();
        if rest != 12 {
            world.input(Input::Rest(IpVersion::V4, rest * SECOND));
        }
        let (since, _) = world.rest();
        let silence = |of| world.longest_silence(of, since);
        assert!(silence(Subject::Home(home)) <= home_at_most * SECOND, "{rest}: {:?}", silence(Subject::Home(home)));
        assert!(silence(Subject::Device(device)) <= rest * SECOND, "{rest}: {:?}", silence(Subject::Device(device)));
        assert!(silence(Subject::Device(device)) >= rest * SECOND / 2, "{rest}: more often than that helps nobody");
    }
}

#[test]
fn what_is_known_of_one_internet_protocol_says_nothing_of_the_other() {
    let mut world = World::with_targets(1, [1, 2]);
    world.home(9, false);
    world.connect_over(9, Some(IpVersion::V4));
    world.connect_over(1, Some(IpVersion::V4));
    world.connect_over(2, Some(IpVersion::V6));
    world.open_streams();
    world.fail_dials();
    world.input(Input::Rest(IpVersion::V4, 60 * SECOND));
    let (since, _) = world.rest();
    let silence = |n| world.longest_silence(Subject::Device(device(n)), since);
    assert!(silence(1) > 30 * SECOND && silence(1) <= 60 * SECOND, "{:?}", silence(1));
    assert!(silence(2) <= 12 * SECOND, "{:?}", silence(2));
}

#[test]
fn a_network_that_allows_less_than_thought_is_heeded_at_once() {
    let (mut world, _, device) = World::connected();
    world.input(Input::Rest(IpVersion::V4, 88 * SECOND));
    world.rest();
    world.input(Input::Rest(IpVersion::V4, 12 * SECOND));
    let since = world.now;
    world.pass_with(60 * SECOND, &[]);
    assert!(world.longest_silence(Subject::Device(device), since) <= 12 * SECOND);
}

#[test]
fn what_a_relay_carries_needs_no_signs_of_life_of_its_own() {
    let mut world = World::with_targets(1, [1]);
    world.home(9, false);
    world.connect(9, false, None);
    world.connect(1, true, None);
    world.open_streams();
    world.fail_dials();
    let (since, _) = world.rest();
    assert!(world.longest_silence(Subject::Device(device(1)), since) >= 60 * SECOND);
}

#[test]
fn a_relay_that_is_no_home_any_more_is_kept_by_who_is_reached_through_it() {
    let mut world = World::new(1);
    world.home(9, false);
    world.connect(9, false, None);
    let (_, relay) = home(9);
    world.input(Input::Targets(HashMap::from([(device(1), Target { relays: vec![relay], ..Target::default() })])));
    world.connect(1, true, None);
    world.open_streams();
    world.fail_dials();
    world.input(Input::Rest(IpVersion::V4, 88 * SECOND));
    world.rest();
    let since = world.now;
    world.input(Input::Homes(HashMap::new()));
    world.pass_with(600 * SECOND, &[]);
    let silence = world.longest_silence(Subject::Device(device(1)), since);
    assert!(silence <= 28 * SECOND, "{silence:?}");
}

#[test]
fn at_rest_the_machine_wakes_up_for_all_of_them_together() {
    let mut world = World::with_targets(1, 1..=50);
    world.home(9_000, false);
    world.connect(9_000, false, None);
    for n in 1..=50 {
        world.connect(n, false, None);
        world.open_streams();
    }
    world.fail_dials();
    world.input(Input::Rest(IpVersion::V4, 60 * SECOND));
    let (_, moments) = world.rest();
    assert!(moments < 4, "{moments} in a minute");
}

#[test]
fn a_server_that_was_killed_and_calls_back_has_a_client_at_rest_again_within_three_seconds() {
    let (mut world, home, _) = World::connected();
    world.fail_dials();
    world.input(Input::Rest(IpVersion::V4, 88 * SECOND));
    world.rest();
    let dead = world.net.session_on(&home).unwrap();
    let called = world.connect(9, false, None);
    world.keep_dials = true;
    world.pass_without_answers(3 * SECOND, |on| on == dead);
    let dial = *world.dials.iter().find(|(_, (to, _))| *to == peer(9)).unwrap().0;
    let new = world.connect(9, false, Some(dial));
    assert!(world.open.contains_key(&new) && !world.open.contains_key(&dead) && !world.open.contains_key(&called));
    assert_eq!(world.mappings_lost, 0, "it was the server, and not the network");
}

#[test]
fn a_server_that_connects_by_itself_and_answers_is_not_dialled() {
    let (mut world, home, _) = World::connected();
    world.fail_dials();
    world.rest();
    let (session, before) = (world.net.session_on(&home), world.dials_to(9).len());
    let probed = world.probed;
    world.connect(9, false, None);
    world.pass_with(3 * SECOND, &[]);
    assert!(world.probed > probed && world.dials_to(9).len() == before);
    assert_eq!(world.net.session_on(&home), session);
}

#[test]
fn a_connection_that_was_lost_at_rest_though_the_server_is_there_is_told_from_one_that_was_in_use() {
    let (mut world, ..) = World::connected();
    world.fail_dials();
    world.keep_dials = true;
    world.pass_with(60 * SECOND, &[]);
    world.pass_with(16 * SECOND, &[9]);
    assert_eq!(world.mappings_lost, 0, "the server may be dead");
    let dial = *world.dials.iter().find(|(_, (to, _))| *to == peer(9)).unwrap().0;
    world.connect(9, false, Some(dial));
    assert_eq!(world.mappings_lost, 1);
    let (mut world, _, dial, _) = late();
    world.connect(9, false, Some(dial));
    assert_eq!(world.mappings_lost, 0, "something was sent");
}

#[test]
fn the_probe_of_an_earlier_session_says_nothing_about_a_new_one() {
    let (mut world, home, _) = World::connected();
    world.input(Input::Check);
    let stale: Vec<_> = std::mem::take(&mut world.probes);
    world.input(Input::HomeEnded { home, left: ConnectionProblem::Closed.into() });
    let on = world.open.iter().find(|(_, (p, _))| *p == peer(9)).map(|(id, _)| *id).unwrap();
    world.input(Input::HomeOpened { home, connection: on });
    for (_, subject, _, number) in stale {
        if subject == Subject::Home(home) {
            world.input(Input::Probed { subject, number, answered: false });
        }
    }
    assert_eq!(world.silences(), [] as [bool; 0]);
}

#[test]
fn what_a_device_does_not_answer_takes_another_path_after_five_seconds() {
    let (_, relay) = home(9);
    let mut world = World::new(3);
    world.home(9, true);
    world.connect(9, false, None);
    world.open_streams();
    world.input(Input::Targets(HashMap::from([(
        device(1),
        Target { relays: vec![relay], addresses: vec![address(1)], ..Target::default() },
    )])));
    world.fail_dials();
    let dead = world.connect(1, false, None);
    world.open_streams();
    let before = world.dials_to(1).len();
    world.input(Input::AnswerDue(Subject::Device(device(1))));
    let sent = world.now;
    while world.dials_to(1).len() == before {
        assert!(world.now - sent <= 5 * SECOND, "no other path is tried");
        world.keep_dials = true;
        world.pass_without_answers(SECOND / 10, |on| on == dead);
    }
    let to_it = world.dials.values().filter(|(to, _)| *to == peer(1));
    let relayed: Vec<bool> = to_it.map(|(_, addresses)| addresses.iter().all(is_circuit)).collect();
    assert_eq!(relayed, [false, true], "both at once, beside the connection");
    assert!(world.open.contains_key(&dead));
    let through_relay = *world.dials.iter().find(|(_, (_, addresses))| addresses.iter().all(is_circuit)).unwrap().0;
    let relayed = world.connect(1, true, Some(through_relay));
    world.open_streams();
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(relayed), "though it is relayed");
    assert!(!world.open.contains_key(&dead));
}

#[test]
fn a_stream_moves_at_once_to_a_connection_that_is_there_already_and_answers() {
    let mut world = World::with_targets(4, [1]);
    let dead = world.connect(1, false, None);
    world.open_streams();
    let relayed = world.connect(1, true, None);
    world.open_streams();
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(dead));
    world.input(Input::AnswerDue(Subject::Device(device(1))));
    world.pass_without_answers(5 * SECOND, |on| on == dead);
    world.open_streams();
    assert_eq!(world.net.stream_of(&device(1)).map(|c| c.id), Some(relayed));
}

#[test]
fn who_falls_silent_again_and_again_has_us_dial_within_the_budget() {
    let mut world = World::with_targets(5, [1]);
    let connection = world.connect(1, false, None);
    world.open_streams();
    let before = world.dials_to(1).len();
    for _ in 0..200 {
        world.input(Input::AnswerDue(Subject::Device(device(1))));
        world.pass_without_answers(5 * SECOND, |on| on == connection);
        world.pass_with(SECOND, &[]);
    }
    assert!(world.open.contains_key(&connection));
    let dials = world.dials_to(1).len() - before;
    assert!((2..=250).contains(&dials), "{dials} in 1,200 s");
}

#[test]
fn a_rendezvous_that_dies_soon_after_it_was_reached_is_dialled_within_eight_seconds_though_nothing_was_sent() {
    let (mut world, ..) = World::connected();
    let (before, died) = (world.dials_to(9).len(), world.now);
    while world.dials_to(9).len() == before {
        world.pass_with(SECOND / 10, &[9]);
        assert!(world.now - died <= 8 * SECOND);
    }
}

#[test]
fn the_devices_of_a_server_that_was_killed_come_back_spread_over_its_window() {
    const DEVICES: u64 = 2_000;
    let window = 10 * SECOND;
    let mut returns = [0; 10];
    for seed in 0..DEVICES {
        let mut world = World::new(seed);
        let home = world.home(9, false);
        let dial = *world.dials.first_key_value().unwrap().0;
        let connection = world.connect(9, false, Some(dial));
        world.open_streams();
        world.disconnect(connection);
        let (ended, before) = (world.now, world.dials_to(9).len());
        let left = Left { retry_window: window, ..Left::from(ConnectionProblem::Broken) };
        world.input(Input::HomeEnded { home, left });
        while world.dials_to(9).len() == before {
            world.now = world.net.next_deadline().unwrap();
            world.input(Input::Tick);
        }
        let second = (world.now - ended).as_secs() as usize;
        returns[second.min(9)] += 1;
    }
    let even = DEVICES as usize / returns.len();
    assert!(returns.iter().all(|n| (even / 2..even * 3 / 2).contains(n)), "{returns:?}");
}
