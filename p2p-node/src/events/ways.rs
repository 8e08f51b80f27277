//! Ways into channels of a community.

use starling_wire::Ways;

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{store::StoreError, turn::EventFact};

impl Kind for Ways {
    /// Which channels there are follows from the community's policy, and who gets in by a way from the channel's: it does not matter who says it.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.is_here() {
            let (chat, account) = (fold.chat, at.origin.account);
            fold.facts.push(EventFact::Ways { chat, account, ways: self.clone() });
        }
        Ok(())
    }
}
