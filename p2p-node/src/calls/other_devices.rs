//! Calls that other devices of our account have: so that the timeline is the same on all of them, and a call can be fetched from another one.

use starling_keys::DeviceId;
use starling_wire::{Call, CallEnd, CallId, CallSignal, EventId};

use super::{
    Calls,
    handoff::left_behind,
    host::CallHost,
    limits::{MAX_EARLY_CALLS, MAX_ELSEWHERE},
    session::CallSession,
};
use crate::{
    api::types::ChatId,
    turn::{EngineError, Sender},
};

/// A call that another device of ours has.
#[derive(Debug)]
pub struct OtherDeviceCall {
    pub chat: ChatId,
    pub wire_id: CallId,
    pub device: DeviceId,
    /// The device at its other end, once it is known.
    pub peer: Option<DeviceId>,
    /// Place of its note in the timeline.
    pub note: EventId,
    pub outgoing: bool,
    pub video: bool,
    /// Since when they talk, in milliseconds since 1970 by the clock of the device that answered.
    pub since_ms: Option<u64>,
}

/// Signals of a call whose ring has not come yet: those of several devices may overtake one another.
#[derive(Debug)]
pub struct EarlySignals {
    wire_id: CallId,
    /// By which device of ours it was answered, and when.
    answered: Option<(DeviceId, u64)>,
    ended: Option<(CallEnd, u64)>,
}

/// A ring, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    pub wire_id: CallId,
    pub video: bool,
}

impl Calls {
    /// Another device of ours calls somebody.
    pub(super) fn on_other_device_ring(
        &mut self,
        host: &mut dyn CallHost,
        sender: &Sender,
        ring: Ring,
    ) -> Result<(), EngineError> {
        let Sender { chat, device, event: note, .. } = *sender;
        let Ring { wire_id, video } = ring;
        self.keep_other_device_call(OtherDeviceCall {
            chat,
            wire_id,
            device,
            peer: None,
            note,
            outgoing: true,
            video,
            since_ms: None,
        });
        let signal = CallSignal::Note { why: CallEnd::Elsewhere, video, duration_ms: 0 };
        host.put_row(chat, note, true, Call { id: wire_id, signal })
    }

    /// Keeps the signals of a call whose ring is still to come.
    pub(super) fn keep_early(&mut self, sender: &Sender, call: &Call) {
        let (answers, ends) = match call.signal {
            CallSignal::Answer { .. } => (sender.own, None),
            CallSignal::End { why, .. } if why != CallEnd::Busy => (false, Some(why)),
            _ => return,
        };
        let known = self.by_wire_id(sender.chat, call.id).is_some()
            || self.other_devices.iter().any(|other| other.wire_id == call.id);
        if known || !(answers || ends.is_some()) {
            return;
        }
        let mut early =
            self.take_early(call.id).unwrap_or(EarlySignals { wire_id: call.id, answered: None, ended: None });
        let at = sender.event.clock.ms();
        if answers {
            early.answered = Some((sender.device, at));
        }
        early.ended = early.ended.or(ends.map(|why| (why, at)));
        self.early.push_back(early);
        if self.early.len() > MAX_EARLY_CALLS {
            self.early.pop_front();
        }
    }

    fn take_early(&mut self, wire_id: CallId) -> Option<EarlySignals> {
        let at = self.early.iter().position(|early| early.wire_id == wire_id)?;
        self.early.remove(at)
    }

    /// Whether a ring is of a call that another device of ours has answered already, or that is over: then only the timeline has it.
    pub(super) fn rang_too_late(
        &mut self,
        host: &mut dyn CallHost,
        sender: &Sender,
        ring: Ring,
    ) -> Result<bool, EngineError> {
        let Ring { wire_id, video } = ring;
        let Some(EarlySignals { answered, ended, .. }) = self.take_early(wire_id) else { return Ok(false) };
        let (chat, note) = (sender.chat, sender.event);
        let (why, duration_ms) = match (answered, ended) {
            (Some((_, since)), Some((why, ended))) => (why, ended.saturating_sub(since)),
            (None, Some((why, _))) => (why, 0),
            _ => (CallEnd::Elsewhere, 0),
        };
        let missed = answered.is_none() && matches!(why, CallEnd::NoAnswer | CallEnd::Cancelled);
        host.put_row(chat, note, false, Call { id: wire_id, signal: CallSignal::Note { why, video, duration_ms } })?;
        host.note_complete(chat, note, missed);
        if let (Some((device, since)), None) = (answered, ended) {
            let (peer, since_ms) = (Some(sender.device), Some(since));
            let call = OtherDeviceCall { chat, wire_id, device, peer, note, outgoing: false, video, since_ms };
            self.keep_other_device_call(call);
        }
        Ok(true)
    }

    /// A call rang while this device was away: another device of ours may have answered it.
    pub(super) fn rang_before(&mut self, host: &dyn CallHost, sender: &Sender, ring: Ring) {
        self.keep_other_device_call(OtherDeviceCall {
            chat: sender.chat,
            wire_id: ring.wire_id,
            device: host.own().1,
            peer: Some(sender.device),
            note: sender.event,
            outgoing: false,
            video: ring.video,
            since_ms: None,
        });
    }

    /// A call of ours is over here, but goes on at another device.
    pub(super) fn keep_if_elsewhere(&mut self, host: &dyn CallHost, session: &CallSession, why: CallEnd) {
        if let (Some(note), CallEnd::Elsewhere) = (session.note, why)
            && let Some(call) = left_behind(host, session, note)
        {
            self.keep_other_device_call(call);
        }
    }

    /// Calls that other devices of ours have had are over, and nobody says so any more.
    pub(super) fn end_at_other_devices(
        &mut self,
        host: &mut dyn CallHost,
        over: impl Fn(&OtherDeviceCall) -> bool,
    ) -> Result<(), EngineError> {
        let now = host.time().agreed;
        for other in self.other_devices.extract_if(.., |other| over(other)).collect::<Vec<_>>() {
            let Some(since) = other.since_ms else { continue };
            let (why, duration_ms) = (CallEnd::HungUp, now.saturating_sub(since));
            let signal = CallSignal::Note { why, video: other.video, duration_ms };
            host.put_row(other.chat, other.note, other.outgoing, Call { id: other.wire_id, signal })?;
            host.note_complete(other.chat, other.note, false);
        }
        Ok(())
    }

    fn keep_other_device_call(&mut self, call: OtherDeviceCall) {
        self.other_devices.retain(|other| other.wire_id != call.wire_id);
        self.other_devices.push(call);
        if self.other_devices.len() > MAX_ELSEWHERE {
            self.other_devices.remove(0);
        }
    }

    pub(super) fn take_other_device_call(&mut self, chat: ChatId, wire_id: CallId) -> Option<OtherDeviceCall> {
        let at = self.other_devices.iter().position(|other| other.wire_id == wire_id && other.chat == chat)?;
        Some(self.other_devices.remove(at))
    }

    /// Signals in a call that another device of ours has: the timeline is the same on all.
    pub(super) fn follow_other_devices(
        &mut self,
        host: &mut dyn CallHost,
        sender: &Sender,
        call: &Call,
    ) -> Result<(), EngineError> {
        let Sender { own, chat, device, event, .. } = *sender;
        let at = self.other_devices.iter().position(|other| other.chat == chat && other.wire_id == call.id);
        let Some(at) = at else { return Ok(()) };
        let other = &mut self.other_devices[at];
        match &call.signal {
            CallSignal::Answer { .. } if !own && other.outgoing => {
                other.since_ms.get_or_insert(event.clock.ms());
                other.peer.get_or_insert(device);
            }
            CallSignal::Answer { .. } if own && !other.outgoing && other.since_ms.is_none() => {
                // It was not missed: another device of ours has it.
                (other.device, other.since_ms) = (device, Some(event.clock.ms()));
                let signal = CallSignal::Note { why: CallEnd::Elsewhere, video: other.video, duration_ms: 0 };
                host.put_row(chat, other.note, false, Call { id: other.wire_id, signal })?;
                host.not_missed(chat, other.note);
            }
            CallSignal::Take { .. } if own => other.device = device,
            CallSignal::Take { .. } => other.peer = Some(device),
            // The others of them may still ring.
            CallSignal::End { why: CallEnd::Busy, .. } if !own => {}
            CallSignal::End { why, .. }
                if other.device == device || (!own && other.peer.is_none_or(|peer| peer == device)) =>
            {
                let other = self.other_devices.remove(at);
                if !other.outgoing && other.since_ms.is_none() {
                    // Missed here, and answered nowhere: its note says so.
                    return Ok(());
                }
                let duration_ms = other.since_ms.map_or(0, |since| event.clock.ms().saturating_sub(since));
                let signal = CallSignal::Note { why: *why, video: other.video, duration_ms };
                host.put_row(chat, other.note, other.outgoing, Call { id: other.wire_id, signal })?;
                host.note_complete(chat, other.note, false);
            }
            _ => {}
        }
        Ok(())
    }
}
