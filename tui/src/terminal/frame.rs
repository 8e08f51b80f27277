//! What a drawing writes, put together to one piece.

use std::io::{self, Write};

use zeroize::optimization_barrier;

/// Collects what is written until it is flushed, and then wipes it: a drawing may show a recovery phrase.
pub struct FrameWriter<W: Write> {
    out: W,
    bytes: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    /// With room for so many bytes; more go out in several pieces.
    pub fn with_capacity(capacity: usize, out: W) -> Self {
        Self { out, bytes: Vec::with_capacity(capacity) }
    }

    fn send(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.bytes);
        self.bytes.fill(0);
        optimization_barrier(self.bytes.as_slice());
        self.bytes.clear();
        written
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It never grows: that would leave a copy behind.
        if bytes.len() > self.bytes.capacity() - self.bytes.len() {
            self.send()?;
        }
        if bytes.len() > self.bytes.capacity() {
            return self.out.write(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.out.flush()
    }
}

impl<W: Write> Drop for FrameWriter<W> {
    fn drop(&mut self) {
        let _ = self.send();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_written_goes_out_whole_and_in_order() {
        let mut frame = FrameWriter::with_capacity(4, Vec::new());
        frame.write_all(b"abc").unwrap();
        assert!(frame.out.is_empty(), "it waits for more");
        for bytes in [&b"de"[..], b"longer than there is room", b"fg"] {
            frame.write_all(bytes).unwrap();
        }
        frame.flush().unwrap();
        assert_eq!(frame.out, b"abcdelonger than there is roomfg");
        assert!(frame.bytes.is_empty() && frame.bytes.capacity() == 4);
    }
}
