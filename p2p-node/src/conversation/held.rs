//! Events that are stamped ahead of the time. They wait, unshown, until they are due, so that nothing stays at the end of a timeline; their stamp,
//! and so their place, is the same for everybody.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Body, Clock, Event, EventId, Permissions, Role};

use super::limits::MAX_HELD;
use crate::{
    api::types::{ChatId, Via},
    contacts::Directory,
    conversation::{ChatState, Chats, Conversations, policy::may_send, send::timeline_key},
    events::{self, Ahead, At, Origin},
    limits::MAX_CLOCK_AHEAD_MS,
    store::{HELD, HeldEventRow, Reading, StoreError, UNREADABLE},
    turn::{EngineError, EventFact, Turn},
};

/// What waits in each conversation.
pub(super) fn load(read: &impl Reading) -> Result<BTreeMap<ChatId, BTreeSet<EventId>>, StoreError> {
    let mut held: BTreeMap<ChatId, BTreeSet<EventId>> = BTreeMap::new();
    for key in read.keys(HELD)? {
        let chat = key.get(..16).and_then(|id| id.try_into().ok()).map(ChatId);
        let id = key.get(16..).and_then(EventId::from_bytes);
        let (Some(chat), Some(id)) = (chat, id) else { return Err(StoreError::Damaged(HELD.name())) };
        held.entry(chat).or_default().insert(id);
    }
    Ok(held)
}

/// When an event is due, in milliseconds since 1970.
fn due_ms(id: &EventId) -> u64 {
    id.clock.ms().saturating_sub(MAX_CLOCK_AHEAD_MS)
}

impl ChatState {
    /// When the first of what waits is due, in milliseconds since 1970 by the later one of our clock and the agreed one.
    pub(crate) fn held_due_ms(&self) -> Option<u64> {
        self.held.first().map(due_ms)
    }
}

impl Conversations {
    /// Takes an event that was received into a conversation, now or when it is due.
    pub(super) fn take_event(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        at: &At<'_>,
    ) -> Result<(), EngineError> {
        if let Body::Unknown(event) = at.body {
            let (role, permissions) = (self.role_in(chat, &at.origin.account), self.policies.permissions(&chat));
            return self.chats.keep_unreadable(turn, chat, at, (event, role, permissions));
        }
        let is_ahead = due_ms(&at.id) > turn.latest_ms();
        match events::kind(at.body).map(events::Kind::ahead).filter(|_| is_ahead) {
            None | Some(Ahead::Fold) => self.fold_event(turn, dir, chat, at),
            Some(Ahead::Hold) => self.chats.hold(turn, chat, at),
            Some(Ahead::Void) => {
                tracing::warn!("a signal of a call with a clock that is wrong was dropped");
                Ok(())
            }
        }
    }

    /// Takes what is due of what waits in a conversation.
    pub(crate) fn release_held(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
    ) -> Result<(), EngineError> {
        let latest = Clock::at(turn.latest_ms().saturating_add(MAX_CLOCK_AHEAD_MS + 1));
        let Some(state) = self.chats.get_mut(&chat) else { return Ok(()) };
        let later = state.held.split_off(&events::first_with(latest));
        for id in std::mem::replace(&mut state.held, later) {
            let key = timeline_key(chat, id);
            let Some(row) = turn.get::<HeldEventRow>(HELD, &key)? else {
                self.release_unreadable(turn, dir, (chat, id))?;
                continue;
            };
            turn.delete(HELD, &key)?;
            let (account, device) = (AccountId::from_bytes(&row.account), DeviceId::from_bytes(&row.device));
            let (Ok(account), Ok(device), Ok(body)) = (account, device, Event::decode_body(&row.body)) else {
                return Err(StoreError::Damaged(HELD.name()).into());
            };
            self.take_kept(turn, dir, (chat, id), (account, device, row.via), &body)?;
        }
        Ok(())
    }

    /// Takes an event that was kept, of a device, as it came then; but not if its account has removed the device since, and does not count it.
    fn take_kept(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        (chat, id): (ChatId, EventId),
        (account, device, via): (AccountId, DeviceId, u32),
        body: &Body,
    ) -> Result<(), EngineError> {
        if self.chats.is_beyond_cut(dir, chat, (account, &device), id) {
            return Ok(());
        }
        let author = self.authors.author(turn, dir, account, &device)?;
        let own = account == dir.account.id();
        let origin = Origin { account, device, author, own, via: Via::from_stored(via) };
        self.fold_event(turn, dir, chat, &At { id, body, origin: &origin })?;
        turn.facts([EventFact::Arrived(chat)]);
        Ok(())
    }

    /// Takes an event that was kept until this program was updated. What its sender may send is judged by what was so when it came: so has everybody
    /// judged it whose program knew it then.
    fn release_unreadable(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        (chat, id): (ChatId, EventId),
    ) -> Result<(), EngineError> {
        let key = timeline_key(chat, id);
        let Some(row) = turn.get::<HeldEventRow>(UNREADABLE, &key)? else { return Ok(()) };
        turn.delete(UNREADABLE, &key)?;
        let (account, device) = (AccountId::from_bytes(&row.account), DeviceId::from_bytes(&row.device));
        let (Ok(account), Ok(device)) = (account, device) else {
            return Err(StoreError::Damaged(UNREADABLE.name()).into());
        };
        // Its content is its sender's: it may be garbage.
        let Ok(body) = Event::decode_body(&row.body) else { return Ok(()) };
        let Some(kind) = self.chats.get(&chat).map(ChatState::kind) else { return Ok(()) };
        let role = row.role.and_then(Role::from_rank);
        let permissions = Permissions::from_ranks(&row.permissions).unwrap_or(Permissions::FORMER);
        // Only what has a number is kept: a kind that has none is void with one.
        if !body.is_numbered() || !may_send(kind, role, permissions, &body) {
            return Ok(());
        }
        self.take_kept(turn, dir, (chat, id), (account, device, row.via), &body)
    }
}

impl Chats {
    fn hold(&mut self, turn: &Turn<'_>, chat: ChatId, at: &At<'_>) -> Result<(), EngineError> {
        let Some(state) = self.states.get_mut(&chat) else { return Ok(()) };
        let row = HeldEventRow {
            account: at.origin.account.as_bytes().to_vec(),
            device: at.origin.device.as_bytes().to_vec(),
            via: at.origin.via.stored(),
            body: Event::encode_body(at.body),
            ..HeldEventRow::default()
        };
        turn.put(HELD, &timeline_key(chat, at.id), &row)?;
        state.held.insert(at.id);
        tracing::debug!(waiting = state.held.len(), "an event that is stamped ahead of the time waits");
        if state.held.len() > MAX_HELD
            && let Some(furthest) = state.held.pop_last()
        {
            turn.delete(HELD, &timeline_key(chat, furthest))?;
        }
        Ok(())
    }
}
