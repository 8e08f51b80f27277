//! Sound from and to files: WAV, and Ogg Opus (RFC 7845).

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
};

use super::{
    AudioSink, AudioSource, TICK_TIME, Tick,
    opus::{Decoder, Encoder, PRE_SKIP},
    wav,
};
use crate::{
    MediaError,
    limits::{PACKET, SAMPLE_RATE, TICK},
    video::{Pace, mp4},
};

fn broken(path: &Path, error: impl std::fmt::Display) -> MediaError {
    MediaError::File(format!("{}: {error}", path.display()))
}

/// Whether a name is one of Ogg Opus.
fn is_ogg(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("ogg") || e.eq_ignore_ascii_case("opus"))
}

fn is_mp4(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("mp4"))
}

/// A file as a source, at the pace it was recorded.
pub struct FileSource {
    samples: Samples,
    pace: Pace,
    repeat: bool,
    at: usize,
}

/// Short files are read whole: a minute is 11 MB.
type Samples = Vec<f32>;

/// The longest file that is played: an hour would be 700 MB in memory.
pub(super) const MAX_SECONDS: usize = 10 * 60;
const MAX_SAMPLES: usize = MAX_SECONDS * SAMPLE_RATE as usize;

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource").field("samples", &self.samples.len()).field("at", &self.at).finish_non_exhaustive()
    }
}

impl FileSource {
    /// Opens a WAV, Ogg Opus or MP4 file of up to ten minutes. With `repeat` it begins again at its end.
    pub fn open(path: &Path, repeat: bool) -> Result<Self, MediaError> {
        let samples = read(path)?;
        if samples.is_empty() {
            return Err(broken(path, "there is no sound in it"));
        }
        Ok(Self { samples, pace: Pace::new(TICK_TIME), repeat, at: 0 })
    }
}

impl AudioSource for FileSource {
    fn read(&mut self, tick: &mut Tick) -> Result<bool, MediaError> {
        self.pace.wait();
        if self.at >= self.samples.len() {
            if !self.repeat {
                return Ok(false);
            }
            self.at = 0;
        }
        let rest = &self.samples[self.at..];
        let length = rest.len().min(TICK);
        tick.fill(0.0);
        tick[..length].copy_from_slice(&rest[..length]);
        self.at += TICK;
        Ok(true)
    }
}

/// All sound of a file: mono, 48 kHz.
pub fn read(path: &Path) -> Result<Vec<f32>, MediaError> {
    if is_ogg(path) {
        read_ogg(path)
    } else if is_mp4(path) {
        mp4::sound(path, MAX_SAMPLES)
    } else {
        read_wav(path)
    }
}

fn read_wav(path: &Path) -> Result<Vec<f32>, MediaError> {
    let file = File::open(path).map_err(|e| broken(path, e))?;
    let (mono, rate) = wav::read(BufReader::new(file)).map_err(|e| broken(path, e))?;
    resample(&mono, rate).map_err(|e| broken(path, e))
}

/// Brings sound of any rate to 48 kHz.
pub(crate) fn resample(mono: &[f32], rate: u32) -> Result<Vec<f32>, MediaError> {
    use rubato::{Fft, FixedSync, Resampler, audioadapter_buffers::direct::SequentialSlice};
    if rate == SAMPLE_RATE || mono.is_empty() {
        return Ok(mono.to_vec());
    }
    let failed = |e: &dyn std::fmt::Display| MediaError::File(format!("cannot bring {rate} Hz to 48 kHz: {e}"));
    let mut resampler =
        Fft::<f32>::new(rate as usize, SAMPLE_RATE as usize, 1024, 1, FixedSync::Both).map_err(|e| failed(&e))?;
    let needed = resampler.process_all_needed_output_len(mono.len());
    let mut out = vec![0.0; needed];
    let input = SequentialSlice::new(mono, 1, mono.len()).map_err(|e| failed(&e))?;
    let mut output = SequentialSlice::new_mut(&mut out, 1, needed).map_err(|e| failed(&e))?;
    let (_, written) =
        resampler.process_all_into_buffer(&input, &mut output, mono.len(), None).map_err(|e| failed(&e))?;
    out.truncate(written);
    Ok(out)
}

fn read_ogg(path: &Path) -> Result<Vec<f32>, MediaError> {
    let file = File::open(path).map_err(|e| broken(path, e))?;
    let mut reader = ogg::PacketReader::new(BufReader::new(file));
    let mut decoder = Decoder::new()?;
    let (mut samples, mut skip, mut number) = (Vec::new(), 0usize, 0);
    while let Some(packet) = reader.read_packet().map_err(|e| broken(path, e))? {
        match number {
            0 if packet.data.starts_with(b"OpusHead") && packet.data.len() >= 19 => {
                skip = usize::from(u16::from_le_bytes([packet.data[10], packet.data[11]]));
            }
            0 => return Err(broken(path, "this is no Ogg Opus file")),
            1 => {}
            _ if decoder.samples_in(&packet.data).is_ok() => samples.extend_from_slice(decoder.decode(&packet.data)?),
            _ => return Err(broken(path, "an Opus packet is broken")),
        }
        if samples.len() > MAX_SAMPLES {
            return Err(broken(path, "it is longer than ten minutes"));
        }
        number += 1;
    }
    Ok(samples.split_off(skip.min(samples.len())))
}

/// Writes what is heard to a file.
pub enum FileSink {
    /// 16-bit WAV. Its header is right after every second.
    Wav(Box<hound::WavWriter<BufWriter<File>>>, Option<Pace>, u32),
    /// Ogg Opus.
    Ogg(Box<OggWriter<BufWriter<File>>>, Option<Pace>),
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileSink")
    }
}

impl FileSink {
    /// Makes the file; one that is there is replaced.
    pub fn create(path: &Path) -> Result<Self, MediaError> {
        let file = BufWriter::new(File::create(path).map_err(|e| broken(path, e))?);
        let pace = Some(Pace::new(TICK_TIME));
        if is_ogg(path) {
            return Ok(Self::Ogg(Box::new(OggWriter::new(file)?), pace));
        }
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: SAMPLE_RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let writer = hound::WavWriter::new(file, spec).map_err(|e| broken(path, e))?;
        Ok(Self::Wav(Box::new(writer), pace, 0))
    }

    /// Takes sound as fast as it is given.
    pub fn unpaced(mut self) -> Self {
        match &mut self {
            Self::Wav(_, pace, _) | Self::Ogg(_, pace) => *pace = None,
        }
        self
    }
}

fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::File(format!("cannot write the sound: {error}"))
}

impl AudioSink for FileSink {
    fn play(&mut self, tick: &Tick) -> Result<(), MediaError> {
        match self {
            Self::Wav(writer, pace, ticks) => {
                pace.as_mut().map(Pace::wait);
                for sample in tick {
                    writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0) as i16).map_err(failed)?;
                }
                *ticks += 1;
                if *ticks % 100 == 0 {
                    writer.flush().map_err(failed)?;
                }
                Ok(())
            }
            Self::Ogg(writer, pace) => {
                pace.as_mut().map(Pace::wait);
                writer.add(tick)
            }
        }
    }

    fn finish(&mut self) -> Result<(), MediaError> {
        match self {
            Self::Wav(writer, ..) => writer.flush().map_err(failed),
            Self::Ogg(writer, _) => writer.finish(),
        }
    }
}

/// Writes an Ogg Opus file (RFC 7845), a page each second, so that what was written survives a crash.
pub struct OggWriter<W: std::io::Write> {
    writer: ogg::PacketWriter<'static, W>,
    encoder: Encoder,
    pending: Vec<f32>,
    serial: u32,
    packets: u64,
    held: Option<Vec<u8>>,
}

impl<W: std::io::Write> OggWriter<W> {
    /// Writes the header.
    pub fn new(out: W) -> Result<Self, MediaError> {
        use ogg::PacketWriteEndInfo::EndPage;
        let serial = rand::random();
        let mut writer = ogg::PacketWriter::new(out);
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend(SAMPLE_RATE.to_le_bytes());
        head.extend([0, 0, 0]);
        let mut tags = b"OpusTags".to_vec();
        tags.extend(8u32.to_le_bytes());
        tags.extend(b"Starling");
        tags.extend(0u32.to_le_bytes());
        writer.write_packet(head, serial, EndPage, 0).map_err(failed)?;
        writer.write_packet(tags, serial, EndPage, 0).map_err(failed)?;
        Ok(Self { writer, encoder: Encoder::new()?, pending: Vec::new(), serial, packets: 0, held: None })
    }

    /// Adds sound.
    pub fn add(&mut self, samples: &[f32]) -> Result<(), MediaError> {
        self.pending.extend_from_slice(samples);
        while self.pending.len() >= PACKET {
            let mut frame = [0.0; PACKET];
            frame.copy_from_slice(&self.pending[..PACKET]);
            self.pending.drain(..PACKET);
            let packet = self.encoder.encode_for_file(&frame)?;
            self.write_held(false)?;
            self.held = Some(packet);
        }
        Ok(())
    }

    fn write_held(&mut self, last: bool) -> Result<(), MediaError> {
        use ogg::PacketWriteEndInfo::{EndPage, EndStream, NormalPacket};
        let Some(packet) = self.held.take() else { return Ok(()) };
        self.packets += 1;
        let end = match (last, self.packets % 50) {
            (true, _) => EndStream,
            (false, 0) => EndPage,
            _ => NormalPacket,
        };
        let position = u64::from(PRE_SKIP) + self.packets * PACKET as u64;
        let flush = !matches!(end, NormalPacket);
        self.writer.write_packet(packet, self.serial, end, position).map_err(failed)?;
        if flush {
            std::io::Write::flush(self.writer.inner_mut()).map_err(failed)?;
        }
        Ok(())
    }

    /// Completes the file.
    pub fn finish(&mut self) -> Result<(), MediaError> {
        if !self.pending.is_empty() {
            let rest = PACKET - self.pending.len();
            self.add(&vec![0.0; rest])?;
        }
        self.write_held(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{
        super::{Tone, strongest_tone},
        *,
    };

    #[test]
    fn a_tone_survives_both_kinds_of_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.wav", "a.ogg"] {
            let path = dir.path().join(name);
            let (mut sink, mut tone) = (FileSink::create(&path).unwrap(), Tone::new(440));
            for _ in 0..60 {
                let mut tick = [0.0; TICK];
                tone.read(&mut tick).unwrap();
                sink.play(&tick).unwrap();
            }
            sink.finish().unwrap();
            drop(sink);
            let samples = read(&path).unwrap();
            assert!((27_000..=29_800).contains(&samples.len()), "{name}: {}", samples.len());
            assert_eq!(strongest_tone(&samples[4_800..24_000]).0, 440, "{name}");
        }
    }

    #[test]
    fn another_rate_is_brought_to_ours() {
        let tone: Vec<f32> =
            (0..16_000).map(|i| 0.3 * (std::f32::consts::TAU * 440.0 * i as f32 / 16_000.0).sin()).collect();
        let samples = resample(&tone, 16_000).unwrap();
        assert!((47_000..=49_000).contains(&samples.len()));
        assert_eq!(strongest_tone(&samples[4_800..43_200]).0, 440);
    }

    #[test]
    fn what_is_no_sound_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.wav", "a.ogg"] {
            let path = dir.path().join(name);
            std::fs::write(&path, b"not sound at all").unwrap();
            assert!(matches!(read(&path), Err(MediaError::File(_))));
        }
    }
}
