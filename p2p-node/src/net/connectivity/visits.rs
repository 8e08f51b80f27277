//! Decisions about visits: sessions with rendezvous servers on connections of their own, each under a key that is made for it.

use std::time::Instant;

use super::{
    Action, Connectivity, DialFor, DialId, HomeId, NetEvent,
    homes::LAST_RESORT,
    peers::{LastResort, Session},
    quic::QuicAgain,
};
use crate::net::ConnectionProblem;

impl Connectivity {
    /// The visit that a dial is for. `None` if it is for none, or for one that is not wanted any more.
    pub fn visit_of(&self, dial: DialId) -> Option<HomeId> {
        let Some(DialFor::Home(id)) = self.dials.get(&dial) else { return None };
        self.homes.get(id).filter(|home| home.visit.is_some() && !home.is_up() && home.dials(dial)).map(|_| *id)
    }

    /// Whether a dial is for a visit that is not wanted any more. It is not to be made then: on another connection than one of its own it would tell
    /// the server who we are.
    pub fn is_past_visit(&self, dial: DialId) -> bool {
        let Some(DialFor::Home(id)) = self.dials.get(&dial) else { return false };
        self.homes.get(id).is_none_or(|home| home.visit.is_some()) && self.visit_of(dial).is_none()
    }

    /// A rendezvous is reached in another way from now on: what there is of the way before ends.
    pub(super) fn set_visit(&mut self, now: Instant, id: HomeId, visit: Option<u64>) {
        let Some(home) = self.homes.get_mut(&id) else {
            let mut home = super::peers::Home::new(now);
            home.visit = visit;
            self.homes.insert(id, home);
            return;
        };
        if home.visit == visit {
            return;
        }
        (home.visit, home.session, home.dialing) = (visit, Session::Down, None);
        (home.last_resort, home.quic) = (LastResort::default(), QuicAgain::default());
        home.forget_delay();
        home.backoff.expedite(now);
        self.act(Action::DropHome(id));
        self.end_liveness(super::Subject::Home(id));
    }

    /// The last resort was what worked last: it is tried alone for as long as the other ways are otherwise, which follow then, or once it has failed.
    pub(super) fn visit_by_last_resort(&mut self, now: Instant, id: HomeId) {
        if let Some(home) = self.homes.get_mut(&id) {
            home.backoff.postpone(now + LAST_RESORT);
            home.last_resort.problem = None;
        }
        self.try_last_resort(id);
    }

    pub(super) fn visiting(&mut self, now: Instant, id: HomeId, dial: DialId) {
        if self.visit_of(dial) != Some(id) {
            return;
        }
        self.home_reached(now, id, dial);
        self.dial_ended(Some(dial));
        if let Some(home) = self.homes.get_mut(&id) {
            home.session = Session::Visiting { since: now };
            home.forget_delay();
        }
        self.schedule_home(id);
    }

    /// The network is another one: visits are begun again in it, as nothing is lost with them.
    pub(super) fn end_visits(&mut self) {
        let visiting = |session| matches!(session, Session::Visiting { .. });
        let ended: Vec<HomeId> =
            self.homes.iter().filter(|(_, home)| visiting(home.session)).map(|(id, _)| *id).collect();
        for id in ended {
            if let Some(home) = self.homes.get_mut(&id) {
                home.session = Session::Down;
            }
            self.act(Action::DropHome(id));
            self.act(Action::Tell(NetEvent::HomeDown(id, ConnectionProblem::Broken)));
        }
    }
}
