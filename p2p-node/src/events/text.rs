//! A message.

use starling_wire::Text;

use super::{At, Fold, Kind, Refusal, Summary, Target, copied};
use crate::{
    api::types::{DurableEventKind, Via},
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
        if fold.is_provisional(at.id)? {
            return confirm(fold, at);
        }
        let mut row = EventRow {
            body: fold.kept_body(at),
            author: at.origin.author,
            via: at.origin.via.stored(),
            ..EventRow::default()
        };
        fold.apply_early(at.id, &mut row, &at.origin.account)?;
        fold.draft.put(at.id, row);
        fold.draft.tell(DurableEventKind::New, at.id);
        fold.arrived(at.id.clock, !at.origin.own);
        if !at.origin.own {
            fold.facts.push(EventFact::Wrote { chat: fold.chat, account: at.origin.account, at_ms: at.id.clock.ms() });
        }
        Ok(())
    }

    fn summary(&self) -> Option<Summary> {
        Some(Summary::Message(self.clone()))
    }
}

/// A message that came by gossip stands in the log, too: it is final, and what the log says counts. It was counted and told when it came.
fn confirm(fold: &mut Fold<'_>, at: &At<'_>) -> Result<(), StoreError> {
    // One that the user has deleted here stays deleted.
    let Some(mut row) = fold.row(at.id)? else { return Ok(()) };
    let is_same = fold.authors.account(row.author) == Some(at.origin.account);
    if !is_same || row.via != Via::Gossip.stored() {
        return Ok(());
    }
    let body = fold.kept_body(at);
    if !row.deleted && row.body != body {
        // Its author has passed on one text and logged another.
        row.body = body;
        fold.draft.tell(DurableEventKind::Edited, at.id);
    }
    (row.author, row.via, row.undone) = (at.origin.author, at.origin.via.stored(), false);
    fold.draft.put(at.id, row);
    Ok(())
}
