//! Consent to recordings of calls. What is asked and answered is kept in the timelines of both sides, signed by its author.

use std::path::PathBuf;

use starling_wire::{Call, CallId, CallSignal, EventId, Recording};

use super::{Calls, host::CallHost, limits::MAX_RECORD_ASKS, no_call};
use crate::{
    api::{
        error::{CallRefused, NodeError},
        types::Consent,
    },
    call_media::{CallCommand, RouteId},
    turn::EngineError,
};

type Answer = Result<Result<(), NodeError>, EngineError>;

impl Calls {
    /// Asks to record to a file, or ends it.
    pub(super) fn record(&mut self, host: &mut dyn CallHost, id: CallId, path: Option<PathBuf>) -> Answer {
        let Some(session) = self.find(id) else { return Ok(Err(no_call())) };
        let established = session.is_established();
        let recording = &mut session.recording;
        let Some(path) = path else {
            if recording.consent == Consent::No {
                return Ok(Err(CallRefused::NotRecorded.into()));
            }
            self.end_recording(host, id)?;
            return Ok(Ok(()));
        };
        if !established {
            return Ok(Err(CallRefused::RecordBeforeConnected.into()));
        }
        if recording.consent != Consent::No {
            return Ok(Err(CallRefused::RecordingAsked.into()));
        }
        recording.consent = Consent::Asked;
        recording.question = recording.question.wrapping_add(1);
        recording.path = Some(path);
        let question = recording.question;
        self.say_recording(host, id, Recording::Asked, question)?;
        Ok(Ok(()))
    }

    /// Answers everybody who asked to record, or takes the answer back.
    pub(super) fn consent(&mut self, host: &mut dyn CallHost, id: CallId, agree: bool) -> Answer {
        let Some(session) = self.find(id) else { return Ok(Err(no_call())) };
        let wishes = session.participants.iter_mut().map(|participant| &mut participant.recorded);
        let mut wishes = wishes.filter(|wish| wish.consent != Consent::No).peekable();
        if wishes.peek().is_none() {
            return Ok(Err(CallRefused::NobodyAskedToRecord.into()));
        }
        let mut questions = Vec::new();
        for wish in wishes.filter(|wish| !(agree && wish.consent == Consent::Yes)) {
            wish.consent = if agree { Consent::Yes } else { Consent::No };
            questions.push(wish.question);
        }
        for question in questions {
            self.say_recording(host, id, if agree { Recording::Agreed } else { Recording::Refused }, question)?;
        }
        Ok(Ok(()))
    }

    /// A signal of a participant about a recording.
    pub(super) fn on_recording(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        route: RouteId,
        event: EventId,
        what: Recording,
        question: u32,
    ) -> Result<(), EngineError> {
        let Some(session) = self.find(id) else { return Ok(()) };
        let ours = question == session.recording.question;
        let consent = session.recording.consent;
        let Some(theirs) = session.on_route(route).map(|participant| &mut participant.recorded) else { return Ok(()) };
        // An answer to an older question is none to this one: it may have been about something else.
        match what {
            Recording::Asked if theirs.consent == Consent::No && theirs.asked < MAX_RECORD_ASKS => {
                (theirs.consent, theirs.question, theirs.asked) = (Consent::Asked, question, theirs.asked + 1);
            }
            Recording::Ended if question == theirs.question && theirs.consent != Consent::No => {
                theirs.consent = Consent::No;
            }
            Recording::Agreed if ours && consent == Consent::Asked => {
                session.recording.consent = Consent::Yes;
                host.media(CallCommand::Record(id, question, session.recording.path.take()));
            }
            Recording::Refused if ours && consent != Consent::No => {
                (session.recording.consent, session.recording.path) = (Consent::No, None);
                host.media(CallCommand::Record(id, question, None));
            }
            // Out of turn.
            _ => return Ok(()),
        }
        self.keep_recording(host, id, event, what, false)?;
        self.changed(host, id);
        Ok(())
    }

    /// We no longer record, or no longer want to.
    pub(super) fn end_recording(&mut self, host: &mut dyn CallHost, id: CallId) -> Result<(), EngineError> {
        let Some(session) = self.find(id) else { return Ok(()) };
        let recording = &mut session.recording;
        if recording.consent == Consent::No {
            return Ok(());
        }
        (recording.consent, recording.path) = (Consent::No, None);
        let question = recording.question;
        host.media(CallCommand::Record(id, question, None));
        self.say_recording(host, id, Recording::Ended, question)
    }

    fn say_recording(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        what: Recording,
        question: u32,
    ) -> Result<(), EngineError> {
        let Some((chat, wire_id)) = self.find(id).map(|session| (session.chat, session.wire_id)) else { return Ok(()) };
        let signal = CallSignal::Recording { what, question };
        if let Some(event) = host.signal(chat, Call { id: wire_id, signal }) {
            self.keep_recording(host, id, event, what, true)?;
        }
        self.changed(host, id);
        Ok(())
    }

    fn keep_recording(
        &self,
        host: &mut dyn CallHost,
        id: CallId,
        event: EventId,
        what: Recording,
        own: bool,
    ) -> Result<(), EngineError> {
        let Some(session) = self.sessions.iter().find(|session| session.id == id) else { return Ok(()) };
        host.put_row(session.chat, event, own, Call { id, signal: CallSignal::Recording { what, question: 0 } })
    }
}
