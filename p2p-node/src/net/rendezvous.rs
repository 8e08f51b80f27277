//! The stream to a rendezvous: requests out, answers and pushes in.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures::AsyncReadExt;
use libp2p::Stream;
use starling_wire::{
    rendezvous::{Request, RequestBody, Response, ResponseBody},
    streams::{FrameReader, FrameWriter},
};
use tokio::sync::{Notify, mpsc};

use super::{HomeId, NetEvent};

/// A server that does not greet within this time is no rendezvous.
const GREETING: Duration = Duration::from_secs(10);
/// One that does not take what we write for so long is gone.
const STALLED: Duration = Duration::from_secs(30);

/// One that owes an answer and says nothing for so long is shown as not answering.
const SILENT: Duration = Duration::from_secs(4);

/// Why a stream ended.
pub struct Left {
    /// As text without addresses.
    pub reason: String,
    /// The server is being restarted, and asked us to come again after this time.
    pub come_again: Option<Duration>,
}

impl From<String> for Left {
    fn from(reason: String) -> Self {
        Self { reason, come_again: None }
    }
}

impl From<&str> for Left {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// Serves one stream until it breaks; gives the reason.
pub async fn run(
    home: HomeId,
    stream: Stream,
    mut requests: mpsc::Receiver<(u64, RequestBody)>,
    engine: mpsc::Sender<NetEvent>,
) -> Left {
    let (read, write) = stream.split();
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let hello = match tokio::time::timeout(GREETING, reader.next::<Response>()).await {
        Ok(Ok(Some(Response { body: Some(ResponseBody::Hello(hello)), .. }))) => hello,
        Ok(Err(error)) => return error.to_string().into(),
        Ok(_) => return "it does not speak this protocol".into(),
        Err(_) => return "it does not answer".into(),
    };
    if engine.send(NetEvent::HomeUp(home, hello)).await.is_err() {
        return "stopping".into();
    }
    // Requests without an answer, and when the server last said something.
    let open = AtomicI64::new(0);
    let (heard, asked) = (AtomicU64::new(0), Notify::new());
    // Side by side: if both ends waited for their writing, neither would read.
    let read = async {
        let mut away = None;
        loop {
            match reader.next::<Response>().await {
                Ok(Some(response)) => {
                    heard.fetch_add(1, Relaxed);
                    match &response.body {
                        Some(ResponseBody::Drain(ms)) => away = Some(Duration::from_millis((*ms).min(60_000))),
                        _ if response.id == 0 => {}
                        _ => drop(open.fetch_sub(1, Relaxed)),
                    }
                    if engine.send(NetEvent::Home(home, response)).await.is_err() {
                        return "stopping".into();
                    }
                    if away.is_some() && open.load(Relaxed) <= 0 {
                        return Left { reason: "it is being restarted".into(), come_again: away };
                    }
                }
                Ok(None) => return "it closed the connection".into(),
                Err(error) => return error.to_string().into(),
            }
        }
    };
    let write = async {
        while let Some((id, ask)) = requests.recv().await {
            open.fetch_add(1, Relaxed);
            writer.push(&Request { id, body: Some(ask) });
            while writer.waiting() < 256 * 1024
                && let Ok((id, ask)) = requests.try_recv()
            {
                open.fetch_add(1, Relaxed);
                writer.push(&Request { id, body: Some(ask) });
            }
            asked.notify_one();
            match tokio::time::timeout(STALLED, writer.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string().into(),
                Err(_) => return "it does not read".into(),
            }
        }
        "not needed any more".into()
    };
    // A server that is frozen keeps its connections. Nothing wakes this while no answer is due.
    let watch = async {
        let mut silent = false;
        loop {
            if open.load(Relaxed) <= 0 && !silent {
                asked.notified().await;
            }
            let before = heard.load(Relaxed);
            tokio::time::sleep(SILENT).await;
            let now_silent = open.load(Relaxed) > 0 && heard.load(Relaxed) == before;
            if now_silent != std::mem::replace(&mut silent, now_silent)
                && engine.send(NetEvent::HomeSilent(home, silent)).await.is_err()
            {
                return "stopping".into();
            }
        }
    };
    tokio::select! {
        reason = read => reason,
        reason = write => reason,
        reason = watch => reason,
    }
}
