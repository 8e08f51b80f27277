//! A part of a group's audit log.

use starling_wire::AuditPart;

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{store::StoreError, turn::EventFact};

impl Kind for AuditPart {
    /// Whoever knows the log's hash checks it: it does not matter who says it.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.is_here() {
            fold.facts.push(EventFact::Audit { chat: fold.chat, part: self.clone() });
        }
        Ok(())
    }
}
