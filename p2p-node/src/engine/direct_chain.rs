//! The device chain on direct streams. The encrypted conversation says it, too, but not while that has a member which was removed and no server is
//! there to make another group: then those who are connected would go on writing to the removed device.

use bytes::Bytes;
use starling_keys::{DeviceId, chain::Summary};
use starling_wire::direct::DirectFrame;

use super::Engine;
use crate::{
    limits::MAX_DIRECT_CHAIN,
    net::NetCommand,
    turn::{Effect, EngineError, Turn},
};

impl Engine {
    /// Our chain has changed: the devices that are connected hear of it at once.
    pub(super) fn send_chain_on_streams(&self, turn: &mut Turn<'_>) {
        for device in self.delivery.links.keys().copied().collect::<Vec<_>>() {
            self.send_chain_to(turn, device);
        }
    }

    /// A device that has just connected, or is connected, gets our chain; of a long one the end, which continues what it knows in most cases.
    pub(super) fn send_chain_to(&self, turn: &mut Turn<'_>, device: DeviceId) {
        let Some(list) = self.account.list().filter(|list| !list.is_empty()) else { return };
        let end = || list.encode_from(list.len().saturating_sub(1));
        let chain = if list.as_bytes().len() <= MAX_DIRECT_CHAIN { list.as_bytes().to_vec() } else { end() };
        let frame = DirectFrame { chain: Bytes::from(chain), ..DirectFrame::default() };
        turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
    }

    /// A device has sent the chain of its account.
    pub(super) fn on_direct_chain(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        chain: &[u8],
    ) -> Result<(), EngineError> {
        let account = self.directory().account_of(&device);
        let Some(account) = account.filter(|account| Summary::of(chain).is_ok_and(|s| s.account == *account)) else {
            return Ok(());
        };
        if account != self.account.id() {
            return self.contacts.on_newer_list(turn, &self.account, account, chain);
        }
        match self.read_chain(chain) {
            Some(list) if self.account.is_newer(&list) => self.on_own_list(turn, list).map(drop),
            _ => Ok(()),
        }
    }
}
