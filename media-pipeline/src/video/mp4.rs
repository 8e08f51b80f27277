//! MP4 (ISO/IEC 14496-12) with H.264 and Opus: written in fragments, read in either form.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use shiguredo_mp4::{
    TrackKind,
    bitstream::{
        h264::{
            H264SampleEntryConfig, LengthSize, annexb_to_length_prefixed, build_avc1_box_from_annexb,
            length_prefixed_to_annexb,
        },
        opus::{ChannelCount, OpusSampleEntryConfig, build_opus_box},
    },
    boxes::SampleEntry,
    demux::{Fmp4FileDemuxer, Input, Mp4FileDemuxer, Mp4FileKind, Mp4FileKindDetector, RequiredInput},
    mux::{Fmp4SegmentMuxer, Sample},
};

use super::{
    Frame, VideoSink, VideoSource,
    file::{broken, failed, failed_read},
    h264::{Decoder, Encoder},
};
use crate::{
    MediaError,
    audio::opus::{self, PRE_SKIP},
    limits::{MAX_FRAME_BYTES, PACKET, SAMPLE_RATE},
};

/// Ticks a second of video in MP4.
const TIMESCALE: u32 = 90_000;
/// A fragment each second: what was written survives a crash.
const FRAGMENT_MS: u64 = 1_000;
/// Bits a second of video in files.
const FILE_BITS: u32 = 2_000_000;

/// Sound on its way into a file: encoded, and what is not yet a whole packet.
struct Sound {
    encoder: opus::Encoder,
    packets: Vec<Vec<u8>>,
    rest: Vec<f32>,
}

/// Writes fragmented MP4 with H.264, and Opus if wanted. All pictures get the size of the first, the shape is kept.
pub struct Mp4Writer<W: Write> {
    out: W,
    muxer: Fmp4SegmentMuxer,
    encoder: Option<Encoder>,
    entry: Option<SampleEntry>,
    begun: Option<Duration>,
    /// Encoded, and not yet in a fragment: when, whether a key frame, data.
    pictures: Vec<(u64, bool, Vec<u8>)>,
    sound: Option<Sound>,
    fragment: u64,
    headed: bool,
}

impl<W: Write> Mp4Writer<W> {
    /// Begins a file.
    pub fn new(out: W, with_sound: bool) -> Result<Self, MediaError> {
        let sound = || -> Result<Sound, MediaError> {
            Ok(Sound { encoder: opus::Encoder::new()?, packets: Vec::new(), rest: Vec::new() })
        };
        Ok(Self {
            out,
            muxer: Fmp4SegmentMuxer::new().map_err(failed)?,
            encoder: None,
            entry: None,
            begun: None,
            pictures: Vec::new(),
            sound: with_sound.then(sound).transpose()?,
            fragment: 0,
            headed: false,
        })
    }

    /// Adds a picture of the time `at`; the first is the file's beginning.
    pub fn picture(&mut self, frame: &Frame, at: Duration) -> Result<(), MediaError> {
        let begun = *self.begun.get_or_insert(at);
        // Time stamps of the network wrap every 13 hours; a file does not go back.
        let at = at.saturating_sub(begun);
        let ticks = at.as_micros() as u64 * u64::from(TIMESCALE) / 1_000_000;
        if self.pictures.last().is_some_and(|(last, ..)| ticks <= *last) {
            return Ok(());
        }
        if self.encoder.is_none() {
            self.encoder = Some(Encoder::new(frame.width, frame.height, 30, FILE_BITS)?);
        }
        let cut = ticks.saturating_sub(self.fragment) > FRAGMENT_MS * u64::from(TIMESCALE) / 1000;
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        if cut && !self.pictures.is_empty() {
            encoder.force_key();
        }
        let Some(encoded) = encoder.encode(frame, at.as_secs_f64() * 1e3)? else { return Ok(()) };
        if self.entry.is_none() {
            let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
            let entry = build_avc1_box_from_annexb(&encoded.annexb, &config).map_err(failed)?;
            self.entry = Some(SampleEntry::Avc1(entry));
        }
        if encoded.key && !self.pictures.is_empty() {
            self.write_fragment(ticks)?;
        }
        let data = annexb_to_length_prefixed(&encoded.annexb, LengthSize::FourBytes).map_err(failed)?;
        self.pictures.push((ticks, encoded.key, data));
        Ok(())
    }

    /// Adds sound, which goes on from what was added before; the first is at the file's beginning.
    pub fn sound(&mut self, samples: &[f32]) -> Result<(), MediaError> {
        let Some(sound) = &mut self.sound else { return Ok(()) };
        sound.rest.extend_from_slice(samples);
        while let Some((packet, _)) = sound.rest.split_first_chunk::<PACKET>() {
            sound.packets.push(sound.encoder.encode_for_file(packet)?);
            sound.rest.drain(..PACKET);
        }
        Ok(())
    }

    /// Writes what is pending, up to (and without) the frame at `next`, as the last one's length is known only then.
    fn write_fragment(&mut self, next: u64) -> Result<(), MediaError> {
        let (Some(video_scale), Some(sound_scale)) = (NonZeroU32::new(TIMESCALE), NonZeroU32::new(SAMPLE_RATE)) else {
            return Ok(());
        };
        if self.pictures.is_empty() {
            return Ok(());
        }
        let mut samples = Vec::with_capacity(self.pictures.len());
        let mut data = Vec::new();
        let mut add = |track_kind, timescale, sample_entry, duration, keyframe, bytes: &[u8]| {
            samples.push(Sample {
                track_kind,
                timescale,
                sample_entry,
                duration,
                keyframe,
                composition_time_offset: None,
                data_offset: data.len() as u64,
                data_size: bytes.len(),
            });
            data.extend_from_slice(bytes);
        };
        for (i, (at, key, bytes)) in self.pictures.iter().enumerate() {
            let until = self.pictures.get(i + 1).map_or(next, |(at, ..)| *at);
            let duration = u32::try_from(until.saturating_sub(*at)).unwrap_or(TIMESCALE).max(1);
            add(TrackKind::Video, video_scale, self.entry.clone().filter(|_| i == 0), duration, *key, bytes);
        }
        for (i, bytes) in self.sound.iter().flat_map(|s| &s.packets).enumerate() {
            let entry = (i == 0).then(|| SampleEntry::Opus(build_opus_box(&OPUS)));
            add(TrackKind::Audio, sound_scale, entry, PACKET as u32, true, bytes);
        }
        let head = self.muxer.create_media_segment_metadata(&samples).map_err(failed)?;
        if !self.headed {
            self.headed = true;
            let init = self.muxer.init_segment_bytes().map_err(failed)?;
            self.out.write_all(&init).map_err(failed)?;
        }
        self.out.write_all(&head).map_err(failed)?;
        self.out.write_all(&data).map_err(failed)?;
        self.out.flush().map_err(failed)?;
        self.pictures.clear();
        if let Some(sound) = &mut self.sound {
            sound.packets.clear();
        }
        self.fragment = next;
        Ok(())
    }

    /// Completes the file.
    pub fn finish(&mut self) -> Result<(), MediaError> {
        if let Some(rest) = self.sound.as_ref().map(|s| s.rest.len()).filter(|rest| *rest > 0) {
            self.sound(&[0.0; PACKET][rest..])?;
        }
        let end = self.pictures.last().map_or(0, |(at, ..)| at + u64::from(TIMESCALE) / 30);
        self.write_fragment(end)?;
        self.out.flush().map_err(failed)
    }
}

/// What a file says of its sound.
const OPUS: OpusSampleEntryConfig = OpusSampleEntryConfig {
    channel_count: ChannelCount::Mono,
    pre_skip: PRE_SKIP,
    input_sample_rate: SAMPLE_RATE,
    output_gain: 0,
};

/// A file with pictures only.
pub struct Mp4Sink<W: Write>(Mp4Writer<W>);

impl<W: Write> Mp4Sink<W> {
    /// Begins a file.
    pub fn new(out: W) -> Result<Self, MediaError> {
        Ok(Self(Mp4Writer::new(out, false)?))
    }
}

impl<W: Write + Send> VideoSink for Mp4Sink<W> {
    fn show(&mut self, frame: &Frame, at: Duration) -> Result<(), MediaError> {
        self.0.picture(frame, at)
    }

    fn finish(&mut self) -> Result<(), MediaError> {
        self.0.finish()
    }
}

/// Where a frame is in a file, and when it is shown (in milliseconds).
struct Place {
    at_ms: u64,
    offset: u64,
    size: usize,
}

/// An MP4 file as a source, at the pace it was made for.
pub struct Mp4Source {
    file: File,
    frames: Vec<Place>,
    /// SPS and PPS, before each key frame.
    head: Vec<u8>,
    decoder: Decoder,
    next: usize,
    start: std::time::Instant,
    repeat: bool,
}

/// The most of an MP4 file's index that is read.
const INDEX: usize = 64 * 1024 * 1024;

fn piece(file: &mut File, required: RequiredInput) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(required.position))?;
    let mut data = Vec::new();
    Read::by_ref(file).take(required.size.unwrap_or(INDEX).min(INDEX) as u64).read_to_end(&mut data)?;
    Ok(data)
}

/// A demuxer of either kind of file.
macro_rules! index {
    ($demuxer:ty, $file:expr, $path:expr) => {{
        let mut demuxer = <$demuxer>::new();
        while let Some(required) = demuxer.required_input() {
            let data = piece($file, required).map_err(|e| broken($path, e))?;
            demuxer.handle_input(Input { position: required.position, data: &data });
        }
        let (mut index, mut opus) = (Index::default(), false);
        loop {
            let sample = match demuxer.next_sample() {
                Ok(Some(sample)) => sample,
                Ok(None) => break,
                Err(shiguredo_mp4::demux::DemuxError::InputRequired(required)) => {
                    let data = piece($file, required).map_err(|e| broken($path, e))?;
                    demuxer.handle_input(Input { position: required.position, data: &data });
                    continue;
                }
                Err(error) => return Err(broken($path, error)),
            };
            let at_ms = sample.timestamp * 1000 / u64::from(sample.track.timescale.get());
            let place = Place { at_ms, offset: sample.data_offset, size: sample.data_size };
            match (sample.track.kind, sample.sample_entry) {
                (TrackKind::Video, entry) => {
                    match entry {
                        Some(SampleEntry::Avc1(entry)) if index.head.is_empty() => {
                            for unit in entry.avcc_box.sps_list.iter().chain(&entry.avcc_box.pps_list) {
                                index.head.extend_from_slice(&[0, 0, 0, 1]);
                                index.head.extend_from_slice(unit);
                            }
                        }
                        Some(SampleEntry::Avc1(_)) | None => {}
                        Some(_) => return Err(broken($path, "its video is not H.264")),
                    }
                    index.pictures.push(place);
                }
                (TrackKind::Audio, entry) => {
                    opus |= matches!(entry, Some(SampleEntry::Opus(_)));
                    if opus {
                        index.sound.push(place);
                    }
                }
                _ => {}
            }
        }
        index
    }};
}

/// What is where in a file.
#[derive(Default)]
struct Index {
    pictures: Vec<Place>,
    /// SPS and PPS, before each key frame.
    head: Vec<u8>,
    /// Opus packets; other sound is left out.
    sound: Vec<Place>,
}

fn index(file: &mut File, path: &Path) -> Result<Index, MediaError> {
    let mut detector = Mp4FileKindDetector::new();
    while let Some(required) = detector.required_input() {
        let data = piece(file, required).map_err(|e| broken(path, e))?;
        detector.handle_input(Input { position: required.position, data: &data });
    }
    let kind = detector.file_kind().map_err(|_| broken(path, "this is neither an MP4 nor a Y4M file"))?;
    Ok(if kind == Some(Mp4FileKind::FragmentedMp4) {
        index!(Fmp4FileDemuxer, file, path)
    } else {
        index!(Mp4FileDemuxer, file, path)
    })
}

fn content(file: &mut File, place: &Place) -> Result<Vec<u8>, MediaError> {
    if place.size > MAX_FRAME_BYTES * 4 {
        return Err(failed_read("a frame is too large"));
    }
    let mut data = vec![0; place.size];
    file.seek(SeekFrom::Start(place.offset)).map_err(failed_read)?;
    file.read_exact(&mut data).map_err(failed_read)?;
    Ok(data)
}

impl Mp4Source {
    /// Opens a file with H.264.
    pub fn open(path: &Path, repeat: bool) -> Result<Self, MediaError> {
        let mut file = File::open(path).map_err(|e| broken(path, e))?;
        let Index { pictures, head, .. } = index(&mut file, path)?;
        if pictures.is_empty() || head.is_empty() {
            return Err(broken(path, "there is no H.264 video in it"));
        }
        let (decoder, start) = (Decoder::new()?, std::time::Instant::now());
        Ok(Self { file, frames: pictures, head, decoder, next: 0, start, repeat })
    }
}

impl VideoSource for Mp4Source {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, MediaError> {
        loop {
            if self.next >= self.frames.len() {
                if !self.repeat {
                    return Ok(false);
                }
                (self.next, self.start, self.decoder) = (0, std::time::Instant::now(), Decoder::new()?);
            }
            let Some(place) = self.frames.get(self.next) else { return Ok(false) };
            let due = Duration::from_millis(place.at_ms);
            if let Some(left) = due.checked_sub(self.start.elapsed()) {
                std::thread::sleep(left);
            }
            let data = content(&mut self.file, place)?;
            let mut annexb = if self.next == 0 { self.head.clone() } else { Vec::new() };
            annexb.extend(length_prefixed_to_annexb(&data, LengthSize::FourBytes).map_err(failed_read)?);
            self.next += 1;
            if self.decoder.decode(&annexb, frame)? {
                return Ok(true);
            }
        }
    }
}

/// All frames of a file's video, without waiting: for checks.
pub fn frames(path: &Path, mut each: impl FnMut(&Frame)) -> Result<u64, MediaError> {
    let mut source = Mp4Source::open(path, false)?;
    for place in &mut source.frames {
        place.at_ms = 0;
    }
    let (mut frame, mut count) = (Frame::default(), 0);
    while source.read(&mut frame)? {
        each(&frame);
        count += 1;
    }
    Ok(count)
}

/// All sound of a file: mono, 48 kHz, up to `most` samples.
pub fn sound(path: &Path, most: usize) -> Result<Vec<f32>, MediaError> {
    let mut file = File::open(path).map_err(|e| broken(path, e))?;
    let (mut decoder, mut samples) = (opus::Decoder::new()?, Vec::new());
    for place in index(&mut file, path)?.sound {
        let packet = content(&mut file, &place)?;
        decoder.samples_in(&packet).map_err(|_| broken(path, "an Opus packet is broken"))?;
        samples.extend_from_slice(decoder.decode(&packet)?);
        if samples.len() > most {
            return Err(broken(path, "it is longer than ten minutes"));
        }
    }
    Ok(samples.split_off(usize::from(PRE_SKIP).min(samples.len())))
}
