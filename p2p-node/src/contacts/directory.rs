//! Who is who: our account and the people that we know, as other capabilities read them.

use starling_keys::{AccountId, DeviceChain, DeviceId, chain::Summary};

use super::{Contacts, Person};
use crate::account::Account;

/// A view of our account and of the people that we know.
#[derive(Clone, Copy)]
pub struct Directory<'a> {
    pub account: &'a Account,
    pub contacts: &'a Contacts,
}

/// Which device chains are known. What follows from all of them, and takes a look at every member of a group, is not found again while this is the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainsKnown {
    /// How often one of somebody else's has changed.
    changes: u64,
    /// The head of ours.
    own: Option<[u8; 32]>,
}

impl<'a> Directory<'a> {
    /// Which chains are known.
    pub(crate) fn chains_known(self) -> ChainsKnown {
        ChainsKnown { changes: self.contacts.chain_changes, own: self.account.list().map(|list| list.head().0) }
    }

    /// A contact.
    pub fn person(self, account: &AccountId) -> Option<&'a Person> {
        self.contacts.people.get(account)
    }

    /// Which account, ours or a contact's, has a device.
    pub fn account_of(self, device: &DeviceId) -> Option<AccountId> {
        if self.account.has_other(device) {
            return Some(self.account.id());
        }
        self.contacts.owners.get(device)
    }

    /// Whether we exchange messages with a device: it is another one of ours, or of a contact who is neither blocked nor removed.
    pub fn may_talk(self, device: &DeviceId) -> bool {
        match self.account_of(device) {
            Some(account) if account == self.account.id() => true,
            Some(account) => self.person(&account).is_some_and(Person::is_linked),
            None => false,
        }
    }

    /// The devices of an account, as far as they are known.
    pub fn list_of(self, account: &AccountId) -> Option<&'a DeviceChain> {
        if *account == self.account.id() {
            return self.account.list();
        }
        let of_contact = self.person(account).and_then(|person| person.list.as_ref());
        of_contact.or_else(|| self.contacts.acquaintances.get(account)?.list.as_ref())
    }

    /// What an account is called here.
    pub fn name_of(self, account: &AccountId) -> String {
        if *account == self.account.id() {
            return self.account.identity.row.name.clone();
        }
        let known = self.person(account).or_else(|| self.contacts.acquaintances.get(account)).map(Person::name);
        let name = known.filter(|name| !name.is_empty()).map(str::to_owned);
        name.unwrap_or_else(|| account.to_string().chars().take(8).collect())
    }

    /// Reads a chain, or the end of one that is known.
    pub fn read_chain(self, bytes: &[u8]) -> Option<DeviceChain> {
        let account = Summary::of(bytes).ok()?.account;
        let of_contact = || self.person(&account).and_then(|p| p.list.as_ref());
        let known = if account == self.account.id() { self.account.list() } else { of_contact() };
        match known {
            Some(known) => DeviceChain::read(bytes, known).ok(),
            None => DeviceChain::from_bytes(bytes).ok(),
        }
    }

    /// Those of some accounts that are contacts.
    pub fn people(self, accounts: impl Iterator<Item = AccountId>) -> impl Iterator<Item = &'a Person> {
        accounts.filter_map(move |account| self.person(&account))
    }

    /// Accounts with their device lists, as far as these are known.
    pub fn device_lists(
        self,
        accounts: impl Iterator<Item = AccountId>,
    ) -> impl Iterator<Item = (AccountId, Option<&'a DeviceChain>)> {
        accounts.map(move |account| (account, self.list_of(&account)))
    }
}
