//! A moving test picture that carries its number, so that a receiver can tell which frames came, in which order, and whether they were whole.
//!
//! The upper edge shows the number as 32 black or white cells, and below it a check of the number. Cells are a fortieth of the width, so
//! that the number survives scaling.

use std::time::Duration;

use serde::Serialize;

use super::{Frame, Pace, VideoSink, VideoSource};
use crate::MediaError;

/// Mixed into the check row, so that a black picture is no valid number.
const CHECK: u32 = 0xA5C3_5A3C;

fn check_of(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B1) ^ CHECK
}

/// Draws frame `number`.
pub fn draw(number: u32, frame: &mut Frame) {
    let (width, height) = (frame.width, frame.height);
    let t = number as usize;
    let (y, u, v) = frame.planes_mut();
    for (r, row) in y.chunks_exact_mut(width).enumerate() {
        for (c, pixel) in row.iter_mut().enumerate() {
            let gradient = (c + r * 2 + t * 3) & 0xff;
            let texture = ((c / 4) ^ (r / 4)).wrapping_mul(37) & 0x1f;
            *pixel = (32 + ((gradient * 160) >> 8) + texture) as u8;
        }
    }
    for r in 0..height / 2 {
        for c in 0..width / 2 {
            u[r * (width / 2) + c] = (96 + ((c + t) & 63)) as u8;
            v[r * (width / 2) + c] = (96 + ((r + t * 2) & 63)) as u8;
        }
    }
    // A chequered box that wanders below the number.
    let side = (width / 10).min(height / 3).max(2);
    let (left, top) = ((t * 5) % (width - side).max(1), height / 4 + (t * 3) % (height - height / 4 - side).max(1));
    for r in top..(top + side).min(height) {
        for c in left..(left + side).min(width) {
            let cell = (side / 8).max(1);
            y[r * width + c] = if ((r - top) / cell + (c - left) / cell) & 1 == 0 { 220 } else { 30 };
        }
    }
    for (line, word) in [(0, number), (1, check_of(number))] {
        for bit in 0..32 {
            let level = if word >> bit & 1 == 1 { 230 } else { 20 };
            let (x0, x1) = (bit * width / 40, (bit + 1) * width / 40);
            let (y0, y1) = (line * width / 40, ((line + 1) * width / 40).min(height));
            for r in y0..y1 {
                y[r * width + x0..r * width + x1].fill(level);
            }
        }
    }
}

/// Reads a frame's number; nothing if it is not whole.
pub fn read(frame: &Frame) -> Option<u32> {
    let (width, height) = (frame.width, frame.height);
    let (y, _, _) = frame.planes();
    let word = |line: usize| -> Option<u32> {
        (0..32).try_fold(0u32, |word, bit| {
            let x = (2 * bit + 1) * width / 80;
            let row = (2 * line + 1) * width / 80;
            (row < height).then(|| word | u32::from(y[row * width + x] > 128) << bit)
        })
    };
    let (number, check) = (word(0)?, word(1)?);
    (check_of(number) == check).then_some(number)
}

/// The pattern at a size and rate.
#[derive(Debug)]
pub struct Pattern {
    width: usize,
    height: usize,
    pace: Pace,
}

impl Pattern {
    /// A source that begins now.
    pub fn new(width: usize, height: usize, frames_per_second: u32) -> Self {
        Self { width, height, pace: Pace::new(Duration::from_secs(1) / frames_per_second.max(1)) }
    }
}

impl VideoSource for Pattern {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, MediaError> {
        let number = self.pace.wait();
        frame.resize(self.width, self.height);
        draw(number, frame);
        Ok(true)
    }
}

/// What a receiver saw of the pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PatternSeen {
    /// Number of the first frame with a number.
    pub first: u32,
    /// Number of the last one.
    pub last: u32,
    /// Frames with a number.
    pub received: u64,
    /// Numbers that were jumped over.
    pub gaps: u64,
    /// Frames whose number was not above the one before.
    pub out_of_order: u64,
    /// Frames without a readable number.
    pub bad: u64,
}

impl PatternSeen {
    /// Takes one more frame into account, and gives its number.
    pub fn saw(&mut self, frame: &Frame) -> Option<u32> {
        let Some(number) = read(frame) else {
            self.bad += 1;
            return None;
        };
        if self.received == 0 {
            self.first = number;
        } else if number <= self.last {
            self.out_of_order += 1;
        } else {
            self.gaps += u64::from(number - self.last - 1);
        }
        self.last = number;
        self.received += 1;
        Some(number)
    }
}

/// Looks at each frame for the pattern's number.
#[derive(Debug, Default)]
pub struct PatternCheck(
    /// What was seen so far.
    pub PatternSeen,
);

impl VideoSink for PatternCheck {
    fn show(&mut self, frame: &Frame, _at: Duration) -> Result<(), MediaError> {
        self.0.saw(frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_number_survives_sizes_and_scaling() {
        for (width, height) in [(160, 90), (320, 180), (426, 240), (640, 360), (1280, 720)] {
            let mut frame = Frame::black(width, height);
            for number in [0, 1, 77, 0xffff_ffff] {
                draw(number, &mut frame);
                assert_eq!(read(&frame), Some(number), "{width}x{height}");
                assert_eq!(read(&frame.scaled(320, 180)), Some(number), "{width}x{height} scaled");
            }
        }
    }

    #[test]
    fn a_picture_without_a_number_has_none() {
        assert_eq!(read(&Frame::black(640, 360)), None);
        let mut white = Frame::black(640, 360);
        white.planes_mut().0.fill(235);
        assert_eq!(read(&white), None);
    }

    #[test]
    fn gaps_and_order_are_counted() {
        let mut seen = PatternSeen::default();
        let mut frame = Frame::black(320, 180);
        for number in [5, 6, 9, 8] {
            draw(number, &mut frame);
            seen.saw(&frame);
        }
        assert_eq!(seen, PatternSeen { first: 5, last: 8, received: 4, gaps: 2, out_of_order: 1, bad: 0 });
    }
}
