//! How a call ends, and the note that is kept of it.

use starling_wire::{Body, Call, CallEnd, CallId, CallSignal, Clock, Event, EventId};

use crate::{
    api::types::{ChatId, FeedKind, Live, Via},
    calls::CallCommand,
    conversation::send::timeline_key,
    limits::MAX_CLOCK_AHEAD_MS,
    store::{EventRow, FeedRow, TIMELINE},
    turn::{Effect, Engine, EngineError, Turn},
};

impl Engine {
    pub(crate) fn end_call(
        &mut self,
        turn: &mut Turn<'_>,
        id: CallId,
        mut why: CallEnd,
        text: String,
        tell: bool,
    ) -> Result<(), EngineError> {
        let Some(at) = self.calls.list.iter().position(|c| c.id == id) else { return Ok(()) };
        let (chat, wire, outgoing) = {
            let talk = &self.calls.list[at];
            (talk.chat, talk.wire, talk.outgoing)
        };
        // Who never rang need not be told.
        if tell && (self.calls.list[at].note.is_some() || !outgoing) {
            self.tell_call(turn, chat, wire, CallSignal::End { why, text: text.clone() });
        }
        let here = self.calls.list[at].connected.map(|(since, _)| turn.running().saturating_sub(since));
        let talked = here.map_or(0, |here| here + self.calls.list[at].moving.talked_ms);
        if here.is_none() && self.calls.list[at].moving.is_left() {
            // Another device of ours has it still, or had it first.
            why = CallEnd::Elsewhere;
        }
        self.note(turn, id, why, talked)?;
        let talk = self.calls.list.remove(at);
        self.leave_elsewhere(turn, &talk, why);
        if talk.media {
            turn.emit(Effect::Call(CallCommand::End(id)));
        }
        if let Some(note) = talk.note {
            let missed =
                !outgoing && talked == 0 && matches!(why, CallEnd::NoAnswer | CallEnd::Cancelled | CallEnd::Busy);
            self.noted(turn, chat, note, missed)?;
        }
        let info = Box::new(talk.info(Some((why, text))));
        turn.live(Live::Call(info));
        // One that waited is not the second any more.
        for other in &mut self.calls.list {
            other.waiting = false;
        }
        Ok(())
    }

    /// Writes or changes the note of a call in the timeline.
    pub(crate) fn note(
        &mut self,
        turn: &mut Turn<'_>,
        id: CallId,
        why: CallEnd,
        duration_ms: u64,
    ) -> Result<(), EngineError> {
        let Some(talk) = self.calls.list.iter().find(|c| c.id == id) else { return Ok(()) };
        let Some(note) = talk.note.filter(|n| *n != EventId::default()) else { return Ok(()) };
        let (chat, outgoing) = (talk.chat, talk.outgoing);
        let call = Call { id: talk.id, signal: CallSignal::Note { why, video: talk.video, duration_ms } };
        self.put_note(turn, chat, note, outgoing, call)
    }

    /// The conversation has a note of a call that is over.
    pub(crate) fn noted(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        note: EventId,
        missed: bool,
    ) -> Result<(), EngineError> {
        let agreed = turn.agreed_ms();
        if let Some(state) = self.chats.get_mut(&chat) {
            let latest = Clock::at(agreed.saturating_add(MAX_CLOCK_AHEAD_MS)).0;
            state.row.newest = state.row.newest.max(note.clock.0.min(latest));
            if missed && note.clock.0 > state.row.read {
                state.row.unread += 1;
            }
            state.row.archived = false;
            state.dirty = true;
        }
        let ids = note.to_bytes().to_vec();
        turn.news(FeedRow { kind: FeedKind::Call.stored(), chat: chat.0.to_vec(), ids, ..FeedRow::default() })
    }

    /// Writes what the timeline keeps of a call: its note, or what was said of a recording.
    pub(crate) fn put_note(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        note: EventId,
        own: bool,
        call: Call,
    ) -> Result<(), EngineError> {
        let row = EventRow {
            body: Event::encode_body(&Body::Call(call)),
            author: self.author_in(turn, chat, own, note.device)?,
            via: if own { Via::Own } else { Via::Direct }.stored(),
            ..EventRow::default()
        };
        Ok(turn.put(TIMELINE, &timeline_key(chat, note), &row)?)
    }
}
