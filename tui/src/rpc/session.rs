//! The node's end of a control connection.
//!
//! Each connection has a task that reads requests and answers them in their order, and one that writes. A subscription is a task of its own that
//! reads the durable events by cursor, so that a slow reader holds up nobody but itself. All of them end with the connection.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use starling_control::{
    Error, MAX_LINE,
    jsonrpc::{Line, Request, Response, Unreadable},
    methods,
};
use starling_node::{Attendant, CallId, Media, Node};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};

use super::{frames, safety::SafetyNumbers, screen_state::ScreenState, subscription::Subscription};
use crate::error::CliError;

/// Lines that may wait for a reader; beyond that the events wait with their next page.
const WRITE_QUEUE: usize = 64;
/// Lines are written together up to this many bytes.
const WRITE_TOGETHER: usize = 64 * 1024;
/// The most bytes of a connection's first line, before it has given its token.
const MAX_FIRST_LINE: usize = 4 * 1024;
/// How long a connection may take to give its token.
const FIRST_LINE: Duration = Duration::from_secs(10);
/// How long a connection that ends may take to read what was written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What every connection needs.
#[derive(Clone)]
pub struct Served {
    pub node: Node,
    pub profile: String,
    /// Stops the node.
    pub stop: mpsc::Sender<()>,
    /// What screens keep.
    pub screen: ScreenState,
    /// Those of the contacts.
    pub safety_numbers: Arc<SafetyNumbers>,
    /// The node ends: subscriptions and waiting calls end at once, and connections when their client has what it asked for.
    pub ending: watch::Receiver<bool>,
}

impl Served {
    pub fn new(node: Node, profile: &str, screen: ScreenState, stop: mpsc::Sender<()>) -> Self {
        Self {
            node,
            profile: profile.to_owned(),
            stop,
            screen,
            safety_numbers: Arc::default(),
            ending: watch::channel(false).1,
        }
    }

    /// Ready when the node ends.
    pub(super) async fn ended(&self) {
        if self.ending.clone().wait_for(|ending| *ending).await.is_err() {
            std::future::pending().await
        }
    }
}

/// What a request leads to once it is answered.
pub(super) enum Then {
    Subscribe(Box<Subscription>),
    /// Pictures of the participant on this route.
    Watch(Box<Media>, u64),
    Stop,
}

/// One connection; it serves the methods.
pub(super) struct Session {
    pub served: Served,
    /// Its calls are attended as long as the connection lasts.
    attendant: Attendant,
    subscribed: AtomicBool,
    then: Mutex<Vec<Then>>,
    /// Short codes that end with it.
    codes: Mutex<Vec<String>>,
}

impl Session {
    /// Does something once the answers to this line are written.
    pub fn then(&self, then: Then) {
        if matches!(then, Then::Subscribe(_)) {
            self.subscribed.store(true, Ordering::Relaxed);
        }
        self.then.lock().unwrap_or_else(PoisonError::into_inner).push(then);
    }

    /// A short code was opened that ends with this connection, if the client wants that.
    pub fn holds_code(&self, while_connected: Option<bool>, code: &str) {
        if while_connected == Some(true) {
            self.codes.lock().unwrap_or_else(PoisonError::into_inner).push(code.to_owned());
        }
    }

    /// Withdraws the codes that end with this connection.
    async fn withdraw_codes(&self) {
        let codes = std::mem::take(&mut *self.codes.lock().unwrap_or_else(PoisonError::into_inner));
        for code in codes {
            let _ = self.served.node.close_code(code).await;
        }
    }

    /// Does what the requests lead to that were answered. Gives what is watched from now on: then the connection carries no more lines.
    async fn follow_up(
        &self,
        subscriptions: &mut JoinSet<()>,
        lines: &mpsc::Sender<String>,
    ) -> Option<(Box<Media>, u64)> {
        let then = std::mem::take(&mut *self.then.lock().unwrap_or_else(PoisonError::into_inner));
        let mut watched = None;
        for then in then {
            match then {
                Then::Subscribe(subscription) => drop(subscriptions.spawn(subscription.run(lines.clone()))),
                Then::Watch(media, route) => watched = Some((media, route)),
                Then::Stop => drop(self.served.stop.send(()).await),
            }
        }
        watched
    }

    /// Whether the connection has subscribed.
    pub fn follows(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed)
    }

    /// From now on this connection attends a call, if it would learn of its end. Fails if there is no such call.
    pub async fn attends(&self, call: CallId) -> Result<(), Error> {
        if self.follows() {
            self.attendant.attend(call).await.map_err(CliError::from)?;
        }
        Ok(())
    }

    /// The response to a request; nothing to a notification.
    async fn respond(&self, request: Result<Request, Response>) -> Option<Response> {
        let Request { id, method, params } = match request {
            Ok(request) => request,
            Err(response) => return Some(response),
        };
        let result = methods::dispatch(self, &method, params).await;
        id.map(|id| Response::new(id, result))
    }

    /// The response to a line; nothing if it held only notifications.
    async fn respond_to_line(&self, line: Line) -> Option<String> {
        let responses = match line {
            Line::One(request) => return serde_json::to_string(&self.respond(request).await?).ok(),
            Line::Batch(requests) => {
                let mut responses = Vec::new();
                for request in requests {
                    responses.extend(self.respond(request).await);
                }
                responses
            }
        };
        (!responses.is_empty()).then(|| serde_json::to_string(&responses).ok())?
    }
}

/// Serves a connection of the same user until it closes.
pub async fn serve_stream(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, served: Served) {
    let (read, write) = tokio::io::split(stream);
    Box::pin(serve(BufReader::new(read), write, served, false)).await;
}

/// A connection to the control port whose first line has given the token.
pub struct Admitted<S>(BufReader<ReadHalf<S>>, WriteHalf<S>);

/// Reads the first line of a connection that anybody on this machine can make, web pages too: it has to give the token. Nothing if it does not.
pub async fn admit<S>(stream: S, token: &super::token::Token) -> Option<Admitted<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    let first = async { (&mut reader).take(MAX_FIRST_LINE as u64).read_until(b'\n', &mut line).await };
    if !matches!(tokio::time::timeout(FIRST_LINE, first).await, Ok(Ok(1..))) || !line.ends_with(b"\n") {
        return None;
    }
    let (response, admitted) = match Line::parse(&line) {
        // Not one of ours, and what it sends may be meant for somebody else: it gets no answer that it could read.
        Err(_) | Ok(Line::Batch(_) | Line::One(Err(_))) => return None,
        Ok(Line::One(Ok(request))) => {
            let result = token.admit(&request);
            let admitted = result.is_ok();
            // A notification has no answer.
            (request.id.map(|id| Response::new(id, result)), admitted)
        }
    };
    if let Some(response) = response {
        let mut response = serde_json::to_string(&response).ok()?;
        response.push('\n');
        tokio::time::timeout(FIRST_LINE, write.write_all(response.as_bytes())).await.ok()?.ok()?;
    }
    if !admitted {
        let _ = write.shutdown().await;
        return None;
    }
    Some(Admitted(reader, write))
}

/// Serves a connection that was admitted until it closes, or a line of it is not JSON.
pub async fn serve_admitted<S>(Admitted(reader, write): Admitted<S>, served: Served)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Box::pin(serve(reader, write, served, true)).await;
}

/// What came instead of a line.
enum Read {
    Line,
    TooLong,
    Closed,
}

async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> Read {
    line.clear();
    match reader.take(MAX_LINE as u64 + 1).read_until(b'\n', line).await {
        Ok(1..) if line.len() > MAX_LINE => Read::TooLong,
        Ok(1..) => Read::Line,
        _ => Read::Closed,
    }
}

fn too_long() -> Response {
    Response::error(Error::invalid_request(format!("a line has at most {} MiB", MAX_LINE / 1024 / 1024)))
}

async fn serve<S>(mut reader: BufReader<impl AsyncRead + Unpin>, write: WriteHalf<S>, served: Served, strict: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (lines, writer) = start_writer(write);
    let session = Session {
        attendant: served.node.attendant(),
        subscribed: AtomicBool::new(false),
        then: Mutex::default(),
        codes: Mutex::default(),
        served: served.clone(),
    };
    let mut subscriptions = JoinSet::new();
    let mut line = Vec::new();
    let watched = loop {
        let read = tokio::select! {
            read = read_line(&mut reader, &mut line) => read,
            // Who follows would stay for ever.
            () = served.ended(), if session.follows() => Read::Closed,
        };
        let response = match read {
            Read::Closed => break None,
            Read::TooLong => {
                if let Ok(response) = serde_json::to_string(&too_long()) {
                    let _ = lines.send(response).await;
                }
                break None;
            }
            Read::Line => match Line::parse(&line) {
                Ok(line) => session.respond_to_line(line).await,
                Err(Unreadable::NotJson(_)) if strict => break None,
                Err(Unreadable::NotJson(response) | Unreadable::NoRequest(response)) => {
                    serde_json::to_string(&response).ok()
                }
            },
        };
        if let Some(response) = response
            && lines.send(response).await.is_err()
        {
            break None;
        }
        let watched = session.follow_up(&mut subscriptions, &lines).await;
        if watched.is_some() {
            break watched;
        }
    };
    session.withdraw_codes().await;
    drop(session);
    subscriptions.shutdown().await;
    // The writer ends when everything is written.
    drop(lines);
    match watched {
        None => drop(tokio::time::timeout(LAST_WORDS, writer).await),
        Some((media, route)) => {
            if let Ok(Some(write)) = writer.await {
                Box::pin(frames::serve(reader, write, *media, route, &served)).await;
            }
        }
    }
}

/// Starts the task that writes lines; it gives the stream back when there is nothing more to write.
fn start_writer<W: AsyncWrite + Unpin + Send + 'static>(mut write: W) -> (mpsc::Sender<String>, JoinHandle<Option<W>>) {
    let (lines, mut outbox) = mpsc::channel::<String>(WRITE_QUEUE);
    let writer = tokio::spawn(async move {
        while let Some(mut line) = outbox.recv().await {
            line.push('\n');
            while line.len() < WRITE_TOGETHER
                && let Ok(next) = outbox.try_recv()
            {
                line.push_str(&next);
                line.push('\n');
            }
            if write.write_all(line.as_bytes()).await.is_err() || write.flush().await.is_err() {
                return None;
            }
        }
        Some(write)
    });
    (lines, writer)
}
