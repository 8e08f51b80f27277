//! The stream to a rendezvous: requests out, answers and pushes in.

use std::{
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{
    AsyncReadExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::Stream;
use starling_wire::{
    rendezvous::{Request, RequestBody, Response, ResponseBody},
    streams::{FrameReader, FrameWriter, ReadError},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{error::Elapsed, timeout},
};

use super::{ConnectionProblem, HomeId, NetEvent, Transport, send_queue::SendQueue};

/// A server that does not greet within this time is no rendezvous.
const GREETING: Duration = Duration::from_secs(10);
/// One that has not greeted after this time is said to be late.
const LATE_GREETING: Duration = Duration::from_secs(2);
/// One that does not take what we write for so long is gone, unless it still acknowledges some of it.
const STALLED: Duration = Duration::from_secs(30);

/// One that owes an answer and says nothing for so long is shown as not answering.
const SILENT: Duration = Duration::from_secs(4);

/// The longest time over which a server may have its clients spread their return.
const MAX_RETRY_WINDOW: Duration = Duration::from_secs(60);

/// The number of requests that are no more than a sign of life: no request of the engine has it.
const PING: u64 = u64::MAX;

/// What is written to a rendezvous.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost all are requests")]
pub enum Outgoing {
    /// A request of the engine, under its number.
    Request(u64, RequestBody),
    /// Asks for a sign of life, of which this is told. It is dropped if the server does not know that.
    Ping(oneshot::Sender<()>),
}

/// What the connection of a stream goes over.
#[derive(Clone, Debug)]
pub struct Path {
    /// As far as is known.
    pub transport: Option<Transport>,
    /// What it has sent and is not acknowledged, if it goes over TCP.
    pub queue: Option<SendQueue>,
}

impl Path {
    /// Whether what was sent is still being acknowledged.
    async fn moves(&mut self) -> bool {
        match &mut self.queue {
            Some(queue) => queue.drains().await,
            None => false,
        }
    }
}

/// Why a stream ended, and what the server has said of coming again.
#[derive(Debug)]
pub struct Left {
    pub problem: ConnectionProblem,
    /// The server is being restarted, and asked us to come again after this time.
    pub come_again: Option<Duration>,
    /// The time over which its clients spread their return if it dies.
    pub retry_window: Duration,
    /// The number of its process; 0 if it is not known.
    pub run: u64,
}

impl From<ConnectionProblem> for Left {
    fn from(problem: ConnectionProblem) -> Self {
        Self { problem, come_again: None, retry_window: Duration::ZERO, run: 0 }
    }
}

impl From<ReadError> for Left {
    fn from(error: ReadError) -> Self {
        tracing::debug!(%error, "a stream to a rendezvous broke");
        ConnectionProblem::Broken.into()
    }
}

/// The first frame of a server. The engine learns if there is none for some time.
async fn greeting(
    reader: &mut FrameReader<ReadHalf<Stream>>,
    home: HomeId,
    engine: &mpsc::Sender<NetEvent>,
) -> Result<Result<Option<Response>, ReadError>, Elapsed> {
    let mut first = pin!(timeout(GREETING, reader.next::<Response>()));
    if let Ok(first) = timeout(LATE_GREETING, &mut first).await {
        return first;
    }
    let problem = ConnectionProblem::NoAnswer;
    let _ = engine.send(NetEvent::HomeDelayed { home, problem, last_resort: false }).await;
    first.await
}

/// Serves one stream until it breaks; gives the reason. `greeted` is told once the server has greeted us.
pub async fn run(
    home: HomeId,
    stream: Stream,
    path: Path,
    greeted: oneshot::Sender<()>,
    requests: mpsc::Receiver<Outgoing>,
    engine: mpsc::Sender<NetEvent>,
) -> Left {
    let (read, write) = stream.split();
    let (mut reader, writer) = (FrameReader::new(read), FrameWriter::new(write));
    let hello = match greeting(&mut reader, home, &engine).await {
        Ok(Ok(Some(Response { body: Some(ResponseBody::Hello(hello)), .. }))) => hello,
        Ok(Err(error)) => return error.into(),
        Ok(_) => return ConnectionProblem::OtherProtocol.into(),
        Err(_) => return ConnectionProblem::NoAnswer.into(),
    };
    let _ = greeted.send(());
    let (pings, run) = (hello.pings, hello.run);
    let retry_window = Duration::from_millis(hello.retry_window_ms).min(MAX_RETRY_WINDOW);
    if engine.send(NetEvent::HomeUp(home, hello, path.transport)).await.is_err() {
        return ConnectionProblem::NotNeeded.into();
    }
    let session = Session {
        home,
        engine,
        open: AtomicI64::new(0),
        heard: AtomicU64::new(0),
        asked: Notify::new(),
        pings,
        pong: Mutex::default(),
    };
    // Side by side: if both ends waited for their writing, neither would read.
    let left = tokio::select! {
        left = session.read(reader) => left,
        left = session.write(writer, requests, path.clone()) => left,
        left = session.watch(path.clone()) => left,
    };
    Left { retry_window, run, ..left }
}

/// What the reading, writing and watching of one stream share.
struct Session {
    home: HomeId,
    engine: mpsc::Sender<NetEvent>,
    /// Requests without an answer.
    open: AtomicI64,
    /// Goes up with each response.
    heard: AtomicU64,
    /// A request was written.
    asked: Notify,
    /// The server knows pings.
    pings: bool,
    /// Who waits for a sign of life.
    pong: Mutex<Option<oneshot::Sender<()>>>,
}

impl Session {
    async fn read(&self, mut reader: FrameReader<ReadHalf<Stream>>) -> Left {
        let mut away = None;
        loop {
            match reader.next::<Response>().await {
                Ok(Some(response)) if response.id == PING => {
                    let pong = self.pong.lock().unwrap_or_else(PoisonError::into_inner).take();
                    // Who asked may have given up.
                    if let Some(pong) = pong {
                        let _ = pong.send(());
                    }
                }
                Ok(Some(response)) => {
                    self.heard.fetch_add(1, Relaxed);
                    match &response.body {
                        Some(ResponseBody::Drain(ms)) => away = Some(Duration::from_millis((*ms).min(60_000))),
                        _ if response.id == 0 => {}
                        _ => drop(self.open.fetch_sub(1, Relaxed)),
                    }
                    if self.engine.send(NetEvent::Home(self.home, response)).await.is_err() {
                        return ConnectionProblem::NotNeeded.into();
                    }
                    if away.is_some() && self.open.load(Relaxed) <= 0 {
                        return Left { come_again: away, ..Left::from(ConnectionProblem::Restarting) };
                    }
                }
                Ok(None) => return ConnectionProblem::Closed.into(),
                Err(error) => return error.into(),
            }
        }
    }

    async fn write(
        &self,
        mut writer: FrameWriter<WriteHalf<Stream>>,
        mut requests: mpsc::Receiver<Outgoing>,
        mut path: Path,
    ) -> Left {
        while let Some(outgoing) = requests.recv().await {
            self.push(&mut writer, outgoing);
            while writer.waiting() < 256 * 1024
                && let Ok(outgoing) = requests.try_recv()
            {
                self.push(&mut writer, outgoing);
            }
            if self.open.load(Relaxed) > 0 {
                self.asked.notify_one();
            }
            let mut flush = pin!(writer.flush());
            loop {
                match timeout(STALLED, &mut flush).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return ConnectionProblem::Broken.into(),
                    Err(_) => {
                        if !path.moves().await {
                            return ConnectionProblem::NotReading.into();
                        }
                    }
                }
            }
        }
        ConnectionProblem::NotNeeded.into()
    }

    /// Adds what is to be written. The answer to a ping is waited for by who has asked for it, and by nobody here.
    fn push(&self, writer: &mut FrameWriter<WriteHalf<Stream>>, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Request(id, ask) => {
                self.open.fetch_add(1, Relaxed);
                writer.push(&Request { id, body: Some(ask) });
            }
            Outgoing::Ping(pong) if self.pings => {
                *self.pong.lock().unwrap_or_else(PoisonError::into_inner) = Some(pong);
                writer.push(&Request { id: PING, body: Some(RequestBody::Ping(true)) });
            }
            Outgoing::Ping(_) => {}
        }
    }

    /// Notices a server that is frozen and keeps its connections; what is still being sent has no answer yet. Nothing wakes this while none is due.
    async fn watch(&self, mut path: Path) -> Left {
        let mut silent = false;
        loop {
            if self.open.load(Relaxed) <= 0 && !silent {
                self.asked.notified().await;
            }
            let before = self.heard.load(Relaxed);
            tokio::time::sleep(SILENT).await;
            let owes = || self.open.load(Relaxed) > 0 && self.heard.load(Relaxed) == before;
            let now_silent = owes() && !path.moves().await && owes();
            if now_silent != std::mem::replace(&mut silent, now_silent)
                && self.engine.send(NetEvent::HomeSlow(self.home, silent)).await.is_err()
            {
                return ConnectionProblem::NotNeeded.into();
            }
        }
    }
}
