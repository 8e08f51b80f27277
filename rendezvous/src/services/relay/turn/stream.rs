//! Streams to the server: for clients whose networks let no datagrams through.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, io::BufReader};
use starling_wire::streams::{read_message, write_messages};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{Action, Moment, Turn, client::Client};
use crate::limits::{TURN_DATAGRAM, TURN_STREAM_QUEUE, TURN_STREAM_SILENCE, TURN_STREAM_UNUSED};

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

/// The stream of a client.
struct Open {
    /// Dropped, it ends the stream.
    replies: mpsc::Sender<Vec<u8>>,
    since: Instant,
}

/// The streams that are open, and what comes from them.
pub(super) struct StreamTable {
    streams: Streams,
    arriving: mpsc::Receiver<FromStream>,
    open: HashMap<Client, Open>,
    most: usize,
    per_address: usize,
}

impl StreamTable {
    /// Room for `most` streams, of them `per_address` from one address.
    pub fn new(most: usize, per_address: u32) -> Self {
        // Short: who sends faster than the server works waits with the others, in their order.
        let (server, arriving) = mpsc::channel(TURN_STREAM_QUEUE);
        let streams = Streams { server, next: Arc::default() };
        let per_address = usize::try_from(per_address).unwrap_or(usize::MAX);
        Self { streams, arriving, open: HashMap::new(), most, per_address }
    }

    /// Takes streams for this table.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// What comes next from one of them.
    pub async fn recv(&mut self) -> Option<FromStream> {
        self.arriving.recv().await
    }

    /// Takes what has come.
    pub fn take(&mut self, from_stream: FromStream, turn: &mut Turn, out: &mut Vec<Action>) {
        match from_stream {
            FromStream::Opened(client, replies) => {
                if self.has_room_for(client, turn) {
                    self.open.insert(client, Open { replies, since: Instant::now() });
                }
            }
            FromStream::Message(client, message) => turn.handle(Moment::now(), client, &message, out),
            FromStream::Closed(client) => {
                self.open.remove(&client);
                turn.gone(client, out);
            }
        }
    }

    /// Whether a client may have a stream: of one address there are as many as it may have allocations, and who has none gives way to who comes.
    fn has_room_for(&mut self, client: Client, turn: &Turn) -> bool {
        let of_address = |other: &&Client| client.counted_by().is_some() && other.counted_by() == client.counted_by();
        if self.open.keys().filter(of_address).count() >= self.per_address {
            return false;
        }
        if self.open.len() >= self.most {
            let idle = self.open.iter().filter(|(client, _)| !turn.serves(**client));
            let Some(oldest) = idle.min_by_key(|(_, stream)| stream.since).map(|(client, _)| *client) else {
                return false;
            };
            self.open.remove(&oldest);
        }
        true
    }

    /// Sends a message to a client. What its stream has no room for is lost, as on any path.
    pub fn reply(&self, to: Client, message: Vec<u8>) {
        let _ = self.open.get(&to).map(|stream| stream.replies.try_send(message));
    }

    /// Ends those whose clients have had time for an allocation, and have none. To be called about once a second.
    pub fn end_unused(&mut self, turn: &Turn) {
        self.open.retain(|client, stream| turn.serves(*client) || stream.since.elapsed() < TURN_STREAM_UNUSED);
    }
}
