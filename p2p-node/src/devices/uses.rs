//! What contacts and we tell each other of the use of devices that one of us has removed: whose key is in other hands may use it at devices of contacts
//! alone. They refuse it, and the owner has to know.
//!
//! Nothing proves such a word. So it is believed of contacts only, and of devices that our account has removed; it changes nothing, is shown as what
//! the contact says, and is told and shown once a day for each device and what it has tried.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Body, RemovedDeviceUse};

use super::{
    AccountDevices,
    limits::{MAX_USES_HEARD, MAX_USES_OF_CONTACT, MAX_USES_TOLD, TRIED_AGAIN_MS},
};
use crate::{
    api::types::{Attempt, ContactState, DurableEventKind},
    store::DeviceUseRow,
    turn::{EngineError, Turn},
};

impl AccountDevices<'_> {
    /// A device was refused because a contact has removed it: the contact is told.
    pub(crate) fn tell_owner(&mut self, turn: &Turn<'_>, account: AccountId, device: DeviceId, attempt: Attempt) {
        let now = turn.agreed_ms();
        let Some(chat) = self.cx.conversations.chats.direct_with(&account).filter(|_| !self.cx.counters.row.superseded)
        else {
            return;
        };
        let Some(person) = self.cx.contacts.people.get_mut(&account) else { return };
        let is_removed = person.list.as_ref().is_some_and(|list| list.has_removed(&device));
        if person.state() != ContactState::Active || !is_removed {
            return;
        }
        let told = &mut person.row.told_uses;
        told.retain(|row| row.at_ms.abs_diff(now) < TRIED_AGAIN_MS);
        if told.len() >= MAX_USES_TOLD || told.iter().any(|row| is_about(row, &device, attempt)) {
            return;
        }
        told.push(row_of(&device, attempt, now));
        person.dirty = true;
        tracing::warn!(attempt = attempt.as_str(), "a device that a contact has removed is used");
        let used = RemovedDeviceUse { device: *device.as_bytes(), attempt: attempt.number() };
        self.cx.announce(turn, chat, Body::RemovedDeviceUse(used));
    }

    /// A contact says that a device which our account has removed was used at its devices.
    pub(crate) fn on_reported_use(
        &mut self,
        turn: &mut Turn<'_>,
        by: AccountId,
        used: RemovedDeviceUse,
    ) -> Result<(), EngineError> {
        let device = DeviceId::from_bytes(&used.device).ok();
        let Some((device, attempt)) = device.zip(Attempt::from_number(used.attempt)) else { return Ok(()) };
        let is_contact = self.cx.contacts.people.get(&by).is_some_and(|person| person.state() == ContactState::Active);
        let is_removed = self.cx.account.list().is_some_and(|list| list.has_removed(&device));
        if !is_contact || !is_removed || self.cx.counters.row.superseded {
            return Ok(());
        }
        let now = turn.agreed_ms();
        let mut heard = self.cx.account.own_devices.changes.heard.clone();
        heard.retain(|row| row.at_ms.abs_diff(now) < TRIED_AGAIN_MS);
        let of_contact = heard.iter().filter(|row| row.by[..] == by.as_bytes()[..]).count();
        let is_known = heard.iter().any(|row| is_about(row, &device, attempt));
        if is_known || of_contact >= MAX_USES_OF_CONTACT || heard.len() >= MAX_USES_HEARD {
            return Ok(());
        }
        tracing::warn!(
            attempt = attempt.as_str(),
            "a contact says that a device which was removed from our account is used"
        );
        heard.push(DeviceUseRow { by: by.as_bytes().to_vec(), ..row_of(&device, attempt, now) });
        self.cx.account.own_devices.changes().heard = heard;
        let text = format!("{device} {}", attempt.as_str());
        turn.account_event(DurableEventKind::DeviceTried, by, &text)
    }
}

fn row_of(device: &DeviceId, attempt: Attempt, at_ms: u64) -> DeviceUseRow {
    DeviceUseRow { device: device.as_bytes().to_vec(), attempt: attempt.number(), at_ms, by: Vec::new() }
}

fn is_about(row: &DeviceUseRow, device: &DeviceId, attempt: Attempt) -> bool {
    row.device[..] == device.as_bytes()[..] && row.attempt == attempt.number()
}
