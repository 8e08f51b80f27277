//! A signal of a call, and what a timeline keeps of calls.

use starling_wire::{Body, Call, CallEnd, CallSignal, Event, EventId};

use super::{Ahead, At, Fold, Kind, Origin, Refusal, Summary, Target};
use crate::{
    api::types::{CallNote, DurableEventKind, Via},
    store::{EventRow, StoreError},
    turn::{EventFact, Sender},
};

impl Kind for Call {
    /// Which device may say what within a call depends on the call: its session decides.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Void
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        // The call that this device has written it for knows already.
        if !at.origin.is_here() {
            let Origin { account, device, own, .. } = *at.origin;
            let sender = Sender { account, device, own, chat: fold.chat, event: at.id };
            fold.facts.push(EventFact::CallSignal(sender, self.clone()));
        }
        Ok(())
    }

    fn summary(&self) -> Option<Summary> {
        note(self).map(Summary::Call)
    }
}

/// What is shown of a row about a call.
fn note(call: &Call) -> Option<CallNote> {
    match call.signal {
        CallSignal::Note { why, video, duration_ms } => {
            Some(CallNote { id: call.id, video, why, duration_ms, recording: None })
        }
        CallSignal::Recording { what, .. } => {
            Some(CallNote { id: call.id, video: false, why: CallEnd::HungUp, duration_ms: 0, recording: Some(what) })
        }
        _ => None,
    }
}

impl CallNote {
    /// Whether nobody has answered: of an incoming call, that it was missed.
    pub fn is_missed(&self) -> bool {
        let unanswered = matches!(self.why, CallEnd::NoAnswer | CallEnd::Cancelled | CallEnd::Busy);
        self.recording.is_none() && self.duration_ms == 0 && unanswered
    }
}

/// Writes a row about a call into the timeline, or changes it. `author` is who has made the call.
pub fn put(fold: &mut Fold<'_>, at: EventId, author: u32, call: Call) {
    let via = if fold.authors.is_own(author) { Via::Own } else { Via::Direct };
    let row =
        EventRow { body: Event::encode_body(&Body::Call(call)), author, via: via.stored(), ..EventRow::default() };
    fold.draft.put(at, row);
}

/// The note of a call that is over is complete: the conversation has something new, unread if the call was missed.
pub fn complete(fold: &mut Fold<'_>, note: EventId, missed: bool) {
    fold.arrived(note.clock, missed);
    fold.draft.tell(DurableEventKind::Call, note);
}

/// A call that seemed missed was answered on another device.
pub fn not_missed(fold: &mut Fold<'_>, note: EventId) {
    if note.clock.0 > fold.counters.read {
        fold.counters.unread = fold.counters.unread.saturating_sub(1);
        fold.changed = true;
    }
}
