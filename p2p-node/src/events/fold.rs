//! What an event may look at and change.

use std::collections::{BTreeMap, BTreeSet};

use starling_keys::AccountId;
use starling_wire::{Body, Clock, Event, EventId, Policy, Role, Text};

use super::{At, Draft, Summary, Target, summary};
use crate::{
    api::types::{ChatId, Via},
    limits::MAX_CLOCK_AHEAD_MS,
    roster::{Authors, Roster},
    store::{ChatRow, EarlyRow, EventRow, StoreError},
    turn::EventFact,
};

/// The stored timeline of a conversation, without the draft.
pub trait Stored {
    /// A row.
    fn row(&self, id: EventId) -> Result<Option<EventRow>, StoreError>;
    /// What came before a message.
    fn early(&self, id: EventId) -> Result<Option<EarlyRow>, StoreError>;
    /// The oldest message that something came before.
    fn oldest_early(&self) -> Result<Option<EventId>, StoreError>;
    /// The newest rows of those with a clock in `(after, upto]`, at most `limit`.
    fn between(&self, after: Clock, upto: Clock, limit: usize) -> Result<Vec<(EventId, EventRow)>, StoreError>;
}

/// A conversation while an event is taken into it.
pub struct Fold<'a> {
    /// Which it is.
    pub chat: ChatId,
    /// What is stored.
    pub stored: &'a dyn Stored,
    /// What was changed since.
    pub draft: &'a mut Draft,
    /// Counters and watermarks.
    pub counters: &'a mut ChatRow,
    /// Its members.
    pub roster: &'a mut Roster,
    /// Who authors are.
    pub authors: &'a Authors,
    /// What its accounts may do, if it is a group.
    pub policy: Option<&'a Policy>,
    /// The tag of this device.
    pub this: [u8; 8],
    /// Messages that came by gossip and are not final.
    pub provisional: &'a BTreeSet<EventId>,
    /// The time as devices agree on it, in milliseconds since 1970.
    pub now_ms: u64,
    /// What follows for others.
    pub facts: Vec<EventFact>,
    /// The counters have changed.
    pub changed: bool,
}

impl Fold<'_> {
    /// Whether an account may delete what another has written: by its role, which is above the other's.
    pub fn moderates(&self, account: &AccountId, other: &AccountId) -> bool {
        let Some(policy) = self.policy.filter(|policy| policy.rules.is_some()) else { return false };
        let is_above = |role: Role| policy.role(other.as_bytes()).is_none_or(|theirs| role.is_above(theirs));
        let role = policy.role(account.as_bytes());
        role.is_some_and(|role| role <= policy.permissions().delete && is_above(role))
    }

    /// Whether the author of a message may give it another text: who may only answer others changes answers.
    pub fn may_edit(&self, author: &AccountId, row: &EventRow) -> bool {
        let policy = self.policy.filter(|policy| policy.rules.is_some());
        let lowest = policy.zip(policy.and_then(|policy| policy.role(author.as_bytes())));
        let is_answer = || matches!(Event::decode_body(&row.body), Ok(Body::Text(text)) if text.reply_to.is_some());
        lowest.is_none_or(|(policy, role)| role <= policy.permissions().post || is_answer())
    }

    /// The body of an event as it is kept: who may not mention everybody mentions nobody by that.
    pub fn kept_body(&self, at: &At<'_>) -> Vec<u8> {
        match at.body {
            Body::Text(text) if text.mentions_all && !self.may_mention_all(&at.origin.account) => {
                Event::encode_body(&Body::Text(Text { mentions_all: false, ..text.clone() }))
            }
            body => Event::encode_body(body),
        }
    }

    fn may_mention_all(&self, account: &AccountId) -> bool {
        let role = self.policy.and_then(|policy| Some((policy, policy.role(account.as_bytes())?)));
        role.is_some_and(|(policy, role)| role <= policy.permissions().mention_all)
    }

    /// A row of the timeline.
    pub fn row(&self, id: EventId) -> Result<Option<EventRow>, StoreError> {
        match self.draft.row(id) {
            Some(row) => Ok(Some(row.clone())),
            None => self.stored.row(id),
        }
    }

    /// The message that an event is about.
    pub fn target(&self, id: EventId) -> Result<Target, StoreError> {
        let Some(row) = self.row(id)? else { return Ok(Target::Unknown) };
        Ok(match (summary(&row), self.authors.account(row.author)) {
            (Some(Summary::Call(_) | Summary::Device(_)), _) => Target::Note,
            (_, Some(by)) => Target::Message { row, by },
            (_, None) => Target::Unknown,
        })
    }

    /// The newest rows of those with a clock in `(after, upto]`, at most `limit`, oldest first.
    pub fn between(&self, after: Clock, upto: Clock, limit: usize) -> Result<Vec<(EventId, EventRow)>, StoreError> {
        if after >= upto {
            return Ok(Vec::new());
        }
        let mut rows: BTreeMap<EventId, EventRow> = self.stored.between(after, upto, limit)?.into_iter().collect();
        let range = first_with(Clock(after.0.saturating_add(1)))..=last_with(upto);
        rows.extend(self.draft.rows(range).map(|(id, row)| (*id, row.clone())));
        Ok(rows.into_iter().collect())
    }

    /// Whether a row was copied from another device of ours before the event itself came.
    pub fn is_copied(&self, id: EventId) -> Result<bool, StoreError> {
        // Mostly nothing so new was copied: then nothing is read.
        Ok(id.clock.0 <= self.counters.copied && self.row(id)?.is_some_and(|row| row.via == Via::Copy.stored()))
    }

    /// Whether a message came by gossip and is not final: it may have been marked since, as it did not come to count.
    pub fn is_provisional(&self, id: EventId) -> Result<bool, StoreError> {
        // Mostly nothing so new was marked: then nothing is read.
        let is_marked = id.clock.0 <= self.counters.undone && !self.provisional.contains(&id);
        match is_marked {
            true => Ok(self.row(id)?.is_some_and(|row| row.via == Via::Gossip.stored())),
            false => Ok(self.provisional.contains(&id)),
        }
    }

    /// The latest clock that counts now: one that is further ahead sorts where it says, but pins nothing there.
    pub fn latest(&self) -> Clock {
        Clock::at(self.now_ms.saturating_add(MAX_CLOCK_AHEAD_MS))
    }

    /// Something is new in the conversation at this clock; it counts as unread, or not.
    pub fn arrived(&mut self, clock: Clock, unread: bool) {
        let latest = self.latest();
        let counters = &mut *self.counters;
        counters.newest = counters.newest.max(clock.min(latest).0);
        if unread && clock.0 > counters.read {
            counters.unread += 1;
        }
        counters.archived = false;
        self.changed = true;
    }
}

/// The least id with this clock.
pub fn first_with(clock: Clock) -> EventId {
    EventId { clock, ..EventId::default() }
}

/// The greatest id with this clock.
pub fn last_with(clock: Clock) -> EventId {
    EventId { clock, device: [0xff; 8], sequence: u64::MAX }
}
