//! How a call ends, and the note that is kept of it.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Call, CallEnd, CallId, CallSignal};

use super::{Calls, host::CallHost, session::CallSession};
use crate::{
    api::{
        problem::CallProblem,
        types::{CallEnded, TransientEvent},
    },
    call_media::CallCommand,
    turn::EngineError,
};

impl Calls {
    /// Ends a call here, and, with `tell`, for the other side.
    pub(super) fn end(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        ended: impl Into<CallEnded>,
        tell: bool,
    ) -> Result<(), EngineError> {
        let CallEnded { mut why, text, problem } = ended.into();
        let Some(at) = self.sessions.iter().position(|c| c.id == id) else { return Ok(()) };
        let session = &self.sessions[at];
        // A call that never rang there is of no interest.
        if tell && (session.note.is_some() || !session.outgoing) {
            let signal = CallSignal::End { why, text: text.clone() };
            host.signal(session.chat, Call { id: session.wire_id, signal });
        }
        let here = session.connected.map(|(since, _)| host.time().running.saturating_sub(since));
        let talked_ms = here.map_or(0, |here| here + session.handoff.talked_ms);
        if here.is_none() && session.handoff.has_left() {
            // Another device of ours has it still, or had it first.
            why = CallEnd::Elsewhere;
        }
        self.write_note(host, id, why, talked_ms)?;
        let session = self.sessions.remove(at);
        tracing::debug!(%id, why = why.as_str(), talked_ms, "a call is over");
        if why == CallEnd::Elsewhere {
            self.ring_was_answered(session.chat, session.wire_id);
        }
        self.attendance.ended(id, None);
        self.keep_if_elsewhere(host, &session, why);
        if session.media.started {
            host.media(CallCommand::End(id));
        }
        if let Some(note) = session.note {
            let unanswered = matches!(why, CallEnd::NoAnswer | CallEnd::Cancelled | CallEnd::Busy);
            host.note_complete(session.chat, note, !session.outgoing && talked_ms == 0 && unanswered);
        }
        host.transient_event(TransientEvent::Call(Box::new(session.info(Some(CallEnded { why, text, problem })))));
        // One that waited is not the second any more.
        for other in &mut self.sessions {
            other.notice.waiting = false;
        }
        Ok(())
    }

    /// An account, ours or another, has other devices now: nobody talks to one that was removed.
    pub fn devices_changed(&mut self, host: &mut dyn CallHost, account: AccountId) -> Result<(), EngineError> {
        let listed = host.devices_of(account);
        if listed.is_empty() {
            // Not known yet.
            return Ok(());
        }
        let gone = |device: Option<DeviceId>| device.is_some_and(|device| !listed.contains(&device));
        let own = account == host.own().0;
        let is_over = |session: &&CallSession| {
            let with = session.participants.iter().any(|p| p.account == account && gone(p.device));
            with || own && !session.handoff.arrived && gone(session.handoff.from)
        };
        for id in self.sessions.iter().filter(is_over).map(|session| session.id).collect::<Vec<_>>() {
            self.end(host, id, CallEnded::by(CallEnd::HungUp, CallProblem::DeviceRemoved), true)?;
        }
        for session in &mut self.sessions {
            session.participants.iter_mut().filter(|p| gone(p.transferee)).for_each(|p| p.transferee = None);
            if own && gone(session.handoff.to) {
                session.handoff.to = None;
            }
        }
        self.end_at_other_devices(host, |call| gone(call.peer) || own && gone(Some(call.device)))
    }

    /// This device is none of its account any more.
    pub fn account_superseded(&mut self, host: &mut dyn CallHost) -> Result<(), EngineError> {
        for id in self.sessions.iter().map(|session| session.id).collect::<Vec<_>>() {
            self.end(host, id, CallEnded::by(CallEnd::HungUp, CallProblem::DeviceRemoved), true)?;
        }
        self.end_at_other_devices(host, |_| true)
    }

    /// Writes or changes the note of a call in the timeline.
    pub(super) fn write_note(
        &self,
        host: &mut dyn CallHost,
        id: CallId,
        why: CallEnd,
        duration_ms: u64,
    ) -> Result<(), EngineError> {
        let Some(session) = self.sessions.iter().find(|c| c.id == id) else { return Ok(()) };
        let Some(note) = session.note else { return Ok(()) };
        let signal = CallSignal::Note { why, video: session.video, duration_ms };
        host.put_row(session.chat, note, session.outgoing, Call { id, signal })
    }
}
