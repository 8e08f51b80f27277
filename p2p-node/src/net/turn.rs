//! Streams of TURN to a rendezvous: media of calls go over the connection to it where the network lets no datagrams through to its relay.

use std::time::Duration;

use futures::{AsyncReadExt, io::BufReader};
use starling_media::transport::tunnel::TunnelEnds;
use starling_wire::streams::{OpenError, Opened, read_message, write_messages};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

/// Messages that wait for a stream, and for who reads it.
const QUEUE: usize = 64;
/// A connection that has not opened a stream within this time is dead, or as good as that: another may be there when it is tried again.
const PATIENCE: Duration = Duration::from_secs(2);
/// While nothing else is to be said, as while the other side is rung, this often an indication is sent that means nothing: a server leaves a stream that is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A Binding indication (RFC 8489, section 5).
const NOTHING: [u8; 20] = [0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The longest message of a relay: media fit into 1,500 bytes.
const MAX_MESSAGE: usize = 2048;

/// Carries messages over a stream, once it is open, until one end is gone.
pub async fn carry(opened: impl Future<Output = Result<Opened, OpenError>>, reply: oneshot::Sender<TunnelEnds>) {
    let stream = match timeout(PATIENCE, opened).await {
        Ok(Ok(opened)) => opened.stream,
        Ok(Err(error)) => return tracing::debug!(%error, "no stream to a relay"),
        Err(_) => return tracing::debug!("a stream to a relay does not open"),
    };
    let (sender, outgoing) = mpsc::channel(QUEUE);
    let (incoming, receiver) = mpsc::channel(QUEUE);
    let idle = sender.downgrade();
    if reply.send(TunnelEnds { sender, receiver }).is_err() {
        return;
    }
    let (reader, writer) = stream.split();
    let read = async {
        let mut reader = BufReader::with_capacity(2 * MAX_MESSAGE, reader);
        loop {
            match read_message(&mut reader, MAX_MESSAGE).await {
                Ok(Some(message)) => {
                    if incoming.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::debug!(%error, "a stream to a relay broke"),
            }
        }
    };
    let keep = async {
        loop {
            sleep(KEEP_ALIVE).await;
            let Some(sender) = idle.upgrade() else { return };
            let _ = sender.try_send(NOTHING.to_vec());
        }
    };
    tokio::select! {
        () = read => {}
        () = keep => {}
        () = write_messages(writer, outgoing) => {}
    }
}
