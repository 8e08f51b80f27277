//! Peers that freeze: when that is noticed, and what it costs to look.

use super::*;

/// As long as a probe of a peer that does not answer lasts.
const ECHO: Duration = Duration::from_secs(3);

impl World {
    /// Passes time: probes of frozen peers end without an answer, others are answered at once; dials fail.
    fn pass_with(&mut self, time: Duration, frozen: &[u32]) {
        let until = self.now + time;
        let frozen: Vec<PeerId> = frozen.iter().map(|n| peer(*n)).collect();
        loop {
            let end = |(began, _, to, _): &(Instant, _, PeerId, _)| {
                if frozen.contains(to) { *began + ECHO } else { *began }
            };
            let probe = self.probes.iter().enumerate().map(|(i, p)| (end(p), i)).min();
            let deadline = self.net.next_deadline();
            let next = probe.map(|(at, _)| at).into_iter().chain(deadline).min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            match probe.filter(|(at, _)| *at <= next) {
                Some((_, at)) => {
                    let (_, subject, to, number) = self.probes.remove(at);
                    self.input(Input::Probed { subject, number, answered: !frozen.contains(&to) });
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
fn a_new_connection_takes_the_place_of_a_silent_session() {
    let (mut world, home, _) = World::connected();
    let before = world.log.len();
    world.input(Input::AnswerDue(Subject::Home(home)));
    world.pass_with(5 * SECOND, &[9]);
    assert!(world.log[before..].iter().any(|(_, to)| *to == peer(9)), "dialed beside the old one");
    let new = world.connect(9, false, None);
    assert!(!world.open.iter().any(|(id, (p, _))| *p == peer(9) && *id != new));
    world.input(Input::HomeEnded { home, reason: "it closed the connection".into(), come_again: None });
    world.open_streams();
    assert!(world.net.has_session(&home));
}

#[test]
fn nobody_looks_and_nothing_is_sent_so_probes_are_few() {
    let (mut world, home, _) = World::connected();
    let before = world.probed;
    world.pass_with(600 * SECOND, &[]);
    assert!(world.probed - before <= 2 * 20, "{}", world.probed - before);
    // However much is sent.
    let before = world.probed;
    for _ in 0..1_000 {
        world.input(Input::AnswerDue(Subject::Home(home)));
        world.pass_with(Duration::from_millis(10), &[]);
    }
    assert!(world.probed - before <= 6, "{}", world.probed - before);
}

#[test]
fn the_probe_of_an_earlier_session_says_nothing_about_a_new_one() {
    let (mut world, home, _) = World::connected();
    world.input(Input::Check);
    let stale: Vec<_> = std::mem::take(&mut world.probes);
    world.input(Input::HomeEnded { home, reason: "it closed the connection".into(), come_again: None });
    world.input(Input::HomeOpened(home));
    for (_, subject, _, number) in stale {
        if subject == Subject::Home(home) {
            world.input(Input::Probed { subject, number, answered: false });
        }
    }
    assert_eq!(world.silences(), [] as [bool; 0]);
}
