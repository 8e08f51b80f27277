//! Somebody we know.

use starling_keys::{AccountId, DeviceId, DeviceList, RendezvousAddr, Verified};

use super::seen::Seen;
use crate::{api::types::ContactState, store::ContactRow};

pub(crate) struct Person {
    pub row: ContactRow,
    pub list: Option<Verified<DeviceList>>,
    pub presence: Seen,
    /// The devices by which the index finds them.
    pub indexed: Vec<DeviceId>,
    pub dirty: bool,
}

impl Person {
    /// Somebody new, of whom nothing more is known.
    pub fn new(account: &AccountId, now_ms: u64) -> Self {
        let row = ContactRow { account: account.as_bytes().to_vec(), added_ms: now_ms, ..ContactRow::default() };
        Self { dirty: true, ..Self::stored(row, None) }
    }

    /// Somebody who is in the store.
    pub fn stored(row: ContactRow, list: Option<Verified<DeviceList>>) -> Self {
        Self { row, list, presence: Seen::default(), indexed: Vec::new(), dirty: false }
    }

    pub fn state(&self) -> ContactState {
        ContactState::from_stored(self.row.state)
    }

    pub fn name(&self) -> &str {
        if self.row.alias.is_empty() { &self.row.name } else { &self.row.alias }
    }

    /// Where their devices are found.
    pub fn homes(&self) -> Vec<RendezvousAddr> {
        match &self.list {
            Some(list) => list.homes.clone(),
            None => self.row.homes.iter().filter_map(|h| h.parse().ok()).collect(),
        }
    }

    /// Whether we talk to them.
    pub fn is_linked(&self) -> bool {
        matches!(self.state(), ContactState::Active | ContactState::Outgoing)
    }
}
