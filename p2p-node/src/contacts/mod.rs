//! The people that we know, and how somebody becomes one of them.

mod acquaintances;
mod chain;
pub mod commands;
pub mod connect;
mod directory;
mod echoes;
mod find;
pub(crate) mod limits;
mod member_look_ups;
mod owners;
pub mod pending;
mod person;
mod profile;
mod seen;

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceChain};

pub(crate) use directory::{ChainsKnown, Directory};
pub(crate) use person::{ChainNews, ChainRefused, Person};

use crate::{
    store::{CONTACTS, ContactRow, Reading, Store, prefix},
    turn::{EngineError, Schedule, Tracked, Turn},
};

/// The people that we know, and what is under way to know more.
#[derive(Default)]
pub struct Contacts {
    pub people: Tracked<AccountId, Person>,
    /// Which of `people` each device belongs to.
    pub owners: owners::Owners,
    /// Members of groups that are no contacts.
    pub acquaintances: acquaintances::Acquaintances,
    /// Chains that were said back to their owners.
    pub echoes: echoes::Echoes,
    /// When members of groups that are no contacts are looked up.
    pub member_look_ups: member_look_ups::MemberLookUps,
    /// How often a chain of somebody's has changed in this run.
    chain_changes: u64,
    /// Operations that make somebody a contact, by the number that they have in this run.
    pub connects: BTreeMap<u64, connect::Connect>,
    /// When they are given up, in steady time.
    give_up: Schedule<u64>,
}

impl Contacts {
    /// Loads them from the profile.
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let mut contacts = Self { acquaintances: acquaintances::Acquaintances::load(read)?, ..Self::default() };
        for (_, row) in read.range::<ContactRow>(CONTACTS, prefix(b""), usize::MAX, false)? {
            let account = AccountId::from_stored(&row.account).map_err(|_| EngineError::Identity)?;
            let list = DeviceChain::from_stored(&row.device_list).ok();
            contacts.people.insert(account, Person::stored(row, list));
            contacts.index(&account);
        }
        Ok(contacts)
    }

    /// A chain of somebody's is another now, or somebody is known in another way: what was found from all chains is found again.
    pub(crate) fn note_chain_change(&mut self) {
        self.chain_changes += 1;
    }

    /// Writes what has changed in this turn. Gives whether a contact has.
    pub fn save(&mut self, turn: &mut Turn<'_>, store: &Store) -> Result<bool, EngineError> {
        let mut changed = false;
        for account in self.people.take_touched() {
            if let Some(person) = self.people.settle(&account).filter(|person| person.dirty) {
                (person.dirty, changed) = (false, true);
                turn.put(CONTACTS, &store.name("contact", account.as_bytes()), &person.row)?;
            }
        }
        self.acquaintances.save(turn, store)?;
        Ok(changed)
    }

    /// When an operation is given up next, or somebody is looked up, in steady time.
    pub fn next_due(&self) -> Option<u64> {
        self.give_up.next().into_iter().chain(self.member_look_ups.next_due()).min()
    }

    /// Starts an operation.
    pub fn begin(&mut self, id: u64, connect: connect::Connect) {
        self.give_up.set(id, Some(connect.gives_up_at));
        self.connects.insert(id, connect);
    }

    /// An operation is over.
    pub fn end(&mut self, id: u64) -> Option<connect::Connect> {
        self.give_up.set(id, None);
        self.connects.remove(&id)
    }
}
