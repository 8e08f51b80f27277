//! Pictures as pictures, in terminals with kitty's graphics protocol: through shared memory, and so only on the same machine.
//!
//! Cells of a picture are left out of ratatui's drawing; after each drawing the newest pictures are written, in one synchronized update.

use std::{collections::HashMap, fs::File, io::Write};

use data_encoding::BASE64;
use ratatui::{
    buffer::{Buffer, CellDiffOption},
    crossterm::terminal::window_size,
    layout::Rect,
};

use super::call::{Picture, Tile};

/// The largest picture that is drawn: more is not seen in a terminal.
const MOST: (u32, u32) = (640, 360);

/// What is shown where.
#[derive(Debug, Default)]
pub struct Pictures {
    on: bool,
    /// Pixels of a cell.
    cell: (u32, u32),
    waiting: Vec<(Tile, Picture)>,
    shown: HashMap<u8, Rect>,
    number: u64,
}

impl Pictures {
    /// For this terminal: kitty and its like, not through ssh, tmux or screen. `STARLING_PICTURES=cells` turns it off, `kitty` on.
    pub fn of_terminal() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let known = set("KITTY_WINDOW_ID") || set("GHOSTTY_RESOURCES_DIR");
        let through = set("SSH_CONNECTION") || set("TMUX") || set("STY");
        let on = match std::env::var("STARLING_PICTURES").as_deref() {
            Ok("kitty") => true,
            Ok(_) => false,
            Err(_) => known && !through,
        };
        let size = window_size().ok();
        let cell = size.filter(|s| s.width > 0 && s.height > 0 && s.columns > 0 && s.rows > 0);
        let cell =
            cell.map_or((8, 16), |s| (u32::from(s.width / s.columns).max(1), u32::from(s.height / s.rows).max(1)));
        Self { on, cell, ..Self::default() }
    }

    /// Whether pictures are drawn as such.
    pub fn draws(&self) -> bool {
        self.on
    }

    /// How many pixels a place has room for.
    pub fn pixels(&self, area: Rect) -> (u32, u32) {
        let (columns, rows) = (u32::from(area.width), u32::from(area.height));
        if !self.on {
            return (columns, rows * 2);
        }
        ((columns * self.cell.0).min(MOST.0), (rows * self.cell.1).min(MOST.1))
    }

    /// A picture's place: its cells are left alone.
    pub fn place(&mut self, tile: Tile, picture: &Picture, buffer: &mut Buffer) {
        for y in tile.area.y..tile.area.y + tile.area.height {
            for x in tile.area.x..tile.area.x + tile.area.width {
                buffer[(x, y)].set_symbol(" ").set_diff_option(CellDiffOption::Skip);
            }
        }
        self.waiting.push((tile, picture.clone()));
    }

    /// Writes what was placed since the last time, and takes away what was not.
    pub fn write(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let gone: Vec<u8> = self
            .shown
            .iter()
            .filter(|(stream, area)| !waiting.iter().any(|(tile, _)| tile.stream == **stream && tile.area == **area))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in gone {
            self.shown.remove(&stream);
            write!(out, "\x1b_Ga=d,d=I,i={},q=2\x1b\\", id(stream))?;
        }
        for (tile, picture) in waiting {
            self.number += 1;
            let name = format!("/starling-{}-{}", std::process::id(), self.number);
            // Without room in shared memory, this frame is left out.
            if share(&name, &picture.rgb).is_err() {
                continue;
            }
            write!(
                out,
                "\x1b7\x1b[{};{}H\x1b_Ga=T,f=24,t=s,i={},p=1,s={},v={},c={},r={},C=1,q=2;{}\x1b\\\x1b8",
                tile.area.y + 1,
                tile.area.x + 1,
                id(tile.stream),
                picture.width,
                picture.height,
                tile.area.width,
                tile.area.height,
                BASE64.encode(name.as_bytes())
            )?;
            self.shown.insert(tile.stream, tile.area);
        }
        Ok(())
    }

    /// Takes everything away.
    pub fn clear(&mut self, out: &mut impl Write) {
        if self.on {
            self.waiting.clear();
            let _ = self.write(out);
            let _ = out.flush();
        }
    }
}

/// Ids of ours among other programs' in the same terminal.
fn id(stream: u8) -> u32 {
    0x57A2_0000 | (u32::from(stream) + 1)
}

/// The terminal takes the memory away when it has read it.
fn share(name: &str, bytes: &[u8]) -> std::io::Result<()> {
    use rustix::{fs::Mode, shm};
    let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDWR;
    let memory = shm::open(name, flags, Mode::RUSR | Mode::WUSR)?;
    File::from(memory).write_all(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_picture_is_written_where_its_tile_is_and_taken_away_when_it_is_gone() {
        let mut pictures = Pictures { on: true, cell: (8, 16), ..Pictures::default() };
        let area = Rect { x: 3, y: 2, width: 20, height: 5 };
        assert_eq!(pictures.pixels(area), (160, 80));
        let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width: 40, height: 20 });
        let picture = Picture { width: 2, height: 1, rgb: vec![255, 0, 0, 0, 255, 0] };
        pictures.place(Tile { stream: 0, area }, &picture, &mut buffer);
        let mut out = Vec::new();
        pictures.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\x1b[3;4H\x1b_Ga=T,f=24,t=s") && text.contains("s=2,v=1,c=20,r=5"), "{text:?}");
        // The pixels are in the memory that is named: a terminal would show them.
        let name = text.rsplit(';').next().unwrap().trim_end_matches("\x1b\\\x1b8");
        let name = String::from_utf8(BASE64.decode(name.as_bytes()).unwrap()).unwrap();
        let memory = rustix::shm::open(&name, rustix::shm::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        let mut seen = Vec::new();
        std::io::Read::read_to_end(&mut File::from(memory), &mut seen).unwrap();
        rustix::shm::unlink(&name).unwrap();
        assert_eq!(seen, picture.rgb);
        let mut out = Vec::new();
        pictures.write(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().starts_with("\x1b_Ga=d"));
    }
}
