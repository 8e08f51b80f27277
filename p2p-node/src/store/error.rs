//! Why the store fails.

use std::io;

use super::SCHEMA;

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
    /// The file is no database, or no whole one.
    #[error("the profile's database {path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
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

pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(e) => from_io(&e),
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse,
        e => StoreError::Failed(e.to_string()),
    }
}

pub(super) fn from_io(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(error.to_string()),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error()) => {
            StoreError::NoLocks(error.to_string())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_told_from_other_failures() {
        // What a network file system answers without a lock service.
        let no_locks = io::Error::from(rustix::io::Errno::NOLCK);
        assert!(matches!(from_io(&no_locks), StoreError::NoLocks(_)));
        assert!(matches!(failed(redb::StorageError::Io(no_locks)), StoreError::NoLocks(_)));
    }
}
