//! What is measured of a call: the answer of `call.stats`, and the lines of `--stats`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A call, in the last second or since it began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallStats {
    /// Milliseconds since it began.
    pub at_ms: u64,
    /// What this side sends.
    pub state: SelfState,
    /// The level of the microphone, 0.0 to 1.0.
    pub level: f32,
    /// Frames of video that were encoded.
    pub encoded_frames: u64,
    /// Frames of video that the rate control left out.
    pub skipped_frames: u64,
    /// One for each other participant.
    pub routes: Vec<RouteStats>,
    /// The other side lets this side type in its shared terminal.
    pub has_hand: bool,
}

/// What a participant of a call sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfState {
    /// Its microphone is on.
    pub microphone: bool,
    /// Its camera is on.
    pub camera: bool,
    /// It holds the call.
    pub hold: bool,
    /// It shares a terminal.
    pub sharing: bool,
    /// It records the call.
    pub recording: bool,
}

/// The connection to one participant of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteStats {
    /// Its number.
    pub route: u64,
    /// `connecting`, `connected`, `interrupted` or `failed`.
    pub connection: String,
    /// `direct` or `relay`, once it is connected.
    pub path: Option<String>,
    /// The round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Bits a second that the path is thought to carry.
    pub target_bps: u32,
    /// Bits that were sent in the last second.
    pub sent_bps: u64,
    /// Bits that were received in the last second.
    pub received_bps: u64,
    /// Packets of sound that the other side lost in the last second, in percent.
    pub remote_loss_percent: u8,
    /// The height of the video that is sent; 0 for none.
    pub sent_height: u32,
    /// Frames that were dropped before the network.
    pub dropped_frames: u64,
    /// Key frames that the other side asked for.
    pub key_requests: u64,
    /// What the participant sends.
    pub state: SelfState,
    /// Its sound.
    pub audio: Heard,
    /// Its video.
    pub video: VideoStats,
}

/// Received sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// Packets that were decoded.
    pub packets: u64,
    /// Of those, lost on the way, sent again, and come in time.
    pub again: u64,
    /// Packets that were missing when they had to be played.
    pub lost: u64,
    /// Of those, restored from the next packet (in-band forward error correction).
    pub by_fec: u64,
    /// Of those, restored by deep redundancy.
    pub by_dred: u64,
    /// Of those, concealed.
    pub concealed: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// The longest time without sound that was sent, in milliseconds.
    pub longest_gap_ms: u64,
    /// Milliseconds that were added by stretching.
    pub stretched_ms: u64,
    /// Milliseconds that were left out, by shrinking or because they were old.
    pub shrunk_ms: u64,
    /// The delay of playout now, in milliseconds.
    pub delay_ms: u64,
    /// The level now, 0.0 to 1.0.
    pub level: f32,
}

/// Received video.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The test pattern, if that is what was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternSeen>,
}

/// What was received of the test pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PatternSeen {
    /// The number of the first frame.
    pub first: u32,
    /// The number of the last frame.
    pub last: u32,
    /// Frames with a number.
    pub received: u64,
    /// Numbers that are missing.
    pub gaps: u64,
    /// Frames whose number was not above the one before.
    pub out_of_order: u64,
    /// Frames without a readable number.
    pub bad: u64,
}
