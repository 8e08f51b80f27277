//! The database file, which is opened again after a write has failed: until then it takes no other, and does not read either.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use redb::Database;

use super::super::StoreError;

/// Page cache: a small server's working set.
const CACHE: usize = 32 * 1024 * 1024;
/// With less than that, the disk is full: a commit may write that much at once.
const FULL_BELOW: u64 = 1024 * 1024;

/// The open database.
pub(super) struct Handle {
    path: PathBuf,
    /// `None` if it could not be opened again.
    db: RwLock<Option<Database>>,
}

impl Handle {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_owned(), db: RwLock::new(Some(open(path)?)) })
    }

    /// Does something with the database. Calls are side by side.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        work(db.as_ref().ok_or_else(|| StoreError::Failed("the database could not be opened again".into()))?)
    }

    /// Closes the file and opens it again. Waits for the others, and they for it.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // The file's lock has to be free first.
        *db = None;
        *db = Some(open(&self.path)?);
        Ok(())
    }

    /// Bytes that the disk has left for this user.
    pub fn free_space(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(File::open(&self.path).ok()?).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether that is nothing.
    pub fn is_disk_full(&self) -> bool {
        self.free_space().is_some_and(|free| free < FULL_BELOW)
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    Database::builder().set_cache_size(CACHE).create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
        error => StoreError::failed(error),
    })
}
