//! Calls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CallId, ChatId, DeviceId, Time};

/// A call as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// Its conversation.
    pub chat: CallAt,
    /// This account made it.
    pub outgoing: bool,
    /// It is with pictures.
    pub video: bool,
    /// How far it is.
    pub state: CallPhase,
    /// Since when sound and pictures are transmitted.
    pub connected_at: Option<Time>,
    /// Another call was there first.
    pub waiting: bool,
    /// Six emoji that are the same on both sides unless somebody is between them; empty until it is connected.
    pub emoji: String,
    /// What does not work, such as a sound device.
    pub trouble: Option<String>,
    /// Whether this side records it.
    pub recording: Consent,
    /// Whether the other side records it.
    pub recorded: Consent,
    /// Another device of this account hands it over to this one.
    pub moved: bool,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CallEnd>,
    /// What the other side said to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The call that goes on in its place, when both sides called at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<CallId>,
}

/// The conversation of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallAt {
    /// Its id.
    pub id: ChatId,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallPhase {
    /// Being prepared.
    Starting,
    /// Ringing.
    Ringing,
    /// Answered, and not connected yet.
    Connecting,
    /// Connected.
    Connected,
    /// The connection is lost, and is looked for.
    Interrupted,
    /// Over.
    Ended,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// One side has hung up.
    HungUp,
    /// The called side did not want it.
    Declined,
    /// The called side was in another call.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// The caller has taken it back.
    Cancelled,
    /// Another device of the account has it.
    Elsewhere,
    /// It could not be connected.
    Failed,
    /// The connection was lost.
    Lost,
}

/// How far one side's wish to record a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Nobody has asked.
    No,
    /// The other side was asked, and has not answered.
    Asked,
    /// It was agreed to, and the call is recorded.
    Yes,
}

/// What a conversation keeps of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallNote {
    /// The call.
    pub id: CallId,
    /// It was with pictures.
    pub video: bool,
    /// How it ended.
    pub reason: CallEnd,
    /// How long it was connected, in milliseconds.
    pub duration_ms: u64,
    /// The note is about a recording of the call instead: what its author said.
    pub recording: Option<RecordingNote>,
}

/// What somebody said about a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingNote {
    /// Asked to record.
    Asked,
    /// Agreed to it.
    Agreed,
    /// Did not agree to it.
    Refused,
    /// Ended it.
    Ended,
}

/// A call that another device of this account has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallElsewhere {
    /// Its conversation.
    pub chat: CallAt,
    /// The device.
    pub device: DeviceId,
    /// It is with pictures.
    pub video: bool,
    /// Since when it is connected.
    pub connected_at: Time,
}

/// What this machine has for calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaDevices {
    /// Microphones and loudspeakers.
    pub audio: Vec<SoundDevice>,
    /// Cameras.
    pub cameras: Vec<CameraDevice>,
}

/// A microphone or loudspeaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SoundDevice {
    /// The sound system that it belongs to.
    pub system: String,
    /// Its name, for `audio_in` and `audio_out`.
    pub name: String,
    /// It can record.
    pub input: bool,
    /// It can play.
    pub output: bool,
    /// It is what `default` stands for.
    pub default: bool,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CameraDevice {
    /// Its name, for `video_in`.
    pub name: String,
    /// Its number.
    pub number: u32,
}

/// What came of a call with ourselves through the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelayTest {
    /// Sound went through.
    pub ok: bool,
    /// How long the connection took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_up_ms: Option<u64>,
    /// Packets of sound that came within a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
