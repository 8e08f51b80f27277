//! Names of rows that mean nothing without a key, and that their owner can read.

use aes::{
    Aes256,
    cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit},
};
use cbc::{Decryptor, Encryptor};

use crate::StorageKey;

/// Enciphers the names that rows are found by. A name always gives the same bytes, as it has to be found again: so names that begin alike, in steps of
/// 16 bytes, still do; nothing else of a name shows. AES-256 in CBC mode (NIST SP 800-38A) without a random start.
pub struct NameCipher(Aes256);

impl NameCipher {
    /// The cipher of a key that is used for nothing else.
    pub fn new(key: &StorageKey) -> Self {
        Self(Aes256::new(key.as_bytes().into()))
    }

    /// Enciphers the whole blocks of 16 bytes of a name. A shorter rest stays as it is.
    pub fn hide(&self, name: &mut [u8]) {
        let (blocks, _) = Block::<Aes256>::slice_as_chunks_mut(name);
        Encryptor::inner_iv_init(self.0.clone(), &Block::<Aes256>::default()).encrypt_blocks(blocks);
    }

    /// Deciphers what [`NameCipher::hide`] has made.
    pub fn show(&self, name: &mut [u8]) {
        let (blocks, _) = Block::<Aes256>::slice_as_chunks_mut(name);
        Decryptor::inner_iv_init(self.0.clone(), &Block::<Aes256>::default()).decrypt_blocks(blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_name_is_found_again_and_read_only_with_its_key() {
        let key = StorageKey::generate();
        let (cipher, other) = (NameCipher::new(&key), NameCipher::new(&StorageKey::generate()));
        for length in [0, 1, 15, 16, 17, 32, 40, 48] {
            let name: Vec<u8> = (0..length as u8).collect();
            let (mut hidden, mut again, mut elsewhere) = (name.clone(), name.clone(), name.clone());
            cipher.hide(&mut hidden);
            NameCipher::new(&key).hide(&mut again);
            other.hide(&mut elsewhere);
            assert_eq!(hidden, again);
            assert_eq!(hidden == name, length < 16, "{length}");
            assert_eq!(hidden == elsewhere, length < 16, "{length}");
            assert_eq!(hidden[length / 16 * 16..], name[length / 16 * 16..], "the rest");
            cipher.show(&mut hidden);
            assert_eq!(hidden, name);
        }
    }
}
