//! Calls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CallId, ChatId, DeviceId, Time};

/// A call as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Six emoji that are the same on both sides unless somebody is between them; empty until it is connected, and with a version that cannot compare them.
    pub emoji: String,
    /// What does not work, such as a sound device.
    pub trouble: Option<String>,
    /// The name of what does not work, from a list that grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble_code: Option<String>,
    /// Whether this side records it.
    pub recording: Consent,
    /// Whether the other side records it.
    pub recorded: Consent,
    /// Another device of this account hands it over to this one.
    pub moved: bool,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CallEnd>,
    /// What the other side said to its end, or the problem for which this side ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The name of the problem for which this side ended it, from a list that grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_code: Option<String>,
    /// The call that goes on in its place, when both sides called at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<CallId>,
}

/// The conversation of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallAt {
    /// Its id.
    pub id: ChatId,
}

words! {
    /// How far a call is.
    #[derive(Default)]
    CallPhase {
        /// Being prepared.
        #[default]
        Starting = "starting",
        /// Ringing.
        Ringing = "ringing",
        /// Answered, and not connected yet.
        Connecting = "connecting",
        /// Connected.
        Connected = "connected",
        /// The connection is lost, and is looked for.
        Interrupted = "interrupted",
        /// Over.
        Ended = "ended",
    }
}

words! {
    /// How a call ended.
    CallEnd {
        /// One side has hung up.
        HungUp = "hung_up",
        /// The called side did not want it.
        Declined = "declined",
        /// The called side was in another call.
        Busy = "busy",
        /// Nobody answered.
        NoAnswer = "no_answer",
        /// The caller has taken it back.
        Cancelled = "cancelled",
        /// Another device of the account has it.
        Elsewhere = "elsewhere",
        /// It could not be connected.
        Failed = "failed",
        /// The connection was lost.
        Lost = "lost",
        /// The check against somebody in between failed: a part of the emoji or a certificate was exchanged.
        Insecure = "insecure",
    }
}

words! {
    /// How far one side's wish to record a call is.
    #[derive(Default)]
    Consent {
        /// Nobody has asked.
        #[default]
        No = "no",
        /// The other side was asked, and has not answered.
        Asked = "asked",
        /// It was agreed to, and the call is recorded.
        Yes = "yes",
    }
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

words! {
    /// What somebody said about a recording.
    RecordingNote {
        /// Asked to record.
        Asked = "asked",
        /// Agreed to it.
        Agreed = "agreed",
        /// Did not agree to it.
        Refused = "refused",
        /// Ended it.
        Ended = "ended",
    }
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
    /// What was wrong; of a relay that works all the same, what could be better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
