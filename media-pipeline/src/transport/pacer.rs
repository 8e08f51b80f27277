//! When packets leave: sound at once, video spread over time, and none that is old.
//!
//! A state machine, time passed in. Each route has one.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

/// Video leaves at so many times the rate that is aimed at: a frame should not take longer than until the next one.
const FACTOR: f64 = 2.0;
/// With so much waiting, the rate has fallen: now at exactly the target, or the queue only moves into the network.
const CALM: Duration = Duration::from_millis(150);
/// Video that would wait longer is dropped, up to the next key frame.
const LONGEST: Duration = Duration::from_millis(250);
/// What may leave at once.
const BURST: Duration = Duration::from_millis(5);

/// A video packet that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its payload.
    pub payload: Bytes,
    /// Time stamp in the clock of the stream.
    pub timestamp: u32,
    /// Last packet of its frame.
    pub marker: bool,
}

/// The pacer.
#[derive(Debug)]
pub struct Pacer {
    queue: VecDeque<Waiting>,
    bytes: usize,
    rate: f64,
    probing: bool,
    /// When the packets that left have been paid for.
    paid: Option<Instant>,
    dropped_frames: u64,
}

impl Pacer {
    /// An empty one.
    pub fn new(target: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            rate: f64::from(target) * FACTOR,
            probing: false,
            paid: None,
            dropped_frames: 0,
        }
    }

    /// Bits a second that are aimed at.
    pub fn set_target(&mut self, target: u32) {
        (self.rate, self.probing) = (f64::from(target.max(1)) * FACTOR, false);
    }

    /// Leaves at exactly this rate until the next target: for a probe.
    pub fn set_rate(&mut self, rate: f64) {
        (self.rate, self.probing) = (rate.max(1.0), true);
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packets that wait.
    pub fn packets(&self) -> usize {
        self.queue.len()
    }

    /// How long what waits will take.
    pub fn backlog(&self) -> Duration {
        Duration::from_secs_f64(self.bytes as f64 * 8.0 / self.rate)
    }

    /// Frames that were dropped because they would have been late.
    pub fn dropped_frames(&self) -> u64 {
        self.dropped_frames
    }

    /// Takes a frame's packets. Gives false if it was dropped: then a key frame is needed.
    pub fn push(&mut self, packets: impl IntoIterator<Item = Waiting>, key: bool) -> bool {
        if self.backlog() > LONGEST {
            self.dropped_frames += 1;
            if !key {
                return false;
            }
            // A key frame makes what waits before it useless. A frame that has begun is left broken: the receiver gives it up.
            self.queue.clear();
            self.bytes = 0;
        }
        for packet in packets {
            self.bytes += packet.payload.len();
            self.queue.push_back(packet);
        }
        true
    }

    /// When the next packet may leave; nothing if none waits.
    pub fn due(&self) -> Option<Instant> {
        self.queue.front()?;
        self.paid
    }

    /// The next packet, if it may leave now.
    pub fn pop(&mut self, now: Instant) -> Option<Waiting> {
        // Unused time is not saved, but for a little.
        let paid = self.paid.map_or(now, |paid| paid.max(now - BURST.min(Duration::from_millis(5))));
        if paid > now {
            return None;
        }
        let packet = self.queue.pop_front()?;
        self.bytes -= packet.payload.len();
        let rate = if self.backlog() > CALM && !self.probing { self.rate / FACTOR } else { self.rate };
        self.paid = Some(paid + Duration::from_secs_f64(packet.payload.len() as f64 * 8.0 / rate));
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(packets: usize) -> Vec<Waiting> {
        (0..packets)
            .map(|i| Waiting { payload: Bytes::from_static(&[0; 1_000]), timestamp: 0, marker: i + 1 == packets })
            .collect()
    }

    #[test]
    fn packets_leave_at_the_rate() {
        let start = Instant::now();
        let mut pacer = Pacer::new(400_000);
        assert!(pacer.push(frame(20), false));
        let mut left = Vec::new();
        for ms in 0..400 {
            while pacer.pop(start + Duration::from_millis(ms)).is_some() {
                left.push(ms);
            }
        }
        assert_eq!(left.len(), 20);
        // 20 kB: at 400 kbit/s while much waits, the rest at 800.
        // 20 kB: at 400 kbit/s while much waits, the rest at 800.
        assert!((200..=260).contains(&left[19]), "{left:?}");
    }

    #[test]
    fn old_video_goes_first() {
        let mut pacer = Pacer::new(100_000);
        assert!(pacer.push(frame(8), false));
        assert!(!pacer.push(frame(1), false), "it would be late");
        assert!(pacer.push(frame(2), true), "a key frame takes the place of what waits");
        assert_eq!(pacer.queue.len(), 2);
        assert_eq!(pacer.dropped_frames(), 2);
    }
}
