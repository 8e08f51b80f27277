//! Lines of standard input, of any length and of any bytes.

use starling_node::MAX_TEXT;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Bytes read at a time.
const READ: usize = 256 * 1024;

/// Why a line cannot be a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("has {} KB; a message has at most {} KB", .0.div_ceil(1024), MAX_TEXT / 1024)]
    TooLong(u64),
    #[error("is not UTF-8 (byte {0})")]
    NotUtf8(usize),
}

/// Lines of a stream, of each of which no more is kept than a message can have.
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// Of the line so far, also what was not kept.
    length: u64,
    number: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(READ, reader), line: Vec::new(), length: 0, number: 0 }
    }

    /// The next line and its number, counted from 1; `None` at the end. May be cancelled: what was read is kept for the next call.
    pub async fn next(&mut self) -> std::io::Result<Option<(u64, Result<String, LineError>)>> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok((self.length > 0).then(|| self.finish()));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            // Room for the carriage return of another system's line break.
            let room = (MAX_TEXT + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.length += part.len() as u64;
            let consumed = part.len() + usize::from(end.is_some());
            self.reader.consume(consumed);
            if end.is_some() {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn finish(&mut self) -> (u64, Result<String, LineError>) {
        self.number += 1;
        let (mut line, mut length) = (std::mem::take(&mut self.line), std::mem::take(&mut self.length));
        if length == line.len() as u64 && line.ends_with(b"\r") {
            line.pop();
            length -= 1;
        }
        let text = if length > MAX_TEXT as u64 {
            Err(LineError::TooLong(length))
        } else {
            String::from_utf8(line).map_err(|e| LineError::NotUtf8(e.utf8_error().valid_up_to() + 1))
        };
        (self.number, text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    async fn all(input: &[u8]) -> Vec<(u64, Result<String, LineError>)> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_numbered_and_bad_ones_are_named() {
        let long = "x".repeat(MAX_TEXT);
        let input = [b"one\r\n\n".as_slice(), long.as_bytes(), b"\r\n", long.as_bytes(), b"y\nab\xff\nlast"].concat();
        let lines = all(&input).await;
        let expected = [
            Ok("one".to_owned()),
            Ok(String::new()),
            Ok(long),
            Err(LineError::TooLong(MAX_TEXT as u64 + 1)),
            Err(LineError::NotUtf8(3)),
            Ok("last".to_owned()),
        ];
        assert_eq!(lines, (1..).zip(expected).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn of_a_line_without_end_only_its_length_is_kept() {
        let mut lines = Lines::new(tokio::io::AsyncReadExt::take(tokio::io::repeat(b'x'), 50 * 1024 * 1024));
        assert_eq!(lines.next().await.unwrap(), Some((1, Err(LineError::TooLong(50 * 1024 * 1024)))));
        assert!(lines.line.capacity() <= 2 * (MAX_TEXT + 1));
    }
}
