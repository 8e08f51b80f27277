//! Probes: whether anything comes back on a connection, be it only that what was sent before the question is on its way.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, future::BoxFuture};
use libp2p::{PeerId, swarm::ConnectionId};
use starling_wire::streams::{OpenError, Opened};
use tokio::time::{Instant, timeout_at};

use crate::net::{
    connectivity::Subject,
    send_queue::{LOOK, SendQueue},
};

/// A peer that does not answer a probe within this time is silent.
const ECHO: Duration = Duration::from_secs(3);

/// What a probe is for, and the connection that it goes over.
#[derive(Clone, Copy)]
pub(super) struct ProbeTarget {
    pub subject: Subject,
    pub peer: PeerId,
    pub on: ConnectionId,
    pub number: u64,
}

/// A probe by an echo that is under way.
pub(super) struct Probe {
    pub subject: Subject,
    pub number: u64,
    /// Ends with the answer, or with the connection.
    exchange: BoxFuture<'static, ()>,
    /// What the question may wait behind.
    queue: Option<SendQueue>,
    end: Instant,
    /// Something that was sent before was acknowledged meanwhile.
    moves: bool,
}

/// What has become of a probe.
pub(super) enum Probing {
    /// It has ended.
    Ended { subject: Subject, number: u64, answered: bool },
    /// There is no answer yet, but what was sent before is being acknowledged.
    Moves(Probe),
}

/// Whether anything comes back on a stream. A refusal is an answer, and the end of the connection is reported by itself.
async fn echo(opened: impl Future<Output = Result<Opened, OpenError>>) -> Option<()> {
    let mut stream = opened.await.ok()?.stream;
    stream.ignore_for_keep_alive();
    stream.write_all(&rand::random::<[u8; 32]>()).await.ok()?;
    stream.flush().await.ok()?;
    stream.read_exact(&mut [0; 32]).await.ok()
}

impl Probe {
    /// Begins with a stream that is being opened.
    pub fn new(
        (subject, number): (Subject, u64),
        opened: impl Future<Output = Result<Opened, OpenError>> + Send + 'static,
        queue: Option<SendQueue>,
    ) -> Self {
        let exchange = Box::pin(async move {
            let _ = echo(opened).await;
        });
        Self { subject, number, exchange, queue, end: Instant::now() + ECHO, moves: false }
    }

    /// Waits until it has ended, or until it is seen that something moves; then it is to be waited for again.
    pub async fn wait(mut self) -> Probing {
        let (subject, number) = (self.subject, self.number);
        loop {
            let look = self.end.min(Instant::now() + LOOK);
            if timeout_at(look, &mut self.exchange).await.is_ok() {
                return Probing::Ended { subject, number, answered: true };
            }
            let moves = self.queue.as_mut().is_some_and(SendQueue::is_draining);
            self.moves |= moves;
            if look >= self.end {
                return Probing::Ended { subject, number, answered: self.moves };
            }
            if moves {
                return Probing::Moves(self);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, io::Read, thread};

    use super::*;
    use crate::net::send_queue::tests::full;

    /// How often a probe that is not answered is seen to move, and whether that counts as an answer.
    async fn unanswered(queue: Option<SendQueue>) -> (usize, bool) {
        let mut probe = Probe::new((Subject::Home([7; 32]), 1), pending(), queue);
        let mut moved = 0;
        loop {
            match probe.wait().await {
                Probing::Ended { answered, .. } => return (moved, answered),
                Probing::Moves(waits) => (moved, probe) = (moved + 1, waits),
            }
        }
    }

    #[tokio::test]
    async fn who_answers_nothing_is_silent() {
        assert_eq!(unanswered(None).await, (0, false));
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_probe_behind_much_that_is_being_sent_is_not_lost_and_behind_what_stays_it_is() {
        let (queue, sender, mut receiver) = full();
        assert_eq!(unanswered(Some(queue.clone())).await, (0, false));
        // A slow path, to an end that reads.
        let slow = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while receiver.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let (moved, answered) = unanswered(Some(queue)).await;
        assert!(moved > 0 && answered, "{moved} {answered}");
        drop(sender);
        slow.join().unwrap();
    }
}
