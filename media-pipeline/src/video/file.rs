//! Pictures from and to files: Y4M (raw, for tests and pipes) here, MP4 in [`super::mp4`].

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

use super::{
    Frame, Pace, VideoSink, VideoSource,
    mp4::{Mp4Sink, Mp4Source},
};
use crate::{MediaError, limits::MAX_DIMENSION};

pub(super) fn broken(path: &Path, error: impl std::fmt::Display) -> MediaError {
    MediaError::File(format!("{}: {error}", path.display()))
}

pub(super) fn failed(error: impl std::fmt::Display) -> MediaError {
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

pub(super) fn failed_read(error: impl std::fmt::Display) -> MediaError {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{
        super::{mp4::frames, pattern},
        *,
    };

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
