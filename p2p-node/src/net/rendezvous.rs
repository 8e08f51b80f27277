//! The stream to a rendezvous: requests out, answers and pushes in.

use std::time::Duration;

use futures::AsyncReadExt;
use libp2p::Stream;
use starling_wire::{
    rendezvous::{Answer, Ask, Request, Response},
    streams::{FrameReader, FrameWriter},
};
use tokio::sync::mpsc;

use super::{HomeId, NetEvent};
use crate::engine::Input;

/// A server that does not greet within this time is no rendezvous.
const GREETING: Duration = Duration::from_secs(10);
/// One that does not take what we write for so long is gone.
const STALLED: Duration = Duration::from_secs(30);

/// Serves one stream until it breaks; gives the reason.
pub async fn run(
    home: HomeId,
    stream: Stream,
    mut requests: mpsc::Receiver<(u64, Ask)>,
    engine: mpsc::Sender<Input>,
) -> String {
    let (read, write) = stream.split();
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let hello = match tokio::time::timeout(GREETING, reader.next::<Response>()).await {
        Ok(Ok(Some(Response { answer: Some(Answer::Hello(hello)), .. }))) => hello,
        Ok(Err(error)) => return error.to_string(),
        Ok(_) => return "it does not speak this protocol".into(),
        Err(_) => return "it does not answer".into(),
    };
    if engine.send(Input::Net(NetEvent::HomeUp(home, hello))).await.is_err() {
        return "stopping".into();
    }
    // Side by side: if both ends waited for their writing, neither would read.
    let read = async {
        loop {
            match reader.next::<Response>().await {
                Ok(Some(response)) => {
                    if engine.send(Input::Net(NetEvent::Home(home, response))).await.is_err() {
                        return "stopping".into();
                    }
                }
                Ok(None) => return "it closed the connection".into(),
                Err(error) => return error.to_string(),
            }
        }
    };
    let write = async {
        while let Some((id, ask)) = requests.recv().await {
            writer.push(&Request { id, ask: Some(ask) });
            while writer.waiting() < 256 * 1024
                && let Ok((id, ask)) = requests.try_recv()
            {
                writer.push(&Request { id, ask: Some(ask) });
            }
            match tokio::time::timeout(STALLED, writer.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "it does not read".into(),
            }
        }
        "not needed any more".into()
    };
    tokio::select! {
        reason = read => reason,
        reason = write => reason,
    }
}
