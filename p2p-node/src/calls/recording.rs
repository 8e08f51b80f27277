//! Consent to recordings of calls. What is asked and answered is kept in the timelines of both sides, signed by who said it.

use std::path::PathBuf;

use starling_wire::{Call, CallId, CallSignal, EventId, Recording};

use super::{Consent, Effect, Engine, EngineError, Turn, no_call};
use crate::{
    api::types::{CallPhase, NodeError},
    calls::CallCommand,
    limits::MAX_RECORD_ASKS,
};

type Answer = Result<Result<(), NodeError>, EngineError>;

impl Engine {
    /// Asks to record to a file, or ends it.
    pub(crate) fn call_record(&mut self, turn: &mut Turn<'_>, id: CallId, path: Option<PathBuf>) -> Answer {
        let Some(talk) = self.calls.find(id) else { return Ok(Err(no_call())) };
        let Some(path) = path else {
            if talk.recording.0 == Consent::No {
                return Ok(Err(NodeError::Refused("this call is not being recorded".into())));
            }
            self.recording_over(turn, id)?;
            return Ok(Ok(()));
        };
        if !matches!(talk.phase, CallPhase::Connected | CallPhase::Interrupted) {
            return Ok(Err(NodeError::Refused("a call can be recorded once it is connected".into())));
        }
        if talk.recording.0 != Consent::No {
            return Ok(Err(NodeError::Refused("a recording of this call was asked for already".into())));
        }
        let question = talk.recording.1.wrapping_add(1);
        talk.recording = (Consent::Asked, question, Some(path));
        self.say_recording(turn, id, Recording::Asked, question)?;
        Ok(Ok(()))
    }

    /// Answers the other side, or takes an answer back.
    pub(crate) fn call_consent(&mut self, turn: &mut Turn<'_>, id: CallId, agree: bool) -> Answer {
        let Some(talk) = self.calls.find(id) else { return Ok(Err(no_call())) };
        match (talk.recorded.0, agree) {
            (Consent::No, _) => return Ok(Err(NodeError::Refused("nobody asked to record this call".into()))),
            (Consent::Yes, true) => return Ok(Ok(())),
            _ => {}
        }
        talk.recorded.0 = if agree { Consent::Yes } else { Consent::No };
        let question = talk.recorded.1;
        self.say_recording(turn, id, if agree { Recording::Agreed } else { Recording::Refused }, question)?;
        Ok(Ok(()))
    }

    /// What the other side says.
    pub(crate) fn on_recording(
        &mut self,
        turn: &mut Turn<'_>,
        id: CallId,
        event: EventId,
        what: Recording,
        question: u32,
    ) -> Result<(), EngineError> {
        let Some(talk) = self.calls.find(id) else { return Ok(()) };
        // An answer to an older question is none to this one: it may have been about something else.
        let (ours, theirs) = (question == talk.recording.1, question == talk.recorded.1);
        let effect = match what {
            Recording::Asked if talk.recorded.0 == Consent::No && talk.recorded.2 < MAX_RECORD_ASKS => {
                talk.recorded = (Consent::Asked, question, talk.recorded.2 + 1);
                None
            }
            Recording::Ended if theirs && talk.recorded.0 != Consent::No => {
                talk.recorded.0 = Consent::No;
                None
            }
            Recording::Agreed if ours && talk.recording.0 == Consent::Asked => {
                talk.recording.0 = Consent::Yes;
                Some(CallCommand::Record(id, question, talk.recording.2.take()))
            }
            Recording::Refused if ours && talk.recording.0 != Consent::No => {
                talk.recording = (Consent::No, question, None);
                Some(CallCommand::Record(id, question, None))
            }
            // Out of turn.
            _ => return Ok(()),
        };
        if let Some(effect) = effect {
            turn.emit(Effect::Call(effect));
        }
        self.keep_recording(turn, id, event, what, false)?;
        self.call_changed(turn, id);
        Ok(())
    }

    /// We no longer record, or no longer want to.
    pub(crate) fn recording_over(&mut self, turn: &mut Turn<'_>, id: CallId) -> Result<(), EngineError> {
        let Some(talk) = self.calls.find(id).filter(|t| t.recording.0 != Consent::No) else { return Ok(()) };
        let question = talk.recording.1;
        talk.recording = (Consent::No, question, None);
        turn.emit(Effect::Call(CallCommand::Record(id, question, None)));
        self.say_recording(turn, id, Recording::Ended, question)
    }

    fn say_recording(
        &mut self,
        turn: &mut Turn<'_>,
        id: CallId,
        what: Recording,
        question: u32,
    ) -> Result<(), EngineError> {
        let Some((chat, wire)) = self.calls.find(id).map(|t| (t.chat, t.wire)) else { return Ok(()) };
        let event = self.tell_call(turn, chat, wire, CallSignal::Recording { what, question });
        self.keep_recording(turn, id, event, what, true)?;
        self.call_changed(turn, id);
        Ok(())
    }

    fn keep_recording(
        &mut self,
        turn: &Turn<'_>,
        id: CallId,
        event: EventId,
        what: Recording,
        own: bool,
    ) -> Result<(), EngineError> {
        let Some(talk) = self.calls.list.iter().find(|c| c.id == id) else { return Ok(()) };
        if event == EventId::default() {
            return Ok(());
        }
        let (chat, call) = (talk.chat, Call { id, signal: CallSignal::Recording { what, question: 0 } });
        self.put_note(turn, chat, event, own, call)
    }
}
