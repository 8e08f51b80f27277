//! Recovery on a device that is there.

use starling_keys::DeviceChain;

use super::AccountDevices;
use crate::{
    api::Reply,
    turn::{Fact, Turn},
};

impl AccountDevices<'_> {
    /// Takes a chain that the account's root has signed, in which this is the only device. Ready when a home has it.
    pub(super) fn recover(&mut self, turn: &mut Turn<'_>, bytes: &[u8], reply: Reply<()>) {
        let chain = match self.cx.account.recovered(bytes) {
            Ok(chain) => chain,
            Err(error) => return turn.reply(reply, Err(error)),
        };
        let others = self.cx.account.other_devices();
        let known = self.cx.account.list().map_or(0, DeviceChain::len);
        self.cx.account.set_chain(turn, chain, known);
        self.cx.counters.row.superseded = false;
        self.cx.counters.dirty = true;
        for device in others {
            turn.fact(Fact::OwnDeviceRemoved(device.id));
            self.cx.account.own_devices.note_removed(device.id);
        }
        self.cx.account.own_devices.wait_for_home(turn, self.cx.account.identity.device_key.id(), reply);
        self.cx.account.publish_at_homes(turn, self.cx.homes);
    }
}
