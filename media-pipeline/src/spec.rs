//! What users call sources and sinks on the command line.

use std::{path::PathBuf, str::FromStr, sync::Arc};

use crate::{
    MediaError,
    audio::{
        self, AudioSink, AudioSource, Tone,
        device::{Loudspeaker, Microphone},
        receive::MakeAudioSink,
        send::MakeAudioSource,
    },
    limits::MAX_DIMENSION,
    video::{self, VideoSink, VideoSource, camera::Camera, pattern::Pattern, send::MakeVideoSource},
};

/// Where sound comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioIn {
    /// Nowhere.
    None,
    /// A tone of so many hertz.
    Tone(u32),
    /// What is heard, given back a moment later.
    Echo,
    /// A WAV or Ogg Opus file, again and again.
    File(PathBuf),
    /// A microphone.
    Device(String),
}

/// Where sound goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioOut {
    /// Nowhere.
    None,
    /// A WAV or Ogg Opus file.
    File(PathBuf),
    /// A loudspeaker.
    Device(String),
}

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoIn {
    /// Nowhere.
    None,
    /// The test pattern: width, height, frames a second.
    Pattern(usize, usize, u32),
    /// A Y4M or MP4 file, again and again.
    File(PathBuf),
    /// A camera.
    Device(String),
}

/// Where pictures go, besides the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoOut {
    /// Nowhere.
    None,
    /// A Y4M or MP4 file.
    File(PathBuf),
}

/// A name with a slash or one of these endings is a file.
fn file(text: &str, endings: &[&str]) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    let known = path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e.to_lowercase().as_str()));
    (known || text.contains('/')).then_some(path)
}

const SOUNDS: [&str; 3] = ["wav", "ogg", "opus"];
const PLAYED: [&str; 4] = ["wav", "ogg", "opus", "mp4"];
const PICTURES: [&str; 3] = ["mp4", "m4v", "y4m"];

fn wrong<T>(text: &str, known: &str) -> Result<T, MediaError> {
    Err(MediaError::Spec(format!("“{text}” is not understood: it can be {known}")))
}

impl FromStr for AudioIn {
    type Err = MediaError;

    fn from_str(text: &str) -> Result<Self, MediaError> {
        Ok(match text {
            "" => return wrong(text, "a file, a device, tone, or none"),
            "none" => Self::None,
            "tone" => Self::Tone(440),
            "echo" => Self::Echo,
            _ if text.starts_with("tone:") => match text[5..].parse() {
                Ok(hertz @ 50..=8_000) => Self::Tone(hertz),
                _ => return wrong(text, "tone:HERTZ, from 50 to 8000"),
            },
            _ => file(text, &PLAYED).map_or_else(|| Self::Device(text.into()), Self::File),
        })
    }
}

impl FromStr for AudioOut {
    type Err = MediaError;

    fn from_str(text: &str) -> Result<Self, MediaError> {
        Ok(match text {
            "" => return wrong(text, "a file, a device, or none"),
            "none" => Self::None,
            _ => file(text, &SOUNDS).map_or_else(|| Self::Device(text.into()), Self::File),
        })
    }
}

impl FromStr for VideoIn {
    type Err = MediaError;

    fn from_str(text: &str) -> Result<Self, MediaError> {
        Ok(match text {
            "" => return wrong(text, "a file, a device, pattern, or none"),
            "none" => Self::None,
            "pattern" => Self::Pattern(640, 360, 30),
            _ if text.starts_with("pattern:") => pattern(&text[8..]).map_or_else(
                || wrong(text, "pattern:WIDTHxHEIGHT@RATE, such as pattern:1280x720@30"),
                |(w, h, rate)| Ok(Self::Pattern(w, h, rate)),
            )?,
            _ => file(text, &PICTURES).map_or_else(|| Self::Device(text.into()), Self::File),
        })
    }
}

fn pattern(text: &str) -> Option<(usize, usize, u32)> {
    let (size, rate) = text.split_once('@').unwrap_or((text, "30"));
    let (width, height) = size.split_once('x')?;
    let (width, height, rate): (usize, usize, u32) = (width.parse().ok()?, height.parse().ok()?, rate.parse().ok()?);
    let good = (160..=MAX_DIMENSION).contains(&width) && (90..=MAX_DIMENSION).contains(&height);
    (good && width % 2 + height % 2 == 0 && (1..=60).contains(&rate)).then_some((width, height, rate))
}

impl FromStr for VideoOut {
    type Err = MediaError;

    fn from_str(text: &str) -> Result<Self, MediaError> {
        if text == "none" {
            return Ok(Self::None);
        }
        file(text, &PICTURES).map_or_else(|| wrong(text, "a file (.mp4 or .y4m) or none"), |path| Ok(Self::File(path)))
    }
}

impl AudioIn {
    /// How it is opened. An echo is made by the call itself.
    pub fn make(&self) -> Option<MakeAudioSource> {
        let spec = self.clone();
        if matches!(self, Self::None | Self::Echo) {
            return None;
        }
        Some(Arc::new(move || -> Result<Box<dyn AudioSource>, MediaError> {
            Ok(match &spec {
                Self::Tone(hertz) => Box::new(Tone::new(*hertz)),
                Self::File(path) => Box::new(audio::file::FileSource::open(path, true)?),
                Self::Device(name) => Box::new(Microphone::open(name)?),
                Self::None | Self::Echo => return Err(MediaError::Spec("there is no sound to open".into())),
            })
        }))
    }
}

impl AudioOut {
    /// How it is opened.
    pub fn make(&self) -> Option<MakeAudioSink> {
        let spec = self.clone();
        if *self == Self::None {
            return None;
        }
        Some(Arc::new(move || -> Result<Box<dyn AudioSink>, MediaError> {
            Ok(match &spec {
                Self::File(path) => Box::new(audio::file::FileSink::create(path)?),
                Self::Device(name) => Box::new(Loudspeaker::open(name)?),
                Self::None => Box::new(audio::NoSink::default()),
            })
        }))
    }
}

impl VideoIn {
    /// How it is opened.
    pub fn make(&self) -> Option<MakeVideoSource> {
        let spec = self.clone();
        if *self == Self::None {
            return None;
        }
        Some(Arc::new(move || -> Result<Box<dyn VideoSource>, MediaError> {
            Ok(match &spec {
                Self::Pattern(width, height, rate) => Box::new(Pattern::new(*width, *height, *rate)),
                Self::File(path) => video::file::open(path, true)?,
                Self::Device(name) => Box::new(Camera::open(name)?),
                Self::None => return Err(MediaError::Spec("there are no pictures to open".into())),
            })
        }))
    }
}

impl VideoOut {
    /// How it is opened.
    pub fn make(&self) -> Option<MakeVideoSink> {
        match self.clone() {
            Self::None => None,
            Self::File(path) => Some(Arc::new(move || video::file::create(&path))),
        }
    }
}

/// Opens a sink for a participant's video.
pub type MakeVideoSink = Arc<dyn Fn() -> Result<Box<dyn VideoSink>, MediaError> + Send + Sync>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_mean_what_they_say() {
        assert_eq!("tone:880".parse::<AudioIn>().unwrap(), AudioIn::Tone(880));
        assert_eq!("./my sound".parse::<AudioIn>().unwrap(), AudioIn::File("./my sound".into()));
        assert_eq!("out.wav".parse::<AudioOut>().unwrap(), AudioOut::File("out.wav".into()));
        assert_eq!("USB Headset".parse::<AudioIn>().unwrap(), AudioIn::Device("USB Headset".into()));
        assert_eq!("pattern:1280x720@30".parse::<VideoIn>().unwrap(), VideoIn::Pattern(1280, 720, 30));
        assert_eq!("out.mp4".parse::<VideoOut>().unwrap(), VideoOut::File("out.mp4".into()));
        for bad in ["tone:5", "tone:x"] {
            assert!(bad.parse::<AudioIn>().is_err());
        }
        for bad in ["pattern:9x9", "pattern:99999x2", "pattern:640x360@0"] {
            assert!(bad.parse::<VideoIn>().is_err());
        }
        assert!("camera".parse::<VideoOut>().is_err());
    }
}
