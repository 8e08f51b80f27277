//! How a call moves between the devices of one account.
//!
//! In three steps, each a signal in the conversation: the device that has the call hands it over to another (`Transfer`), where it rings; that one
//! takes it with an offer (`Take`), which the other side accepts from it alone; the other side's answer tells the first device that the call has
//! left it. A device can also ask for a call that another one has (`Fetch`).

use starling_keys::DeviceId;
use starling_wire::{Call, CallEnd, CallId, CallSignal, EventId, SasCommitment};

use super::{
    Calls,
    host::CallHost,
    limits::{CALL_FETCH_MS, MAX_CALLS, RING_MS},
    no_call,
    other_devices::OtherDeviceCall,
    sas::Sas,
    session::CallSession,
};
use crate::{
    api::{
        error::{CallRefused, Invalid, NodeError, NotAllowed, NotFound},
        problem::CallProblem,
        types::{CallElsewhere, CallEnded, CallPhase, CallSetup, ChatId},
    },
    call_media::{CallCommand, RouteId},
    turn::{EngineError, Sender},
};

/// Where a call comes from and where it goes, between devices of our account.
#[derive(Debug, Default)]
pub struct Handoff {
    /// The device of ours that hands it over to us, or has it.
    pub from: Option<DeviceId>,
    /// The device of ours that we have handed it over to, or that has it instead of us.
    pub to: Option<DeviceId>,
    /// The other side has accepted that we take it.
    pub arrived: bool,
    /// We have asked for it, to go on like this.
    pub requested: Option<CallSetup>,
    /// Since when people talk, on another device, in milliseconds since 1970 …
    pub since_ms: Option<u64>,
    /// … and for how long they had when it came here.
    pub talked_ms: u64,
    /// Another device of ours has answered, too.
    pub contested: bool,
}

impl Handoff {
    /// Whether the call goes on at another device of ours without us.
    pub fn has_left(&self) -> bool {
        (self.from.is_some() && !self.arrived) || self.contested
    }
}

impl Calls {
    /// Hands a call over to another device of ours, the only one if none is named: it rings there.
    pub(super) fn transfer(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        to: Option<DeviceId>,
    ) -> Result<(), NodeError> {
        let others = host.own_devices();
        let to = match (to, others.as_slice()) {
            (Some(to), all) if all.contains(&to) => to,
            (None, [one]) => *one,
            (_, []) => {
                return Err(NotAllowed::NoOtherDevice.into());
            }
            (None, _) => {
                return Err(Invalid::WhichDevice.into());
            }
            (Some(_), _) => {
                return Err(NotFound::Device.into());
            }
        };
        let session = self.find(id).ok_or_else(no_call)?;
        let with = session.first_device().filter(|_| session.is_established());
        let Some(with) = with else {
            return Err(CallRefused::NotConnected.into());
        };
        (session.handoff.to, session.notice.trouble) = (Some(to), None);
        let (chat, wire_id, video) = (session.chat, session.wire_id, session.video);
        let signal = CallSignal::Transfer { to: *to.as_bytes(), with: *with.as_bytes(), video };
        host.signal(chat, Call { id: wire_id, signal });
        Ok(())
    }

    /// Calls that other devices of ours have, where people talk.
    pub(super) fn on_other_devices(&self) -> Vec<CallElsewhere> {
        let talking = self.other_devices.iter().filter_map(|call| Some((call, call.since_ms?)));
        talking
            .map(|(c, since_ms)| CallElsewhere { chat: c.chat, device: c.device, video: c.video, since_ms })
            .collect()
    }

    /// Asks the device of ours that talks to somebody for that call.
    pub(super) fn fetch(
        &mut self,
        host: &mut dyn CallHost,
        chat: Option<ChatId>,
        setup: CallSetup,
    ) -> Result<CallId, NodeError> {
        let fits = |c: &OtherDeviceCall| c.since_ms.is_some() && chat.is_none_or(|chat| chat == c.chat);
        let Some(at) = self.other_devices.iter().rposition(fits) else {
            return Err(NotFound::CallElsewhere.into());
        };
        if self.sessions.len() >= MAX_CALLS {
            return Err(CallRefused::TooManyCalls.into());
        }
        let other = self.other_devices.remove(at);
        let mut session = handed_over(host, &other);
        session.handoff.requested = Some(setup);
        session.deadline = Some(host.time().running + CALL_FETCH_MS);
        session.notice.announced = true;
        let (id, chat, wire_id) = (session.id, session.chat, session.wire_id);
        self.sessions.push(session);
        host.signal(chat, Call { id: wire_id, signal: CallSignal::Fetch });
        Ok(id)
    }

    /// A signal of another device of ours, about a call that we take part in or may take.
    pub(super) fn on_own_signal(
        &mut self,
        host: &mut dyn CallHost,
        sender: &Sender,
        call: &Call,
    ) -> Result<(), EngineError> {
        let device = sender.device;
        let here = *host.own().1.as_bytes();
        let Some(session) = self.by_wire_id(sender.chat, call.id) else {
            return match &call.signal {
                CallSignal::Transfer { to, with, video } if *to == here => {
                    self.on_handed_over(host, sender, call.id, with, *video)
                }
                _ => Ok(()),
            };
        };
        let id = session.id;
        let rings = session.is_incoming_ring();
        let handoff = &mut session.handoff;
        match call.signal.clone() {
            CallSignal::Answer { .. } if rings && handoff.from.is_none() => {
                (handoff.to, handoff.contested) = (Some(device), true);
                self.end(host, id, CallEnd::Elsewhere, false)?;
                if let Some(other) = self.other_devices.iter_mut().find(|other| other.wire_id == call.id) {
                    other.since_ms = Some(sender.event.clock.ms());
                }
            }
            // Both took it: the other side talks to one of us, and this one will not be connected.
            CallSignal::Answer { .. } if !session.outgoing && session.connected.is_none() => {
                (handoff.contested, handoff.to) = (true, Some(device));
                handoff.since_ms = Some(sender.event.clock.ms());
            }
            CallSignal::End { why, text } => self.on_own_end(host, sender, call, (why, text))?,
            CallSignal::Fetch if session.media.started => {
                if let Err(error) = self.transfer(host, id, Some(device)) {
                    tracing::debug!(%error, "a call cannot be moved");
                }
            }
            CallSignal::Transfer { to, with, .. } if to == here => {
                if let (Some(setup), Ok(with)) = (handoff.requested.take(), DeviceId::from_bytes(&with)) {
                    session.media.setup = Some(setup);
                    if let Some(participant) = session.participants.first_mut() {
                        participant.device = Some(with);
                    }
                    self.hold_others(host, id);
                    self.ask_for_servers(host, id);
                }
            }
            // It was handed over to a third device.
            CallSignal::Transfer { .. } if rings && handoff.from == Some(device) => {
                self.end(host, id, CallEnd::Elsewhere, false)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Another device of ours has ended the call, declined it, or does not take it.
    fn on_own_end(
        &mut self,
        host: &mut dyn CallHost,
        sender: &Sender,
        call: &Call,
        (why, text): (CallEnd, String),
    ) -> Result<(), EngineError> {
        let device = sender.device;
        let Some(session) = self.by_wire_id(sender.chat, call.id) else { return Ok(()) };
        let (id, rings) = (session.id, session.is_incoming_ring());
        let handoff = &mut session.handoff;
        match why {
            CallEnd::Busy if rings => Ok(()),
            CallEnd::Declined if rings && handoff.from.is_none() => {
                self.end(host, id, CallEnded::said(CallEnd::Declined, text), false)
            }
            _ if rings && handoff.from.is_none_or(|from| from == device) => {
                self.end(host, id, CallEnd::Elsewhere, false)?;
                self.follow_other_devices(host, sender, call)
            }
            _ if handoff.to == Some(device) => {
                handoff.to = None;
                session.notice.trouble = Some(CallProblem::NotTaken);
                self.changed(host, id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_handed_over(
        &mut self,
        host: &mut dyn CallHost,
        sender: &Sender,
        wire_id: CallId,
        with: &[u8],
        video: bool,
    ) -> Result<(), EngineError> {
        let age = host.time().agreed.saturating_sub(sender.event.clock.ms());
        let Ok(with) = DeviceId::from_bytes(with) else { return Ok(()) };
        if age > RING_MS {
            return Ok(());
        }
        let (chat, event) = (sender.chat, sender.event);
        let mut other = self.take_other_device_call(chat, wire_id).unwrap_or(OtherDeviceCall {
            chat,
            wire_id,
            device: sender.device,
            peer: None,
            note: event,
            outgoing: false,
            video,
            since_ms: Some(event.clock.ms()),
        });
        (other.device, other.peer, other.video) = (sender.device, Some(with), video);
        let mut session = handed_over(host, &other);
        session.notice.waiting = !self.sessions.is_empty();
        session.deadline = Some(host.time().running + RING_MS - age);
        let id = session.id;
        let full = self.sessions.len() >= MAX_CALLS;
        self.sessions.push(session);
        self.write_note(host, id, CallEnd::Elsewhere, 0)?;
        if full { self.end(host, id, CallEnd::Declined, true) } else { Ok(()) }
    }

    // The other side of a call that moves.

    /// A participant hands its end over to another device of its account.
    pub(super) fn on_peer_transfer(&mut self, host: &dyn CallHost, id: CallId, route: RouteId, to: &[u8]) {
        let Some(participant) = self.find(id).and_then(|session| session.on_route(route)) else { return };
        let to = DeviceId::from_bytes(to).ok();
        participant.transferee = to.filter(|to| host.devices_of(participant.account).contains(to));
    }

    /// The device that a participant has handed its end over to takes it: media go there from now on.
    pub(super) fn on_peer_taken(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        route: RouteId,
        device: DeviceId,
        offer: String,
        commitment: Option<SasCommitment>,
    ) -> Result<(), EngineError> {
        let Some(session) = self.find(id) else { return Ok(()) };
        let leg = session.leg(route);
        let Some(participant) = session.on_route(route) else { return Ok(()) };
        participant.moved_to(device);
        participant.sas = Sas::on_offer(&offer, commitment);
        host.media(CallCommand::Restart(leg, 0, offer));
        // Who agreed to be recorded did so there.
        self.end_recording(host, id)?;
        self.changed(host, id);
        Ok(())
    }
}

/// A session for a call that another device of ours has.
fn handed_over(host: &dyn CallHost, other: &OtherDeviceCall) -> CallSession {
    let mut session = CallSession::new(other.wire_id, other.chat, false, other.video);
    (session.phase, session.note) = (CallPhase::Ringing, Some(other.note));
    for account in host.members(other.chat) {
        session.add(account, other.peer);
    }
    session.handoff.from = Some(other.device);
    session.handoff.since_ms = other.since_ms;
    session.handoff.talked_ms = other.since_ms.map_or(0, |since| host.time().agreed.saturating_sub(since));
    session
}

/// How long and where a call was on when it left this device.
pub(super) fn left_behind(host: &dyn CallHost, session: &CallSession, note: EventId) -> Option<OtherDeviceCall> {
    let device = session.handoff.to.or(session.handoff.from)?;
    let time = host.time();
    let here = session.connected.map(|(since, _)| time.running.saturating_sub(since));
    Some(OtherDeviceCall {
        chat: session.chat,
        wire_id: session.wire_id,
        device,
        peer: session.first_device(),
        note,
        outgoing: session.outgoing,
        video: session.video,
        since_ms: session.handoff.since_ms.or(here.map(|here| time.agreed.saturating_sub(here))),
    })
}
