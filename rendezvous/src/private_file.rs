//! Files that only their owner may read.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

/// Takes a file's permissions away from everybody but its owner.
pub fn keep_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { fs::set_permissions(path, fs::Permissions::from_mode(0o600)) }
}
