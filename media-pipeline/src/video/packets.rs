//! Frames into RTP packets and back (RFC 6184, packetization mode 1).
//!
//! The assembler gives a frame as soon as its last packet is there (marker bit), without waiting for the next one. Its state is bounded,
//! whatever arrives.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use rtc::rtp::{codec::h264::H264Payloader, packetizer::Payloader};

use crate::{
    MediaError,
    limits::{MAX_ASSEMBLY_PACKETS, MAX_FRAME_BYTES, RTP_PAYLOAD},
};

const START_CODE: [u8; 4] = [0, 0, 0, 1];
const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const FILLER: u8 = 12;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The payloads of a frame's packets, in order; the last one gets the marker.
pub fn payloads(annexb: &Bytes) -> Result<Vec<Bytes>, MediaError> {
    H264Payloader::default().payload(RTP_PAYLOAD, annexb).map_err(|e| MediaError::Codec(format!("H.264 packets: {e}")))
}

/// A payload that means nothing (filler data, type 12), to fill a burst that measures the path.
pub fn filler(length: usize) -> Bytes {
    let mut unit = vec![0xff; length];
    if let Some(first) = unit.first_mut() {
        *first = FILLER;
    }
    unit.into()
}

/// What is needed of a received RTP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Sequence number.
    pub sequence: u16,
    /// Time stamp in the clock of the stream.
    pub timestamp: u32,
    /// Last packet of a frame.
    pub marker: bool,
    /// What it carries.
    pub payload: Bytes,
}

/// A whole frame.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// NAL units with start codes.
    pub annexb: Bytes,
    /// RTP time stamp (90 kHz).
    pub timestamp: u32,
    /// It can be decoded without any other.
    pub key: bool,
}

/// What the assembler gives.
#[derive(Clone, Debug)]
pub enum AssemblerOutput {
    /// The next frame.
    Frame(Assembled),
    /// Frames are missing: nothing can be decoded until a key frame.
    Lost,
}

/// Puts packets in order and frames together.
#[derive(Debug)]
pub struct Assembler {
    waiting: BTreeMap<u64, (Packet, Instant)>,
    /// Extended sequence number of the next packet.
    next: Option<u64>,
    highest: u64,
    patience: Duration,
}

impl Assembler {
    /// An assembler that waits so long for a missing packet.
    pub fn new(patience: Duration) -> Self {
        Self { waiting: BTreeMap::new(), next: None, highest: 0, patience }
    }

    /// From now on it waits so long.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Takes a packet.
    pub fn push(&mut self, packet: Packet, now: Instant) {
        if packet.payload.is_empty() && self.next.is_none() {
            return;
        }
        let at = match self.next {
            // Room below, for packets that were overtaken at the start.
            None => u64::from(packet.sequence) + (1 << 20),
            Some(_) => {
                let step = i64::from(packet.sequence.wrapping_sub(self.highest as u16) as i16);
                self.highest.saturating_add_signed(step)
            }
        };
        let next = *self.next.get_or_insert(at);
        if at < next {
            return;
        }
        if at > next + MAX_ASSEMBLY_PACKETS as u64 {
            // The stream jumped: what waits can never become whole.
            self.waiting.clear();
            self.next = Some(at);
            self.highest = at;
            self.waiting.insert(at, (packet, now - self.patience));
            return;
        }
        self.highest = self.highest.max(at);
        self.waiting.insert(at, (packet, now));
    }

    /// The next frame, if it is whole; or that something was given up.
    pub fn pop(&mut self, now: Instant) -> Option<AssemblerOutput> {
        let next = self.next?;
        let mut end = next;
        while let Some((packet, _)) = self.waiting.get(&end) {
            if packet.marker {
                return Some(self.take(next, end));
            }
            end += 1;
        }
        // A hole, or a frame that goes on: give up after a while, or when too much waits behind it.
        let (_, (_, since)) = self.waiting.range(end..).next().or_else(|| self.waiting.first_key_value())?;
        let hole = self.waiting.range(end..).next().is_some();
        let late = hole && now.saturating_duration_since(*since) > self.patience;
        if !late && self.waiting.len() < MAX_ASSEMBLY_PACKETS {
            return None;
        }
        let resume = self.waiting.range(end..).find(|(_, (packet, _))| packet.marker).map(|(at, _)| at + 1);
        // The end of the broken frame is not there yet: what is there is useless, and the next packet begins a frame.
        let resume = resume.unwrap_or(self.highest + 1);
        self.waiting = self.waiting.split_off(&resume);
        self.next = Some(resume);
        Some(AssemblerOutput::Lost)
    }

    /// When a hole will be given up.
    pub fn due(&self) -> Option<Instant> {
        let next = self.next?;
        let mut end = next;
        while self.waiting.contains_key(&end) {
            end += 1;
        }
        self.waiting.range(end..).next().map(|(_, (_, since))| *since + self.patience)
    }

    fn take(&mut self, first: u64, last: u64) -> AssemblerOutput {
        self.next = Some(last + 1);
        let rest = self.waiting.split_off(&(last + 1));
        let packets = std::mem::replace(&mut self.waiting, rest);
        let timestamp = packets.last_key_value().map_or(0, |(_, (packet, _))| packet.timestamp);
        let mut frame = Annexb::default();
        let (mut whole, mut broken) = (true, false);
        for (_, (packet, _)) in packets.range(first..) {
            if packet.timestamp == timestamp {
                whole &= frame.add(&packet.payload);
            } else {
                // The beginning of a frame whose end was never sent.
                broken = true;
            }
        }
        whole &= frame.key || !broken;
        if !whole || frame.open || frame.bytes.len() > MAX_FRAME_BYTES {
            return AssemblerOutput::Lost;
        }
        AssemblerOutput::Frame(Assembled { annexb: frame.bytes.freeze(), timestamp, key: frame.key })
    }
}

#[derive(Default)]
struct Annexb {
    bytes: BytesMut,
    key: bool,
    /// A fragmented unit has begun and not ended.
    open: bool,
}

impl Annexb {
    fn unit(&mut self, kind: u8) {
        self.key |= matches!(kind & 0x1f, NAL_IDR | NAL_SPS);
        self.bytes.put_slice(&START_CODE);
    }

    /// Adds a payload. Gives false for one that cannot be part of a whole frame.
    fn add(&mut self, payload: &[u8]) -> bool {
        let [head, rest @ ..] = payload else {
            return true;
        };
        if self.bytes.len() + payload.len() > MAX_FRAME_BYTES {
            return false;
        }
        match head & 0x1f {
            STAP_A => {
                let mut rest = rest;
                while let [high, low, tail @ ..] = rest {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let Some((unit, tail)) = tail.split_at_checked(length) else { return false };
                    let Some(kind) = unit.first() else { return false };
                    self.unit(*kind);
                    self.bytes.put_slice(unit);
                    rest = tail;
                }
                !self.open
            }
            FU_A => {
                let [flags, data @ ..] = rest else { return false };
                let (starts, ends) = (flags & 0x80 != 0, flags & 0x40 != 0);
                if starts == self.open {
                    return false;
                }
                if starts {
                    self.unit(*flags);
                    self.bytes.put_u8((head & 0xe0) | (flags & 0x1f));
                }
                self.open = !ends;
                self.bytes.put_slice(data);
                true
            }
            FILLER => true,
            1..=23 => {
                self.unit(*head);
                self.bytes.put_slice(payload);
                !self.open
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::{super::Frame, super::h264::Encoder, super::pattern, *};

    fn stream(frames: u32) -> Vec<Packet> {
        let mut encoder = Encoder::new(640, 360, 30, 1_500_000).unwrap();
        let mut frame = Frame::black(640, 360);
        let mut packets = Vec::new();
        for number in 0..frames {
            pattern::draw(number, &mut frame);
            let Some(encoded) = encoder.encode(&frame, f64::from(number) * 33.3).unwrap() else { continue };
            let payloads = payloads(&encoded.annexb.into()).unwrap();
            let count = payloads.len();
            for (i, payload) in payloads.into_iter().enumerate() {
                let sequence = 65_530u16.wrapping_add(packets.len() as u16);
                packets.push(Packet { sequence, timestamp: number * 3000, marker: i + 1 == count, payload });
            }
        }
        packets
    }

    fn frames(assembler: &mut Assembler, now: Instant) -> (Vec<u32>, usize) {
        let (mut whole, mut lost) = (Vec::new(), 0);
        while let Some(piece) = assembler.pop(now) {
            match piece {
                AssemblerOutput::Frame(frame) => whole.push(frame.timestamp / 3000),
                AssemblerOutput::Lost => lost += 1,
            }
        }
        (whole, lost)
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let mut packets = stream(20);
        let count = packets.iter().filter(|p| p.marker).count();
        for pair in packets[2..].chunks_mut(2) {
            pair.reverse();
        }
        let mut assembler = Assembler::new(Duration::from_millis(100));
        let now = Instant::now();
        let mut whole = Vec::new();
        for packet in packets {
            assembler.push(packet.clone(), now);
            assembler.push(packet, now);
            whole.extend(frames(&mut assembler, now).0);
        }
        assert_eq!(whole.len(), count);
        assert!(whole.is_sorted());
    }

    #[test]
    fn a_hole_is_given_up_after_a_while_and_told() {
        let packets = stream(20);
        let gone = packets.iter().position(|p| p.timestamp == 3000 * 5).unwrap();
        let mut assembler = Assembler::new(Duration::from_millis(100));
        let now = Instant::now();
        for (i, packet) in packets.iter().enumerate() {
            if i != gone {
                assembler.push(packet.clone(), now);
            }
        }
        let (before, lost) = frames(&mut assembler, now);
        assert_eq!((before.last(), lost), (Some(&4), 0));
        let (after, lost) = frames(&mut assembler, now + Duration::from_millis(101));
        assert_eq!((after.first(), lost), (Some(&6), 1));
    }

    #[test]
    fn a_frame_whose_end_was_never_sent_is_not_mixed_into_the_next() {
        let packet = |sequence, timestamp, marker, kind| {
            let payload = Bytes::copy_from_slice(&[0x60 | kind, 1, 2, 3]);
            Packet { sequence, timestamp, marker, payload }
        };
        let now = Instant::now();
        for (kind, expected) in [(1, (0, 1)), (NAL_IDR, (1, 0))] {
            let mut assembler = Assembler::new(Duration::from_millis(100));
            assembler.push(packet(1, 3_000, false, 1), now);
            assembler.push(packet(2, 6_000, true, kind), now);
            let (whole, lost) = frames(&mut assembler, now);
            assert_eq!((whole.len(), lost), expected, "of kind {kind}");
        }
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut assembler = Assembler::new(Duration::from_secs(3600));
        let now = Instant::now();
        for n in 0..200_000u32 {
            let payload = Bytes::from_static(&[0x41; 100]);
            let sequence = n.wrapping_mul(7919) as u16;
            assembler.push(Packet { sequence, timestamp: n, marker: false, payload }, now);
            while assembler.pop(now).is_some() {}
            assert!(assembler.waiting.len() <= MAX_ASSEMBLY_PACKETS + 1);
        }
    }
}
