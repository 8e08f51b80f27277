//! Which servers are lost: those that do not answer while others do. If none answers it is our own network that is gone, and nothing is done about it.

use std::collections::BTreeMap;

use super::Homes;
use crate::{
    api::problem::HomeProblem,
    limits::{HOME_LOST_AFTER_MS, HOME_LOST_LONG_MS, MISSED_AFTER_MS, SILENT_HOME_LOST_AFTER_MS},
    net::{ConnectionProblem, HomeId, NetCommand},
    turn::{Effect, Fact, HomeFact, Schedule, Turn},
};

/// What is believed of a server that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It may be back in a moment, or the way to all of them is gone.
    Waits,
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
    stage: Stage,
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
            self.due.set(*home, Some(now + HOME_LOST_AFTER_MS));
        }
    }
}

impl Homes {
    /// Whether a server does not answer though others do, so that what waits for it is to go elsewhere.
    pub fn is_lost(&self, home: &HomeId) -> bool {
        self.outages.now.get(home).is_some_and(|outage| outage.stage != Stage::Waits)
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

    /// A server does not answer (any more); `after` is for how long it may go on before it is lost, in milliseconds.
    fn note_outage(&mut self, turn: &Turn<'_>, home: HomeId, after: u64) -> bool {
        if self.outages.now.contains_key(&home) {
            return false;
        }
        self.outages.now.insert(home, Outage { since: turn.now(), began: turn.now(), stage: Stage::Waits });
        self.outages.missed.set(home, Some(turn.now() + MISSED_AFTER_MS));
        let others_answer = self.any_answers();
        if others_answer {
            self.outages.due.set(home, Some(turn.now() + after));
        } else {
            self.outages.cut_off();
        }
        others_answer
    }

    /// We use a server that was not connected before.
    pub fn note_wanted(&mut self, turn: &Turn<'_>, home: HomeId) {
        self.note_outage(turn, home, HOME_LOST_AFTER_MS);
    }

    /// A server does not answer any more. Whether the others do is found out before it is judged: they may not have been asked for long.
    pub(super) fn note_away(&mut self, turn: &mut Turn<'_>, home: HomeId, silent: bool) {
        let after = if silent { SILENT_HOME_LOST_AFTER_MS } else { HOME_LOST_AFTER_MS };
        if self.note_outage(turn, home, after) {
            turn.emit(Effect::Net(NetCommand::Check));
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
            let Some(outage) = self.outages.now.get_mut(&home) else { continue };
            if outage.stage == Stage::Waits {
                outage.stage = Stage::Lost;
                self.outages.due.set(home, Some(outage.since + HOME_LOST_LONG_MS));
            } else {
                outage.stage = Stage::LostLong;
            }
            tracing::debug!(stage = ?outage.stage, "a server does not answer, though others do");
            turn.fact(Fact::Home(home, HomeFact::Lost));
        }
    }
}
