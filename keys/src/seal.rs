//! Sealing of values at rest with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha).

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, AeadInOut, Payload},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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
        let nonce: [u8; NONCE_LEN] = rand::random();
        // In its last place: values are up to 100 KiB, and each copy of them costs.
        let mut sealed = Vec::with_capacity(NONCE_LEN + plaintext.len() + TAG_LEN);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let cipher = XChaCha20Poly1305::new((&self.0).into());
        let value = (&mut sealed[NONCE_LEN..]).into();
        match cipher.encrypt_inout_detached(&XNonce::from(nonce), place, value) {
            Ok(tag) => sealed.extend_from_slice(&tag),
            Err(_) => unreachable!("sealing fails only beyond 256 GiB"),
        }
        sealed
    }

    /// Opens what [`StorageKey::seal`] made for the same `place`.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, msg) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError)?;
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| SealError)?;
        XChaCha20Poly1305::new((&self.0).into())
            .decrypt(&XNonce::from(nonce), Payload { msg, aad: place })
            .map(Zeroizing::new)
            .map_err(|_| SealError)
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
