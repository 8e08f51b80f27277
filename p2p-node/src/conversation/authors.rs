//! Authors of events: accounts with the devices that they wrote on. A timeline's rows name them by number.

use std::collections::HashMap;

use starling_keys::{AccountId, DeviceId};

use crate::{
    api::types::ChatId,
    engine::Engine,
    store::{AUTHORS, AuthorRow},
    turn::{EngineError, Turn},
};

/// The authors that were seen, by number.
#[derive(Default)]
pub struct Authors {
    authors: HashMap<u32, Author>,
    numbers: HashMap<(AccountId, [u8; 8]), u32>,
}

struct Author {
    account: AccountId,
    own: bool,
}

impl Authors {
    /// Adds one that is stored.
    pub fn insert(&mut self, number: u32, row: &AuthorRow) {
        if let (Ok(account), Ok(tag)) = (AccountId::from_bytes(&row.account), row.tag.as_slice().try_into()) {
            self.numbers.insert((account, tag), number);
            self.authors.insert(number, Author { account, own: row.own });
        }
    }

    /// The account of an author.
    pub fn account(&self, number: u32) -> Option<AccountId> {
        self.authors.get(&number).map(|author| author.account)
    }

    /// Whether an author is of our account.
    pub fn is_own(&self, number: u32) -> bool {
        self.authors.get(&number).is_some_and(|author| author.own)
    }
}

impl Engine {
    /// The number of an author; a new one is stored. `tag` is the device's, as event ids have it.
    pub(crate) fn author(&mut self, turn: &Turn<'_>, account: AccountId, tag: [u8; 8]) -> Result<u32, EngineError> {
        if let Some(number) = self.conversations.authors.numbers.get(&(account, tag)) {
            return Ok(*number);
        }
        let own = account == self.account.id();
        let this = self.account.device();
        let is_it = |d: &DeviceId| d.tag() == tag;
        let list =
            if own { self.account.list() } else { self.contacts.people.get(&account).and_then(|p| p.list.as_ref()) };
        let mut of_account = list.into_iter().flat_map(|l| &l.devices).map(|d| d.certificate.device());
        let device = Some(this).filter(|d| own && is_it(d)).or_else(|| of_account.find(is_it));
        let row = AuthorRow {
            account: account.as_bytes().to_vec(),
            device: device.map(|d| d.as_bytes().to_vec()).unwrap_or_default(),
            tag: tag.to_vec(),
            own,
        };
        let number = self.conversations.authors.authors.keys().max().map_or(1, |n| n + 1);
        turn.put(AUTHORS, &number.to_be_bytes(), &row)?;
        self.conversations.authors.insert(number, &row);
        Ok(number)
    }

    /// The number of the author that is another member of a conversation, by the tag of its device.
    pub(crate) fn author_among_others(
        &mut self,
        turn: &Turn<'_>,
        chat: ChatId,
        tag: [u8; 8],
    ) -> Result<u32, EngineError> {
        let others: Vec<AccountId> =
            self.conversations.chats.get(&chat).map(|c| c.roster.others().collect()).unwrap_or_default();
        let known = others.iter().find(|account| self.conversations.authors.numbers.contains_key(&(**account, tag)));
        match known.or(others.first()) {
            Some(account) => self.author(turn, *account, tag),
            None => Ok(0),
        }
    }
}
