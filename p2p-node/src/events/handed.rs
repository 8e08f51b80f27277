//! Messages of a group from before this device came, as one member hands them on. They are that member's word for what was said: nobody can check it.
//! So they take the place of nothing, count as nothing but text to read, and what the authors themselves send takes their place.

use starling_keys::AccountId;
use starling_wire::{EventId, HandedHistory, limits::MAX_EMOJI};

use super::{Ahead, At, Fold, Kind, Refusal, Summary, Target, summary};
use crate::{
    api::types::Via,
    store::{EventRow, StoreError},
    turn::{EventFact, HandedPlace},
};

impl Kind for HandedHistory {
    /// Every member may: whoever has come looks at the policy, and at what it says.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.is_here() {
            let from =
                HandedPlace { chat: fold.chat, account: at.origin.account, author: at.origin.author, event: at.id };
            fold.facts.push(EventFact::HandedHistory { from, history: self.clone() });
        }
        Ok(())
    }
}

/// Takes a row that somebody hands on by an event; gives whether it is new here. Its author's number belongs to `author`.
///
/// # Errors
/// If the store fails.
pub fn take(
    fold: &mut Fold<'_>,
    by: &HandedPlace,
    (id, author): (EventId, &AccountId),
    mut row: EventRow,
) -> Result<bool, StoreError> {
    // Nobody hands on what was still to be written, and what the user has deleted here stays deleted.
    let upto = by.event.clock.min(fold.latest());
    if id.clock >= upto || row.edit_clock >= upto.0 || id.clock.0 <= fold.counters.cleared {
        return Ok(false);
    }
    if fold.row(id)?.is_some() || !matches!(summary(&row), Some(Summary::Message(_))) || row.deleted {
        return Ok(false);
    }
    // Nothing that our account has said is taken from others.
    row.reactions.retain(|r| {
        let is_of_other = fold.roster.others().any(|account| r.account == account.as_bytes());
        is_of_other && r.clock < upto.0 && r.emoji.len() <= MAX_EMOJI
    });
    (row.via, row.handed_by) = (Via::Handed.stored(), by.author);
    fold.apply_kept_early(id, &mut row, author)?;
    if row.deleted {
        return Ok(false);
    }
    fold.draft.put(id, row);
    Ok(true)
}

/// Whether a row is one that a member has handed on.
pub fn is_handed(row: &EventRow) -> bool {
    row.via == Via::Handed.stored()
}
