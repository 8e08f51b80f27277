//! A socket that sends the datagrams of a DTLS handshake again until something comes that only a completed handshake allows.
//!
//! RFC 6347, 4.2.4 leaves the first repetition to a timer of a second, and the library stops its timer at the first part of the next
//! flight that comes: when the rest of that flight is lost, or both ends repeat at once, nobody goes on. Copies are what any network
//! may make of a datagram: the other end takes the first that comes and its protection against replay drops the others.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use rtc::stun::{attributes::ATTR_DATA, message::Message};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// After the datagram, and after each copy of it, the next copy follows in so many milliseconds: soon at first, over six seconds in all.
const COPIES: [u64; 10] = [100, 150, 200, 300, 400, 600, 800, 1000, 1200, 1500];
/// Datagrams that are being repeated on one socket: a handshake has a dozen, and each is sent anew by the library at most seven times.
/// Beyond, datagrams are sent once.
const REPEATED: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct HandshakeSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// Where the last datagram of a handshake went: what comes from there tells whether it is completed.
    peer: Mutex<Option<SocketAddr>>,
    /// A handshake has begun and is not known to be completed. Media take no lock.
    open: AtomicBool,
    completed: CancellationToken,
    places: Arc<Semaphore>,
    /// Who waits until something can be sent: a socket wakes only the last who has asked, which may be a copy.
    waiting: Arc<Mutex<Option<Waker>>>,
}

impl HandshakeSocket {
    pub fn wrap(inner: Arc<dyn AsyncUdpSocket>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            peer: Mutex::default(),
            open: AtomicBool::new(false),
            completed: CancellationToken::new(),
            places: Arc::new(Semaphore::new(REPEATED)),
            waiting: Arc::default(),
        })
    }

    /// Repeats a datagram that has just been sent, until the handshake is completed or the socket is gone.
    fn repeat(&self, to: SocketAddr, datagram: &[u8]) {
        if self.completed.is_cancelled() {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        self.open.store(true, Relaxed);
        let (socket, completed) = (Arc::downgrade(&self.inner), self.completed.clone());
        let (datagram, waiting) = (datagram.to_vec(), self.waiting.clone());
        tokio::spawn(async move {
            let _place = place;
            for wait in COPIES {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                    () = completed.cancelled() => return,
                }
                let Some(socket) = socket.upgrade() else { return };
                // A network that has gone may be back at the next copy.
                let _ = socket.send_to(&datagram, to).await;
                let waker = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
                waker.into_iter().for_each(Waker::wake);
            }
        });
    }

    fn received(&self, from: SocketAddr, datagram: &[u8]) {
        if matches!(kind(datagram), Some(Kind::Completed))
            && *self.peer.lock().unwrap_or_else(PoisonError::into_inner) == Some(from)
        {
            self.open.store(false, Relaxed);
            self.completed.cancel();
        }
    }
}

impl AsyncUdpSocket for HandshakeSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.inner.poll_send(cx, transmit);
        if sent.is_pending() {
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        }
        if let Poll::Ready(Ok(_)) = sent
            && !self.completed.is_cancelled()
        {
            let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
            for datagram in transmit.contents.chunks(size).filter(|d| matches!(kind(d), Some(Kind::Handshake))) {
                self.repeat(transmit.destination, datagram);
            }
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
        if let Poll::Ready(Ok(count)) = received
            && self.open.load(Relaxed)
        {
            for (buffer, meta) in buffers.iter().zip(meta.iter()).take(count) {
                for datagram in buffer[..meta.len.min(buffer.len())].chunks(meta.stride.max(1)) {
                    self.received(meta.addr, datagram);
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Part of a DTLS handshake.
    Handshake,
    /// SRTP, SRTCP, or application data of DTLS: who sends this has completed the handshake.
    Completed,
}

/// What a datagram is by its first byte (RFC 7983, 7), directly or through a TURN server.
fn kind(datagram: &[u8]) -> Option<Kind> {
    let first = match datagram {
        [0x40..=0x4f, _, _, _, content @ ..] => *content.first()?,
        // A Send or Data indication of TURN (RFC 8656, 18).
        [0, 0x16 | 0x17, ..] => {
            let mut indication = Message::new();
            indication.unmarshal_binary(datagram).ok()?;
            *indication.get(ATTR_DATA).ok()?.first()?
        }
        _ => *datagram.first()?,
    };
    match first {
        // Change of ciphers, alert, handshake (RFC 5246, 6.2.1). An alert is repeated as well: it ends the handshake.
        20..=22 => Some(Kind::Handshake),
        23 | 128..=191 => Some(Kind::Completed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use webrtc::runtime::{Runtime, TokioRuntime};

    fn socket() -> Arc<dyn AsyncUdpSocket> {
        TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    async fn next(socket: &dyn AsyncUdpSocket) -> Vec<u8> {
        let mut buffer = [0; 64];
        let (length, _) =
            tokio::time::timeout(Duration::from_secs(10), socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        buffer[..length].to_vec()
    }

    #[tokio::test]
    async fn a_handshake_is_repeated_until_its_peer_sends_what_comes_after() {
        let (ours, theirs, stranger) = (HandshakeSocket::wrap(socket()), socket(), socket());
        let (here, there) = (ours.local_addr().unwrap(), theirs.local_addr().unwrap());
        ours.send_to(&[22, 1], there).await.unwrap();
        ours.send_to(&[200, 2], there).await.unwrap();
        assert_eq!([next(&*theirs).await, next(&*theirs).await], [vec![22, 1], vec![200, 2]]);
        assert_eq!(next(&*theirs).await, [22, 1], "a copy");
        // Nobody else can say that it is completed.
        stranger.send_to(&[128, 3], here).await.unwrap();
        assert_eq!(next(&*ours).await, [128, 3]);
        assert_eq!(next(&*theirs).await, [22, 1], "another copy");
        theirs.send_to(&[22, 4], here).await.unwrap();
        assert_eq!(next(&*ours).await, [22, 4]);
        assert_eq!(next(&*theirs).await, [22, 1], "the other end's handshake says nothing of ours");
        theirs.send_to(&[128, 5], here).await.unwrap();
        assert_eq!(next(&*ours).await, [128, 5]);
        // Its copies end, and a later one has none.
        while ours.places.available_permits() < REPEATED {
            tokio::task::yield_now().await;
        }
        ours.send_to(&[22, 6], there).await.unwrap();
        assert_eq!(ours.places.available_permits(), REPEATED);
    }

    #[test]
    fn datagrams_are_told_apart_also_through_a_relay() {
        let indication = |attributes: &[u8]| {
            let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
            [&[0, 0x16][..], &length, &[0x21, 0x12, 0xa4, 0x42], &[7; 12], attributes].concat()
        };
        for (datagram, expected) in [
            (vec![22, 254, 253], Some(Kind::Handshake)),
            (vec![20], Some(Kind::Handshake)),
            (vec![23], Some(Kind::Completed)),
            (vec![128, 96], Some(Kind::Completed)),
            (vec![0, 1, 0, 0], None),
            (vec![], None),
            (vec![0x40, 0, 0, 1, 22], Some(Kind::Handshake)),
            (vec![0x40, 0, 0, 0], None),
            (vec![0x41, 0, 0], None),
            (indication(&[0, 0x12, 0, 3, 9, 9, 9, 0, 0, 0x13, 0, 2, 22, 1, 0, 0]), Some(Kind::Handshake)),
            (indication(&[0, 0x13, 0, 1, 129, 0, 0, 0]), Some(Kind::Completed)),
            (indication(&[0, 0x13, 0, 9, 22]), None),
            (indication(&[0, 0x12, 255, 255, 22]), None),
            (indication(&[]), None),
        ] {
            assert_eq!(kind(&datagram), expected, "{datagram:?}");
        }
    }
}
