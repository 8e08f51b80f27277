//! The accounts of a group, and their devices that do not count any more.

use super::{Account, Role};

/// An account of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyMember {
    /// The account.
    pub account: Account,
    /// What it may do.
    pub role: Role,
    /// The account that has let it in; its own of who has made the group.
    pub by: Account,
    /// The epoch that began when it was let in: what it has signed of an earlier one, it has signed as another member.
    pub since: u64,
}

/// A device that was removed from its account, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The account.
    pub account: Account,
    /// The device.
    pub device: [u8; 32],
    /// Those of the devices that it has linked which stay, by their ids.
    pub staying: Vec<[u8; 32]>,
}

impl Tombstone {
    pub(super) fn key(&self) -> (Account, [u8; 32]) {
        (self.account, self.device)
    }
}
