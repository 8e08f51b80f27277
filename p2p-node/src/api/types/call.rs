//! Calls.

use std::path::PathBuf;

use starling_keys::{AccountId, DeviceId};
use starling_media::spec::{AudioIn, AudioOut, VideoIn, VideoOut};
use starling_wire::{CallEnd, CallId, Recording};

use super::ChatId;
use crate::api::problem::CallProblem;

/// What is kept of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallNote {
    /// The call.
    pub id: CallId,
    /// With pictures.
    pub video: bool,
    /// How it ended.
    pub why: CallEnd,
    /// How long people talked, in milliseconds.
    pub duration_ms: u64,
    /// It is about a recording instead: what its author said.
    pub recording: Option<Recording>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPhase {
    /// The way is being prepared.
    Starting,
    /// It rings.
    Ringing,
    /// It was answered, and media do not flow yet.
    Connecting,
    /// Media flow.
    Connected,
    /// Media have stopped; a way round is looked for.
    Interrupted,
    /// It is over.
    Ended,
}

impl CallPhase {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ringing => "ringing",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Interrupted => "interrupted",
            Self::Ended => "ended",
        }
    }
}

/// How far one side's wish to record a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consent {
    /// Nobody asked.
    #[default]
    No,
    /// It was asked, and not answered.
    Asked,
    /// It was agreed to: the call is recorded.
    Yes,
}

impl Consent {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Asked => "asked",
            Self::Yes => "yes",
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEnded {
    /// The kind of its end.
    pub why: CallEnd,
    /// What the user who ended it said; empty if nothing.
    pub text: String,
    /// What this node has ended it for.
    pub problem: Option<CallProblem>,
}

impl CallEnded {
    /// Its end, with what the user who ended it said.
    pub fn said(why: CallEnd, text: String) -> Self {
        Self { why, text, problem: None }
    }

    /// Its end for a problem here.
    pub fn by(why: CallEnd, problem: CallProblem) -> Self {
        Self { why, text: String::new(), problem: Some(problem) }
    }
}

impl From<CallEnd> for CallEnded {
    fn from(why: CallEnd) -> Self {
        Self::said(why, String::new())
    }
}

/// A call as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallInfo {
    /// Its id here.
    pub id: CallId,
    /// The conversation.
    pub chat: ChatId,
    /// We made it.
    pub outgoing: bool,
    /// With pictures.
    pub video: bool,
    /// How far it is.
    pub phase: CallPhase,
    /// Since when media flow, milliseconds since 1970; 0 before.
    pub connected_ms: u64,
    /// How it ended.
    pub end: Option<CallEnded>,
    /// Another call was there first.
    pub waiting: bool,
    /// Six emoji that both sides see if nobody is between them; empty before media flow.
    pub emoji: String,
    /// What does not work: a device, a file.
    pub trouble: Option<CallProblem>,
    /// Whether we record it.
    pub recording: Consent,
    /// Whether the other side does.
    pub recorded: Consent,
    /// Both called at once: the call goes on under this id.
    pub replaced_by: Option<CallId>,
    /// Another device of ours hands it over to this one.
    pub moved: bool,
    /// The others in it, each with the device that speaks for them, once that is known.
    pub participants: Vec<(AccountId, Option<DeviceId>)>,
}

/// A call that another device of ours has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallElsewhere {
    /// The conversation.
    pub chat: ChatId,
    /// The device.
    pub device: DeviceId,
    /// With pictures.
    pub video: bool,
    /// Since when they talk, milliseconds since 1970.
    pub since_ms: u64,
}

/// What a call captures, where it goes, and how it may be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSetup {
    /// Sound in.
    pub audio_in: AudioIn,
    /// Sound out.
    pub audio_out: AudioOut,
    /// Pictures in.
    pub video_in: VideoIn,
    /// Pictures out, besides the screen.
    pub video_out: VideoOut,
    /// The camera is on from the beginning.
    pub camera: bool,
    /// Only through a relay: the other side does not learn our address.
    pub relay_only: bool,
}

impl CallSetup {
    /// The files that the call reads, and those that it writes.
    pub fn files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        if let AudioIn::File(path) = &self.audio_in {
            inputs.push(path.clone());
        }
        if let VideoIn::File(path) = &self.video_in {
            inputs.push(path.clone());
        }
        if let AudioOut::File(path) = &self.audio_out {
            outputs.push(path.clone());
        }
        if let VideoOut::File(path) = &self.video_out {
            outputs.push(path.clone());
        }
        (inputs, outputs)
    }
}
