//! A message.

use starling_wire::{Event, Text};

use super::{At, Fold, Kind, Refusal, Summary, Target, copied};
use crate::{
    api::types::DurableEventKind,
    store::{EventRow, StoreError},
    turn::EventFact,
};

impl Kind for Text {
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if fold.is_copied(at.id)? {
            // It counts already: whether it is unread, and what was said of it.
            copied::authenticate(fold, at)?;
            return Ok(());
        }
        let mut row = EventRow {
            body: Event::encode_body(at.body),
            author: at.origin.author,
            via: at.origin.via.stored(),
            ..EventRow::default()
        };
        fold.apply_early(at.id, &mut row, &at.origin.account)?;
        fold.draft.put(at.id, row);
        fold.draft.tell(DurableEventKind::New, at.id);
        fold.arrived(at.id.clock, !at.origin.own);
        if !at.origin.own {
            fold.facts.push(EventFact::Wrote { chat: fold.chat, account: at.origin.account });
        }
        Ok(())
    }

    fn summary(&self) -> Option<Summary> {
        Some(Summary::Message(self.clone()))
    }
}
