//! What a user of the node asks of calls.

use std::path::PathBuf;

use starling_keys::DeviceId;
use starling_wire::{CallEnd, CallId, limits::MAX_CALL_TEXT};

use super::{
    Calls,
    attendance::AttendantId,
    host::{CallHost, reply},
    limits::MAX_CALLS,
    no_call,
    session::CallSession,
};
use crate::{
    api::{
        Reply,
        error::{CallRefused, NodeError},
        fail,
        types::{CallElsewhere, CallEnded, CallInfo, CallPhase, CallSetup, ChatId},
    },
    call_media::{CallCommand, CallServer},
    turn::EngineError,
};

/// A request about calls. Each is a method of `Node`, documented there.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum CallRequest {
    List(Reply<Vec<CallInfo>>),
    ListOnOtherDevices(Reply<Vec<CallElsewhere>>),
    Servers(Reply<Vec<CallServer>>),
    Start {
        chat: ChatId,
        setup: CallSetup,
        reply: Reply<CallId>,
    },
    Answer {
        id: CallId,
        setup: CallSetup,
        reply: Reply<()>,
    },
    HangUp {
        id: CallId,
        text: String,
        reply: Reply<()>,
    },
    /// To another device of ours; the only one, if none is named.
    Transfer {
        id: CallId,
        to: Option<DeviceId>,
        reply: Reply<()>,
    },
    /// From another device of ours.
    Fetch {
        chat: Option<ChatId>,
        setup: CallSetup,
        reply: Reply<CallId>,
    },
    /// To a file, or no longer.
    Record {
        id: CallId,
        path: Option<PathBuf>,
        reply: Reply<()>,
    },
    /// Others may record, or not.
    Consent {
        id: CallId,
        agree: bool,
        reply: Reply<()>,
    },
    Attend {
        id: CallId,
        attendant: AttendantId,
        reply: Reply<()>,
    },
    AttendantLeft(AttendantId),
    /// Open the microphone for this time, or leave it to the user again.
    Talk {
        id: CallId,
        for_ms: Option<u64>,
        reply: Reply<()>,
    },
}

impl CallRequest {
    /// Whether a device that is not part of the account any more may ask this: to look, and to end what there is.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::List(_)
            | Self::ListOnOtherDevices(_)
            | Self::HangUp { .. }
            | Self::Record { path: None, .. }
            | Self::Consent { agree: false, .. }
            | Self::Attend { .. }
            | Self::AttendantLeft(_)
            | Self::Talk { for_ms: None, .. } => true,
            Self::Servers(_)
            | Self::Start { .. }
            | Self::Answer { .. }
            | Self::Transfer { .. }
            | Self::Fetch { .. }
            | Self::Record { .. }
            | Self::Consent { .. }
            | Self::Talk { .. } => false,
        }
    }

    /// Fails a request.
    pub(crate) fn refuse(self, error: NodeError) {
        match self {
            Self::List(to) => fail(to, error),
            Self::ListOnOtherDevices(to) => fail(to, error),
            Self::Servers(to) => fail(to, error),
            Self::Start { reply: to, .. } | Self::Fetch { reply: to, .. } => fail(to, error),
            Self::Answer { reply: to, .. }
            | Self::HangUp { reply: to, .. }
            | Self::Transfer { reply: to, .. }
            | Self::Record { reply: to, .. }
            | Self::Consent { reply: to, .. }
            | Self::Attend { reply: to, .. }
            | Self::Talk { reply: to, .. } => fail(to, error),
            Self::AttendantLeft(_) => {}
        }
    }
}

impl Calls {
    /// Does what a user of the node asks.
    pub fn on_request(&mut self, host: &mut dyn CallHost, request: CallRequest) -> Result<(), EngineError> {
        let span = tracing::debug_span!("call", from = "user");
        let _entered = span.enter();
        match request {
            CallRequest::List(to) => reply(host, to, Ok(self.sessions.iter().map(|c| c.info(None)).collect())),
            CallRequest::ListOnOtherDevices(to) => reply(host, to, Ok(self.on_other_devices())),
            CallRequest::Servers(to) => self.servers_for_test(host, to),
            CallRequest::Start { chat, setup, reply: to } => {
                let result = self.start(host, chat, setup);
                reply(host, to, result);
            }
            CallRequest::Answer { id, setup, reply: to } => {
                let result = self.answer(host, id, setup);
                reply(host, to, result);
            }
            CallRequest::HangUp { id, text, reply: to } => {
                let result = self.hang_up(host, id, text)?;
                reply(host, to, result);
            }
            CallRequest::Transfer { id, to: device, reply: to } => {
                let result = self.transfer(host, id, device);
                reply(host, to, result);
            }
            CallRequest::Fetch { chat, setup, reply: to } => {
                let result = self.fetch(host, chat, setup);
                reply(host, to, result);
            }
            CallRequest::Record { id, path, reply: to } => {
                let result = self.record(host, id, path)?;
                reply(host, to, result);
            }
            CallRequest::Consent { id, agree, reply: to } => {
                let result = self.consent(host, id, agree)?;
                reply(host, to, result);
            }
            CallRequest::Attend { id, attendant, reply: to } => {
                let result = self.attend(id, attendant);
                reply(host, to, result);
            }
            CallRequest::AttendantLeft(attendant) => self.attendance.left(attendant, host.time().running),
            CallRequest::Talk { id, for_ms, reply: to } => {
                let result = self.talk(host, id, for_ms);
                reply(host, to, result);
            }
        }
        Ok(())
    }

    /// Calls the members of a conversation; if they call already, that call is answered.
    fn start(&mut self, host: &mut dyn CallHost, chat: ChatId, setup: CallSetup) -> Result<CallId, NodeError> {
        host.check_may_call(chat)?;
        let rings = |c: &&CallSession| c.chat == chat && c.is_incoming_ring() && c.media.setup.is_none();
        if let Some(id) = self.sessions.iter().find(rings).map(|c| c.id) {
            return self.answer(host, id, setup).map(|()| id);
        }
        if self.sessions.iter().any(|c| c.chat == chat) {
            return Err(CallRefused::InCall.into());
        }
        if self.on_other_devices().iter().any(|c| c.chat == chat) {
            return Err(CallRefused::InCallElsewhere.into());
        }
        if self.sessions.len() >= MAX_CALLS {
            return Err(CallRefused::TooManyCalls.into());
        }
        let id = host.new_id();
        let mut session = CallSession::new(id, chat, true, setup.camera);
        for account in host.members(chat) {
            session.add(account, None);
        }
        session.media.setup = Some(setup);
        self.sessions.push(session);
        self.hold_others(host, id);
        self.ask_for_servers(host, id);
        self.changed(host, id);
        Ok(id)
    }

    fn answer(&mut self, host: &mut dyn CallHost, id: CallId, setup: CallSetup) -> Result<(), NodeError> {
        let session = self.find(id).ok_or_else(no_call)?;
        if !session.is_incoming_ring() || session.handoff.requested.is_some() {
            return Err(CallRefused::NotRinging.into());
        }
        session.media.setup = Some(setup);
        session.notice.waiting = false;
        let (chat, wire_id) = (session.chat, session.wire_id);
        self.ring_was_answered(chat, wire_id);
        self.hold_others(host, id);
        self.ask_for_servers(host, id);
        Ok(())
    }

    /// Hangs up, declines or cancels.
    pub(super) fn hang_up(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        mut text: String,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let Some(session) = self.find(id) else { return Ok(Err(no_call())) };
        let why = match (session.phase, session.outgoing) {
            (CallPhase::Connected | CallPhase::Interrupted | CallPhase::Connecting, _) => CallEnd::HungUp,
            (_, true) => CallEnd::Cancelled,
            (_, false) => CallEnd::Declined,
        };
        text.truncate(text.floor_char_boundary(MAX_CALL_TEXT));
        self.end(host, id, CallEnded::said(why, text), true)?;
        Ok(Ok(()))
    }

    fn attend(&mut self, id: CallId, attendant: AttendantId) -> Result<(), NodeError> {
        self.find(id).ok_or_else(no_call)?;
        if self.attendance.attend(id, attendant) {
            return Ok(());
        }
        Err(CallRefused::TooManyAttendants.into())
    }

    fn talk(&mut self, host: &mut dyn CallHost, id: CallId, for_ms: Option<u64>) -> Result<(), NodeError> {
        let session = self.find(id).ok_or_else(no_call)?;
        if !session.media.started {
            return Err(CallRefused::NoMicrophone.into());
        }
        match for_ms {
            None => self.attendance.end_talk(id),
            Some(for_ms) => {
                self.attendance.talk(id, for_ms, host.time().running);
                host.media(CallCommand::Microphone(id, true));
            }
        }
        Ok(())
    }

    /// A call that is taken puts the others on hold.
    pub(super) fn hold_others(&mut self, host: &mut dyn CallHost, id: CallId) {
        for other in self.sessions.iter().filter(|c| c.id != id && c.media.started) {
            host.media(CallCommand::Hold(other.id, true));
        }
    }

    /// Writes the end of a call into its conversation without waiting for an answer: the node stops.
    pub fn hang_up_all(&mut self, host: &mut dyn CallHost) -> Result<(), EngineError> {
        for id in self.sessions.iter().map(|c| c.id).collect::<Vec<_>>() {
            // A ring is not declined by a program that ends: another may still answer.
            let rings = self.find(id).is_some_and(|c| c.is_incoming_ring());
            self.end(host, id, CallEnd::HungUp, !rings)?;
        }
        Ok(())
    }

    /// A conversation that is blocked or removed has no calls.
    pub fn end_all_in(&mut self, host: &mut dyn CallHost, chat: ChatId) -> Result<(), EngineError> {
        let ids: Vec<CallId> = self.sessions.iter().filter(|c| c.chat == chat).map(|c| c.id).collect();
        for id in ids {
            self.end(host, id, CallEnd::HungUp, true)?;
        }
        Ok(())
    }
}
