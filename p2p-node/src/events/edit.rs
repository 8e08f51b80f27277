//! A message's text was changed by its author. Of several edits the latest counts.

use starling_wire::{Edit, EventId};

use super::{At, Fold, Kind, Refusal, Target, by_its_author, early, handed::is_handed};
use crate::{
    api::types::DurableEventKind,
    store::{EarlyRow, EventRow, StoreError},
};

impl Kind for Edit {
    fn target(&self) -> Option<EventId> {
        Some(self.target)
    }

    fn authorize(&self, at: &At<'_>, target: Option<&Target>) -> Result<(), Refusal> {
        by_its_author(at, target)
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, target: Option<Target>) -> Result<(), StoreError> {
        let (clock, device) = (at.id.clock.0, at.id.device);
        let keep = |row: &mut EarlyRow| {
            let change = early::of(row, &at.origin.account);
            if (clock, &device[..]) > (change.clock, &change.device[..]) {
                (change.text, change.clock, change.device) = (Some(self.text.clone()), clock, device.to_vec());
            }
        };
        match target {
            Some(Target::Message { mut row, .. }) => {
                if is_handed(&row) {
                    fold.keep_early(self.target, keep)?;
                }
                if apply(&mut row, self.text.clone(), clock, &device) {
                    fold.draft.put(self.target, row);
                    fold.draft.tell(DurableEventKind::Edited, self.target);
                }
            }
            _ => fold.keep_early(self.target, keep)?,
        }
        Ok(())
    }
}

/// Changes a message's text; `false` if it is deleted, or a later edit is there.
pub fn apply(row: &mut EventRow, text: String, clock: u64, device: &[u8]) -> bool {
    if row.deleted || (clock, device) <= (row.edit_clock, &row.edit_device[..]) {
        return false;
    }
    (row.edited, row.edit_clock, row.edit_device) = (Some(text), clock, device.to_vec());
    true
}
