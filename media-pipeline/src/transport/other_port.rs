//! A socket that asks a server of STUN and TURN at its other port, too, where the first one does not answer: networks that let out little else may let
//! out that of QUIC. The library knows the first one alone, and does not notice.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::tunnel::Kind;

/// With a request that is sent so often the other port is asked: 0.2 s after it was sent first, for an allocation. So nothing is allocated twice, and the
/// tunnel, which waits longer, is not needed.
const SENT: u32 = 2;
/// Servers that a socket remembers to have asked.
const SERVERS: usize = 16;

/// The other ports of the servers of a connection.
pub(super) trait OtherPorts: std::fmt::Debug + Send + Sync {
    /// Where the server at an address answers, too.
    fn of(&self, server: SocketAddr) -> Option<SocketAddr>;
}

/// A request that was sent last, and how often.
#[derive(Debug, Default)]
struct Asked {
    transaction: [u8; 12],
    times: u32,
}

impl Asked {
    /// Whether it was sent often enough, with this time.
    fn is_overdue(&self, transaction: [u8; 12]) -> bool {
        self.transaction == transaction && self.times + 1 >= SENT
    }

    /// It was sent.
    fn sent(&mut self, transaction: [u8; 12]) {
        if self.transaction != transaction {
            *self = Self { transaction, times: 0 };
        }
        self.times = self.times.saturating_add(1);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    First,
    Other,
}

/// The transaction of a request for our address.
fn binding(message: &[u8]) -> Option<[u8; 12]> {
    match message {
        [0x00, 0x01, ..] => message.get(8..20)?.try_into().ok(),
        _ => None,
    }
}

/// What is known of one server.
#[derive(Debug)]
struct Server {
    other: SocketAddr,
    /// The other port was asked.
    asked_there: bool,
    allocation: Asked,
    binding: Asked,
    /// The port that has answered first about an allocation, which is there then.
    answered: Option<Port>,
}

impl Server {
    fn new(other: SocketAddr) -> Self {
        let (allocation, binding) = (Asked::default(), Asked::default());
        Self { other, asked_there: false, allocation, binding, answered: None }
    }

    /// A request is sent that is repeated until it is answered.
    fn ask(&mut self, is_overdue: bool) -> Route {
        self.asked_there |= is_overdue;
        if is_overdue { Route::Both(self.other) } else { Route::First }
    }

    /// Whether a message that has come from one of its ports is one for the library.
    fn heard(&mut self, port: Port, message: &[u8]) -> bool {
        if matches!(message, [0x01, 0x01 | 0x11, ..]) {
            return true;
        }
        if self.answered.is_none() && self.allocation.times > 0 {
            self.answered = Some(port);
        }
        // An answer that comes late is about another allocation.
        self.answered.is_none_or(|answered| answered == port)
    }
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    First,
    Other(SocketAddr),
    Both(SocketAddr),
}

/// See the module.
#[derive(Debug)]
pub(super) struct OtherPortSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    ports: Arc<dyn OtherPorts>,
    servers: Mutex<HashMap<SocketAddr, Server>>,
}

impl OtherPortSocket {
    pub fn wrap(inner: Arc<dyn AsyncUdpSocket>, ports: Arc<dyn OtherPorts>) -> Arc<Self> {
        Arc::new(Self { inner, ports, servers: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a message goes, if it is sent now.
    fn route(&self, to: SocketAddr, message: &[u8]) -> Route {
        let (binding, kind) = (binding(message), Kind::of(message));
        if binding.is_none() && kind.is_none() {
            return Route::First;
        }
        let mut servers = self.lock();
        // Requests alone begin anything.
        if !matches!(kind, Some(Kind::Other)) && !servers.contains_key(&to) && servers.len() < SERVERS {
            servers.extend(self.ports.of(to).map(|other| (to, Server::new(other))));
        }
        let Some(server) = servers.get_mut(&to) else { return Route::First };
        match (binding, kind, server.answered) {
            (Some(transaction), ..) => {
                let is_overdue = server.binding.is_overdue(transaction);
                server.ask(is_overdue)
            }
            (None, Some(Kind::Allocate(transaction)), None) => {
                let is_overdue = server.allocation.is_overdue(transaction);
                server.ask(is_overdue)
            }
            (None, _, Some(Port::Other)) => Route::Other(server.other),
            (None, ..) => Route::First,
        }
    }

    /// A message was sent. What a socket has no room for yet is sent again, and counts once.
    fn sent(&self, to: SocketAddr, message: &[u8]) {
        let (binding, kind) = (binding(message), Kind::of(message));
        if binding.is_none() && kind.is_none() {
            return;
        }
        let mut servers = self.lock();
        let Some(server) = servers.get_mut(&to) else { return };
        match (binding, kind) {
            (Some(transaction), _) => server.binding.sent(transaction),
            (None, Some(Kind::Allocate(transaction))) => server.allocation.sent(transaction),
            _ => {}
        }
    }

    /// Whom the library takes a message to be from; nobody, if it is about another allocation.
    fn sender(servers: &mut HashMap<SocketAddr, Server>, from: SocketAddr, message: &[u8]) -> Option<SocketAddr> {
        let of_other = |(first, server): (&SocketAddr, &Server)| (server.other == from).then_some(*first);
        let first = if servers.contains_key(&from) { Some(from) } else { servers.iter().find_map(of_other) };
        let Some(first) = first else { return Some(from) };
        let server = servers.get_mut(&first)?;
        let port = if first == from { Port::First } else { Port::Other };
        if port == Port::Other && !server.asked_there {
            return Some(from);
        }
        server.heard(port, message).then_some(first)
    }
}

/// The same, to another address.
fn redirected<'a>(transmit: &Transmit<'a>, to: SocketAddr) -> Transmit<'a> {
    Transmit { destination: to, ..transmit.clone() }
}

impl AsyncUdpSocket for OtherPortSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = match self.route(transmit.destination, transmit.contents) {
            Route::First => self.inner.poll_send(cx, transmit),
            Route::Other(other) => self.inner.poll_send(cx, &redirected(transmit, other)),
            Route::Both(other) => {
                let sent = self.inner.poll_send(cx, transmit);
                if sent.is_ready() {
                    // Lost if there is no room for it, as on any path.
                    let _ = self.inner.poll_send(cx, &redirected(transmit, other));
                }
                sent
            }
        };
        if sent.is_ready() {
            self.sent(transmit.destination, transmit.contents);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, buffers, meta);
        if let Poll::Ready(Ok(count)) = received {
            let mut servers = self.lock();
            if servers.is_empty() {
                return received;
            }
            for (buffer, meta) in buffers.iter().zip(meta.iter_mut()).take(count) {
                match Self::sender(&mut servers, meta.addr, buffer.get(..meta.len).unwrap_or_default()) {
                    Some(sender) => meta.addr = sender,
                    None => meta.len = 0,
                }
            }
        }
        received
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

#[cfg(test)]
#[path = "other_port_tests.rs"]
mod tests;
