//! What is known of a member's device chain, and what a timeline says of a contact's devices.
//!
//! Lines about devices are no events that somebody sends: each device derives them from the chain, so that all have the same, and once.

use starling_keys::chain::Change;
use starling_wire::{Clock, Devices, EventId};

use super::{Ahead, At, Fold, Kind, Refusal, Target};
use crate::{
    api::types::{DeviceChange, DurableEventKind, Via},
    store::{DeviceNoteRow, EventRow, StoreError},
    turn::EventFact,
};

impl Kind for Devices {
    /// The chain's own signatures say whose it is, and which of two counts.
    fn authorize(&self, _: &At<'_>, _: Option<&Target>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ahead(&self) -> Ahead {
        Ahead::Fold
    }

    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, _: Option<Target>) -> Result<(), StoreError> {
        if !at.origin.is_here() {
            fold.facts.push(EventFact::DeviceList { account: at.origin.account, devices: self.clone() });
        }
        Ok(())
    }
}

/// Where the line about a change stands: the same on every device that knows the chain.
pub fn place_of(change: &Change) -> EventId {
    // Entries of one second stay in their order.
    let clock = Clock(Clock::at(change.time.saturating_mul(1000)).0 | u64::from(change.place & 0xffff));
    // Not the tag of the device: what it wrote ends with its removal, and this line stays.
    EventId { clock, device: change.tag, sequence: 0 }
}

/// Writes a line about a device of `author`, unless it is there.
pub fn put(fold: &mut Fold<'_>, at: EventId, author: u32, change: DeviceChange) -> Result<(), StoreError> {
    if fold.row(at)?.is_some_and(|row| row.device_note.is_some()) {
        return Ok(());
    }
    let device_note = Some(DeviceNoteRow { change: change.stored() });
    fold.draft.put(at, EventRow { author, device_note, via: Via::Log.stored(), ..EventRow::default() });
    fold.arrived(at.clock, change.is_alarm());
    fold.draft.tell(DurableEventKind::ContactDevices, at);
    Ok(())
}

/// Takes a line back: the entry that it was about does not count. What stays in its place shows nothing.
pub fn withdraw(fold: &mut Fold<'_>, at: EventId) -> Result<(), StoreError> {
    let Some(row) = fold.row(at)?.filter(|row| row.device_note.is_some()) else { return Ok(()) };
    let unread = super::summary(&row).is_some_and(|s| matches!(s, super::Summary::Device(change) if change.is_alarm()));
    if unread && at.clock.0 > fold.counters.read {
        fold.counters.unread = fold.counters.unread.saturating_sub(1);
        fold.changed = true;
    }
    fold.draft.put(at, EventRow { author: row.author, ..EventRow::default() });
    Ok(())
}
