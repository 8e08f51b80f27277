//! Invitations into groups that a server has taken, and that may not be read: should it be lost for long, another home of the same account gets them, too.

use starling_keys::DeviceId;

use super::{Homes, OutboundItem, outbound_items::group_of};
use crate::{
    mls::GroupId,
    net::HomeId,
    store::{OUTBOUND_ITEMS, OutboundItemRow, prefix},
    turn::{EngineError, Turn},
};

impl Homes {
    /// Keeps an item that was delivered if it invites into a group that is in use; of those before it for the same device the others go.
    pub(super) fn keep_outbound_item(
        &mut self,
        turn: &Turn<'_>,
        key: &[u8],
        row: OutboundItemRow,
        in_use: impl Fn(&GroupId) -> bool,
    ) -> Result<(), EngineError> {
        let is_over = |group: &GroupId| !in_use(group);
        if let Ok(device) = DeviceId::from_stored(&row.device) {
            self.forget_kept(turn, &device, is_over)?;
        }
        if group_of(key).is_some_and(|group| in_use(&group)) {
            let row = OutboundItemRow { delivered: true, ..row };
            turn.put(OUTBOUND_ITEMS, key, &row)?;
            self.kept.insert(key.to_vec(), row);
        }
        Ok(())
    }

    /// A device needs some of its invitations no more: those into groups that are over for it.
    pub fn forget_kept(
        &mut self,
        turn: &Turn<'_>,
        device: &DeviceId,
        is_over: impl Fn(&GroupId) -> bool,
    ) -> Result<(), EngineError> {
        let of_device = self.kept.range(prefix(device.as_bytes())).map(|(key, _)| key);
        let over = of_device.filter(|key| group_of(key).is_none_or(|group| is_over(&group)));
        for key in over.cloned().collect::<Vec<_>>() {
            self.kept.remove(&key);
            turn.delete(OUTBOUND_ITEMS, &key)?;
        }
        Ok(())
    }

    /// What a server has taken waits again, as it is lost for long.
    pub(super) fn requeue_kept(&mut self, turn: &Turn<'_>, lost: HomeId) -> Result<(), EngineError> {
        for (key, row) in std::mem::take(&mut self.kept) {
            let item = OutboundItem::new(OutboundItemRow { delivered: false, ..row });
            if item.home() == Some(lost) {
                turn.put(OUTBOUND_ITEMS, &key, &item.row)?;
                self.outbound_items.insert(key, item);
            } else {
                self.kept.insert(key, OutboundItemRow { delivered: true, ..item.row });
            }
        }
        Ok(())
    }
}
