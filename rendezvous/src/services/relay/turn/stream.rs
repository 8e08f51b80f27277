//! Streams to the server: for clients whose networks let no datagrams through.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, io::BufReader};
use starling_wire::streams::{read_message, write_messages};
use tokio::{sync::mpsc, time::timeout};

use super::client::Client;
use crate::limits::{TURN_DATAGRAM, TURN_STREAM_QUEUE, TURN_STREAM_SILENCE};

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

/// What comes from streams.
#[derive(Debug)]
pub(super) enum FromStream {
    /// There is one; what is for its client goes here.
    Opened(Client, mpsc::Sender<Vec<u8>>),
    /// A message of its client.
    Message(Client, Vec<u8>),
    /// It has ended.
    Closed(Client),
}

/// Takes streams for a server; clones do the same.
#[derive(Clone, Debug)]
pub struct Streams {
    server: mpsc::Sender<FromStream>,
    next: Arc<AtomicU64>,
}

impl Streams {
    pub(super) fn new(server: mpsc::Sender<FromStream>) -> Self {
        Self { server, next: Arc::default() }
    }

    /// Serves a client on its stream until it leaves, falls silent or sends what is no message. `proxied`: the address is that of a proxy. A client that
    /// sends faster than the server works is slowed down by its own stream; what it does not read is lost, as on any path.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite, ip: IpAddr, proxied: bool) {
        let client = Client::Stream { number: self.next.fetch_add(1, Relaxed) + 1, ip, proxied };
        let (replies, waiting) = mpsc::channel(TURN_STREAM_QUEUE);
        if self.server.send(FromStream::Opened(client, replies)).await.is_err() {
            return;
        }
        let (reader, writer) = stream.split();
        tokio::select! {
            () = self.read(client, reader) => {}
            () = write_messages(writer, waiting) => {}
        }
        let _ = self.server.send(FromStream::Closed(client)).await;
    }

    async fn read(&self, client: Client, reader: impl AsyncRead) {
        let mut reader = std::pin::pin!(BufReader::with_capacity(2 * TURN_DATAGRAM, reader));
        loop {
            match timeout(TURN_STREAM_SILENCE, read_message(&mut reader, TURN_DATAGRAM)).await {
                Ok(Ok(Some(message))) => {
                    if self.server.send(FromStream::Message(client, message)).await.is_err() {
                        return;
                    }
                }
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a stream of TURN is ended");
                    return;
                }
            }
        }
    }
}
