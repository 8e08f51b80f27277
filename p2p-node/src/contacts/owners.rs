//! Which contact a device belongs to. A list proves nothing of a device that is on it: everybody can write anybody's key into his own. What a
//! device has signed itself does: its countersignature in a chain, or its leaf in a group, which names its account.

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceChain, DeviceId};

use super::Contacts;
use crate::{account::Account, roster::GroupMember};

/// Whose a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    account: AccountId,
    /// The device says so itself.
    proven: bool,
}

/// Contacts' devices. One that several accounts list belongs to the account that it has signed for, else to the first that listed it.
#[derive(Default)]
pub struct Owners {
    devices: BTreeMap<DeviceId, Owner>,
    /// Whom devices name in the leaves of groups.
    joined: BTreeMap<DeviceId, AccountId>,
}

impl Owners {
    /// The account of a device.
    pub fn get(&self, device: &DeviceId) -> Option<AccountId> {
        self.devices.get(device).map(|owner| owner.account)
    }

    /// All devices with their accounts.
    pub fn iter(&self) -> impl Iterator<Item = (DeviceId, AccountId)> {
        self.devices.iter().map(|(device, owner)| (*device, owner.account))
    }

    /// A device has signed that it is an account's. The first such word counts.
    pub fn note_joined(&mut self, member: &GroupMember) {
        self.joined.entry(member.device).or_insert(member.account);
    }

    /// Whether a device on a chain has signed that it is of that account.
    fn is_proven(&self, chain: &DeviceChain, device: &DeviceId) -> bool {
        let countersigned = || chain.state().devices().iter().any(|d| d.id == *device && d.proven);
        self.joined.get(device) == Some(&chain.account) || countersigned()
    }

    /// Whether somebody else has a better claim to a device than a chain that lists it.
    fn is_taken(&self, chain: &DeviceChain, device: &DeviceId) -> bool {
        let other = self.devices.get(device).filter(|owner| owner.account != chain.account);
        let names_another = self.joined.get(device).is_some_and(|account| *account != chain.account);
        let claimed = other.is_some() || names_another;
        claimed && (other.is_some_and(|owner| owner.proven) || !self.is_proven(chain, device))
    }

    /// Assigns the devices of a chain that no other account has a better claim to; returns each with its previous account.
    fn claim(&mut self, chain: &DeviceChain) -> Vec<(DeviceId, Option<AccountId>)> {
        let free: Vec<DeviceId> = chain.devices.iter().map(|d| d.id).filter(|d| !self.is_taken(chain, d)).collect();
        let mut claimed = Vec::new();
        for device in free {
            let owner = Owner { account: chain.account, proven: self.is_proven(chain, &device) };
            let before = self.devices.insert(device, owner).map(|owner| owner.account);
            claimed.push((device, before.filter(|account| *account != chain.account)));
        }
        claimed
    }
}

/// A chain lists a device that is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device chain lists a device of another account")]
pub struct ForeignDevice;

impl Contacts {
    /// Whether a chain of somebody's may be taken: it lists no device that is ours, or that another contact has a better claim to.
    ///
    /// # Errors
    /// If it does.
    pub(crate) fn check_devices(&self, own: &Account, chain: &DeviceChain) -> Result<(), ForeignDevice> {
        let is_ours = |device: &DeviceId| *device == own.device() || own.has_other(device);
        let taken = |device: &DeviceId| is_ours(device) || self.owners.is_taken(chain, device);
        if chain.account != own.id() && chain.devices.iter().any(|d| taken(&d.id)) {
            tracing::warn!("a device chain that lists a device of another account was not taken");
            return Err(ForeignDevice);
        }
        Ok(())
    }

    /// Brings the index of devices up to date with somebody's list.
    pub fn index(&mut self, account: &AccountId) {
        let Some(person) = self.people.settle(account) else { return };
        for device in person.indexed.drain(..) {
            self.owners.devices.remove(&device);
        }
        let claimed = person.list.as_ref().map(|list| self.owners.claim(list)).unwrap_or_default();
        person.indexed.extend(claimed.iter().map(|(device, _)| *device));
        for (device, before) in claimed {
            if let Some(other) = before.and_then(|before| self.people.settle(&before)) {
                other.indexed.retain(|d| *d != device);
            }
        }
    }

    /// Takes note of the leaves of all groups, at the start.
    pub(crate) fn note_members<'a>(&mut self, members: impl Iterator<Item = &'a GroupMember>) {
        members.for_each(|member| self.owners.note_joined(member));
        let accounts: Vec<AccountId> = self.people.keys().copied().collect();
        accounts.iter().for_each(|account| self.index(account));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::{AccountKey, DeviceKey, chain::Joining};

    use super::*;
    use crate::contacts::Person;

    fn device(n: u8) -> DeviceKey {
        DeviceKey::from_seed(&[n; 32])
    }

    fn root(n: u8) -> AccountKey {
        AccountKey::from_seed(&[100 + n; 32])
    }

    /// A chain of which the device has signed that it joins.
    fn countersigned(owner: u8, key: u8) -> DeviceChain {
        let root = root(owner);
        let joining = Joining::sign(&device(key), &root.id(), vec![1; 32]);
        DeviceChain::create(&root, 1, [0; 32], &joining).unwrap()
    }

    /// A chain that was made of a list of version 0.1, in which nothing is proven.
    fn adopted(owner: u8, keys: &[u8]) -> DeviceChain {
        let devices = keys.iter().map(|n| (device(*n).id(), vec![1; 32])).collect();
        DeviceChain::adopt(&root(owner), 1, [0; 32], devices, &[]).unwrap()
    }

    /// Takes a chain if it may be taken; gives whether it was.
    fn take(contacts: &mut Contacts, chain: DeviceChain) -> bool {
        let free = !chain.devices.iter().any(|d| contacts.owners.is_taken(&chain, &d.id));
        if free {
            let account = chain.account;
            let person = contacts.people.get_or_insert_with(account, || Person::new(&account, 0));
            person.take_chain(chain, 1).unwrap();
            contacts.index(&account);
        }
        free
    }

    const BOB: u8 = 1;
    const MALLORY: u8 = 2;

    #[test]
    fn a_contact_that_lists_somebody_elses_device_is_refused() {
        for bobs in [countersigned(BOB, 7), adopted(BOB, &[7])] {
            let mut contacts = Contacts::default();
            assert!(take(&mut contacts, bobs.clone()));
            assert!(!take(&mut contacts, adopted(MALLORY, &[8, 7])));
            assert_eq!(contacts.owners.get(&device(7).id()), Some(bobs.account));
        }
    }

    #[test]
    fn a_device_is_whose_it_says_and_not_whose_list_came_first() {
        for bobs in [countersigned(BOB, 7), adopted(BOB, &[7])] {
            let mut contacts = Contacts::default();
            assert!(take(&mut contacts, adopted(MALLORY, &[8, 7])));
            // The leaf of its key package names its account.
            contacts.owners.note_joined(&GroupMember { account: bobs.account, device: device(7).id() });
            assert!(take(&mut contacts, bobs.clone()));
            assert_eq!(contacts.owners.get(&device(7).id()), Some(bobs.account));
            assert_eq!(contacts.owners.get(&device(8).id()), Some(root(MALLORY).id()));
            // What was captured does not come back with the captor's next list.
            contacts.index(&root(MALLORY).id());
            assert_eq!(contacts.owners.get(&device(7).id()), Some(bobs.account));
        }
    }

    #[test]
    fn a_device_that_names_its_account_is_on_no_other_list_even_if_that_account_is_no_contact() {
        let mut contacts = Contacts::default();
        contacts.owners.note_joined(&GroupMember { account: root(BOB).id(), device: device(7).id() });
        assert!(!take(&mut contacts, adopted(MALLORY, &[7])));
    }
}
