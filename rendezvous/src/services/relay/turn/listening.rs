//! The sockets that clients send to: one of each protocol that the server listens on.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::UdpSocket;

/// The sockets.
pub(super) struct Listening {
    first: UdpSocket,
    /// Of the other protocol.
    other: Option<UdpSocket>,
}

impl Listening {
    /// Listens on the first address, and on that of the other protocol if it can: a server without it serves as before.
    pub fn bind(first: SocketAddr, other: Option<SocketAddr>) -> io::Result<Self> {
        let only_ipv6 = other.is_some();
        let first = bind(first, only_ipv6)?;
        let other = other.and_then(|address| {
            let bound = bind(address, true);
            bound.inspect_err(|error| tracing::warn!(%address, %error, "cannot listen for calls on this address")).ok()
        });
        Ok(Self { first, other })
    }

    /// Where each listens.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [Some(&self.first), self.other.as_ref()].into_iter().flatten().filter_map(|socket| socket.local_addr().ok())
    }

    /// The next datagram. Cancel safe.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let socket = match &self.other {
                None => self.first.readable().await.map(|()| &self.first)?,
                Some(other) => tokio::select! {
                    ready = self.first.readable() => ready.map(|()| &self.first)?,
                    ready = other.readable() => ready.map(|()| other)?,
                },
            };
            match socket.try_recv_from(buffer) {
                Ok((length, from)) => return Ok((length, canonical(from))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends from where the client has sent to. What there is no room for is lost.
    pub fn reply(&self, to: SocketAddr, data: &[u8]) {
        let of_kind = |socket: &&UdpSocket| socket.local_addr().is_ok_and(|ours| ours.is_ipv4() == to.is_ipv4());
        let both = [Some(&self.first), self.other.as_ref()];
        let _ = match (both.into_iter().flatten().find(of_kind), to.ip()) {
            (Some(socket), _) => socket.try_send_to(data, to),
            // An IPv6 socket that is alone sends to IPv4 addresses in their mapped form.
            (None, IpAddr::V4(ip)) => {
                self.first.try_send_to(data, SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()))
            }
            (None, IpAddr::V6(_)) => return,
        };
    }
}

fn bind(address: SocketAddr, only_ipv6: bool) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_ipv6)?;
    }
    net::bind(&socket, &address)?;
    UdpSocket::from_std(socket.into())
}

/// IPv4 addresses as such, also if they come through an IPv6 socket.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
