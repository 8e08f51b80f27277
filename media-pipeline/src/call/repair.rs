//! When a route's path is dead, and what this end does about it.
//!
//! Each end judges what it hears: who hears nothing takes the initiative, so a path that is dead in one direction is replaced, too. The end that makes the
//! offers restarts ICE; the other one asks it to. So there is one offer at a time, whoever began. A path through a relay that works is left in the same
//! way, if the network has changed and may let a direct one through; and so is one by an interface that the system uses no more to get there.

use std::time::{Duration, Instant};

use super::direct::DirectTry;
use crate::transport::peer::PeerState;

/// Silence that ends within this was a machine that is busy: its timers run before it has read what came.
const GRACE: Duration = Duration::from_millis(200);
/// A try that has led to nothing is made again. What it takes when the conversation itself has to find a new path first.
const AGAIN: Duration = Duration::from_secs(4);
/// Tries come no sooner after one another: each costs sockets and an allocation at a relay.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The same for what the other end asks for.
const MIN_REQUESTED_INTERVAL: Duration = Duration::from_secs(2);
/// After so long without anything a route is given up, whatever is still tried. Longer than a change of networks takes.
const GIVEN_UP: Duration = Duration::from_secs(20);

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a new offer.
    Restart,
    /// Ask the other end for one.
    RequestOffer,
    /// The route is over.
    GiveUp,
}

/// The state of a route's path.
#[derive(Debug)]
pub(super) struct Repair {
    /// The offers are ours to make.
    offers: bool,
    connected: bool,
    /// It was connected once: what never was is not repaired, but made again by who made it.
    begun: bool,
    /// Since when it does not work.
    since: Option<Instant>,
    /// When the next try is due.
    due: Option<Instant>,
    /// When the last one was made.
    tried: Option<Instant>,
    /// Since when an offer of ours is not answered.
    asked: Option<Instant>,
    /// The path goes through a relay, as far as is known.
    relayed: bool,
    /// It is direct, and goes by another interface than what is sent there now.
    detour: bool,
    /// When that is tried to be left.
    direct: DirectTry,
}

impl Repair {
    pub fn new(offers: bool) -> Self {
        Self {
            offers,
            connected: false,
            begun: false,
            since: None,
            due: None,
            tried: None,
            asked: None,
            relayed: false,
            detour: false,
            direct: DirectTry::default(),
        }
    }

    /// The offers are ours to make.
    pub fn makes_offers(&self) -> bool {
        self.offers
    }

    /// It was connected once.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The path does not work, or is taken not to.
    pub fn is_broken(&self) -> bool {
        self.since.is_some()
    }

    pub fn on_state(&mut self, state: PeerState, now: Instant) {
        self.connected = state == PeerState::Connected;
        if self.connected {
            self.begun = true;
            // It may be another path.
            (self.relayed, self.detour) = (false, false);
            (self.since, self.due) = (None, None);
        } else if self.begun && self.since.is_none() {
            self.since = Some(now);
            self.try_at(now + GRACE, MIN_INTERVAL);
        }
    }

    /// The path that is used goes through a relay, or does not.
    pub fn on_path(&mut self, relayed: bool) {
        self.relayed = relayed;
        if !relayed && !self.detour && self.is_settled() {
            self.direct.reached();
        }
    }

    /// It works, and nothing else is looked for.
    fn is_settled(&self) -> bool {
        self.connected && !self.is_broken()
    }

    /// The network has changed. With `lost`, the address that the path begins at is not this machine's any more.
    pub fn network_changed(&mut self, lost: bool, now: Instant) {
        if self.begun && (lost || self.is_broken()) {
            self.since.get_or_insert(now);
            self.try_at(now, MIN_INTERVAL);
        } else if self.is_settled() && self.relayed {
            self.direct.network_changed(now);
        }
    }

    /// After a change of the network: whether the path, which is a direct one, goes by another interface than what is sent there now. That is the better
    /// one, or the path's will be gone soon.
    pub fn on_detour(&mut self, detour: bool, now: Instant) {
        self.detour = detour && self.is_settled();
        if self.detour {
            self.direct.network_changed(now);
        }
    }

    /// The other end asks for a new offer. If one is on its way, it has not seen it yet.
    pub fn requested(&mut self, now: Instant) {
        let under_way = self.asked.is_some_and(|asked| now - asked < AGAIN);
        if self.begun && self.offers && !under_way {
            self.since.get_or_insert(now);
            self.try_at(now, MIN_REQUESTED_INTERVAL);
        }
    }

    fn try_at(&mut self, at: Instant, interval: Duration) {
        let at = self.tried.map_or(at, |tried| at.max(tried + interval));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// An offer of ours was made.
    pub fn offered(&mut self, now: Instant) {
        self.asked = Some(now);
        self.renewed(now);
    }

    /// An offer of the other end was answered.
    pub fn answered(&mut self, now: Instant) {
        self.renewed(now);
    }

    /// The connection looks for a path.
    fn renewed(&mut self, now: Instant) {
        self.connected = false;
        if self.begun {
            self.since.get_or_insert(now);
            self.due = Some(now + AGAIN);
            self.direct.renewed(now);
        }
    }

    /// The answer to our offer is here; false if nobody waits for it.
    pub fn accepted(&mut self, now: Instant) -> bool {
        let asked = self.asked.take().is_some();
        if asked && self.due.is_some() {
            self.due = Some(now + AGAIN);
        }
        asked
    }

    /// When [`Repair::step`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        let end = self.since.filter(|_| !self.connected).map(|since| since + GIVEN_UP);
        end.into_iter().chain(self.due).chain(self.direct_due()).min()
    }

    /// When a direct path is looked for, if that is for now.
    fn direct_due(&self) -> Option<Instant> {
        self.direct.next().filter(|_| self.is_settled() && (self.relayed || self.detour))
    }

    pub fn step(&mut self, now: Instant) -> Option<Step> {
        if !self.connected && self.since.is_some_and(|since| now >= since + GIVEN_UP) {
            (self.since, self.due) = (None, None);
            return Some(Step::GiveUp);
        }
        if self.due.is_some_and(|due| now >= due) {
            self.due = Some(now + AGAIN);
        } else if self.direct_due().is_none() || !self.direct.take_due(now) {
            return None;
        }
        // A path that works is broken only by the offer itself: if none comes to be, nothing was lost.
        self.tried = Some(now);
        Some(if self.offers { Step::Restart } else { Step::RequestOffer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route that is connected, and the steps it takes within a time.
    struct Route {
        repair: Repair,
        now: Instant,
    }

    impl Route {
        fn new(offers: bool) -> Self {
            let (mut repair, now) = (Repair::new(offers), Instant::now());
            repair.on_state(PeerState::Connected, now);
            Self { repair, now }
        }

        fn pass(&mut self, time: Duration) -> Vec<(Duration, Step)> {
            let (begun, end) = (self.now, self.now + time);
            let mut steps = Vec::new();
            while let Some(next) = self.repair.next().filter(|next| *next <= end) {
                self.now = next.max(self.now);
                if let Some(step) = self.repair.step(self.now) {
                    steps.push((self.now - begun, step));
                }
            }
            self.now = end;
            steps
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_hears_nothing_begins_at_once_whichever_end_it_is() {
        for (offers, step) in [(true, Step::Restart), (false, Step::RequestOffer)] {
            let mut route = Route::new(offers);
            assert_eq!(route.pass(60 * SECOND), []);
            route.repair.on_state(PeerState::Interrupted, route.now);
            assert_eq!(route.pass(SECOND), [(GRACE, step)]);
        }
    }

    #[test]
    fn silence_of_a_moment_is_none() {
        let mut route = Route::new(true);
        route.repair.on_state(PeerState::Interrupted, route.now);
        route.pass(GRACE / 2);
        route.repair.on_state(PeerState::Connected, route.now);
        assert_eq!(route.pass(60 * SECOND), []);
    }

    #[test]
    fn an_address_that_is_lost_is_not_waited_for_and_another_change_is_nothing() {
        let mut route = Route::new(false);
        route.repair.network_changed(false, route.now);
        assert_eq!(route.pass(SECOND), []);
        route.repair.network_changed(true, route.now);
        assert_eq!(route.pass(SECOND), [(Duration::ZERO, Step::RequestOffer)]);
    }

    /// A route whose path goes through a relay, after a change of the network.
    fn relayed(offers: bool) -> Route {
        let mut route = Route::new(offers);
        route.repair.on_path(true);
        assert_eq!(route.pass(60 * SECOND), []);
        route.repair.network_changed(false, route.now);
        route
    }

    #[test]
    fn a_relay_is_left_some_seconds_after_the_network_has_changed_whichever_end_it_is() {
        for (offers, step) in [(true, Step::Restart), (false, Step::RequestOffer)] {
            let mut route = relayed(offers);
            assert_eq!(route.pass(10 * SECOND), [(5 * SECOND, step)]);
            assert!(!route.repair.is_broken(), "the path works until there is an offer");
            if offers {
                route.repair.offered(route.now)
            } else {
                route.repair.answered(route.now)
            }
            assert!(route.repair.is_broken());
            route.repair.on_state(PeerState::Connected, route.now);
            route.repair.on_path(false);
            assert_eq!(route.pass(600 * SECOND), [], "it is direct");
        }
    }

    #[test]
    fn a_relay_that_cannot_be_left_is_tried_to_be_left_once() {
        let mut route = relayed(true);
        let mut tries = 0;
        for _ in 0..600 {
            for _ in route.pass(SECOND) {
                tries += 1;
                route.repair.offered(route.now);
                route.repair.accepted(route.now);
                route.repair.on_state(PeerState::Connected, route.now);
            }
            route.repair.on_path(true);
        }
        assert_eq!(tries, 1);
    }

    #[test]
    fn a_request_to_leave_a_relay_that_nobody_answers_costs_nothing() {
        let mut route = relayed(false);
        assert_eq!(route.pass(600 * SECOND), [(5 * SECOND, Step::RequestOffer)]);
        assert!(!route.repair.is_broken());
    }

    #[test]
    fn a_path_that_is_direct_when_the_time_has_come_stays() {
        let mut route = relayed(true);
        route.pass(2 * SECOND);
        route.repair.on_path(false);
        assert_eq!(route.pass(600 * SECOND), []);
        // Whether one is, is not known at once.
        let mut route = relayed(true);
        route.pass(4 * SECOND);
        route.repair.on_state(PeerState::Interrupted, route.now);
        route.repair.on_state(PeerState::Connected, route.now);
        assert_eq!(route.pass(2 * SECOND), []);
        route.repair.on_path(false);
        assert_eq!(route.pass(600 * SECOND), []);
    }

    #[test]
    fn a_path_by_an_interface_that_is_not_used_any_more_is_left_once_the_network_has_settled() {
        for (offers, step) in [(true, Step::Restart), (false, Step::RequestOffer)] {
            let mut route = Route::new(offers);
            route.repair.on_path(false);
            for _ in 0..30 {
                route.repair.network_changed(false, route.now);
                route.repair.on_detour(true, route.now);
                assert_eq!(route.pass(SECOND / 10), []);
                // As it is looked at each second.
                route.repair.on_path(false);
            }
            assert_eq!(route.pass(10 * SECOND), [(5 * SECOND - SECOND / 10, step)]);
            assert!(!route.repair.is_broken(), "it works until there is an offer");
            if offers {
                route.repair.offered(route.now);
                assert!(route.repair.accepted(route.now));
            } else {
                route.repair.answered(route.now);
            }
            // It may be the same path.
            route.repair.on_state(PeerState::Connected, route.now);
            route.repair.on_path(false);
            assert_eq!(route.pass(600 * SECOND), []);
        }
    }

    #[test]
    fn a_path_that_is_no_detour_any_more_stays() {
        let mut route = Route::new(true);
        route.repair.on_detour(true, route.now);
        route.pass(2 * SECOND);
        route.repair.on_detour(false, route.now);
        route.repair.on_path(false);
        assert_eq!(route.pass(600 * SECOND), []);
    }

    #[test]
    fn both_ends_that_leave_a_relay_at_the_same_moment_make_one_offer() {
        let (mut caller, mut called) = (relayed(true), relayed(false));
        assert_eq!(caller.pass(5 * SECOND), [(5 * SECOND, Step::Restart)]);
        assert_eq!(called.pass(5 * SECOND), [(5 * SECOND, Step::RequestOffer)]);
        caller.repair.offered(caller.now);
        // The offer and the request cross.
        caller.repair.requested(caller.now);
        called.repair.answered(called.now);
        assert!(caller.repair.accepted(caller.now));
        for route in [&mut caller, &mut called] {
            route.repair.on_state(PeerState::Connected, route.now);
            route.repair.on_path(false);
            assert_eq!(route.pass(600 * SECOND), []);
        }
    }

    #[test]
    fn both_ends_that_hear_nothing_at_the_same_moment_make_one_offer() {
        let (mut caller, mut called) = (Route::new(true), Route::new(false));
        for route in [&mut caller, &mut called] {
            route.repair.on_state(PeerState::Interrupted, route.now);
        }
        assert_eq!(caller.pass(SECOND), [(GRACE, Step::Restart)]);
        assert_eq!(called.pass(SECOND), [(GRACE, Step::RequestOffer)]);
        caller.repair.offered(caller.now);
        // The offer and the request cross.
        caller.repair.requested(caller.now);
        called.repair.answered(called.now);
        assert!(caller.repair.accepted(caller.now));
        for route in [&mut caller, &mut called] {
            route.repair.on_state(PeerState::Connected, route.now);
            assert_eq!(route.pass(600 * SECOND), []);
        }
    }

    #[test]
    fn a_flapping_interface_beside_a_relayed_path_makes_a_try_once_it_has_settled() {
        let mut route = relayed(true);
        for _ in 0..600 {
            route.repair.network_changed(false, route.now);
            assert_eq!(route.pass(SECOND / 10), []);
        }
        assert_eq!(route.pass(600 * SECOND).first(), Some(&(5 * SECOND - SECOND / 10, Step::Restart)));
    }

    #[test]
    fn a_change_of_the_network_while_nothing_comes_is_a_new_try() {
        let mut route = Route::new(true);
        route.repair.on_state(PeerState::Interrupted, route.now);
        route.pass(2 * SECOND);
        route.repair.offered(route.now);
        route.repair.network_changed(false, route.now);
        assert_eq!(route.pass(SECOND), [(Duration::ZERO, Step::Restart)]);
    }

    #[test]
    fn a_request_is_answered_once_by_the_end_that_makes_the_offers() {
        let mut route = Route::new(true);
        route.repair.requested(route.now);
        assert_eq!(route.pass(Duration::ZERO), [(Duration::ZERO, Step::Restart)]);
        route.repair.offered(route.now);
        // It has crossed the offer.
        route.repair.requested(route.now);
        assert_eq!(route.pass(SECOND), []);
        assert!(route.repair.accepted(route.now));
        assert!(!route.repair.accepted(route.now), "nobody waits for a second answer");
        route.repair.on_state(PeerState::Connected, route.now);
        // A new one is, however often it is asked for.
        for _ in 0..9 {
            route.repair.requested(route.now);
        }
        assert_eq!(route.pass(3 * SECOND).len(), 1);
        let mut other = Route::new(false);
        other.repair.requested(other.now);
        assert_eq!(other.pass(3 * SECOND), [], "not ours to make");
    }

    #[test]
    fn an_interface_that_flaps_makes_one_try_a_second() {
        let mut route = Route::new(true);
        let mut tries = 0;
        for _ in 0..100 {
            route.repair.network_changed(true, route.now);
            for _ in route.pass(SECOND / 10) {
                tries += 1;
                route.repair.offered(route.now);
            }
        }
        assert!((9..=11).contains(&tries), "{tries} in ten seconds");
    }

    #[test]
    fn a_route_without_a_path_is_given_up_and_one_that_never_was_is_not_repaired() {
        let mut route = Route::new(true);
        route.repair.on_state(PeerState::Interrupted, route.now);
        let steps = route.pass(60 * SECOND);
        assert_eq!(steps.last(), Some(&(GIVEN_UP, Step::GiveUp)));
        assert_eq!(steps.iter().filter(|(_, step)| *step == Step::Restart).count(), 5);
        let mut repair = Repair::new(true);
        repair.offered(route.now);
        repair.requested(route.now);
        repair.network_changed(true, route.now);
        repair.on_state(PeerState::Interrupted, route.now);
        assert_eq!(repair.next(), None);
    }
}
