//! Calls, and what they use.

use starling_control::objects::{self, CallAt};
use starling_node::{
    CallElsewhere, CallEnd, CallInfo, CallNote, CallPhase, Consent, Recording,
    media::{audio, video},
};

use super::{id, known_time, time};
use crate::error::problem;

fn call_end(end: CallEnd) -> objects::CallEnd {
    match end {
        CallEnd::HungUp => objects::CallEnd::HungUp,
        CallEnd::Declined => objects::CallEnd::Declined,
        CallEnd::Busy => objects::CallEnd::Busy,
        CallEnd::NoAnswer => objects::CallEnd::NoAnswer,
        CallEnd::Cancelled => objects::CallEnd::Cancelled,
        CallEnd::Elsewhere => objects::CallEnd::Elsewhere,
        CallEnd::Failed => objects::CallEnd::Failed,
        CallEnd::Lost => objects::CallEnd::Lost,
        CallEnd::Insecure => objects::CallEnd::Insecure,
    }
}

fn consent(consent: Consent) -> objects::Consent {
    match consent {
        Consent::No => objects::Consent::No,
        Consent::Asked => objects::Consent::Asked,
        Consent::Yes => objects::Consent::Yes,
    }
}

pub(super) fn note(note: CallNote) -> objects::CallNote {
    let recording = note.recording.map(|said| match said {
        Recording::Asked => objects::RecordingNote::Asked,
        Recording::Agreed => objects::RecordingNote::Agreed,
        Recording::Refused => objects::RecordingNote::Refused,
        Recording::Ended => objects::RecordingNote::Ended,
    });
    objects::CallNote {
        id: id(note.id),
        video: note.video,
        reason: call_end(note.why),
        duration_ms: note.duration_ms,
        recording,
    }
}

pub fn call(c: &CallInfo) -> objects::Call {
    let state = match c.phase {
        CallPhase::Starting => objects::CallPhase::Starting,
        CallPhase::Ringing => objects::CallPhase::Ringing,
        CallPhase::Connecting => objects::CallPhase::Connecting,
        CallPhase::Connected => objects::CallPhase::Connected,
        CallPhase::Interrupted => objects::CallPhase::Interrupted,
        CallPhase::Ended => objects::CallPhase::Ended,
    };
    let (trouble_code, trouble) = c.trouble.as_ref().map(problem::call).unzip();
    let (problem_code, problem) = c.end.as_ref().and_then(|end| end.problem.as_ref()).map(problem::call).unzip();
    objects::Call {
        id: id(c.id),
        chat: CallAt { id: id(c.chat) },
        outgoing: c.outgoing,
        video: c.video,
        state,
        connected_at: known_time(c.connected_ms),
        waiting: c.waiting,
        emoji: c.emoji.clone(),
        trouble,
        trouble_code: trouble_code.map(str::to_owned),
        recording: consent(c.recording),
        recorded: consent(c.recorded),
        moved: c.moved,
        reason: c.end.as_ref().map(|end| call_end(end.why)),
        text: problem.or_else(|| c.end.as_ref().map(|end| end.text.clone())),
        problem_code: problem_code.map(str::to_owned),
        replaced_by: c.replaced_by.map(id),
    }
}

pub fn call_elsewhere(c: &CallElsewhere) -> objects::CallElsewhere {
    objects::CallElsewhere {
        chat: CallAt { id: id(c.chat) },
        device: id(c.device),
        video: c.video,
        connected_at: time(c.since_ms),
    }
}

/// What this machine has for calls. Asking the system takes a moment.
pub fn media_devices() -> objects::MediaDevices {
    let sound = audio::device::devices().into_iter().map(|device| {
        let audio::device::AudioDevice { system, name, input, output, default } = device;
        objects::SoundDevice { system, name, input, output, default }
    });
    let cameras = video::camera::cameras().into_iter();
    let cameras = cameras.map(|camera| objects::CameraDevice { name: camera.name, number: camera.number });
    objects::MediaDevices { audio: sound.collect(), cameras: cameras.collect() }
}
