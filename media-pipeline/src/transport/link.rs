//! A bad network inside the process, for tests and benchmarks: loss, delay, and a bottleneck with a drop-tail queue, below ICE.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// Datagrams under way: a second at 10 Mbit/s. Beyond, they are dropped as any queue drops.
const UNDER_WAY: usize = 1024;
/// Datagrams of handshakes that are kept to be looked at: a handshake has a dozen, and copies of each.
const HANDSHAKES: usize = 64;
/// The first byte of a record of a DTLS handshake (RFC 5246, section 6.2.1).
const HANDSHAKE: u8 = 22;

/// What a network does to what is sent.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Share of datagrams that are lost, 0.0 to 1.0.
    pub loss: f64,
    /// Mean number of datagrams lost in a row; below 1.0 is 1.0.
    pub burst: f64,
    /// Time on the way.
    pub delay: Duration,
    /// Added to it at random, up to so much; order is kept.
    pub jitter: Duration,
    /// Bits a second that pass; 0 is no limit. Can be changed while it is used.
    pub rate: Arc<AtomicU64>,
    /// How much waits before a limit, in time.
    pub queue: Duration,
    /// Makes runs repeatable.
    pub seed: u64,
    /// What went through.
    pub seen: Arc<LinkSeen>,
    sockets: Arc<Sockets>,
}

/// The sockets on a link, numbered, and those that send nothing any more.
#[derive(Debug, Default)]
struct Sockets {
    made: AtomicU64,
    cut: AtomicU64,
}

/// Counters of a link.
#[derive(Debug, Default)]
pub struct LinkSeen {
    /// Datagrams that were to be sent.
    pub datagrams: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Lost at random.
    pub lost: AtomicU64,
    /// Dropped before the limit.
    pub dropped: AtomicU64,
    /// The first datagrams of DTLS handshakes that were to be sent: they tell what was negotiated, which the library does not.
    pub handshakes: Mutex<Vec<Vec<u8>>>,
}

impl Link {
    /// Reads `loss=0.1,burst=3,delay=25,jitter=5,rate=800000,queue=300,seed=1` (times in milliseconds).
    pub fn parse(text: &str) -> Option<Self> {
        let mut link = Self { queue: Duration::from_millis(300), ..Self::default() };
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=')?;
            let number: f64 = value.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
            let time = Duration::from_secs_f64(number.min(60_000.0) / 1e3);
            match name {
                "loss" => link.loss = number.min(1.0),
                "burst" => link.burst = number,
                "delay" => link.delay = time,
                "jitter" => link.jitter = time,
                "rate" => link.rate.store(number as u64, Relaxed),
                "queue" => link.queue = time,
                "seed" => link.seed = number as u64,
                _ => return None,
            }
        }
        Some(link)
    }

    /// What is sent from the sockets that there are is lost from now on, as after a change of the network; from later ones it is not.
    pub fn cut(&self) {
        self.sockets.cut.store(self.sockets.made.load(Relaxed), Relaxed);
    }

    /// A socket that sends through the link.
    pub(super) fn wrap(&self, inner: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
        let (sender, mut under_way) = tokio::sync::mpsc::channel::<(Instant, SocketAddr, Vec<u8>)>(UNDER_WAY);
        let out = inner.clone();
        // Ends with the socket, which owns the sender.
        tokio::spawn(async move {
            while let Some((due, to, datagram)) = under_way.recv().await {
                tokio::time::sleep_until(due.into()).await;
                let _ = out.send_to(&datagram, to).await;
            }
        });
        let state = State { free: Instant::now(), rng: SmallRng::seed_from_u64(self.seed), losing: false };
        let number = self.sockets.made.fetch_add(1, Relaxed);
        Arc::new(LinkSocket { inner, link: self.clone(), number, sender, state: Mutex::new(state) })
    }
}

#[derive(Debug)]
struct State {
    /// When the bottleneck has sent everything.
    free: Instant,
    rng: SmallRng,
    losing: bool,
}

#[derive(Debug)]
struct LinkSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    link: Link,
    number: u64,
    sender: tokio::sync::mpsc::Sender<(Instant, SocketAddr, Vec<u8>)>,
    state: Mutex<State>,
}

impl LinkSeen {
    fn note_handshake(&self, datagram: &[u8]) {
        if datagram.first() == Some(&HANDSHAKE) {
            let mut kept = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < HANDSHAKES {
                kept.push(datagram.to_vec());
            }
        }
    }
}

impl LinkSocket {
    /// When a datagram of this length arrives; never, if it is lost.
    fn arrival(&self, length: usize) -> Option<Instant> {
        let Link { loss, burst, delay, jitter, rate, queue, seen, .. } = &self.link;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        seen.datagrams.fetch_add(1, Relaxed);
        seen.bytes.fetch_add(length as u64, Relaxed);
        if self.number < self.link.sockets.cut.load(Relaxed) {
            seen.dropped.fetch_add(1, Relaxed);
            return None;
        }
        // Gilbert's model: losing goes on with a probability that gives the mean length.
        let burst = burst.max(1.0);
        let begin = if *loss < 1.0 { (loss / (1.0 - loss) / burst).min(1.0) } else { 1.0 };
        let probability = match (burst > 1.0, state.losing) {
            (true, true) => 1.0 - 1.0 / burst,
            (true, false) => begin,
            (false, _) => *loss,
        };
        state.losing = state.rng.random_range(0.0..1.0) < probability;
        if state.losing {
            seen.lost.fetch_add(1, Relaxed);
            return None;
        }
        let now = Instant::now();
        let mut due = now;
        let rate = rate.load(Relaxed);
        if rate > 0 {
            let free = state.free.max(now);
            if free - now > *queue {
                seen.dropped.fetch_add(1, Relaxed);
                return None;
            }
            // With the headers of UDP and IP.
            state.free = free + Duration::from_secs_f64((length + 28) as f64 * 8.0 / rate as f64);
            due = state.free;
        }
        let more = if jitter.is_zero() { Duration::ZERO } else { jitter.mul_f64(state.rng.random_range(0.0..1.0)) };
        Some(due + *delay + more)
    }
}

impl AsyncUdpSocket for LinkSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.link.seen.note_handshake(transmit.contents);
        if let Some(due) = self.arrival(transmit.contents.len())
            && self.sender.try_send((due, transmit.destination, transmit.contents.to_vec())).is_err()
        {
            self.link.seen.dropped.fetch_add(1, Relaxed);
        }
        Poll::Ready(Ok(transmit.contents.len()))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn max_gso_segments(&self) -> usize {
        1
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}
