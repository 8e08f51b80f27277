//! The directory of a profile, and its lock.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use starling_keys::AccountKey;

use super::{StoreError, error::from_io, root_key};

/// The directory of a profile. Whoever holds this holds the profile's lock.
#[derive(Debug)]
pub struct ProfileDir {
    path: PathBuf,
    _lock: fs::File,
}

impl ProfileDir {
    /// Takes the profile's lock, making the directory (mode 0700) if needed.
    pub fn lock(path: &Path) -> Result<Self, StoreError> {
        let failed = |path: &Path, e: &io::Error| named(path, from_io(e));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed(path, &e))?;
        let lock = path.join("lock");
        // Opening a pipe would wait for its reader.
        if fs::metadata(&lock).is_ok_and(|found| !found.is_file()) {
            return Err(StoreError::Failed(format!("{} is no file", lock.display())));
        }
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(|e| failed(&lock, &e))?;
        match file.try_lock() {
            Ok(()) => {
                keep_private(path);
                Ok(Self { path: path.to_owned(), _lock: file })
            }
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

    /// Seals the secret of a root that is to be forgotten, so that it can be.
    pub fn seal_root(&self, root: &AccountKey) -> Result<Vec<u8>, StoreError> {
        root_key::seal(&self.path, root)
    }

    /// Removes the profile's database, for good.
    pub fn discard(self) -> Result<(), StoreError> {
        fs::remove_file(self.path.join("profile.redb")).map_err(|e| from_io(&e))
    }

    /// Whether a profile has been made here.
    pub fn has_profile(path: &Path) -> bool {
        let found = path.join("profile.redb").try_exists();
        // One in a directory that this user may not enter is there all the same.
        found.unwrap_or_else(|e| e.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// An error of the disk with the file that it is about.
fn named(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Failed(why) => StoreError::Failed(format!("{}: {why}", path.display())),
        StoreError::ReadOnly(why) => StoreError::ReadOnly(format!("{}: {why}", path.display())),
        error => error,
    }
}

/// Takes a profile's directory and the files in it from everybody else, where they came with other modes: from a backup, or from an installer. A
/// file system without modes, or files of another user, stay as they are.
fn keep_private(dir: &Path) {
    let close = |path: &Path, mode: u32| {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink() && found.mode() & 0o077 != 0)
            && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(mode))
        {
            tracing::warn!(%error, "a file of the profile cannot be made private");
        }
    };
    close(dir, 0o700);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            close(&entry.path(), 0o600);
        }
    }
}
