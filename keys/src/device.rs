//! Devices, their certificates, and the account's signed, versioned device list.

use std::{fmt, ops::Deref};

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use prost::Message;
use zeroize::Zeroizing;

use crate::{
    AccountId, AccountKey, InvalidId, RendezvousAddr,
    account::{sign, verify},
    chain::{ChainError, LeafPath},
};

const CERTIFICATE_DOMAIN: &str = "starling device certificate v1";
const LIST_DOMAIN: &str = "starling device list v1";

/// An account has at most this many devices: every direct message is encrypted to a tree of both sides' devices.
pub const MAX_DEVICES: usize = 16;
/// An account has at most this many home rendezvous servers.
pub const MAX_HOMES: usize = 4;
/// A device's sealing key (hybrid HPKE public key: 1,216 bytes for ML-KEM-768 + X25519) is at most this long.
const MAX_SEAL_KEY: usize = 2048;

/// A device's public identity: its Ed25519 public key, which is also its libp2p `PeerId`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 32]);

impl DeviceId {
    /// Reads an identifier from its 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidId> {
        AccountId::from_bytes(bytes).map(|id| Self(*id.as_bytes()))
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

/// A device's secret key.
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// A new key from the system's random source.
    pub fn generate() -> Self {
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        Self::from_seed(&seed)
    }

    /// The key with this 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
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
struct SignedBody {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
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
        Self { account: account.id(), device, created_at, bytes: SignedBody { body, signature }.encode_to_vec() }
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
        Ok(Self { account, device, created_at: body.created_at, bytes: bytes.to_vec() })
    }

    /// The account that vouches for the device.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
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
        Self { account: path.account(), device: path.device(), created_at: path.added_at(), bytes: path.to_bytes() }
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

/// One device in a device list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// The account's certificate for it.
    pub certificate: Certificate,
    /// The HPKE public key that inbox entries for this device are sealed to.
    pub seal_key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryBody {
    #[prost(bytes = "vec", tag = "1")]
    certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    seal_key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ListBody {
    #[prost(bytes = "vec", tag = "1")]
    account: Vec<u8>,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(uint64, tag = "3")]
    issued_at: u64,
    #[prost(message, repeated, tag = "4")]
    devices: Vec<EntryBody>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    homes: Vec<Vec<u8>>,
}

/// Why a device list was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceListError {
    /// Not a device list at all, or beyond its limits.
    #[error("not a device list")]
    Malformed,
    /// Not signed by the account that it names, or one of its certificates is forged.
    #[error("the device list's signature is wrong")]
    Signature,
    /// An older list than one already known: somebody rolled it back.
    #[error("the device list was rolled back (version {got}, version {known} is known)")]
    RolledBack {
        /// The version offered.
        got: u64,
        /// The version already known.
        known: u64,
    },
}

/// An account's devices and home rendezvous servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList {
    /// Whose list it is.
    pub account: AccountId,
    /// Grows by one with each change.
    pub version: u64,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// At most [`MAX_DEVICES`].
    pub devices: Vec<DeviceEntry>,
    /// At most [`MAX_HOMES`].
    pub homes: Vec<RendezvousAddr>,
}

/// A value whose signatures were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    bytes: Vec<u8>,
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Verified<T> {
    /// The encoded, signed form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl DeviceList {
    /// Signs the list.
    pub fn sign(self, key: &AccountKey) -> Verified<Self> {
        let body = ListBody {
            account: self.account.as_bytes().to_vec(),
            version: self.version,
            issued_at: self.issued_at,
            devices: self
                .devices
                .iter()
                .map(|d| EntryBody { certificate: d.certificate.as_bytes().to_vec(), seal_key: d.seal_key.clone() })
                .collect(),
            homes: self
                .homes
                .iter()
                .map(|home| {
                    let mut bytes = Vec::new();
                    home.encode(&mut bytes);
                    bytes
                })
                .collect(),
        }
        .encode_to_vec();
        let signature = key.sign(LIST_DOMAIN, &body).to_vec();
        Verified { value: self, bytes: SignedBody { body, signature }.encode_to_vec() }
    }

    /// The device with this id, if it is on the list.
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceEntry> {
        self.devices.iter().find(|d| d.certificate.device() == *id)
    }
}

impl Verified<DeviceList> {
    /// Reads a list and checks its signature and every certificate on it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DeviceListError> {
        use DeviceListError::{Malformed, Signature};
        if bytes.len() > 64 * 1024 {
            return Err(Malformed);
        }
        let signed = SignedBody::decode(bytes).map_err(|_| Malformed)?;
        let body = ListBody::decode(signed.body.as_slice()).map_err(|_| Malformed)?;
        let account = AccountId::from_bytes(&body.account).map_err(|_| Malformed)?;
        if !account.verify(LIST_DOMAIN, &signed.body, &signed.signature) {
            return Err(Signature);
        }
        if body.devices.len() > MAX_DEVICES || body.homes.len() > MAX_HOMES {
            return Err(Malformed);
        }
        let devices = body
            .devices
            .into_iter()
            .map(|entry| {
                let certificate = Certificate::from_bytes(&entry.certificate).map_err(|e| match e {
                    CertificateError::Malformed => Malformed,
                    CertificateError::Signature => Signature,
                })?;
                if certificate.account() != account {
                    return Err(Signature);
                }
                if entry.seal_key.len() > MAX_SEAL_KEY {
                    return Err(Malformed);
                }
                Ok(DeviceEntry { certificate, seal_key: entry.seal_key })
            })
            .collect::<Result<_, _>>()?;
        // A home that this version cannot read is skipped, so that newer clients may name newer transports.
        // A kind of address that we do not know yet is left out.
        let homes = body.homes.iter().filter_map(|h| RendezvousAddr::decode(&mut h.as_slice())).collect();
        Ok(Self {
            value: DeviceList { account, version: body.version, issued_at: body.issued_at, devices, homes },
            bytes: bytes.to_vec(),
        })
    }

    /// Checks that this list may take the place of `known`: same account, not older, and not another list of the same version.
    pub fn succeeds(&self, known: &Self) -> Result<(), DeviceListError> {
        let same_version_differs = self.version == known.version && self.bytes != known.bytes;
        if self.account != known.account || self.version < known.version || same_version_differs {
            return Err(DeviceListError::RolledBack { got: self.version, known: known.version });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(key: &AccountKey, version: u64) -> Verified<DeviceList> {
        let device = DeviceKey::generate().id();
        DeviceList {
            account: key.id(),
            version,
            issued_at: 1,
            devices: vec![DeviceEntry { certificate: Certificate::issue(key, device, 1), seal_key: vec![1, 2, 3] }],
            homes: vec![],
        }
        .sign(key)
    }

    #[test]
    fn a_signed_list_survives_the_wire() {
        let key = AccountKey::from_seed(&[1; 32]);
        let signed = list(&key, 3);
        let read = Verified::<DeviceList>::from_bytes(signed.as_bytes()).unwrap();
        assert_eq!(*read, *signed);
    }

    #[test]
    fn forged_and_rolled_back_lists_are_refused() {
        let (alice, mallory) = (AccountKey::from_seed(&[1; 32]), AccountKey::from_seed(&[2; 32]));
        let newer = list(&alice, 3);
        let older = list(&alice, 2);
        assert!(matches!(older.succeeds(&newer), Err(DeviceListError::RolledBack { .. })));
        assert!(list(&alice, 3).succeeds(&newer).is_err(), "two lists of one version");
        assert!(newer.succeeds(&older).is_ok());

        // Mallory's certificate on a list that alice signs is refused, too.
        let mut forged = (*newer).clone();
        forged.devices[0].certificate = Certificate::issue(&mallory, DeviceKey::generate().id(), 1);
        let forged = forged.sign(&alice);
        assert_eq!(Verified::<DeviceList>::from_bytes(forged.as_bytes()).err(), Some(DeviceListError::Signature));
        let mut bytes = newer.as_bytes().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(Verified::<DeviceList>::from_bytes(&bytes).err(), Some(DeviceListError::Signature));
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert_eq!(Certificate::from_bytes(b"garbage"), Err(CertificateError::Malformed));
        assert_eq!(Certificate::from_bytes(&[0; 4096]), Err(CertificateError::Malformed));
    }
}
