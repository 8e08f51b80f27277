//! The people that we know, and how somebody becomes one of them.

pub mod commands;
pub mod connect;
mod invites;
mod join;
pub mod pending;
mod person;
mod state;

use std::collections::HashMap;

use starling_keys::{AccountId, DeviceId, DeviceList, Verified};

pub(crate) use person::Person;

use crate::{
    store::{CONTACTS, ContactRow, Reading, prefix},
    turn::{EngineError, Tracked},
};

/// The people that we know, and what is under way to know more.
#[derive(Default)]
pub struct Contacts {
    pub people: Tracked<AccountId, Person>,
    /// Which account each known device belongs to: those of `people`, and our own other devices.
    pub devices: HashMap<DeviceId, AccountId>,
    /// Operations that make somebody a contact, by the number that they have in this run.
    pub connects: HashMap<u64, connect::Connect>,
}

impl Contacts {
    /// Loads them from the profile. The index of devices is still to be made.
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let mut contacts = Self::default();
        for (_, row) in read.range::<ContactRow>(CONTACTS, prefix(b""), usize::MAX, false)? {
            let account = AccountId::from_bytes(&row.account).map_err(|_| EngineError::Identity)?;
            let list = Verified::<DeviceList>::from_bytes(&row.device_list).ok();
            contacts.people.insert(account, Person::stored(row, list));
        }
        Ok(contacts)
    }
}
