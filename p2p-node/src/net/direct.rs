//! The two streams between two devices: each side writes on the one that it opened.

use std::time::Duration;

use libp2p::Stream;
use starling_keys::DeviceId;
use starling_wire::{
    VERSION,
    direct::{DirectFrame, Hello},
    streams::{FrameReader, FrameWriter},
};
use tokio::sync::mpsc;

use super::NetEvent;

/// Bytes that are written before a flush while more frames wait: one flush for many frames is what makes bursts fast.
const COALESCE: usize = 256 * 1024;
/// A device that does not take what we write for so long is gone.
const STALLED: Duration = Duration::from_secs(30);

/// Whether something would be amiss if a frame did not arrive: then its receiver is probed soon. Presence and typing may be lost, and each part of a
/// history that is copied is asked for.
pub fn has_to_arrive(frame: &DirectFrame) -> bool {
    let may_be_lost = DirectFrame {
        hello: frame.hello.clone(),
        run: frame.run.clone(),
        signals: frame.signals.clone(),
        history: frame.history.clone(),
        ..DirectFrame::default()
    };
    *frame != may_be_lost
}

/// Writes frames until the stream breaks or the sender is dropped.
pub async fn write(stream: Stream, mut frames: mpsc::Receiver<DirectFrame>) {
    let mut writer = FrameWriter::new(stream);
    writer.push(&DirectFrame { hello: Some(Hello { version: VERSION }), ..DirectFrame::default() });
    if writer.flush().await.is_err() {
        return;
    }
    while let Some(frame) = frames.recv().await {
        writer.push(&frame);
        while writer.waiting() < COALESCE
            && let Ok(frame) = frames.try_recv()
        {
            writer.push(&frame);
        }
        // A device that reads nothing for so long is gone, or wants our memory.
        if !matches!(tokio::time::timeout(STALLED, writer.flush()).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = writer.close().await;
}

/// Reads frames until the stream ends or the peer sends what is no frame.
pub async fn read(device: DeviceId, stream: Stream, engine: mpsc::Sender<NetEvent>) {
    let mut reader = FrameReader::new(stream);
    loop {
        match reader.next::<DirectFrame>().await {
            Ok(Some(frame)) => {
                if engine.send(NetEvent::Direct(device, frame)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a direct stream ended");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use starling_wire::direct::{Ack, Entry, Run, SealedSignal};

    use super::*;

    /// What a device was told of its messages was not waited for: on a path that had died nobody noticed before the next probe at rest.
    #[test]
    fn messages_and_their_acknowledgements_have_to_arrive_and_typing_does_not() {
        let frames = [
            DirectFrame { entries: vec![Entry::default()], ..DirectFrame::default() },
            DirectFrame { acks: vec![Ack::default()], run: Some(Run::default()), ..DirectFrame::default() },
            DirectFrame { chain: vec![7].into(), ..DirectFrame::default() },
        ];
        assert!(frames.iter().all(has_to_arrive));
        let frames = [
            DirectFrame { signals: vec![SealedSignal::default()], ..DirectFrame::default() },
            DirectFrame { run: Some(Run::default()), ..DirectFrame::default() },
            DirectFrame { history: vec![vec![7].into()], ..DirectFrame::default() },
        ];
        assert!(!frames.iter().any(has_to_arrive));
    }
}
