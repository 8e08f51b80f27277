//! Pictures: what a frame is, where frames come from and where they go.

pub mod camera;
pub mod file;
pub mod h264;
pub mod mp4;
pub mod packets;
pub mod pattern;
pub mod receive;
pub mod send;

use std::time::Duration;

use crate::{MediaError, limits::MAX_DIMENSION};

/// A picture in I420 (planar Y, then U and V at half width and height), without padding. Width and height are even.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height * 3 / 2` bytes.
    pub data: Vec<u8>,
}

impl Frame {
    /// A black frame.
    pub fn black(width: usize, height: usize) -> Self {
        let mut frame = Self::default();
        frame.resize(width, height);
        frame.data[..width * height].fill(16);
        frame.data[width * height..].fill(128);
        frame
    }

    /// Makes room for another size; what was in it is undefined. Sizes are made even and bounded.
    pub fn resize(&mut self, width: usize, height: usize) {
        self.width = (width & !1).clamp(2, MAX_DIMENSION);
        self.height = (height & !1).clamp(2, MAX_DIMENSION);
        self.data.resize(self.width * self.height * 3 / 2, 128);
    }

    /// The three planes.
    pub fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        let luma = self.width * self.height;
        let (y, chroma) = self.data.split_at(luma);
        let (u, v) = chroma.split_at(luma / 4);
        (y, u, v)
    }

    /// The three planes, to be written.
    pub fn planes_mut(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let luma = self.width * self.height;
        let (y, chroma) = self.data.split_at_mut(luma);
        let (u, v) = chroma.split_at_mut(luma / 4);
        (y, u, v)
    }

    /// This picture in another size, by averaging what falls into a pixel (or repeating it). The shape is kept: what is left over is black.
    pub fn scaled(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let mut out = Self::black(width, height);
        // The largest even size of this shape that fits.
        let (mut w, mut h) = (out.width, (out.width * self.height / self.width.max(1)) & !1);
        if h > out.height {
            (w, h) = ((out.height * self.width / self.height.max(1)) & !1, out.height);
        }
        let (w, h) = (w.max(2), h.max(2));
        let (left, top) = (((out.width - w) / 2) & !1, ((out.height - h) / 2) & !1);
        let (from_width, from_height, to_width) = (self.width, self.height, out.width);
        let (sy, su, sv) = self.planes();
        let (dy, du, dv) = out.planes_mut();
        let half = |n: usize| n / 2;
        scale_plane((sy, from_width, from_height), (dy, to_width), (left, top, w, h));
        let chroma = (half(left), half(top), half(w), half(h));
        scale_plane((su, half(from_width), half(from_height)), (du, half(to_width)), chroma);
        scale_plane((sv, half(from_width), half(from_height)), (dv, half(to_width)), chroma);
        out
    }

    /// Lays another picture upon this one. What does not fit is left out.
    pub fn paste(&mut self, other: &Self, left: usize, top: usize) {
        let (left, top) = (left & !1, top & !1);
        let (to, from) = ((self.width, self.height), (other.width, other.height));
        let (dy, du, dv) = self.planes_mut();
        let (sy, su, sv) = other.planes();
        for (dst, src, part) in [(dy, sy, 1), (du, su, 2), (dv, sv, 2)] {
            let (left, top, width) = (left / part, top / part, to.0 / part);
            let length = (from.0 / part).min(width.saturating_sub(left));
            for row in 0..(from.1 / part).min((to.1 / part).saturating_sub(top)) {
                let (into, out) = ((top + row) * width + left, row * (from.0 / part));
                dst[into..into + length].copy_from_slice(&src[out..out + length]);
            }
        }
    }

    /// As 8-bit RGB, BT.601 limited range.
    pub fn to_rgb(&self) -> Vec<u8> {
        let (y, u, v) = self.planes();
        let mut out = Vec::with_capacity(self.width * self.height * 3);
        for row in 0..self.height {
            for column in 0..self.width {
                let luma = (i32::from(y[row * self.width + column]) - 16) * 298;
                let at = (row / 2) * (self.width / 2) + column / 2;
                let (cb, cr) = (i32::from(u[at]) - 128, i32::from(v[at]) - 128);
                let level = |value: i32| ((value + 128) >> 8).clamp(0, 255) as u8;
                out.extend([level(luma + 409 * cr), level(luma - 100 * cb - 208 * cr), level(luma + 516 * cb)]);
            }
        }
        out
    }
}

/// Box filter for shrinking, nearest for growing. `area` is (left, top, width, height) of the destination.
fn scale_plane(from: (&[u8], usize, usize), to: (&mut [u8], usize), area: (usize, usize, usize, usize)) {
    let ((src, src_width, src_height), (dst, dst_width), (left, top, width, height)) = (from, to, area);
    for row in 0..height {
        let y0 = row * src_height / height;
        let y1 = ((row + 1) * src_height / height).clamp(y0 + 1, src_height);
        for column in 0..width {
            let x0 = column * src_width / width;
            let x1 = ((column + 1) * src_width / width).clamp(x0 + 1, src_width);
            let mut sum = 0u32;
            for line in y0..y1 {
                sum += src[line * src_width + x0..line * src_width + x1].iter().map(|p| u32::from(*p)).sum::<u32>();
            }
            dst[(top + row) * dst_width + left + column] = (sum / ((y1 - y0) * (x1 - x0)) as u32) as u8;
        }
    }
}

/// Where pictures come from. Opened and used on a thread of its own; dropping it closes the device.
pub trait VideoSource {
    /// Waits until the next frame is there and writes it into `frame`. Gives false at the end.
    fn read(&mut self, frame: &mut Frame) -> Result<bool, MediaError>;
}

/// Where pictures go. Called on the thread that decodes: it must not wait.
pub trait VideoSink: Send {
    /// A frame was decoded; it is shown when its sound is played.
    fn decoded(&mut self, _frame: &Frame) {}
    /// Shows a frame that was captured at `at` of the sender's clock.
    fn show(&mut self, frame: &Frame, at: Duration) -> Result<(), MediaError>;
    /// Everything was shown: files are completed.
    fn finish(&mut self) -> Result<(), MediaError> {
        Ok(())
    }
}

/// Gives frames at a steady rate: waits until a frame is due, and skips those that can no longer be made in time.
#[derive(Debug)]
pub struct Pace {
    start: std::time::Instant,
    interval: Duration,
    next: u32,
}

impl Pace {
    /// The first frame is due now.
    pub fn new(interval: Duration) -> Self {
        Self { start: std::time::Instant::now(), interval, next: 0 }
    }

    /// Waits for the next frame's time and gives its number.
    pub fn wait(&mut self) -> u32 {
        let now = self.start.elapsed();
        let due = self.interval * self.next;
        match due.checked_sub(now) {
            Some(left) => std::thread::sleep(left),
            // After a pause (a suspended laptop) it goes on from now.
            None if now > due + self.interval * 2 => {
                self.next = (now.as_nanos() / self.interval.as_nanos().max(1)) as u32;
            }
            None => {}
        }
        let number = self.next;
        self.next += 1;
        number
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn scaling_keeps_the_shape_and_the_colours() {
        let mut frame = Frame::black(64, 32);
        frame.planes_mut().0.fill(200);
        let small = frame.scaled(16, 16);
        assert_eq!((small.width, small.height), (16, 16));
        // Black above and below, the picture between.
        assert_eq!(small.data[0], 16);
        assert_eq!(small.data[8 * 16 + 8], 200);
        assert_eq!(frame.scaled(64, 32), frame);
        assert_eq!(frame.scaled(640, 480).data[240 * 640 + 320], 200);
    }

    #[test]
    fn a_picture_is_pasted_where_it_fits() {
        let (mut large, mut small) = (Frame::black(16, 8), Frame::black(8, 4));
        small.planes_mut().0.fill(200);
        large.paste(&small, 12, 6);
        large.paste(&small, 99, 99);
        assert_eq!(large.data[..16 * 8].iter().filter(|p| **p == 200).count(), 4 * 2);
        assert_eq!(large.data[7 * 16 + 15], 200);
    }

    #[test]
    fn black_is_black() {
        assert!(Frame::black(8, 8).to_rgb().iter().all(|b| *b == 0));
    }
}
