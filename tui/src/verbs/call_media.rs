//! What a call on the command line reads and writes, checked before the call is made.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use starling_control::{methods::calls::Media, objects::CallStats};
use starling_node::{
    media::{MediaError, audio, files, video},
    spec::{AudioIn, AudioOut, VideoIn, VideoOut},
};
use tempfile::NamedTempFile;

use crate::{
    cli::MediaArgs,
    error::{CliError, CliResult},
    output::json_line,
    signals,
};

/// Bytes that are taken from a pipe: they are kept in a file, as they are played again and again.
const MAX_PIPED: u64 = 1 << 30;

/// Where sound and pictures come from and go to.
pub struct CallMedia {
    /// Without whether it begins with the camera on.
    pub media: Media,
    pub stats: StatsFile,
    /// What came from pipes. The files are removed when this is dropped.
    _piped: Vec<NamedTempFile>,
}

impl CallMedia {
    /// Checks all of it. Nothing that was there before is changed if it is refused.
    pub async fn open(media: &MediaArgs) -> CliResult<Self> {
        let media = media.clone();
        // A pipe may have no writer yet: signals count while it is waited for.
        let opened = tokio::task::spawn_blocking(move || Self::open_files(&media));
        signals::unless_received(async { opened.await.map_err(CliError::internal)? }).await
    }

    fn open_files(media: &MediaArgs) -> CliResult<Self> {
        let mut checked = Media { relay_only: Some(media.relay_only), ..Media::default() };
        let (mut inputs, mut outputs, mut piped) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(text) = &media.audio_in {
            let mut value = text.clone();
            if let AudioIn::File(path) = text.parse().map_err(|e| wrong("audio-in", e))? {
                let path = input(&path, &mut piped).map_err(|e| wrong("audio-in", e))?;
                audio::file::FileSource::open(&path, true).map_err(|e| wrong("audio-in", e))?;
                value = text_of(&path);
                inputs.push(path);
            }
            checked.audio_in = Some(value);
        }
        if let Some(text) = &media.video_in {
            let mut value = text.clone();
            if let VideoIn::File(path) = text.parse().map_err(|e| wrong("video-in", e))? {
                let path = input(&path, &mut piped).map_err(|e| wrong("video-in", e))?;
                video::file::open(&path, true).map_err(|e| wrong("video-in", e))?;
                value = text_of(&path);
                inputs.push(path);
            }
            checked.video_in = Some(value);
        }
        if let Some(text) = &media.audio_out {
            let mut value = text.clone();
            if let AudioOut::File(path) = text.parse().map_err(|e| wrong("audio-out", e))? {
                value = absolute(&path);
                outputs.push(path);
            }
            checked.audio_out = Some(value);
        }
        if let Some(text) = &media.video_out {
            let mut value = text.clone();
            if let VideoOut::File(path) = text.parse().map_err(|e| wrong("video-out", e))? {
                value = absolute(&path);
                outputs.push(path);
            }
            checked.video_out = Some(value);
        }
        if let Some(path) = &media.record {
            starling_node::media::record::check(path).map_err(|e| wrong("record", e))?;
        }
        outputs.extend(media.record.iter().chain(&media.stats).cloned());
        files::check(&inputs, &outputs).map_err(|e| CliError::usage(e.to_string()))?;
        Ok(Self { media: checked, stats: StatsFile::open(media.stats.as_deref())?, _piped: piped })
    }
}

fn wrong(name: &str, error: MediaError) -> CliError {
    CliError::usage(format!("--{name}: {error}"))
}

/// The file that is read for a path: itself, or, for a pipe, a copy that another process can open, and open again.
fn input(path: &Path, piped: &mut Vec<NamedTempFile>) -> Result<PathBuf, MediaError> {
    let failed = |e: std::io::Error| MediaError::File(format!("{}: {e}", path.display()));
    if fs::metadata(path).map_err(failed)?.is_file() {
        return fs::canonicalize(path).map_err(failed);
    }
    let mut pipe = fs::File::open(path).map_err(failed)?.take(MAX_PIPED + 1);
    let mut start = Vec::new();
    pipe.by_ref().take(16).read_to_end(&mut start).map_err(failed)?;
    let mut copy = tempfile::Builder::new().suffix(ending(&start)).tempfile().map_err(failed)?;
    copy.write_all(&start).map_err(failed)?;
    let size = std::io::copy(&mut pipe, &mut copy).map_err(failed)?;
    if size + start.len() as u64 > MAX_PIPED {
        return Err(failed(std::io::Error::other("there is more than 1 GiB in it")));
    }
    let path = copy.path().to_owned();
    piped.push(copy);
    Ok(path)
}

/// What a file that begins like this would be called.
fn ending(start: &[u8]) -> &'static str {
    match start {
        [b'O', b'g', b'g', b'S', ..] => ".ogg",
        [b'R', b'I', b'F', b'F', ..] => ".wav",
        [b'Y', b'U', b'V', b'4', ..] => ".y4m",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => ".mp4",
        _ => "",
    }
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A file is meant from here, also where another process opens it.
pub fn absolute(path: &Path) -> String {
    text_of(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// Where `--stats` goes: a line each second.
pub struct StatsFile(Option<fs::File>);

impl StatsFile {
    fn open(path: Option<&Path>) -> CliResult<Self> {
        let open = |path: &Path| {
            fs::File::create(path).map_err(|e| CliError::usage(format!("--stats {}: {e}", path.display())))
        };
        Ok(Self(path.map(open).transpose()?))
    }

    pub fn write(&mut self, stats: Option<&CallStats>) -> CliResult {
        if let (Some(file), Some(stats)) = (&mut self.0, stats) {
            // In one piece: whoever reads along sees whole lines.
            file.write_all(format!("{}\n", json_line(stats)).as_bytes())?;
        }
        Ok(())
    }
}
