//! The profile's database: one redb file, values sealed, keys opaque. The engine's thread is the only writer; readers see committed states.
//!
//! What a stolen file shows without its key: how many rows there are, their padded-by-nothing sizes, and the times in timeline keys.

mod error;
mod migrate;
#[cfg(test)]
mod migrate_tests;
mod profile_dir;
mod rows;
mod tables;
mod txn;

use std::{cell::Cell, fs, os::unix::fs::OpenOptionsExt, path::Path};

use prost::Message;
use redb::{Database, Durability, ReadableDatabase};
use starling_keys::StorageKey;
use zeroize::Zeroizing;

pub use error::StoreError;
use error::{failed, from_io};
pub use profile_dir::ProfileDir;
pub use tables::*;
pub use txn::{Read, Reading, Txn, Visit, prefix};

pub use rows::*;

/// The version of the tables and rows in this file.
pub const SCHEMA: u32 = 2;
/// Page cache: a screen's working set; a larger one would only double what the system caches.
const CACHE: usize = 8 * 1024 * 1024;

/// The open database of a profile.
#[derive(Debug)]
pub struct Store {
    db: Database,
    key: StorageKeyBox,
    /// Holds the profile's lock.
    _dir: ProfileDir,
}

/// Keeps the key out of `Debug`.
struct StorageKeyBox {
    rows: StorageKey,
    names: StorageKey,
}

impl std::fmt::Debug for StorageKeyBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Store {
    /// Makes the database of a new profile, with what `fill` writes. It gets its name once it is whole.
    pub fn create(
        dir: ProfileDir,
        key: &StorageKey,
        fill: impl FnOnce(&Txn<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (path, new) = (dir.path().join("profile.redb"), dir.path().join("profile.redb.new"));
        let _ = fs::remove_file(&new);
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(|e| from_io(&e))?;
        let store = Self::open_file(dir, key, &new)?;
        let txn = store.begin()?;
        txn.make_tables()?;
        txn.put_raw(META, b"schema", &SCHEMA.to_be_bytes())?;
        txn.put(META, b"check", &Check { ok: true })?;
        fill(&txn)?;
        txn.commit()?;
        fs::rename(&new, &path).map_err(|e| from_io(&e))?;
        drop(store);
        Ok(())
    }

    /// Opens an existing profile.
    pub fn open(dir: ProfileDir, key: &StorageKey) -> Result<Self, StoreError> {
        let path = dir.path().join("profile.redb");
        if !path.exists() {
            return Err(StoreError::Missing);
        }
        let store = Self::open_file(dir, key, &path)?;
        {
            let read = store.read()?;
            let schema = read
                .get_raw(META, b"schema")?
                .and_then(|bytes| Some(u32::from_be_bytes(bytes.as_slice().try_into().ok()?)))
                .ok_or(StoreError::Missing)?;
            if schema > SCHEMA {
                return Err(StoreError::Newer(schema));
            }
            // A wrong key fails here, before anything is trusted.
            match read.get::<Check>(META, b"check") {
                Ok(Some(_)) => {}
                Ok(None) => return Err(StoreError::Missing),
                Err(StoreError::Damaged(_)) => return Err(StoreError::WrongKey),
                Err(e) => return Err(e),
            }
        }
        store.migrate()?;
        Ok(store)
    }

    /// Brings an older file up to this schema: all of it, or nothing.
    fn migrate(&self) -> Result<(), StoreError> {
        let schema = self.read()?.get_raw(META, b"schema")?;
        let txn = self.begin()?;
        txn.make_tables()?;
        if schema == Some(1u32.to_be_bytes().to_vec()) {
            migrate::from_1_to_2(self, &txn)?;
            txn.put_raw(META, b"schema", &SCHEMA.to_be_bytes())?;
        }
        txn.commit()
    }

    /// The key of a conversation's member.
    pub fn member_key(&self, chat: &[u8], account: &[u8]) -> Vec<u8> {
        [chat, &self.name("member", account)].concat()
    }

    fn open_file(dir: ProfileDir, key: &StorageKey, path: &Path) -> Result<Self, StoreError> {
        let db = Database::builder().set_cache_size(CACHE).create(path).map_err(failed)?;
        Ok(Self { db, key: StorageKeyBox { rows: key.derive("rows"), names: key.derive("names") }, _dir: dir })
    }

    /// An opaque name for something that would tell too much as a key.
    pub fn name(&self, kind: &str, value: &[u8]) -> [u8; 16] {
        self.key.names.name(&[kind.as_bytes(), &[0], value].concat())
    }

    /// Begins a write transaction.
    pub fn begin(&self) -> Result<Txn<'_>, StoreError> {
        let mut txn = self.db.begin_write().map_err(failed)?;
        txn.set_durability(Durability::Immediate).map_err(failed)?;
        Ok(Txn { txn, store: self, written: Cell::new(false) })
    }

    /// Begins a read transaction: the last committed state.
    pub fn read(&self) -> Result<Read<'_>, StoreError> {
        Ok(Read { txn: self.db.begin_read().map_err(failed)?, store: self })
    }

    fn seal(&self, table: Table, key: &[u8], value: &[u8]) -> Vec<u8> {
        self.key.rows.seal(&place(table, key), value)
    }

    fn unseal(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.key.rows.open(&place(table, key), sealed).map_err(|_| StoreError::Damaged(table.name()))
    }

    fn decode<M: Message + Default>(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<M, StoreError> {
        let plain = self.unseal(table, key, sealed)?;
        M::decode(plain.as_slice()).map_err(|_| StoreError::Damaged(table.name()))
    }
}

fn place(table: Table, key: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), &[0], key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_and_need_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let key = StorageKey::generate();
        {
            Store::create(ProfileDir::lock(&path).unwrap(), &key, |_| Ok(())).unwrap();
            let store = Store::open(ProfileDir::lock(&path).unwrap(), &key).unwrap();
            assert!(matches!(ProfileDir::lock(&path), Err(StoreError::InUse)));
            let txn = store.begin().unwrap();
            txn.put(META, b"x", &Check { ok: true }).unwrap();
            txn.commit().unwrap();
            let lost = store.begin().unwrap();
            lost.put(META, b"y", &Check { ok: true }).unwrap();
        }
        let open = |key: &StorageKey| Store::open(ProfileDir::lock(&path).unwrap(), key);
        let wrong = StorageKey::generate();
        assert!(matches!(open(&wrong), Err(StoreError::WrongKey)));
        let store = open(&key).unwrap();
        let read = store.read().unwrap();
        assert!(read.get::<Check>(META, b"x").unwrap().is_some());
        assert!(read.get::<Check>(META, b"y").unwrap().is_none());
    }

    #[test]
    fn a_profile_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = StorageKey::generate();
        {
            Store::create(ProfileDir::lock(dir.path()).unwrap(), &key, |_| Ok(())).unwrap();
            let store = Store::open(ProfileDir::lock(dir.path()).unwrap(), &key).unwrap();
            let txn = store.begin().unwrap();
            txn.put_raw(META, b"schema", &9u32.to_be_bytes()).unwrap();
            txn.commit().unwrap();
        }
        let opened = Store::open(ProfileDir::lock(dir.path()).unwrap(), &key);
        assert!(matches!(opened, Err(StoreError::Newer(9))));
    }
}
