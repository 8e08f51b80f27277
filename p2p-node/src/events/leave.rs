//! That an account leaves a group.

use starling_wire::Leave;

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{store::StoreError, turn::EventFact};

impl Kind for Leave {
    /// Its own signature says whose word it is.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.is_here() {
            let (account, device) = (at.origin.account, at.origin.device);
            fold.facts.push(EventFact::Leave { chat: fold.chat, account, device, leave: self.clone() });
        }
        Ok(())
    }
}
