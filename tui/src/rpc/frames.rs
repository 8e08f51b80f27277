//! Pictures of a call for the screen: a connection that after `call.watch` carries frames instead of lines.
//!
//! The client writes a line that says what it shows and asks for one frame; the server answers with the newest. A slow terminal so gets fewer
//! frames, and none that has waited in a buffer. A frame is its length (4 bytes), then parts: kind, stream (1 byte each), width, height (2
//! bytes each), length (4 bytes), content.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use starling_control::{Method, methods::calls::Watch};
use starling_node::{Media, media::video::Frame};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::watch,
};

use super::{session::Served, stats};
use crate::error::{CliError, CliResult};

/// The largest frame: two tiles of the largest terminal with kitty graphics.
const MAX_FRAME: usize = 8 * 1024 * 1024;
/// The largest tile that is asked for.
const MAX_SIDE: u64 = 1280;
/// Levels and quality are told so often.
const NEWS: Duration = Duration::from_millis(250);
/// Longest request.
const MAX_REQUEST: u64 = 4096;

/// Kinds of parts.
pub const TILE: u8 = 1;
pub const STATS: u8 = 2;
pub const TERMINAL: u8 = 3;

/// One part of a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub kind: u8,
    pub stream: u8,
    pub width: u16,
    pub height: u16,
    pub content: Vec<u8>,
}

impl Part {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.kind, self.stream]);
        out.extend(self.width.to_be_bytes());
        out.extend(self.height.to_be_bytes());
        out.extend((self.content.len() as u32).to_be_bytes());
        out.extend(&self.content);
    }

    /// The parts of a frame; what is cut off is left out.
    pub fn read_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut parts = Vec::new();
        while let Some((&[kind, stream, w0, w1, h0, h1, a, b, c, d], rest)) = bytes.split_first_chunk::<10>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some((content, rest)) = rest.split_at_checked(length) else { break };
            let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
            parts.push(Self { kind, stream, width, height, content: content.to_vec() });
            bytes = rest;
        }
        parts
    }
}

/// What a client shows of a stream: 0 is the other side, 1 ourselves.
struct TileRequest {
    stream: u8,
    width: usize,
    height: usize,
}

fn tile_requests(line: &str) -> Vec<TileRequest> {
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    let tile = |tile: &Value| {
        let side = |name: &str| tile[name].as_u64().unwrap_or(0).min(MAX_SIDE) as usize;
        TileRequest {
            stream: tile["stream"].as_u64().unwrap_or(0).min(1) as u8,
            width: side("width"),
            height: side("height"),
        }
    };
    value["tiles"].as_array().map(|tiles| tiles.iter().take(4).map(tile).collect()).unwrap_or_default()
}

/// Serves frames of the participant on a route until the client goes, the call ends or the node does.
pub async fn serve(
    reader: impl AsyncBufRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    media: Media,
    route: u64,
    served: &Served,
) {
    let Some(mut peer) = media.call.view(route) else { return };
    let mut own = media.call.self_view();
    let mut news = media.news.subscribe();
    let mut lines = reader.take(MAX_REQUEST).lines();
    let mut ticks = tokio::time::interval(NEWS);
    let (mut wanted, mut terminal_seen) = (0, u64::MAX);
    let serving = async {
        loop {
            let Ok(Some(line)) = lines.next_line().await else { return };
            lines.get_mut().set_limit(MAX_REQUEST);
            let tile_requests = tile_requests(&line);
            // The sender makes pictures of the size that is shown.
            let rows = tile_requests.iter().filter(|w| w.stream == 0).map(|w| w.height as u32).max().unwrap_or(0);
            let height = match rows {
                0 => 0,
                1..=200 => 180,
                201..=400 => 360,
                _ => 720,
            };
            if height != wanted {
                wanted = height;
                media.call.want(route, height).await;
            }
            tokio::select! {
                changed = peer.changed() => if changed.is_err() { return },
                changed = own.changed() => if changed.is_err() { return },
                event = news.recv() => if matches!(event, Err(tokio::sync::broadcast::error::RecvError::Closed)) { return },
                _ = ticks.tick() => {}
            }
            let mut parts = Vec::new();
            for request in &tile_requests {
                let view: &mut watch::Receiver<Option<Arc<Frame>>> =
                    if request.stream == 0 { &mut peer } else { &mut own };
                let frame = view.borrow_and_update().clone();
                parts.extend(tile(request, frame.as_deref()));
            }
            let stats = stats::call(&media.call.stats(), Some(&media));
            let stats = serde_json::to_vec(&stats).unwrap_or_default();
            parts.push(Part { kind: STATS, stream: 0, width: 0, height: 0, content: stats });
            let (revision, shown) = media.terminal();
            if revision != terminal_seen {
                terminal_seen = revision;
                let (width, height, content) = shown.unwrap_or_default();
                parts.push(Part { kind: TERMINAL, stream: 0, width, height, content });
            }
            let mut body = Vec::new();
            parts.iter().for_each(|part| part.write(&mut body));
            let frame = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
            if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = served.ended() => {}
    }
    // Nobody looks any more: what a file or another screen may need.
    media.call.want(route, 360).await;
}

/// A picture in the size that is shown, as RGB; an empty one where there is none.
fn tile(request: &TileRequest, frame: Option<&Frame>) -> Option<Part> {
    if request.width < 2 || request.height < 2 {
        return None;
    }
    let (width, height, content) = match frame {
        Some(frame) => {
            let scaled = frame.scaled(request.width, request.height);
            (scaled.width as u16, scaled.height as u16, scaled.to_rgb())
        }
        None => (0, 0, Vec::new()),
    };
    Some(Part { kind: TILE, stream: request.stream, width, height, content })
}

/// The client's end of such a connection.
pub struct Frames {
    stream: BufReader<UnixStream>,
}

impl Frames {
    /// Connects to the node behind one of these sockets and watches a call.
    pub async fn open(sockets: &[PathBuf], call: &str) -> CliResult<Self> {
        let mut stream = None;
        for socket in sockets {
            stream = UnixStream::connect(socket).await.ok();
            if stream.is_some() {
                break;
            }
        }
        let mut stream = BufReader::new(stream.ok_or_else(super::client::gone)?);
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": Watch::NAME, "params": Watch { call: call.into(), route: None } });
        stream.write_all(format!("{request}\n").as_bytes()).await.map_err(CliError::internal)?;
        let mut answer = String::new();
        (&mut stream).take(64 * 1024).read_line(&mut answer).await.map_err(CliError::internal)?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        if answer["result"].is_object() {
            Ok(Self { stream })
        } else {
            Err(CliError::not_found("the call cannot be watched"))
        }
    }

    /// Asks for the next frame; not to be cancelled.
    pub async fn next(&mut self, tile_requests: &Value) -> CliResult<Vec<Part>> {
        self.stream.write_all(format!("{tile_requests}\n").as_bytes()).await.map_err(CliError::internal)?;
        let length = self.stream.read_u32().await.map_err(CliError::internal)? as usize;
        if length > MAX_FRAME {
            return Err(CliError::internal("a frame is too large"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.map_err(CliError::internal)?;
        Ok(Part::read_all(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_back_and_a_cut_one_is_left_out() {
        let parts = [
            Part { kind: TILE, stream: 1, width: 2, height: 1, content: vec![1, 2, 3, 4, 5, 6] },
            Part { kind: STATS, stream: 0, width: 0, height: 0, content: b"{}".to_vec() },
        ];
        let mut bytes = Vec::new();
        parts.iter().for_each(|part| part.write(&mut bytes));
        assert_eq!(Part::read_all(&bytes), parts);
        assert_eq!(Part::read_all(&bytes[..bytes.len() - 1]), parts[..1]);
        assert!(Part::read_all(&[9; 7]).is_empty());
    }
}
