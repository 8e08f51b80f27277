//! The device chain on direct streams. The encrypted conversation says it, too, but not while that has a member which was removed and no server is
//! there to make another group: then those who are connected would go on writing to the removed device.

use starling_keys::{
    AccountId, DeviceId,
    chain::{Op, Summary},
};
use starling_wire::{Body, Devices, Event, direct::DirectFrame};

use super::AccountDevices;
use crate::{
    conversation::limits::MAX_DIRECT_CHAIN,
    net::NetCommand,
    turn::{Effect, EngineError, Turn},
};

impl AccountDevices<'_> {
    /// A device of ours was removed, or we have moved to other homes: those that are connected hear of it at once.
    pub(crate) fn send_chain_on_streams(&self, turn: &mut Turn<'_>) {
        for device in self.cx.delivery.links.keys().copied().collect::<Vec<_>>() {
            self.send_chain_to(turn, device);
        }
    }

    /// A device that has just been connected gets our chain if that says what it may lack and has to know: a removal, or other homes.
    pub(crate) fn send_chain_on_stream(&self, turn: &mut Turn<'_>, device: DeviceId) {
        let entries = || self.cx.account.list().into_iter().flat_map(|list| list.entries());
        let has_moved = entries().filter(|entry| matches!(entry.op, Op::Homes(_))).count() > 1;
        if has_moved || entries().any(|entry| matches!(entry.op, Op::Remove { .. } | Op::Recover { .. })) {
            self.send_chain_to(turn, device);
        }
    }

    /// A device that is connected gets our chain; of a long one the end, which continues what it knows in most cases.
    fn send_chain_to(&self, turn: &mut Turn<'_>, device: DeviceId) {
        let Some(list) = self.cx.account.list().filter(|list| !list.is_empty()) else { return };
        let end = || list.encode_from(list.len().saturating_sub(1));
        let list = if list.as_bytes().len() <= MAX_DIRECT_CHAIN { list.as_bytes().to_vec() } else { end() };
        let devices = Devices {
            list,
            labels: self.cx.conversations.authors.labels_of(self.cx.directory(), &self.cx.account.id()),
        };
        let chain = Event::encode_body(&Body::Devices(devices)).into();
        let frame = DirectFrame { chain, ..DirectFrame::default() };
        turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
    }

    /// A device has sent the chain of its account.
    pub(crate) fn on_direct_chain(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        chain: &[u8],
    ) -> Result<(), EngineError> {
        let Ok(Body::Devices(devices)) = Event::decode_body(chain) else { return Ok(()) };
        let account = self.cx.directory().account_of(&device);
        let is_theirs = |account: &AccountId| Summary::of(&devices.list).is_ok_and(|s| s.account == *account);
        let Some(account) = account.filter(is_theirs) else { return Ok(()) };
        if account != self.cx.account.id() {
            return self.on_device_list(turn, account, &devices);
        }
        if let Some(list) = self.cx.directory().read_chain(&devices.list).filter(|list| self.cx.account.is_newer(list))
        {
            self.on_own_list(turn, list)?;
        }
        self.cx.take_labels(turn, account, &devices.labels)
    }
}
