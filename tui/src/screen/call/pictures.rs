//! Pictures as pictures: in terminals with kitty's graphics protocol through shared memory, in those with sixels as such.
//!
//! Cells of a picture are left out of ratatui's drawing; after each drawing the newest pictures are written, in one synchronized update.

use std::{collections::HashMap, fs::File, io::Write, time::Duration};

use data_encoding::BASE64;
use icy_sixel::{EncodeOptions, sixel_encode};
use ratatui::{
    buffer::{Buffer, CellDiffOption},
    crossterm::terminal::window_size,
    layout::Rect,
};

use super::{Picture, Tile};

/// The largest picture that is drawn: more is not seen in a terminal.
const MAX_SIZE: (u32, u32) = (640, 360);
/// As sixels: each pixel is some bytes.
const MAX_SIXELS: (u32, u32) = (480, 270);
/// Colours of a picture in sixels.
const SIXEL_COLOURS: u16 = 64;
/// A terminal on this machine answers sooner.
const ANSWER: Duration = Duration::from_millis(100);

/// How a terminal shows pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GraphicsProtocol {
    /// As cells of half blocks.
    #[default]
    Cells,
    /// Kitty's graphics protocol, through shared memory, and so only on the same machine.
    Kitty,
    /// DEC's sixels.
    Sixel,
}

impl GraphicsProtocol {
    /// The best that this terminal has: not through ssh, tmux or screen. `STARLING_PICTURES=cells`, `kitty` or `sixel` decides.
    pub fn of_terminal() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        match std::env::var("STARLING_PICTURES").as_deref() {
            Ok("kitty") => return Self::Kitty,
            Ok("sixel") => return Self::Sixel,
            Ok(_) => return Self::Cells,
            Err(_) => {}
        }
        if set("SSH_CONNECTION") || set("TMUX") || set("STY") {
            Self::Cells
        } else if set("KITTY_WINDOW_ID") || set("GHOSTTY_RESOURCES_DIR") {
            Self::Kitty
        } else if has_sixels().unwrap_or(false) {
            Self::Sixel
        } else {
            Self::Cells
        }
    }

    /// Its name for users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cells => "half blocks",
            Self::Kitty => "pictures (kitty graphics)",
            Self::Sixel => "pictures (sixels)",
        }
    }
}

/// Asks the terminal what it is (primary device attributes); 4 among them are sixels.
fn has_sixels() -> Option<bool> {
    use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode, is_raw_mode_enabled};
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        stdio,
    };
    if !rustix::termios::isatty(stdio::stdin()) || !rustix::termios::isatty(stdio::stdout()) {
        return None;
    }
    let raw = is_raw_mode_enabled().ok()?;
    if !raw {
        enable_raw_mode().ok()?;
    }
    let mut answer = Vec::new();
    let asked = std::io::stdout().write_all(b"\x1b[c").and_then(|()| std::io::stdout().flush());
    let timeout = Timespec::try_from(ANSWER).ok();
    while asked.is_ok() && !answer.ends_with(b"c") && answer.len() < 64 {
        let mut ready = [PollFd::from_borrowed_fd(stdio::stdin(), PollFlags::IN)];
        let mut byte = [0];
        match poll(&mut ready, timeout.as_ref()) {
            Ok(1..) if rustix::io::read(stdio::stdin(), &mut byte).is_ok_and(|n| n == 1) => answer.push(byte[0]),
            _ => break,
        }
    }
    if !raw {
        let _ = disable_raw_mode();
    }
    Some(attributes(&answer)?.any(|a| a == "4"))
}

/// What a terminal says of itself.
fn attributes(answer: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let text = std::str::from_utf8(answer).ok()?;
    Some(text.rsplit_once("\x1b[?")?.1.strip_suffix('c')?.split(';'))
}

/// What is shown where.
#[derive(Debug, Default)]
pub struct Pictures {
    protocol: GraphicsProtocol,
    /// Pixels of a cell.
    cell: (u32, u32),
    waiting: Vec<(Tile, Picture)>,
    /// Where each stream is shown, and which picture.
    shown: HashMap<u8, (Rect, u64)>,
    /// Of the last shared memory, and what tells ours from others'.
    number: u64,
    key: u64,
}

/// A terminal has read a picture's memory, and taken it away, before so many more were shared.
const UNREAD: u64 = 8;

impl Pictures {
    /// For this terminal.
    pub fn of_terminal() -> Self {
        let size = window_size().ok();
        let cell = size.filter(|s| s.width > 0 && s.height > 0 && s.columns > 0 && s.rows > 0);
        let cell =
            cell.map_or((8, 16), |s| (u32::from(s.width / s.columns).max(1), u32::from(s.height / s.rows).max(1)));
        Self::new(GraphicsProtocol::of_terminal(), cell)
    }

    /// For a terminal whose cells have so many pixels.
    pub fn new(protocol: GraphicsProtocol, cell: (u32, u32)) -> Self {
        Self { protocol, cell, key: rand::random(), ..Self::default() }
    }

    /// Whether pictures are drawn as such.
    pub fn draws(&self) -> bool {
        self.protocol != GraphicsProtocol::Cells
    }

    /// How many pixels a place has room for.
    pub fn pixels(&self, area: Rect) -> (u32, u32) {
        let (columns, rows) = (u32::from(area.width), u32::from(area.height));
        let most = match self.protocol {
            GraphicsProtocol::Cells => return (columns, rows * 2),
            GraphicsProtocol::Kitty => MAX_SIZE,
            GraphicsProtocol::Sixel => MAX_SIXELS,
        };
        ((columns * self.cell.0).min(most.0), (rows * self.cell.1).min(most.1))
    }

    /// The cells that a picture covers. Kitty's are stretched over all of a tile, sixels are as large as they are.
    fn covered(&self, area: Rect, picture: &Picture) -> Rect {
        if self.protocol == GraphicsProtocol::Kitty {
            return area;
        }
        let cells = |pixels: u16, cell: u32| u32::from(pixels).div_ceil(cell.max(1)).min(u32::from(u16::MAX)) as u16;
        let width = cells(picture.width, self.cell.0).min(area.width);
        let height = cells(picture.height, self.cell.1).min(area.height);
        let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
        Rect { x, y, width, height }
    }

    /// Whether a picture can be drawn in a tile: sixels are as large as they are, and one of before may be larger.
    pub fn fits(&self, area: Rect, picture: &Picture) -> bool {
        let most = |cells: u16, pixels: u32| u32::from(cells) * pixels;
        self.protocol == GraphicsProtocol::Kitty
            || (u32::from(picture.width) <= most(area.width, self.cell.0)
                && u32::from(picture.height) <= most(area.height, self.cell.1))
    }

    /// A picture's place: its cells are left alone.
    pub fn place(&mut self, tile: Tile, picture: &Picture, buffer: &mut Buffer) {
        let area = self.covered(tile.area, picture);
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                buffer[(x, y)].set_symbol(" ").set_diff_option(CellDiffOption::Skip);
            }
        }
        self.waiting.push((Tile { area, ..tile }, picture.clone()));
    }

    /// Writes what was placed since the last time, and takes away what was not. Gives whether cells have to be drawn again: sixels go only
    /// when something is written over them.
    pub fn write(&mut self, out: &mut impl Write) -> std::io::Result<bool> {
        let waiting = std::mem::take(&mut self.waiting);
        let gone: Vec<u8> = self
            .shown
            .iter()
            .filter(|(stream, (area, _))| {
                !waiting.iter().any(|(tile, _)| tile.stream == **stream && tile.area == *area)
            })
            .map(|(stream, _)| *stream)
            .collect();
        let redraw = self.protocol == GraphicsProtocol::Sixel && !gone.is_empty();
        for stream in gone {
            self.shown.remove(&stream);
            if self.protocol == GraphicsProtocol::Kitty {
                write!(out, "\x1b_Ga=d,d=I,i={},q=2\x1b\\", id(stream))?;
            }
        }
        for (tile, picture) in waiting {
            // Keys and clocks draw the screen, too: nothing is written for them.
            if self.shown.get(&tile.stream) == Some(&(tile.area, picture.number)) {
                continue;
            }
            let drawn = match self.protocol {
                GraphicsProtocol::Kitty => self.kitty(&tile, &picture),
                _ => sixel(&picture),
            };
            // Without room in shared memory, this frame is left out.
            let Some(drawn) = drawn else { continue };
            write!(out, "\x1b7\x1b[{};{}H{drawn}\x1b8", tile.area.y + 1, tile.area.x + 1)?;
            self.shown.insert(tile.stream, (tile.area, picture.number));
        }
        Ok(redraw)
    }

    fn kitty(&mut self, tile: &Tile, picture: &Picture) -> Option<String> {
        self.number += 1;
        if self.number > UNREAD && rustix::shm::unlink(self.memory(self.number - UNREAD)).is_ok() {
            // Nobody reads them: it is another terminal than it seems.
            self.forget();
            self.protocol = GraphicsProtocol::Cells;
            return None;
        }
        let name = self.memory(self.number);
        share(&name, &picture.rgb).ok()?;
        Some(format!(
            "\x1b_Ga=T,f=24,t=s,i={},p=1,s={},v={},c={},r={},C=1,q=2;{}\x1b\\",
            id(tile.stream),
            picture.width,
            picture.height,
            tile.area.width,
            tile.area.height,
            BASE64.encode(name.as_bytes())
        ))
    }

    /// Name of the shared memory of a picture.
    fn memory(&self, number: u64) -> String {
        format!("/starling-{:016x}-{number}", self.key)
    }

    /// Frees the memory of pictures that no terminal has read.
    pub fn forget(&mut self) {
        for number in self.number.saturating_sub(UNREAD).max(1)..=self.number {
            let _ = rustix::shm::unlink(self.memory(number));
        }
    }

    /// Takes everything away.
    pub fn clear(&mut self, out: &mut impl Write) {
        if self.draws() {
            self.waiting.clear();
            let _ = self.write(out);
            let _ = out.flush();
            self.forget();
        }
    }
}

/// A picture as sixels.
fn sixel(picture: &Picture) -> Option<String> {
    let rgba: Vec<u8> = picture.rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
    let options = EncodeOptions { max_colors: SIXEL_COLOURS, diffusion: 0.0, ..EncodeOptions::default() };
    sixel_encode(&rgba, picture.width.into(), picture.height.into(), &options).ok()
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
        let mut pictures = Pictures::new(GraphicsProtocol::Kitty, (8, 16));
        let area = Rect { x: 3, y: 2, width: 20, height: 5 };
        assert_eq!(pictures.pixels(area), (160, 80));
        let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width: 40, height: 20 });
        let picture = Picture { number: 1, width: 2, height: 1, rgb: vec![255, 0, 0, 0, 255, 0] };
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
    #[test]
    fn sixels_are_a_picture_again_and_stay_in_their_tile() {
        let mut pictures = Pictures::new(GraphicsProtocol::Sixel, (8, 16));
        let area = Rect { x: 3, y: 2, width: 200, height: 50 };
        assert_eq!(pictures.pixels(area), MAX_SIXELS);
        let mut picture = Picture { number: 1, width: 480, height: 270, rgb: Vec::new() };
        for y in 0..270u32 {
            picture.rgb.extend((0..480u32).flat_map(|x| [(x / 2) as u8, (y * 255 / 270) as u8, 60]));
        }
        let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width: 210, height: 60 });
        pictures.place(Tile { stream: 0, area }, &picture, &mut buffer);
        let mut out = Vec::new();
        assert!(!pictures.write(&mut out).unwrap());
        let text = String::from_utf8(out).unwrap();
        // In the middle of the tile.
        let body = text.strip_prefix("\x1b7\x1b[19;74H").unwrap().strip_suffix("\x1b8").unwrap();
        let seen = icy_sixel::SixelImage::decode(body.as_bytes()).unwrap();
        assert_eq!((seen.width, seen.height), (480, 270));
        let off: u64 = (seen.pixels.chunks(4).zip(picture.rgb.chunks(3)))
            .map(|(a, b)| (0..3).map(|i| u64::from(a[i].abs_diff(b[i]))).sum::<u64>())
            .sum();
        assert!(off / (480 * 270 * 3) < 16, "{}", off / (480 * 270 * 3));
        // The same once more: nothing is written.
        pictures.place(Tile { stream: 0, area }, &picture, &mut buffer);
        let mut out = Vec::new();
        assert!(!pictures.write(&mut out).unwrap() && out.is_empty());
        assert!(!pictures.fits(Rect { width: 20, ..area }, &picture));
        // Gone: what was below is drawn again.
        assert!(pictures.write(&mut Vec::new()).unwrap());
    }

    #[test]
    fn a_terminal_that_reads_no_memory_gets_cells() {
        let mut pictures = Pictures::new(GraphicsProtocol::Kitty, (8, 16));
        let (area, mut buffer) = (Rect { x: 0, y: 0, width: 4, height: 2 }, Buffer::empty(Rect::new(0, 0, 9, 9)));
        for number in 1..=2 * UNREAD {
            let picture = Picture { number, width: 1, height: 1, rgb: vec![9; 3] };
            if pictures.draws() {
                pictures.place(Tile { stream: 0, area }, &picture, &mut buffer);
            }
            pictures.write(&mut Vec::new()).unwrap();
        }
        assert!(!pictures.draws());
        for number in 1..=2 * UNREAD {
            assert!(rustix::shm::unlink(pictures.memory(number)).is_err(), "memory {number} is left");
        }
    }

    #[test]
    fn what_a_terminal_says_of_itself_is_understood() {
        let of = |answer: &[u8]| attributes(answer).map(|a| a.map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of(b"\x1b[?62;4;22c"), Some(vec!["62".into(), "4".into(), "22".into()]));
        assert_eq!(of(b"x\x1b[?1;2c"), Some(vec!["1".into(), "2".into()]));
        assert_eq!((of(b""), of(b"\xff"), of(b"\x1b[?62;4")), (None, None, None));
    }
}
