//! What is known of a call at a moment, for people and for `--stats`.

use serde::Serialize;

use crate::{audio::Heard, participant::SelfState, video::pattern::PatternSeen};

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallStats {
    /// Since it began, in milliseconds.
    pub at_ms: u64,
    /// How we are.
    pub state: SelfState,
    /// Level of our microphone, 0.0 to 1.0.
    pub level: f32,
    /// Frames that were encoded, for all routes together.
    pub encoded_frames: u64,
    /// Frames that the rate control left out.
    pub skipped_frames: u64,
    /// One for each other participant.
    pub routes: Vec<RouteStats>,
}

/// One route of a call, and the participant at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteStats {
    /// Number of the route.
    pub route: u64,
    /// `connecting`, `connected`, `interrupted`, or `failed`.
    pub connection: &'static str,
    /// `direct` or `relay`.
    pub path: Option<&'static str>,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Bits a second that the path is thought to carry.
    pub target_bps: u32,
    /// Bits a second that were sent in the last second.
    pub sent_bps: u64,
    /// Bits a second that came in the last second.
    pub received_bps: u64,
    /// Packets of sound that the other side lost, in percent of the last second.
    pub remote_loss_percent: u8,
    /// Height of the video that we send; 0 is none.
    pub sent_height: u32,
    /// Frames that were dropped before the network.
    pub dropped_frames: u64,
    /// Key frames that the other side asked for.
    pub key_requests: u64,
    /// How the participant says it is.
    pub state: SelfState,
    /// What was heard of it.
    pub audio: Heard,
    /// What was seen of it.
    pub video: VideoStats,
}

/// Received video.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VideoStats {
    /// Frames that were decoded.
    pub frames: u64,
    /// Of them in the last second.
    pub fps: f32,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Times that frames were missing.
    pub lost_frames: u64,
    /// Frames that could not be decoded.
    pub broken_frames: u64,
    /// Key frames that were asked for.
    pub key_requests: u64,
    /// The longest time between two frames, in milliseconds.
    pub longest_gap_ms: u64,
    /// The test pattern, if that is what came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternSeen>,
}
