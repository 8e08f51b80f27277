//! The key that seals the secret of an account's root in a profile that was restored, until the secret is needed no more. A file of its own: the database
//! keeps the bytes of rows that were replaced in pages that it has freed, a file can be overwritten.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use starling_keys::{AccountKey, StorageKey};
use zeroize::Zeroizing;

use super::{StoreError, error::from_io};

const FILE: &str = "root-key";
const KEY_LEN: usize = 32;
const PLACE: &[u8] = b"root";

/// Seals the seed of a root with a new key.
pub(super) fn seal(dir: &Path, root: &AccountKey) -> Result<Vec<u8>, StoreError> {
    forget(dir)?;
    let key = StorageKey::generate();
    write(&dir.join(FILE), fs::OpenOptions::new().create_new(true), key.as_bytes()).map_err(|e| from_io(&e))?;
    // Its name, too: without it what is sealed is nothing.
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| from_io(&e))?;
    Ok(key.seal(PLACE, &*root.seed()))
}

/// Opens what [`seal`] made.
pub(super) fn open(dir: &Path, sealed: &[u8]) -> Result<AccountKey, StoreError> {
    let bytes = Zeroizing::new(fs::read(dir.join(FILE)).map_err(|e| from_io(&e))?);
    let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice()).map(Zeroizing::new);
    let key = StorageKey::from_bytes(*key.map_err(|_| StoreError::Damaged("root key"))?);
    let seed = key.open(PLACE, sealed).map_err(|_| StoreError::Damaged("root key"))?;
    let seed = <[u8; 32]>::try_from(&*seed).map(Zeroizing::new).map_err(|_| StoreError::Damaged("root key"))?;
    Ok(AccountKey::from_seed(&seed))
}

/// Makes what was sealed unreadable, if it is not yet.
pub(super) fn forget(dir: &Path) -> Result<(), StoreError> {
    let file = dir.join(FILE);
    match write(&file, &mut fs::OpenOptions::new(), &[0; KEY_LEN]) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.and_then(|()| fs::remove_file(&file)).map_err(|e| from_io(&e)),
    }
}

/// Writes in place, down to the disk.
fn write(file: &Path, how: &mut fs::OpenOptions, bytes: &[u8]) -> io::Result<()> {
    let mut file = how.write(true).mode(0o600).open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use starling_keys::RecoveryPhrase;

    use super::*;

    #[test]
    fn what_was_sealed_opens_until_the_key_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let root = RecoveryPhrase::generate().account_key();
        let sealed = seal(dir.path(), &root).unwrap();
        assert_eq!(open(dir.path(), &sealed).unwrap().id(), root.id());
        // Another name of the file shows what is written over it.
        fs::hard_link(dir.path().join(FILE), dir.path().join("kept")).unwrap();
        forget(dir.path()).unwrap();
        assert!(open(dir.path(), &sealed).is_err());
        assert_eq!(fs::read(dir.path().join("kept")).unwrap(), [0; KEY_LEN]);
        forget(dir.path()).unwrap();
        let again = seal(dir.path(), &root).unwrap();
        assert!(open(dir.path(), &sealed).is_err());
        assert_eq!(open(dir.path(), &again).unwrap().id(), root.id());
    }
}
