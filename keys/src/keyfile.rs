//! The key file: how a profile's storage key is kept. Bytes in, bytes out; the caller reads and writes the file with mode 0600.

use argon2::{Algorithm, Argon2, Params, Version};
use prost::Message;
use zeroize::Zeroizing;

use crate::{random, seal::StorageKey};

const MAGIC: &[u8] = b"starling-key\n";
const FORMAT: u32 = 1;
/// Argon2id cost of a new key file: 64 MiB, 3 passes, 1 lane (RFC 9106, second recommended option).
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// A key file that asks for more than this is refused: it would be a way to exhaust memory.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 16;

/// Why a key file could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyFileError {
    /// Not a key file, or damaged.
    #[error("the key file is damaged or is no key file")]
    Malformed,
    /// Made by a newer version.
    #[error("the key file was made by a newer version of Starling")]
    Newer,
    /// The passphrase is wrong.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
}

/// How the storage key is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Stored as it is; the file's mode (0600) is the only protection. For bots.
    Plain,
    /// Sealed with a passphrase (Argon2id).
    Passphrase,
    /// Kept in the system keyring; the file only says so.
    Keyring,
}

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint32, tag = "2")]
    protection: u32,
    #[prost(bytes = "vec", tag = "3")]
    secret: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    salt: Vec<u8>,
    #[prost(uint32, tag = "5")]
    memory_kib: u32,
    #[prost(uint32, tag = "6")]
    passes: u32,
}

/// A key file's content.
pub struct KeyFile(Stored);

impl Drop for KeyFile {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0.secret);
    }
}

impl KeyFile {
    /// A key file that holds `key` as it is.
    pub fn plain(key: &StorageKey) -> Self {
        Self(Stored { format: FORMAT, protection: 0, secret: key.as_bytes().to_vec(), ..Stored::default() })
    }

    /// A key file that says: the key is in the system keyring.
    pub fn keyring() -> Self {
        Self(Stored { format: FORMAT, protection: 2, ..Stored::default() })
    }

    /// A key file that holds `key`, sealed with a passphrase. Takes a good part of a second and 64 MiB.
    pub fn with_passphrase(key: &StorageKey, passphrase: &str) -> Self {
        let salt: [u8; 16] = random();
        let wrapping = match stretch(passphrase, &salt, MEMORY_KIB, PASSES) {
            Ok(key) => key,
            Err(_) => unreachable!("the constants are valid Argon2 parameters"),
        };
        Self(Stored {
            format: FORMAT,
            protection: 1,
            secret: wrapping.seal(MAGIC, key.as_bytes()),
            salt: salt.to_vec(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
        })
    }

    /// Reads a key file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyFileError> {
        let body = bytes.strip_prefix(MAGIC).ok_or(KeyFileError::Malformed)?;
        let file = Self(Stored::decode(body).map_err(|_| KeyFileError::Malformed)?);
        match (file.0.format, file.0.protection) {
            (FORMAT, 0..=2) => Ok(file),
            (0, _) => Err(KeyFileError::Malformed),
            _ => Err(KeyFileError::Newer),
        }
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([MAGIC, &self.0.encode_to_vec()].concat())
    }

    /// How the key is protected.
    pub fn protection(&self) -> Protection {
        match self.0.protection {
            0 => Protection::Plain,
            1 => Protection::Passphrase,
            _ => Protection::Keyring,
        }
    }

    /// The storage key of a plain file.
    pub fn open_plain(&self) -> Result<StorageKey, KeyFileError> {
        storage_key(&self.0.secret)
    }

    /// The storage key of a file with a passphrase.
    pub fn open_with(&self, passphrase: &str) -> Result<StorageKey, KeyFileError> {
        if self.0.memory_kib > MAX_MEMORY_KIB || self.0.passes > MAX_PASSES {
            return Err(KeyFileError::Malformed);
        }
        let wrapping = stretch(passphrase, &self.0.salt, self.0.memory_kib, self.0.passes)?;
        let key = wrapping.open(MAGIC, &self.0.secret).map_err(|_| KeyFileError::WrongPassphrase)?;
        storage_key(&key)
    }
}

fn storage_key(bytes: &[u8]) -> Result<StorageKey, KeyFileError> {
    let bytes = bytes.try_into().map_err(|_| KeyFileError::Malformed)?;
    Ok(StorageKey::from_bytes(bytes))
}

fn stretch(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<StorageKey, KeyFileError> {
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|_| KeyFileError::Malformed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        .map_err(|_| KeyFileError::Malformed)?;
    Ok(StorageKey::from_bytes(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_opens_with_its_passphrase_only() {
        let key = StorageKey::generate();
        let bytes = KeyFile::with_passphrase(&key, "correct horse").to_bytes();
        let file = KeyFile::from_bytes(&bytes).unwrap();
        assert_eq!(file.protection(), Protection::Passphrase);
        assert!(file.open_with("correct horse").unwrap().as_bytes() == key.as_bytes());
        assert_eq!(file.open_with("wrong").err(), Some(KeyFileError::WrongPassphrase));
    }

    #[test]
    fn damaged_and_newer_files_are_told_apart() {
        let bytes = KeyFile::plain(&StorageKey::generate()).to_bytes();
        assert!(KeyFile::from_bytes(&bytes).unwrap().open_plain().is_ok());
        assert_eq!(KeyFile::from_bytes(b"hello").err(), Some(KeyFileError::Malformed));
        let newer = [MAGIC, &Stored { format: 9, ..Stored::default() }.encode_to_vec()].concat();
        assert_eq!(KeyFile::from_bytes(&newer).err(), Some(KeyFileError::Newer));
    }
}
