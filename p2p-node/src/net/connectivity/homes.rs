//! Decisions about rendezvous servers: the session with each, and reservations that make us reachable through their relay.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::transport::ListenerId, multiaddr::Protocol, swarm::ConnectionId};
use rand::RngExt;
use starling_keys::RendezvousAddr;

use super::{
    Action, Connectivity, DialFor, DialId, Errand, HomeId, Left, NetEvent, Subject, WantedHome, device_of,
    peers::{Connections, Home, LastResort, MAX_DEVICE_WAIT, MAX_HOME_WAIT, Session},
};
use crate::net::ConnectionProblem;

/// How long the other ways are tried alone before the last resort is dialled beside them: most servers are reached in a fraction of it, and people
/// hear within 3 s how they are connected.
pub(super) const LAST_RESORT: Duration = Duration::from_secs(2);

/// A server that is dialled for so long is said to be late: people hear within 3 s what is the case.
pub(super) const DELAYED: Duration = Duration::from_millis(2_500);

/// A session over TCP that stalls within this time of its beginning may have met a path that drops large packets and does not say so: what is said
/// first is long, and the connections that follow would stall as well. Those to port 443 have small packets.
const STALLS: Duration = Duration::from_secs(60);

/// Who lost a session within this time before, and found the server as it was, is behind something that cuts connections: a proxy, or a NAT that forgets.
const CUT_AGAIN: Duration = Duration::from_secs(300);

/// Until a server is dialled again that has not greeted us.
const MUTE: Duration = Duration::from_secs(1);

/// Whether something else that answers at port 443 says more than this of the other ways: where the server's own port refuses, it may be a web site.
fn says_less(problem: ConnectionProblem) -> bool {
    matches!(problem, ConnectionProblem::NoAnswer | ConnectionProblem::NoRoute)
}

/// Whether a server may be reached at another port although there is this problem.
fn depends_on_port(problem: ConnectionProblem) -> bool {
    use ConnectionProblem as Problem;
    !matches!(
        problem,
        Problem::Offline
            | Problem::NoSuchName
            | Problem::NoNameServer
            | Problem::NameLookup
            | Problem::ForeignNetwork
            | Problem::ProxyUnreachable
            | Problem::ProxyCredentials
    )
}

impl Connectivity {
    pub(super) fn set_homes(&mut self, now: Instant, homes: HashMap<HomeId, WantedHome>) {
        let gone: Vec<HomeId> = self.homes.keys().filter(|id| !homes.contains_key(*id)).copied().collect();
        for id in gone {
            if let Some(home) = self.homes.remove(&id) {
                self.act(Action::DropHome(id));
                self.stop_listening(home.listener);
            }
            self.end_liveness(Subject::Home(id));
            self.schedule_home(id);
        }
        for (id, WantedHome { addresses, own, named, visit }) in homes {
            self.set_visit(now, id, visit);
            let home = self.homes.entry(id).or_insert_with(|| Home::new(now));
            (home.reserve, home.named) = (own, named);
            let listener = if own { None } else { home.listener.take() };
            if home.addresses != addresses {
                home.addresses = addresses;
                home.forget_delay();
                home.backoff.expedite(now);
            }
            self.stop_listening(listener);
            self.schedule_home(id);
        }
        self.heed_lone_relays(now);
        self.admit_known();
    }

    fn stop_listening(&mut self, listener: Option<ListenerId>) {
        if let Some(listener) = listener {
            self.act(Action::StopListening(listener));
        }
    }

    pub(super) fn schedule_home(&mut self, id: HomeId) {
        let home = self.homes.get(&id);
        self.agenda.set(Errand::Home(id), home.and_then(Home::due));
        self.agenda.set(Errand::LastResort(id), home.and_then(|home| home.last_resort.due));
        self.agenda.set(Errand::Quic(id), home.and_then(Home::quic_due));
        self.agenda.set(Errand::Delay(id), home.and_then(|home| home.delay_due));
        self.agenda.set(Errand::Reservation(id), home.and_then(Home::reservation_due));
    }

    pub(super) fn try_home(&mut self, now: Instant, id: HomeId) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        home.backoff.tried(now, MAX_HOME_WAIT, &mut self.rng);
        if let Some(peer) = home.peer() {
            if home.visit.is_none() && self.is_connected(&peer) {
                self.home_connected(now, &id);
            } else {
                self.dial_home(now, id, peer);
            }
        }
        self.schedule_home(id);
    }

    pub(super) fn dial_home(&mut self, now: Instant, id: HomeId, peer: PeerId) {
        let addresses = self.ways_to(id, RendezvousAddr::multiaddrs);
        if addresses.is_empty() {
            self.home_unreachable(Some(peer), ConnectionProblem::ForeignNetwork);
            return;
        }
        let has_last_resort = !self.ways_to(id, |address| address.last_resort().into_iter().collect()).is_empty();
        if let Some(home) = self.homes.get_mut(&id) {
            home.expect(now + DELAYED);
        }
        if has_last_resort && self.homes.get(&id).is_some_and(Home::begins_by_last_resort) {
            return self.visit_by_last_resort(now, id);
        }
        let dial = self.dial(DialFor::Home(id), peer, addresses);
        if let Some(home) = self.homes.get_mut(&id) {
            home.dialing = Some(dial);
            let last = &mut home.last_resort;
            last.spare = false;
            if has_last_resort && last.dialing.is_none() {
                (last.due, last.problem) = (Some(if last.worked { now } else { now + LAST_RESORT }), None);
            }
        }
        self.schedule_home(id);
    }

    /// Where a rendezvous may be dialled.
    pub(super) fn ways_to(&self, id: HomeId, ways: impl Fn(&RendezvousAddr) -> Vec<Multiaddr>) -> Vec<Multiaddr> {
        let Some(home) = self.homes.get(&id) else { return Vec::new() };
        let may_dial = |address: &&RendezvousAddr| home.is_chosen() || self.reach.admits_home(address);
        let is_admitted = |way: &Multiaddr| home.is_chosen() || self.reach.admits_way(way);
        home.addresses.iter().filter(may_dial).flat_map(ways).filter(is_admitted).collect()
    }

    /// What was dialled first has led to nothing so far: dials the last resort beside it.
    pub(super) fn try_last_resort(&mut self, id: HomeId) {
        let mut addresses = self.ways_to(id, |address| address.last_resort().into_iter().collect());
        addresses.dedup();
        let peer = self.homes.get_mut(&id).and_then(|home| {
            let is_sound = home.is_sound();
            let last = &mut home.last_resort;
            last.due = None;
            if last.spare && is_sound {
                last.problem = None;
                return None;
            }
            home.peer()
        });
        if let Some(peer) = peer.filter(|_| !addresses.is_empty()) {
            let dial = self.dial(DialFor::Home(id), peer, addresses);
            if let Some(home) = self.homes.get_mut(&id) {
                home.last_resort.dialing = Some(dial);
            }
        }
        self.schedule_home(id);
    }

    /// A dial has led to a rendezvous. Returns false if that is of no use: another one has led there meanwhile by a better way, or it was for the
    /// case that the session's connection is dead, and that has answered meanwhile.
    pub(super) fn home_reached(&mut self, now: Instant, id: HomeId, dial: DialId) -> bool {
        let over_datagrams = self.session_on(&id).and_then(|on| self.over_datagrams.get(&on).copied());
        let Some(home) = self.homes.get_mut(&id) else { return true };
        let lost = over_datagrams.filter(|_| home.liveness.was_lost_at_rest());
        let is_spare = home.spare.take_if(|spare| *spare == dial).is_some();
        let (is_sound, has_stalled) = (home.is_sound(), over_datagrams.is_none() && home.stalls_within(now, STALLS));
        let is_quic = home.quic.dialing == Some(dial);
        let last = &mut home.last_resort;
        let is_wanted = if is_quic {
            // It is better than what the session goes over, whichever that is.
            let before = std::mem::take(last);
            last.superseded = before.dialing.or(before.superseded);
            true
        } else if home.dialing == Some(dial) {
            // A session that came by the last resort moves to it in any case.
            let is_better = last.worked;
            let before = std::mem::take(last);
            if has_stalled && !is_better {
                let due = before.dialing.is_none().then_some(now);
                *last = LastResort { due, spare: false, problem: None, ..before };
            } else {
                last.superseded = before.dialing.or(before.superseded);
            }
            is_better || !(is_spare && is_sound)
        } else if last.dialing == Some(dial) {
            let is_wanted = !(last.spare && is_sound);
            (last.due, last.worked, last.problem) = (None, last.worked || is_wanted, None);
            is_wanted
        } else {
            last.superseded != Some(dial)
        };
        // The server is there: it was the path to it that is not.
        if let Some(version) = lost.filter(|_| is_wanted) {
            self.act(Action::MappingLost(version));
        }
        self.schedule_home(id);
        is_wanted
    }

    /// A dial has failed. Gives what the engine is to learn of it: nothing while another way to the same rendezvous is tried, and of several problems
    /// that of the better way, unless something else answers in place of the server.
    pub(super) fn problem_of(
        &mut self,
        now: Instant,
        dial: Option<DialId>,
        problem: ConnectionProblem,
    ) -> Option<ConnectionProblem> {
        let is_intercepted = |problem: &ConnectionProblem| *problem == ConnectionProblem::Intercepted;
        let (Some(id), Some(dial)) = (self.home_of_dial(dial), dial) else { return Some(problem) };
        let Some(home) = self.homes.get_mut(&id) else { return Some(problem) };
        if home.quic.dialing == Some(dial) {
            return None;
        }
        let last = &mut home.last_resort;
        if last.dialing == Some(dial) {
            let intercepted = Some(problem).filter(is_intercepted);
            if home.visit.is_some() && home.dialing.is_none() && std::mem::take(&mut last.worked) {
                // It was tried alone.
                home.backoff.expedite(now);
            }
            // That of the others, if they have failed. They may be tried again already.
            let before = std::mem::replace(&mut last.problem, intercepted);
            return before.map(|before| intercepted.filter(|_| says_less(before)).unwrap_or(before));
        }
        if last.superseded == Some(dial) {
            return None;
        }
        if home.dialing == Some(dial) {
            let before = last.problem.take();
            last.due = last.due.filter(|_| depends_on_port(problem)).map(|_| now);
            if last.due.is_some() || last.dialing.is_some() {
                last.problem = Some(problem);
                return None;
            }
            return before.filter(|before| is_intercepted(before) && says_less(problem)).or(Some(problem));
        }
        Some(problem)
    }

    /// A rendezvous is not reached yet, though it was tried in some way or for some time: the engine learns what is known of why.
    pub(super) fn tell_delay(&mut self, id: HomeId) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        home.delay_due = None;
        if !home.is_up() && !home.is_explained {
            let last = &home.last_resort;
            let problem = last.problem.unwrap_or(ConnectionProblem::NoAnswer);
            let last_resort = last.due.is_some() || last.dialing.is_some();
            self.act(Action::Tell(NetEvent::HomeDelayed { home: id, problem, last_resort }));
        }
        self.schedule_home(id);
    }

    /// One of the ways to a rendezvous has led to nothing, while others are tried.
    pub(super) fn way_failed(&mut self, id: HomeId) {
        if self.homes.get(&id).is_some_and(|home| home.last_resort.problem.is_some()) {
            self.tell_delay(id);
        }
    }

    /// There is a connection to a rendezvous: opens the session on it, if there is none. One that is silent ends, and is opened again here.
    pub(super) fn home_connected(&mut self, now: Instant, id: &HomeId) {
        let Some(home) = self.homes.get(id).filter(|home| home.visit.is_none()) else { return };
        let Some(peer) = home.peer() else { return };
        let Some(all) = self.connections.get(&peer) else { return };
        let Some(best) = all.best() else { return };
        match home.session {
            Session::Down => self.open_home(now, *id, peer, best.id),
            Session::Opening { on } if on != best.id && !home.liveness.is_sound() => {
                self.open_home(now, *id, peer, best.id);
                self.act(Action::Close(on));
            }
            _ if home.liveness.is_silent() => {
                let silent: Vec<_> = all.others(best.id).collect();
                for connection in silent {
                    self.act(Action::Close(connection));
                }
            }
            _ => {}
        }
    }

    fn open_home(&mut self, now: Instant, id: HomeId, peer: PeerId, on: ConnectionId) {
        if let Some(home) = self.homes.get_mut(&id) {
            (home.session, home.is_greeted) = (Session::Opening { on }, false);
        }
        self.act(Action::OpenHome { home: id, peer, on });
        self.await_greeting(now, id);
        self.schedule_home(id);
    }

    /// Of the connections to a rendezvous with a session, one is kept. If that is another one than the session's, the session ends and is opened again.
    pub(super) fn move_session(&mut self, id: HomeId, to: ConnectionId) {
        let Some(home) = self.homes.get(&id) else { return };
        if let (Session::Up { .. }, Some(peer)) = (home.session, home.peer())
            && let Some(all) = self.connections.get(&peer)
        {
            let old: Vec<ConnectionId> = all.others(to).collect();
            for connection in old {
                self.act(Action::Close(connection));
            }
        }
    }

    /// A rendezvous has tested whether we can be reached, for which it has connected to us: the session's connection is enough.
    pub(super) fn reachability_tested(&mut self, server: PeerId) {
        let Some(id) = device_of(&server).map(|id| *id.as_bytes()) else { return };
        if let Some(Session::Up { on, .. }) = self.homes.get(&id).map(|home| home.session) {
            self.move_session(id, on);
        }
    }

    /// A rendezvous has connected to us by itself. It does so to test whether we can be reached, and when it was killed and is back: then the connection
    /// of the session is dead.
    pub(super) fn heed_return(&mut self, now: Instant, server: &PeerId, by: ConnectionId) {
        let Some(id) = device_of(server).map(|id| *id.as_bytes()) else { return };
        let is_sound = self.homes.get(&id).is_some_and(Home::is_sound);
        if is_sound && self.session_on(&id).is_some_and(|on| on != by) {
            self.probe(now, Subject::Home(id));
        }
    }

    /// A rendezvous for whose session a stream is being opened on a connection. One that opens for another was asked for before it was reached in
    /// another way.
    fn opening_home(&mut self, id: HomeId, on: ConnectionId) -> Option<&mut Home> {
        self.homes.get_mut(&id).filter(|home| home.visit.is_none() && home.session == Session::Opening { on })
    }

    pub(super) fn home_opened(&mut self, now: Instant, id: HomeId, on: ConnectionId) {
        let Some(home) = self.opening_home(id, on) else { return };
        home.session = Session::Up { since: now, on };
        home.forget_delay();
        home.reservation_backoff.expedite(now);
        self.expect_quic(now, id);
        self.schedule_home(id);
        // Devices may be reachable through it now.
        self.expedite_all_devices(now);
    }

    /// The server has greeted us in the session.
    pub(super) fn home_greeted(&mut self, now: Instant, id: HomeId) {
        if let Some(home) = self.homes.get_mut(&id).filter(|home| matches!(home.session, Session::Up { .. })) {
            home.is_greeted = true;
            self.set_suspect(now, Subject::Home(id), false);
            self.begin_liveness(now, Subject::Home(id));
        }
    }

    pub(super) fn home_failed(&mut self, id: HomeId, on: ConnectionId, problem: ConnectionProblem) {
        let Some(home) = self.opening_home(id, on) else { return };
        home.session = Session::Down;
        home.forget_delay();
        let peer = home.peer();
        self.end_liveness(Subject::Home(id));
        self.schedule_home(id);
        // A server that was restarted knows nothing of the connection, and does not say so.
        self.close_connections(peer);
        self.act(Action::Tell(NetEvent::HomeDown(id, problem)));
    }

    /// Closes the connections that there are to a rendezvous. Dials to it go on: to end them, too, would tell nobody why it is not reached.
    pub(super) fn close_connections(&mut self, peer: Option<PeerId>) {
        let all = peer.and_then(|peer| self.connections.get(&peer));
        let open: Vec<ConnectionId> = all.map(Connections::ids).into_iter().flatten().collect();
        for connection in open {
            self.act(Action::Close(connection));
        }
    }

    pub(super) fn home_ended(&mut self, now: Instant, id: HomeId, left: Left) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        if let Session::Up { since, .. } | Session::Visiting { since } = home.session {
            home.backoff.session_ended(since, now);
        }
        let before = home.broke.replace((left.run, now));
        let is_cut_again = before
            .is_some_and(|(run, at)| run == left.run && run != 0 && now.saturating_duration_since(at) < CUT_AGAIN);
        let is_mute = left.problem == ConnectionProblem::NoAnswer && !home.is_greeted && home.visit.is_none();
        (home.session, home.is_greeted) = (Session::Down, false);
        home.forget_delay();
        if home.is_dialled() {
            home.expect(now + DELAYED);
        }
        let peer = home.peer();
        let is_connected = home.visit.is_none() && peer.is_some_and(|peer| self.connections.contains_key(&peer));
        if let Some(wait) = left.come_again {
            // Not all of its clients at the same moment.
            home.backoff.postpone(now + wait.mul_f64(self.rng.random_range(1.0..2.0)));
            // It ends: what takes its place knows nothing of the connection.
            self.close_connections(peer);
        } else if is_mute {
            // It accepts what is opened there and says nothing: it is dialled by all ways, once the connection is closed.
            home.backoff.postpone(now + MUTE);
            self.close_connections(peer);
        } else if is_connected {
            home.backoff.expedite(now);
        } else if !is_cut_again {
            // Neither if it was killed, which all of its clients notice at once.
            home.backoff.postpone(now + left.retry_window.mul_f64(self.rng.random_range(0.0..1.0)));
        }
        self.end_liveness(Subject::Home(id));
        self.schedule_home(id);
        self.act(Action::Tell(NetEvent::HomeDown(id, left.problem)));
    }

    /// A dial has failed: if it was to a rendezvous that we have no session with, the engine learns why.
    pub(super) fn home_unreachable(&mut self, peer: Option<PeerId>, problem: ConnectionProblem) {
        if let Some(id) = peer.as_ref().and_then(device_of).map(|id| *id.as_bytes())
            && let Some(home) = self.homes.get_mut(&id).filter(|home| !home.is_up())
        {
            (home.delay_due, home.is_explained) = (None, true);
            self.schedule_home(id);
            self.act(Action::Tell(NetEvent::HomeDown(id, problem)));
        }
    }

    pub(super) fn try_reservation(&mut self, now: Instant, id: HomeId) {
        let Some(home) = self.homes.get_mut(&id) else { return };
        home.reservation_backoff.tried(now, MAX_DEVICE_WAIT, &mut self.rng);
        // Any way names the relay: that is connected.
        if let Some(way) = home.addresses.iter().flat_map(RendezvousAddr::multiaddrs).next() {
            let circuit = way.with(Protocol::P2pCircuit);
            self.act(Action::Reserve { home: id, circuit });
        }
        self.schedule_home(id);
    }

    pub(super) fn reserving(&mut self, now: Instant, id: HomeId, listener: ListenerId) {
        match self.homes.get_mut(&id).filter(|home| home.reserve) {
            Some(home) => {
                home.reserved = now;
                let replaced = home.listener.replace(listener);
                self.stop_listening(replaced);
                self.schedule_home(id);
            }
            None => self.stop_listening(Some(listener)),
        }
    }

    pub(super) fn listener_closed(&mut self, now: Instant, listener: ListenerId) {
        let home = self.homes.iter_mut().find(|(_, home)| home.listener == Some(listener));
        if let Some((id, home)) = home {
            home.listener = None;
            home.reservation_backoff.session_ended(home.reserved, now);
            let id = *id;
            self.schedule_home(id);
        }
    }
}
