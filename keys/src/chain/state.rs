//! What follows from a chain: the fold over its entries.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ChainError, Entry, Link, MAX_DEPTH, MAX_DEVICES, MAX_LINKS, MAX_ORDINARY_LINKS, Op, Rights, Signer, order::standing,
};
use crate::{DeviceId, RendezvousAddr};

/// A device of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainDevice {
    /// The device.
    pub id: DeviceId,
    /// Hash of its sealing key.
    pub seal: [u8; 32],
    /// What it may do.
    pub rights: Rights,
    /// Seconds since 1970.
    pub added_at: u64,
    /// Whether it has countersigned. Devices that were adopted from version 0.1 have not.
    pub proven: bool,
}

/// An account's devices and homes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    devices: Vec<ChainDevice>,
    /// Who linked each device that was ever on the chain.
    linked_by: BTreeMap<DeviceId, Option<DeviceId>>,
    removed: BTreeSet<DeviceId>,
    homes: Vec<RendezvousAddr>,
    recovery: [u8; 32],
}

impl State {
    /// The devices, oldest first.
    pub fn devices(&self) -> &[ChainDevice] {
        &self.devices
    }

    /// The homes.
    pub fn homes(&self) -> &[RendezvousAddr] {
        &self.homes
    }

    /// Hash of the HPKE public key that is derived from the root.
    pub fn recovery(&self) -> &[u8; 32] {
        &self.recovery
    }

    /// Whether a device was removed.
    pub fn has_removed(&self, device: &DeviceId) -> bool {
        self.removed.contains(device)
    }

    /// The device that has linked another; `None` for the root, and for unknown ones.
    pub fn linked_by(&self, device: &DeviceId) -> Option<DeviceId> {
        self.linked_by.get(device).copied().flatten()
    }

    fn device(&self, id: &DeviceId) -> Option<&ChainDevice> {
        self.devices.iter().find(|d| d.id == *id)
    }

    /// Whether a device may change the chain.
    pub fn is_admin(&self, id: &DeviceId) -> bool {
        self.device(id).is_some_and(|d| d.rights == Rights::Admin)
    }

    /// A device and those that linked it, up to the root, nearest first.
    fn ancestry(&self, device: &DeviceId) -> impl Iterator<Item = DeviceId> + '_ {
        // Bounded by the depth that is checked when a device is added.
        std::iter::successors(Some(*device), |d| self.linked_by(d)).take(MAX_DEPTH + 1)
    }

    /// Which devices a removal has to name, so that those that are kept stay: the nearest to the removed one on the way to each.
    pub(super) fn staying(&self, removed: &DeviceId, keep: &[DeviceId]) -> Vec<DeviceId> {
        let child = |device: &DeviceId| self.ancestry(device).find(|d| self.linked_by(d).as_ref() == Some(removed));
        let named: BTreeSet<DeviceId> = keep.iter().filter_map(child).collect();
        named.into_iter().collect()
    }

    /// Takes an entry whose place and signature are right.
    ///
    /// # Errors
    /// Why its signer could not do this; the state may be half changed then.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), ChainError> {
        self.check_signer(entry)?;
        let seq = entry.seq as usize;
        match &entry.op {
            Op::Open { recovery, adopted } => {
                if seq != 0 {
                    return Err(ChainError::Place);
                }
                self.recovery = *recovery;
                for (device, seal) in adopted {
                    self.introduce(*device, *seal, Rights::Admin, entry, None)?;
                }
            }
            Op::Add { device, seal, rights, .. } => {
                if self.devices.len() >= MAX_DEVICES {
                    return Err(ChainError::TooManyDevices);
                }
                let by = match entry.signer {
                    Signer::Root => None,
                    Signer::Device(by) => Some(by),
                };
                if by.is_some_and(|by| self.ancestry(&by).count() >= MAX_DEPTH) {
                    return Err(ChainError::Full);
                }
                self.introduce(*device, *seal, *rights, entry, by)?;
            }
            Op::Remove { device, staying } => {
                self.check_known(device)?;
                if entry.signer == Signer::Device(*device) {
                    return Err(ChainError::NoAdminLeft);
                }
                self.remove(device, staying);
                // Who removes stays: its own removal would let nobody go on.
                if let Signer::Device(signer) = entry.signer
                    && self.device(&signer).is_none()
                {
                    return Err(ChainError::NoAdminLeft);
                }
            }
            Op::Rights { device, rights } => {
                let listed = self.devices.iter_mut().find(|d| d.id == *device).ok_or(ChainError::UnknownDevice)?;
                listed.rights = *rights;
                if !self.devices.iter().any(|d| d.rights == Rights::Admin) {
                    return Err(ChainError::NoAdminLeft);
                }
            }
            Op::Homes(homes) => self.homes.clone_from(homes),
            Op::Recover { device, seal, .. } => self.recover(*device, *seal, entry)?,
        }
        // What does not remove leaves room for what does.
        let room = match entry.op {
            Op::Recover { .. } => MAX_LINKS,
            Op::Remove { .. } => MAX_LINKS - (MAX_LINKS - MAX_ORDINARY_LINKS) / 2,
            _ => MAX_ORDINARY_LINKS,
        };
        if seq < room { Ok(()) } else { Err(ChainError::Full) }
    }

    /// Takes what stands at a place of a chain that was checked when it was built.
    pub(super) fn apply_link(&mut self, seq: u32, link: &Link) {
        let _ = match link {
            Link::Entry(entry) => self.apply(entry),
            Link::Removals(entries) => self.apply_removals(seq, entries),
        };
    }

    fn check_signer(&self, entry: &Entry) -> Result<(), ChainError> {
        match (&entry.op, entry.signer) {
            (_, Signer::Root) => {}
            (Op::Open { .. } | Op::Recover { .. }, Signer::Device(_)) => return Err(ChainError::NotAdmin),
            (_, Signer::Device(signer)) if !self.is_admin(&signer) => return Err(ChainError::NotAdmin),
            (_, Signer::Device(_)) => {}
        }
        if entry.seq == 0 && !matches!(entry.op, Op::Open { .. }) {
            return Err(ChainError::Place);
        }
        Ok(())
    }

    fn check_known(&self, device: &DeviceId) -> Result<(), ChainError> {
        self.device(device).map(|_| ()).ok_or(ChainError::UnknownDevice)
    }

    fn introduce(
        &mut self,
        id: DeviceId,
        seal: [u8; 32],
        rights: Rights,
        entry: &Entry,
        by: Option<DeviceId>,
    ) -> Result<(), ChainError> {
        if self.linked_by.contains_key(&id) {
            return Err(ChainError::KnownDevice);
        }
        self.linked_by.insert(id, by);
        let proven = !matches!(entry.op, Op::Open { .. });
        self.devices.push(ChainDevice { id, seal, rights, added_at: entry.time, proven });
        Ok(())
    }

    fn recover(&mut self, device: DeviceId, seal: [u8; 32], entry: &Entry) -> Result<(), ChainError> {
        if self.removed.contains(&device) {
            return Err(ChainError::KnownDevice);
        }
        self.removed.extend(self.devices.drain(..).map(|d| d.id).filter(|d| *d != device));
        self.linked_by.remove(&device);
        self.introduce(device, seal, Rights::Admin, entry, None)
    }

    /// Removes a device, and those whose way to the root leads through it and on to a device that is not named as staying.
    fn remove(&mut self, device: &DeviceId, staying: &[DeviceId]) {
        let is_void = |d: &DeviceId| {
            d == device
                || self.ancestry(d).any(|d| self.linked_by(&d).as_ref() == Some(device) && !staying.contains(&d))
        };
        let void: Vec<DeviceId> = self.devices.iter().map(|d| d.id).filter(is_void).collect();
        self.devices.retain(|d| !void.contains(&d.id));
        self.removed.extend(void);
    }

    /// Takes removals that contradict one another, by admins of this state: those stand that no other strikes, and those that strike one
    /// another in a circle. Their signatures are right.
    ///
    /// # Errors
    /// If one of them is not by an admin, not of a device of this state, or older than this place.
    pub(super) fn apply_removals(&mut self, seq: u32, entries: &[Entry]) -> Result<(), ChainError> {
        if entries.len() < 2 || !entries.is_sorted_by(|a, b| a.hash() < b.hash()) {
            return Err(ChainError::Malformed);
        }
        let mut pairs = Vec::with_capacity(entries.len());
        for entry in entries {
            let (signer, target) = entry.removal().ok_or(ChainError::Place)?;
            self.check_known(&target)?;
            if !self.is_admin(&signer) || signer == target {
                return Err(ChainError::NotAdmin);
            }
            if entry.seq < seq || pairs.contains(&(signer, target)) {
                return Err(ChainError::Place);
            }
            pairs.push((signer, target));
        }
        let stands = standing(&pairs);
        for (entry, _) in entries.iter().zip(stands).filter(|(_, stands)| *stands) {
            if let Op::Remove { device, staying } = &entry.op {
                self.remove(device, staying);
            }
        }
        if (seq as usize) < MAX_LINKS { Ok(()) } else { Err(ChainError::Full) }
    }
}
