//! Data on its way between clients and peers.

use std::{net::SocketAddr, time::Instant};

use rtc_stun::{
    attributes::{ATTR_DATA, ATTR_XOR_PEER_ADDRESS},
    message::{CLASS_INDICATION, METHOD_DATA, Message, MessageType, TransactionId},
};

use super::{
    Action, AllocationId, Turn,
    allocation::permits,
    client::Client,
    codec::{add_address, address, begin, unknown, value},
};
use crate::limits::{TURN_DATAGRAM, TURN_OVERHEAD};

impl Turn {
    pub(super) fn send(
        &mut self,
        now: Instant,
        id: AllocationId,
        message: &Message,
        out: &mut Vec<Action>,
    ) -> Option<()> {
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

    pub(super) fn channel_data(
        &mut self,
        now: Instant,
        from: Client,
        datagram: &[u8],
        out: &mut Vec<Action>,
    ) -> Option<()> {
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
        let from = self.count(now, id, data)?;
        if let Some(other) = self.by_relayed.get(&peer).copied() {
            // Another client of this server: no need for a socket, nor for a NAT that turns back to itself.
            return self.relay_to_client(now, other, from, data, out);
        }
        (peer.port() != 0 && self.is_reachable(peer.ip()))
            .then(|| out.push(Action::Relay { allocation: id, to: peer, data: data.to_vec() }))
    }

    /// Relays to the client of an allocation, if the peer is permitted.
    pub(super) fn relay_to_client(
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

    /// Counts a datagram against the rate of an allocation; gives its relayed address.
    fn count(&mut self, now: Instant, id: AllocationId, data: &[u8]) -> Option<SocketAddr> {
        let allocation = self.allocations.get_mut(&id)?;
        if allocation.bucket.take(data.len() as u64 + TURN_OVERHEAD, self.rate, now) {
            self.counts.bytes += data.len() as u64;
            Some(allocation.relayed)
        } else {
            self.counts.dropped += 1;
            None
        }
    }
}
