//! What version 0.1 had in place of the device chain: a list with a version, signed with the account's key, which every device held.

use std::ops::Deref;

use prost::Message;

use crate::{
    AccountId, AccountKey, Certificate, CertificateError, DeviceId, RendezvousAddr, chain,
    chain::{MAX_HOMES, MAX_SEAL_KEY, Rights},
    device::SignedBody,
};

const LIST_DOMAIN: &str = "starling device list v1";

/// An account had at most this many devices.
pub const MAX_DEVICES: usize = 16;

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

/// Reads a stored list, in which every device could do everything.
pub(crate) fn read_list(bytes: &[u8]) -> Result<chain::DeviceList, DeviceListError> {
    let list = Verified::<DeviceList>::from_bytes(bytes)?;
    let devices = list.devices.iter().map(|d| chain::DeviceEntry {
        id: d.certificate.device(),
        rights: Rights::Admin,
        added_at: d.certificate.created_at(),
        linked_by: None,
        seal_key: d.seal_key.clone(),
    });
    let (account, version) = (list.account, list.version);
    Ok(chain::DeviceList { account, version, devices: devices.collect(), homes: list.homes.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceKey;

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
}
