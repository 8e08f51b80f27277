//! Calls: who rings, who answers, how a call ends.
//!
//! [`Calls`] is a state machine that owns its state, its requests and their permissions. It takes requests of users ([`CallRequest`]), signals of other
//! devices ([`Calls::on_signal`]), what the media report ([`CallInput`]) and the time ([`Calls::on_time`]); what it needs of the node, and all that it
//! does to it, is [`CallHost`]. The media themselves run in `media`: they carry out a [`CallCommand`] after the turn that gave it.
//!
//! A call has participants, each an account with the device that speaks for it, and each on a route of its own. Nothing of a call survives a restart but
//! its note in the timeline, which is there from the first ring on: a device that dies while it rings has missed the call.

mod attendance;
mod ends;
mod handoff;
mod host;
pub(crate) mod limits;
mod node_host;
mod other_devices;
mod recording;
mod remote;
mod requests;
mod sas;
mod servers;
mod session;

use std::collections::{BTreeMap, VecDeque};

use starling_wire::{Call, CallEnd, CallId, CallSignal, limits::MAX_CANDIDATES};

use self::limits::{CALL_TRIES, CALL_TRY_MS};
use crate::{
    api::{
        Reply,
        error::{NodeError, NotFound},
        problem::CallProblem,
        types::{CallEnded, CallPhase, ChatId, TransientEvent},
    },
    call_media::{CallCommand, CallInput, CallServer, Fingerprints, Leg},
    turn::EngineError,
};
use attendance::{Attendance, AttendanceDue};
use other_devices::{EarlySignals, OtherDeviceCall};
use session::CallSession;

pub use attendance::AttendantId;
pub use host::{CallHost, CallTime};
pub use node_host::NodeHost;
pub use requests::CallRequest;

/// All calls.
#[derive(Debug, Default)]
pub struct Calls {
    sessions: Vec<CallSession>,
    attendance: Attendance,
    /// The calls of contacts that rang lately and were not answered, and when, in milliseconds that the node has run.
    rings: BTreeMap<ChatId, VecDeque<(CallId, u64)>>,
    /// Requests for servers, for a test; and until when they are waited for.
    wanted: Vec<(u64, Reply<Vec<CallServer>>)>,
    other_devices: Vec<OtherDeviceCall>,
    early: VecDeque<EarlySignals>,
}

/// Writes a signal about a call into its conversation.
fn signal(host: &mut dyn CallHost, session: &CallSession, signal: CallSignal) {
    host.signal(session.chat, Call { id: session.wire_id, signal });
}

/// The same for one that repairs the call's connection: what it would take is dead, or may be.
fn hasty_signal(host: &mut dyn CallHost, session: &CallSession, what: CallSignal) {
    signal(host, session, what);
    host.hasten(session.chat);
}

fn no_call() -> NodeError {
    NotFound::Call.into()
}

impl Calls {
    /// When something is due, in milliseconds that the node has run.
    pub fn next_due(&self) -> Option<u64> {
        let sessions = self.sessions.iter().filter_map(|c| c.deadline);
        let attendance = self.attendance.next_due(|id| self.has_media(id));
        sessions.chain(self.wanted.iter().map(|(due, _)| *due)).chain(attendance).min()
    }

    fn has_media(&self, id: CallId) -> bool {
        self.sessions.iter().any(|c| c.id == id && c.media.started)
    }

    fn find(&mut self, id: CallId) -> Option<&mut CallSession> {
        self.sessions.iter_mut().find(|c| c.id == id)
    }

    fn by_wire_id(&mut self, chat: ChatId, wire_id: CallId) -> Option<&mut CallSession> {
        self.sessions.iter_mut().find(|c| c.chat == chat && c.wire_id == wire_id)
    }

    fn changed(&mut self, host: &mut dyn CallHost, id: CallId) {
        if let Some(session) = self.find(id) {
            host.transient_event(TransientEvent::Call(Box::new(session.info(None))));
        }
    }

    /// What the media of a call report.
    pub fn on_media(&mut self, host: &mut dyn CallHost, input: CallInput) -> Result<(), EngineError> {
        let id = input.call();
        let span = tracing::debug_span!("call", %id, from = "media");
        let _entered = span.enter();
        let Some(session) = self.find(id) else { return Ok(()) };
        match input {
            CallInput::Offer(leg, _, offer) if session.outgoing && session.phase == CallPhase::Starting => {
                self.ring(host, leg, offer)?;
            }
            CallInput::Offer(leg, 0, offer) if session.handoff.from.is_some() => {
                let commitment = session.commit(leg.route, &offer, host.new_nonce());
                signal(host, session, CallSignal::Take { offer, commitment });
            }
            CallInput::Offer(_, number, offer) => hasty_signal(host, session, CallSignal::Restart { number, offer }),
            CallInput::Answer(leg, answer) => {
                let nonce = session.contribute(leg.route, &answer, host.new_nonce());
                signal(host, session, CallSignal::Answer { answer, nonce });
            }
            CallInput::Restarted(leg, number, answer) => {
                // Number 0 answers a device that has taken the call over.
                let nonce = if number == 0 { session.contribute(leg.route, &answer, host.new_nonce()) } else { None };
                hasty_signal(host, session, CallSignal::Restarted { number, answer, nonce });
            }
            CallInput::Reconnect(leg) if session.makes_offers() && session.connected.is_none() => {
                session.hasten_try(leg.route, host.time().running);
            }
            CallInput::Reconnect(_) => hasty_signal(host, session, CallSignal::Reconnect),
            CallInput::Candidates(_, candidates) => {
                let tell = if session.connected.is_some() { hasty_signal } else { signal };
                for some in candidates.chunks(MAX_CANDIDATES) {
                    tell(host, session, CallSignal::Candidates(some.to_vec()));
                }
            }
            CallInput::Connected(leg, certificates) => self.on_connected(host, leg, &certificates)?,
            CallInput::Interrupted(_) if session.connected.is_none() => {}
            CallInput::Interrupted(_) => {
                session.phase = CallPhase::Interrupted;
                // What repairs the path goes over the connections with the other end and our servers.
                host.check_connections();
                self.changed(host, id);
            }
            CallInput::Trouble(_, problem) => {
                session.notice.trouble = Some(problem);
                self.changed(host, id);
            }
            CallInput::Failed(leg, problem) => self.on_route_failed(host, leg, problem)?,
            CallInput::Recorded(_, question) => {
                if session.recording.question == question {
                    self.end_recording(host, id)?;
                }
            }
            CallInput::Broken(_, _) if session.connected.is_some() => {}
            CallInput::Broken(_, problem) => self.end(host, id, CallEnded::by(CallEnd::Failed, problem), true)?,
            CallInput::Left(_) => self.end(host, id, CallEnd::HungUp, false)?,
        }
        Ok(())
    }

    /// The first offer of a call that we make: it rings at the other side.
    fn ring(&mut self, host: &mut dyn CallHost, leg: Leg, offer: String) -> Result<(), EngineError> {
        let Some(session) = self.find(leg.call) else { return Ok(()) };
        session.phase = CallPhase::Ringing;
        let commitment = session.commit(leg.route, &offer, host.new_nonce());
        let ring = CallSignal::Ring { video: session.video, offer, commitment };
        session.note = host.signal(session.chat, Call { id: session.wire_id, signal: ring });
        self.write_note(host, leg.call, CallEnd::NoAnswer, 0)?;
        self.changed(host, leg.call);
        Ok(())
    }

    fn on_connected(
        &mut self,
        host: &mut dyn CallHost,
        leg: Leg,
        certificates: &Fingerprints,
    ) -> Result<(), EngineError> {
        let time = host.time();
        let Some(session) = self.find(leg.call) else { return Ok(()) };
        let sas = session.on_route(leg.route).map(|participant| &participant.sas);
        if let Some(Err(error)) = sas.map(|sas| sas.check_connection(certificates)) {
            return self.end_insecure(host, leg.call, error);
        }
        session.phase = CallPhase::Connected;
        session.connected.get_or_insert((time.running, time.wall));
        session.deadline = None;
        self.show_emoji(host, leg.call, leg.route);
        Ok(())
    }

    fn on_route_failed(&mut self, host: &mut dyn CallHost, leg: Leg, problem: CallProblem) -> Result<(), EngineError> {
        let Some(session) = self.find(leg.call) else { return Ok(()) };
        let connecting = session.phase == CallPhase::Connecting;
        let why = if session.connected.is_some() { CallEnd::Lost } else { CallEnd::Failed };
        let tries_left = session.on_route(leg.route).is_some_and(|participant| participant.tries < CALL_TRIES);
        if connecting && tries_left {
            self.try_again(host, leg);
            return Ok(());
        }
        self.end(host, leg.call, CallEnded::by(why, problem), true)
    }

    /// Does what is due. Rings are announced here, at the end of a turn: one that was taken back in the same turn never rings.
    pub fn on_time(&mut self, host: &mut dyn CallHost) -> Result<(), EngineError> {
        let now = host.time().running;
        let mut announce = Vec::new();
        for session in self.sessions.iter_mut().filter(|c| c.is_incoming_ring() && !c.notice.announced) {
            session.notice.announced = true;
            announce.push(session.id);
        }
        for id in announce {
            self.changed(host, id);
        }
        self.give_up_on_servers(host, now);
        self.attendance_due(host, now)?;
        let due = self.sessions.iter().filter(|c| c.deadline.is_some_and(|deadline| deadline <= now)).map(|c| c.id);
        for id in due.collect::<Vec<CallId>>() {
            self.on_deadline(host, id)?;
        }
        Ok(())
    }

    fn on_deadline(&mut self, host: &mut dyn CallHost, id: CallId) -> Result<(), EngineError> {
        let span = tracing::debug_span!("call", %id, from = "deadline");
        let _entered = span.enter();
        let Some(session) = self.find(id) else { return Ok(()) };
        if session.media.setup.is_some() && !session.media.started {
            // The rendezvous does not answer: without its help, then.
            self.start_media(host, id);
            return Ok(());
        }
        match (session.phase, session.outgoing) {
            (CallPhase::Connected | CallPhase::Interrupted, _) => {
                self.on_not_revealed(host, id);
                Ok(())
            }
            (CallPhase::Connecting, _) => {
                let offers = session.makes_offers();
                let route = session.participants.iter().find(|p| p.tries < CALL_TRIES).map(|p| p.route);
                if let Some(route) = route.filter(|_| offers) {
                    let leg = session.leg(route);
                    self.try_again(host, leg);
                    return Ok(());
                }
                self.end(host, id, CallEnded::by(CallEnd::Failed, CallProblem::NoRoute), true)
            }
            (_, outgoing) => self.end(host, id, CallEnd::NoAnswer, outgoing),
        }
    }

    /// The side that called makes another connection; the other one waits for it.
    fn try_again(&mut self, host: &mut dyn CallHost, leg: Leg) {
        let Some(session) = self.find(leg.call) else { return };
        let offers = session.makes_offers();
        if let Some(participant) = session.on_route(leg.route) {
            participant.tries += 1;
        }
        if offers {
            session.deadline = Some(host.time().running + CALL_TRY_MS);
            host.media(CallCommand::Again(leg));
        }
    }

    /// This machine is in another network, or has other addresses.
    pub fn network_changed(&mut self, host: &mut dyn CallHost) {
        for session in self.sessions.iter().filter(|session| session.media.started) {
            host.media(CallCommand::NetworkChanged(session.id));
        }
    }

    fn attendance_due(&mut self, host: &mut dyn CallHost, now: u64) -> Result<(), EngineError> {
        let started: Vec<CallId> = self.sessions.iter().filter(|c| c.media.started).map(|c| c.id).collect();
        for due in self.attendance.take_due(now, |id| started.contains(&id)) {
            match due {
                AttendanceDue::Silence(id) => host.media(CallCommand::Silence(id)),
                AttendanceDue::EndTalk(id) => host.media(CallCommand::Microphone(id, false)),
                // One that rings is not declined by a program that only looked at it: it rings on other devices, too.
                AttendanceDue::HangUp(id) if self.find(id).is_some_and(|c| c.is_incoming_ring()) => {}
                AttendanceDue::HangUp(id) => drop(self.hang_up(host, id, String::new())?),
            }
        }
        Ok(())
    }
}
