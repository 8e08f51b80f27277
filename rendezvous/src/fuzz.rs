//! What fuzz targets reach of decoders that are private.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

pub use crate::host::places;
use crate::{
    address::RelayIps,
    services::relay::turn::{Action, Moment, QuicClients, Revoked, Setup, Turn, is_turn, take_out},
};

/// What a stranger to TURN brings about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfStranger {
    /// Datagrams that go to somebody else, and sockets that are opened.
    pub others: usize,
    /// What is kept of him.
    pub allocations: usize,
}

/// Sends datagrams to a server of TURN, from somebody who has no credentials.
pub fn send_to_turn<'a>(datagrams: impl IntoIterator<Item = &'a [u8]>) -> OfStranger {
    let now = Moment { instant: Instant::now(), unix_s: 1_800_000_000 };
    let setup = Setup {
        realm: "starling".into(),
        secret: [7; 32],
        revoked: Revoked::default(),
        quic_clients: QuicClients::default(),
        relay_ips: RelayIps::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), []),
        own: Vec::new(),
        private_peers: true,
        local_peers: true,
        allocations: 8,
        per_user: 2,
        per_address: 4,
        bytes_per_second: 100_000,
    };
    let mut turn = Turn::new(setup, now.instant);
    let stranger = SocketAddr::from(([198, 51, 100, 7], 4000));
    let mut out = Vec::new();
    for datagram in datagrams {
        turn.handle(now, stranger.into(), datagram, &mut out);
    }
    // To another port of his, too, if he asks for it.
    let is_answer = |action: &&Action| matches!(action, Action::Reply { to, .. } if to.address().ip() == stranger.ip());
    let answers = out.iter().filter(is_answer).count();
    OfStranger { others: out.len() - answers, allocations: turn.allocations() }
}

/// Takes what is for TURN out of datagrams of `stride` bytes that have come to a port of QUIC; the length of what is left, and what was taken.
pub fn split_at_quic_port(buffer: &mut [u8], stride: usize, has_allocation: bool) -> (usize, Vec<Vec<u8>>) {
    let mut taken = Vec::new();
    let left = take_out(buffer, stride, |datagram| {
        let takes = is_turn(datagram, || has_allocation);
        if takes {
            taken.push(datagram.to_vec());
        }
        takes
    });
    (left, taken)
}
