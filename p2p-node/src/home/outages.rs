//! Which servers are lost: those that do not answer while others do. If none answers it is our own network that is gone, and nothing is done about it.
//! Whether others do is asked of them in that moment: all that is known otherwise may be older than the outage.

use std::collections::BTreeMap;

use super::{
    Homes,
    limits::{
        HOME_LOST_AFTER_MS, HOME_LOST_LONG_MS, MAX_RESTART_MS, MISSED_AFTER_MS, NEW_HOME_LOST_AFTER_MS,
        OTHERS_ASKED_MS, SLOW_HOME_LOST_AFTER_MS,
    },
};
use crate::{
    api::problem::HomeProblem,
    net::{ConnectionProblem, HomeId, NetCommand},
    turn::{Effect, Fact, HomeFact, Schedule, Turn},
};

/// What is believed of a server that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It may be back in a moment, or the way to all of them is gone.
    Waits,
    /// It has not answered for some time, and the others are asked whether they do.
    Asked,
    /// Others answer, and it has not for some time.
    Lost,
    /// So for long: what it has stored is not to be had, either.
    LostLong,
}

#[derive(Clone, Copy)]
struct Outage {
    /// In steady time; since others answer.
    since: u64,
    /// In steady time; since it does not answer.
    began: u64,
    /// It has asked to be waited for until this steady time.
    not_before: u64,
    stage: Stage,
}

/// How a server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// In no way.
    Silent,
    /// It owes answers, and may be there.
    Slow,
}

/// The servers that do not answer.
#[derive(Default)]
pub struct Outages {
    now: BTreeMap<HomeId, Outage>,
    /// When each comes to its next stage, in steady time.
    due: Schedule<HomeId>,
    /// When each is away for so long that contacts are looked for elsewhere.
    missed: Schedule<HomeId>,
}

impl Outages {
    /// When the next one is judged, in steady time.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.next().into_iter().chain(self.missed.next()).min()
    }

    /// No server answers: that says nothing about any of them.
    fn cut_off(&mut self) {
        for (home, outage) in &mut self.now {
            outage.stage = Stage::Waits;
            self.due.set(*home, None);
        }
    }

    /// One answers again after a time in which none did: the others have theirs to do so.
    fn begin_again(&mut self, now: u64) {
        for (home, outage) in &mut self.now {
            (outage.since, outage.stage) = (now, Stage::Waits);
            self.due.set(*home, Some((now + NEW_HOME_LOST_AFTER_MS).max(outage.not_before)));
        }
    }
}

impl Homes {
    /// Whether a server does not answer though others do, so that what waits for it is to go elsewhere.
    pub fn is_lost(&self, home: &HomeId) -> bool {
        self.outages.now.get(home).is_some_and(|outage| matches!(outage.stage, Stage::Lost | Stage::LostLong))
    }

    /// Whether that is so for long: what it has stored goes elsewhere, too.
    pub fn is_lost_for_long(&self, home: &HomeId) -> bool {
        self.outages.now.get(home).is_some_and(|outage| outage.stage == Stage::LostLong)
    }

    /// The servers that are lost.
    pub fn lost(&self) -> Vec<HomeId> {
        self.outages.now.keys().copied().filter(|home| self.is_lost(home)).collect()
    }

    fn any_answers(&self) -> bool {
        self.servers.keys().any(|home| self.answers(home))
    }

    /// A server does not answer (any more); `after` is for how long it may go on before it is lost, in milliseconds. `not_before` is the steady time
    /// until which it wants to be waited for.
    fn note_outage(&mut self, turn: &Turn<'_>, home: HomeId, after: u64, not_before: u64) {
        let now = turn.now();
        if self.outages.now.contains_key(&home) {
            return;
        }
        self.outages.now.insert(home, Outage { since: now, began: now, not_before, stage: Stage::Waits });
        self.outages.missed.set(home, Some(now + MISSED_AFTER_MS));
        if self.any_answers() {
            self.outages.due.set(home, Some((now + after).max(not_before)));
        } else {
            self.outages.cut_off();
        }
    }

    /// We use a server that was not connected before.
    pub fn note_wanted(&mut self, turn: &Turn<'_>, home: HomeId) {
        self.note_outage(turn, home, NEW_HOME_LOST_AFTER_MS, 0);
    }

    /// A server is not connected any more.
    pub(super) fn note_down(&mut self, turn: &Turn<'_>, home: HomeId) {
        let not_before = match self.servers.get(&home).map_or(0, |state| state.restart_ms) {
            0 => 0,
            // Its clients come after once to twice the time.
            restart_ms => turn.now() + 2 * restart_ms + HOME_LOST_AFTER_MS,
        };
        self.note_outage(turn, home, HOME_LOST_AFTER_MS, not_before);
    }

    /// A server is connected, and does not answer.
    pub(super) fn note_silent(&mut self, turn: &Turn<'_>, home: HomeId, silence: Silence) {
        let after = match silence {
            Silence::Silent => 0,
            Silence::Slow => SLOW_HOME_LOST_AFTER_MS,
        };
        self.note_outage(turn, home, after, 0);
        // It may have been slow before.
        if silence == Silence::Silent && self.outages.due.contains(&home) && self.is_waited_for(&home) {
            self.outages.due.set(home, Some(turn.now()));
        }
    }

    fn is_waited_for(&self, home: &HomeId) -> bool {
        self.outages.now.get(home).is_some_and(|outage| outage.stage == Stage::Waits)
    }

    /// A server says that it is restarted, and asks its clients to come again after this time.
    pub fn note_restart(&mut self, home: HomeId, ms: u64) {
        if let Some(state) = self.servers.get_mut(&home) {
            state.restart_ms = ms.min(MAX_RESTART_MS);
        }
    }

    /// A server answers (again).
    pub(super) fn note_answers(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        if self.outages.now.remove(&home).is_some() {
            self.outages.due.set(home, None);
            self.outages.missed.set(home, None);
            turn.fact(Fact::Home(home, HomeFact::Answers));
            turn.fact(Fact::ReachChanged);
        }
        if !self.servers.keys().any(|other| *other != home && self.answers(other)) {
            self.outages.begin_again(turn.now());
        }
    }

    /// Servers that we do not use any more are not judged.
    pub fn forget_outages(&mut self) {
        let gone: Vec<HomeId> =
            self.outages.now.keys().copied().filter(|home| !self.servers.contains_key(home)).collect();
        for home in gone {
            self.outages.now.remove(&home);
            self.outages.due.set(home, None);
            self.outages.missed.set(home, None);
        }
    }

    /// Whether a server has not answered for some seconds, so that those whom we meet there are looked for elsewhere. Without a network there is no
    /// elsewhere.
    pub(crate) fn is_missed(&self, home: &HomeId, now: u64) -> bool {
        let offline = HomeProblem::from(ConnectionProblem::Offline);
        let is_offline = self.servers.get(home).is_some_and(|state| state.problem.as_ref() == Some(&offline));
        !is_offline && self.outages.now.get(home).is_some_and(|outage| outage.began + MISSED_AFTER_MS <= now)
    }

    /// Judges the outages whose time has come.
    pub(super) fn judge_outages(&mut self, turn: &mut Turn<'_>) {
        if !self.outages.missed.take_due(turn.now()).is_empty() {
            turn.fact(Fact::ReachChanged);
        }
        for home in self.outages.due.take_due(turn.now()) {
            if !self.any_answers() {
                self.outages.cut_off();
                return;
            }
            match self.outages.now.get(&home).map(|outage| outage.stage) {
                Some(Stage::Waits) => self.ask_others(turn, home),
                // All others that do not answer would be known by now.
                Some(Stage::Asked) => self.lose(turn, home, Stage::Lost),
                Some(Stage::Lost | Stage::LostLong) => self.lose(turn, home, Stage::LostLong),
                None => {}
            }
        }
    }

    fn ask_others(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let Some(outage) = self.outages.now.get_mut(&home) else { return };
        outage.stage = Stage::Asked;
        self.outages.due.set(home, Some(turn.now() + OTHERS_ASKED_MS));
        turn.emit(Effect::Net(NetCommand::Check));
    }

    /// A server has just answered: so it is not our own network that is gone, and those that do not answer are lost.
    pub fn note_heard(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let asked = |(lost, outage): (&HomeId, &Outage)| (outage.stage == Stage::Asked).then_some(*lost);
        let lost: Vec<HomeId> = self.outages.now.iter().filter_map(asked).collect();
        if lost.is_empty() || !self.answers(&home) {
            return;
        }
        lost.into_iter().for_each(|lost| self.lose(turn, lost, Stage::Lost));
    }

    fn lose(&mut self, turn: &mut Turn<'_>, home: HomeId, stage: Stage) {
        let Some(outage) = self.outages.now.get_mut(&home) else { return };
        outage.stage = stage;
        let long = (stage == Stage::Lost).then_some(outage.since + HOME_LOST_LONG_MS);
        self.outages.due.set(home, long);
        tracing::debug!(?stage, "a server does not answer, though others do");
        turn.fact(Fact::Home(home, HomeFact::Lost));
    }
}
