//! Sealing to devices' keys: HPKE (RFC 9180) with the hybrid KEM of our cipher suite.

use mls_rs::{
    CipherSuiteProvider, CryptoProvider,
    crypto::{HpkeCiphertext, HpkePublicKey, HpkeSecretKey},
};
use zeroize::Zeroizing;

use super::{Crypto, GroupError, Mls, SUITE};

/// A secret and a public key.
pub type SealKeys = (Zeroizing<Vec<u8>>, Vec<u8>);

fn provider() -> Result<<Crypto as CryptoProvider>::CipherSuiteProvider, GroupError> {
    Crypto::default().cipher_suite_provider(SUITE).ok_or(GroupError::Malformed)
}

fn keys((secret, public): (HpkeSecretKey, HpkePublicKey)) -> SealKeys {
    (Zeroizing::new(secret.to_vec()), public.to_vec())
}

/// A new key pair that inbox items are sealed to.
pub fn seal_keys() -> Result<SealKeys, GroupError> {
    provider()?.kem_generate().map(keys).map_err(|_| GroupError::Malformed)
}

/// The key pair that this secret of 32 bytes gives.
pub fn derived_seal_keys(secret: &[u8; 32]) -> Result<SealKeys, GroupError> {
    provider()?.kem_derive(secret).map(keys).map_err(|_| GroupError::Malformed)
}

impl Mls {
    /// Seals to a device's key (HPKE base mode, RFC 9180): length of `enc` in two bytes, `enc`, ciphertext.
    pub fn seal_to(&self, key: &[u8], info: &[u8], plain: &[u8]) -> Result<Vec<u8>, GroupError> {
        let sealed = self
            .provider
            .hpke_seal(&HpkePublicKey::from(key.to_vec()), info, None, plain)
            .map_err(|_| GroupError::Malformed)?;
        let len = (sealed.kem_output.len() as u16).to_be_bytes();
        Ok([&len[..], &sealed.kem_output, &sealed.ciphertext].concat())
    }

    /// Opens what [`Mls::seal_to`] made.
    pub fn open_sealed(
        &self,
        secret: &[u8],
        public: &[u8],
        info: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, GroupError> {
        let (len, rest) = sealed.split_at_checked(2).ok_or(GroupError::Malformed)?;
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        let (enc, ciphertext) = rest.split_at_checked(len).ok_or(GroupError::Malformed)?;
        let sealed = HpkeCiphertext { kem_output: enc.to_vec(), ciphertext: ciphertext.to_vec() };
        self.provider
            .hpke_open(
                &sealed,
                &HpkeSecretKey::from(secret.to_vec()),
                &HpkePublicKey::from(public.to_vec()),
                info,
                None,
            )
            .map_err(|_| GroupError::Malformed)
    }
}
