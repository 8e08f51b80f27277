//! What devices that were removed from our account do since: nothing of it counts, and the user sees it, as somebody has such a device in hand.

use starling_keys::{
    DeviceChain, DeviceId,
    chain::{Age, LateRemoval},
};

use super::{
    AccountDevices,
    limits::{MAX_REFUSED_REMOVALS, MAX_TRIED_DEVICES, TRIED_AGAIN_MS},
};
use crate::{
    api::types::{Attempt, DurableEventKind, RefusedRemoval},
    store::{RefusedRow, TriedRow},
    turn::{EngineError, Fact, Turn},
};

impl AccountDevices<'_> {
    /// A device was used that may be one of those that were removed from our account: the user is told, once a day for each.
    pub(crate) fn note_tried(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        attempt: Attempt,
    ) -> Result<(), EngineError> {
        let is_removed = self.cx.account.list().is_some_and(|list| list.has_removed(&device));
        if !is_removed || self.cx.counters.row.superseded {
            return Ok(());
        }
        let now = turn.agreed_ms();
        let is_it = |row: &TriedRow| row.device == device.as_bytes();
        let known = self.cx.account.own_devices.changes.tried.iter().find(|row| is_it(row));
        if known.is_some_and(|row| row.at_ms.abs_diff(now) < TRIED_AGAIN_MS) {
            return Ok(());
        }
        tracing::warn!(attempt = attempt.as_str(), "a device that was removed from our account is used");
        let tried = &mut self.cx.account.own_devices.changes().tried;
        tried.retain(|row| !is_it(row));
        tried.truncate(MAX_TRIED_DEVICES - 1);
        tried.insert(0, TriedRow { device: device.as_bytes().to_vec(), at_ms: now });
        let text = format!("{device} {}", attempt.as_str());
        turn.account_event(DurableEventKind::DeviceTried, self.cx.account.id(), &text)
    }

    /// A chain of our account was compared with what was known: what devices have done in it that are removed in `known`. `counts` is what counts now.
    pub(super) fn judge_rival(
        &mut self,
        turn: &mut Turn<'_>,
        (known, list, counts): (&DeviceChain, &DeviceChain, &DeviceChain),
        age: Age,
    ) -> Result<(), EngineError> {
        let late = known.late_removals(list, age);
        for removal in known.removals_by_removed(list) {
            if counts.has_removed(&removal.device) && !known.has_removed(&removal.device) {
                // At any age: whoever did not do this has to know it while something can be done.
                self.warn_of_removal(turn, removal, true)?;
            } else if !late.contains(&removal) {
                turn.fact(Fact::RemovedDeviceUsed { device: removal.by, attempt: Attempt::Remove });
            }
        }
        for device in known.links_by_removed(list) {
            turn.fact(Fact::RemovedDeviceUsed { device, attempt: Attempt::Link });
        }
        Ok(())
    }

    /// A device that was removed has tried to remove others: the user is warned of it, once.
    pub(super) fn warn_of_late(&mut self, turn: &mut Turn<'_>, late: &[LateRemoval]) -> Result<(), EngineError> {
        late.iter().try_for_each(|removal| self.warn_of_removal(turn, *removal, false))
    }

    fn warn_of_removal(
        &mut self,
        turn: &mut Turn<'_>,
        LateRemoval { by, device }: LateRemoval,
        stands: bool,
    ) -> Result<(), EngineError> {
        let row = RefusedRow { by: by.as_bytes().to_vec(), device: device.as_bytes().to_vec(), stands };
        if self.cx.account.own_devices.changes.refused.contains(&row) {
            return Ok(());
        }
        tracing::warn!(stands, "a device that was removed from our account has removed another");
        let refused = &mut self.cx.account.own_devices.changes().refused;
        refused.truncate(MAX_REFUSED_REMOVALS - 1);
        refused.insert(0, row);
        let refused = RefusedRemoval { by, device, stands };
        turn.account_event(DurableEventKind::DeviceRefused, self.cx.account.id(), &refused.to_string())
    }
}
