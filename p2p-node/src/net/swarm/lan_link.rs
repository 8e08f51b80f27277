//! This device's place on the LAN: where it hears what is said there, and when it asks and answers.
//!
//! There is no task: the driver waits in [`LanLink::heard`]. One socket hears all interfaces, for each internet protocol, on the port of mDNS, beside
//! those of other programs. Of what comes faster than [`LAN_DATAGRAM_EVERY`] no more is read than the system keeps.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::{net::UdpSocket, time::sleep_until};

use super::limits::{LAN_ANSWER_EVERY, LAN_ANSWERS, LAN_DATAGRAM_EVERY, LAN_DATAGRAMS, MAX_LAN_DATAGRAM};
use super::{
    allowance::Allowance,
    lan_packet::{self, Packet},
    lan_query::{self, GROUP_V4, GROUP_V6, PORT, Pace, Place},
};
use crate::net::IpVersion;

/// After a change it is asked again after this time, as who is there may just be looking away, and then ever more seldom ...
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// ... down to this. Everybody's addresses are forgotten after twice that.
const ROUND: Duration = Duration::from_secs(300);
/// A network that has IPv6 alone for so long is one of IPv6; in others it is there a moment before IPv4 is. Announcing by both costs packets at rest.
const IPV6_AFTER: Duration = Duration::from_secs(5);

/// Sockets, and what is due. Closed until [`LanLink::begin`].
pub(super) struct LanLink {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    buffer: Vec<u8>,
    datagrams: Allowance,
    answers: Allowance,
    pace: Pace,
    /// When it is asked again by itself, and how long after that the next time.
    round: Option<Instant>,
    interval: Duration,
    /// When to hear and speak by IPv6, too.
    ipv6_due: Option<Instant>,
}

impl LanLink {
    pub fn new(now: Instant) -> Self {
        Self {
            v4: None,
            v6: None,
            // One byte more than is taken: what is cut off is seen to be.
            buffer: vec![0; MAX_LAN_DATAGRAM + 1],
            datagrams: Allowance::new(now, LAN_DATAGRAMS, LAN_DATAGRAM_EVERY),
            answers: Allowance::new(now, LAN_ANSWERS, LAN_ANSWER_EVERY),
            pace: Pace::new(now),
            round: None,
            interval: FIRST_ROUND,
            ipv6_due: None,
        }
    }

    /// This device has another name: opens the sockets, and asks who is there. They are made anew, as they count interfaces that are gone among those
    /// that they hear.
    pub fn begin(&mut self, now: Instant, ipv6_alone: bool) {
        (self.v4, self.v6, self.ipv6_due) = (None, None, None);
        open(&mut self.v4, IpVersion::V4);
        if ipv6_alone {
            open(&mut self.v6, IpVersion::V6);
        }
        self.interval = FIRST_ROUND;
        self.ask(now);
    }

    /// The network has changed: hears the interfaces that are new, and asks again. IPv6 stays, as an interface whose address changes has none meanwhile.
    pub fn network_changed(&mut self, now: Instant, ipv6_alone: bool) {
        open(&mut self.v4, IpVersion::V4);
        if self.v6.is_some() {
            open(&mut self.v6, IpVersion::V6);
        } else {
            self.ipv6_due = ipv6_alone.then(|| self.ipv6_due.unwrap_or(now + IPV6_AFTER));
        }
        self.interval = FIRST_ROUND;
        self.ask(now);
    }

    /// When [`LanLink::act`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        [self.round, self.pace.due(), self.ipv6_due].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn act(&mut self, now: Instant) {
        if self.ipv6_due.is_some_and(|due| due <= now) {
            self.ipv6_due = None;
            open(&mut self.v6, IpVersion::V6);
        }
        self.ask(now);
    }

    fn ask(&mut self, now: Instant) {
        if self.pace.may_ask(now) {
            lan_query::ask(self.v6.is_some());
            self.round = Some(now + self.interval);
            self.interval = (2 * self.interval).min(ROUND);
        } else {
            self.round = None;
        }
    }

    /// Answers a question, unless that was just done: `datagram` is what is told in a place, on an interface with these addresses.
    pub fn answer(&mut self, now: Instant, datagram: impl Fn(Place, &[IpAddr]) -> Option<Vec<u8>>) {
        if self.answers.take(now) {
            lan_query::answer(self.v6.is_some(), datagram);
        }
    }

    /// Waits for what is said next. Cancel safe.
    pub async fn heard(&mut self) -> Packet {
        loop {
            if let Some(at) = self.datagrams.wait(Instant::now()) {
                sleep_until(at.into()).await;
            }
            let socket = tokio::select! {
                socket = readable(self.v4.as_ref()) => socket,
                socket = readable(self.v6.as_ref()) => socket,
            };
            match socket.try_recv_from(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok((length, from)) if length <= MAX_LAN_DATAGRAM => {
                    self.datagrams.take(Instant::now());
                    let datagram = self.buffer.get(..length).unwrap_or_default();
                    if let Some(packet) = lan_packet::read(datagram, from.ip()) {
                        return packet;
                    }
                }
                // Errors, too: there may be one after the other.
                Ok(_) | Err(_) => {
                    self.datagrams.take(Instant::now());
                }
            }
        }
    }
}

async fn readable(socket: Option<&UdpSocket>) -> &UdpSocket {
    if let Some(socket) = socket
        && socket.readable().await.is_ok()
    {
        return socket;
    }
    std::future::pending().await
}

/// Opens a socket, if it is not open, and hears all interfaces on it.
fn open(socket: &mut Option<UdpSocket>, version: IpVersion) {
    if socket.is_none() {
        match listen(version) {
            Ok(opened) => *socket = Some(opened),
            Err(error) => tracing::warn!(%error, ?version, "contacts cannot be looked for on the LAN"),
        }
    }
    let Some(socket) = socket else { return };
    for place in lan_query::places(version == IpVersion::V6) {
        // That of an interface which is heard already fails.
        let _ = match (place, version) {
            (Place::V4(ip), IpVersion::V4) => socket.join_multicast_v4(GROUP_V4, ip),
            (Place::V6(index), IpVersion::V6) => socket.join_multicast_v6(&GROUP_V6, index),
            (Place::V4(_) | Place::V6(_), _) => Ok(()),
        };
    }
}

/// A socket on the port that all programs share that speak mDNS: what is sent to the group comes to each of them.
fn listen(version: IpVersion) -> io::Result<UdpSocket> {
    let (family, any): (_, IpAddr) = match version {
        IpVersion::V4 => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
        IpVersion::V6 => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    if version == IpVersion::V6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(any, PORT))?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A place on the LAN that hears what is sent to it alone, and where that is.
    async fn link() -> (LanLink, UdpSocket) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        sender.connect(socket.local_addr().unwrap()).await.unwrap();
        (LanLink { v4: Some(socket), ..LanLink::new(Instant::now()) }, sender)
    }

    #[tokio::test]
    async fn what_is_no_answer_is_passed_over() {
        let (mut link, sender) = link().await;
        for datagram in [&b""[..], &[0; 12], &[0xff; MAX_LAN_DATAGRAM], &[0; MAX_LAN_DATAGRAM + 1], lan_query::QUESTION]
        {
            sender.send(datagram).await.unwrap();
        }
        assert_eq!(link.heard().await, Packet::Question);
    }

    #[tokio::test]
    async fn a_flood_is_read_no_faster_than_is_allowed() {
        let (mut link, sender) = link().await;
        let began = Instant::now();
        // What was allowed at once is used up, and what the flood has put into the buffer waits.
        while link.datagrams.take(Instant::now()) {}
        for _ in 0..50 {
            sender.send(lan_query::QUESTION).await.unwrap();
        }
        for _ in 0..20 {
            link.heard().await;
        }
        assert!(began.elapsed() >= 19 * LAN_DATAGRAM_EVERY, "{:?}", began.elapsed());
    }

    #[test]
    fn a_network_that_stays_as_it_is_is_asked_ever_more_seldom_and_one_that_changes_at_once() {
        let start = Instant::now();
        let mut link = LanLink::new(start);
        assert_eq!(link.due(), None, "nothing is said before there is a name");
        link.interval = FIRST_ROUND;
        link.round = Some(start);
        let mut asked = 0;
        while let Some(due) = link.due().filter(|due| *due <= start + Duration::from_secs(3600)) {
            // As `act` does, without a word.
            assert!(link.pace.may_ask(due), "a pace that is kept to");
            link.round = Some(due + link.interval);
            link.interval = (2 * link.interval).min(ROUND);
            asked += 1;
        }
        assert!((15..=25).contains(&asked), "{asked} in an hour");
    }
}
