//! The account key: who a person or bot is.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::seal::StorageKey;

/// An identifier that is not 32 bytes, or not a valid Ed25519 point, or not readable as text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid identifier (expected an Ed25519 public key of 32 bytes)")]
pub struct InvalidId;

/// An account's public identity: its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId([u8; 32]);

impl AccountId {
    /// Reads an identifier from its 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidId> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| InvalidId)?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidId)?;
        Ok(Self(bytes))
    }

    /// Reads one that was checked before it was stored: that it is a point of the curve is not checked once more, which would take much of the
    /// time of loading a profile. With one that is no point no signature verifies.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, InvalidId> {
        bytes.try_into().map(Self).map_err(|_| InvalidId)
    }

    /// The 32 bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` over `domain ‖ message` was made by this account (RFC 8032, strict verification).
    pub fn verify(&self, domain: &str, message: &[u8], signature: &[u8]) -> bool {
        verify(&self.0, domain, message, signature)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_lowercase())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({})", &self.to_string()[..8])
    }
}

impl std::str::FromStr for AccountId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).map_err(|_| InvalidId)?;
        Self::from_bytes(&bytes)
    }
}

/// An account's secret key. It signs device lists and certificates, and never travels.
///
/// In a box: when a value is moved, its bytes stay where it was, and nobody wipes them there.
pub struct AccountKey(Box<SigningKey>);

impl AccountKey {
    /// The key with this 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The public identity.
    pub fn id(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    /// The 32-byte seed, for storing it sealed.
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// Signs `domain ‖ message`.
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; 64] {
        sign(&self.0, domain, message)
    }

    /// What the HPKE key is derived from that a recovered device opens the account's snapshot with: 32 bytes of input keying material.
    pub fn recovery_seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(blake3::derive_key("starling 2026 account recovery v1", self.seed().as_ref()))
    }

    /// The key that seals this account's contact snapshot, which a restored device reads back.
    pub fn snapshot_key(&self) -> StorageKey {
        let seed = self.seed();
        StorageKey::from_bytes(blake3::derive_key("starling 2026 account snapshot v1", seed.as_ref()))
    }
}

/// Signs with domain separation: the signed bytes are `domain ‖ 0 ‖ message`.
pub(crate) fn sign(key: &SigningKey, domain: &str, message: &[u8]) -> [u8; 64] {
    key.sign(&separated(domain, message)).to_bytes()
}

pub(crate) fn verify(key: &[u8; 32], domain: &str, message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(key), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify_strict(&separated(domain, message), &signature).is_ok()
}

fn separated(domain: &str, message: &[u8]) -> Vec<u8> {
    [domain.as_bytes(), &[0], message].concat()
}
