//! The directory of a profile, and its lock.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{StoreError, error::from_io};

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

    /// Removes the profile's database, for good.
    pub fn discard(self) -> Result<(), StoreError> {
        fs::remove_file(self.path.join("profile.redb")).map_err(|e| from_io(&e))
    }

    /// Whether a profile has been made here.
    pub fn has_profile(path: &Path) -> bool {
        path.join("profile.redb").exists()
    }
}
