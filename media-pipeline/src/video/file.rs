//! Pictures from and to files: Y4M (raw, for tests and pipes) and MP4 with H.264.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use shiguredo_mp4::{
    TrackKind,
    bitstream::h264::{
        H264SampleEntryConfig, LengthSize, annexb_to_length_prefixed, build_avc1_box_from_annexb,
        length_prefixed_to_annexb,
    },
    boxes::SampleEntry,
    demux::{Fmp4FileDemuxer, Input, Mp4FileDemuxer, Mp4FileKind, Mp4FileKindDetector, RequiredInput},
    mux::{Fmp4SegmentMuxer, Sample},
};

use super::{
    Frame, Pace, VideoSink, VideoSource,
    h264::{Decoder, Encoder},
};
use crate::{
    MediaError,
    limits::{MAX_DIMENSION, MAX_FRAME_BYTES},
};

fn broken(path: &Path, error: impl std::fmt::Display) -> MediaError {
    MediaError::File(format!("{}: {error}", path.display()))
}

fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::File(format!("cannot write the video: {error}"))
}

fn is_y4m(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("y4m"))
}

/// A file as a source, at the pace it was made for, from its beginning again at the end.
pub fn open(path: &Path, repeat: bool) -> Result<Box<dyn VideoSource>, MediaError> {
    if is_y4m(path) {
        Ok(Box::new(Y4mSource::open(path, repeat)?))
    } else {
        Ok(Box::new(Mp4Source::open(path, repeat)?))
    }
}

/// A file as a sink; one that is there is replaced.
pub fn create(path: &Path) -> Result<Box<dyn VideoSink>, MediaError> {
    let file = File::create(path).map_err(|e| broken(path, e))?;
    if is_y4m(path) {
        return Ok(Box::new(Y4mSink { out: BufWriter::new(file), size: None }));
    }
    Ok(Box::new(Mp4Sink::new(BufWriter::new(file))?))
}

/// The longest header line that is read.
const HEADER: u64 = 256;

struct Y4mSource {
    input: BufReader<File>,
    size: (usize, usize),
    begins: u64,
    repeat: bool,
    pace: Pace,
}

impl Y4mSource {
    fn open(path: &Path, repeat: bool) -> Result<Self, MediaError> {
        let mut input = BufReader::new(File::open(path).map_err(|e| broken(path, e))?);
        let mut header = String::new();
        input.by_ref().take(HEADER).read_line(&mut header).map_err(|e| broken(path, e))?;
        let mut words = header.split_whitespace();
        if words.next() != Some("YUV4MPEG2") {
            return Err(broken(path, "this is no Y4M file"));
        }
        let (mut size, mut rate) = ((0, 0), 30.0);
        for word in words {
            let (kind, value) = word.split_at_checked(1).unwrap_or((word, ""));
            match kind {
                "W" => size.0 = value.parse().unwrap_or(0),
                "H" => size.1 = value.parse().unwrap_or(0),
                "F" => {
                    let (top, bottom) = value.split_once(':').unwrap_or((value, "1"));
                    rate = top.parse().unwrap_or(30.0) / bottom.parse::<f64>().unwrap_or(1.0).max(1.0);
                }
                "C" if !value.starts_with("420") => return Err(broken(path, "only 4:2:0 is read")),
                _ => {}
            }
        }
        if !(2..=MAX_DIMENSION).contains(&size.0)
            || !(2..=MAX_DIMENSION).contains(&size.1)
            || size.0 % 2 + size.1 % 2 > 0
        {
            return Err(broken(path, "its pictures have a size that is not read (even, up to 1920)"));
        }
        let interval = Duration::from_secs_f64(1.0 / f64::clamp(rate, 1.0, 60.0));
        let begins = header.len() as u64;
        Ok(Self { input, size, begins, repeat, pace: Pace::new(interval) })
    }
}

impl VideoSource for Y4mSource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, MediaError> {
        self.pace.wait();
        for _ in 0..2 {
            let mut line = Vec::new();
            self.input.by_ref().take(HEADER).read_until(b'\n', &mut line).map_err(failed_read)?;
            if line.starts_with(b"FRAME") {
                frame.resize(self.size.0, self.size.1);
                return match self.input.read_exact(&mut frame.data) {
                    Ok(()) => Ok(true),
                    Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
                    Err(e) => Err(failed_read(e)),
                };
            }
            if !self.repeat {
                return Ok(false);
            }
            self.input.seek(SeekFrom::Start(self.begins)).map_err(failed_read)?;
        }
        Ok(false)
    }
}

fn failed_read(error: impl std::fmt::Display) -> MediaError {
    MediaError::File(format!("cannot read the video: {error}"))
}

struct Y4mSink {
    out: BufWriter<File>,
    size: Option<(usize, usize)>,
}

impl VideoSink for Y4mSink {
    fn show(&mut self, frame: &Frame, _at: Duration) -> Result<(), MediaError> {
        let size = match self.size {
            Some(size) => size,
            None => {
                let size = (frame.width, frame.height);
                writeln!(self.out, "YUV4MPEG2 W{} H{} F30:1 Ip A1:1 C420jpeg", size.0, size.1).map_err(failed)?;
                self.size = Some(size);
                size
            }
        };
        self.out.write_all(b"FRAME\n").map_err(failed)?;
        self.out.write_all(&frame.scaled(size.0, size.1).data).map_err(failed)
    }

    fn finish(&mut self) -> Result<(), MediaError> {
        self.out.flush().map_err(failed)
    }
}

/// Ticks a second of video in MP4.
const TIMESCALE: u32 = 90_000;
/// A fragment each second: what was written survives a crash.
const FRAGMENT_MS: u64 = 1_000;
/// Bits a second of video in files.
const FILE_BITS: u32 = 2_000_000;

/// Writes fragmented MP4 with H.264 (ISO/IEC 14496-12). All pictures get the size of the first, the shape is kept.
pub struct Mp4Sink<W: Write> {
    out: W,
    muxer: Fmp4SegmentMuxer,
    encoder: Option<Encoder>,
    entry: Option<SampleEntry>,
    begun: Option<Duration>,
    /// Encoded, and not yet in a fragment: when, whether a key frame, data.
    pending: Vec<(u64, bool, Vec<u8>)>,
    fragment: u64,
    headed: bool,
}

impl<W: Write> Mp4Sink<W> {
    /// Begins a file.
    pub fn new(out: W) -> Result<Self, MediaError> {
        let muxer = Fmp4SegmentMuxer::new().map_err(failed)?;
        Ok(Self {
            out,
            muxer,
            encoder: None,
            entry: None,
            begun: None,
            pending: Vec::new(),
            fragment: 0,
            headed: false,
        })
    }

    /// Writes what is pending, up to (and without) the frame at `next`, as the last one's length is known only then.
    fn write_fragment(&mut self, next: u64) -> Result<(), MediaError> {
        let Some(timescale) = NonZeroU32::new(TIMESCALE) else { return Ok(()) };
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut samples = Vec::with_capacity(self.pending.len());
        let (mut data, mut offset) = (Vec::new(), 0);
        for (i, (at, key, bytes)) in self.pending.iter().enumerate() {
            let until = self.pending.get(i + 1).map_or(next, |(at, ..)| *at);
            samples.push(Sample {
                track_kind: TrackKind::Video,
                timescale,
                sample_entry: self.entry.clone().filter(|_| i == 0),
                duration: u32::try_from(until.saturating_sub(*at)).unwrap_or(TIMESCALE).max(1),
                keyframe: *key,
                composition_time_offset: None,
                data_offset: offset,
                data_size: bytes.len(),
            });
            offset += bytes.len() as u64;
            data.extend_from_slice(bytes);
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
        self.pending.clear();
        self.fragment = next;
        Ok(())
    }
}

impl<W: Write + Send> VideoSink for Mp4Sink<W> {
    fn show(&mut self, frame: &Frame, at: Duration) -> Result<(), MediaError> {
        let begun = *self.begun.get_or_insert(at);
        // Time stamps of the network wrap every 13 hours; a file does not go back.
        let at = at.saturating_sub(begun);
        let ticks = at.as_micros() as u64 * u64::from(TIMESCALE) / 1_000_000;
        if self.pending.last().is_some_and(|(last, ..)| ticks <= *last) {
            return Ok(());
        }
        if self.encoder.is_none() {
            self.encoder = Some(Encoder::new(frame.width, frame.height, 30, FILE_BITS)?);
        }
        let cut = ticks.saturating_sub(self.fragment) > FRAGMENT_MS * u64::from(TIMESCALE) / 1000;
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        if cut && !self.pending.is_empty() {
            encoder.force_key();
        }
        let Some(encoded) = encoder.encode(frame, at.as_secs_f64() * 1e3)? else { return Ok(()) };
        if self.entry.is_none() {
            let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
            let entry = build_avc1_box_from_annexb(&encoded.annexb, &config).map_err(failed)?;
            self.entry = Some(SampleEntry::Avc1(entry));
        }
        if encoded.key && !self.pending.is_empty() {
            self.write_fragment(ticks)?;
        }
        let data = annexb_to_length_prefixed(&encoded.annexb, LengthSize::FourBytes).map_err(failed)?;
        self.pending.push((ticks, encoded.key, data));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), MediaError> {
        let end = self.pending.last().map_or(0, |(at, ..)| at + u64::from(TIMESCALE) / 30);
        self.write_fragment(end)?;
        self.out.flush().map_err(failed)
    }
}

/// Where a frame is in a file, and when it is shown (in milliseconds).
struct Place {
    at_ms: u64,
    offset: u64,
    size: usize,
}

struct Mp4Source {
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
        let (mut frames, mut head) = (Vec::new(), Vec::new());
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
            if sample.track.kind != TrackKind::Video {
                continue;
            }
            match sample.sample_entry {
                Some(SampleEntry::Avc1(entry)) if head.is_empty() => {
                    for unit in entry.avcc_box.sps_list.iter().chain(&entry.avcc_box.pps_list) {
                        head.extend_from_slice(&[0, 0, 0, 1]);
                        head.extend_from_slice(unit);
                    }
                }
                Some(SampleEntry::Avc1(_)) | None => {}
                Some(_) => return Err(broken($path, "its video is not H.264")),
            }
            let at_ms = sample.timestamp * 1000 / u64::from(sample.track.timescale.get());
            frames.push(Place { at_ms, offset: sample.data_offset, size: sample.data_size });
        }
        (frames, head)
    }};
}

impl Mp4Source {
    fn open(path: &Path, repeat: bool) -> Result<Self, MediaError> {
        let mut file = File::open(path).map_err(|e| broken(path, e))?;
        let mut detector = Mp4FileKindDetector::new();
        while let Some(required) = detector.required_input() {
            let data = piece(&mut file, required).map_err(|e| broken(path, e))?;
            detector.handle_input(Input { position: required.position, data: &data });
        }
        let kind = detector.file_kind().map_err(|_| broken(path, "this is neither an MP4 nor a Y4M file"))?;
        let (frames, head) = if kind == Some(Mp4FileKind::FragmentedMp4) {
            index!(Fmp4FileDemuxer, &mut file, path)
        } else {
            index!(Mp4FileDemuxer, &mut file, path)
        };
        if frames.is_empty() || head.is_empty() {
            return Err(broken(path, "there is no H.264 video in it"));
        }
        let (decoder, start) = (Decoder::new()?, std::time::Instant::now());
        Ok(Self { file, frames, head, decoder, next: 0, start, repeat })
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
            if place.size > MAX_FRAME_BYTES * 4 {
                return Err(failed_read("a frame is too large"));
            }
            let mut data = vec![0; place.size];
            self.file.seek(SeekFrom::Start(place.offset)).map_err(failed_read)?;
            self.file.read_exact(&mut data).map_err(failed_read)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::pattern, *};

    #[test]
    fn frames_survive_both_kinds_of_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "a.y4m"] {
            let path = dir.path().join(name);
            let mut sink = create(&path).unwrap();
            let mut frame = Frame::black(320, 180);
            for number in 0..90 {
                pattern::draw(number, &mut frame);
                sink.show(&frame, Duration::from_millis(u64::from(number) * 33)).unwrap();
            }
            sink.finish().unwrap();
            drop(sink);
            if name == "a.mp4" {
                let mut seen = pattern::PatternSeen::default();
                frames(&path, |frame| {
                    seen.saw(frame);
                })
                .unwrap();
                assert!(seen.received > 80 && seen.bad == 0 && seen.out_of_order == 0, "{seen:?}");
                assert_eq!((seen.first, seen.last), (0, 89));
            } else {
                let mut source = open(&path, false).unwrap();
                let mut count = 0;
                while count < 5 && source.read(&mut frame).unwrap() {
                    assert_eq!(pattern::read(&frame), Some(count));
                    count += 1;
                }
                assert_eq!(count, 5);
            }
        }
    }

    #[test]
    fn what_is_no_video_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "a.y4m"] {
            let path = dir.path().join(name);
            std::fs::write(&path, b"no pictures here").unwrap();
            assert!(matches!(open(&path, false).err(), Some(MediaError::File(_))));
        }
    }
}
