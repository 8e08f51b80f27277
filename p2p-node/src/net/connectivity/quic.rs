//! QUIC to a server whose session goes over TCP. Where TCP has won, UDP may be blocked, or QUIC's first packets were lost by chance: so it is dialled
//! again beside the session, seldom, and the session moves to it if it answers.

use std::time::{Duration, Instant};

use libp2p::{Multiaddr, multiaddr::Protocol};

use super::{Connectivity, DialFor, DialId, HomeId, peers::Session};

/// From the beginning of a session to the first try: what was lost by chance gets through then.
const FIRST: Duration = Duration::from_secs(10);
/// From the first try to the next one.
const SECOND: Duration = Duration::from_secs(60);
/// Between those that follow: UDP is blocked, most likely. Each try costs a few packets that nobody answers.
const OTHERS: Duration = Duration::from_secs(600);

/// The tries to reach one server over QUIC again.
#[derive(Debug, Default)]
pub struct QuicAgain {
    /// When the next one is to be made, if there is a session then.
    pub due: Option<Instant>,
    /// The dial that is under way.
    pub dialing: Option<DialId>,
    /// When the last one was made.
    last: Option<Instant>,
    /// How many there were in this network.
    tries: usize,
}

impl QuicAgain {
    /// A session over TCP has begun. However often that happens, tries are no more frequent.
    fn session_began(&mut self, now: Instant) {
        let wait = if self.tries == 1 { SECOND } else { OTHERS };
        let next = self.last.map(|last| last + wait);
        self.due = Some((now + FIRST).max(next.unwrap_or(now)));
    }

    /// Notes a try, and gives its number.
    fn tried(&mut self, now: Instant) -> usize {
        (self.last, self.tries) = (Some(now), self.tries.saturating_add(1));
        self.due = Some(now + if self.tries == 1 { SECOND } else { OTHERS });
        self.tries - 1
    }

    /// What was in the way may be gone.
    pub fn network_changed(&mut self, now: Instant) {
        (self.last, self.tries) = (None, 0);
        self.due = self.due.map(|_| now + FIRST);
    }
}

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

impl Connectivity {
    fn ways_over_quic(&self, id: HomeId) -> Vec<Multiaddr> {
        self.ways_to(id, |address| address.multiaddrs().into_iter().filter(is_quic).collect())
    }

    /// The session with a rendezvous has begun: if it does not go over QUIC, that is tried again.
    pub(super) fn expect_quic(&mut self, now: Instant, id: HomeId) {
        let over_quic = self.session_on(&id).is_none_or(|on| self.over_datagrams.contains_key(&on));
        let is_tried = !over_quic && !self.ways_over_quic(id).is_empty();
        if let Some(home) = self.homes.get_mut(&id) {
            home.quic.due = None;
            if is_tried {
                home.quic.session_began(now);
            }
        }
    }

    /// The network is another one.
    pub(super) fn try_quic_anew(&mut self, now: Instant) {
        let all: Vec<HomeId> = self.homes.keys().copied().collect();
        for id in all {
            if let Some(home) = self.homes.get_mut(&id) {
                home.quic.network_changed(now);
            }
            self.schedule_home(id);
        }
    }

    /// Dials a rendezvous over QUIC beside its session, by one way at a time.
    pub(super) fn try_quic(&mut self, now: Instant, id: HomeId) {
        let ways = self.ways_over_quic(id);
        let Some(home) = self.homes.get_mut(&id) else { return };
        let is_up = matches!(home.session, Session::Up { .. });
        let Some(peer) = home.peer().filter(|_| is_up && !ways.is_empty()) else {
            home.quic.due = None;
            return self.schedule_home(id);
        };
        if home.is_dialled() || home.quic.dialing.is_some() {
            // By all ways, most likely.
            home.quic.due = Some(now + FIRST);
            return self.schedule_home(id);
        }
        let place = home.quic.tried(now) % ways.len();
        let way = ways.into_iter().skip(place).take(1).collect();
        let dial = self.dial(DialFor::Home(id), peer, way);
        if let Some(home) = self.homes.get_mut(&id) {
            home.quic.dialing = Some(dial);
        }
        self.schedule_home(id);
    }
}
