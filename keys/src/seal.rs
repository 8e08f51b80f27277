//! Sealing of values at rest with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha).

use std::ops::Deref;

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing, optimization_barrier};

use crate::random;

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
        Self(random())
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
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = Vec::with_capacity(NONCE_LEN + len + TAG_LEN);
        sealed.extend_from_slice(&nonce);
        write(&mut sealed);
        let (key, rest) = self.for_nonce(&nonce);
        match key.seal_in_place_separate_tag(rest, Aad::from(place), &mut sealed[NONCE_LEN..]) {
            Ok(tag) => sealed.extend_from_slice(tag.as_ref()),
            Err(_) => unreachable!("sealing fails only beyond 256 GiB"),
        }
        sealed
    }

    /// The key of ChaCha20-Poly1305 (RFC 8439) that follows from ours and the first 16 bytes of a nonce, and the nonce for it that has the other eight.
    fn for_nonce(&self, nonce: &[u8; NONCE_LEN]) -> (LessSafeKey, Nonce) {
        let (mut first, mut rest) = ([0; 16], [0; 12]);
        first.copy_from_slice(&nonce[..16]);
        rest[4..].copy_from_slice(&nonce[16..]);
        let key = Zeroizing::<[u8; 32]>::new(hchacha::<R20>(&self.0.into(), &first.into()).into());
        match UnboundKey::new(&CHACHA20_POLY1305, &*key) {
            Ok(key) => (LessSafeKey::new(key), Nonce::assume_unique_for_key(rest)),
            Err(_) => unreachable!("the key has the length that the cipher wants"),
        }
    }

    /// Opens what [`StorageKey::seal`] made for the same `place`.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Plaintext, SealError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        let mut plaintext = Plaintext(rest.to_vec());
        let (key, rest) = self.for_nonce(nonce);
        let length = key.open_in_place(rest, Aad::from(place), &mut plaintext.0).map_err(|_| SealError)?.len();
        plaintext.0.truncate(length);
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

    /// Appendix A.3.1 of draft-irtf-cfrg-xchacha-03.
    #[test]
    fn the_example_of_the_draft_opens() {
        let bytes = |hex: &str| data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let key: Vec<u8> = (0x80..0xa0).collect();
        let sealed = bytes(concat!(
            "404142434445464748494a4b4c4d4e4f5051525354555657",
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb",
            "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452",
            "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9",
            "21f9664c97637da9768812f615c68b13b52e",
            "c0875924c1c7987947deafd8780acf49",
        ));
        let opened = StorageKey::from_bytes(key.try_into().unwrap()).open(&bytes("50515253c0c1c2c3c4c5c6c7"), &sealed);
        let text = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        assert_eq!(&*opened.unwrap(), text.as_bytes());
    }
}
