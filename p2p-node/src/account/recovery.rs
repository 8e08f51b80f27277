//! Recovery on a device that is there: an entry that the account's root has signed makes it the only device. The root does not come here: the
//! caller signs with it, and hands over the chain.

use starling_keys::{
    AccountKey, DeviceChain,
    chain::{ChainError, Joining, Relation},
};

use super::Account;
use crate::api::error::{NodeError, NotAllowed, Unreachable};

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
    pub(crate) fn recovery(&self) -> Result<Recovery, NodeError> {
        let chain = self.list().filter(|list| !list.is_empty()).cloned().ok_or(Unreachable::DeviceList)?;
        Ok(Recovery { chain, joining: self.identity.joining() })
    }

    /// The chain that the root has signed.
    pub(crate) fn recovered(&self, bytes: &[u8]) -> Result<DeviceChain, NodeError> {
        let known = self.recovery()?.chain;
        let chain = DeviceChain::read(bytes, &known).map_err(NotAllowed::Chain)?;
        let is_recovery = known.relation(&chain) == Relation::Extends && chain.recovered_since(known.len());
        let alone = chain.devices.iter().all(|device| device.id == self.device()) && !chain.devices.is_empty();
        if is_recovery && alone { Ok(chain) } else { Err(NotAllowed::Chain(ChainError::Place).into()) }
    }
}
