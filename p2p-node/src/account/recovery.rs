//! Recovery on a device that is there: an entry that the account's root has signed makes it the only device. The root does not come here: the
//! caller signs with it, and hands over the chain.

use starling_keys::{
    AccountKey, DeviceChain,
    chain::{ChainError, Joining, Relation},
};

use super::Account;
use crate::{
    api::{
        Reply,
        error::{NodeError, NotAllowed, Unreachable},
    },
    engine::Engine,
    turn::{Fact, Turn},
};

/// What the root of an account signs to recover it on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The chain as the device knows it.
    pub chain: DeviceChain,
    /// The device's wish to belong to the account.
    pub joining: Joining,
}

impl Recovery {
    /// The chain in which the device is the only one. `now_s` is in seconds since 1970.
    ///
    /// # Errors
    /// [`ChainError::Account`] if the root is another account's; [`ChainError::Full`] if the chain takes nothing more.
    pub fn sign(&self, root: &AccountKey, now_s: u64) -> Result<DeviceChain, ChainError> {
        self.chain.recover(root, now_s, &self.joining)
    }
}

impl Account {
    /// What the root is to sign.
    pub(super) fn recovery(&self) -> Result<Recovery, NodeError> {
        let chain = self.list().filter(|list| !list.is_empty()).cloned().ok_or(Unreachable::DeviceList)?;
        Ok(Recovery { chain, joining: self.identity.joining() })
    }

    /// The chain that the root has signed.
    fn recovered(&self, bytes: &[u8]) -> Result<DeviceChain, NodeError> {
        let known = self.recovery()?.chain;
        let chain = DeviceChain::read(bytes, &known).map_err(NotAllowed::Chain)?;
        let is_recovery = known.relation(&chain) == Relation::Extends && chain.recovered_since(known.len());
        let alone = chain.devices.iter().all(|device| device.id == self.device()) && !chain.devices.is_empty();
        if is_recovery && alone { Ok(chain) } else { Err(NotAllowed::Chain(ChainError::Place).into()) }
    }
}

impl Engine {
    /// Takes a chain that the account's root has signed, in which this is the only device. Ready when a home has it.
    pub(super) fn recover(&mut self, turn: &mut Turn<'_>, bytes: &[u8], reply: Reply<()>) {
        let chain = match self.account.recovered(bytes) {
            Ok(chain) => chain,
            Err(error) => return turn.reply(reply, Err(error)),
        };
        let others = self.account.other_devices();
        let known = self.account.list().map_or(0, DeviceChain::len);
        self.account.set_chain(turn, chain, known);
        self.counters.row.superseded = false;
        self.counters.dirty = true;
        for device in others {
            turn.fact(Fact::OwnDeviceRemoved(device.id));
            self.account.own_devices.note_removed(device.id);
        }
        self.account.own_devices.wait_for_home(turn, self.account.identity.device_key.id(), reply);
        self.account.publish_at_homes(turn, &mut self.homes);
    }
}
