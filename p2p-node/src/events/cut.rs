//! The sender's account has removed a device: which of its events count.

use starling_wire::Cut;

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{store::StoreError, turn::EventFact};

impl Kind for Cut {
    /// It is about the sender's own account: whether that has removed the device its chain says.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        let (chat, account, via) = (fold.chat, at.origin.account, at.origin.via);
        fold.facts.push(EventFact::Cut { chat, account, via, said: at.id, cut: self.clone() });
        Ok(())
    }
}
