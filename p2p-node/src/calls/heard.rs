//! What the other side of a call says.

use rand::RngExt;
use starling_keys::{Certificate, DeviceId};
use starling_wire::{Call, CallEnd, CallId, CallSignal, EventId};

use super::Talk;
use crate::{
    api::types::{CallPhase, ChatId, Live},
    calls::CallCommand,
    limits::{CALL_RESTART_MS, CALL_TRIES, CALL_TRY_MS, MAX_CALLS, MAX_EARLY_CANDIDATES, MAX_RINGS, RING_MS, RINGS_MS},
    turn::{Effect, Engine, EngineError, Turn},
};

impl Engine {
    pub(crate) fn on_call(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        sender: &Certificate,
        event: EventId,
        call: Call,
    ) -> Result<(), EngineError> {
        let own = sender.account() == self.me.account();
        let wire = call.id;
        if let CallSignal::Ring { video, offer } = call.signal {
            return if own {
                self.rings_elsewhere(turn, chat, sender.device(), event, wire, video)
            } else {
                self.on_ring(turn, chat, sender.device(), event, wire, video, offer)
            };
        }
        self.follow_elsewhere(turn, sender, chat, event, &call)?;
        self.note_early(sender, chat, event, &call);
        if own {
            return self.on_own_call(turn, chat, sender, event, call);
        }
        let Some(at) = self.calls.by_wire(chat, wire) else {
            // Who answers another call no longer rings here: both sides called at once, from several devices.
            return if matches!(call.signal, CallSignal::Answer { .. }) {
                self.end_ring_of(turn, chat, sender.device())
            } else {
                Ok(())
            };
        };
        let id = self.calls.list[at].id;
        let talk = &mut self.calls.list[at];
        if let CallSignal::Take { offer } = &call.signal
            && talk.media
            && talk.moving.heir == Some(sender.device())
        {
            return self.on_taken(turn, id, sender.device(), offer.clone());
        }
        // From the answer on, only the device that gave it has a say.
        if talk.device.is_some_and(|d| d != sender.device()) {
            return Ok(());
        }
        match call.signal {
            CallSignal::Transfer { to, .. } => self.on_transfer(id, chat, &to),
            // Nothing but a `Take` is answered so: they talk to the device of ours that has it now.
            CallSignal::Restarted { number: 0, .. } if talk.moving.to.is_some() => {
                self.end_call(turn, id, CallEnd::Elsewhere, String::new(), false)?;
            }
            CallSignal::End { why: CallEnd::Busy, text } if talk.outgoing && talk.phase == CallPhase::Ringing => {
                // The others of them still ring.
                if !talk.busy.contains(&sender.device()) {
                    talk.busy.push(sender.device());
                }
                let busy = talk.busy.len();
                let list = self.contacts.get(&sender.account()).and_then(|p| p.list.as_ref());
                if busy >= list.map_or(1, |l| l.devices.len()) {
                    self.end_call(turn, id, CallEnd::Busy, text, false)?;
                }
            }
            CallSignal::Answer { answer } if talk.outgoing && talk.phase == CallPhase::Ringing => {
                (talk.phase, talk.device) = (CallPhase::Connecting, Some(sender.device()));
                talk.due = Some(turn.running() + CALL_TRY_MS);
                turn.emit(Effect::Call(CallCommand::Accept(id, 0, answer)));
                self.call_changed(turn, id);
            }
            CallSignal::Candidates(candidates) => {
                if talk.media {
                    turn.emit(Effect::Call(CallCommand::Candidates(id, candidates)));
                } else if talk.early.len() + candidates.len() <= MAX_EARLY_CANDIDATES {
                    talk.early.extend(candidates);
                }
            }
            CallSignal::Restart { number, offer } if talk.media && number > talk.newest_offer => {
                talk.newest_offer = number;
                // Each costs a connection: some while there is none, then one at a time.
                let soon = turn.running().saturating_sub(talk.restarts.1) < CALL_RESTART_MS;
                if soon && talk.restarts.0 >= u32::from(CALL_TRIES) {
                    return Ok(());
                }
                talk.restarts = (talk.restarts.0 + 1, turn.running());
                turn.emit(Effect::Call(CallCommand::Restart(id, number, offer)));
            }
            CallSignal::Restarted { number, answer }
                if talk.media && talk.device.is_some() && (number > 0 || talk.moving.from.is_some()) =>
            {
                // It is ours now.
                talk.moving.arrived |= number == 0;
                turn.emit(Effect::Call(CallCommand::Accept(id, number, answer)));
            }
            CallSignal::Recording { what, question } => self.on_recording(turn, id, event, what, question)?,
            CallSignal::End { why, text } => {
                let ended = Call { id: wire, signal: CallSignal::End { why, text: text.clone() } };
                self.end_call(turn, id, why, text, false)?;
                // One that was to move here, and is over now.
                self.follow_elsewhere(turn, sender, chat, event, &ended)?;
            }
            _ => {}
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "all of it describes one ring")]
    fn on_ring(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        device: DeviceId,
        event: EventId,
        wire: CallId,
        video: bool,
        offer: String,
    ) -> Result<(), EngineError> {
        if self.calls.by_wire(chat, wire).is_some() || self.rang_too_late(turn, chat, device, event, wire, video)? {
            return Ok(());
        }
        // Who rings again and again is not announced; the calls can be seen to have failed on their side.
        let now = turn.running();
        let rings = self.calls.rings.entry(chat).or_default();
        rings.retain(|at| now.saturating_sub(*at) < RINGS_MS);
        let too_often = rings.len() >= MAX_RINGS;
        if !too_often {
            rings.push_back(now);
        }
        let age = turn.agreed_ms().saturating_sub(event.clock.ms());
        let mut talk = Talk::new(wire, chat, false, video);
        (talk.device, talk.note, talk.phase) = (Some(device), Some(event), CallPhase::Ringing);
        if let Some(mine) = self.calls.list.iter().position(|c| c.chat == chat) {
            let other = &self.calls.list[mine];
            let before_answer = other.outgoing && matches!(other.phase, CallPhase::Starting | CallPhase::Ringing);
            let talks = other.connected.is_some() && other.device != Some(device);
            if talks {
                // Another device of theirs: a second call, which waits.
            } else if !before_answer {
                // They have lost the old call, or they try twice: the newer one counts.
                let id = other.id;
                self.end_call(turn, id, CallEnd::Lost, String::new(), false)?;
            } else if other.phase == CallPhase::Ringing && other.wire < wire {
                // Both called at once, and ours is the one that counts: they will see it.
                return Ok(());
            } else {
                // Theirs counts: it takes the place of ours, and is answered, as both want to talk.
                return self.glare(turn, mine, talk, offer);
            }
        }
        if too_often {
            return Ok(());
        }
        let id = talk.id;
        (talk.offer, talk.waiting) = (Some(offer), !self.calls.list.is_empty());
        talk.due = Some(now + RING_MS.saturating_sub(age.min(RING_MS)) + 5_000);
        self.calls.list.push(talk);
        self.note(turn, id, CallEnd::NoAnswer, 0)?;
        if age > RING_MS {
            // Another device of ours may have answered: its word comes after this.
            self.rang_before(chat, device, event, wire, video);
            return self.end_call(turn, id, CallEnd::NoAnswer, String::new(), false);
        }
        if self.calls.list.len() > MAX_CALLS {
            return self.end_call(turn, id, CallEnd::Busy, String::new(), true);
        }
        Ok(())
    }

    fn glare(&mut self, turn: &mut Turn<'_>, mine: usize, mut theirs: Talk, offer: String) -> Result<(), EngineError> {
        let ours = self.calls.list.remove(mine);
        if ours.media {
            turn.emit(Effect::Call(CallCommand::End(ours.id)));
        }
        // The user knows it by the id that it began with.
        theirs.id = if ours.media { CallId(turn.rng().random()) } else { ours.id };
        let (old, new) = (ours.id, theirs.id);
        theirs.outgoing = false;
        theirs.offer = Some(offer);
        theirs.setup = ours.setup.clone();
        theirs.video |= ours.video;
        self.calls.list.push(theirs);
        if old != new {
            let mut info = ours.info(Some((CallEnd::Elsewhere, String::new())));
            info.replaced_by = Some(new);
            turn.live(Live::Call(Box::new(info)));
        }
        self.ask_for_servers(turn, new);
        Ok(())
    }
}
