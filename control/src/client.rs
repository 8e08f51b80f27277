//! The client's end of a control connection.
//!
//! One task reads: it hands answers to those who wait for them, and queues events. It reads on for an answer that somebody waits for, however many
//! events stand before it: who calls need not take events meanwhile. When the connection ends, everybody who waits gets [`ClientError::Closed`].
//! The task ends with the connection, or when the client is dropped.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, WriteHalf},
    net::UnixStream,
    sync::{Notify, mpsc, oneshot},
};

use crate::{
    Error, Event, MAX_LINE,
    jsonrpc::{EVENT, Outgoing},
    methods::Method,
};

/// Events that may wait for their reader while nobody waits for an answer; then the connection is not read, and the node holds them.
const EVENTS: usize = 256;
/// Events that may wait at all. An answer behind more of them is given up by the time limit of its call.
const MAX_EVENTS: usize = 65_536;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The node has refused it.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The connection has ended: the node has stopped.
    #[error("the node has stopped")]
    Closed,
    /// The node does not answer: it is overloaded, or its process is stopped.
    #[error("the node does not answer")]
    TimedOut,
    /// The request is longer than a node reads: it was not sent.
    #[error("the request has more than {} MiB", MAX_LINE / 1024 / 1024)]
    TooLong,
    /// The node has sent something that this client cannot read.
    #[error("the node has sent something unexpected: {0}")]
    Unexpected(String),
}

/// An event, and the JSON in which it came: also with what a newer node has added.
#[derive(Clone, Debug)]
pub struct EventLine {
    /// The JSON object.
    pub json: Value,
}

impl EventLine {
    /// The event.
    ///
    /// # Errors
    /// If it is not one of the contract.
    pub fn event(&self) -> Result<Event, ClientError> {
        Event::deserialize(&self.json).map_err(|error| ClientError::Unexpected(error.to_string()))
    }
}

/// Calls without an answer, by their ids.
type Waiting = HashMap<u64, oneshot::Sender<Result<Value, Error>>>;

/// What the reading task shares with those who call and take events.
#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Events that were read and not taken.
    queued: AtomicUsize,
    /// An event was taken, or a call waits: there may be reason to read on.
    changed: Notify,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another line may be read.
    async fn has_room(&self) {
        loop {
            let most = if self.waiting().is_empty() { EVENTS } else { MAX_EVENTS };
            if self.queued.load(Ordering::Acquire) < most {
                return;
            }
            self.changed.notified().await;
        }
    }

    fn event_taken(&self) {
        self.queued.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_one();
    }
}

/// A call waits for its answer, until it has it or is given up.
struct Waits<'a>(&'a Shared, u64);

impl<'a> Waits<'a> {
    fn start(shared: &'a Shared, id: u64, answer: oneshot::Sender<Result<Value, Error>>) -> Self {
        shared.waiting().insert(id, answer);
        shared.changed.notify_one();
        Self(shared, id)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting().remove(&self.1);
    }
}

/// A connection to a node.
pub struct Client<W = Box<dyn AsyncWrite + Send + Unpin>> {
    write: tokio::sync::Mutex<W>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<EventLine>>,
    reader: tokio::task::JoinHandle<()>,
}

impl<W> Drop for Client<W> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Client {
    /// Connects to the control socket of a node.
    ///
    /// # Errors
    /// If there is no socket, or nobody behind it.
    pub async fn connect(socket: &Path) -> std::io::Result<Self> {
        Ok(Self::over(UnixStream::connect(socket).await?))
    }

    /// A client on a connection.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (read, write) = tokio::io::split(stream);
        let shared = Arc::new(Shared::default());
        // Bounded by what is read, and not by the channel.
        let (queue, events) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_all(BufReader::new(read), shared.clone(), queue));
        let write: WriteHalf<_> = write;
        Self {
            write: tokio::sync::Mutex::new(Box::new(write)),
            shared,
            next_id: AtomicU64::new(1),
            events: tokio::sync::Mutex::new(events),
            reader,
        }
    }
}

impl<W: AsyncWrite + Unpin> Client<W> {
    /// Calls a method.
    ///
    /// # Errors
    /// If the node refuses, has stopped, or does not answer in time.
    pub async fn call<M: Method>(&self, request: M) -> Result<M::Answer, ClientError> {
        let limit = request.time_limit();
        self.call_within(M::NAME, given(&request)?, limit).await
    }

    /// Calls a method with its name and parameters as JSON.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_raw(&self, method: &str, params: Value, limit: Duration) -> Result<Value, ClientError> {
        self.call_within(method, params, limit).await
    }

    async fn call_within<A: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
        limit: Duration,
    ) -> Result<A, ClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let _waits = Waits::start(&self.shared, id, answer);
        let answered = async {
            self.write(Outgoing::new(Some(id), method, params)).await?;
            answered.await.map_err(|_| ClientError::Closed)
        };
        let answer = tokio::time::timeout(limit, answered).await;
        parse(answer.map_err(|_| ClientError::TimedOut)???)
    }

    /// Calls a method and does not wait for what comes of it.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn notify<M: Method>(&self, request: M) -> Result<(), ClientError> {
        let limit = request.time_limit();
        let written = self.write(Outgoing::new(None, M::NAME, given(&request)?));
        tokio::time::timeout(limit, written).await.map_err(|_| ClientError::TimedOut)?
    }

    /// The next event of a subscription.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn event(&self) -> Result<EventLine, ClientError> {
        let event = self.events.lock().await.recv().await.ok_or(ClientError::Closed)?;
        self.shared.event_taken();
        Ok(event)
    }

    /// An event that has come already.
    pub fn try_event(&self) -> Option<EventLine> {
        let event = self.events.try_lock().ok()?.try_recv().ok()?;
        self.shared.event_taken();
        Some(event)
    }

    /// Ends this side of the connection.
    pub async fn shut_down(&self) {
        // It may be closed already.
        let _ = self.write.lock().await.shutdown().await;
    }

    async fn write(&self, request: Outgoing<'_, impl Serialize>) -> Result<(), ClientError> {
        let line = request.line()?;
        let mut write = self.write.lock().await;
        write.write_all(line.as_bytes()).await.map_err(|_| ClientError::Closed)?;
        write.flush().await.map_err(|_| ClientError::Closed)
    }
}

/// The parameters of a request that are given. Others are left out: an older node refuses what it does not know, even if it is null.
fn given(request: &impl Method) -> Result<Value, ClientError> {
    let mut params = serde_json::to_value(request).map_err(|error| ClientError::Unexpected(error.to_string()))?;
    if let Value::Object(params) = &mut params {
        params.retain(|_, value| !value.is_null());
    }
    Ok(params)
}

/// Reads an answer.
pub(crate) fn parse<T: DeserializeOwned>(json: Value) -> Result<T, ClientError> {
    serde_json::from_value(json).map_err(|error| ClientError::Unexpected(error.to_string()))
}

/// What a node sends: a response, or a notification with an event.
#[derive(Deserialize)]
pub(crate) struct Incoming {
    id: Option<u64>,
    result: Option<Value>,
    error: Option<Error>,
    method: Option<String>,
    params: Option<Value>,
}

impl Incoming {
    /// What came of the request that this is the response to.
    pub fn outcome(self) -> Result<Value, Error> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.result.unwrap_or_default()),
        }
    }
}

impl<P: Serialize> Outgoing<'_, P> {
    /// The request as a line.
    ///
    /// # Errors
    /// If it is longer than a node reads.
    pub fn line(&self) -> Result<String, ClientError> {
        let mut line = serde_json::to_string(self).map_err(|error| ClientError::Unexpected(error.to_string()))?;
        if line.len() > MAX_LINE {
            return Err(ClientError::TooLong);
        }
        line.push('\n');
        Ok(line)
    }
}

async fn read_all(
    read: impl tokio::io::AsyncBufRead + Unpin,
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<EventLine>,
) {
    let mut lines = read.lines();
    loop {
        shared.has_room().await;
        let Ok(Some(line)) = lines.next_line().await else { break };
        let Ok(incoming) = serde_json::from_str::<Incoming>(&line) else { continue };
        if let Some(id) = incoming.id {
            let Some(answer) = shared.waiting().remove(&id) else { continue };
            let _ = answer.send(incoming.outcome());
        } else if let (Some(EVENT), Some(json)) = (incoming.method.as_deref(), incoming.params) {
            shared.queued.fetch_add(1, Ordering::AcqRel);
            if queue.send(EventLine { json }).is_err() {
                break;
            }
        }
    }
    shared.waiting().clear();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use serde_json::json;
    use tokio::io::DuplexStream;

    use super::*;
    use crate::{
        event::EventKind,
        methods::{
            AT_ONCE,
            messages::Send,
            node::{Events, Subscribe},
        },
    };

    /// A client, and the other end of its connection.
    fn connection() -> (Client, BufReader<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (Client::over(ours), BufReader::new(theirs))
    }

    async fn request(node: &mut BufReader<DuplexStream>) -> Value {
        let mut line = String::new();
        node.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn write(node: &mut BufReader<DuplexStream>, line: Value) {
        node.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn answers_reach_their_calls_in_any_order_and_events_are_queued() {
        let (client, mut node) = connection();
        let serve = async {
            let (one, two) = (request(&mut node).await, request(&mut node).await);
            let event = json!({ "v": 1, "type": "of.the.future", "seq": 7, "cursor": "c1:7",
                "ts": "2026-01-02T03:04:05.678Z", "profile": "p", "replayed": false, "more": {} });
            write(&mut node, json!({ "jsonrpc": "2.0", "method": "event", "params": event })).await;
            write(&mut node, json!({ "jsonrpc": "2.0", "id": two["id"], "result": { "seq": 2, "more": true } })).await;
            write(&mut node, json!({ "jsonrpc": "2.0", "id": one["id"], "result": { "seq": 1 } })).await;
        };
        let (one, two, ()) = tokio::join!(client.call(Events {}), client.call(Events {}), serve);
        assert_eq!((one.unwrap().seq, two.unwrap().seq), (1, 2));
        let line = client.event().await.unwrap();
        let event = line.event().unwrap();
        assert_eq!((event.kind, event.seq), (EventKind::Unknown, 7));
        assert_eq!(line.json["more"], json!({}));
    }

    #[tokio::test]
    async fn what_is_not_given_is_not_sent_as_an_older_node_may_not_know_it() {
        let (client, mut node) = connection();
        let subscribe = Subscribe { since: None, chat: None, keepalive: None, watch: None };
        let refuse = async {
            let request = request(&mut node).await;
            let error = Error::method_not_found("subscribe");
            write(&mut node, json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })).await;
            request["params"].clone()
        };
        let (refused, params) = tokio::join!(client.call(subscribe), refuse);
        assert_eq!(params, json!({}));
        let Err(ClientError::Refused(error)) = refused else { panic!("not refused") };
        assert!(error.is_unknown());
    }

    #[tokio::test]
    async fn a_refusal_an_end_and_silence_are_told_apart() {
        let (client, mut node) = connection();
        let subscribe = Subscribe { since: Some("c1:9".into()), chat: None, keepalive: None, watch: None };
        let refuse = async {
            let id = request(&mut node).await["id"].clone();
            let error =
                json!({ "code": -32602, "message": "no", "data": { "code": "usage", "exit": 2, "param": "since" } });
            write(&mut node, json!({ "jsonrpc": "2.0", "id": id, "error": error })).await;
        };
        let (refused, ()) = tokio::join!(client.call(subscribe), refuse);
        let Err(ClientError::Refused(error)) = refused else { panic!("not refused") };
        assert_eq!(error.data.param.as_deref(), Some("since"));
        let silent = client.call_raw("cursor", json!({}), Duration::from_millis(1)).await;
        assert_eq!(silent, Err(ClientError::TimedOut));
        let end = async { drop(node) };
        let (ended, ()) = tokio::join!(client.call(Events {}), end);
        assert_eq!(ended, Err(ClientError::Closed));
    }

    #[tokio::test]
    async fn a_request_that_no_node_would_read_is_not_sent() {
        let (client, mut node) = connection();
        let texts = Some(vec!["x".repeat(MAX_LINE)]);
        let send = Send { chat: "c".into(), text: None, texts, ..Send::default() };
        assert_eq!(client.call(send).await, Err(ClientError::TooLong));
        client.notify(Events {}).await.unwrap();
        assert_eq!(request(&mut node).await["method"], "cursor");
    }

    #[tokio::test]
    async fn an_answer_is_read_behind_events_that_nobody_takes() {
        const MANY: u64 = 3 * EVENTS as u64;
        let (client, mut node) = connection();
        let serve = async {
            let id = request(&mut node).await["id"].clone();
            for seq in 0..MANY {
                let event = json!({ "type": "message.new", "seq": seq });
                write(&mut node, json!({ "jsonrpc": "2.0", "method": "event", "params": event })).await;
            }
            write(&mut node, json!({ "jsonrpc": "2.0", "id": id, "result": { "seq": MANY } })).await;
        };
        let (answer, ()) = tokio::join!(client.call(Events {}), serve);
        assert_eq!(answer.unwrap().seq, MANY);
        for seq in 0..MANY {
            assert_eq!(client.event().await.unwrap().json["seq"], seq);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_nobody_takes_stay_with_the_node() {
        let (client, mut node) = connection();
        let event =
            format!("{}\n", json!({ "jsonrpc": "2.0", "method": "event", "params": { "text": "x".repeat(1000) } }));
        let mut written = 0;
        while tokio::time::timeout(AT_ONCE, node.get_mut().write_all(event.as_bytes())).await.is_ok() {
            written += 1;
            assert!(written < 10 * EVENTS, "all of it was read");
        }
        assert!(written >= EVENTS);
        drop(client);
    }
}
