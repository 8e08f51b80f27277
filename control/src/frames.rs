//! Pictures of a call: what a connection carries after `call.watch` instead of lines.
//!
//! The client writes a line with a [`Request`] for one frame; the node answers with the newest. A slow terminal so gets fewer frames, and none
//! that has waited in a buffer. A frame is its length in bytes (4 bytes, big-endian), then [`Part`]s: kind and stream (1 byte each), width and
//! height (2 bytes each), length (4 bytes), content.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use crate::{
    ClientError,
    client::{Incoming, parse},
    jsonrpc::Outgoing,
    methods::{Method, calls::Watch},
    objects::{CallId, CallStats},
};

/// The largest frame, in bytes: two tiles of the largest terminal with kitty graphics.
const MAX_FRAME: usize = 8 * 1024 * 1024;
/// The longest answer to `call.watch`, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// The longest [`Request`] that a node reads, in bytes.
pub const MAX_REQUEST: u64 = 4096;
/// The most tiles of a request; others are ignored.
pub const MAX_TILES: usize = 4;
/// The largest width or height of a tile in pixels; a larger one is made so large.
pub const MAX_SIDE: u16 = 1280;

/// The stream of the other side.
pub const PEER: u8 = 0;
/// The stream of this side.
pub const SELF: u8 = 1;

/// A request for a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// What is shown of it, and how large. Without tiles there are only the parts that are no pictures.
    #[serde(default)]
    pub tiles: Vec<Tile>,
}

/// A picture that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tile {
    /// 0 is the other side, 1 this one.
    pub stream: u8,
    /// Its width in pixels.
    pub width: u16,
    /// Its height in pixels.
    pub height: u16,
}

/// A part of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A picture in RGB, not larger than was asked for; width and height are 0 where there is none.
    Tile(Tile, Vec<u8>),
    /// What is measured of the call.
    Stats(Box<CallStats>),
    /// The shared terminal, since it has changed: columns, rows, and the bytes that draw it. It is no longer shared if there are 0 columns.
    Terminal(u16, u16, Vec<u8>),
}

const TILE: u8 = 1;
const STATS: u8 = 2;
const TERMINAL: u8 = 3;

/// Bytes of a frame.
pub fn encode(parts: &[Part]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    for part in parts {
        match part {
            Part::Tile(tile, rgb) => write(&mut frame, [TILE, tile.stream], (tile.width, tile.height), rgb),
            Part::Stats(stats) => {
                let json = serde_json::to_vec(stats).unwrap_or_default();
                write(&mut frame, [STATS, PEER], (0, 0), &json);
            }
            Part::Terminal(columns, rows, content) => write(&mut frame, [TERMINAL, PEER], (*columns, *rows), content),
        }
    }
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

fn write(frame: &mut Vec<u8>, head: [u8; 2], (width, height): (u16, u16), content: &[u8]) {
    frame.extend(head);
    frame.extend(width.to_be_bytes());
    frame.extend(height.to_be_bytes());
    frame.extend((content.len() as u32).to_be_bytes());
    frame.extend(content);
}

/// The parts of a frame without its length. What is cut off, of an unknown kind or not valid is left out.
pub fn decode(mut bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some((&[kind, stream, w0, w1, h0, h1, a, b, c, d], rest)) = bytes.split_first_chunk::<10>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((content, rest)) = rest.split_at_checked(length) else { break };
        let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
        match kind {
            TILE => parts.push(Part::Tile(Tile { stream, width, height }, content.to_vec())),
            STATS => parts.extend(serde_json::from_slice(content).map(Part::Stats)),
            TERMINAL => parts.push(Part::Terminal(width, height, content.to_vec())),
            _ => {}
        }
        bytes = rest;
    }
    parts
}

/// The client's end of such a connection.
pub struct Frames {
    stream: BufReader<UnixStream>,
}

impl Frames {
    /// Connects to the control socket of a node, and watches the first participant of a call.
    ///
    /// # Errors
    /// If nobody is behind the socket, or the call cannot be watched.
    pub async fn open(socket: &Path, call: CallId) -> Result<Self, ClientError> {
        let closed = |_| ClientError::Closed;
        let mut stream = BufReader::new(UnixStream::connect(socket).await.map_err(closed)?);
        let request = Outgoing::new(Some(1), Watch::NAME, Watch { call, route: None });
        stream.write_all(request.line()?.as_bytes()).await.map_err(closed)?;
        let mut answer = Vec::new();
        (&mut stream).take(MAX_ANSWER).read_until(b'\n', &mut answer).await.map_err(closed)?;
        let incoming: Incoming =
            serde_json::from_slice(&answer).map_err(|error| ClientError::Unexpected(error.to_string()))?;
        parse::<<Watch as Method>::Answer>(incoming.outcome()?)?;
        Ok(Self { stream })
    }

    /// Asks for the next frame, and waits for it. If it is cancelled, the connection can no longer be used.
    ///
    /// # Errors
    /// If the connection has ended, as it does with the call, or the frame is too large.
    pub async fn next(&mut self, request: &Request) -> Result<Vec<Part>, ClientError> {
        let unexpected = |error: serde_json::Error| ClientError::Unexpected(error.to_string());
        let mut line = serde_json::to_vec(request).map_err(unexpected)?;
        line.push(b'\n');
        let closed = |_| ClientError::Closed;
        self.stream.write_all(&line).await.map_err(closed)?;
        let length = self.stream.read_u32().await.map_err(closed)? as usize;
        if length > MAX_FRAME {
            return Err(ClientError::Unexpected("a frame is too large".into()));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.map_err(closed)?;
        Ok(decode(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_back_and_a_cut_or_unknown_one_is_left_out() {
        let tile = Tile { stream: SELF, width: 2, height: 1 };
        let stats = CallStats { at_ms: 7, ..CallStats::default() };
        let parts = [
            Part::Tile(tile, vec![1, 2, 3, 4, 5, 6]),
            Part::Stats(Box::new(stats)),
            Part::Terminal(80, 24, b"text".to_vec()),
        ];
        let frame = encode(&parts);
        assert_eq!(frame[..4], ((frame.len() - 4) as u32).to_be_bytes());
        assert_eq!(decode(&frame[4..]), parts);
        assert_eq!(decode(&frame[4..frame.len() - 1]), parts[..2]);
        assert!(decode(&[9; 7]).is_empty());
        let unknown = [&[9, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'x'][..], &frame[4..]].concat();
        assert_eq!(decode(&unknown), parts);
    }

    #[test]
    fn a_request_without_tiles_asks_for_no_picture() {
        assert_eq!(serde_json::from_str::<Request>("{}").ok(), Some(Request::default()));
    }
}
