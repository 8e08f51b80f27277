//! The profile's database: one redb file, values sealed, keys opaque. The engine's thread is the only writer; readers see committed states.
//!
//! What a stolen file shows without its key: how many rows there are and how large, and when something was written in which conversation, whose id is
//! random. It does not say with whom, nor by which device: the rest of such keys is enciphered.

mod error;
mod migrate;
#[cfg(test)]
mod migrate_tests;
mod order;
mod profile_dir;
mod root_key;
mod rows;
mod tables;
mod txn;

use std::{borrow::Cow, cell::Cell, fs, os::unix::fs::OpenOptionsExt, path::Path};

use prost::Message;
use redb::{Database, Durability, ReadableDatabase};
use starling_keys::{AccountKey, NameCipher, Plaintext, StorageKey};

pub use error::StoreError;
use error::{failed, from_io};
pub use profile_dir::ProfileDir;
pub use tables::*;
pub use txn::{Read, Reading, Txn, Visit, prefix};

pub use rows::*;

/// The version of the tables and rows in this file. The fourth has the rows of the third; encryption states in it may reserve keys, which a program
/// that does not know that would use again. The fifth may have conversations of more than two accounts, which an older program would take for others.
/// The sixth may have groups with rules, whose commits an older program would pass over as void, and could not follow any more once it is updated.
pub const SCHEMA: u32 = 6;
/// Page cache: a screen's working set; a larger one would only double what the system caches.
const CACHE: usize = 8 * 1024 * 1024;

/// The open database of a profile.
#[derive(Debug)]
pub struct Store {
    db: Database,
    key: StorageKeyBox,
    /// Holds the profile's lock.
    dir: ProfileDir,
}

/// Keeps the key out of `Debug`.
struct StorageKeyBox {
    rows: StorageKey,
    names: StorageKey,
    row_names: NameCipher,
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
        starling_kill_point::pass();
        drop(store);
        Ok(())
    }

    /// Opens an existing profile.
    pub fn open(dir: ProfileDir, key: &StorageKey) -> Result<Self, StoreError> {
        let path = dir.path().join("profile.redb");
        if !path.exists() {
            return Err(StoreError::Missing);
        }
        let unreadable = |error| match error {
            StoreError::Failed(why) => StoreError::Unreadable { path: path.display().to_string(), why },
            error => error,
        };
        let store = Self::open_file(dir, key, &path).map_err(unreadable)?;
        store.check().map_err(unreadable)?;
        store.migrate()?;
        Ok(store)
    }

    /// Whether this is a profile, of a version that is known, and opens with its key.
    fn check(&self) -> Result<(), StoreError> {
        let read = self.read()?;
        let schema = read
            .get_raw(META, b"schema")?
            .and_then(|bytes| Some(u32::from_be_bytes(bytes.as_slice().try_into().ok()?)))
            .ok_or(StoreError::Missing)?;
        if schema > SCHEMA {
            return Err(StoreError::Newer(schema));
        }
        // A wrong key fails here, before anything is trusted.
        match read.get::<Check>(META, b"check") {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(StoreError::Missing),
            Err(StoreError::Damaged(_)) => Err(StoreError::WrongKey),
            Err(e) => Err(e),
        }
    }

    /// Brings an older file up to this schema: all of it, or nothing.
    fn migrate(&self) -> Result<(), StoreError> {
        let schema = self.read()?.get_raw(META, b"schema")?;
        let is = |version: u32| schema.as_deref() == Some(&version.to_be_bytes()[..]);
        let mut txn = self.begin()?;
        txn.make_tables()?;
        if is(1) || is(2) {
            txn.keys_as_stored = true;
            if is(1) {
                migrate::from_1_to_2(self, &txn)?;
            }
            migrate::from_2_to_3(&txn)?;
        }
        if !is(SCHEMA) {
            txn.put_raw(META, b"schema", &SCHEMA.to_be_bytes())?;
        }
        txn.commit()
    }

    /// The key of a conversation's member.
    pub fn member_key(&self, chat: &[u8], account: &[u8]) -> Vec<u8> {
        [chat, &self.name("member", account)].concat()
    }

    /// The root of a restored account, of what [`ProfileDir::seal_root`] has sealed.
    pub fn open_root(&self, sealed: &[u8]) -> Result<AccountKey, StoreError> {
        root_key::open(self.dir.path(), sealed)
    }

    /// Makes a root that was sealed unreadable, also where a commit that was to do so was interrupted.
    pub fn forget_root(&self) -> Result<(), StoreError> {
        root_key::forget(self.dir.path())
    }

    fn open_file(dir: ProfileDir, key: &StorageKey, path: &Path) -> Result<Self, StoreError> {
        let db = Database::builder().set_cache_size(CACHE).create(path).map_err(failed)?;
        let key = StorageKeyBox {
            rows: key.derive("rows"),
            names: key.derive("names"),
            row_names: NameCipher::new(&key.derive("row names")),
        };
        Ok(Self { db, key, dir })
    }

    /// An opaque name for something that would tell too much as a key.
    pub fn name(&self, kind: &str, value: &[u8]) -> [u8; 16] {
        self.key.names.name(&[kind.as_bytes(), &[0], value].concat())
    }

    /// Begins a write transaction.
    pub fn begin(&self) -> Result<Txn<'_>, StoreError> {
        let mut txn = self.db.begin_write().map_err(failed)?;
        txn.set_durability(Durability::Immediate).map_err(failed)?;
        Ok(Txn { txn, store: self, written: Cell::new(false), forgets_root: Cell::new(false), keys_as_stored: false })
    }

    /// Begins a read transaction: the last committed state.
    pub fn read(&self) -> Result<Read<'_>, StoreError> {
        Ok(Read { txn: self.db.begin_read().map_err(failed)?, store: self })
    }

    /// A key as it is stored.
    fn hidden<'a>(&self, table: Table, key: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(clear) = table.clear_part(key) else { return Cow::Borrowed(key) };
        let mut hidden = key.to_vec();
        self.key.row_names.hide(&mut hidden[clear.len()..]);
        Cow::Owned(hidden)
    }

    /// The key that is stored as `hidden`.
    fn shown<'a>(&self, table: Table, hidden: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(clear) = table.clear_part(hidden) else { return Cow::Borrowed(hidden) };
        let mut key = hidden.to_vec();
        self.key.row_names.show(&mut key[clear.len()..]);
        Cow::Owned(key)
    }

    fn seal<M: Message>(&self, table: Table, key: &[u8], value: &M) -> Vec<u8> {
        self.key.rows.seal_written(&place(table, key), value.encoded_len(), |sealed| {
            // A vector grows: encoding into it does not fail.
            let _ = value.encode(sealed);
        })
    }

    fn unseal(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<Plaintext, StoreError> {
        self.key.rows.open(&place(table, key), sealed).map_err(|_| StoreError::Damaged(table.name()))
    }

    fn decode<M: Message + Default>(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<M, StoreError> {
        let plain = self.unseal(table, key, sealed)?;
        M::decode(&*plain).map_err(|_| StoreError::Damaged(table.name()))
    }
}

fn place(table: Table, key: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), &[0], key].concat()
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

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

    /// A row that is replaced or deleted may stay in a page that is free now, until that is used again: as it was written, sealed.
    #[test]
    fn what_was_deleted_stands_in_the_file_sealed_alone() {
        let dir = tempfile::tempdir().unwrap();
        let key = StorageKey::generate();
        Store::create(ProfileDir::lock(dir.path()).unwrap(), &key, |_| Ok(())).unwrap();
        let store = Store::open(ProfileDir::lock(dir.path()).unwrap(), &key).unwrap();
        let secret = "words that nobody is to find";
        let row = HomesRow { homes: vec![secret.into()] };
        for n in 0..4u8 {
            let txn = store.begin().unwrap();
            txn.put(META, b"secret", &row).unwrap();
            txn.commit().unwrap();
            let txn = store.begin().unwrap();
            txn.put(META, &[n], &Check { ok: true }).unwrap();
            txn.delete(META, b"secret").unwrap();
            txn.commit().unwrap();
        }
        assert!(store.read().unwrap().get::<HomesRow>(META, b"secret").unwrap().is_none());
        drop(store);
        let file = fs::read(dir.path().join("profile.redb")).unwrap();
        let has = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
        assert!(!has(secret.as_bytes()) && !has(key.as_bytes()));
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

    /// A small range of keys: of events of few moments, by few devices.
    fn event_key(moment: u8, device: u8, number: u8) -> Vec<u8> {
        [&[moment / 4; 16][..], &[0, 0, 0, 0, 0, 0, 0, moment % 4], &[device; 8], &[0, 0, 0, 0, 0, 0, 0, number]]
            .concat()
    }

    #[test]
    fn rows_with_hidden_keys_are_read_in_the_order_of_their_keys() {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let dir = tempfile::tempdir().unwrap();
        let key = StorageKey::generate();
        Store::create(ProfileDir::lock(dir.path()).unwrap(), &key, |_| Ok(())).unwrap();
        let store = Store::open(ProfileDir::lock(dir.path()).unwrap(), &key).unwrap();
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for moment in 0..8 {
            keys.extend((0..12).map(|n| event_key(moment, n % 4, n / 4)));
        }
        let txn = store.begin().unwrap();
        for key in &keys {
            txn.put(TIMELINE, key, &Check { ok: true }).unwrap();
        }
        keys.sort();
        let mut bounds = vec![Unbounded];
        bounds.extend(keys.iter().step_by(7).flat_map(|key| [Included(key.clone()), Excluded(key.clone())]));
        bounds.extend([16, 24].map(|length| Included(keys[50][..length].to_vec())));
        let read = |range: (std::ops::Bound<Vec<u8>>, std::ops::Bound<Vec<u8>>), limit, backwards| -> Vec<Vec<u8>> {
            let rows = txn.range::<Check>(TIMELINE, range, limit, backwards).unwrap();
            rows.into_iter().map(|(key, _)| key).collect()
        };
        for start in &bounds {
            for end in &bounds {
                let range = (start.clone(), end.clone());
                let from = |b: &std::ops::Bound<Vec<u8>>| match b {
                    Included(key) | Excluded(key) => key.clone(),
                    Unbounded => Vec::new(),
                };
                if !matches!(end, Unbounded) && from(start) >= from(end) {
                    continue;
                }
                let mut expected: Vec<_> =
                    keys.iter().filter(|key| RangeBounds::contains(&range, *key)).cloned().collect();
                assert_eq!(read(range.clone(), usize::MAX, false), expected);
                assert_eq!(read(range.clone(), 5, false), expected[..expected.len().min(5)]);
                expected.reverse();
                assert_eq!(read(range.clone(), usize::MAX, true), expected);
                assert_eq!(read(range, 5, true), expected[..expected.len().min(5)]);
            }
        }
        let gone = (Included(keys[5].clone()), Excluded(keys[50].clone()));
        txn.delete_range(TIMELINE, gone).unwrap();
        keys.drain(5..50);
        txn.delete(TIMELINE, &keys.remove(3)).unwrap();
        assert_eq!(read((Unbounded, Unbounded), usize::MAX, false), keys);
    }
}
