//! Sealing of values at rest with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha).

use std::ops::Deref;

use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce, aead::AeadInOut};
use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

/// A sealed value that was changed, cut, or sealed with another key or for another place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a sealed value cannot be opened: wrong key, or it was changed")]
pub struct SealError;

/// A 256-bit key that seals values. The name of the place a value belongs to goes in as associated data, so that one value can't be put in another's place.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StorageKey([u8; 32]);

impl StorageKey {
    /// A new key from the system's random source.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for sealing or storing them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for another purpose, derived from this one.
    pub fn derive(&self, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("starling 2026 derived storage key v1");
        hasher.update(&self.0);
        hasher.update(purpose.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// An opaque 16-byte name for `value`: the same each time, and meaningless without this key.
    pub fn name(&self, value: &[u8]) -> [u8; 16] {
        let mut name = [0; 16];
        name.copy_from_slice(&blake3::keyed_hash(&self.0, value).as_bytes()[..16]);
        name
    }

    /// Seals `plaintext` for `place`: random nonce ‖ ciphertext ‖ tag, 40 bytes longer than the plaintext.
    pub fn seal(&self, place: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.seal_written(place, plaintext.len(), |sealed| sealed.extend_from_slice(plaintext))
    }

    /// The same of the `len` bytes that `write` appends. They are enciphered where they are written: no copy of them is made, and none is left.
    pub fn seal_written(&self, place: &[u8], len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(NONCE_LEN + len + TAG_LEN);
        sealed.extend_from_slice(&nonce);
        write(&mut sealed);
        let cipher = XChaCha20Poly1305::new((&self.0).into());
        let value = (&mut sealed[NONCE_LEN..]).into();
        match cipher.encrypt_inout_detached(&XNonce::from(nonce), place, value) {
            Ok(tag) => sealed.extend_from_slice(&tag),
            Err(_) => unreachable!("sealing fails only beyond 256 GiB"),
        }
        sealed
    }

    /// Opens what [`StorageKey::seal`] made for the same `place`.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Plaintext, SealError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(SealError)?;
        let mut plaintext = Plaintext(ciphertext.to_vec());
        let value = plaintext.0.as_mut_slice().into();
        XChaCha20Poly1305::new((&self.0).into())
            .decrypt_inout_detached(&XNonce::from(*nonce), place, value, &Tag::from(*tag))
            .map_err(|_| SealError)?;
        Ok(plaintext)
    }
}

/// What was opened. It leaves nothing in memory: it is overwritten as a whole, where `Zeroizing` writes byte after byte, and rows are up to 100 KiB.
pub struct Plaintext(Vec<u8>);

impl From<Vec<u8>> for Plaintext {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Plaintext {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.0.fill(0);
        optimization_barrier(self.0.as_slice());
    }
}

impl ZeroizeOnDrop for Plaintext {}

impl std::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plaintext(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_whole_and_in_its_place() {
        let key = StorageKey::generate();
        let sealed = key.seal(b"here", b"secret");
        assert_eq!(&*key.open(b"here", &sealed).unwrap(), b"secret");
        assert!(key.open(b"there", &sealed).is_err());
        assert!(key.open(b"here", &sealed[..sealed.len() - 1]).is_err());
        assert!(key.open(b"here", b"short").is_err());
        assert!(StorageKey::generate().open(b"here", &sealed).is_err());
    }
}
