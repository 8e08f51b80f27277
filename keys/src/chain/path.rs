//! The proof that a device belongs to an account, without the rest of its chain: what an MLS leaf holds.

use super::{
    ChainError, DeviceChain, Entry, MAX_DEPTH, Signer,
    codec::{Reader, write_bytes},
};
use crate::{AccountId, DeviceId};

/// First byte of an encoded path: no certificate of version 0.1 begins with it.
const FORMAT: u8 = 0xc2;

/// The entries that lead from the root to a device: each adds the device that has signed the next. A `LeafPath` value has been verified.
///
/// It shows that the device was added, not that it is still there: that is what the chain says.
#[derive(Clone, PartialEq, Eq)]
pub struct LeafPath {
    account: AccountId,
    device: DeviceId,
    entries: Vec<Entry>,
}

impl LeafPath {
    pub(super) fn find(chain: &DeviceChain, device: &DeviceId) -> Option<Self> {
        chain.device(device)?;
        let (mut entries, mut wanted) = (Vec::new(), *device);
        loop {
            let entry = chain.entries().filter(|e| e.introduces(&wanted)).last()?;
            entries.push(entry.clone());
            match entry.signer {
                Signer::Root => break,
                Signer::Device(signer) => wanted = signer,
            }
        }
        entries.reverse();
        Some(Self { account: chain.account, device: *device, entries })
    }

    /// Whether encoded bytes are a path, and not a certificate of version 0.1.
    pub(crate) fn is_path(bytes: &[u8]) -> bool {
        bytes.first() == Some(&FORMAT)
    }

    /// Reads a path and checks its signatures.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChainError> {
        let mut reader = Reader(bytes);
        if reader.u8()? != FORMAT {
            return Err(ChainError::Malformed);
        }
        let (account, device) = (reader.account()?, reader.device()?);
        let entries = reader.list(MAX_DEPTH, |r| Entry::decode(account, r.bytes()?))?;
        reader.end()?;
        let mut signer = Signer::Device(device);
        for entry in entries.iter().rev() {
            let Signer::Device(wanted) = signer else { return Err(ChainError::Place) };
            if !entry.introduces(&wanted) {
                return Err(ChainError::Place);
            }
            signer = entry.signer;
        }
        if signer != Signer::Root {
            return Err(ChainError::Place);
        }
        entries.iter().try_for_each(Entry::verify)?;
        Ok(Self { account, device, entries })
    }

    /// Encoded; about 300 bytes for each device on the way.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(self.account.as_bytes());
        out.extend(self.device.as_bytes());
        out.push(self.entries.len() as u8);
        for entry in &self.entries {
            write_bytes(entry.as_bytes(), &mut out);
        }
        out
    }

    /// The account.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// When the device was added, in seconds since 1970, by the clock of who added it.
    pub fn added_at(&self) -> u64 {
        self.entries.last().map_or(0, |e| e.time)
    }

    /// The devices on the way, from the one that the root has added.
    pub fn signers(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.entries.iter().filter_map(|e| match e.signer {
            Signer::Root => None,
            Signer::Device(device) => Some(device),
        })
    }
}
