//! H.264 (constrained baseline, RFC 6184 packetization mode 1) through OpenH264.
//!
//! The library has no safe way to change the bit rate of a running encoder. Its rate control by time stamps spends `bits × time between
//! frames`, so we stretch or shrink the time that it is told: half the time, half the bits.

use openh264::{
    OpenH264API, Timestamp,
    decoder::{Decoder as Decode, DecoderConfig, Flush},
    encoder::{
        BitRate, Complexity, Encoder as Encode, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile,
        RateControlMode, UsageType,
    },
    formats::{YUVSlices, YUVSource},
};

use super::Frame;
use crate::{MediaError, limits::MAX_DIMENSION};

/// One encoded picture.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// NAL units with start codes (Annex B).
    pub annexb: Vec<u8>,
    /// It can be decoded without any other.
    pub key: bool,
}

/// An encoder for one size of pictures.
pub struct Encoder {
    inner: Encode,
    size: (usize, usize),
    /// Bits a second that the library was set up for.
    base: f64,
    bits: f64,
    /// Time that the library was told, in milliseconds.
    told: f64,
    last: Option<f64>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("size", &self.size).field("bits", &self.bits).finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder that aims at `bits` a second.
    pub fn new(width: usize, height: usize, frames_per_second: u32, bits: u32) -> Result<Self, MediaError> {
        // The middle of what this size is used with, so that steps go as far up as down.
        let base = (width * height) as f64 * 4.0;
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(base as u32))
            .max_frame_rate(FrameRate::from_hz(frames_per_second as f32))
            .rate_control_mode(RateControlMode::Timestamp)
            .usage_type(UsageType::CameraVideoRealTime)
            .skip_frames(true)
            .complexity(Complexity::Low)
            .profile(Profile::Baseline)
            .num_threads(1)
            .scene_change_detect(false)
            // Key frames are made when they are asked for.
            .intra_frame_period(IntraFramePeriod::from_num_frames(0));
        let inner = Encode::with_api_config(OpenH264API::from_source(), config).map_err(codec)?;
        Ok(Self { inner, size: (width, height), base, bits: f64::from(bits), told: 0.0, last: None })
    }

    /// Width and height of the pictures.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// From now on so many bits a second.
    pub fn set_bits(&mut self, bits: u32) {
        self.bits = f64::from(bits);
    }

    /// The next picture will be a key frame.
    pub fn force_key(&mut self) {
        self.inner.force_intra_frame();
    }

    /// Encodes a picture taken at `at_ms`; nothing if the rate control leaves it out. A picture of another size is scaled.
    pub fn encode(&mut self, frame: &Frame, at_ms: f64) -> Result<Option<Encoded>, MediaError> {
        let scaled;
        let frame = if (frame.width, frame.height) == self.size {
            frame
        } else {
            scaled = frame.scaled(self.size.0, self.size.1);
            &scaled
        };
        // A pause (a muted camera) is not saved up for later.
        let passed = self.last.map_or(33.0, |last| (at_ms - last).clamp(1.0, 200.0));
        self.last = Some(at_ms);
        self.told += passed * self.bits / self.base;
        let (y, u, v) = frame.planes();
        let (width, height) = self.size;
        let source = YUVSlices::new((y, u, v), (width, height), (width, width / 2, width / 2));
        let stream = self.inner.encode_at(&source, Timestamp::from_millis(self.told as u64)).map_err(codec)?;
        let kind = stream.frame_type();
        let annexb = stream.to_vec();
        if annexb.is_empty() || matches!(kind, FrameType::Skip | FrameType::Invalid) {
            return Ok(None);
        }
        Ok(Some(Encoded { annexb, key: matches!(kind, FrameType::IDR | FrameType::I) }))
    }
}

/// A decoder. It conceals nothing: after a loss it is fed nothing until a key frame.
pub struct Decoder {
    inner: Decode,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder that waits for a key frame.
    pub fn new() -> Result<Self, MediaError> {
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        Ok(Self { inner: Decode::with_api_config(OpenH264API::from_source(), config).map_err(codec)? })
    }

    /// Decodes one picture (Annex B) into `frame`. Gives whether there is one.
    pub fn decode(&mut self, annexb: &[u8], frame: &mut Frame) -> Result<bool, MediaError> {
        let Some(picture) = self.inner.decode(annexb).map_err(codec)? else {
            return Ok(false);
        };
        let (width, height) = picture.dimensions();
        if width < 2 || height < 2 || width > MAX_DIMENSION || height > MAX_DIMENSION {
            return Err(MediaError::Codec(format!("a picture of {width}×{height} is not accepted")));
        }
        frame.resize(width, height);
        let (width, height) = (frame.width, frame.height);
        let (stride_y, stride_u, stride_v) = picture.strides();
        let (y, u, v) = frame.planes_mut();
        copy(picture.y(), stride_y, y, width, height);
        copy(picture.u(), stride_u, u, width / 2, height / 2);
        copy(picture.v(), stride_v, v, width / 2, height / 2);
        Ok(true)
    }
}

fn copy(from: &[u8], stride: usize, to: &mut [u8], width: usize, height: usize) {
    for (row, line) in to.chunks_exact_mut(width).take(height).enumerate() {
        if let Some(source) = from.get(row * stride..row * stride + width) {
            line.copy_from_slice(source);
        }
    }
}

fn codec(error: openh264::Error) -> MediaError {
    MediaError::Codec(format!("H.264: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::pattern, *};

    #[test]
    fn pictures_survive_and_come_back_in_every_size() {
        for (width, height) in [(320, 180), (640, 360), (1280, 720)] {
            let mut encoder = Encoder::new(width, height, 30, 1_500_000).unwrap();
            let mut decoder = Decoder::new().unwrap();
            let (mut frame, mut seen) = (Frame::black(width, height), Frame::default());
            let mut decoded = 0;
            for number in 0..30 {
                pattern::draw(number, &mut frame);
                let Some(encoded) = encoder.encode(&frame, f64::from(number) * 33.3).unwrap() else { continue };
                assert_eq!(encoded.key, number == 0);
                assert!(decoder.decode(&encoded.annexb, &mut seen).unwrap());
                assert_eq!(pattern::read(&seen), Some(number));
                decoded += 1;
            }
            assert!(decoded > 20, "{decoded} of 30 at {width}×{height}");
        }
    }

    #[test]
    fn a_key_frame_is_made_when_asked() {
        let mut encoder = Encoder::new(320, 180, 30, 300_000).unwrap();
        let mut frame = Frame::black(320, 180);
        let mut keys = Vec::new();
        for number in 0..20 {
            pattern::draw(number, &mut frame);
            if number == 10 {
                encoder.force_key();
            }
            if encoder.encode(&frame, f64::from(number) * 33.3).unwrap().is_some_and(|e| e.key) {
                keys.push(number);
            }
        }
        assert_eq!(keys, [0, 10]);
    }

    #[test]
    fn the_bit_rate_follows() {
        let mut encoder = Encoder::new(640, 360, 30, 1_000_000).unwrap();
        let mut frame = Frame::black(640, 360);
        let mut number = 0;
        for bits in [1_000_000, 400_000, 1_200_000] {
            encoder.set_bits(bits);
            let mut bytes = 0;
            for second in 0..3 {
                for _ in 0..30 {
                    pattern::draw(number, &mut frame);
                    let encoded = encoder.encode(&frame, f64::from(number) * 33.3).unwrap();
                    // The first second is allowed to settle.
                    bytes += if second > 0 { encoded.map_or(0, |e| e.annexb.len()) } else { 0 };
                    number += 1;
                }
            }
            let measured = bytes as f64 * 8.0 / 2.0;
            assert!((measured / f64::from(bits) - 1.0).abs() < 0.3, "{bits} became {measured}");
        }
    }

    #[test]
    fn garbage_is_an_error_or_nothing() {
        let mut decoder = Decoder::new().unwrap();
        let mut frame = Frame::default();
        for length in 0..200usize {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 37 + length) as u8).collect();
            let _ = decoder.decode(&bytes, &mut frame);
        }
    }
}
