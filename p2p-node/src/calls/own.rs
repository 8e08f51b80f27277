//! Calls of an account with several devices: those that another one has, and how a call moves from one to another.
//!
//! A call moves in three steps, each an event in the conversation: the device that has it hands it over to another (`Transfer`), where it
//! rings; that one takes it with an offer (`Take`), which the other side accepts from it alone; the other side's answer tells the first device
//! that the call has left it.

use starling_keys::{Certificate, DeviceId};
use starling_wire::{Call, CallEnd, CallId, CallSignal, EventId};

use super::{Talk, no_call};
use crate::{
    api::types::{CallElsewhere, CallPhase, CallSetup, ChatId, NodeError},
    calls::CallCommand,
    limits::{CALL_FETCH_MS, MAX_CALLS, MAX_EARLY_CALLS, MAX_ELSEWHERE, RING_MS},
    turn::{Effect, Engine, EngineError, Turn},
};

/// A call that another device of ours has.
#[derive(Debug)]
pub struct Elsewhere {
    chat: ChatId,
    wire: CallId,
    device: DeviceId,
    /// The device at its other end, once it is known.
    peer: Option<DeviceId>,
    /// Place of its note in the timeline.
    note: EventId,
    outgoing: bool,
    video: bool,
    /// Since when they talk, by the clock of who answered.
    since_ms: Option<u64>,
}

/// What was said of a call whose ring did not come yet.
#[derive(Debug)]
pub struct Early {
    wire: CallId,
    /// By which device of ours, and when.
    answered: Option<(DeviceId, u64)>,
    ended: Option<(CallEnd, u64)>,
}

/// How a call moves between devices of one account.
#[derive(Debug, Default)]
pub struct Moving {
    /// The device of ours that hands it over to us, or has it.
    pub from: Option<DeviceId>,
    /// The device of ours that we have handed it over to.
    pub to: Option<DeviceId>,
    /// The other side has accepted that we take it.
    pub arrived: bool,
    /// The device that the other side has handed its end over to.
    pub heir: Option<DeviceId>,
    /// We have asked for it, to go on like this.
    pub fetched: Option<CallSetup>,
    /// Since when people talk, on another device; and for how long they did when it came here.
    pub since_ms: Option<u64>,
    pub talked_ms: u64,
    /// Another device of ours has answered, too.
    pub contested: bool,
}

impl Moving {
    /// Whether it goes on at another device of ours without us.
    pub fn is_left(&self) -> bool {
        (self.from.is_some() && !self.arrived) || self.contested
    }
}

impl Engine {
    /// Hands a call over to another device of ours: it rings there.
    pub(crate) fn call_transfer(
        &mut self,
        turn: &mut Turn<'_>,
        id: CallId,
        to: Option<DeviceId>,
    ) -> Result<(), NodeError> {
        let others: Vec<DeviceId> = self.siblings().iter().map(|d| d.certificate.device()).collect();
        let to = match (to, others.as_slice()) {
            (Some(to), all) if all.contains(&to) => to,
            (None, [one]) => *one,
            (_, []) => {
                let why = "the account has no other device: link one with `starling device link`";
                return Err(NodeError::Refused(why.into()));
            }
            (None, _) => {
                return Err(NodeError::Invalid("say to which of your devices: see `starling device list`".into()));
            }
            (Some(_), _) => {
                return Err(NodeError::NotFound("the account has no such device: see `starling device list`".into()));
            }
        };
        let talk = self.calls.find(id).ok_or_else(no_call)?;
        let Some(with) = talk.device.filter(|_| matches!(talk.phase, CallPhase::Connected | CallPhase::Interrupted))
        else {
            return Err(NodeError::Refused("only a call that is connected can be moved".into()));
        };
        (talk.moving.to, talk.trouble) = (Some(to), None);
        let (chat, wire, video) = (talk.chat, talk.wire, talk.video);
        self.tell_call(turn, chat, wire, CallSignal::Transfer { to: *to.as_bytes(), with: *with.as_bytes(), video });
        Ok(())
    }

    /// Calls that other devices of ours have, where people talk.
    pub(crate) fn calls_elsewhere(&self) -> Vec<CallElsewhere> {
        let talks = self.calls.elsewhere.iter().filter_map(|e| Some((e, e.since_ms?)));
        talks.map(|(e, since_ms)| CallElsewhere { chat: e.chat, device: e.device, video: e.video, since_ms }).collect()
    }

    /// Asks the device of ours that talks to somebody for that call.
    pub(crate) fn call_fetch(
        &mut self,
        turn: &mut Turn<'_>,
        chat: Option<ChatId>,
        setup: CallSetup,
    ) -> Result<CallId, NodeError> {
        let fits = |e: &Elsewhere| e.since_ms.is_some() && chat.is_none_or(|c| c == e.chat);
        let Some(at) = self.calls.elsewhere.iter().rposition(fits) else {
            return Err(NodeError::NotFound("no other device of yours has such a call".into()));
        };
        if self.calls.list.len() >= MAX_CALLS {
            return Err(NodeError::Refused("there are too many calls already: hang one up".into()));
        }
        let entry = self.calls.elsewhere.remove(at);
        let mut talk = self.handed_over(turn, &entry);
        (talk.moving.fetched, talk.due) = (Some(setup), Some(turn.running() + CALL_FETCH_MS));
        talk.announced = true;
        let (id, chat, wire) = (talk.id, talk.chat, talk.wire);
        self.calls.list.push(talk);
        self.tell_call(turn, chat, wire, CallSignal::Fetch);
        Ok(id)
    }

    fn handed_over(&self, turn: &Turn<'_>, entry: &Elsewhere) -> Talk {
        let mut talk = Talk::new(entry.wire, entry.chat, false, entry.video);
        (talk.phase, talk.note) = (CallPhase::Ringing, Some(entry.note));
        talk.device = entry.peer;
        talk.moving.from = Some(entry.device);
        talk.moving.since_ms = entry.since_ms;
        talk.moving.talked_ms = entry.since_ms.map_or(0, |since| turn.agreed_ms().saturating_sub(since));
        talk
    }

    /// Another device of ours calls somebody.
    pub(crate) fn rings_elsewhere(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        device: DeviceId,
        note: EventId,
        wire: CallId,
        video: bool,
    ) -> Result<(), EngineError> {
        let entry = Elsewhere { chat, wire, device, peer: None, note, outgoing: true, video, since_ms: None };
        self.keep_elsewhere(entry);
        let signal = CallSignal::Note { why: CallEnd::Elsewhere, video, duration_ms: 0 };
        self.put_note(turn, chat, note, true, Call { id: wire, signal })
    }

    /// Keeps what is said of a call whose ring is still to come.
    pub(crate) fn note_early(&mut self, sender: &Certificate, chat: ChatId, event: EventId, call: &Call) {
        let known =
            self.calls.by_wire(chat, call.id).is_some() || self.calls.elsewhere.iter().any(|e| e.wire == call.id);
        let own = sender.account() == self.me.account();
        let (answers, ends) = match call.signal {
            CallSignal::Answer { .. } => (own, None),
            CallSignal::End { why, .. } if why != CallEnd::Busy => (false, Some(why)),
            _ => return,
        };
        if known || !(answers || ends.is_some()) {
            return;
        }
        let at = self.calls.early.iter().position(|e| e.wire == call.id);
        let mut early = at.and_then(|at| self.calls.early.remove(at)).unwrap_or(Early {
            wire: call.id,
            answered: None,
            ended: None,
        });
        if answers {
            early.answered = Some((sender.device(), event.clock.ms()));
        }
        early.ended = early.ended.or(ends.map(|why| (why, event.clock.ms())));
        self.calls.early.push_back(early);
        if self.calls.early.len() > MAX_EARLY_CALLS {
            self.calls.early.pop_front();
        }
    }

    /// Whether a ring is of a call that another device of ours has answered already, or that is over: then only the timeline has it.
    pub(crate) fn rang_too_late(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        peer: DeviceId,
        note: EventId,
        wire: CallId,
        video: bool,
    ) -> Result<bool, EngineError> {
        let early = self.calls.early.iter().position(|e| e.wire == wire).and_then(|at| self.calls.early.remove(at));
        let Some(Early { answered, ended, .. }) = early else { return Ok(false) };
        let (why, duration_ms) = match (answered, ended) {
            (Some((_, since)), Some((why, ended))) => (why, ended.saturating_sub(since)),
            (None, Some((why, _))) => (why, 0),
            _ => (CallEnd::Elsewhere, 0),
        };
        let missed = answered.is_none() && matches!(why, CallEnd::NoAnswer | CallEnd::Cancelled);
        self.put_note(
            turn,
            chat,
            note,
            false,
            Call { id: wire, signal: CallSignal::Note { why, video, duration_ms } },
        )?;
        self.noted(turn, chat, note, missed)?;
        if let (Some((device, since)), None) = (answered, ended) {
            let (peer, since_ms) = (Some(peer), Some(since));
            self.keep_elsewhere(Elsewhere { chat, wire, device, peer, note, outgoing: false, video, since_ms });
        }
        Ok(true)
    }

    /// A call rang while this device was away.
    pub(crate) fn rang_before(&mut self, chat: ChatId, peer: DeviceId, note: EventId, wire: CallId, video: bool) {
        let (device, peer) = (self.me.device(), Some(peer));
        self.keep_elsewhere(Elsewhere { chat, wire, device, peer, note, outgoing: false, video, since_ms: None });
    }

    fn keep_elsewhere(&mut self, entry: Elsewhere) {
        self.calls.elsewhere.retain(|e| e.wire != entry.wire);
        self.calls.elsewhere.push(entry);
        if self.calls.elsewhere.len() > MAX_ELSEWHERE {
            self.calls.elsewhere.remove(0);
        }
    }

    /// A call of ours is over here, but not elsewhere.
    pub(super) fn leave_elsewhere(&mut self, turn: &mut Turn<'_>, talk: &Talk, why: CallEnd) {
        let (Some(note), CallEnd::Elsewhere) = (talk.note, why) else { return };
        let Some(device) = talk.moving.to.or(talk.moving.from) else { return };
        let here = talk.connected.map(|(since, _)| turn.running().saturating_sub(since));
        let since_ms = talk.moving.since_ms.or(here.map(|here| turn.agreed_ms().saturating_sub(here)));
        self.keep_elsewhere(Elsewhere {
            chat: talk.chat,
            wire: talk.wire,
            device,
            peer: talk.device,
            note,
            outgoing: talk.outgoing,
            video: talk.video,
            since_ms,
        });
    }

    /// What is said in a call that another device of ours has: the timeline is the same on all.
    pub(crate) fn follow_elsewhere(
        &mut self,
        turn: &mut Turn<'_>,
        sender: &Certificate,
        chat: ChatId,
        event: EventId,
        call: &Call,
    ) -> Result<(), EngineError> {
        let own = sender.account() == self.me.account();
        let Some(at) = self.calls.elsewhere.iter().position(|e| e.chat == chat && e.wire == call.id) else {
            return Ok(());
        };
        let entry = &mut self.calls.elsewhere[at];
        match &call.signal {
            CallSignal::Answer { .. } if !own && entry.outgoing => {
                entry.since_ms.get_or_insert(event.clock.ms());
                entry.peer.get_or_insert(sender.device());
            }
            CallSignal::Answer { .. } if own && !entry.outgoing && entry.since_ms.is_none() => {
                // It was not missed: another device of ours has it.
                (entry.device, entry.since_ms) = (sender.device(), Some(event.clock.ms()));
                let (note, wire, video) = (entry.note, entry.wire, entry.video);
                let signal = CallSignal::Note { why: CallEnd::Elsewhere, video, duration_ms: 0 };
                self.put_note(turn, chat, note, false, Call { id: wire, signal })?;
                if let Some(state) = self.chats.get_mut(&chat).filter(|s| note.clock.0 > s.row.read) {
                    state.row.unread = state.row.unread.saturating_sub(1);
                    state.dirty = true;
                }
            }
            CallSignal::Take { .. } if own => entry.device = sender.device(),
            CallSignal::Take { .. } => entry.peer = Some(sender.device()),
            // The others of them may still ring.
            CallSignal::End { why: CallEnd::Busy, .. } if !own => {}
            CallSignal::End { why, .. }
                if entry.device == sender.device() || (!own && entry.peer.is_none_or(|p| p == sender.device())) =>
            {
                let entry = self.calls.elsewhere.remove(at);
                if !entry.outgoing && entry.since_ms.is_none() {
                    // Missed here, and answered nowhere: its note says so.
                    return Ok(());
                }
                let duration_ms = entry.since_ms.map_or(0, |since| event.clock.ms().saturating_sub(since));
                let signal = CallSignal::Note { why: *why, video: entry.video, duration_ms };
                self.put_note(turn, chat, entry.note, entry.outgoing, Call { id: entry.wire, signal })?;
                self.noted(turn, chat, entry.note, false)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Another device of ours says something in a call.
    pub(crate) fn on_own_call(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        sender: &Certificate,
        event: EventId,
        call: Call,
    ) -> Result<(), EngineError> {
        let device = sender.device();
        let Some(at) = self.calls.by_wire(chat, call.id) else {
            return match call.signal {
                CallSignal::Transfer { to, with, video } if to == *self.me.device().as_bytes() => {
                    self.on_handed_over(turn, chat, device, event, call.id, &with, video)
                }
                _ => Ok(()),
            };
        };
        let talk = &mut self.calls.list[at];
        let id = talk.id;
        let rings = !talk.outgoing && talk.phase == CallPhase::Ringing;
        match call.signal.clone() {
            CallSignal::Answer { .. } if rings && talk.moving.from.is_none() => {
                talk.moving.to = Some(device);
                talk.moving.contested = true;
                self.end_call(turn, id, CallEnd::Elsewhere, String::new(), false)?;
                if let Some(entry) = self.calls.elsewhere.iter_mut().find(|e| e.wire == call.id) {
                    entry.since_ms = Some(event.clock.ms());
                }
            }
            // Both took it: the other side talks to one of us, and this one will not be connected.
            CallSignal::Answer { .. } if !talk.outgoing && talk.connected.is_none() => {
                (talk.moving.contested, talk.moving.to) = (true, Some(device));
                talk.moving.since_ms = Some(event.clock.ms());
            }
            CallSignal::End { why: CallEnd::Busy, .. } if rings => {}
            CallSignal::End { why: CallEnd::Declined, text } if rings && talk.moving.from.is_none() => {
                self.end_call(turn, id, CallEnd::Declined, text, false)?;
            }
            CallSignal::End { .. } if rings && talk.moving.from.is_none_or(|from| from == device) => {
                self.end_call(turn, id, CallEnd::Elsewhere, String::new(), false)?;
                self.follow_elsewhere(turn, sender, chat, event, &call)?;
            }
            CallSignal::End { .. } if talk.moving.to == Some(device) => {
                talk.moving.to = None;
                talk.trouble = Some("your other device did not take the call".into());
                self.call_changed(turn, id);
            }
            CallSignal::Fetch if talk.media => {
                if let Err(error) = self.call_transfer(turn, id, Some(device)) {
                    tracing::debug!(%error, "a call cannot be moved");
                }
            }
            CallSignal::Transfer { to, with, .. } if to == *self.me.device().as_bytes() => {
                if let (Some(setup), Ok(with)) = (talk.moving.fetched.take(), DeviceId::from_bytes(&with)) {
                    (talk.setup, talk.device) = (Some(setup), Some(with));
                    self.hold_others(turn, id);
                    self.ask_for_servers(turn, id);
                }
            }
            // It was handed over to a third device.
            CallSignal::Transfer { .. } if rings && talk.moving.from == Some(device) => {
                self.end_call(turn, id, CallEnd::Elsewhere, String::new(), false)?;
            }
            _ => {}
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "all of it describes one call")]
    fn on_handed_over(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        from: DeviceId,
        event: EventId,
        wire: CallId,
        with: &[u8],
        video: bool,
    ) -> Result<(), EngineError> {
        let age = turn.agreed_ms().saturating_sub(event.clock.ms());
        let Ok(with) = DeviceId::from_bytes(with) else { return Ok(()) };
        if age > RING_MS {
            return Ok(());
        }
        let at = self.calls.elsewhere.iter().position(|e| e.wire == wire && e.chat == chat);
        let mut entry = at.map(|at| self.calls.elsewhere.remove(at)).unwrap_or(Elsewhere {
            chat,
            wire,
            device: from,
            peer: None,
            note: event,
            outgoing: false,
            video,
            since_ms: Some(event.clock.ms()),
        });
        (entry.device, entry.peer, entry.video) = (from, Some(with), video);
        let mut talk = self.handed_over(turn, &entry);
        talk.waiting = !self.calls.list.is_empty();
        talk.due = Some(turn.running() + RING_MS - age);
        let id = talk.id;
        let full = self.calls.list.len() >= MAX_CALLS;
        self.calls.list.push(talk);
        self.note(turn, id, CallEnd::Elsewhere, 0)?;
        if full { self.end_call(turn, id, CallEnd::Declined, String::new(), true) } else { Ok(()) }
    }

    /// Who rings here has answered another call of ours.
    pub(crate) fn end_ring_of(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        device: DeviceId,
    ) -> Result<(), EngineError> {
        let rings = |c: &&Talk| {
            c.chat == chat && !c.outgoing && c.phase == CallPhase::Ringing && c.device == Some(device) && !c.media
        };
        let id = self.calls.list.iter().find(rings).filter(|c| c.moving.from.is_none()).map(|c| c.id);
        id.map_or(Ok(()), |id| self.end_call(turn, id, CallEnd::Elsewhere, String::new(), false))
    }

    // The other side of a call that moves.

    /// The other side hands its end over to another device of its account.
    pub(crate) fn on_transfer(&mut self, id: CallId, chat: ChatId, to: &[u8]) {
        let list = self.chats.get(&chat).and_then(|c| self.contacts.get(&c.peer)).and_then(|p| p.list.as_ref());
        let to = DeviceId::from_bytes(to).ok().filter(|to| list.is_some_and(|l| l.device(to).is_some()));
        if let Some(talk) = self.calls.find(id) {
            talk.moving.heir = to;
        }
    }

    /// The device that the other side has handed its end over to takes it: media go there from now on.
    pub(crate) fn on_taken(
        &mut self,
        turn: &mut Turn<'_>,
        id: CallId,
        device: DeviceId,
        offer: String,
    ) -> Result<(), EngineError> {
        let Some(talk) = self.calls.find(id) else { return Ok(()) };
        talk.moving.heir = None;
        talk.device = Some(device);
        (talk.newest_offer, talk.restarts) = (0, (0, 0));
        talk.recorded = (Default::default(), 0, talk.recorded.2);
        turn.emit(Effect::Call(CallCommand::Restart(id, 0, offer)));
        // Who agreed to be recorded did so there.
        self.recording_over(turn, id)?;
        self.call_changed(turn, id);
        Ok(())
    }
}
