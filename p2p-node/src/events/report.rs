//! A report of a message to those who moderate the group.

use starling_wire::Report;

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{store::StoreError, turn::EventFact};

impl Kind for Report {
    /// Every member may report; what it says only those can read whom it is sealed for.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.own {
            let (chat, account) = (fold.chat, at.origin.account);
            fold.facts.push(EventFact::Report { chat, account, device: at.id.device, report: self.clone() });
        }
        Ok(())
    }
}
