//! Visits: other people's servers that we ask for something, or leave something at, are connected under a key that lives for that visit, and one
//! visit is about one account. So they learn neither which account asks nor what else it asks (decision 017).

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::AccountId;

use super::{
    Homes, Pending,
    limits::{MAX_VISITS, VISIT_MS, VISIT_REST_MS},
};
use crate::{
    net::HomeId,
    turn::{Fact, Turn},
};

/// What a visit is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A short code, by our number for it.
    Code(u64),
    /// Whoever has a user name.
    Name(String),
    /// An account: it is looked up, or something is left for it.
    Account(AccountId),
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Under the key of this device, for as long as it is wanted.
    Device,
    /// By a visit, with this number.
    Visit(u64),
    /// By visits, and not now.
    Rests,
}

#[derive(Debug)]
struct Visit {
    /// Tells it from those before, each of which had another key.
    number: u64,
    subject: Subject,
    /// In steady time.
    since: u64,
}

/// The visits that there are, and those that wait.
#[derive(Debug, Default)]
pub struct Visits {
    now: BTreeMap<HomeId, Visit>,
    /// What is not asked for again before a moment, in steady time.
    resting: BTreeMap<(HomeId, Subject), u64>,
    last: u64,
    /// The plan has to be made again.
    pub changed: bool,
}

impl Visits {
    /// The number of the visit to a server.
    pub fn number(&self, home: &HomeId) -> Option<u64> {
        self.now.get(home).map(|visit| visit.number)
    }

    /// A look-up by name has led to an account: the visit goes on with that.
    pub fn leads_to(&mut self, home: &HomeId, name: &str, account: AccountId) {
        if let Some(visit) = self.now.get_mut(home).filter(|visit| visit.subject == Subject::Name(name.to_owned())) {
            visit.subject = Subject::Account(account);
        }
    }

    /// A user waits for something about somebody: it does not rest.
    pub fn hurry(&mut self, subject: &Subject) {
        self.resting.retain(|(_, resting), _| resting != subject);
    }

    /// Ends a visit whose subject has to wait until a moment. Gives whether there was one.
    fn rest(&mut self, home: HomeId, until: u64) -> bool {
        let Some(visit) = self.now.remove(&home) else { return false };
        self.resting.insert((home, visit.subject), until);
        self.changed = true;
        true
    }

    /// Plans which servers are visited for what. `wishes` are those that there are, the most urgent first; for those in `soon` there will be something
    /// to do in a moment, so that a visit that there is goes on.
    pub(crate) fn plan(&mut self, now: u64, wishes: &[(HomeId, Subject)], soon: &BTreeSet<(HomeId, Subject)>) {
        self.changed = false;
        let wanted: BTreeSet<&(HomeId, Subject)> = wishes.iter().collect();
        self.resting.retain(|wish, until| *until > now && wanted.contains(wish));
        self.now.retain(|home, visit| {
            let wish = (*home, visit.subject.clone());
            wanted.contains(&wish) || soon.contains(&wish)
        });
        for wish in wishes {
            if self.now.len() >= MAX_VISITS {
                break;
            }
            let (home, subject) = wish;
            if !self.resting.contains_key(wish) && !self.now.contains_key(home) {
                self.last += 1;
                self.now.insert(*home, Visit { number: self.last, subject: subject.clone(), since: now });
            }
        }
    }

    /// When something changes by itself, in steady time.
    pub(super) fn next_due(&self) -> Option<u64> {
        let ends = self.now.values().map(|visit| visit.since + VISIT_MS);
        ends.chain(self.resting.values().copied()).min()
    }

    /// Ends those that last too long, so that others get their turn and no server sees one key for long.
    pub(super) fn on_time(&mut self, now: u64) {
        let over = |visit: &Visit| visit.since + VISIT_MS <= now;
        let ended: Vec<HomeId> = self.now.iter().filter(|(_, visit)| over(visit)).map(|(home, _)| *home).collect();
        for home in ended {
            self.rest(home, now + VISIT_REST_MS);
        }
        self.changed |= self.resting.values().any(|until| *until <= now);
    }
}

impl Homes {
    /// Whether what is about somebody may be asked of a server on the connection that there is.
    pub fn serves(&self, home: &HomeId, subject: &Subject) -> bool {
        !self.is_visited(home) || self.visits.now.get(home).is_some_and(|visit| visit.subject == *subject)
    }

    /// Whether a server is reached by visits only.
    pub fn is_visited(&self, home: &HomeId) -> bool {
        self.servers.get(home).is_some_and(|state| !matches!(state.way, None | Some(Way::Device)))
    }

    /// What was asked of a visited server is asked again at a steady time, under another key. Gives whether it is visited.
    pub(super) fn visit_again(&mut self, home: HomeId, at: u64) -> bool {
        self.is_visited(&home) && self.visits.rest(home, at)
    }

    /// Something may wait for a server that is not visited now.
    pub(crate) fn ask_for_visit(&self, turn: &mut Turn<'_>, home: &HomeId) {
        let is_connected = self.servers.get(home).is_some_and(|state| state.way == Some(Way::Device));
        if !is_connected && self.visits.number(home).is_none() {
            turn.fact(Fact::ReachChanged);
        }
    }

    /// How a server is reached from now on. Gives what was not answered on the connection before, if that is over.
    pub(crate) fn reach_by(&mut self, turn: &Turn<'_>, home: HomeId, visited: bool) -> Vec<Pending> {
        let way = match self.visits.number(&home) {
            _ if !visited => Way::Device,
            Some(number) => Way::Visit(number),
            None => Way::Rests,
        };
        let state = self.servers.entry(home).or_default();
        if state.way.replace(way) == Some(way) {
            return Vec::new();
        }
        (state.hello, state.silent) = (None, false);
        let lost = std::mem::take(&mut state.pending);
        self.forget_retries(home);
        if way != Way::Rests {
            self.note_wanted(turn, home);
        }
        lost.into_values().collect()
    }
}
