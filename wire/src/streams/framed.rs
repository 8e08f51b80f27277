//! Reading and writing frames on a stream.

use std::{cell::RefCell, future::poll_fn, pin::Pin, time::Duration};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::{Frame, FrameDecoder, FrameError, write_frame};

/// How much is read at once. One buffer per thread: an idle stream holds none.
const READ: usize = 64 * 1024;
/// A buffer larger than this is given back once it is empty.
const KEEP: usize = 4 * 1024;

/// A frame that has begun has to be there after this time: who sends halves of frames would make us keep them.
const FRAME_DEADLINE: Duration = Duration::from_secs(60);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The peer sent something that is no frame, or too large.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer has begun a frame and does not go on.
    #[error("a frame was begun and not ended within a minute")]
    Slow,
}

/// Reads frames from a byte stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    decoder: FrameDecoder,
    /// Until when the frame that has begun must be complete.
    deadline: Option<Instant>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames from `io`.
    pub fn new(io: R) -> Self {
        Self { io, buffer: BytesMut::new(), decoder: FrameDecoder::default(), deadline: None }
    }

    /// The next frame; `None` at the end of the stream. Cancel safe.
    pub async fn next<M: Frame>(&mut self) -> Result<Option<M>, ReadError> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buffer)? {
                self.deadline = None;
                return Ok(Some(frame));
            }
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
                self.buffer = BytesMut::new();
            }
            let begun = !self.buffer.is_empty();
            let (io, buffer) = (&mut self.io, &mut self.buffer);
            let read = poll_fn(|cx| {
                SCRATCH.with_borrow_mut(|scratch| {
                    Pin::new(&mut *io).poll_read(cx, scratch).map_ok(|n| {
                        buffer.extend_from_slice(&scratch[..n]);
                        n
                    })
                })
            });
            let read = if begun {
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + FRAME_DEADLINE);
                timeout_at(deadline, read).await.map_err(|_| ReadError::Slow)??
            } else {
                read.await?
            };
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

/// Writes frames to a byte stream.
#[derive(Debug)]
pub struct FrameWriter<W> {
    io: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes frames to `io`.
    pub fn new(io: W) -> Self {
        Self { io, buffer: BytesMut::new() }
    }

    /// Adds a frame to what the next flush sends.
    pub fn push<M: Frame>(&mut self, frame: &M) {
        write_frame(frame, &mut self.buffer);
    }

    /// Bytes that wait for a flush.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Sends what was pushed.
    pub async fn flush(&mut self) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            self.io.write_all(&self.buffer).await?;
            self.buffer.clear();
            if self.buffer.capacity() > KEEP {
                self.buffer = BytesMut::new();
            }
        }
        self.io.flush().await
    }

    /// Pushes one frame and flushes.
    pub async fn send<M: Frame>(&mut self, frame: &M) -> std::io::Result<()> {
        self.push(frame);
        self.flush().await
    }

    /// Ends the stream.
    pub async fn close(&mut self) -> std::io::Result<()> {
        self.io.close().await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::io::AsyncReadExt;

    use super::*;
    use crate::rendezvous::{Request, RequestBody};

    #[tokio::test(start_paused = true)]
    async fn half_a_frame_does_not_wait_forever() {
        let mut bytes = BytesMut::new();
        write_frame(&Request { id: 1, body: Some(RequestBody::ClaimName("alice".into())) }, &mut bytes);
        let (whole, half) = (bytes.clone(), bytes.split_to(bytes.len() - 1));
        let mut sent = whole.to_vec();
        sent.extend_from_slice(&half);
        // After these bytes the stream stays open and silent.
        let silent = futures::stream::pending::<std::io::Result<Vec<u8>>>();
        let io = futures::io::Cursor::new(sent).chain(futures::TryStreamExt::into_async_read(silent));
        let mut reader = FrameReader::new(io);
        assert_eq!(reader.next::<Request>().await.unwrap().unwrap().id, 1);
        assert!(matches!(reader.next::<Request>().await, Err(ReadError::Slow)));
    }
}
