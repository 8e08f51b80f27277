//! Devices and their certificates.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use prost::Message;
use zeroize::Zeroizing;

use crate::{
    AccountId, AccountKey, InvalidId,
    account::{sign, verify},
    chain::{ChainError, LeafPath},
    random,
};

const CERTIFICATE_DOMAIN: &str = "starling device certificate v1";

/// A device's public identity: its Ed25519 public key, which is also its libp2p `PeerId`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 32]);

impl DeviceId {
    /// Reads an identifier from its 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidId> {
        AccountId::from_bytes(bytes).map(|id| Self(*id.as_bytes()))
    }

    /// Reads one that was checked before it was stored: see [`AccountId::from_stored`].
    pub fn from_stored(bytes: &[u8]) -> Result<Self, InvalidId> {
        bytes.try_into().map(Self).map_err(|_| InvalidId)
    }

    /// The 32 bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Eight bytes that stand for this device inside event ids.
    pub fn tag(&self) -> [u8; 8] {
        let mut tag = [0; 8];
        tag.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..8]);
        tag
    }

    /// Whether `signature` over `domain ‖ message` was made by this device.
    pub fn verify(&self, domain: &str, message: &[u8], signature: &[u8]) -> bool {
        verify(&self.0, domain, message, signature)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_lowercase())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({})", &self.to_string()[..8])
    }
}

impl std::str::FromStr for DeviceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse::<AccountId>().map(|id| Self(*id.as_bytes()))
    }
}

/// A device's secret key, in a box as [`AccountKey`](crate::AccountKey) is.
pub struct DeviceKey(Box<SigningKey>);

impl DeviceKey {
    /// A new key from the system's random source.
    pub fn generate() -> Self {
        let seed = Zeroizing::new(random::<[u8; 32]>());
        Self::from_seed(&seed)
    }

    /// The key with this 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The public identity.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// The 32-byte seed, for storing it sealed and for the transports.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Signs `domain ‖ message`.
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; 64] {
        sign(&self.0, domain, message)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignedBody {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) body: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct CertificateBody {
    #[prost(bytes = "vec", tag = "1")]
    account: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    device: Vec<u8>,
    #[prost(uint64, tag = "3")]
    created_at: u64,
}

/// Why a certificate was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CertificateError {
    /// Not a certificate at all.
    #[error("not a device certificate")]
    Malformed,
    /// Not signed by the account that it names.
    #[error("the certificate's signature is wrong")]
    Signature,
}

/// The account's statement that a device is its own: a path of its device chain, or what version 0.1 had in its place, signed by the account's key.
/// A `Certificate` value has been verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    account: AccountId,
    device: DeviceId,
    created_at: u64,
    /// The devices on the path, from the one that the root has added to the one that has added this one.
    signers: Vec<DeviceId>,
    bytes: Vec<u8>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?}, {:?})", self.account, self.device)
    }
}

impl Certificate {
    /// Certifies `device` for `account`; `created_at` is in seconds since 1970.
    pub fn issue(account: &AccountKey, device: DeviceId, created_at: u64) -> Self {
        let body = CertificateBody {
            account: account.id().as_bytes().to_vec(),
            device: device.as_bytes().to_vec(),
            created_at,
        }
        .encode_to_vec();
        let signature = account.sign(CERTIFICATE_DOMAIN, &body).to_vec();
        let bytes = SignedBody { body, signature }.encode_to_vec();
        Self { account: account.id(), device, created_at, signers: Vec::new(), bytes }
    }

    /// Reads and verifies a certificate.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CertificateError> {
        if LeafPath::is_path(bytes) {
            return Ok(Self::from(&LeafPath::from_bytes(bytes)?));
        }
        if bytes.len() > 1024 {
            return Err(CertificateError::Malformed);
        }
        let signed = SignedBody::decode(bytes).map_err(|_| CertificateError::Malformed)?;
        let body = CertificateBody::decode(signed.body.as_slice()).map_err(|_| CertificateError::Malformed)?;
        let account = AccountId::from_bytes(&body.account).map_err(|_| CertificateError::Malformed)?;
        let device = DeviceId::from_bytes(&body.device).map_err(|_| CertificateError::Malformed)?;
        if !account.verify(CERTIFICATE_DOMAIN, &signed.body, &signed.signature) {
            return Err(CertificateError::Signature);
        }
        Ok(Self { account, device, created_at: body.created_at, signers: Vec::new(), bytes: bytes.to_vec() })
    }

    /// The account that vouches for the device.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The devices by which it is one of the account's: each has added the next, and the last is the device itself.
    pub fn way(&self) -> impl Iterator<Item = DeviceId> {
        self.signers.iter().copied().chain([self.device])
    }

    /// When it was issued, in seconds since 1970.
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// The encoded certificate, as it was signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<&LeafPath> for Certificate {
    fn from(path: &LeafPath) -> Self {
        Self {
            account: path.account(),
            device: path.device(),
            created_at: path.added_at(),
            signers: path.signers().collect(),
            bytes: path.to_bytes(),
        }
    }
}

impl From<ChainError> for CertificateError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Signature => Self::Signature,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_no_certificate() {
        assert_eq!(Certificate::from_bytes(b"garbage"), Err(CertificateError::Malformed));
        assert_eq!(Certificate::from_bytes(&[0; 4096]), Err(CertificateError::Malformed));
    }
}
