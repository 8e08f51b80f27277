//! Takes events into conversations: those written here and those received.

use starling_keys::Certificate;
use starling_wire::{Clock, EventId};

use crate::{
    api::types::{ChatId, Via},
    contacts::Directory,
    conversation::{Chats, Conversations, send::timeline_key},
    events::{self, At, Fold, Origin, Stored},
    roster::Authors,
    store::{EARLY, EarlyRow, EventRow, Reading, StoreError, TIMELINE, prefix},
    turn::{EngineError, EventFact, Turn},
};

/// A conversation's timeline as a turn sees it.
struct InTurn<'a, 'store> {
    turn: &'a Turn<'store>,
    chat: ChatId,
}

impl Stored for InTurn<'_, '_> {
    fn row(&self, id: EventId) -> Result<Option<EventRow>, StoreError> {
        self.turn.get(TIMELINE, &timeline_key(self.chat, id))
    }

    fn early(&self, id: EventId) -> Result<Option<EarlyRow>, StoreError> {
        self.turn.get(EARLY, &timeline_key(self.chat, id))
    }

    fn oldest_early(&self) -> Result<Option<EventId>, StoreError> {
        let rows = self.turn.range::<EarlyRow>(EARLY, prefix(&self.chat.0), 1, false)?;
        Ok(rows.first().and_then(|(key, _)| EventId::from_bytes(key.get(16..)?)))
    }

    fn between(&self, after: Clock, upto: Clock, limit: usize) -> Result<Vec<(EventId, EventRow)>, StoreError> {
        let range = timeline_key(self.chat, events::first_with(Clock(after.0.saturating_add(1))))
            ..=timeline_key(self.chat, events::last_with(upto));
        let rows = self.turn.range::<EventRow>(TIMELINE, range, limit, true)?;
        Ok(rows.into_iter().filter_map(|(key, row)| Some((EventId::from_bytes(key.get(16..)?)?, row))).collect())
    }
}

impl Conversations {
    /// Lets something look at a conversation, and change it, as events do. `None` if there is no such conversation.
    pub(crate) fn with_fold<T>(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        work: impl FnOnce(&mut Fold<'_>) -> T,
    ) -> Option<(T, Vec<EventFact>)> {
        let state = self.chats.get_mut(&chat)?;
        let mut fold = Fold {
            chat,
            stored: &InTurn { turn, chat },
            draft: &mut state.draft,
            counters: &mut state.row,
            roster: &mut state.roster,
            authors: &self.authors,
            policy: self.policies.policy(&chat),
            this: dir.account.device().tag(),
            provisional: &state.provisional,
            now_ms: turn.agreed_ms(),
            facts: Vec::new(),
            changed: false,
        };
        let result = work(&mut fold);
        let Fold { facts, changed, .. } = fold;
        state.dirty |= changed;
        Some((result, facts))
    }

    /// Takes an event into a conversation, whoever has written it.
    pub(crate) fn fold_event(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        at: &At<'_>,
    ) -> Result<(), EngineError> {
        let Some((folded, facts)) = self.with_fold(turn, dir, chat, |fold| events::fold(fold, at)) else {
            return Ok(());
        };
        folded?;
        turn.facts(facts);
        Ok(())
    }
}

impl Authors {
    /// Who has written what this device writes.
    pub(crate) fn own_origin(&mut self, turn: &Turn<'_>, dir: Directory<'_>) -> Result<Origin, EngineError> {
        let (account, device) = (dir.account.id(), dir.account.device());
        let author = self.author(turn, dir, account, &device)?;
        Ok(Origin { account, device, author, own: true, via: Via::Own })
    }

    /// Who has written what a member's device has sent.
    pub(crate) fn origin_of(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        sender: &Certificate,
        via: Via,
    ) -> Result<Origin, EngineError> {
        let (account, device) = (sender.account(), sender.device());
        let author = self.author(turn, dir, account, &device)?;
        Ok(Origin { account, device, author, own: account == dir.account.id(), via })
    }
}

impl Chats {
    /// Writes what events have changed in a conversation's timeline.
    pub(crate) fn write_draft(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let draft = self.states.get_mut(&chat).map(|state| std::mem::take(&mut state.draft));
        draft.map_or(Ok(()), |draft| draft.write(turn, chat))
    }
}
