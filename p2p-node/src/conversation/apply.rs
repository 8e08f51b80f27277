//! Takes events into conversations, those written here and those received, and routes what follows from them to the rest of the node.

use starling_keys::{AccountId, Certificate};
use starling_wire::{Clock, EventId, Profile};

use crate::{
    api::types::{ChatId, ContactState, DurableEventKind, TransientEvent, Via},
    calls::Sender,
    conversation::send::timeline_key,
    engine::Engine,
    events::{self, At, Fact, Fold, Origin, Stored},
    store::{EARLY, EarlyRow, EventRow, Reading, StoreError, TIMELINE, prefix},
    turn::{self, EngineError, Turn},
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

impl Engine {
    /// Who has written what this device writes.
    pub(crate) fn own_origin(&mut self, turn: &Turn<'_>) -> Result<Origin, EngineError> {
        let (account, device) = (self.account.id(), self.account.device());
        let author = self.author(turn, account, device.tag())?;
        Ok(Origin { account, device, author, own: true, via: Via::Own })
    }

    /// Who has written what a member's device has sent.
    pub(crate) fn origin_of(&mut self, turn: &Turn<'_>, sender: &Certificate, via: Via) -> Result<Origin, EngineError> {
        let (account, device) = (sender.account(), sender.device());
        let author = self.author(turn, account, device.tag())?;
        Ok(Origin { account, device, author, own: account == self.account.id(), via })
    }

    /// Lets something look at a conversation, and change it, as events do. `None` if there is no such conversation.
    pub(crate) fn with_fold<T>(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        work: impl FnOnce(&mut Fold<'_>) -> T,
    ) -> Option<(T, Vec<Fact>)> {
        let state = self.conversations.chats.get_mut(&chat)?;
        let mut fold = Fold {
            stored: &InTurn { turn, chat },
            draft: &mut state.draft,
            counters: &mut state.row,
            roster: &mut state.roster,
            authors: &self.conversations.authors,
            this: self.account.device().tag(),
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
    pub(crate) fn fold_event(&mut self, turn: &mut Turn<'_>, chat: ChatId, at: &At<'_>) -> Result<(), EngineError> {
        let Some((folded, facts)) = self.with_fold(turn, chat, |fold| events::fold(fold, at)) else { return Ok(()) };
        folded?;
        for fact in facts {
            self.on_fact(turn, chat, at.origin, fact)?;
        }
        Ok(())
    }

    /// Writes what events have changed in a conversation's timeline.
    pub(crate) fn write_draft(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let draft = self.conversations.chats.get_mut(&chat).map(|state| std::mem::take(&mut state.draft));
        draft.map_or(Ok(()), |draft| draft.write(turn, chat))
    }

    fn on_fact(&mut self, turn: &mut Turn<'_>, chat: ChatId, origin: &Origin, fact: Fact) -> Result<(), EngineError> {
        match fact {
            Fact::Wrote(account) => {
                if let Some(person) = self.contacts.people.get_mut(&account)
                    && person.presence.typing_until.take().is_some()
                {
                    turn.live(TransientEvent::Typing { chat, typing: false });
                }
                Ok(())
            }
            Fact::Received { device, upto } => self.acknowledged(turn, chat, device, upto),
            Fact::Profile { account, profile } => self.on_profile(turn, account, profile),
            Fact::OwnName(name) => {
                if name != self.account.identity.row.name {
                    self.account.identity.row.name = name;
                    self.account.identity.dirty = true;
                }
                Ok(())
            }
            Fact::DeviceList { account, list } => self.contacts.on_newer_list(turn, account, &list),
            Fact::CallSignal { event, call } => {
                let Origin { account, device, own, .. } = *origin;
                let sender = Sender { account, device, own, chat, event };
                self.with_calls(turn, |calls, host| calls.on_signal(host, &sender, call))
            }
        }
    }

    fn on_profile(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        Profile { name, bot }: Profile,
    ) -> Result<(), EngineError> {
        let Some(person) = self.contacts.people.get_mut(&account) else {
            return Ok(());
        };
        let renamed = !name.is_empty() && person.row.name != name;
        if renamed {
            person.row.name = name;
        }
        person.row.bot = bot;
        person.dirty = true;
        if person.state() == ContactState::Outgoing {
            person.row.state = ContactState::Active.stored();
            turn.fact(turn::Fact::ReachChanged);
            turn.fact(turn::Fact::ContactsChanged);
            turn.account_news(DurableEventKind::ContactAccepted, account, "")?;
        } else if renamed {
            turn.live(TransientEvent::Net);
        }
        Ok(())
    }
}
