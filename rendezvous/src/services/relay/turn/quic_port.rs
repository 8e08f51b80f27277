//! STUN and TURN on the UDP ports of QUIC: for clients whose networks let out no other.
//!
//! The sockets are QUIC's, and what it receives goes by here first: its task hands on what is for TURN, and never waits for that. TURN's task sends from
//! the same sockets.

use std::{
    collections::HashSet,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    task::{Context, Poll, ready},
};

use libp2p::quic::quinn::{
    AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::sync::mpsc;

use super::{
    client::Client,
    demultiplex::{is_turn, take_out},
};
use crate::limits::{TURN_DATAGRAM, TURN_QUIC_QUEUE};

/// A client at a port of QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AtQuicPort {
    /// Its address.
    pub address: SocketAddr,
    /// Which of the server's sockets it sends to.
    pub socket: u16,
    /// To which address of the server: answers come from there.
    pub local: Option<IpAddr>,
}

/// A datagram for TURN.
pub(super) type FromQuicPort = (AtQuicPort, Vec<u8>);

/// Those clients at ports of QUIC that have allocations: data of their channels are told from packets of QUIC by that. A handle, whose clones share them.
#[derive(Clone, Debug, Default)]
pub struct QuicClients(Arc<RwLock<HashSet<AtQuicPort>>>);

impl QuicClients {
    /// A client has an allocation from now on, or none any more. Others than those at ports of QUIC do not matter.
    pub(super) fn set(&self, client: Client, has_allocation: bool) {
        let Client::QuicPort(client) = client else { return };
        let mut clients = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if has_allocation {
            clients.insert(client);
        } else {
            clients.remove(&client);
        }
    }

    pub(super) fn contains(&self, client: &AtQuicPort) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(client)
    }
}

/// The sockets of QUIC, for a server of TURN: a handle, whose clones share them.
#[derive(Clone, Debug)]
pub struct QuicPorts {
    sockets: Arc<Mutex<Vec<Weak<dyn AsyncUdpSocket>>>>,
    clients: QuicClients,
    server: mpsc::Sender<FromQuicPort>,
}

impl QuicPorts {
    /// No socket yet, and what will come to them.
    pub(super) fn new() -> (Self, mpsc::Receiver<FromQuicPort>) {
        let (server, arriving) = mpsc::channel(TURN_QUIC_QUEUE);
        (Self { sockets: Arc::default(), clients: QuicClients::default(), server }, arriving)
    }

    /// Where clients with allocations are noted.
    pub(super) fn clients(&self) -> QuicClients {
        self.clients.clone()
    }

    /// The socket of QUIC on a port, without what is for TURN.
    ///
    /// # Errors
    /// If the system refuses what QUIC needs of it.
    pub fn share(&self, bound: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let inner = TokioRuntime.wrap_udp_socket(bound)?;
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u16::try_from(sockets.len()).map_err(io::Error::other)?;
        sockets.push(Arc::downgrade(&inner));
        drop(sockets);
        Ok(Arc::new(SharedSocket { inner, number, ports: self.clone() }))
    }

    /// Sends from the socket, and the address, that the client has sent to. What there is no room for is lost.
    pub(super) fn reply(&self, to: AtQuicPort, data: &[u8]) {
        // What the system cannot send would have QUIC's socket do without what makes it fast.
        if to.address.port() == 0 {
            return;
        }
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = sockets.get(usize::from(to.socket)).and_then(Weak::upgrade);
        drop(sockets);
        let Some(socket) = socket else { return };
        let transmit =
            Transmit { destination: to.address, ecn: None, contents: data, segment_size: None, src_ip: to.local };
        let _ = socket.try_send(&transmit);
    }

    /// Takes a datagram that is for TURN.
    fn takes(&self, from: AtQuicPort, datagram: &[u8]) -> bool {
        if !is_turn(datagram, || self.clients.contains(&from)) {
            return false;
        }
        if datagram.len() <= TURN_DATAGRAM
            && !from.local.is_some_and(is_of_many)
            && let Ok(place) = self.server.try_reserve()
        {
            place.send((from, datagram.to_vec()));
        }
        true
    }
}

/// An address of more than one host, which nothing can be sent from.
fn is_of_many(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == Ipv4Addr::BROADCAST
}

/// A socket of QUIC.
#[derive(Debug)]
struct SharedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    number: u16,
    ports: QuicPorts,
}

impl AsyncUdpSocket for SharedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    /// A buffer whose datagrams were all taken is empty, which QUIC takes for none.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(cx, buffers, meta))?;
        for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()).take(count) {
            let from = AtQuicPort { address: meta.addr, socket: self.number, local: meta.dst_ip };
            let received = buffer.get_mut(..meta.len).unwrap_or_default();
            meta.len = take_out(received, meta.stride, |datagram| self.ports.takes(from, datagram));
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
