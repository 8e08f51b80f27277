//! STUN and TURN over UDP (RFC 8489, RFC 8656), for calls that find no direct path.
//!
//! [`Turn`] does no input or output: datagrams and the time go in, [`Action`]s come out; [`TurnServer`] gives it sockets. Whatever comes in is
//! hostile. Of those who have not authenticated nothing is kept but how much they were answered, in tables of a fixed size; what is answered
//! to them is little more than the challenge.

mod allocation;
mod codec;
mod rates;
mod server;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use data_encoding::{BASE64, HEXLOWER};
use rtc_stun::{
    attributes::{
        ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM,
        ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS,
        ATTR_XORMAPPED_ADDRESS, RawAttribute,
    },
    crypto::{CryptoError, HmacAlgorithm, RTCCrypto, constant_time_eq, providers::RingCrypto},
    error_code::{
        CODE_ADDR_FAMILY_NOT_SUPPORTED, CODE_ALLOC_MISMATCH, CODE_ALLOC_QUOTA_REACHED, CODE_BAD_REQUEST,
        CODE_FORBIDDEN, CODE_INSUFFICIENT_CAPACITY, CODE_PEER_ADDR_FAMILY_MISMATCH, CODE_STALE_NONCE,
        CODE_UNAUTHORIZED, CODE_UNSUPPORTED_TRANS_PROTO, CODE_WRONG_CREDENTIALS, ErrorCode,
    },
    integrity::MessageIntegrity,
    message::{
        CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND,
        METHOD_CREATE_PERMISSION, METHOD_DATA, METHOD_REFRESH, METHOD_SEND, Message, MessageType, TransactionId,
    },
};

pub use self::server::{TurnError, TurnServer};
use self::{
    allocation::{Allocation, permits},
    codec::{Asked, add_address, add_lifetime, address, allocated, begin, decode, unknown, value},
    rates::{Bucket, Rate, Slots},
};
use crate::{
    hub::now_ms,
    limits::{
        TURN_ANSWERS, TURN_DATAGRAM, TURN_LIFETIME, TURN_NONCE_LIFE_S, TURN_OVERHEAD, TURN_REQUEST, TURN_REQUESTS,
        TURN_USERNAME,
    },
    network::{is_private, prefix},
};

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
    /// Send from the listening socket.
    Reply {
        /// The client.
        to: SocketAddr,
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
    /// Open a socket for an allocation, and tell [`Turn::opened`].
    Open(AllocationId),
    /// Close the socket of an allocation.
    Close(AllocationId),
}

/// What a [`Turn`] is made of.
pub struct Setup {
    /// Sent with challenges, and part of every key: short, as it makes up a good part of what is sent to strangers.
    pub realm: String,
    /// What passwords and nonces are derived from.
    pub secret: [u8; 32],
    /// The address that peers send to.
    pub relay_ip: IpAddr,
    /// Further addresses of this host; none is relayed to.
    pub own: Vec<IpAddr>,
    /// Relay to private addresses, and to those of this host, too.
    pub private_peers: bool,
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

/// With what a client authenticates.
#[derive(Clone)]
pub struct Credentials {
    /// When they end (seconds since 1970), `:`, and the user.
    pub username: String,
    /// A MAC of the user name.
    pub password: String,
}

/// Credentials for a user, as coturn's REST interface makes them. `user` is any name without personal data; quotas are counted by it.
pub fn credentials(secret: &[u8], ends_unix_s: u64, user: &str) -> Result<Credentials, CryptoError> {
    let username = format!("{ends_unix_s}:{user}");
    Ok(Credentials { password: password(secret, &username)?, username })
}

fn password(secret: &[u8], username: &str) -> Result<String, CryptoError> {
    let mut tag = [0; 20];
    CRYPTO.new_hmac(HmacAlgorithm::Sha1, secret)?.sign(&[username.as_bytes()], &mut tag)?;
    Ok(BASE64.encode(&tag))
}

/// A request of a known user.
struct Request {
    from: SocketAddr,
    user: String,
    attributes: Vec<RawAttribute>,
    asked: Asked,
}

/// Why a request is not authentic.
enum Denied {
    With(ErrorCode),
    /// Too many requests.
    Silently,
}

/// The server, without its sockets.
pub struct Turn {
    setup: Setup,
    nonce_key: [u8; 32],
    rate: Rate,
    next: AllocationId,
    allocations: HashMap<AllocationId, Allocation>,
    /// One listening socket, one transport: the client's address is all of the 5-tuple that varies.
    by_client: HashMap<SocketAddr, AllocationId>,
    by_port: HashMap<u16, AllocationId>,
    by_user: HashMap<String, u32>,
    by_address: HashMap<IpAddr, u32>,
    /// Bytes sent to addresses that may be forged.
    answers: Slots,
    /// Bytes of requests whose address is not forged.
    requests: Slots,
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
            by_port: HashMap::new(),
            by_user: HashMap::new(),
            by_address: HashMap::new(),
            answers: Slots::new(TURN_ANSWERS, now),
            requests: Slots::new(TURN_REQUESTS, now),
            counts: Counts::default(),
        }
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// What was relayed since this was asked last.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// A datagram came to the listening socket.
    pub fn handle(&mut self, now: Moment, from: SocketAddr, datagram: &[u8], out: &mut Vec<Action>) {
        match datagram.first() {
            Some(0x00..=0x3f) => self.stun(now, from, datagram, out),
            Some(0x40..=0x7f) => self.channel_data(now.instant, from, datagram, out),
            _ => None,
        };
    }

    /// The socket of an allocation was opened, on this port; or none could be.
    pub fn opened(&mut self, id: AllocationId, port: Option<u16>, out: &mut Vec<Action>) {
        let Some(allocation) = self.allocations.get_mut(&id) else {
            out.push(Action::Close(id));
            return;
        };
        let client = allocation.client;
        let answer = match port {
            Some(port) => {
                allocation.port = port;
                self.by_port.insert(port, id);
                allocated(&allocation.asked, SocketAddr::new(self.setup.relay_ip, port), client)
            }
            None => {
                let answer = allocation.asked.error(CODE_INSUFFICIENT_CAPACITY);
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

    /// Ends allocations that were not refreshed. To be called about once a second.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Action>) {
        let ended = self.allocations.iter().filter(|(_, a)| a.expires <= now).map(|(id, _)| *id);
        for id in ended.collect::<Vec<_>>() {
            self.remove(id, out);
        }
    }

    fn remove(&mut self, id: AllocationId, out: &mut Vec<Action>) {
        let Some(allocation) = self.allocations.remove(&id) else {
            return;
        };
        self.by_client.remove(&allocation.client);
        if allocation.port != 0 {
            self.by_port.remove(&allocation.port);
            out.push(Action::Close(id));
        }
        release(&mut self.by_address, prefix(allocation.client.ip()));
        release(&mut self.by_user, allocation.user);
    }

    fn stun(&mut self, now: Moment, from: SocketAddr, datagram: &[u8], out: &mut Vec<Action>) -> Option<()> {
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

    fn binding(&mut self, now: Moment, from: SocketAddr, message: &Message, out: &mut Vec<Action>) -> Option<()> {
        let asked = Asked::of(message);
        let unknown = unknown(&message.attributes.0);
        let answer = if unknown.is_empty() {
            let mut answer = asked.answer(CLASS_SUCCESS_RESPONSE);
            add_address(&mut answer, ATTR_XORMAPPED_ADDRESS, from)?;
            asked.seal(answer)?
        } else {
            asked.unknown(unknown)?
        };
        self.answer_stranger(now.instant, from, answer, out)
    }

    /// Answers somebody whose address may be forged, unless that address got much already.
    fn answer_stranger(&mut self, now: Instant, to: SocketAddr, data: Vec<u8>, out: &mut Vec<Action>) -> Option<()> {
        self.answers.take(to.ip(), data.len() as u64, now).then(|| out.push(Action::Reply { to, data }))
    }

    fn request(&mut self, now: Moment, from: SocketAddr, mut message: Message, out: &mut Vec<Action>) -> Option<()> {
        let mut asked = Asked::of(&message);
        let (user, key) = match self.authenticate(now, from, &mut message) {
            Ok(authentic) => authentic,
            Err(Denied::Silently) => return None,
            Err(Denied::With(CODE_BAD_REQUEST)) => {
                return self.answer_stranger(now.instant, from, asked.error(CODE_BAD_REQUEST)?, out);
            }
            Err(Denied::With(code)) => {
                return self.answer_stranger(now.instant, from, self.challenge(now, from, &asked, code)?, out);
            }
        };
        asked.key = Some(key);
        let request = Request { from, user, attributes: message.attributes.0, asked };
        let unknown = unknown(&request.attributes);
        let answer = if unknown.is_empty() {
            let answered = match request.asked.method {
                METHOD_ALLOCATE => return self.allocate(now, request, out),
                METHOD_REFRESH => self.refresh(now.instant, &request, out),
                METHOD_CREATE_PERMISSION => self.create_permission(now.instant, &request),
                _ => self.channel_bind(now.instant, &request),
            };
            match answered {
                Ok(message) => request.asked.seal(message)?,
                Err(code) => request.asked.error(code)?,
            }
        } else {
            request.asked.unknown(unknown)?
        };
        out.push(Action::Reply { to: from, data: answer });
        Some(())
    }

    /// The user and the key of a request's long-term credentials. Leaves only those attributes that are covered by its integrity.
    fn authenticate(
        &mut self,
        now: Moment,
        from: SocketAddr,
        message: &mut Message,
    ) -> Result<(String, Vec<u8>), Denied> {
        let attributes = &message.attributes.0;
        let Some(covered) = attributes.iter().position(|a| a.typ == ATTR_MESSAGE_INTEGRITY) else {
            return Err(Denied::With(CODE_UNAUTHORIZED));
        };
        let attributes = attributes.get(..covered).unwrap_or_default();
        let (Some(username), Some(nonce), Some(_)) =
            (value(attributes, ATTR_USERNAME), value(attributes, ATTR_NONCE), value(attributes, ATTR_REALM))
        else {
            return Err(Denied::With(CODE_BAD_REQUEST));
        };
        // A living allocation goes on with the nonce it began with: webrtc 0.21 does not repeat a request after a 438, and would lose the
        // allocation to the next timer. Who replays such a request can only repeat what its client asked for.
        let begun = self.allocation_of(from).map_or(now.unix_s, |allocation| allocation.created_s);
        if self.issued(from, nonce).is_none_or(|issued| issued < begun.saturating_sub(TURN_NONCE_LIFE_S)) {
            return Err(Denied::With(CODE_STALE_NONCE));
        }
        // The nonce went to this address: it is not forged.
        if !self.requests.take(from.ip(), message.raw.len() as u64, now.instant) {
            return Err(Denied::Silently);
        }
        let Some((user, key)) = std::str::from_utf8(username).ok().and_then(|username| self.key(now, username)) else {
            return Err(Denied::With(CODE_UNAUTHORIZED));
        };
        if MessageIntegrity::check(message, &key, CRYPTO).is_err() {
            return Err(Denied::With(CODE_UNAUTHORIZED));
        }
        message.attributes.0.truncate(covered);
        Ok((user, key))
    }

    /// The user behind a user name that has not expired, and the key that goes with it.
    fn key(&self, now: Moment, username: &str) -> Option<(String, Vec<u8>)> {
        let (ends, user) = username.split_once(':')?;
        if username.len() > TURN_USERNAME || user.is_empty() || ends.parse::<u64>().ok()? <= now.unix_s {
            return None;
        }
        let password = password(&self.setup.secret, username).ok()?;
        let realm = self.setup.realm.clone();
        let key = MessageIntegrity::long_term_integrity_key(username.to_owned(), realm, password, CRYPTO).ok()?;
        Some((user.to_owned(), key))
    }

    fn challenge(&self, now: Moment, from: SocketAddr, asked: &Asked, code: ErrorCode) -> Option<Vec<u8>> {
        let mut message = asked.with_code(code)?;
        message.add(ATTR_REALM, self.setup.realm.as_bytes());
        message.add(ATTR_NONCE, self.nonce(from, now.unix_s).as_bytes());
        asked.seal(message)
    }

    /// A nonce holds the time and a MAC of it and the client's address: nothing is remembered.
    fn nonce(&self, to: SocketAddr, unix_s: u64) -> String {
        // Seconds fit until 2106.
        let time = (unix_s as u32).to_be_bytes();
        let tag = self.nonce_tag(to, time);
        HEXLOWER.encode(&[time.as_slice(), tag.as_slice()].concat())
    }

    /// When a nonce was given to this client.
    fn issued(&self, to: SocketAddr, nonce: &[u8]) -> Option<u64> {
        let bytes = HEXLOWER.decode(nonce).ok()?;
        let (time, tag) = bytes.split_first_chunk::<4>()?;
        constant_time_eq(tag, &self.nonce_tag(to, *time)).then(|| u32::from_be_bytes(*time).into())
    }

    fn nonce_tag(&self, to: SocketAddr, time: [u8; 4]) -> [u8; 12] {
        let ip = match to.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let input = [time.as_slice(), ip.octets().as_slice(), to.port().to_be_bytes().as_slice()].concat();
        let hash = blake3::keyed_hash(&self.nonce_key, &input);
        let mut tag = [0; 12];
        tag.copy_from_slice(&hash.as_bytes()[..12]);
        tag
    }

    fn allocation_of(&self, client: SocketAddr) -> Option<&Allocation> {
        self.allocations.get(self.by_client.get(&client)?)
    }

    /// The allocation that a request is about, if it is the user's.
    fn owned(&self, request: &Request) -> Result<AllocationId, ErrorCode> {
        let id = *self.by_client.get(&request.from).ok_or(CODE_ALLOC_MISMATCH)?;
        let allocation = self.allocations.get(&id).ok_or(CODE_ALLOC_MISMATCH)?;
        // By user, not by user name: credentials may be renewed.
        if allocation.user == request.user { Ok(id) } else { Err(CODE_WRONG_CREDENTIALS) }
    }

    fn allocate(&mut self, now: Moment, request: Request, out: &mut Vec<Action>) -> Option<()> {
        let answer = match self.admit(&request) {
            Ok(None) => {
                let Request { from, user, asked, .. } = request;
                self.next += 1;
                *self.by_user.entry(user.clone()).or_default() += 1;
                *self.by_address.entry(prefix(from.ip())).or_default() += 1;
                self.by_client.insert(from, self.next);
                let allocation = Allocation {
                    client: from,
                    user,
                    port: 0,
                    created_s: now.unix_s,
                    expires: now.instant + TURN_LIFETIME,
                    asked,
                    permissions: Vec::new(),
                    channels: Vec::new(),
                    bucket: Bucket::full(self.rate, now.instant),
                };
                self.allocations.insert(self.next, allocation);
                out.push(Action::Open(self.next));
                return Some(());
            }
            Ok(Some(port)) => allocated(&request.asked, SocketAddr::new(self.setup.relay_ip, port), request.from),
            Err(code) => request.asked.error(code),
        };
        out.push(Action::Reply { to: request.from, data: answer? });
        Some(())
    }

    /// Whether an allocation may be made; or the port of the one that this very request has made before.
    fn admit(&self, Request { from, user, attributes, asked }: &Request) -> Result<Option<u16>, ErrorCode> {
        if let Some(allocation) = self.allocation_of(*from) {
            let again = allocation.asked.id == asked.id && allocation.user == *user && allocation.port != 0;
            return if again { Ok(Some(allocation.port)) } else { Err(CODE_ALLOC_MISMATCH) };
        }
        match value(attributes, ATTR_REQUESTED_TRANSPORT) {
            // UDP.
            Some([17, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(CODE_UNSUPPORTED_TRANS_PROTO),
            _ => return Err(CODE_BAD_REQUEST),
        }
        // Without the attribute: what we have.
        if !self.is_our_family(attributes) {
            return Err(CODE_ADDR_FAMILY_NOT_SUPPORTED);
        }
        if self.allocations.len() >= self.setup.allocations {
            return Err(CODE_INSUFFICIENT_CAPACITY);
        }
        let of_user = self.by_user.get(user).copied().unwrap_or_default();
        let of_address = self.by_address.get(&prefix(from.ip())).copied().unwrap_or_default();
        if of_user >= self.setup.per_user || of_address >= self.setup.per_address {
            return Err(CODE_ALLOC_QUOTA_REACHED);
        }
        Ok(None)
    }

    fn is_our_family(&self, attributes: &[RawAttribute]) -> bool {
        let ours = if self.setup.relay_ip.is_ipv4() { 1 } else { 2 };
        match value(attributes, ATTR_REQUESTED_ADDRESS_FAMILY) {
            None => true,
            Some([family, _, _, _]) => *family == ours,
            Some(_) => false,
        }
    }

    fn refresh(&mut self, now: Instant, request: &Request, out: &mut Vec<Action>) -> Result<Message, ErrorCode> {
        let id = self.owned(request)?;
        if !self.is_our_family(&request.attributes) {
            return Err(CODE_PEER_ADDR_FAMILY_MISMATCH);
        }
        // The default lifetime is the longest, too: only 0 makes a difference.
        let life = match value(&request.attributes, ATTR_LIFETIME) {
            Some([0, 0, 0, 0]) => Duration::ZERO,
            None | Some([_, _, _, _]) => TURN_LIFETIME,
            Some(_) => return Err(CODE_BAD_REQUEST),
        };
        if life.is_zero() {
            self.remove(id, out);
        } else if let Some(allocation) = self.allocations.get_mut(&id) {
            allocation.expires = now + life;
        }
        let mut message = request.asked.answer(CLASS_SUCCESS_RESPONSE);
        add_lifetime(&mut message, life);
        Ok(message)
    }

    fn create_permission(&mut self, now: Instant, request: &Request) -> Result<Message, ErrorCode> {
        let id = self.owned(request)?;
        let mut ips = Vec::new();
        for attribute in request.attributes.iter().filter(|a| a.typ == ATTR_XOR_PEER_ADDRESS) {
            let ip = address(&attribute.value, request.asked.id).ok_or(CODE_BAD_REQUEST)?.ip();
            self.accept(ip)?;
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        if ips.is_empty() {
            return Err(CODE_BAD_REQUEST);
        }
        let allocation = self.allocations.get_mut(&id).ok_or(CODE_ALLOC_MISMATCH)?;
        if !allocation.permit(&ips, now) {
            return Err(CODE_INSUFFICIENT_CAPACITY);
        }
        Ok(request.asked.answer(CLASS_SUCCESS_RESPONSE))
    }

    fn channel_bind(&mut self, now: Instant, request: &Request) -> Result<Message, ErrorCode> {
        let id = self.owned(request)?;
        let number = match value(&request.attributes, ATTR_CHANNEL_NUMBER) {
            Some([high, low, _, _]) => u16::from_be_bytes([*high, *low]),
            _ => return Err(CODE_BAD_REQUEST),
        };
        let peer = value(&request.attributes, ATTR_XOR_PEER_ADDRESS)
            .and_then(|peer| address(peer, request.asked.id))
            .filter(|peer| peer.port() != 0 && (0x4000..=0x7fff).contains(&number))
            .ok_or(CODE_BAD_REQUEST)?;
        self.accept(peer.ip())?;
        self.allocations.get_mut(&id).ok_or(CODE_ALLOC_MISMATCH)?.bind(number, peer, now)?;
        Ok(request.asked.answer(CLASS_SUCCESS_RESPONSE))
    }

    /// Whether a peer's address may be permitted.
    fn accept(&self, peer: IpAddr) -> Result<(), ErrorCode> {
        if peer.is_ipv4() != self.setup.relay_ip.is_ipv4() {
            Err(CODE_PEER_ADDR_FAMILY_MISMATCH)
        } else if peer == self.setup.relay_ip || self.is_reachable(peer) {
            // Our own address: clients of this server meet at it, and they only.
            Ok(())
        } else {
            Err(CODE_FORBIDDEN)
        }
    }

    /// Whether datagrams are sent to an address.
    fn is_reachable(&self, peer: IpAddr) -> bool {
        let ours = || peer == self.setup.relay_ip || self.setup.own.contains(&peer);
        !peer.is_multicast() && !peer.is_unspecified() && (self.setup.private_peers || (!is_private(peer) && !ours()))
    }

    fn send(&mut self, now: Instant, id: AllocationId, message: &Message, out: &mut Vec<Action>) -> Option<()> {
        let attributes = &message.attributes.0;
        if !unknown(attributes).is_empty() {
            return None;
        }
        let peer = address(value(attributes, ATTR_XOR_PEER_ADDRESS)?, message.transaction_id)?;
        if !permits(&self.allocations.get(&id)?.permissions, peer.ip(), now) {
            return None;
        }
        self.relay_to_peer(now, id, peer, value(attributes, ATTR_DATA)?, out)
    }

    fn channel_data(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Vec<Action>) -> Option<()> {
        let id = *self.by_client.get(&from)?;
        let ([number_high, number_low, high, low], data) = datagram.split_first_chunk::<4>()?;
        let peer = self.allocations.get(&id)?.peer(u16::from_be_bytes([*number_high, *number_low]), now)?;
        // What follows is padding.
        let data = data.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
        self.relay_to_peer(now, id, peer, data, out)
    }

    /// Relays to a peer that is permitted.
    fn relay_to_peer(
        &mut self,
        now: Instant,
        id: AllocationId,
        peer: SocketAddr,
        data: &[u8],
        out: &mut Vec<Action>,
    ) -> Option<()> {
        let port = self.count(now, id, data)?;
        let ip = self.setup.relay_ip;
        if peer.ip() == ip
            && let Some(other) = self.by_port.get(&peer.port()).copied()
        {
            // Another client of this server: no need for a socket, nor for a NAT that turns back to itself.
            return self.relay_to_client(now, other, SocketAddr::new(ip, port), data, out);
        }
        (peer.port() != 0 && self.is_reachable(peer.ip()))
            .then(|| out.push(Action::Relay { allocation: id, to: peer, data: data.to_vec() }))
    }

    /// Relays to the client of an allocation, if the peer is permitted.
    fn relay_to_client(
        &mut self,
        now: Instant,
        id: AllocationId,
        peer: SocketAddr,
        data: &[u8],
        out: &mut Vec<Action>,
    ) -> Option<()> {
        let allocation = self.allocations.get(&id)?;
        if data.len() > TURN_DATAGRAM || !permits(&allocation.permissions, peer.ip(), now) {
            return None;
        }
        let to = allocation.client;
        let channel = allocation.channels.iter().find(|channel| channel.peer == peer).map(|channel| channel.number);
        self.count(now, id, data)?;
        let data = match channel {
            Some(number) => {
                [number.to_be_bytes().as_slice(), (data.len() as u16).to_be_bytes().as_slice(), data].concat()
            }
            None => {
                let mut message = begin(MessageType::new(METHOD_DATA, CLASS_INDICATION), TransactionId::new());
                add_address(&mut message, ATTR_XOR_PEER_ADDRESS, peer)?;
                message.add(ATTR_DATA, data);
                message.raw
            }
        };
        out.push(Action::Reply { to, data });
        Some(())
    }

    /// Counts a datagram against the rate of an allocation; gives its port.
    fn count(&mut self, now: Instant, id: AllocationId, data: &[u8]) -> Option<u16> {
        let allocation = self.allocations.get_mut(&id)?;
        if allocation.bucket.take(data.len() as u64 + TURN_OVERHEAD, self.rate, now) {
            self.counts.bytes += data.len() as u64;
            Some(allocation.port)
        } else {
            self.counts.dropped += 1;
            None
        }
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
