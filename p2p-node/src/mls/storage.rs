//! Where mls-rs thinks that it stores things: in memory, from where the engine takes what it writes.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mls_rs_core::{
    group::{EpochRecord, GroupState, GroupStateStorage},
    key_package::{KeyPackageData, KeyPackageStorage},
};
use zeroize::Zeroizing;

use super::PAST_EPOCHS;

/// A group's stored value: the current state, and secrets of earlier epochs.
#[derive(Clone, Default)]
pub struct GroupValue {
    /// The state.
    pub state: Zeroizing<Vec<u8>>,
    /// By epoch.
    pub past: BTreeMap<u64, Zeroizing<Vec<u8>>>,
}

/// The values of the groups that are loaded.
#[derive(Clone, Default)]
pub struct States(Arc<Mutex<BTreeMap<Vec<u8>, GroupValue>>>);

impl States {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, GroupValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, id: &[u8], value: GroupValue) {
        self.lock().insert(id.to_vec(), value);
    }

    pub(super) fn forget(&self, id: &[u8]) {
        self.lock().remove(id);
    }

    pub(super) fn get(&self, id: &[u8]) -> Option<GroupValue> {
        self.lock().get(id).cloned()
    }
}

impl GroupStateStorage for States {
    type Error = Infallible;

    fn state(&self, id: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Infallible> {
        Ok(self.lock().get(id).map(|v| v.state.clone()))
    }

    fn epoch(&self, id: &[u8], epoch: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Infallible> {
        Ok(self.lock().get(id).and_then(|v| v.past.get(&epoch).cloned()))
    }

    fn write(
        &mut self,
        state: GroupState,
        inserts: Vec<EpochRecord>,
        updates: Vec<EpochRecord>,
    ) -> Result<(), Infallible> {
        let mut states = self.lock();
        let value = states.entry(state.id).or_default();
        value.state = state.data;
        for record in inserts.into_iter().chain(updates) {
            value.past.insert(record.id, record.data);
        }
        while value.past.len() > PAST_EPOCHS {
            value.past.pop_first();
        }
        Ok(())
    }

    fn max_epoch_id(&self, id: &[u8]) -> Result<Option<u64>, Infallible> {
        Ok(self.lock().get(id).and_then(|v| v.past.last_key_value().map(|(epoch, _)| *epoch)))
    }
}

/// A change to our key packages that the engine has to store.
pub enum KeyPackageChange {
    /// A new one: reference and encoded secrets.
    Put(Vec<u8>, Zeroizing<Vec<u8>>),
    /// A used one.
    Delete(Vec<u8>),
}

#[derive(Default)]
struct PackagesInner {
    packages: BTreeMap<Vec<u8>, KeyPackageData>,
    changes: Vec<KeyPackageChange>,
}

/// Secrets of our key packages.
#[derive(Clone, Default)]
pub struct KeyPackages(Arc<Mutex<PackagesInner>>);

impl KeyPackages {
    fn lock(&self) -> MutexGuard<'_, PackagesInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one that was stored.
    pub fn load(&self, id: Vec<u8>, encoded: &[u8]) -> bool {
        use mls_rs_core::mls_rs_codec::MlsDecode;
        match KeyPackageData::mls_decode(&mut &*encoded) {
            Ok(data) => {
                self.lock().packages.insert(id, data);
                true
            }
            Err(_) => false,
        }
    }

    /// Forgets the secrets of packages that have ended, and of the oldest beyond `most`: servers give packages away to whoever asks, oldest first,
    /// and most of those that are claimed in bulk are never used.
    pub fn prune(&self, now_ms: u64, most: usize) {
        let mut inner = self.lock();
        let mut by_age: Vec<(u64, Vec<u8>)> = inner.packages.iter().map(|(id, p)| (p.expiration, id.clone())).collect();
        by_age.sort_unstable();
        let ended = by_age.partition_point(|(expiration, _)| *expiration < now_ms / 1000);
        let gone = ended.max(by_age.len().saturating_sub(most));
        for (_, id) in by_age.drain(..gone) {
            inner.packages.remove(&id);
            inner.changes.push(KeyPackageChange::Delete(id));
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().packages.len()
    }

    /// What has changed since this was asked last.
    pub fn take_changes(&self) -> Vec<KeyPackageChange> {
        std::mem::take(&mut self.lock().changes)
    }
}

impl KeyPackageStorage for KeyPackages {
    type Error = Infallible;

    fn delete(&mut self, id: &[u8]) -> Result<(), Infallible> {
        let mut inner = self.lock();
        if inner.packages.remove(id).is_some() {
            inner.changes.push(KeyPackageChange::Delete(id.to_vec()));
        }
        Ok(())
    }

    fn insert(&mut self, id: Vec<u8>, package: KeyPackageData) -> Result<(), Infallible> {
        use mls_rs_core::mls_rs_codec::MlsEncode;
        let mut inner = self.lock();
        // Encoding into a growing vector does not fail.
        let encoded = package.mls_encode_to_vec().unwrap_or_default();
        inner.changes.push(KeyPackageChange::Put(id.clone(), Zeroizing::new(encoded)));
        inner.packages.insert(id, package);
        Ok(())
    }

    fn get(&self, id: &[u8]) -> Result<Option<KeyPackageData>, Infallible> {
        Ok(self.lock().packages.get(id).cloned())
    }
}
