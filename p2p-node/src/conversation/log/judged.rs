//! Messages of this device that count for nobody: its user may not write any more where the log has them, or they have come too soon in slow mode. The
//! others drop them by the same rules; here they are marked.

use starling_wire::{Body, EventId};

use crate::{
    api::types::{ChatId, ChatKind, DeliveryState},
    contacts::Directory,
    conversation::{
        Conversations,
        group::{GroupEntry, GroupId},
        outbox::{OutItem, events_of, outbox_key},
    },
    events,
    store::{EventRow, OUTBOX, OutboxRow, Reading, TIMELINE},
    turn::{EngineError, Turn},
};

impl Conversations {
    /// A message of ours was read in the log of a group's epoch: what of it counts for nobody is marked.
    pub(super) fn judge_own(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        (chat, id, epoch): (ChatId, GroupId, u64),
        message: &[u8],
    ) -> Result<(), EngineError> {
        // In a log that is over it counts for nobody, and comes again.
        let is_current = self.groups.get(&id).map(GroupEntry::epoch) == Some(epoch);
        let Some(state) = self.chats.get(&chat).filter(|state| is_current && state.is_group()) else { return Ok(()) };
        let may_be = |item: &&OutItem| item.group == id && item.epoch == epoch && item.len == message.len();
        // What is kept for others stays long after it was judged.
        let from = state.outbox.partition_point(|item| item.last <= state.row.judged_upto);
        let unjudged = state.outbox.iter().skip(from);
        let firsts: Vec<u64> = unjudged.filter(may_be).map(|item| item.first).collect();
        let mut found = None;
        for first in firsts {
            let row = turn.get::<OutboxRow>(OUTBOX, &outbox_key(chat, first))?;
            found = row.filter(|row| row.message[..] == *message);
            if found.is_some() {
                break;
            }
        }
        let Some(row) = found else { return Ok(()) };
        let own = dir.account.id();
        let allowed = self.allowed(own, (chat, id), ChatKind::Group, None);
        let mut void = Vec::new();
        for event in events_of(turn, chat, &row)? {
            let is_text = matches!(event.body, Body::Text(_));
            let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
            // Who has it there twice counts the first.
            if event.id.sequence <= state.row.judged_upto {
                continue;
            }
            (state.row.judged_upto, state.dirty) = (event.id.sequence, true);
            if allowed.take(state, &event).is_err() && is_text {
                void.push(event.id);
            }
        }
        self.mark_void(turn, chat, &void)
    }

    /// Messages of our account count for nobody: those that are here are marked.
    pub(in crate::conversation) fn mark_void(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        void: &[EventId],
    ) -> Result<(), EngineError> {
        if void.is_empty() {
            return Ok(());
        }
        tracing::debug!(messages = void.len(), "messages of ours count for nobody");
        self.chats.write_draft(turn, chat)?;
        let mut marked = Vec::new();
        for id in void {
            let key = events::key(chat, *id);
            if let Some(row) = turn.get::<EventRow>(TIMELINE, &key)?.filter(|row| !row.undone && !row.deleted) {
                turn.put(TIMELINE, &key, &EventRow { undone: true, ..row })?;
                marked.extend(id.to_bytes());
            }
        }
        turn.state_event(chat, marked, DeliveryState::Failed)
    }
}
