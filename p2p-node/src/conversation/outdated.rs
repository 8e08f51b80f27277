//! A profile that is an older copy of a device that went on: a backup that was put back, or a clone beside the real one. Its numbers and encryption
//! keys were used already, so what it writes is nowhere, though everybody seems to have it. It is found by what others have of this device, and then
//! writes nothing more.

use starling_wire::{Clock, EventId};

use super::{ChatState, Chats, Conversations, context::Context, group::GroupId};
use crate::{
    api::{
        problem::ChatProblem,
        types::{ChatId, DurableEventKind},
    },
    store::EventLogRow,
    turn::{EngineError, Fact, Turn},
};

impl ChatState {
    /// Whether an event of this device that somebody has, with this number and clock, is not one that was written here.
    pub(super) fn has_not(&self, sequence: u64, clock: Clock) -> bool {
        let written = self.clock_of(sequence);
        sequence > self.row.last_sequence || (clock.0 != 0 && written.is_some_and(|written| written != clock))
    }

    /// The clock of an event of ours that still waits for somebody.
    fn clock_of(&self, sequence: u64) -> Option<Clock> {
        let at = self.outbox.partition_point(|item| item.last < sequence);
        let item = self.outbox.get(at).filter(|item| item.first <= sequence)?;
        let messages = item.ids.chunks_exact(EventId::LEN).filter_map(EventId::from_bytes);
        let of_message = messages.into_iter().find(|id| id.sequence == sequence).map(|id| id.clock);
        of_message.or(Some(item.clock).filter(|clock| item.last == sequence && clock.0 != 0))
    }
}

impl Conversations {
    /// Whether a group is of a conversation in which this profile was found to be an older copy.
    pub(crate) fn is_outdated_group(&self, id: GroupId) -> bool {
        let chat = self.groups.get(&id).and_then(|group| group.chat());
        chat.and_then(|chat| self.chats.get(&chat)).is_some_and(|state| state.row.outdated)
    }
}

impl Chats {
    /// Somebody has events of this device that are not here: a contact, who is believed for the conversation with it; or another device of ours.
    pub(crate) fn outdated(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        said_in: Option<ChatId>,
    ) -> Result<(), EngineError> {
        let state = said_in.and_then(|chat| self.states.get_mut(&chat));
        if cx.counters.row.outdated || state.as_ref().is_some_and(|state| state.row.outdated) {
            return Ok(());
        }
        tracing::error!(everywhere = said_in.is_none(), "this profile is an older copy of its device");
        match state {
            Some(state) => (state.row.outdated, state.dirty) = (true, true),
            None => {
                (cx.counters.row.outdated, cx.counters.dirty) = (true, true);
                turn.fact(Fact::ProfileOutdated);
            }
        }
        if let Some(chat) = said_in {
            self.set_problem(turn, chat, Some(ChatProblem::Outdated));
        }
        let kind = DurableEventKind::DeviceCopied.stored();
        let (account, text) = (cx.dir.account.id(), cx.dir.account.device().to_string());
        turn.durable_event(EventLogRow { kind, account: account.as_bytes().to_vec(), text, ..EventLogRow::default() })
    }
}
