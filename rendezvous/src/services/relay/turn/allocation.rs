//! A relayed address, and whom it may be used with.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use rtc_stun::error_code::{CODE_BAD_REQUEST, CODE_INSUFFICIENT_CAPACITY, ErrorCode};

use super::{client::Client, codec::RequestHead, ports::Token, rates::Bucket};
use crate::limits::{TURN_CHANNEL_LIFE, TURN_CHANNELS, TURN_PERMISSION_LIFE, TURN_PERMISSIONS};

pub(super) struct Channel {
    pub number: u16,
    pub peer: SocketAddr,
    until: Instant,
}

pub(super) struct Allocation {
    pub client: Client,
    pub user: String,
    /// The relayed address; its port is 0 while the socket is being opened.
    pub relayed: SocketAddr,
    /// The port after it was kept under this token.
    pub kept: Option<Token>,
    pub created: Instant,
    pub created_s: u64,
    pub expires: Instant,
    /// The request that made it: it may come again.
    pub head: RequestHead,
    pub permissions: Vec<(IpAddr, Instant)>,
    pub channels: Vec<Channel>,
    pub bucket: Bucket,
}

impl Allocation {
    /// Installs or renews permissions: all, or none if they are too many.
    pub fn permit(&mut self, ips: &[IpAddr], now: Instant) -> bool {
        self.permissions.retain(|(_, until)| *until > now);
        let new = ips.iter().filter(|ip| !permits(&self.permissions, **ip, now)).count();
        if self.permissions.len() + new > TURN_PERMISSIONS {
            return false;
        }
        let until = now + TURN_PERMISSION_LIFE;
        for ip in ips {
            match self.permissions.iter_mut().find(|(permitted, _)| permitted == ip) {
                Some(permission) => permission.1 = until,
                None => self.permissions.push((*ip, until)),
            }
        }
        true
    }

    /// Binds a channel, or renews it.
    pub fn bind(&mut self, number: u16, peer: SocketAddr, now: Instant) -> Result<(), ErrorCode> {
        let permissions = &self.permissions;
        self.channels.retain(|channel| channel.is_live(permissions, now));
        if self.channels.iter().any(|channel| channel.number == number && channel.peer != peer) {
            return Err(CODE_BAD_REQUEST);
        }
        let bound = self.channels.iter().position(|channel| channel.peer == peer);
        if (bound.is_none() && self.channels.len() >= TURN_CHANNELS) || !self.permit(&[peer.ip()], now) {
            return Err(CODE_INSUFFICIENT_CAPACITY);
        }
        let until = now + TURN_CHANNEL_LIFE;
        match bound.and_then(|index| self.channels.get_mut(index)) {
            // Also with another number, which RFC 8656 refuses: webrtc 0.21 forgets a binding on any error and asks with the next number. What
            // came with the old number would be lost to it.
            Some(channel) => *channel = Channel { number, peer, until },
            None => self.channels.push(Channel { number, peer, until }),
        }
        Ok(())
    }

    pub fn peer(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let channel = self.channels.iter().find(|channel| channel.number == number)?;
        channel.is_live(&self.permissions, now).then_some(channel.peer)
    }
}

impl Channel {
    /// A channel does not end before its peer's permission: webrtc 0.21 does not ask again after a refresh whose answer was lost.
    pub fn is_live(&self, permissions: &[(IpAddr, Instant)], now: Instant) -> bool {
        self.until > now || permits(permissions, self.peer.ip(), now)
    }
}

pub(super) fn permits(permissions: &[(IpAddr, Instant)], ip: IpAddr, now: Instant) -> bool {
    permissions.iter().any(|(permitted, until)| *permitted == ip && *until > now)
}
