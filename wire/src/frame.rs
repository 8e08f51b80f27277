//! Frames: a four-byte big-endian length, then that many bytes of protocol buffer.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Why a stream of frames cannot be read on. The stream must be closed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length is beyond the limit: nothing of the frame was read.
    #[error("a frame of {len} bytes is over the limit of {max}")]
    TooLong {
        /// The length that was announced.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes are no message of this kind.
    #[error("a frame does not hold a valid message")]
    Malformed,
}

/// A message that travels in frames of its own stream protocol.
pub trait Frame: Message + Default {
    /// Largest encoded length that is accepted.
    const MAX_LEN: usize;
}

/// Appends `message` as one frame.
pub fn write_frame<M: Frame>(message: &M, out: &mut BytesMut) {
    let len = message.encoded_len();
    debug_assert!(len <= M::MAX_LEN, "a frame of our own is over the limit");
    out.reserve(4 + len);
    out.put_u32(len as u32);
    // Room was reserved; BytesMut grows in any case, so encoding cannot fail.
    let _ = message.encode(out);
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    need: Option<usize>,
}

impl FrameDecoder {
    /// Takes the next whole frame from the front of `buffer`; `None` if more bytes are needed.
    pub fn next<M: Frame>(&mut self, buffer: &mut BytesMut) -> Result<Option<M>, FrameError> {
        let len = match self.need {
            Some(len) => len,
            None if buffer.len() < 4 => return Ok(None),
            None => {
                let len = buffer.get_u32() as usize;
                if len > M::MAX_LEN {
                    return Err(FrameError::TooLong { len, max: M::MAX_LEN });
                }
                self.need = Some(len);
                len
            }
        };
        if buffer.len() < len {
            return Ok(None);
        }
        self.need = None;
        let frame: Bytes = buffer.split_to(len).freeze();
        M::decode(frame).map(Some).map_err(|_| FrameError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::{Ack, DirectFrame};

    #[test]
    fn frames_are_read_back_from_single_bytes() {
        let frame =
            DirectFrame { acks: vec![Ack { group: vec![1; 16].into(), upto: 7, clock: 9 }], ..DirectFrame::default() };
        let mut bytes = BytesMut::new();
        write_frame(&frame, &mut bytes);
        write_frame(&frame, &mut bytes);
        let (mut decoder, mut buffer, mut got) = (FrameDecoder::default(), BytesMut::new(), 0);
        for byte in bytes {
            buffer.put_u8(byte);
            while let Some(read) = decoder.next::<DirectFrame>(&mut buffer).unwrap() {
                assert_eq!(read, frame);
                got += 1;
            }
        }
        assert_eq!(got, 2);
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_arrives() {
        let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
        let error = FrameDecoder::default().next::<DirectFrame>(&mut buffer);
        assert!(matches!(error, Err(FrameError::TooLong { .. })));
    }
}
