//! TURN over a stream, as RFC 8656 (section 12.5) has it over TCP: messages follow each other, and ChannelData is filled up to a multiple of four bytes.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// The header of a STUN message (RFC 8489, section 5), without its first four bytes.
const STUN_REST: usize = 16;
/// ChannelData begins with a number and a length.
const HEAD: usize = 4;

/// How many bytes of a message follow its first four, and how many of padding after those. `None` if this begins neither STUN nor ChannelData.
fn lengths(head: [u8; HEAD]) -> Option<(usize, usize)> {
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match head[0] {
        0x00..=0x3f => Some((STUN_REST + length, 0)),
        0x40..=0x7f => Some((length, length.next_multiple_of(4) - length)),
        _ => None,
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The next message, without padding, as a datagram would have it; `None` at the end of the stream. Not cancel safe: what was read is lost.
///
/// # Errors
///
/// If the stream breaks, or has something other than STUN and ChannelData of at most `most` bytes.
pub async fn read_message(io: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    let (first, rest) = head.split_at_mut(1);
    if io.read(first).await? == 0 {
        return Ok(None);
    }
    io.read_exact(rest).await?;
    let (rest, padding) = lengths(head).ok_or_else(|| malformed("neither STUN nor ChannelData"))?;
    if HEAD + rest > most {
        return Err(malformed("a message that is too long"));
    }
    let mut message = vec![0; HEAD + rest + padding];
    let (start, end) = message.split_at_mut(HEAD);
    start.copy_from_slice(&head);
    io.read_exact(end).await?;
    message.truncate(HEAD + rest);
    Ok(Some(message))
}

/// Writes a datagram of STUN or ChannelData. It is on its way once the stream is flushed. Whatever stands behind the message in its datagram is left out.
///
/// # Errors
///
/// If the stream breaks, or the datagram has no whole message: then nothing was written.
pub async fn write_message(io: &mut (impl AsyncWrite + Unpin), datagram: &[u8]) -> io::Result<()> {
    let whole = datagram.first_chunk().and_then(|head| lengths(*head));
    let (rest, padding) = whole.ok_or_else(|| malformed("neither STUN nor ChannelData"))?;
    let message = datagram.get(..HEAD + rest).ok_or_else(|| malformed("a message that is cut off"))?;
    io.write_all(message).await?;
    io.write_all(&[0; 3][..padding]).await
}

/// Writes what comes out of a queue, as much at once as waits there, until the queue or the stream ends.
pub async fn write_messages(mut io: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(message) = next {
            match write_message(&mut io, &message).await {
                Ok(()) => {}
                // It is lost, as on any path.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(_) => return,
            }
            next = queue.try_recv().ok();
        }
        if io.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::io::Cursor;

    use super::*;

    const MOST: usize = 2048;

    fn stun(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [vec![0, 3, high, low], vec![7; 16 + usize::from(length)]].concat()
    }

    fn data(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [vec![0x40, 1, high, low], vec![9; usize::from(length)]].concat()
    }

    #[tokio::test]
    async fn what_is_written_is_read_without_padding() {
        let messages = [stun(0), data(0), data(1), data(3), data(4), data(1201), stun(64)];
        let mut stream = Cursor::new(Vec::new());
        for message in &messages {
            // As in a datagram with padding.
            write_message(&mut stream, &[&message[..], &[0; 2]].concat()).await.unwrap();
        }
        assert_eq!(stream.get_ref().len() % 4, 0);
        stream.set_position(0);
        for message in messages {
            assert_eq!(read_message(&mut stream, MOST).await.unwrap(), Some(message));
        }
        assert_eq!(read_message(&mut stream, MOST).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_too_long_cut_off_or_something_else_is_an_error() {
        for bytes in [data(2045), stun(2029), vec![0x80, 0, 0, 0], data(8)[..11].to_vec(), data(5), vec![0, 1]] {
            let mut stream = Cursor::new(bytes.clone());
            assert!(read_message(&mut stream, MOST).await.is_err(), "{bytes:?}");
        }
        for datagram in [&data(8)[..11], &stun(4)[..23], &[0x80; 20], &[0x40, 1], &[]] {
            let mut stream = Cursor::new(Vec::new());
            assert!(write_message(&mut stream, datagram).await.is_err(), "{datagram:?}");
            assert!(stream.get_ref().is_empty());
        }
    }
}
