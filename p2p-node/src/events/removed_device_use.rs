//! That a device which the other account has removed was used at the sender's.

use starling_wire::RemovedDeviceUse;

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{store::StoreError, turn::EventFact};

impl Kind for RemovedDeviceUse {
    /// It is a word that nothing proves: who hears it judges whether to believe the sender.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.own {
            fold.facts.push(EventFact::RemovedDeviceUse { account: at.origin.account, used: *self });
        }
        Ok(())
    }
}
