//! The node's end of a connection that after `call.watch` carries pictures of a call: see [`starling_control::frames`].

use std::{sync::Arc, time::Duration};

use starling_control::frames::{MAX_REQUEST, MAX_SIDE, MAX_TILES, PEER, Part, Request, SELF, Tile, encode};
use starling_node::{Media, media::video::Frame};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
};

use super::{session::Served, stats};

/// Levels and quality are sent so often.
const NEWS: Duration = Duration::from_millis(250);

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
    let mut events = media.events.subscribe();
    let mut lines = reader.take(MAX_REQUEST).lines();
    let mut ticks = tokio::time::interval(NEWS);
    let (mut wanted, mut terminal_seen) = (0, u64::MAX);
    let serving = async {
        loop {
            let Ok(Some(line)) = lines.next_line().await else { return };
            lines.get_mut().set_limit(MAX_REQUEST);
            let tiles = tiles(&line);
            // The sender makes pictures of the size that is shown.
            let rows = tiles.iter().filter(|tile| tile.stream == PEER).map(|tile| tile.height).max().unwrap_or(0);
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
                event = events.recv() => if matches!(event, Err(tokio::sync::broadcast::error::RecvError::Closed)) { return },
                _ = ticks.tick() => {}
            }
            let mut parts = Vec::new();
            for tile in tiles {
                let view: &mut watch::Receiver<Option<Arc<Frame>>> =
                    if tile.stream == PEER { &mut peer } else { &mut own };
                let frame = view.borrow_and_update().clone();
                parts.extend(picture(tile, frame.as_deref()));
            }
            parts.push(Part::Stats(Box::new(stats::call(&media.call.stats(), Some(&media)))));
            let (revision, shown) = media.terminal();
            if revision != terminal_seen {
                terminal_seen = revision;
                let (width, height, content) = shown.unwrap_or_default();
                parts.push(Part::Terminal(width, height, content));
            }
            if write.write_all(&encode(&parts)).await.is_err() || write.flush().await.is_err() {
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

/// The tiles of a request, within the limits. A line that is none asks for no picture.
fn tiles(line: &str) -> Vec<Tile> {
    let request: Request = serde_json::from_str(line).unwrap_or_default();
    let bounded = |tile: Tile| Tile {
        stream: tile.stream.min(SELF),
        width: tile.width.min(MAX_SIDE),
        height: tile.height.min(MAX_SIDE),
    };
    request.tiles.into_iter().take(MAX_TILES).map(bounded).collect()
}

/// A picture in the size that is shown, as RGB; an empty one where there is none.
fn picture(tile: Tile, frame: Option<&Frame>) -> Option<Part> {
    if tile.width < 2 || tile.height < 2 {
        return None;
    }
    let (width, height, rgb) = match frame {
        Some(frame) => {
            let scaled = frame.scaled(tile.width.into(), tile.height.into());
            (scaled.width as u16, scaled.height as u16, scaled.to_rgb())
        }
        None => (0, 0, Vec::new()),
    };
    Some(Part::Tile(Tile { width, height, ..tile }, rgb))
}
