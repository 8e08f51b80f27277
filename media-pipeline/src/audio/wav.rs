//! WAV files, and WAV streams, whose header was written before anybody knew how long they are.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use hound::{SampleFormat, WavReader};

use super::file::MAX_SECONDS;

/// Why a WAV file is not read.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// It cannot be read, or is no WAV file.
    #[error("{0} (a WAV or Ogg Opus file is needed)")]
    Format(#[from] hound::Error),
    /// It has a chunk that no program writes.
    #[error("its header is broken")]
    Header,
    /// Nobody records at this rate.
    #[error("{0} samples a second is no rate of sound")]
    Rate(u32),
    /// It would not fit into memory.
    #[error("it is longer than ten minutes")]
    TooLong,
}

/// The longest description of a format.
const MAX_FORMAT: u32 = 4096;
/// Samples a second that are taken.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// The sound of a WAV file, its channels mixed to one; and its samples a second. It is read to its end, whatever the header says: a stream that a program
/// wrote to a pipe claims 0, 2³¹ or 2³² bytes, and a recording that was cut off claims more than there is.
pub fn read(input: impl Read) -> Result<(Vec<f32>, u32), WavError> {
    let ended = Ended::default();
    let reader = WavReader::new(with_length(Watched { input, ended: ended.clone() })?)?;
    let spec = reader.spec();
    let (rate, channels) = (spec.sample_rate, usize::from(spec.channels.max(1)));
    if !RATES.contains(&rate) {
        return Err(WavError::Rate(rate));
    }
    match spec.sample_format {
        SampleFormat::Float => mix(reader.into_samples::<f32>(), &ended, channels, rate),
        SampleFormat::Int => {
            let scale = 1.0 / (1i64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            mix(reader.into_samples::<i32>().map(|s| s.map(|s| s as f32 * scale)), &ended, channels, rate)
        }
    }
}

fn mix(
    samples: impl Iterator<Item = Result<f32, hound::Error>>,
    ended: &Ended,
    channels: usize,
    rate: u32,
) -> Result<(Vec<f32>, u32), WavError> {
    let most = MAX_SECONDS * rate as usize;
    let (mut mono, mut sum, mut count) = (Vec::new(), 0.0, 0);
    for sample in samples {
        match sample {
            Ok(sample) => (sum, count) = (sum + sample, count + 1),
            // In the middle of a sample, for the reader expects more of them.
            Err(hound::Error::IoError(_)) if ended.get() => break,
            Err(error) => return Err(error.into()),
        }
        if count == channels {
            if mono.len() == most {
                return Err(WavError::TooLong);
            }
            mono.push(sum / channels as f32);
            (sum, count) = (0.0, 0);
        }
    }
    Ok((mono, rate))
}

/// Whether an input has come to its end.
type Ended = Rc<Cell<bool>>;

/// An input whose end is noted: the reader's error for it is the one for any failure.
struct Watched<R> {
    input: R,
    ended: Ended,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.ended.set(true);
        }
        Ok(count)
    }
}

/// The same file without what is no sound, and with a length of sound that a reader believes: the one that it says, or, where that cannot be
/// true, the longest.
fn with_length(mut input: impl Read) -> Result<impl Read, WavError> {
    let mut header = [0; 12];
    read_exact(&mut input, &mut header)?;
    if !header.starts_with(b"RIFF") || !header.ends_with(b"WAVE") {
        return Err(hound::Error::FormatError("no RIFF tag found").into());
    }
    let mut format = Vec::new();
    loop {
        let mut chunk = [0; 8];
        read_exact(&mut input, &mut chunk)?;
        let (kind, length) = chunk.split_at(4);
        let length = u32::from_le_bytes(length.try_into().map_err(|_| WavError::Header)?);
        match kind {
            b"fmt " if length > MAX_FORMAT => return Err(WavError::Header),
            b"fmt " => {
                format = vec![0; length as usize];
                read_exact(&mut input, &mut format)?;
            }
            b"data" => return Ok(io::Cursor::new(rebuilt(&format, length)?).chain(input)),
            // With the byte that makes its length even.
            _ => {
                let all = u64::from(length) + u64::from(length % 2);
                io::copy(&mut input.by_ref().take(all), &mut io::sink()).map_err(hound::Error::IoError)?;
            }
        }
    }
}

fn rebuilt(format: &[u8], said: u32) -> Result<Vec<u8>, WavError> {
    let frame = format.get(12..14).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).filter(|frame| *frame > 0);
    let frame = frame.ok_or(WavError::Header)?;
    let length = if said == 0 || !said.is_multiple_of(frame) { u32::MAX - u32::MAX % frame } else { said };
    let mut header = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
    header.extend((format.len() as u32).to_le_bytes());
    header.extend(format);
    header.extend(b"data");
    header.extend(length.to_le_bytes());
    Ok(header)
}

fn read_exact(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), WavError> {
    input.read_exact(buffer).map_err(|e| hound::Error::IoError(e).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A second of 16-bit stereo at 8 kHz, as a program writes it that says these lengths.
    fn stream(riff: u32, data: u32) -> Vec<u8> {
        let mut bytes = b"RIFF".to_vec();
        bytes.extend(riff.to_le_bytes());
        bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
        bytes.extend(8_000u32.to_le_bytes());
        bytes.extend(32_000u32.to_le_bytes());
        bytes.extend(b"\x04\0\x10\0LIST\x05\0\0\0INFO?\0data");
        bytes.extend(data.to_le_bytes());
        for i in 0..8_000i16 {
            bytes.extend([i.to_le_bytes(), (-i).to_le_bytes()].concat());
        }
        bytes
    }

    #[test]
    fn a_stream_is_read_to_its_end_whatever_length_its_header_claims() {
        for said in [u32::MAX, 0x7fff_ffff, 0x8000_0000, 0x7fff_f000, 0, 32_000, 40_000, 33_333] {
            let (sound, rate) = read(&*stream(said, said)).unwrap();
            assert_eq!((sound.len(), rate), (8_000, 8_000), "{said:#x}");
            assert!(sound.iter().all(|s| s.abs() < 1e-6));
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_gives_what_is_there() {
        let whole = stream(u32::MAX, u32::MAX);
        let (sound, _) = read(&whole[..whole.len() - 1_001]).unwrap();
        assert_eq!(sound.len(), 8_000 - 251);
    }

    #[test]
    fn what_follows_the_sound_is_no_sound() {
        let mut bytes = stream(32_036, 32_000);
        bytes.extend(b"LIST\x04\0\0\0INFO");
        assert_eq!(read(&*bytes).unwrap().0.len(), 8_000);
    }

    #[test]
    fn an_endless_stream_is_not_read_for_ever() {
        let mut header = stream(u32::MAX, u32::MAX);
        header.truncate(58);
        assert!(matches!(read(header.chain(io::repeat(1))), Err(WavError::TooLong)));
    }

    #[test]
    fn nonsense_is_refused() {
        let good = stream(u32::MAX, u32::MAX);
        for at in [0, 8, 16, 22, 24, 32] {
            let mut bad = good.clone();
            bad[at..at + 2].fill(0xff);
            assert!(read(&*bad).is_err(), "{at}");
        }
        assert!(read(&good[..20]).is_err());
        assert!(read(&b"RIFF\0\0\0\0WAVEdata\x04\0\0\0\0\0\0\0"[..]).is_err());
    }
}
