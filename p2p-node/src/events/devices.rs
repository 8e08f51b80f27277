//! The sender's signed device list has changed.

use starling_wire::Devices;

use super::{At, Fold, Kind, Refusal, Target};
use crate::{store::StoreError, turn::EventFact};

impl Kind for Devices {
    /// The list's own signature says whose it is: contacts take that of its sender only, and newer ones only.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        // Our own devices exchange their list by their own way, sealed to each.
        if !at.origin.own {
            fold.facts.push(EventFact::DeviceList { account: at.origin.account, list: self.list.clone() });
        }
        Ok(())
    }
}
