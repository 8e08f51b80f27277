//! Speech in Opus packets of 20 ms.
//!
//! Two ways to protect against loss share the bits, so one is chosen by the loss that the other side reports: in-band forward error
//! correction brings back one lost packet from the next, deep redundancy (DRED) brings back a burst.

use opusic_c::{
    Application, Bitrate, Channels, Decoder as Decode, Encoder as Encode, InbandFec, SampleRate, dred::Dred,
};

use super::{level, pause::Pause};
use crate::{
    MediaError,
    limits::{AUDIO_BITS, MAX_OPUS_BYTES, MAX_PACKET_SAMPLES, PACKET},
};

/// How packets protect one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// The packet before is repeated, coarsely.
    #[default]
    Fec,
    /// The last second is repeated, very coarsely.
    Dred,
}

impl Protection {
    /// What suits a loss pattern: `burst` is the mean number of packets lost in a row.
    pub fn for_pattern(burst: f32) -> Self {
        if burst > 1.4 { Self::Dred } else { Self::Fec }
    }
}

/// Samples that a decoder has to leave out at the beginning of a file.
pub const PRE_SKIP: u16 = 312;
/// Depth of redundancy in units of 10 ms.
const DRED_DEPTH: u8 = 100;

/// Encodes 20 ms at a time.
pub struct Encoder {
    inner: Encode,
    protection: Protection,
    loss: u8,
    bits: u32,
    pause: Pause,
    silent: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("protection", &self.protection)
            .field("loss", &self.loss)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder for speech, ready for some loss.
    pub fn new() -> Result<Self, MediaError> {
        let mut inner = Encode::new(Channels::Mono, SampleRate::Hz48000, Application::Voip).map_err(codec)?;
        inner.set_bitrate(Bitrate::Value(AUDIO_BITS)).map_err(codec)?;
        inner.set_complexity(9).map_err(codec)?;
        let (bits, pause) = (AUDIO_BITS, Pause::default());
        let mut encoder = Self { inner, protection: Protection::Fec, loss: 0, bits, pause, silent: false };
        encoder.adapt(5, Protection::Fec)?;
        Ok(encoder)
    }

    /// Prepares for so many percent of loss.
    pub fn adapt(&mut self, loss: u8, protection: Protection) -> Result<(), MediaError> {
        if (loss, protection) == (self.loss, self.protection) {
            return Ok(());
        }
        (self.loss, self.protection) = (loss, protection);
        self.inner.set_packet_loss(loss.min(100)).map_err(codec)?;
        let (fec, depth) = match protection {
            Protection::Fec => (InbandFec::Mode1, 0),
            Protection::Dred => (InbandFec::Off, DRED_DEPTH),
        };
        self.inner.set_inband_fec(fec).map_err(codec)?;
        self.inner.set_dred_duration(depth).map_err(codec)
    }

    /// Sets the bits a second.
    pub fn set_bits(&mut self, bits: u32) -> Result<(), MediaError> {
        if bits == self.bits {
            return Ok(());
        }
        self.bits = bits;
        self.inner.set_bitrate(Bitrate::Value(bits)).map_err(codec)
    }

    /// Encodes a packet; nothing in a long silence (discontinuous transmission).
    pub fn encode(&mut self, samples: &[f32; PACKET]) -> Result<Option<Vec<u8>>, MediaError> {
        let silent = self.pause.is_long(level(samples));
        if silent != self.silent {
            self.silent = silent;
            self.inner.set_dtx(silent).map_err(codec)?;
        }
        let mut out = vec![0; 1_275];
        let length = self.inner.encode_float_to_slice(samples, &mut out).map_err(codec)?;
        out.truncate(length);
        // RFC 6716, 2.1.9: a packet of at most two bytes need not be sent.
        Ok((length > 2).then_some(out))
    }

    /// The same for a file, which has no gaps: silence is a packet, too.
    pub fn encode_for_file(&mut self, samples: &[f32; PACKET]) -> Result<Vec<u8>, MediaError> {
        // Configuration 31 (20 ms, full band), no data.
        Ok(self.encode(samples)?.unwrap_or_else(|| vec![0xf8, 0xff, 0xfe]))
    }
}

/// Decodes packets and stands in for missing ones.
pub struct Decoder {
    inner: Dred,
    buffer: Vec<f32>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// A new decoder.
    pub fn new() -> Result<Self, MediaError> {
        let mut inner = Decode::new(Channels::Mono, SampleRate::Hz48000).map_err(codec)?;
        // From 5 on, missing packets are concealed by a model of speech.
        inner.set_complexity(7).map_err(codec)?;
        Ok(Self { inner: Dred::new(inner).map_err(codec)?, buffer: vec![0.0; MAX_PACKET_SAMPLES] })
    }

    /// Length of a packet in samples.
    pub fn samples_in(&mut self, packet: &[u8]) -> Result<usize, MediaError> {
        if packet.is_empty() || packet.len() > MAX_OPUS_BYTES {
            return Err(MediaError::Codec("an Opus packet of a size that is not accepted".into()));
        }
        self.inner.decoder_mut().get_nb_samples(packet).map_err(codec)
    }

    /// Decodes a packet.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], MediaError> {
        let length = self.inner.decoder_mut().decode_float_to_slice(packet, &mut self.buffer, false).map_err(codec)?;
        Ok(&self.buffer[..length.min(MAX_PACKET_SAMPLES)])
    }

    /// Brings back the packet before `next`, as far as `next` repeats it.
    pub fn recover(&mut self, next: &[u8]) -> Result<&[f32], MediaError> {
        let out = &mut self.buffer[..PACKET];
        let length = self.inner.decoder_mut().decode_float_to_slice(next, out, true).map_err(codec)?;
        Ok(&self.buffer[..length.min(PACKET)])
    }

    /// Brings back the `samples` before `next` from its deep redundancy.
    pub fn recover_burst(&mut self, next: &[u8], samples: usize) -> Result<&[f32], MediaError> {
        let out = &mut self.buffer[..samples.clamp(120, MAX_PACKET_SAMPLES)];
        let length = self.inner.decode_float_to_slice(next, out).map_err(codec)?;
        Ok(&self.buffer[..length.min(samples)])
    }

    /// 20 ms that fit what was played last: concealment, or the noise of a silence.
    pub fn conceal(&mut self) -> Result<&[f32], MediaError> {
        let out = &mut self.buffer[..PACKET];
        let length = self.inner.decoder_mut().decode_float_to_slice(&[], out, false).map_err(codec)?;
        Ok(&self.buffer[..length.min(PACKET)])
    }
}

/// Whether a packet carries extensions in its padding, which is where deep redundancy is.
pub fn has_redundancy(packet: &[u8]) -> bool {
    matches!(packet, [toc, count, ..] if toc & 3 == 3 && count & 0x40 != 0)
}

fn codec(error: opusic_c::ErrorCode) -> MediaError {
    MediaError::Codec(format!("Opus: {error:?}"))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::*, *};

    /// A tone.
    pub(crate) fn packets(protection: Protection, count: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new().unwrap();
        encoder.adapt(20, protection).unwrap();
        (0..count)
            .map(|n| {
                let mut pcm = [0.0; PACKET];
                for (i, s) in pcm.iter_mut().enumerate() {
                    *s = 0.3 * (TAU * 440.0 * (n * PACKET + i) as f32 / 48_000.0).sin();
                }
                encoder.encode(&pcm).unwrap().unwrap()
            })
            .collect()
    }

    #[test]
    fn a_tone_stays_a_tone() {
        let mut decoder = Decoder::new().unwrap();
        let mut out = Vec::new();
        for packet in packets(Protection::Fec, 50) {
            out.extend_from_slice(decoder.decode(&packet).unwrap());
        }
        let (hertz, amplitude) = strongest_tone(&out[9_600..]);
        assert_eq!(hertz, 440);
        assert!((amplitude - 0.3).abs() < 0.06, "{amplitude}");
    }

    #[test]
    fn a_burst_comes_back_from_the_packet_after_it() {
        let packets = packets(Protection::Dred, 60);
        assert!(has_redundancy(&packets[50]));
        let mut decoder = Decoder::new().unwrap();
        for packet in &packets[..46] {
            decoder.decode(packet).unwrap();
        }
        let burst = decoder.recover_burst(&packets[50], 4 * PACKET).unwrap().to_vec();
        assert_eq!(burst.len(), 4 * PACKET);
        // A model of speech gives back a tone only roughly; silence it is not.
        assert!(level(&burst[PACKET..]) > 0.03, "{}", level(&burst[PACKET..]));
    }

    #[test]
    fn silence_is_not_sent() {
        let mut encoder = Encoder::new().unwrap();
        let sent = (0..300).filter(|_| encoder.encode(&[0.0; PACKET]).unwrap().is_some()).count();
        assert!((50..100).contains(&sent), "{sent} of 300");
    }

    #[test]
    fn garbage_is_an_error_or_sound() {
        let mut decoder = Decoder::new().unwrap();
        for length in 1..300usize {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31 + length * 7) as u8).collect();
            if decoder.samples_in(&bytes).is_ok() {
                let _ = decoder.decode(&bytes).map(<[f32]>::len);
                let _ = decoder.recover(&bytes).map(<[f32]>::len);
                let _ = decoder.recover_burst(&bytes, 3 * PACKET).map(<[f32]>::len);
            }
        }
    }
}
