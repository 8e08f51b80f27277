//! Signals of the other side of a call.

use starling_keys::DeviceId;
use starling_wire::{Call, CallEnd, CallId, CallSignal, SasCommitment, SasNonce};

use super::{
    Calls,
    host::CallHost,
    limits::{CALL_TRY_MS, MAX_CALLS, MAX_RINGS, RING_MS, RINGS_MS},
    other_devices::Ring,
    sas::Sas,
    session::CallSession,
};
use crate::{
    api::types::{CallEnded, CallPhase, ChatId, TransientEvent},
    call_media::{CallCommand, RouteId},
    turn::{EngineError, Sender},
};

impl Calls {
    /// A signal that a member of a conversation, or another device of ours, has written.
    pub fn on_signal(&mut self, host: &mut dyn CallHost, sender: &Sender, call: Call) -> Result<(), EngineError> {
        let span = tracing::debug_span!("call", id = %call.id, from = if sender.own { "own device" } else { "peer" });
        let _entered = span.enter();
        if let CallSignal::Ring { video, offer, commitment } = call.signal {
            let ring = Ring { wire_id: call.id, video };
            return if sender.own {
                self.on_other_device_ring(host, sender, ring)
            } else {
                self.on_ring(host, sender, ring, (offer, commitment))
            };
        }
        self.follow_other_devices(host, sender, &call)?;
        self.keep_early(sender, &call);
        if sender.own {
            return self.on_own_signal(host, sender, &call);
        }
        let Some(session) = self.by_wire_id(sender.chat, call.id) else {
            // A device that answers another call no longer rings here: both sides called at once, from several devices.
            return if matches!(call.signal, CallSignal::Answer { .. }) {
                self.end_ring_of(host, sender)
            } else {
                Ok(())
            };
        };
        let (id, has_media) = (session.id, session.media.started);
        if let CallSignal::Take { offer, commitment } = &call.signal
            && has_media
            && let Some(participant) = session.participants.iter().find(|p| p.transferee == Some(sender.device))
        {
            let route = participant.route;
            return self.on_peer_taken(host, id, route, sender.device, offer.clone(), *commitment);
        }
        match session.speaker(sender.account, sender.device).map(|participant| participant.route) {
            Some(route) => self.on_participant(host, id, route, sender, call.signal),
            None => Ok(()),
        }
    }

    fn on_participant(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        route: RouteId,
        sender: &Sender,
        signal: CallSignal,
    ) -> Result<(), EngineError> {
        let Some(session) = self.find(id) else { return Ok(()) };
        let (wire_id, leg, has_media) = (session.wire_id, session.leg(route), session.media.started);
        let we_ring = session.outgoing && session.phase == CallPhase::Ringing;
        let (from, to) = (session.handoff.from, session.handoff.to);
        let Some(participant) = session.on_route(route) else { return Ok(()) };
        match signal {
            CallSignal::Transfer { to, .. } => self.on_peer_transfer(host, id, route, &to),
            // Nothing but a `Take` is answered so: they talk to the device of ours that has it now.
            CallSignal::Restarted { number: 0, .. } if to.is_some() => {
                self.end(host, id, CallEnd::Elsewhere, false)?;
            }
            CallSignal::End { why: CallEnd::Busy, text } if we_ring => self.on_busy(host, id, route, sender, text)?,
            CallSignal::Answer { answer, nonce } if we_ring => {
                self.on_answered(host, id, route, sender.device, (answer, nonce));
            }
            CallSignal::Candidates(candidates) if has_media => host.media(CallCommand::Candidates(leg, candidates)),
            CallSignal::Candidates(candidates) => participant.keep_candidates(candidates),
            CallSignal::Restart { number, offer }
                if has_media && participant.admits_offer(number, host.time().running) =>
            {
                match participant.sas.check_description(&offer) {
                    Ok(()) => host.media(CallCommand::Restart(leg, number, offer)),
                    Err(error) => self.end_insecure(host, id, error)?,
                }
            }
            CallSignal::Restarted { number, answer, nonce }
                if has_media && participant.device.is_some() && (number > 0 || from.is_some()) =>
            {
                self.on_restarted(host, id, route, sender.device, (number, answer, nonce))?;
            }
            CallSignal::Reconnect if has_media && participant.device.is_some() => {
                if session.phase == CallPhase::Connecting && session.makes_offers() {
                    session.hasten_try(route, host.time().running);
                }
                host.media(CallCommand::Reconnect(leg));
            }
            CallSignal::Reveal { nonce, to } => self.on_reveal(host, id, route, sender, (nonce, to))?,
            CallSignal::Recording { what, question } => {
                self.on_recording(host, id, route, sender.event, what, question)?;
            }
            CallSignal::End { why, text } => {
                let ended = Call { id: wire_id, signal: CallSignal::End { why, text: text.clone() } };
                self.end(host, id, CallEnded::said(why, text), false)?;
                // One that was to move here, and is over now.
                self.follow_other_devices(host, sender, &ended)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A device that we ring is busy: the other devices of its account still ring.
    fn on_busy(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        route: RouteId,
        sender: &Sender,
        text: String,
    ) -> Result<(), EngineError> {
        let Some(participant) = self.find(id).and_then(|session| session.on_route(route)) else { return Ok(()) };
        participant.busy.insert(sender.device);
        if participant.busy.len() < host.devices_of(sender.account).len().max(1) {
            return Ok(());
        }
        self.end(host, id, CallEnded::said(CallEnd::Busy, text), false)
    }

    /// A device reveals its nonce to the device whose answer it has taken.
    fn on_reveal(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        route: RouteId,
        sender: &Sender,
        (nonce, to): (SasNonce, Option<[u8; 32]>),
    ) -> Result<(), EngineError> {
        let here = *host.own().1.as_bytes();
        let Some(session) = self.find(id) else { return Ok(()) };
        let answered = !session.outgoing && session.connected.is_none() && session.handoff.from.is_none();
        if let Some(to) = to.filter(|to| answered && *to != here) {
            // Two devices of ours have answered, and they talk to the other.
            (session.handoff.contested, session.handoff.to) = (true, DeviceId::from_bytes(&to).ok());
            session.handoff.since_ms.get_or_insert(sender.event.clock.ms());
            return self.end(host, id, CallEnd::Elsewhere, false);
        }
        let wire_id = session.wire_id;
        let Some(participant) = session.on_route(route) else { return Ok(()) };
        if let Err(error) = participant.sas.on_reveal(wire_id, nonce) {
            return self.end_insecure(host, id, error);
        }
        self.show_emoji(host, id, route);
        Ok(())
    }

    /// A device has answered our ring.
    fn on_answered(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        route: RouteId,
        device: DeviceId,
        (answer, nonce): (String, Option<SasNonce>),
    ) {
        let Some(session) = self.find(id) else { return };
        let leg = session.leg(route);
        let Some(participant) = session.on_route(route) else { return };
        participant.device = Some(device);
        let reveal = participant.sas.on_answer(&answer, nonce);
        let wait = if std::mem::take(&mut participant.is_offer_stale) { 0 } else { CALL_TRY_MS };
        session.phase = CallPhase::Connecting;
        session.deadline = Some(host.time().running + wait);
        host.media(CallCommand::Accept(leg, 0, answer));
        self.reveal(host, id, device, reveal);
        self.changed(host, id);
    }

    /// A device has answered an offer to restart the connection; with the number 0 the one by which this device takes the call over.
    fn on_restarted(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        route: RouteId,
        device: DeviceId,
        (number, answer, nonce): (u32, String, Option<SasNonce>),
    ) -> Result<(), EngineError> {
        let Some(session) = self.find(id) else { return Ok(()) };
        let leg = session.leg(route);
        if number == 0 {
            if std::mem::replace(&mut session.handoff.arrived, true) {
                return Ok(());
            }
            // It is ours now.
            let reveal = session.on_route(route).and_then(|p| p.sas.on_answer(&answer, nonce));
            self.reveal(host, id, device, reveal);
        } else if let Some(Err(error)) = session.on_route(route).map(|p| p.sas.check_description(&answer)) {
            return self.end_insecure(host, id, error);
        }
        host.media(CallCommand::Accept(leg, number, answer));
        Ok(())
    }

    fn on_ring(
        &mut self,
        host: &mut dyn CallHost,
        sender: &Sender,
        ring: Ring,
        (offer, commitment): (String, Option<SasCommitment>),
    ) -> Result<(), EngineError> {
        let Sender { chat, device, event, .. } = *sender;
        if self.by_wire_id(chat, ring.wire_id).is_some() || self.rang_too_late(host, sender, ring)? {
            return Ok(());
        }
        let too_often = self.rings_too_often(host, sender, ring.wire_id);
        let time = host.time();
        let age = time.agreed.saturating_sub(event.clock.ms());
        let mut session = CallSession::new(ring.wire_id, chat, false, ring.video);
        (session.note, session.phase) = (Some(event), CallPhase::Ringing);
        let participant = session.add(sender.account, Some(device));
        participant.sas = Sas::on_offer(&offer, commitment);
        participant.offer = Some(offer);
        if let Some(at) = self.sessions.iter().position(|c| c.chat == chat) {
            let other = &self.sessions[at];
            if other.connected.is_some() && !other.has_device(device) {
                // Another device of theirs: a second call, which waits.
            } else if !other.is_outgoing_ring() {
                // They have lost the old call, or they try twice: the newer one counts.
                let id = other.id;
                self.end(host, id, CallEnd::Lost, false)?;
            } else if other.phase == CallPhase::Ringing && other.wire_id < ring.wire_id {
                // Both called at once, and ours is the one that counts: they will see it.
                return Ok(());
            } else {
                // Theirs counts: it takes the place of ours, and is answered, as both want to talk.
                return self.glare(host, at, session);
            }
        }
        if too_often {
            if age <= RING_MS {
                let signal = CallSignal::End { why: CallEnd::Busy, text: String::new() };
                host.signal(chat, Call { id: ring.wire_id, signal });
            }
            return Ok(());
        }
        let id = session.id;
        session.notice.waiting = !self.sessions.is_empty();
        // A little longer than it rings there.
        session.deadline = Some(time.running + RING_MS.saturating_sub(age.min(RING_MS)) + 5_000);
        self.sessions.push(session);
        self.write_note(host, id, CallEnd::NoAnswer, 0)?;
        if age > RING_MS {
            // Another device of ours may have answered: its signal comes after this.
            self.rang_before(host, sender, ring);
            return self.end(host, id, CallEnd::NoAnswer, false);
        }
        if self.sessions.len() > MAX_CALLS {
            return self.end(host, id, CallEnd::Busy, true);
        }
        Ok(())
    }

    /// Counts a ring until it is answered. A contact who rings again and again without an answer is not announced: we are busy.
    fn rings_too_often(&mut self, host: &dyn CallHost, sender: &Sender, wire_id: CallId) -> bool {
        let now = host.time().running;
        let rings = self.rings.entry(sender.chat).or_default();
        rings.retain(|(_, at)| now.saturating_sub(*at) < RINGS_MS);
        let too_often = rings.len() >= MAX_RINGS;
        if !too_often {
            rings.push_back((wire_id, now));
        }
        too_often
    }

    /// A call was answered: contacts may call as often as they are answered.
    pub(super) fn ring_was_answered(&mut self, chat: ChatId, wire_id: CallId) {
        if let Some(rings) = self.rings.get_mut(&chat) {
            rings.retain(|(id, _)| *id != wire_id);
        }
    }

    /// Both called at once: their call takes the place of ours.
    fn glare(&mut self, host: &mut dyn CallHost, at: usize, mut theirs: CallSession) -> Result<(), EngineError> {
        let ours = self.sessions.remove(at);
        self.ring_was_answered(theirs.chat, theirs.wire_id);
        if ours.media.started {
            host.media(CallCommand::End(ours.id));
        }
        // The user knows it by the id that it began with.
        theirs.id = if ours.media.started { host.new_id() } else { ours.id };
        let (old, new) = (ours.id, theirs.id);
        theirs.media.setup.clone_from(&ours.media.setup);
        theirs.video |= ours.video;
        self.sessions.push(theirs);
        if old != new {
            self.attendance.ended(old, Some(new));
            let mut info = ours.info(Some(CallEnd::Elsewhere.into()));
            info.replaced_by = Some(new);
            host.transient_event(TransientEvent::Call(Box::new(info)));
        }
        self.ask_for_servers(host, new);
        Ok(())
    }

    /// A device that rings here has answered another call of ours.
    fn end_ring_of(&mut self, host: &mut dyn CallHost, sender: &Sender) -> Result<(), EngineError> {
        let rings = |c: &&CallSession| {
            c.chat == sender.chat
                && c.is_incoming_ring()
                && c.has_device(sender.device)
                && !c.media.started
                && c.handoff.from.is_none()
        };
        let id = self.sessions.iter().find(rings).map(|c| c.id);
        id.map_or(Ok(()), |id| self.end(host, id, CallEnd::Elsewhere, false))
    }
}
