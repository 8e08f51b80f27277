//! The stream of a connected device: requests come in, answers and pushes go out, side by side.

use std::{sync::Arc, time::Duration};

use futures::{
    AsyncReadExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::Stream;
use starling_wire::{
    rendezvous::{Refusal, Request, Response, ResponseBody},
    streams::{FrameReader, FrameWriter, ReadError},
};
use tokio::sync::mpsc;
use tracing::Instrument;

use crate::{
    address::Origin,
    clock::now_ms,
    limits::REFUSED_PAUSE,
    services::{Services, directory, session::Session},
    store::{Key, SubscriberId},
};

/// A device that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(30);
/// Answers that may wait for their device; then its next request waits.
const ANSWERS: usize = 8;

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The device has left, misbehaves or reads too slowly.
    Left,
    /// The server has ended it: what its connection may do is to be settled again.
    Dismissed,
}

/// Serves a device until it leaves, misbehaves or reads too slowly, or the server ends its session. `on_member` is called once its account is known.
pub async fn serve<F: Future<Output = ()>>(
    services: Arc<Services>,
    device: Key,
    origin: Option<Origin>,
    stream: Stream,
    on_member: impl FnOnce() -> F,
) -> Ended {
    let (mut session, pushed) = Session::enter(services, device, origin).await;
    let (read, write) = stream.split();
    let span = tracing::debug_span!("session", id = session.id, registered = session.account.is_some());
    let serving = async {
        tracing::debug!("begins");
        let ended = run(&mut session, FrameReader::new(read), FrameWriter::new(write), pushed, on_member).await;
        tracing::debug!(?ended, "ends");
        ended
    };
    serving.instrument(span).await
}

/// How long nothing is read from a device after an answer.
fn pause_after(response: &Response) -> Duration {
    match &response.body {
        Some(ResponseBody::Refused(refused)) if refused.reason() == Refusal::Full => REFUSED_PAUSE,
        Some(ResponseBody::Refused(refused)) => Duration::from_millis(refused.retry_after_ms).min(REFUSED_PAUSE),
        _ => Duration::ZERO,
    }
}

async fn run<F: Future<Output = ()>>(
    session: &mut Session,
    mut reader: FrameReader<ReadHalf<Stream>>,
    mut writer: FrameWriter<WriteHalf<Stream>>,
    mut pushed: mpsc::Receiver<Box<Response>>,
    on_member: impl FnOnce() -> F,
) -> Ended {
    let mut on_member = Some(on_member);
    if !matches!(tokio::time::timeout(STALLED, writer.send(&session.hello())).await, Ok(Ok(()))) {
        return Ended::Left;
    }
    if let Some(account) = session.account {
        if let Some(on_member) = on_member.take() {
            on_member().await;
        }
        let _ = directory::note_seen(&session.services, account, now_ms() / 86_400_000).await;
    }
    let (answers, mut answered) = mpsc::channel(ANSWERS);
    let (services, id) = (session.services.clone(), session.id);
    // Side by side: if both ends waited for their writing, neither would read.
    let read = async {
        loop {
            match reader.next::<Request>().await {
                Ok(Some(request)) => {
                    // Boxed, so that an idle session holds no memory for the largest request.
                    let response = Box::new(Box::pin(session.answer(request)).await);
                    if session.account.is_some()
                        && let Some(on_member) = on_member.take()
                    {
                        on_member().await;
                    }
                    let pause = pause_after(&response);
                    if answers.send(response).await.is_err() {
                        return;
                    }
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "session ended");
                    if !matches!(error, ReadError::Io(_)) {
                        session.services.metrics.malformed.inc();
                    }
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = read => Ended::Left,
        ended = write(writer, &services, id, &mut answered, &mut pushed) => ended,
    }
}

/// Writes answers and what others have sent, until the connection or the session ends.
async fn write(
    mut writer: FrameWriter<WriteHalf<Stream>>,
    services: &Services,
    id: SubscriberId,
    answered: &mut mpsc::Receiver<Box<Response>>,
    pushed: &mut mpsc::Receiver<Box<Response>>,
) -> Ended {
    loop {
        let next = tokio::select! {
            answer = answered.recv() => answer,
            // The sending side is dropped when the server ends the session.
            push = pushed.recv() => match push {
                Some(push) => Some(push),
                None => return Ended::Dismissed,
            },
        };
        let Some(next) = next else { return Ended::Left };
        writer.push(&*next);
        while writer.waiting() < 64 * 1024
            && let Ok(more) = answered.try_recv().or_else(|_| pushed.try_recv())
        {
            writer.push(&*more);
        }
        // There is room again for what there was none for.
        for missed in services.missed(id) {
            writer.push(&Response { id: 0, body: Some(missed) });
        }
        if !matches!(tokio::time::timeout(STALLED, writer.flush()).await, Ok(Ok(()))) {
            return Ended::Left;
        }
    }
}
