//! Why a dial has failed, in one word out of what all its addresses have failed with.

use std::error::Error;

use libp2p::{Multiaddr, multiaddr::Protocol, swarm::DialError};

use super::root_cause;
use crate::net::ConnectionProblem;

/// What errors say, in lower case, and what that means: the first that is found counts.
const WORDS: [(&str, ConnectionProblem); 18] = [
    ("the proxy does not answer", ConnectionProblem::ProxyUnreachable),
    ("the proxy does not take", ConnectionProblem::ProxyCredentials),
    ("the proxy cannot connect", ConnectionProblem::ProxyRefused),
    // What a portal that asks for a sign-in should say (RFC 6585), and a proxy of the server's own, whose server is away.
    ("status code = 511", ConnectionProblem::Intercepted),
    ("status code = 5", ConnectionProblem::Unreachable),
    // What comes of an answer that is none of our protocols: of multistream-select, WebSocket, TLS and QUIC, in this order.
    ("invalid data", ConnectionProblem::Intercepted),
    ("protocol negotiation failed", ConnectionProblem::Intercepted),
    ("too many redirects", ConnectionProblem::Intercepted),
    ("rejected handshake", ConnectionProblem::Intercepted),
    ("http", ConnectionProblem::Intercepted),
    ("received corrupt message", ConnectionProblem::Intercepted),
    ("invalid peer certificate: unknownissuer", ConnectionProblem::Intercepted),
    ("cryptographic handshake failed", ConnectionProblem::Intercepted),
    ("refused", ConnectionProblem::Refused),
    ("unreachable", ConnectionProblem::NoRoute),
    ("no route", ConnectionProblem::NoRoute),
    ("timed out", ConnectionProblem::NoAnswer),
    ("timeout", ConnectionProblem::NoAnswer),
];

/// Of what several addresses have failed with, the one that comes first here is told: whoever refuses or answers wrongly is there, while a timeout is
/// also what UDP ends with wherever it is dropped.
const TELLING: [ConnectionProblem; 7] = [
    ConnectionProblem::ProxyUnreachable,
    ConnectionProblem::ProxyCredentials,
    ConnectionProblem::ProxyRefused,
    ConnectionProblem::Intercepted,
    ConnectionProblem::Refused,
    ConnectionProblem::NoRoute,
    ConnectionProblem::NoAnswer,
];

/// Why a dial has failed.
pub(super) fn dial_problem(error: &DialError) -> ConnectionProblem {
    match error {
        DialError::WrongPeerId { .. } => ConnectionProblem::OtherServer,
        DialError::Transport(_) => problem_of_all(std::slice::from_ref(error)),
        error => problem_of(error),
    }
}

/// Why all of several dials have failed.
pub(super) fn problem_of_all(errors: &[DialError]) -> ConnectionProblem {
    let of_dial = |error: &DialError| -> Vec<(bool, ConnectionProblem)> {
        match error {
            DialError::Transport(errors) => {
                errors.iter().map(|(address, error)| (is_v6(address), problem_of(error))).collect()
            }
            error => vec![(false, dial_problem(error))],
        }
    };
    let all: Vec<_> = errors.iter().flat_map(of_dial).collect();
    most_telling(&all)
}

fn is_v6(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Ip6(_)))
}

/// Of problems of addresses, which are of IPv6 or not.
fn most_telling(all: &[(bool, ConnectionProblem)]) -> ConnectionProblem {
    let has_route = |v6: bool| {
        let mut of_family = all.iter().filter(|(is_v6, _)| *is_v6 == v6).peekable();
        of_family.peek().is_some() && of_family.all(|(_, problem)| *problem != ConnectionProblem::NoRoute)
    };
    // Most networks lack one of the internet protocols, which says nothing where the other one has a route.
    let routed = has_route(false) || has_route(true);
    let tells = |telling: &ConnectionProblem| {
        all.iter().any(|(_, problem)| problem == telling) && !(routed && *telling == ConnectionProblem::NoRoute)
    };
    TELLING.into_iter().find(tells).unwrap_or(ConnectionProblem::Unreachable)
}

/// Why one address has failed.
fn problem_of(error: &dyn Error) -> ConnectionProblem {
    let text = root_cause(error).to_lowercase();
    let found = WORDS.into_iter().find(|(words, _)| text.contains(words));
    found.map_or(ConnectionProblem::Unreachable, |(_, problem)| problem)
}
