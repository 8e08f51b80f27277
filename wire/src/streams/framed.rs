//! Reading and writing frames on a stream.

use std::{cell::RefCell, future::poll_fn, pin::Pin};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{Frame, FrameDecoder, FrameError, write_frame};

/// How much is read at once. One buffer per thread: an idle stream holds none.
const READ: usize = 64 * 1024;
/// A buffer larger than this is given back once it is empty.
const KEEP: usize = 4 * 1024;

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
}

/// Reads frames from a byte stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    decoder: FrameDecoder,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames from `io`.
    pub fn new(io: R) -> Self {
        Self { io, buffer: BytesMut::new(), decoder: FrameDecoder::default() }
    }

    /// The next frame; `None` at the end of the stream. Cancel safe.
    pub async fn next<M: Frame>(&mut self) -> Result<Option<M>, ReadError> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
                self.buffer = BytesMut::new();
            }
            let (io, buffer) = (&mut self.io, &mut self.buffer);
            let read = poll_fn(|cx| {
                SCRATCH.with_borrow_mut(|scratch| {
                    Pin::new(&mut *io).poll_read(cx, scratch).map_ok(|n| {
                        buffer.extend_from_slice(&scratch[..n]);
                        n
                    })
                })
            })
            .await?;
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
