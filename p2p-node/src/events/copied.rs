//! Rows that another device of our account has copied to this one. They are its word for what was said: what the authors themselves have sent to
//! this device is never changed by them, and takes their place when it comes.

use bytes::Bytes;
use starling_keys::AccountId;
use starling_wire::{
    Body, Clock, Event, EventId, Text,
    history::{EditedText, HistoryReaction, HistoryRow},
    limits::MAX_EMOJI,
};

use super::{At, Fold, Summary, delete, edit, reaction, receipt, summary};
use crate::{
    api::types::{DurableEventKind, Via},
    store::{DeviceNoteRow, EventRow, ReactionRow, StoreError},
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
    // Who has reacted in a group may have left it since.
    let may_react = |account: &[u8]| fold.policy.is_some() || fold.roster.accounts().any(|a| account == a.as_bytes());
    row.reactions.retain(|r| r.emoji.len() <= MAX_EMOJI && may_react(&r.account));
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

/// A row as it is sent to who lacks it.
pub fn to_wire(id: EventId, row: EventRow) -> HistoryRow {
    // Of what was edited only the newest text is shown.
    let body = match (&row.edited, Event::decode_body(&row.body)) {
        (Some(_), Ok(Body::Text(text))) => Event::encode_body(&Body::Text(Text { text: String::new(), ..text })),
        _ => row.body,
    };
    let reactions = row.reactions.into_iter().map(|r| HistoryReaction {
        account: r.account.into(),
        emoji: r.emoji,
        clock: r.clock,
        device: r.device.into(),
    });
    HistoryRow {
        id: Bytes::copy_from_slice(&id.to_bytes()),
        author: 0,
        body: body.into(),
        edited: row.edited.map(|text| EditedText { text, clock: row.edit_clock, device: row.edit_device.into() }),
        deleted: row.deleted,
        reactions: reactions.collect(),
        device_note: row.device_note.map(|note| note.change),
    }
}

/// A row that was sent as one of the timeline, without its author's number. What it says is checked by what can be shown of it.
pub fn from_wire(row: &HistoryRow) -> EventRow {
    if let Some(change) = row.device_note {
        return EventRow { device_note: Some(DeviceNoteRow { change }), ..EventRow::default() };
    }
    let reactions = row.reactions.iter().map(|r| ReactionRow {
        account: r.account.to_vec(),
        emoji: r.emoji.clone(),
        clock: r.clock,
        device: r.device.to_vec(),
    });
    let mut stored = EventRow { body: row.body.to_vec(), ..EventRow::default() };
    if !matches!(Event::decode_body(&row.body), Ok(Body::Text(_))) {
        return stored;
    }
    stored.reactions = reactions.collect();
    if let Some(edited) = &row.edited {
        stored.edited = Some(edited.text.clone());
        (stored.edit_clock, stored.edit_device) = (edited.clock, edited.device.to_vec());
    }
    if row.deleted {
        delete::apply(&mut stored);
    }
    stored
}
