//! A message was deleted for everyone by its author, or in a group by somebody whose role allows that. That is final.

use starling_wire::{Body, Delete, Event, EventId, Text};

use super::{
    At, Fold, Kind, Refusal, Target, by_its_author, early,
    handed::is_handed,
    limits::{DELETE_WINDOW_MS, MAX_DELETE_DELAY_MS},
};
use crate::{
    api::types::DurableEventKind,
    store::{EarlyRow, EventRow, StoreError},
};

impl Kind for Delete {
    fn target(&self) -> Option<EventId> {
        Some(self.target)
    }

    fn authorize(&self, at: &At<'_>, target: Option<&Target>) -> Result<(), Refusal> {
        by_its_author(at, target)?;
        // By the clocks of the two events: every member comes to the same result, whenever it is asked.
        let late = at.id.clock.ms().saturating_sub(self.target.clock.ms()) > DELETE_WINDOW_MS;
        if late { Err(Refusal::TooLate) } else { Ok(()) }
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, target: Option<Target>) -> Result<(), StoreError> {
        // A stamp in the window is easily made; an honest deletion is not so long under way.
        if fold.now_ms.saturating_sub(at.id.clock.ms()) > MAX_DELETE_DELAY_MS {
            tracing::debug!("a deletion came too late");
            return Ok(());
        }
        let keep = |row: &mut EarlyRow| early::of(row, &at.origin.account).deleted = true;
        match target {
            Some(Target::Message { mut row, .. }) => {
                if is_handed(&row) {
                    fold.keep_early(self.target, keep)?;
                }
                apply(&mut row);
                fold.draft.put(self.target, row);
                fold.draft.tell(DurableEventKind::Deleted, self.target);
            }
            _ => fold.keep_early(self.target, keep)?,
        }
        Ok(())
    }
}

/// Deletes a message: its text goes from the disk, too.
pub fn apply(row: &mut EventRow) {
    *row = EventRow {
        body: Event::encode_body(&Body::Text(Text::default())),
        author: row.author,
        via: row.via,
        handed_by: row.handed_by,
        deleted: true,
        ..EventRow::default()
    };
}
