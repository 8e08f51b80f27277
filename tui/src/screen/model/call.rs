//! A call, as the screen knows it.

use std::time::{Duration, Instant};

use serde::Deserialize;

/// What somebody in a call has turned on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MediaState {
    pub microphone: bool,
    pub camera: bool,
    pub hold: bool,
    pub recording: bool,
    pub sharing: bool,
}

/// Sound that comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AudioStats {
    pub packets: f64,
    pub lost: f64,
    /// From 0 to 1.
    pub level: f64,
}

/// Pictures that come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VideoStats {
    pub height: u64,
    pub fps: f64,
}

/// The way to the other side.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Route {
    /// `relay`, or how else; not known at the beginning.
    pub path: Option<String>,
    pub rtt_ms: Option<f64>,
    /// Bits a second.
    pub sent_bps: Option<f64>,
    pub received_bps: Option<f64>,
    pub audio: Option<AudioStats>,
    pub video: Option<VideoStats>,
    pub state: Option<MediaState>,
}

/// What a call's media report, with each picture.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CallStats {
    /// Our own.
    pub state: Option<MediaState>,
    /// Of our microphone, from 0 to 1.
    pub level: Option<f64>,
    /// We may type into the other side's terminal.
    pub has_hand: bool,
    pub routes: Vec<Route>,
}

impl CallStats {
    /// From a frame; what is not valid counts as nothing known.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    #[default]
    No,
    Asked,
    Yes,
}

/// A call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallState {
    pub id: String,
    pub chat: String,
    /// Safe to be shown.
    pub name: String,
    /// `starting`, `ringing`, `connecting`, `connected`, `interrupted` or `ended`.
    pub state: String,
    pub outgoing: bool,
    /// Another device of ours hands it over.
    pub moved: bool,
    pub video: bool,
    /// What both sides compare.
    pub emoji: String,
    pub since: Option<Instant>,
    pub ours: Recording,
    pub theirs: Recording,
    /// As they came last.
    pub stats: CallStats,
}

impl CallState {
    /// Somebody calls us, and nobody has answered yet.
    pub fn rings(&self) -> bool {
        !self.outgoing && self.state == "ringing"
    }

    /// The two talk, or did until just now.
    pub fn connected(&self) -> bool {
        matches!(self.state.as_str(), "connected" | "interrupted")
    }

    /// When its clock goes on.
    pub fn next_second(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.connected())?;
        Some(since + Duration::from_secs(since.elapsed().as_secs() + 1))
    }

    /// How long it has lasted.
    pub fn clock(&self) -> String {
        let seconds = self.since.map_or(0, |s| s.elapsed().as_secs());
        match seconds {
            0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
            _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        }
    }

    /// What we have turned on.
    pub fn own_media(&self) -> MediaState {
        self.stats.state.unwrap_or_default()
    }

    /// To show at once what will be reported soon.
    pub fn own_media_mut(&mut self) -> &mut MediaState {
        self.stats.state.get_or_insert_default()
    }

    /// What the other side has turned on; `None` before that is known.
    pub fn their_media(&self) -> Option<MediaState> {
        self.stats.routes.first()?.state
    }

    /// How loud they are.
    pub fn their_level(&self) -> f64 {
        self.stats.routes.first().and_then(|route| route.audio).unwrap_or_default().level
    }

    /// Whether we see them, or will.
    pub fn shows_them(&self) -> bool {
        self.their_media().is_some_and(|media| media.camera)
    }

    /// Somebody records it, with consent or as they say themselves.
    pub fn is_recorded(&self) -> bool {
        self.ours == Recording::Yes
            || self.theirs == Recording::Yes
            || self.own_media().recording
            || self.their_media().is_some_and(|media| media.recording)
    }

    /// Whether its packets go directly to the other side; `None` before that is known.
    pub fn is_direct(&self) -> Option<bool> {
        let path = self.stats.routes.first()?.path.as_deref().filter(|_| self.connected())?;
        Some(path != "relay")
    }

    /// Loss, round trip, rate and path, in one line.
    pub fn quality(&self) -> String {
        let (Some(direct), Some(route)) = (self.is_direct(), self.stats.routes.first()) else { return String::new() };
        let audio = route.audio.unwrap_or_default();
        let packets = audio.packets + audio.lost;
        let loss = if packets > 0.0 { audio.lost * 100.0 / packets } else { 0.0 };
        let mut line = if direct { "direct".to_owned() } else { "relayed".to_owned() };
        if let Some(rtt) = route.rtt_ms {
            line.push_str(&format!(" · {rtt:.0} ms"));
        }
        line.push_str(&format!(" · {loss:.1} % lost"));
        let rate = (route.sent_bps.unwrap_or(0.0) + route.received_bps.unwrap_or(0.0)) / 1e3;
        line.push_str(&format!(" · {rate:.0} kbit/s"));
        if let Some(video) = route.video.filter(|video| video.fps > 0.5) {
            line.push_str(&format!(" · {}p {:.0} fps", video.height, video.fps));
        }
        line
    }
}

/// How a call has ended, and what else an event says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallNews {
    /// `declined`, `busy`, …
    pub reason: String,
    /// What the other side said to it.
    pub text: String,
    /// Another call takes its place.
    pub replaced: bool,
    /// What went wrong with sound or pictures.
    pub trouble: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_tells_how_good_a_call_is_once_that_is_known() {
        let mut call = CallState { state: "connected".into(), ..CallState::default() };
        assert_eq!((call.quality().as_str(), call.is_direct()), ("", None));
        let stats = json!({ "state": { "microphone": true, "later": 1 }, "routes": [{ "path": "relay", "rtt_ms": 20.4,
            "sent_bps": 1000, "received_bps": 2000, "audio": { "packets": 99, "lost": 1 }, "video": { "height": 360, "fps": 15 } }] });
        call.stats = CallStats::from_bytes(stats.to_string().as_bytes());
        assert_eq!(call.quality(), "relayed · 20 ms · 1.0 % lost · 3 kbit/s · 360p 15 fps");
        assert!(call.own_media().microphone && !call.shows_them() && !call.is_recorded());
        call.stats = CallStats::from_bytes(b"nonsense");
        assert_eq!(call.stats, CallStats::default());
        call.theirs = Recording::Yes;
        assert!(call.is_recorded());
    }
}
