//! Which description a candidate belongs to: those of a restart may come before it, and those of the path before it after.

use std::sync::{Mutex, PoisonError};

use webrtc::peer_connection::RTCIceCandidateInit;

use super::peer::failed;
use crate::{
    MediaError,
    limits::{MAX_CANDIDATE, MAX_CANDIDATES},
};

/// The candidates of a connection.
#[derive(Debug, Default)]
pub struct Candidates(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// User fragments of the descriptions of this end and the other one.
    ours: String,
    theirs: Option<String>,
    /// Those that wait for the description that they belong to.
    early: Vec<RTCIceCandidateInit>,
    /// How many were taken for the present description.
    taken: usize,
}

/// Of a description. One that is of several connections has it for each, and ours are of one.
fn ufrag(sdp: &str) -> &str {
    sdp.lines().find_map(|line| line.trim().strip_prefix("a=ice-ufrag:")).unwrap_or_default()
}

/// A candidate of a relay without the address of this machine that it is related to (RFC 8839, section 5.1).
pub fn without_related(candidate: &str) -> String {
    let mut before = "";
    let parts = candidate.split_ascii_whitespace().map(|part| {
        let shown = match before {
            "raddr" if part.contains(':') => "::",
            "raddr" => "0.0.0.0",
            "rport" => "9",
            _ => part,
        };
        before = part;
        shown
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// A description with no other candidates than those of relays, as they are told.
pub fn by_relays_alone(sdp: &str) -> String {
    let lines = sdp.split_inclusive('\n').filter_map(|line| {
        let Some(candidate) = line.strip_prefix("a=candidate:") else { return Some(line.to_owned()) };
        let end = &line[line.trim_end().len()..];
        candidate.contains("typ relay").then(|| format!("a=candidate:{}{end}", without_related(candidate)))
    });
    lines.collect()
}

impl Candidates {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This end's description is made; its candidates are found after this.
    pub fn described_here(&self, sdp: &str) {
        self.state().ours = ufrag(sdp).to_owned();
    }

    /// A candidate of ours, as JSON with the description that it belongs to. Nothing if it is of no use.
    pub fn ours(&self, mut candidate: RTCIceCandidateInit) -> Option<String> {
        let address = candidate.candidate.split_ascii_whitespace().nth(4)?;
        if address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_unspecified()) {
            return None;
        }
        candidate.username_fragment = Some(self.state().ours.clone()).filter(|fragment| !fragment.is_empty());
        serde_json::to_string(&candidate).ok()
    }

    /// The other end's description is there. Gives the candidates that have waited for it.
    pub fn described_there(&self, sdp: &str) -> Vec<RTCIceCandidateInit> {
        let (mut state, ufrag) = (self.state(), ufrag(sdp));
        state.theirs = Some(ufrag.to_owned());
        let early = std::mem::take(&mut state.early);
        let now: Vec<_> = early.into_iter().filter(|candidate| belongs(candidate, ufrag)).collect();
        state.taken = now.len();
        now
    }

    /// A candidate of the other end, to be taken now; nothing if it waits, or is one too many.
    pub fn theirs(&self, json: &str) -> Result<Option<RTCIceCandidateInit>, MediaError> {
        if json.len() > MAX_CANDIDATE {
            return Ok(None);
        }
        let candidate: RTCIceCandidateInit = serde_json::from_str(json).map_err(failed)?;
        if !is_for_udp(&candidate.candidate) {
            return Ok(None);
        }
        let mut state = self.state();
        if state.theirs.as_ref().is_some_and(|theirs| belongs(&candidate, theirs)) {
            state.taken += 1;
            return Ok((state.taken <= MAX_CANDIDATES).then_some(candidate));
        }
        // Of a description that is to come, or of one that is over: those in excess are the oldest.
        if state.early.len() == MAX_CANDIDATES {
            state.early.remove(0);
        }
        state.early.push(candidate);
        Ok(None)
    }
}

/// Whether a candidate is one for UDP, or says that there are no more. To one that listens on TCP the library would connect at once.
fn is_for_udp(candidate: &str) -> bool {
    let transport = candidate.split_whitespace().nth(2);
    candidate.is_empty() || transport.is_some_and(|transport| transport.eq_ignore_ascii_case("udp"))
}

/// Older versions do not say what a candidate belongs to.
fn belongs(candidate: &RTCIceCandidateInit, ufrag: &str) -> bool {
    candidate.username_fragment.as_deref().is_none_or(|fragment| fragment.is_empty() || fragment == ufrag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn description(ufrag: &str) -> String {
        format!("v=0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:secret\r\n")
    }

    /// As it is told by an end with a description.
    fn told(ufrag: &str, port: u16) -> String {
        let end = Candidates::default();
        if !ufrag.is_empty() {
            end.described_here(&description(ufrag));
        }
        let candidate = format!("candidate:1 1 udp 2130706431 10.0.0.1 {port} typ host");
        end.ours(RTCIceCandidateInit { candidate, ..RTCIceCandidateInit::default() }).unwrap()
    }

    #[test]
    fn candidates_that_overtake_their_description_wait_for_it_and_those_of_an_older_one_are_dropped() {
        let end = Candidates::default();
        assert_eq!(end.theirs(&told("first", 1)).unwrap(), None);
        assert_eq!(end.described_there(&description("first")).len(), 1);
        assert!(end.theirs(&told("first", 2)).unwrap().is_some());
        assert_eq!(end.theirs(&told("second", 3)).unwrap(), None);
        let now = end.described_there(&description("second"));
        assert_eq!(now.len(), 1);
        assert!(now[0].candidate.contains(" 3 typ"));
        assert_eq!(end.theirs(&told("first", 4)).unwrap(), None);
        assert_eq!(end.described_there(&description("third")).len(), 0);
        assert!(end.theirs(&told("", 5)).unwrap().is_some(), "an older version does not say");
    }

    #[test]
    fn what_is_kept_and_taken_is_bounded() {
        let end = Candidates::default();
        for port in 1..=200 {
            end.theirs(&told("a", port)).unwrap();
        }
        let waited = end.described_there(&description("a"));
        assert_eq!(waited.len(), MAX_CANDIDATES);
        assert!(waited[0].candidate.contains(" 137 typ"), "the newest are kept");
        assert_eq!(end.theirs(&told("a", 201)).unwrap(), None);
        assert_eq!(end.theirs(&"x".repeat(MAX_CANDIDATE + 1)).unwrap(), None);
        end.theirs("{").unwrap_err();
    }

    #[test]
    fn candidates_for_tcp_are_not_taken() {
        let end = Candidates::default();
        assert!(end.described_there(&description("first")).is_empty());
        let takes = |candidate: &str| {
            let candidate = RTCIceCandidateInit { candidate: candidate.into(), ..RTCIceCandidateInit::default() };
            end.theirs(&serde_json::to_string(&candidate).unwrap()).unwrap().is_some()
        };
        for before in ["", "candidate:"] {
            assert!(takes(&format!("{before}1 1 UDP 1671430143 192.0.2.1 5 typ host")), "{before}");
            for tcp in ["1 1 tcp", "1 1 TCP", "1\u{2003}1\u{2003}tcp 1 udp", "1 1 ssltcp", " 1 1 tcp"] {
                let candidate = format!("{before}{tcp} 1671430143 192.0.2.1 5 typ host tcptype passive");
                assert!(!takes(&candidate), "{candidate}");
            }
        }
        assert!(takes(""));
    }

    #[test]
    fn a_relay_is_told_without_the_address_that_it_is_related_to() {
        let relay = "candidate:1 1 udp 16777215 198.51.100.1 5 typ relay";
        for (related, instead) in [
            (" raddr 192.168.1.2 rport 5000", " raddr 0.0.0.0 rport 9"),
            (" raddr 2001:db8::1 rport 5000 generation 0", " raddr :: rport 9 generation 0"),
            ("", ""),
        ] {
            assert_eq!(without_related(&format!("{relay}{related}")), format!("{relay}{instead}"));
        }
    }

    #[test]
    fn a_description_tells_of_relays_alone_where_nothing_else_is_wanted() {
        let relay =
            |related: &str| format!("a=candidate:1 1 udp 16777215 198.51.100.1 5 typ relay raddr {related}\r\n");
        let host = "a=candidate:2 1 udp 2130706431 192.168.1.2 5000 typ host\r\n";
        let around = |candidates: &str| format!("v=0\r\nm=audio 9\r\n{candidates}a=end-of-candidates\r\n");
        let told = by_relays_alone(&around(&(relay("192.168.1.2 rport 5000") + host)));
        assert_eq!(told, around(&relay("0.0.0.0 rport 9")));
        assert_eq!(by_relays_alone(&description("first")), description("first"));
    }

    #[test]
    fn an_address_that_is_none_is_not_told() {
        let candidate = "candidate:1 1 udp 2130706431 0.0.0.0 9 typ host".into();
        let init = RTCIceCandidateInit { candidate, ..RTCIceCandidateInit::default() };
        assert_eq!(Candidates::default().ours(init), None);
    }
}
