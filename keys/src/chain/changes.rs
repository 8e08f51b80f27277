//! What the entries of a chain did to the account's devices, as people are shown it.

use super::{DeviceChain, DeviceId, Link, Op, Signer, State};

/// What has happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It joined the account.
    Joined,
    /// It was removed from it.
    Left,
    /// It took the place of all others, with the account's recovery phrase.
    Recovered,
}

/// A change of an account's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What has happened.
    pub kind: ChangeKind,
    /// To which device.
    pub device: DeviceId,
    /// The device that signed it; `None` for the root.
    pub by: Option<DeviceId>,
    /// When, in seconds since 1970 by the signer's clock; never before an earlier entry of the chain.
    pub time: u64,
    /// How many entries stand before it.
    pub place: u32,
    /// The same for this change wherever the chain is known, and another one in a rival chain.
    pub tag: [u8; 8],
}

impl DeviceChain {
    /// What the entries after the first `length` did to the devices, oldest first. Removals that a recovery implies are left out.
    pub fn changes_after(&self, length: u32) -> Vec<Change> {
        let mut changes = Vec::new();
        let (mut state, mut time) = (State::default(), 0);
        for (place, link) in self.links.iter().enumerate() {
            let before: Vec<DeviceId> = state.devices().iter().map(|d| d.id).collect();
            time = link.entries().iter().map(|e| e.time).fold(time, u64::max);
            state.apply_link(place as u32, link);
            if place < length as usize {
                continue;
            }
            let entries = link.entries();
            let by = match entries.first().map(|e| e.signer) {
                Some(Signer::Device(by)) => Some(by),
                _ => None,
            };
            let mut push = |kind, device: DeviceId| {
                let tag = self.heads[place].change_tag(&device);
                changes.push(Change { kind, device, by, time, place: place as u32, tag });
            };
            if let Some(Op::Recover { device, .. }) = entries.first().map(|e| &e.op) {
                push(ChangeKind::Recovered, *device);
                continue;
            }
            let after: Vec<DeviceId> = state.devices().iter().map(|d| d.id).collect();
            for device in after.iter().filter(|d| !before.contains(d)) {
                push(ChangeKind::Joined, *device);
            }
            for device in before.iter().filter(|d| !after.contains(d)) {
                push(ChangeKind::Left, *device);
            }
        }
        changes
    }

    /// How many entries two chains of one account have in common.
    pub fn common(&self, other: &Self) -> u32 {
        self.heads.iter().zip(&other.heads).take_while(|(a, b)| a == b).count() as u32
    }

    /// When the newest entry was signed, in seconds since 1970 by the latest of the signers' clocks; 0 without entries.
    pub fn newest_time(&self) -> u64 {
        self.links.iter().flat_map(Link::entries).map(|e| e.time).max().unwrap_or(0)
    }
}
