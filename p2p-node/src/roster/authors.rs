//! Authors of events: accounts with the devices that they wrote on. A timeline's rows name them by number.

use std::collections::BTreeMap;

use starling_keys::AccountId;

use crate::store::AuthorRow;

/// The authors that were seen, by number.
#[derive(Default)]
pub struct Authors {
    authors: BTreeMap<u32, Author>,
    numbers: BTreeMap<(AccountId, [u8; 8]), u32>,
}

struct Author {
    account: AccountId,
    own: bool,
    /// Its device is known, and not only the device's tag.
    named: bool,
    label: Label,
}

/// What the device of an author is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Its name; empty if that is not known.
    pub name: String,
    /// What it is: an operating system, for example.
    pub kind: String,
}

impl Authors {
    /// Adds one that is stored.
    pub fn insert(&mut self, number: u32, row: &AuthorRow) {
        if let (Ok(account), Ok(tag)) = (AccountId::from_stored(&row.account), row.tag.as_slice().try_into()) {
            self.numbers.insert((account, tag), number);
            let label = Label { name: row.name.clone(), kind: row.kind.clone() };
            let named = !row.device.is_empty();
            self.authors.insert(number, Author { account, own: row.own, named, label });
        }
    }

    /// The number of an author, by the tag of its device.
    pub fn number(&self, account: AccountId, tag: [u8; 8]) -> Option<u32> {
        self.numbers.get(&(account, tag)).copied()
    }

    /// The number of the next author.
    pub fn next_number(&self) -> u32 {
        self.authors.keys().max().map_or(1, |n| n + 1)
    }

    /// The account of an author.
    pub fn account(&self, number: u32) -> Option<AccountId> {
        self.authors.get(&number).map(|author| author.account)
    }

    /// Whether an author's device is known.
    pub fn is_named(&self, number: u32) -> bool {
        self.authors.get(&number).is_some_and(|author| author.named)
    }

    /// What the device of an author is called.
    pub fn label(&self, account: AccountId, tag: [u8; 8]) -> Option<&Label> {
        self.authors.get(&self.number(account, tag)?).map(|author| &author.label)
    }

    /// Whether an author is of our account.
    pub fn is_own(&self, number: u32) -> bool {
        self.authors.get(&number).is_some_and(|author| author.own)
    }
}
