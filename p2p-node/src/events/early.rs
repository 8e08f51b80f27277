//! Changes that arrive before the message that they are about: by another way, or from another member. They are kept until the message is
//! here, so that the timeline does not depend on the order of arrival.

use starling_keys::AccountId;
use starling_wire::EventId;

use super::{Fold, delete, edit, limits::MAX_EARLY_TARGETS, reaction};
use crate::store::{EarlyChange, EarlyRow, EventRow, StoreError};

impl Fold<'_> {
    fn early(&self, id: EventId) -> Result<Option<EarlyRow>, StoreError> {
        match self.draft.early(id) {
            Some(row) => Ok(row.cloned()),
            None if self.counters.early == 0 => Ok(None),
            None => self.stored.early(id),
        }
    }

    /// Keeps what an event says of a message that is not here.
    pub fn keep_early(&mut self, target: EventId, change: impl FnOnce(&mut EarlyRow)) -> Result<(), StoreError> {
        if target.clock.0 <= self.counters.cleared {
            // The user has deleted what was there.
            return Ok(());
        }
        let known = self.early(target)?;
        if known.is_none() {
            self.make_room()?;
            self.counters.early += 1;
            self.changed = true;
        }
        let mut row = known.unwrap_or_default();
        change(&mut row);
        self.draft.put_early(target, Some(row));
        Ok(())
    }

    /// Forgets what came before the oldest message, if there is too much: a member could make us keep any amount.
    fn make_room(&mut self) -> Result<(), StoreError> {
        if self.counters.early < MAX_EARLY_TARGETS {
            return Ok(());
        }
        let oldest = self.stored.oldest_early()?.filter(|id| !matches!(self.draft.early(*id), Some(None)));
        if let Some(oldest) = oldest.or_else(|| self.draft.oldest_early()) {
            self.draft.put_early(oldest, None);
            self.counters.early -= 1;
        }
        Ok(())
    }

    /// A message is here: what came before it, of all that its author and others have said, is applied.
    pub fn apply_early(&mut self, id: EventId, row: &mut EventRow, author: &AccountId) -> Result<(), StoreError> {
        let Some(early) = self.early(id)? else { return Ok(()) };
        self.draft.put_early(id, None);
        self.counters.early = self.counters.early.saturating_sub(1);
        self.apply_changes(early, row, author);
        Ok(())
    }

    /// The same of a message that a member has handed on: what came before it is kept, as its author may still send it.
    pub fn apply_kept_early(&self, id: EventId, row: &mut EventRow, author: &AccountId) -> Result<(), StoreError> {
        if let Some(early) = self.early(id)? {
            self.apply_changes(early, row, author);
        }
        Ok(())
    }

    fn apply_changes(&self, early: EarlyRow, row: &mut EventRow, author: &AccountId) {
        for kept in early.reactions {
            reaction::apply(row, kept);
        }
        // Whoever is not the author may not change it; which account that is was not known before.
        for change in early.changes.into_iter().filter(|c| c.account == author.as_bytes()) {
            if let Some(text) = change.text.filter(|_| self.may_edit(author, row)) {
                edit::apply(row, text, change.clock, &change.device);
            }
            if change.deleted {
                delete::apply(row);
            }
        }
    }
}

/// What an account has said of a message that is not here.
pub fn of<'a>(row: &'a mut EarlyRow, account: &AccountId) -> &'a mut EarlyChange {
    let at = row.changes.iter().position(|c| c.account == account.as_bytes()).unwrap_or_else(|| {
        row.changes.push(EarlyChange { account: account.as_bytes().to_vec(), ..EarlyChange::default() });
        row.changes.len() - 1
    });
    &mut row.changes[at]
}
