//! A socket whose messages to a TURN server go over a stream, where the network lets no datagrams through to it, or none are to be sent.
//!
//! The library speaks TURN over UDP alone. Over a stream the messages are the same (RFC 8656, 12.5), so whoever has a stream to the server carries them, and
//! the library does not notice.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// With a request that is sent so often a stream is opened: 0.6 s after it was sent first, by the library's timer.
const SENT: u32 = 3;
/// Messages that wait for a stream; more are lost, as on any path.
const WAITING: usize = 64;
/// Messages of servers that wait for the library.
const RECEIVED: usize = 256;
/// Servers that a socket remembers to have asked.
const ASKED: usize = 16;

/// Both directions of a way to a server: messages of STUN and TURN, each as a datagram would have it.
#[derive(Debug)]
pub struct TunnelEnds {
    /// To the server.
    pub sender: mpsc::Sender<Vec<u8>>,
    /// From the server, until the way is gone.
    pub receiver: mpsc::Receiver<Vec<u8>>,
}

type Opening = dyn Fn() -> BoxFuture<'static, Option<TunnelEnds>> + Send + Sync;

/// Opens ways to a server.
#[derive(Clone)]
pub struct Tunnel(Arc<Opening>);

impl Tunnel {
    /// `open` makes a new way each time, or says that there is none.
    pub fn new(open: impl Fn() -> BoxFuture<'static, Option<TunnelEnds>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }
}

impl PartialEq for Tunnel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tunnel {}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tunnel")
    }
}

/// The tunnels of a connection, which all its sockets share.
pub(super) trait Tunnels: std::fmt::Debug + Send + Sync {
    /// That to the server at an address.
    fn to(&self, server: SocketAddr) -> Option<Tunnel>;
    /// A socket wants it. It gets it if no other has it, and none has an answer by a datagram.
    fn take(&self, server: SocketAddr, socket: &Arc<Shared>) -> bool;
}

/// What is known of one server.
#[derive(Debug)]
struct Asked {
    transaction: [u8; 12],
    times: u32,
}

#[derive(Debug)]
struct Way {
    queue: mpsc::Sender<Vec<u8>>,
    /// The server has answered on it.
    answered: bool,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    asked: HashMap<SocketAddr, Asked>,
    /// Servers that have answered by a datagram: that is not tried otherwise, as requests and their answers belong to one path.
    heard: HashSet<SocketAddr>,
    ways: HashMap<SocketAddr, Way>,
    received: VecDeque<(SocketAddr, Vec<u8>)>,
    /// The stream had its turn.
    stream_last: bool,
    waker: Option<Waker>,
}

/// What a socket shares with the tasks of its ways.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the socket has a way to a server that is at these addresses: by datagrams to any of them, or by a stream to this one.
    pub fn reaches(&self, server: SocketAddr, is_at: impl Fn(SocketAddr) -> bool) -> bool {
        let state = self.lock();
        state.ways.contains_key(&server) || state.heard.iter().any(|heard| is_at(*heard))
    }

    fn received(&self, from: SocketAddr, message: Vec<u8>) {
        let mut state = self.lock();
        if let Some(way) = state.ways.get_mut(&from) {
            way.answered = true;
        }
        if state.received.len() < RECEIVED {
            state.received.push_back((from, message));
        }
        state.waker.take().into_iter().for_each(Waker::wake);
    }

    fn ended(&self, server: SocketAddr) {
        drop(self.lock().ways.remove(&server));
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct TunnelSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    tunnels: Arc<dyn Tunnels>,
    shared: Arc<Shared>,
    /// With a request that is sent so often a stream is opened.
    sent: u32,
}

impl TunnelSocket {
    pub fn wrap(inner: Arc<dyn AsyncUdpSocket>, tunnels: Arc<dyn Tunnels>) -> Arc<Self> {
        Arc::new(Self { inner, tunnels, shared: Arc::default(), sent: SENT })
    }

    /// One that has nothing but streams: no datagram leaves this machine. `local` is what the library knows it by.
    pub fn without_datagrams(local: SocketAddr, tunnels: Arc<dyn Tunnels>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::new(NoDatagrams(local)), tunnels, shared: Arc::default(), sent: 1 })
    }

    /// What [`Tunnels::take`] knows it by.
    pub fn shared(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    /// Whether a message goes over a stream, and not as a datagram. One that finds no room there is lost.
    fn takes(&self, to: SocketAddr, message: &[u8]) -> bool {
        let Some(kind) = Kind::of(message) else { return false };
        let state = self.shared.lock();
        let Some(way) = state.ways.get(&to) else { return false };
        let _ = way.queue.try_send(message.to_vec());
        // Until the stream has shown to be one, requests go both ways.
        way.answered || !matches!(kind, Kind::Allocate(_))
    }

    /// A request was sent as a datagram, or should have been. If that was often enough, a stream is opened for it.
    fn asked(&self, to: SocketAddr, transaction: [u8; 12], message: &[u8]) {
        let from = self.local_addr().map(|address| address.ip());
        let mut state = self.shared.lock();
        let is_known = state.asked.contains_key(&to);
        if state.heard.contains(&to)
            || state.ways.contains_key(&to)
            || (state.asked.len() >= ASKED && !is_known)
            // From there no datagram goes anywhere else, so it has shown nothing.
            || (self.sent > 1 && from.is_ok_and(|ip| ip.is_loopback()) && !to.ip().is_loopback())
        {
            return;
        }
        let asked = state.asked.entry(to).or_insert(Asked { transaction, times: 0 });
        if asked.transaction != transaction {
            *asked = Asked { transaction, times: 0 };
        }
        asked.times += 1;
        if asked.times < self.sent {
            return;
        }
        drop(state);
        let Some(tunnel) = self.tunnels.to(to).filter(|_| self.tunnels.take(to, &self.shared)) else { return };
        tracing::debug!(after = self.sent, "no answer of a relay: it is asked over a stream");
        let (queue, waiting) = mpsc::channel(WAITING);
        let _ = queue.try_send(message.to_vec());
        // Locked, so that its end does not come before it is noted.
        let mut state = self.shared.lock();
        let task = AbortOnDropHandle::new(tokio::spawn(carry(tunnel, to, waiting, Arc::downgrade(&self.shared))));
        state.ways.insert(to, Way { queue, answered: false, _task: task });
    }

    /// A datagram has come from an address: if that is a server's, datagrams reach it.
    fn heard(&self, from: SocketAddr) {
        let mut state = self.shared.lock();
        if state.ways.get(&from).is_some_and(|way| way.answered) || state.asked.remove(&from).is_none() {
            return;
        }
        state.heard.insert(from);
        drop(state.ways.remove(&from));
    }

    /// What has come over streams.
    fn poll_streams(
        &self,
        cx: &Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()) {
            let Some((from, message)) = state.received.pop_front() else { break };
            let length = message.len().min(buffer.len());
            buffer[..length].copy_from_slice(&message[..length]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
            count += 1;
        }
        if count > 0 {
            state.stream_last = true;
            return Poll::Ready(Ok(count));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A datagram has come from a server that has answered on a stream before: what it says there is about another path.
    fn is_late(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let is_binding = matches!(datagram, [0x01, 0x01 | 0x11, ..]);
        !is_binding && self.shared.lock().ways.get(&from).is_some_and(|way| way.answered)
    }

    fn poll_datagrams(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, buffers, meta);
        if let Poll::Ready(Ok(count)) = received
            && !self.shared.lock().asked.is_empty()
        {
            for (buffer, meta) in buffers.iter().zip(meta.iter_mut()).take(count) {
                self.heard(meta.addr);
                if self.is_late(meta.addr, buffer.get(..meta.len).unwrap_or_default()) {
                    meta.len = 0;
                }
            }
        }
        received
    }
}

/// Sends nothing, and receives nothing.
#[derive(Debug)]
struct NoDatagrams(SocketAddr);

impl AsyncUdpSocket for NoDatagrams {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(transmit.contents.len()))
    }

    fn poll_recv(&self, _: &mut Context<'_>, _: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

async fn carry(tunnel: Tunnel, server: SocketAddr, mut waiting: mpsc::Receiver<Vec<u8>>, shared: Weak<Shared>) {
    if let Some(TunnelEnds { sender, mut receiver }) = (tunnel.0)().await {
        let there = async {
            while let Some(message) = waiting.recv().await {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        };
        let back = async {
            while let Some(message) = receiver.recv().await {
                let Some(shared) = shared.upgrade() else { return };
                shared.received(server, message);
            }
        };
        tokio::select! {
            () = there => {}
            () = back => {}
        }
    }
    // Last, as this ends the task.
    if let Some(shared) = shared.upgrade() {
        shared.ended(server);
    }
}

impl AsyncUdpSocket for TunnelSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let (to, length) = (transmit.destination, transmit.contents.len());
        let size = transmit.segment_size.unwrap_or(length).max(1);
        let mut taken = transmit.contents.chunks(size).map(|message| self.takes(to, message));
        // Whoever takes the first of them takes all.
        if taken.next().unwrap_or_default() {
            taken.for_each(drop);
            return Poll::Ready(Ok(length));
        }
        let sent = self.inner.poll_send(cx, transmit);
        match (&sent, Kind::of(transmit.contents)) {
            (Poll::Ready(sent), Some(Kind::Allocate(transaction))) if self.tunnels.to(to).is_some() => {
                self.asked(to, transaction, transmit.contents);
                // A system that refuses to send is a network that lets nothing through: the library would give the server up.
                if let Err(error) = sent {
                    tracing::debug!(%error, "a relay cannot be asked");
                }
                Poll::Ready(Ok(length))
            }
            _ => sent,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // In turns: who floods one of them does not hold up the other.
        if std::mem::take(&mut self.shared.lock().stream_last) {
            let datagrams = self.poll_datagrams(cx, buffers, meta);
            return if datagrams.is_ready() { datagrams } else { self.poll_streams(cx, buffers, meta) };
        }
        let streams = self.poll_streams(cx, buffers, meta);
        if streams.is_ready() { streams } else { self.poll_datagrams(cx, buffers, meta) }
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

/// What a client of TURN sends to its server.
pub(super) enum Kind {
    /// A request for an allocation, by its transaction.
    Allocate([u8; 12]),
    /// All else that is about an allocation.
    Other,
}

impl Kind {
    /// By the first bytes (RFC 8489, section 5; RFC 8656, sections 12.4 and 17).
    pub fn of(message: &[u8]) -> Option<Self> {
        match message {
            [0x40..=0x4f, ..] => Some(Self::Other),
            [0x00, 0x03, ..] => Some(Self::Allocate(message.get(8..20)?.try_into().ok()?)),
            // Refresh, Send, CreatePermission, ChannelBind.
            [0x00, 0x04 | 0x16 | 0x08 | 0x09, ..] => Some(Self::Other),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
