//! How long the network that the machine is in remembers a connection over datagrams on which nothing is sent, as far as it has shown: NATs and
//! firewalls forget it after a while, and then nothing comes in on it any more.
//!
//! Each internet protocol has its own: what IPv4 loses to a NAT says nothing of a firewall for IPv6, nor the other way round.
//!
//! What is known outlives the program ([`KnownNetwork`]). It is measured on sockets of its own ([`lifetime`](super::lifetime)), so that no connection
//! is put at risk to learn it; and a connection that was lost all the same lowers it.

use std::time::{Duration, Instant};

use super::lifetime::SILENCES;
use crate::net::{IpVersion, KnownNetwork, NetworkId, connectivity::FIRST_REST};

/// Networks that are remembered, counted for each internet protocol; then the one that was measured longest ago is forgotten.
const MAX_NETWORKS: usize = 64;
/// What a network has shown is measured again after this time: routers are replaced and set up anew.
const MEASURED_FOR: Duration = Duration::from_secs(7 * 86_400);
/// A network that has lost a connection is measured again after this time: what it was may as well have been a server that was restarted.
const LOST_FOR: Duration = Duration::from_secs(86_400);
/// A measurement that has led to nothing, as the server did not answer, is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(3600);

/// How long connections may rest where a silence was kept: a fifth less, as clocks of routers are coarse and a packet may have to be sent again.
fn rest_of(kept: Duration) -> Duration {
    (kept * 4 / 5).max(FIRST_REST)
}

/// Under what a network is remembered for an internet protocol.
fn key(network: NetworkId, version: IpVersion) -> NetworkId {
    let mut hasher = blake3::Hasher::new_derive_key(match version {
        IpVersion::V4 => "starling 2026 network by IPv4 v1",
        IpVersion::V6 => "starling 2026 network by IPv6 v1",
    });
    hasher.update(&network.0);
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    NetworkId(key)
}

/// What is known of networks.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// The one that the machine is in, once that is known.
    here: Option<NetworkId>,
    /// The one that was measured last at the end.
    known: Vec<KnownNetwork>,
    /// Where a measurement was begun last for each internet protocol, and when; not more than one of each.
    tried: Vec<(IpVersion, NetworkId, Instant)>,
}

impl Mappings {
    /// What was known when the program ended.
    pub fn remember(&mut self, known: Vec<KnownNetwork>) {
        self.known = known;
        self.forget_excess();
    }

    /// The machine is in this network, or in one of which nothing is known. Returns whether it was in another one before.
    pub fn enter(&mut self, network: Option<NetworkId>) -> bool {
        std::mem::replace(&mut self.here, network) != network
    }

    /// The network that the machine is in.
    pub fn here(&self) -> Option<NetworkId> {
        self.here
    }

    /// How long a connection over datagrams of an internet protocol may be silent here.
    pub fn rest(&self, version: IpVersion) -> Duration {
        let longest = SILENCES.last().copied().map_or(FIRST_REST, rest_of);
        // What is in the profile may be of another version.
        self.known_here(version)
            .map_or(FIRST_REST, |known| Duration::from_secs(known.rest_s.into()).clamp(FIRST_REST, longest))
    }

    fn known_here(&self, version: IpVersion) -> Option<&KnownNetwork> {
        let here = key(self.here?, version);
        self.known.iter().find(|known| known.network == here)
    }

    /// Whether a measurement is to begin. It then counts as tried. `unix_s` are the seconds since 1970.
    pub fn begin(&mut self, version: IpVersion, now: Instant, unix_s: u64) -> bool {
        let Some(here) = self.here else { return false };
        // A clock that was set back makes it old, too.
        let age = self.known_here(version).and_then(|known| unix_s.checked_sub(known.measured_s));
        let is_known = age.is_some_and(|age| age < MEASURED_FOR.as_secs());
        let was_tried = |(of, network, at): &(IpVersion, NetworkId, Instant)| {
            *of == version && *network == here && now.saturating_duration_since(*at) < TRY_AGAIN
        };
        if is_known || self.tried.iter().any(was_tried) {
            return false;
        }
        self.tried.retain(|(of, ..)| *of != version);
        self.tried.push((version, here, now));
        true
    }

    /// The network has kept a mapping in silence for so long, and for no longer. Gives what to remember.
    pub fn measured(&mut self, version: IpVersion, unix_s: u64, kept: Duration) -> Option<KnownNetwork> {
        self.note(version, unix_s, rest_of(kept))
    }

    /// A connection was lost at rest. The network is trusted with a step less, until it is measured again. Gives what to remember, unless nothing
    /// changes.
    pub fn lost(&mut self, version: IpVersion, unix_s: u64) -> Option<KnownNetwork> {
        let before = self.rest(version);
        if before <= FIRST_REST {
            return None;
        }
        let steps = SILENCES.iter().map(|silence| rest_of(*silence));
        let lower = steps.filter(|rest| *rest < before).max().unwrap_or(FIRST_REST);
        self.note(version, unix_s.saturating_sub((MEASURED_FOR - LOST_FOR).as_secs()), lower)
    }

    fn note(&mut self, version: IpVersion, measured_s: u64, rest: Duration) -> Option<KnownNetwork> {
        let network = key(self.here?, version);
        let rest_s = u32::try_from(rest.as_secs()).unwrap_or(u32::MAX);
        let known = KnownNetwork { network, rest_s, measured_s };
        self.known.retain(|other| other.network != network);
        self.known.push(known.clone());
        self.forget_excess();
        Some(known)
    }

    fn forget_excess(&mut self) {
        self.known.drain(..self.known.len().saturating_sub(MAX_NETWORKS));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{
        IpVersion::{V4, V6},
        *,
    };

    const HOME: NetworkId = NetworkId([1; 16]);
    const HOTEL: NetworkId = NetworkId([2; 16]);
    const MINUTE: Duration = Duration::from_secs(60);
    const UNIX: u64 = 1_800_000_000;

    fn at(network: NetworkId) -> Mappings {
        let mut mappings = Mappings::default();
        assert!(mappings.enter(Some(network)));
        mappings
    }

    #[test]
    fn a_network_is_trusted_with_what_it_has_shown_and_others_are_not() {
        let mut mappings = at(HOME);
        assert_eq!(mappings.rest(V4), FIRST_REST);
        let known = mappings.measured(V4, UNIX, Duration::from_secs(75)).unwrap();
        assert_eq!((mappings.rest(V4), known.rest_s), (MINUTE, 60));
        assert!(mappings.enter(Some(HOTEL)) && mappings.rest(V4) == FIRST_REST);
        assert!(mappings.enter(Some(HOME)) && mappings.rest(V4) == MINUTE);
        assert!(!mappings.enter(Some(HOME)));
        assert!(mappings.enter(None) && mappings.rest(V4) == FIRST_REST);
        // After a start.
        let mut mappings = at(HOME);
        mappings.remember(vec![known]);
        assert_eq!(mappings.rest(V4), MINUTE);
    }

    #[test]
    fn a_network_that_keeps_nothing_is_spoken_with_as_often_as_one_that_nothing_is_known_of() {
        let mut mappings = at(HOME);
        mappings.measured(V4, UNIX, Duration::ZERO);
        assert_eq!(mappings.rest(V4), FIRST_REST);
        assert_eq!(mappings.lost(V4, UNIX), None);
        mappings.remember(vec![KnownNetwork { network: key(HOME, V4), rest_s: u32::MAX, measured_s: UNIX }]);
        assert!(mappings.rest(V4) < 2 * MINUTE, "whatever the profile says");
    }

    #[test]
    fn a_connection_that_is_lost_lowers_it_by_a_step_for_a_day() {
        let (mut mappings, now) = (at(HOME), Instant::now());
        mappings.measured(V4, UNIX, Duration::from_secs(75));
        let mut before = mappings.rest(V4);
        while let Some(known) = mappings.lost(V4, UNIX) {
            assert!(mappings.rest(V4) < before && Duration::from_secs(known.rest_s.into()) == mappings.rest(V4));
            before = mappings.rest(V4);
            assert!(!mappings.begin(V4, now, UNIX + 1), "what was lost is remembered");
        }
        assert_eq!(before, FIRST_REST);
        assert!(mappings.begin(V4, now, UNIX + LOST_FOR.as_secs()));
    }

    #[test]
    fn what_is_known_of_ipv4_says_nothing_of_ipv6() {
        let (mut mappings, now) = (at(HOME), Instant::now());
        let known = mappings.measured(V4, UNIX, Duration::from_secs(75)).unwrap();
        assert_eq!((mappings.rest(V4), mappings.rest(V6)), (MINUTE, FIRST_REST));
        assert!(mappings.begin(V6, now, UNIX) && !mappings.begin(V4, now, UNIX));
        let of_v6 = mappings.measured(V6, UNIX, Duration::from_secs(110)).unwrap();
        assert!(of_v6.network != known.network && mappings.rest(V6) > MINUTE && mappings.rest(V4) == MINUTE);
        mappings.lost(V4, UNIX);
        assert!(mappings.rest(V6) > MINUTE && mappings.rest(V4) < MINUTE);
        // Both are tried, and neither in place of the other.
        let mut mappings = at(HOTEL);
        assert!(mappings.begin(V4, now, UNIX) && mappings.begin(V6, now, UNIX));
        assert!(!mappings.begin(V4, now, UNIX) && !mappings.begin(V6, now, UNIX));
    }

    #[test]
    fn each_network_is_measured_once_a_week_and_what_fails_is_tried_again_after_an_hour() {
        let (mut mappings, now) = (Mappings::default(), Instant::now());
        assert!(!mappings.begin(V4, now, UNIX), "nobody knows where this is");
        mappings.enter(Some(HOME));
        assert!(mappings.begin(V4, now, UNIX) && !mappings.begin(V4, now + MINUTE, UNIX + 60));
        assert!(mappings.begin(V4, now + TRY_AGAIN, UNIX + TRY_AGAIN.as_secs()));
        mappings.measured(V4, UNIX, MINUTE);
        let later = now + 2 * TRY_AGAIN;
        assert!(!mappings.begin(V4, later, UNIX + 60));
        assert!(mappings.begin(V4, later, UNIX - 60), "the clock was set back");
        assert!(mappings.begin(V4, later + TRY_AGAIN, UNIX + MEASURED_FOR.as_secs()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut mappings = Mappings::default();
        for n in 0..2 * MAX_NETWORKS as u8 {
            mappings.enter(Some(NetworkId([n; 16])));
            mappings.measured(V4, UNIX, MINUTE);
        }
        assert_eq!(mappings.known.len(), MAX_NETWORKS);
        assert_eq!(mappings.rest(V4), rest_of(MINUTE));
    }
}
