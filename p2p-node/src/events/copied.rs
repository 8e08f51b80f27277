//! Rows that another device of our account has copied to this one. They are its word for what was said: what the authors themselves have sent to
//! this device is never changed by them, and takes their place when it comes.

use starling_keys::AccountId;
use starling_wire::{Clock, EventId, limits::MAX_EMOJI};

use super::{At, Fold, Summary, delete, edit, reaction, receipt, summary};
use crate::{
    api::types::{DurableEventKind, Via},
    store::{EventRow, StoreError},
    turn::EventFact,
};

/// Takes a row that was copied; gives whether it is new here. Its author's number belongs to `author`. It makes no durable event: nothing has happened.
///
/// # Errors
/// If the store fails.
pub fn take(fold: &mut Fold<'_>, id: EventId, author: AccountId, mut row: EventRow) -> Result<bool, StoreError> {
    // What the user has deleted here stays deleted, and nothing is put at the end for ever.
    if id.clock.0 <= fold.counters.cleared || id.clock > fold.latest() || summary(&row).is_none() {
        return Ok(false);
    }
    row.via = Via::Copy.stored();
    row.reactions.retain(|r| r.emoji.len() <= MAX_EMOJI && fold.roster.accounts().any(|a| r.account == a.as_bytes()));
    if let Some(known) = fold.row(id)? {
        let is_copy = known.via == Via::Copy.stored() && fold.authors.account(known.author) == Some(author);
        if let Some(merged) = is_copy.then(|| merge(known, row)).flatten() {
            fold.draft.put(id, merged);
        }
        return Ok(false);
    }
    fold.apply_early(id, &mut row, &author)?;
    let unread = !fold.authors.is_own(row.author) && receipt::counts(&row);
    fold.draft.put(id, row);
    note_copied(fold, id.clock, unread);
    Ok(true)
}

/// What two copies of a row know together, if that is more than `known`.
fn merge(known: EventRow, other: EventRow) -> Option<EventRow> {
    let mut merged = known.clone();
    if !matches!(summary(&merged)?, Summary::Message(_)) {
        return None;
    }
    if other.deleted && !merged.deleted {
        delete::apply(&mut merged);
    }
    if let Some(text) = other.edited {
        edit::apply(&mut merged, text, other.edit_clock, &other.edit_device);
    }
    for kept in other.reactions {
        reaction::apply(&mut merged, kept);
    }
    (merged != known).then_some(merged)
}

/// The conversation has something older than it had. That takes it out of no archive.
fn note_copied(fold: &mut Fold<'_>, clock: Clock, unread: bool) {
    let counters = &mut *fold.counters;
    counters.copied = counters.copied.max(clock.0);
    counters.newest = counters.newest.max(clock.0);
    if unread && clock.0 > counters.read {
        counters.unread += 1;
    }
    fold.changed = true;
}

/// A message that was copied has come from its author, too: what that says counts, with what was said of it since.
///
/// # Errors
/// If the store fails.
pub fn authenticate(fold: &mut Fold<'_>, at: &At<'_>) -> Result<(), StoreError> {
    let Some(mut row) = fold.row(at.id)? else { return Ok(()) };
    if fold.authors.account(row.author) != Some(at.origin.account) {
        // Whoever has copied it has said something false.
        row = EventRow::default();
    }
    if !row.deleted {
        row.body = fold.kept_body(at);
    }
    (row.author, row.via) = (at.origin.author, at.origin.via.stored());
    fold.draft.put(at.id, row);
    fold.draft.tell(DurableEventKind::New, at.id);
    if !at.origin.own {
        fold.facts.push(EventFact::Wrote { chat: fold.chat, account: at.origin.account, at_ms: at.id.clock.ms() });
    }
    Ok(())
}
