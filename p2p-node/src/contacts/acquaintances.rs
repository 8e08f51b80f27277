//! Members of groups that are no contacts: what they call themselves, and which devices they have. Nothing is exchanged with them but in groups.

use std::collections::BTreeMap;

use starling_keys::{AccountId, DeviceChain};
use starling_wire::{EventId, Profile};

use super::{Contacts, Person, limits::MAX_ACQUAINTANCES};
use crate::{
    api::types::TransientEvent,
    store::{ACQUAINTANCES, ContactRow, Reading, Store, StoreError, prefix},
    turn::{EngineError, Fact, Turn},
};

/// Those that something is known of.
#[derive(Default)]
pub struct Acquaintances(BTreeMap<AccountId, Person>);

impl Acquaintances {
    /// Loads them from the profile.
    pub(super) fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let mut acquaintances = Self::default();
        for (_, row) in read.range::<ContactRow>(ACQUAINTANCES, prefix(b""), usize::MAX, false)? {
            let account = AccountId::from_stored(&row.account).map_err(|_| EngineError::Identity)?;
            let list = DeviceChain::from_stored(&row.device_list).ok();
            acquaintances.0.insert(account, Person::stored(row, list));
        }
        Ok(acquaintances)
    }

    /// One of them.
    pub(super) fn get(&self, account: &AccountId) -> Option<&Person> {
        self.0.get(account)
    }

    /// What they call themselves.
    pub(crate) fn names(&self) -> Vec<(AccountId, String)> {
        let named = self.0.iter().filter(|(_, person)| !person.name().is_empty());
        named.map(|(account, person)| (*account, person.name().to_owned())).collect()
    }

    fn get_mut(&mut self, account: AccountId, now_ms: u64) -> Option<&mut Person> {
        if !self.0.contains_key(&account) && self.0.len() >= MAX_ACQUAINTANCES {
            return None;
        }
        let person = self.0.entry(account).or_insert_with(|| Person::new(&account, now_ms));
        person.dirty = true;
        Some(person)
    }

    /// Writes what has changed.
    pub(crate) fn save(&mut self, turn: &Turn<'_>, store: &Store) -> Result<(), StoreError> {
        for (account, person) in self.0.iter_mut().filter(|(_, person)| person.dirty) {
            person.dirty = false;
            turn.put(ACQUAINTANCES, &store.name("acquaintance", account.as_bytes()), &person.row)?;
        }
        Ok(())
    }
}

impl Contacts {
    /// What a member of a group that is no contact calls itself, if something is known of it.
    pub(crate) fn acquaintance_name(&self, account: &AccountId) -> Option<&str> {
        self.acquaintances.get(account).map(Person::name)
    }

    /// A member of a group gives itself a name: of a contact, too, but that says nothing of whether it takes us for one.
    pub(crate) fn on_member_profile(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        profile: &Profile,
        event: EventId,
    ) {
        let named = profile.named.unwrap_or((event.clock.0, u64::from_be_bytes(event.device)));
        let person = match self.people.get_mut(&account) {
            Some(person) => Some(person),
            None => self.acquaintances.get_mut(account, turn.wall()),
        };
        let Some(person) = person else { return };
        if person.row.rename(&profile.name, named) {
            person.dirty = true;
            turn.transient_event(TransientEvent::Net);
        }
        person.row.bot = profile.bot;
    }

    /// A member of a group that is no contact has sent its device chain.
    pub(crate) fn on_member_chain(&mut self, turn: &mut Turn<'_>, account: AccountId, bytes: &[u8]) {
        let now_s = turn.agreed_ms() / 1000;
        let known = self.acquaintances.get(&account).and_then(|person| person.list.as_ref());
        let read = known.map_or_else(|| DeviceChain::from_bytes(bytes), |known| DeviceChain::read(bytes, known));
        let Ok(chain) = read.inspect_err(|error| tracing::debug!(%error, "a device chain was not taken")) else {
            return;
        };
        if chain.account != account {
            return;
        }
        let Some(person) = self.acquaintances.get_mut(account, turn.wall()) else { return };
        match person.take_chain(chain, now_s) {
            Ok(_) => {
                self.note_chain_change();
                turn.fact(Fact::DevicesChanged(account));
            }
            Err(refused) => tracing::debug!(%refused, "a device chain was not taken"),
        }
    }
}
