//! STUN and TURN (RFC 8489, RFC 8656) over UDP, on a port of their own and on those of QUIC, and over streams of clients whose networks have no UDP, for
//! calls that find no direct path.
//!
//! [`Turn`] does no input or output: datagrams and the time go in, [`Action`]s come out; [`TurnServer`] gives it sockets. Whatever comes in is
//! hostile. Of those who have not authenticated nothing is kept but how much they were answered, in tables of a fixed size; what is answered
//! to them is little more than the challenge.

mod allocation;
mod auth;
mod client;
mod codec;
mod data;
mod demultiplex;
mod listening;
mod ports;
mod quic_port;
mod rates;
mod requests;
mod server;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub mod user_tests;

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use rtc_stun::{
    attributes::{ATTR_RESPONSE_PORT, ATTR_XORMAPPED_ADDRESS},
    crypto::providers::RingCrypto,
    error_code::CODE_INSUFFICIENT_CAPACITY,
    message::{
        CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND,
        METHOD_CREATE_PERMISSION, METHOD_REFRESH, METHOD_SEND, Message, MessageType,
    },
};

#[cfg(feature = "fuzz")]
pub use self::demultiplex::{is_turn, take_out};
use self::{
    allocation::Allocation,
    client::Client,
    codec::{RequestHead, add_address, allocated, decode, unknown, value},
    rates::{Rate, Slots},
};
pub use self::{
    auth::{Revoked, credentials},
    quic_port::{QuicClients, QuicPorts},
    server::{TurnError, TurnServer},
    stream::Streams,
};
use crate::{
    address::RelayIps,
    clock::now_ms,
    limits::{TURN_ANSWERS, TURN_REQUEST, TURN_REQUESTS, TURN_RESERVATION_LIFE},
};

use ports::Reservation;
pub use ports::{Opened, PortWish, Token};

/// What rtc-stun itself computes with.
const CRYPTO: &RingCrypto = &RingCrypto;

/// One allocation, for the life of this process.
pub type AllocationId = u64;

/// When something happens: for timers, and for what bears a date.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For timers.
    pub instant: Instant,
    /// Seconds since 1970.
    pub unix_s: u64,
}

impl Moment {
    /// By the clocks of the system.
    pub fn now() -> Self {
        Self { instant: Instant::now(), unix_s: now_ms() / 1000 }
    }
}

/// What is to be done with sockets, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send from the socket that the client has sent to, or on its stream.
    Reply {
        /// The client.
        to: Client,
        /// The datagram.
        data: Vec<u8>,
    },
    /// Send from the socket of an allocation.
    Relay {
        /// Whose socket.
        allocation: AllocationId,
        /// The peer.
        to: SocketAddr,
        /// The datagram.
        data: Vec<u8>,
    },
    /// Open a socket for an allocation, on this address of ours, and tell [`Turn::opened`].
    Open(AllocationId, IpAddr, PortWish),
    /// Close the socket of an allocation.
    Close(AllocationId),
    /// A port that was kept is free again.
    Release(Token),
}

/// What a [`Turn`] is made of.
pub struct Setup {
    /// Sent with challenges, and part of every key: short, as it makes up a good part of what is sent to strangers.
    pub realm: String,
    /// What passwords and nonces are derived from.
    pub secret: [u8; 32],
    /// Users who may not go on.
    pub revoked: Revoked,
    /// Where clients with allocations are noted that are at ports of QUIC.
    pub quic_clients: QuicClients,
    /// The addresses that peers send to.
    pub relay_ips: RelayIps,
    /// Further addresses of this host. None is relayed to, nor are loopback and link-local ones.
    pub own: Vec<IpAddr>,
    /// Relay to private addresses, too.
    pub private_peers: bool,
    /// Relay to loopback and link-local addresses, too: tests do.
    pub local_peers: bool,
    /// Allocations at a time.
    pub allocations: usize,
    /// Allocations of one user.
    pub per_user: u32,
    /// Allocations from one IPv4 address or IPv6 /64.
    pub per_address: u32,
    /// Bytes a second of one allocation, both directions together.
    pub bytes_per_second: u64,
}

/// What was relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes.
    pub bytes: u64,
    /// Datagrams that went over an allocation's rate.
    pub dropped: u64,
}

/// The server, without its sockets.
pub struct Turn {
    setup: Setup,
    nonce_key: [u8; 32],
    rate: Rate,
    next: AllocationId,
    allocations: HashMap<AllocationId, Allocation>,
    by_client: HashMap<Client, AllocationId>,
    by_relayed: HashMap<SocketAddr, AllocationId>,
    by_user: HashMap<String, u32>,
    reserved: HashMap<Token, Reservation>,
    by_address: HashMap<IpAddr, u32>,
    /// Bytes sent to addresses that may be forged.
    answers: Slots,
    /// Bytes of requests whose address is not forged.
    requests: Slots,
    /// The same of those that came over streams.
    stream_requests: Slots,
    counts: Counts,
}

impl Turn {
    /// A server without allocations.
    pub fn new(setup: Setup, now: Instant) -> Self {
        Self {
            nonce_key: blake3::derive_key("starling 2026 rendezvous turn nonces v1", &setup.secret),
            rate: Rate { per_second: setup.bytes_per_second, burst: setup.bytes_per_second },
            setup,
            next: 0,
            allocations: HashMap::new(),
            by_client: HashMap::new(),
            by_relayed: HashMap::new(),
            by_user: HashMap::new(),
            reserved: HashMap::new(),
            by_address: HashMap::new(),
            answers: Slots::new(TURN_ANSWERS, now),
            requests: Slots::new(TURN_REQUESTS, now),
            stream_requests: Slots::new(TURN_REQUESTS, now),
            counts: Counts::default(),
        }
    }

    /// The addresses of this host, as they are now.
    pub fn set_own(&mut self, own: Vec<IpAddr>) {
        self.setup.own = own;
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// What was relayed since this was asked last.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// A datagram came to the listening socket, or a message on a stream.
    pub fn handle(&mut self, now: Moment, from: Client, datagram: &[u8], out: &mut Vec<Action>) {
        match datagram.first() {
            Some(0x00..=0x3f) => self.stun(now, from, datagram, out),
            Some(0x40..=0x7f) => self.channel_data(now.instant, from, datagram, out),
            _ => None,
        };
    }

    /// The socket of an allocation was opened, on this port; or none could be.
    pub fn opened(&mut self, id: AllocationId, opened: Option<Opened>, out: &mut Vec<Action>) {
        let Some(allocation) = self.allocations.get_mut(&id) else {
            out.push(Action::Close(id));
            out.extend(opened.and_then(|opened| opened.kept).map(Action::Release));
            return;
        };
        let client = allocation.client;
        let answer = match opened {
            Some(Opened { port, kept }) => {
                allocation.relayed.set_port(port);
                allocation.kept = kept;
                self.by_relayed.insert(allocation.relayed, id);
                if let Some(token) = kept {
                    let (user, ip) = (allocation.user.clone(), allocation.relayed.ip());
                    let expires = allocation.created + TURN_RESERVATION_LIFE;
                    self.reserved.insert(token, Reservation { user, ip, expires });
                }
                allocated(&allocation.head, allocation.relayed, client.address(), kept)
            }
            None => {
                let answer = allocation.head.error(CODE_INSUFFICIENT_CAPACITY);
                self.remove(id, out);
                answer
            }
        };
        out.extend(answer.map(|data| Action::Reply { to: client, data }));
    }

    /// A datagram came to the socket of an allocation.
    pub fn relayed(&mut self, now: Moment, id: AllocationId, from: SocketAddr, datagram: &[u8], out: &mut Vec<Action>) {
        self.relay_to_client(now.instant, id, from, datagram, out);
    }

    /// Whether a client has an allocation.
    pub fn serves(&self, client: Client) -> bool {
        self.by_client.contains_key(&client)
    }

    /// A client's stream has ended, and its allocation with it.
    pub fn gone(&mut self, client: Client, out: &mut Vec<Action>) {
        if let Some(id) = self.by_client.get(&client).copied() {
            self.remove(id, out);
        }
    }

    /// Ends allocations that were not refreshed. To be called about once a second.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Action>) {
        let ended = self.allocations.iter().filter(|(_, a)| a.expires <= now).map(|(id, _)| *id);
        for id in ended.collect::<Vec<_>>() {
            self.remove(id, out);
        }
        let over = self.reserved.extract_if(|_, reservation| reservation.expires <= now);
        out.extend(over.map(|(token, _)| Action::Release(token)));
    }

    fn remove(&mut self, id: AllocationId, out: &mut Vec<Action>) {
        let Some(allocation) = self.allocations.remove(&id) else {
            return;
        };
        self.by_client.remove(&allocation.client);
        self.setup.quic_clients.set(allocation.client, false);
        if allocation.relayed.port() != 0 {
            self.by_relayed.remove(&allocation.relayed);
            out.push(Action::Close(id));
        }
        if let Some(ip) = allocation.client.counted_by() {
            release(&mut self.by_address, ip);
        }
        release(&mut self.by_user, allocation.user);
    }

    fn stun(&mut self, now: Moment, from: Client, datagram: &[u8], out: &mut Vec<Action>) -> Option<()> {
        let mut typ = MessageType::default();
        typ.read_value(u16::from_be_bytes([*datagram.first()?, *datagram.get(1)?]));
        match (typ.class, typ.method) {
            (CLASS_INDICATION, METHOD_SEND) => {
                // Before anything is decoded: it may be long, and strangers have nothing to send.
                let id = *self.by_client.get(&from)?;
                self.send(now.instant, id, &decode(datagram)?, out)
            }
            (CLASS_REQUEST, _) if datagram.len() > TURN_REQUEST => None,
            (CLASS_REQUEST, METHOD_BINDING) => self.binding(now, from, &decode(datagram)?, out),
            (CLASS_REQUEST, METHOD_ALLOCATE | METHOD_REFRESH | METHOD_CREATE_PERMISSION | METHOD_CHANNEL_BIND) => {
                self.request(now, from, decode(datagram)?, out)
            }
            _ => None,
        }
    }

    fn binding(&mut self, now: Moment, from: Client, message: &Message, out: &mut Vec<Action>) -> Option<()> {
        let head = RequestHead::of(message);
        let mut unknown = unknown(&message.attributes.0);
        let mut to = from;
        // Clients ask in this way how long their networks keep mappings (RFC 5780, section 4.6). Who forges addresses can forge the port as well.
        if let Some([high, low, ..]) = value(&message.attributes.0, ATTR_RESPONSE_PORT)
            && let Some(other) = from.at_port(u16::from_be_bytes([*high, *low]))
        {
            unknown.retain(|typ| *typ != ATTR_RESPONSE_PORT);
            to = other;
        }
        let answer = if unknown.is_empty() {
            let mut answer = head.answer(CLASS_SUCCESS_RESPONSE);
            add_address(&mut answer, ATTR_XORMAPPED_ADDRESS, from.address())?;
            head.seal(answer)?
        } else {
            head.unknown(unknown)?
        };
        self.answer_stranger(now.instant, to, answer, out)
    }

    /// Answers somebody whose address may be forged, unless that address got much already.
    fn answer_stranger(&mut self, now: Instant, to: Client, data: Vec<u8>, out: &mut Vec<Action>) -> Option<()> {
        // Nobody else can have sent what came over a stream.
        let may = matches!(to, Client::Stream { .. }) || self.answers.take(to.rate_key(), data.len() as u64, now);
        may.then(|| out.push(Action::Reply { to, data }))
    }

    fn allocation_of(&self, client: Client) -> Option<&Allocation> {
        self.allocations.get(self.by_client.get(&client)?)
    }
}

/// One less.
fn release<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        match entry.get().saturating_sub(1) {
            0 => {
                entry.remove();
            }
            left => {
                entry.insert(left);
            }
        }
    }
}
