//! The profile's database: one redb file, values sealed, keys opaque. The engine's thread is the only writer; readers see committed states.
//!
//! What a stolen file shows without its key: how many rows there are, their padded-by-nothing sizes, and the times in timeline keys.

mod migrate;
mod rows;

use std::{
    cell::Cell,
    fs, io,
    ops::RangeBounds,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use prost::Message;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use starling_keys::StorageKey;
use zeroize::Zeroizing;

pub use rows::*;

/// The version of the tables and rows in this file.
pub const SCHEMA: u32 = 2;
/// Page cache: a screen's working set; a larger one would only double what the system caches.
const CACHE: usize = 8 * 1024 * 1024;

/// A table; keys and values are bytes.
#[derive(Clone, Copy, Debug)]
pub struct Table(&'static str);

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// Single values: secrets, settings.
pub const META: Table = Table("meta");
/// By account.
pub const CONTACTS: Table = Table("contacts");
/// By chat id.
pub const CHATS: Table = Table("chats");
/// MLS groups, by group id.
pub const GROUPS: Table = Table("groups");
/// Encryption states of groups, by group id.
pub const MLS: Table = Table("mls");
/// Secrets of earlier epochs, by group id and epoch.
pub const EPOCHS: Table = Table("epochs");
/// Commits of ours that wait to win, by group id.
pub const PENDING_COMMITS: Table = Table("pending_commits");
/// Logs that are read, with how far, by group id and epoch.
pub const LOGS: Table = Table("logs");
/// By chat id and event id.
pub const TIMELINE: Table = Table("timeline");
/// By first sequence number.
pub const FEED: Table = Table("feed");
/// By chat id and first sequence number of the entry.
pub const OUTBOX: Table = Table("outbox");
/// Secrets of our key packages, by their reference.
pub const KEY_PACKAGES: Table = Table("key_packages");
/// Invites that we gave, by token.
pub const INVITES: Table = Table("invites");
/// Contact requests that wait for the user, by account.
pub const REQUESTS: Table = Table("requests");
/// Sealed inbox items that we owe to others, by device and group.
pub const PARCELS: Table = Table("parcels");

/// Entries of ours in logs, by chat id, first sequence number, log address and number.
pub const LOGGED: Table = Table("logged");

/// Members of conversations, by chat id and account.
pub const MEMBERS: Table = Table("members");
/// Authors of events, by number.
pub const AUTHORS: Table = Table("authors");

/// What came before the message that it is about, by chat id and the message's id.
pub const EARLY: Table = Table("early");

const TABLES: [Table; 19] = [
    META,
    CONTACTS,
    CHATS,
    GROUPS,
    TIMELINE,
    FEED,
    OUTBOX,
    KEY_PACKAGES,
    INVITES,
    REQUESTS,
    PARCELS,
    LOGGED,
    MEMBERS,
    AUTHORS,
    EARLY,
    MLS,
    EPOCHS,
    PENDING_COMMITS,
    LOGS,
];

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The directory or file cannot be written.
    #[error("cannot write to the profile: {0}")]
    ReadOnly(String),
    /// Another error of the disk or database.
    #[error("the profile's database failed: {0}")]
    Failed(String),
    /// Made by a newer version.
    #[error("the profile was made by a newer version of Starling (schema {0}, this version knows {SCHEMA})")]
    Newer(u32),
    /// The storage key does not fit the file.
    #[error("the key does not open this profile")]
    WrongKey,
    /// A row cannot be read.
    #[error("a row of table {0} is damaged")]
    Damaged(&'static str),
    /// Another process has the database open.
    #[error("the profile is in use by another process")]
    InUse,
    /// There is no profile.
    #[error("there is no profile here")]
    Missing,
    /// The file system has no file locks, which keep two processes from writing to one profile.
    #[error("the file system of the profile does not lock files ({0})")]
    NoLocks(String),
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(e) => from_io(&e),
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse,
        e => StoreError::Failed(e.to_string()),
    }
}

fn from_io(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(error.to_string()),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error()) => {
            StoreError::NoLocks(error.to_string())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

/// The directory of a profile. Whoever holds this holds the profile's lock.
#[derive(Debug)]
pub struct ProfileDir {
    path: PathBuf,
    _lock: fs::File,
}

impl ProfileDir {
    /// Takes the profile's lock, making the directory (mode 0700) if needed.
    pub fn lock(path: &Path) -> Result<Self, StoreError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| from_io(&e))?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(|e| from_io(&e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse),
            Err(fs::TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {
                Err(StoreError::NoLocks(e.to_string()))
            }
            Err(fs::TryLockError::Error(e)) => Err(from_io(&e)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a profile has been made here.
    pub fn has_profile(path: &Path) -> bool {
        path.join("profile.redb").exists()
    }
}

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
        self.key.rows.open(&place(table, key), sealed).map_err(|_| StoreError::Damaged(table.0))
    }

    fn decode<M: Message + Default>(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<M, StoreError> {
        let plain = self.unseal(table, key, sealed)?;
        M::decode(plain.as_slice()).map_err(|_| StoreError::Damaged(table.0))
    }
}

fn place(table: Table, key: &[u8]) -> Vec<u8> {
    [table.0.as_bytes(), &[0], key].concat()
}

/// Rows of a range: keys and values.
pub type Rows<M> = Vec<(Vec<u8>, M)>;

/// What both kinds of transactions can do.
pub trait Reading {
    /// One row.
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError>;
    /// Up to `limit` rows of a range, from its start, or from its end if `backwards`.
    fn range<M: Message + Default>(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        backwards: bool,
    ) -> Result<Rows<M>, StoreError>;
}

macro_rules! reading {
    ($self:ident, $table:ident, $range:ident, $limit:ident, $backwards:ident) => {{
        let table = $self.txn.open_table($table.definition()).map_err(failed)?;
        let bounds = ($range.start_bound().map(Vec::as_slice), $range.end_bound().map(Vec::as_slice));
        let mut rows = Vec::new();
        let mut range = table.range::<&[u8]>(bounds).map_err(failed)?;
        while rows.len() < $limit {
            let next = if $backwards { range.next_back() } else { range.next() };
            let Some(row) = next else { break };
            let (key, value) = row.map_err(failed)?;
            let key = key.value().to_vec();
            let value = $self.store.decode($table, &key, value.value())?;
            rows.push((key, value));
        }
        Ok(rows)
    }};
}

/// A write transaction. Dropped without commit, nothing has happened.
pub struct Txn<'a> {
    txn: WriteTransaction,
    store: &'a Store,
    written: Cell<bool>,
}

impl Reading for Txn<'_> {
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        let row = open.get(key).map_err(failed)?;
        row.map(|row| self.store.decode(table, key, row.value())).transpose()
    }

    fn range<M: Message + Default>(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        backwards: bool,
    ) -> Result<Rows<M>, StoreError> {
        reading!(self, table, range, limit, backwards)
    }
}

impl Txn<'_> {
    /// Writes a row.
    pub fn put<M: Message>(&self, table: Table, key: &[u8], value: &M) -> Result<(), StoreError> {
        let plain = Zeroizing::new(value.encode_to_vec());
        self.put_raw(table, key, &self.store.seal(table, key, &plain))
    }

    /// Writes several rows of one table: the table is looked up once.
    pub fn put_all<M: Message>(&self, table: Table, rows: &[(Vec<u8>, M)]) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        for (key, value) in rows {
            let sealed = self.store.seal(table, key, &value.encode_to_vec());
            open.insert(key.as_slice(), sealed.as_slice()).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the tables that are not there.
    fn make_tables(&self) -> Result<(), StoreError> {
        let there: Vec<String> =
            self.txn.list_tables().map_err(failed)?.map(|t| redb::TableHandle::name(&t).to_owned()).collect();
        for table in TABLES.iter().filter(|t| !there.iter().any(|name| name == t.0)) {
            self.written.set(true);
            self.txn.open_table(table.definition()).map_err(failed)?;
        }
        Ok(())
    }

    fn put_raw(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        open.insert(key, value).map_err(failed)?;
        Ok(())
    }

    /// Deletes a row.
    pub fn delete(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        open.remove(key).map_err(failed)?;
        Ok(())
    }

    /// Deletes a range of rows.
    pub fn delete_range(&self, table: Table, range: impl RangeBounds<Vec<u8>>) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        let bounds = (range.start_bound().map(Vec::as_slice), range.end_bound().map(Vec::as_slice));
        open.retain_in::<&[u8], _>(bounds, |_, _| false).map_err(failed)?;
        Ok(())
    }

    /// Makes everything of this transaction durable at once. Costs nothing if nothing was written.
    pub fn commit(self) -> Result<(), StoreError> {
        if self.written.get() { self.txn.commit().map_err(failed) } else { Ok(()) }
    }
}

/// A read transaction.
pub struct Read<'a> {
    txn: ReadTransaction,
    store: &'a Store,
}

impl Reading for Read<'_> {
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        let row = open.get(key).map_err(failed)?;
        row.map(|row| self.store.decode(table, key, row.value())).transpose()
    }

    fn range<M: Message + Default>(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        backwards: bool,
    ) -> Result<Rows<M>, StoreError> {
        reading!(self, table, range, limit, backwards)
    }
}

impl Read<'_> {
    fn get_raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        Ok(open.get(key).map_err(failed)?.map(|row| row.value().to_vec()))
    }
}

/// The range of all keys that begin with `prefix`.
pub fn prefix(prefix: &[u8]) -> (std::ops::Bound<Vec<u8>>, std::ops::Bound<Vec<u8>>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return (Included(prefix.to_vec()), Excluded(end));
        }
    }
    (Included(prefix.to_vec()), Unbounded)
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
    fn a_file_system_without_locks_is_told_from_other_failures() {
        // What a network file system answers without a lock service.
        let no_locks = io::Error::from(rustix::io::Errno::NOLCK);
        assert!(matches!(from_io(&no_locks), StoreError::NoLocks(_)));
        assert!(matches!(failed(redb::StorageError::Io(no_locks)), StoreError::NoLocks(_)));
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

    #[test]
    fn a_migration_that_is_cut_short_leaves_the_older_file() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/schema-1/alice");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.redb");
        fs::copy(fixture.join("profile.redb"), &path).unwrap();
        let key = starling_keys::KeyFile::from_bytes(&fs::read(fixture.join("key")).unwrap()).unwrap();
        let key = key.open_plain().unwrap();
        let schema = |store: &Store| store.read().unwrap().get_raw(META, b"schema").unwrap().unwrap();
        {
            let store = Store::open_file(ProfileDir::lock(dir.path()).unwrap(), &key, &path).unwrap();
            let txn = store.begin().unwrap();
            txn.make_tables().unwrap();
            migrate::from_1_to_2(&store, &txn).unwrap();
            // Killed here: nothing of it was committed.
            drop(txn);
            assert_eq!(schema(&store), 1u32.to_be_bytes());
        }
        let store = Store::open(ProfileDir::lock(dir.path()).unwrap(), &key).unwrap();
        assert_eq!(schema(&store), SCHEMA.to_be_bytes());
        assert!(store.read().unwrap().range::<MemberRow>(MEMBERS, prefix(b""), 1, false).unwrap().len() == 1);
    }
}
