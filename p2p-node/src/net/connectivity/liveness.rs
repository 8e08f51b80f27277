//! Whether the other end of a session or a stream answers: a process that is frozen, or a path that is gone, leaves a connection that looks sound.
//!
//! A probe is an echo on the connection. It is due soon after something was sent that has to be answered, at once when somebody asks
//! ([`Input::Check`](super::Input::Check)), and at an interval: a short one while a user looks, otherwise one that grows, as each costs traffic and battery.
//! A peer that does not answer one is *silent*: the engine learns it, other paths to the peer are tried beside the connection, and probes go on until
//! it answers or its connection is given up. So what was sent and is not answered moves to another path after [`ANSWER_DUE`] and the time of a
//! probe, which is less than five seconds.
//!
//! Members of groups with whom there is nothing but gossip are probed as devices are, without a stream, for the sake of the connection alone.
//!
//! At rest probes also keep connections over datagrams in the memory of NATs and firewalls: none is silent for longer than the network has shown to
//! allow ([`Input::Rest`](super::Input::Rest)). Those that are due soon go along with one that is due, so that the machine wakes up once for all.
//!
//! A rendezvous that was killed and is back knows nothing of its connections, and does not say so. So it is dialled as soon as a probe is [`LATE`]: if
//! it is there its session moves before it is taken for lost, and if it was only slow the new connection is closed again. On a slow uplink the probe
//! waits behind what was sent before: as long as that is being acknowledged, it is neither late nor unanswered.

use std::time::{Duration, Instant};

use libp2p::{PeerId, swarm::ConnectionId};
use rand::RngExt;
use starling_keys::DeviceId;

use super::{Action, Connectivity, Errand, HomeId, IpVersion, NetEvent, peers::Session};

/// How long after something was sent that has to be answered its receiver is probed.
const ANSWER_DUE: Duration = Duration::from_millis(1_500);
/// The probe of a rendezvous that is not answered after this time is late. It takes two round trips, behind what waits to be sent.
const LATE: Duration = Duration::from_secs(2);
/// Between probes while a user looks at what is connected.
const WATCHED: Duration = Duration::from_secs(5);
/// Between probes of a rendezvous while nobody does, at first. Most servers that die are back within a moment, and know nothing of their connections.
const FIRST_UNWATCHED_HOME: Duration = Duration::from_secs(4);
/// ... and after a while: it grows by half with each answer. Servers of before give a silent connection up after 30 s.
const UNWATCHED_HOME: Duration = Duration::from_secs(28);
/// Between probes of a device while nobody looks. What is sent to it is written to a log, too, if it does not answer.
const UNWATCHED_DEVICE: Duration = Duration::from_secs(90);
/// Probes at rest that are due within this part of the longest silence are made together.
const TOGETHER: u32 = 4;
/// Between the probes of a silent peer, from the end of one to the next.
const SILENT: Duration = Duration::from_secs(1);
/// The connection of a peer that is silent for so long is closed: it is reached again on another one, if at all.
const GIVE_UP: Duration = Duration::from_secs(15);

/// Whom a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The rendezvous of a session.
    Home(HomeId),
    /// The device that we have a stream to.
    Device(DeviceId),
}

/// Whether one peer answers. There is nothing due and under way while there is no session or stream.
#[derive(Debug, Default)]
pub struct Liveness {
    due: Option<Instant>,
    /// The probe that is under way.
    probe: Option<u64>,
    /// Something was sent meanwhile that has to be answered.
    sent_meanwhile: bool,
    silent_since: Option<Instant>,
    /// The probe under way is late.
    late: bool,
    /// How often it has answered.
    answers: u32,
    /// The probe that is due follows from the interval alone.
    at_rest: bool,
    /// So did the last one.
    rested: bool,
}

impl Liveness {
    pub fn is_silent(&self) -> bool {
        self.silent_since.is_some()
    }

    /// Nothing speaks against it.
    pub fn is_sound(&self) -> bool {
        !self.late && !self.is_silent()
    }

    /// It does not answer, and was not spoken with for a whole interval before.
    pub fn was_lost_at_rest(&self) -> bool {
        self.rested && !self.is_sound()
    }
}

/// The probes of all peers.
#[derive(Debug, Default)]
pub struct Probes {
    last: u64,
    /// How many are under way.
    open: usize,
    /// A user looks at what is connected.
    watched: bool,
    /// The engine waits for the end of all that are under way.
    checking: bool,
}

impl Connectivity {
    /// A session or stream begins.
    pub(super) fn begin_liveness(&mut self, now: Instant, subject: Subject) {
        let due = Some(now + self.probe_interval(subject, 0));
        if let Some(liveness) = self.liveness(subject) {
            *liveness = Liveness { due, ..Liveness::default() };
            self.agenda.set(Errand::Probe(subject), due);
        }
        self.expect_answer(subject, None);
    }

    /// The stream of a session is being opened, and the server is to greet us there: it is probed if that takes long. So a path that dies meanwhile
    /// is noticed, and another one is dialled.
    pub(super) fn await_greeting(&mut self, now: Instant, id: HomeId) {
        let (subject, due) = (Subject::Home(id), Some(now + ANSWER_DUE));
        if let Some(liveness) = self.liveness(subject) {
            *liveness = Liveness { due, ..Liveness::default() };
            self.agenda.set(Errand::Probe(subject), due);
        }
        self.expect_answer(subject, None);
    }

    /// When the probe that is under way is late; only that of a rendezvous ever is.
    fn expect_answer(&mut self, subject: Subject, by: Option<Instant>) {
        if let Subject::Home(id) = subject {
            self.agenda.set(Errand::LateProbe(id), by);
        }
    }

    /// A session or stream has ended.
    pub(super) fn end_liveness(&mut self, subject: Subject) {
        if let Some(liveness) = self.liveness(subject) {
            *liveness = Liveness::default();
        }
        self.agenda.set(Errand::Probe(subject), None);
        self.expect_answer(subject, None);
    }

    /// Something was sent that has to be answered.
    pub(super) fn answer_due(&mut self, now: Instant, subject: Subject) {
        let soon = now + ANSWER_DUE;
        if let Subject::Device(id) = subject
            && let Some(device) = self.devices.get_mut(&id)
        {
            device.used = Some(now);
        }
        let Some(liveness) = self.liveness(subject) else { return };
        liveness.at_rest = false;
        liveness.sent_meanwhile |= liveness.probe.is_some();
        if liveness.due.is_some_and(|due| due > soon) {
            self.probe_at(subject, soon);
        }
    }

    /// A user begins or ends to look at what is connected.
    pub(super) fn watch(&mut self, now: Instant, watched: bool) {
        self.probes.watched = watched;
        if watched {
            self.probe_all(now);
        }
    }

    /// Probes everybody; the engine is told when all have answered or have had the time to.
    pub(super) fn check(&mut self, now: Instant) {
        self.probes.checking = true;
        self.probe_all(now);
        self.end_check();
    }

    fn probe_all(&mut self, now: Instant) {
        // Of members with whom there is nothing but gossip nobody sees whether they are connected.
        for subject in self.subjects().into_iter().filter(|subject| !self.is_member(*subject)).collect::<Vec<_>>() {
            self.probe(now, subject);
        }
    }

    /// A probe is due. If it is one at rest, others that are due soon are made with it.
    pub(super) fn probe_due(&mut self, now: Instant, subject: Subject) {
        if self.probes.watched || !self.is_at_rest(subject) {
            return self.probe(now, subject);
        }
        self.begin_probe(now, subject, true);
        let errands = self.agenda.until(now + self.rest_of(subject) / TOGETHER);
        for errand in errands.collect::<Vec<_>>() {
            if let Errand::Probe(other) = errand
                && self.is_at_rest(other)
            {
                self.begin_probe(now, other, true);
            }
        }
    }

    fn is_at_rest(&mut self, subject: Subject) -> bool {
        self.liveness(subject).is_some_and(|liveness| liveness.at_rest && liveness.is_sound())
    }

    /// The network is known to allow another silence than before.
    pub(super) fn set_rest(&mut self, now: Instant, version: IpVersion, rest: Duration) {
        let before = self.rest.set(version, rest);
        if rest >= before {
            return;
        }
        for subject in self.subjects() {
            self.shorten_rest(now, subject);
        }
    }

    /// Sessions with servers have ended, which may be relays all the same.
    pub(super) fn heed_lone_relays(&mut self, now: Instant) {
        for subject in self.subjects() {
            if self.is_through_lone_relay(subject) {
                self.shorten_rest(now, subject);
            }
        }
    }

    /// The next probe is not due later than it would be if the last one had been now.
    fn shorten_rest(&mut self, now: Instant, subject: Subject) {
        let latest = now + self.probe_interval(subject, u32::MAX);
        if let Some(liveness) = self.liveness(subject)
            && liveness.due.is_some_and(|due| due > latest)
        {
            self.probe_at(subject, latest);
            self.rest_until_probe(subject);
        }
    }

    /// Probes a peer, if there is a session or stream and no probe under way.
    pub(super) fn probe(&mut self, now: Instant, subject: Subject) {
        self.begin_probe(now, subject, false);
    }

    /// Only who has rested may be asked in a way that takes longer to tell.
    fn begin_probe(&mut self, now: Instant, subject: Subject, at_rest: bool) {
        let number = self.probes.last + 1;
        let Some((peer, on)) = self.connection_of(subject) else { return };
        let Some(liveness) = self.liveness(subject).filter(|l| l.due.is_some()) else { return };
        (liveness.due, liveness.probe, liveness.sent_meanwhile) = (None, Some(number), false);
        let is_silent = liveness.is_silent();
        // Whoever is silent is probed again and again: how that began counts.
        if !is_silent {
            liveness.rested = at_rest;
        }
        self.agenda.set(Errand::Probe(subject), None);
        self.expect_answer(subject, (!is_silent).then_some(now + LATE));
        self.probes.last = number;
        self.probes.open += 1;
        self.act(Action::Probe { subject, peer, on, number, at_rest });
    }

    /// The probe of a rendezvous has not been answered for some time.
    pub(super) fn probe_late(&mut self, now: Instant, id: HomeId) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        home.liveness.late = true;
        let before = home.dialing;
        self.dial_beside(now, Subject::Home(id));
        if let Some(home) = self.homes.get_mut(&id).filter(|home| home.dialing != before) {
            home.spare = home.dialing;
            home.last_resort.spare = home.last_resort.dialing.is_none();
        }
    }

    /// A probe waits behind what is being sent, and acknowledged: it is not late yet. What has to be answered is, so it is asked again soon.
    pub(super) fn probe_moves(&mut self, now: Instant, subject: Subject, number: u64) {
        let Some(liveness) = self.liveness(subject).filter(|l| l.probe == Some(number) && !l.is_silent()) else {
            return;
        };
        (liveness.late, liveness.sent_meanwhile) = (false, true);
        self.expect_answer(subject, Some(now + LATE));
    }

    /// A probe has ended.
    pub(super) fn probed(&mut self, now: Instant, subject: Subject, number: u64, answered: bool) {
        self.probes.open = self.probes.open.saturating_sub(1);
        let answers = self.liveness(subject).map_or(0, |liveness| liveness.answers);
        let interval = self.probe_interval(subject, answers);
        // That of an earlier session or stream says nothing about this one.
        if let Some(liveness) = self.liveness(subject).filter(|l| l.probe == Some(number)) {
            (liveness.probe, liveness.late) = (None, false);
            if answered {
                liveness.answers = answers.saturating_add(1);
                let was_busy = liveness.sent_meanwhile;
                let was_silent = liveness.silent_since.take().is_some();
                self.expect_answer(subject, None);
                self.probe_at(subject, now + if was_busy { ANSWER_DUE } else { interval });
                if !was_busy {
                    self.rest_until_probe(subject);
                }
                self.tell_answered(subject);
                if was_silent {
                    self.set_suspect(now, subject, false);
                    self.tell_silent(subject, false);
                }
            } else {
                self.unanswered(now, subject);
            }
        }
        self.end_check();
    }

    fn unanswered(&mut self, now: Instant, subject: Subject) {
        let Some(liveness) = self.liveness(subject) else { return };
        let is_new = liveness.silent_since.is_none();
        let since = *liveness.silent_since.get_or_insert(now);
        self.expect_answer(subject, None);
        self.probe_at(subject, now + SILENT);
        if is_new {
            self.tell_silent(subject, true);
            self.set_suspect(now, subject, true);
        }
        if now.saturating_duration_since(since) < GIVE_UP {
            self.dial_beside(now, subject);
            return;
        }
        match (subject, self.connection_of(subject)) {
            (_, None) => {}
            (Subject::Home(_), Some((peer, _))) => self.close_connections(Some(peer)),
            (Subject::Device(_), Some((_, on))) => self.act(Action::Close(on)),
        }
    }

    /// Only the path to a peer may be gone: a new connection takes the place of the old one. Within the budget of early tries, so that whoever falls
    /// silent again and again does not have us dial all the time.
    pub(super) fn dial_beside(&mut self, now: Instant, subject: Subject) {
        match subject {
            Subject::Home(id) => {
                if self.may_dial()
                    && let Some(home) = self.homes.get_mut(&id)
                    && home.dialing.is_none()
                    && home.backoff.take_early_try(now)
                    && let Some(peer) = home.peer()
                {
                    self.dial_home(now, id, peer);
                }
            }
            Subject::Device(id) => self.dial_device_beside(now, id),
        }
    }

    /// Whether the connection of a session or stream answers decides which one is the best.
    pub(super) fn set_suspect(&mut self, now: Instant, subject: Subject, suspect: bool) {
        let Some((peer, on)) = self.connection_of(subject) else { return };
        if let Some(all) = self.connections.get_mut(&peer) {
            all.set_suspect(on, suspect);
        }
        match subject {
            Subject::Home(id) if suspect && self.best(&peer).is_some_and(|best| best.id != on) => {
                self.home_connected(now, &id);
            }
            Subject::Home(_) => {}
            Subject::Device(_) => self.prefer_best(peer),
        }
    }

    fn tell_silent(&mut self, subject: Subject, silent: bool) {
        if self.is_member(subject) || self.is_not_greeted(subject) {
            // Nothing is sent to it that would have to go another way.
            return;
        }
        self.act(Action::Tell(match subject {
            Subject::Home(home) => NetEvent::HomeSilent(home, silent),
            Subject::Device(device) => NetEvent::DirectSilent(device, silent),
        }));
    }

    /// Whether there is no session yet that the engine knows of.
    fn is_not_greeted(&self, subject: Subject) -> bool {
        let Subject::Home(id) = subject else { return false };
        self.homes.get(&id).is_none_or(|home| !home.is_greeted)
    }

    /// While everybody is probed, the engine learns at once who answers.
    fn tell_answered(&mut self, subject: Subject) {
        if let (Subject::Home(home), true) = (subject, self.probes.checking && !self.is_not_greeted(subject)) {
            self.act(Action::Tell(NetEvent::HomeAnswered(home)));
        }
    }

    fn end_check(&mut self) {
        if self.probes.open == 0 && std::mem::take(&mut self.probes.checking) {
            self.act(Action::Tell(NetEvent::Checked));
        }
    }

    fn probe_at(&mut self, subject: Subject, due: Instant) {
        if let Some(liveness) = self.liveness(subject) {
            (liveness.due, liveness.at_rest) = (Some(due), false);
            self.agenda.set(Errand::Probe(subject), Some(due));
        }
    }

    /// The probe that is due is one at rest.
    fn rest_until_probe(&mut self, subject: Subject) {
        if let Some(liveness) = self.liveness(subject) {
            liveness.at_rest = true;
        }
    }

    /// Between probes while nobody looks.
    fn unwatched_interval(&self, subject: Subject, answers: u32) -> Duration {
        let interval = match subject {
            Subject::Home(_) => {
                let grown = FIRST_UNWATCHED_HOME.mul_f64(1.5_f64.powi(answers.min(16) as i32));
                grown.min(UNWATCHED_HOME)
            }
            Subject::Device(_) => UNWATCHED_DEVICE,
        };
        if self.version_of(subject).is_some() {
            interval.min(self.rest_of(subject))
        } else if self.is_through_lone_relay(subject) {
            interval.min(UNWATCHED_HOME).min(self.rest_of(subject))
        } else {
            interval
        }
    }

    /// Whether a device may be reached through a relay with which there is no session: nothing else is said to that, and it closes what is silent.
    fn is_through_lone_relay(&self, subject: Subject) -> bool {
        let Subject::Device(id) = subject else { return false };
        let Some(device) = self.devices.get(&id) else { return false };
        device.out.is_some_and(|(connection, _)| connection.relayed)
            && device
                .target
                .relays
                .iter()
                .any(|relay| self.is_connected(&relay.peer_id()) && self.session_on(&relay.peer).is_none())
    }

    /// Shortened at random, so that many clients do not probe in step.
    fn probe_interval(&mut self, subject: Subject, answers: u32) -> Duration {
        let is_watched = self.probes.watched && !self.is_member(subject);
        let interval = if is_watched { WATCHED } else { self.unwatched_interval(subject, answers) };
        interval.mul_f64(self.rng.random_range(0.8..1.0))
    }

    fn liveness(&mut self, subject: Subject) -> Option<&mut Liveness> {
        match subject {
            Subject::Home(home) => self.homes.get_mut(&home).map(|h| &mut h.liveness),
            Subject::Device(device) => self.devices.get_mut(&device).map(|d| &mut d.liveness),
        }
    }

    /// The peer of a session or stream, and the connection that carries it, or is to; of a member without a stream, the best one.
    pub(super) fn connection_of(&self, subject: Subject) -> Option<(PeerId, ConnectionId)> {
        match subject {
            Subject::Home(home) => {
                let home = self.homes.get(&home)?;
                match home.session {
                    Session::Up { on, .. } | Session::Opening { on } => Some((home.peer()?, on)),
                    Session::Down | Session::Visiting { .. } => None,
                }
            }
            Subject::Device(device) => {
                let device = self.devices.get(&device)?;
                let on = match device.out {
                    Some((connection, _)) => connection.id,
                    // There is no stream to a member with whom there is nothing but gossip.
                    None if device.target.gossip_only => self.best(&device.peer)?.id,
                    None => return None,
                };
                Some((device.peer, on))
            }
        }
    }
}
