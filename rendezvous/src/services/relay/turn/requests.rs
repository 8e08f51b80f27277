//! Requests of those who have authenticated: allocations, permissions, channels.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rtc_stun::{
    attributes::{
        ATTR_CHANNEL_NUMBER, ATTR_LIFETIME, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT,
        ATTR_XOR_PEER_ADDRESS, RawAttribute,
    },
    error_code::{
        CODE_ALLOC_MISMATCH, CODE_ALLOC_QUOTA_REACHED, CODE_BAD_REQUEST, CODE_FORBIDDEN, CODE_INSUFFICIENT_CAPACITY,
        CODE_PEER_ADDR_FAMILY_MISMATCH, CODE_UNSUPPORTED_TRANS_PROTO, CODE_WRONG_CREDENTIALS, ErrorCode,
    },
    message::{CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message},
};

use super::{
    Action, AllocationId, Moment, PortWish, Token, Turn,
    allocation::Allocation,
    auth::Denied,
    client::Client,
    codec::{RequestHead, add_lifetime, address, allocated, unknown, value},
    ports::{wish, wished},
    rates::Bucket,
};
use crate::{
    address::{is_of_this_link, is_private},
    limits::TURN_LIFETIME,
};

/// A request of a known user.
struct Request {
    from: Client,
    user: String,
    attributes: Vec<RawAttribute>,
    head: RequestHead,
}

/// What becomes of an Allocate.
enum Admitted {
    /// An allocation is made, on this address and with such a port.
    New(IpAddr, PortWish),
    /// It was made by the same request.
    Known { relayed: SocketAddr, kept: Option<Token> },
}

impl Turn {
    pub(super) fn request(
        &mut self,
        now: Moment,
        from: Client,
        mut message: Message,
        out: &mut Vec<Action>,
    ) -> Option<()> {
        let mut head = RequestHead::of(&message);
        let (user, key) = match self.authenticate(now, from, &mut message) {
            Ok(authentic) => authentic,
            Err(Denied::Silently) => return None,
            Err(Denied::With(CODE_BAD_REQUEST)) => {
                return self.answer_stranger(now.instant, from, head.error(CODE_BAD_REQUEST)?, out);
            }
            Err(Denied::With(code)) => {
                return self.answer_stranger(now.instant, from, self.challenge(now, from, &head, code)?, out);
            }
        };
        head.key = Some(key);
        let request = Request { from, user, attributes: message.attributes.0, head };
        let unknown = unknown(&request.attributes);
        let answer = if unknown.is_empty() {
            let answered = match request.head.method {
                METHOD_ALLOCATE => return self.allocate(now, request, out),
                METHOD_REFRESH => self.refresh(now.instant, &request, out),
                METHOD_CREATE_PERMISSION => self.create_permission(now.instant, &request),
                _ => self.channel_bind(now.instant, &request),
            };
            match answered {
                Ok(message) => request.head.seal(message)?,
                Err(code) => request.head.error(code)?,
            }
        } else {
            request.head.unknown(unknown)?
        };
        out.push(Action::Reply { to: from, data: answer });
        Some(())
    }

    /// The allocation that a request is about, if it is the user's.
    fn owned(&self, request: &Request) -> Result<AllocationId, ErrorCode> {
        let id = *self.by_client.get(&request.from).ok_or(CODE_ALLOC_MISMATCH)?;
        let allocation = self.allocations.get(&id).ok_or(CODE_ALLOC_MISMATCH)?;
        // By user, not by user name: credentials may be renewed.
        if allocation.user == request.user { Ok(id) } else { Err(CODE_WRONG_CREDENTIALS) }
    }

    fn allocate(&mut self, now: Moment, request: Request, out: &mut Vec<Action>) -> Option<()> {
        let answer = match self.admit(now.instant, &request) {
            Ok(Admitted::New(ip, wish)) => {
                if let PortWish::Kept(token) = wish {
                    self.reserved.remove(&token);
                }
                let Request { from, user, head, .. } = request;
                self.next += 1;
                *self.by_user.entry(user.clone()).or_default() += 1;
                if let Some(ip) = from.counted_by() {
                    *self.by_address.entry(ip).or_default() += 1;
                }
                self.by_client.insert(from, self.next);
                self.setup.quic_clients.set(from, true);
                let allocation = Allocation {
                    client: from,
                    user,
                    relayed: SocketAddr::new(ip, 0),
                    kept: None,
                    created: now.instant,
                    created_s: now.unix_s,
                    expires: now.instant + TURN_LIFETIME,
                    head,
                    permissions: Vec::new(),
                    channels: Vec::new(),
                    bucket: Bucket::full(self.rate, now.instant),
                };
                self.allocations.insert(self.next, allocation);
                out.push(Action::Open(self.next, ip, wish));
                return Some(());
            }
            Ok(Admitted::Known { relayed, kept }) => allocated(&request.head, relayed, request.from.address(), kept),
            Err(code) => request.head.error(code),
        };
        out.push(Action::Reply { to: request.from, data: answer? });
        Some(())
    }

    /// Whether an allocation may be made, or what this very request has made before.
    fn admit(&self, now: Instant, request: &Request) -> Result<Admitted, ErrorCode> {
        let Request { from, user, attributes, head } = request;
        if let Some(allocation) = self.allocation_of(*from) {
            let Allocation { relayed, kept, .. } = *allocation;
            let again = allocation.head.id == head.id && allocation.user == *user && relayed.port() != 0;
            return if again { Ok(Admitted::Known { relayed, kept }) } else { Err(CODE_ALLOC_MISMATCH) };
        }
        match value(attributes, ATTR_REQUESTED_TRANSPORT) {
            // UDP.
            Some([17, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(CODE_UNSUPPORTED_TRANS_PROTO),
            _ => return Err(CODE_BAD_REQUEST),
        }
        let ip = wished(self.setup.relay_ips, attributes)?;
        let wish = wish(attributes)?;
        if let PortWish::Kept(token) = wish {
            let kept = self.reserved.get(&token).filter(|kept| kept.user == *user && kept.expires > now);
            // What is kept has its place in all that is counted.
            return kept.map(|kept| Admitted::New(kept.ip, wish)).ok_or(CODE_INSUFFICIENT_CAPACITY);
        }
        let more = if wish == PortWish::Pair { 1 } else { 0 };
        if self.allocations.len() + self.reserved.len() + more >= self.setup.allocations {
            return Err(CODE_INSUFFICIENT_CAPACITY);
        }
        let reserved = self.reserved.values().filter(|kept| kept.user == *user).count() + more;
        let of_user = self.by_user.get(user).copied().unwrap_or_default() + reserved as u32;
        let of_address = from.counted_by().and_then(|ip| self.by_address.get(&ip).copied()).unwrap_or_default();
        if of_user >= self.setup.per_user || of_address >= self.setup.per_address {
            return Err(CODE_ALLOC_QUOTA_REACHED);
        }
        Ok(Admitted::New(ip, wish))
    }

    fn refresh(&mut self, now: Instant, request: &Request, out: &mut Vec<Action>) -> Result<Message, ErrorCode> {
        let id = self.owned(request)?;
        let ours = self.allocations.get(&id).map(|allocation| allocation.relayed.ip());
        let named = value(&request.attributes, ATTR_REQUESTED_ADDRESS_FAMILY).is_some();
        if named && wished(self.setup.relay_ips, &request.attributes).ok() != ours {
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
        let mut message = request.head.answer(CLASS_SUCCESS_RESPONSE);
        add_lifetime(&mut message, life);
        Ok(message)
    }

    fn create_permission(&mut self, now: Instant, request: &Request) -> Result<Message, ErrorCode> {
        let id = self.owned(request)?;
        let mut ips = Vec::new();
        for attribute in request.attributes.iter().filter(|a| a.typ == ATTR_XOR_PEER_ADDRESS) {
            let ip = address(&attribute.value, request.head.id).ok_or(CODE_BAD_REQUEST)?.ip();
            self.accept(id, ip)?;
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
        Ok(request.head.answer(CLASS_SUCCESS_RESPONSE))
    }

    fn channel_bind(&mut self, now: Instant, request: &Request) -> Result<Message, ErrorCode> {
        let id = self.owned(request)?;
        let number = match value(&request.attributes, ATTR_CHANNEL_NUMBER) {
            Some([high, low, _, _]) => u16::from_be_bytes([*high, *low]),
            _ => return Err(CODE_BAD_REQUEST),
        };
        let peer = value(&request.attributes, ATTR_XOR_PEER_ADDRESS)
            .and_then(|peer| address(peer, request.head.id))
            .filter(|peer| peer.port() != 0 && (0x4000..=request.from.last_channel()).contains(&number))
            .ok_or(CODE_BAD_REQUEST)?;
        self.accept(id, peer.ip())?;
        self.allocations.get_mut(&id).ok_or(CODE_ALLOC_MISMATCH)?.bind(number, peer, now)?;
        Ok(request.head.answer(CLASS_SUCCESS_RESPONSE))
    }

    /// Whether a peer's address may be permitted to an allocation.
    fn accept(&self, id: AllocationId, peer: IpAddr) -> Result<(), ErrorCode> {
        let allocation = self.allocations.get(&id).ok_or(CODE_ALLOC_MISMATCH)?;
        if peer.is_ipv4() != allocation.relayed.is_ipv4() {
            Err(CODE_PEER_ADDR_FAMILY_MISMATCH)
        } else if self.setup.relay_ips.contains(peer) || self.is_reachable(peer) {
            // Our own address: clients of this server meet at it, and they only.
            Ok(())
        } else {
            Err(CODE_FORBIDDEN)
        }
    }

    /// Whether datagrams are sent to an address.
    pub(super) fn is_reachable(&self, peer: IpAddr) -> bool {
        let ours = self.setup.relay_ips.contains(peer) || self.setup.own.contains(&peer);
        let special = peer.is_multicast() || peer.is_unspecified();
        let local = is_of_this_link(peer) && !self.setup.local_peers;
        !special && !local && !ours && (self.setup.private_peers || !is_private(peer))
    }
}
