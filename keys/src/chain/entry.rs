//! One entry of a device chain, and its encoding.

use std::fmt;

use super::{ChainError, MAX_DEVICES, MAX_HOMES, codec::Reader};
use crate::{AccountId, AccountKey, DeviceId, DeviceKey, RendezvousAddr};

const ENTRY_DOMAIN: &str = "starling device chain entry v1";
const JOIN_DOMAIN: &str = "starling device joins account v1";
const HASH_CONTEXT: &str = "starling 2026 device chain entry hash v1";
const REMOVALS_CONTEXT: &str = "starling 2026 device chain removals hash v1";
const RECOVERY_CONTEXT: &str = "starling 2026 device chain recovery key hash v1";
const CHANGE_CONTEXT: &str = "starling 2026 device chain change tag v1";
const SEAL_CONTEXT: &str = "starling 2026 device seal key hash v1";

/// Devices that an account of version 0.1 could have.
const MAX_ADOPTED: usize = 16;

/// The hash of a chain up to some entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head(pub [u8; 32]);

impl Head {
    /// What stands before the first entry.
    pub const NONE: Self = Self([0; 32]);

    pub(super) fn of_removals(prev: Self, entries: &[Entry]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(REMOVALS_CONTEXT);
        hasher.update(&prev.0);
        for entry in entries {
            hasher.update(&entry.hash.0);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl Head {
    /// Names what the entry with this head did to a device.
    pub(super) fn change_tag(&self, device: &DeviceId) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_derive_key(CHANGE_CONTEXT);
        hasher.update(&self.0).update(device.as_bytes());
        let mut tag = [0; 8];
        hasher.finalize_xof().fill(&mut tag);
        tag
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:02x}{:02x}{:02x})", self.0[0], self.0[1], self.0[2])
    }
}

/// What a device may do to its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rights {
    /// Changes the chain.
    Admin,
    /// Writes and reads.
    Member,
    /// A member that does not get the account's settings either.
    Bot,
}

impl Rights {
    fn encode(self) -> u8 {
        match self {
            Self::Admin => 0,
            Self::Member => 1,
            Self::Bot => 2,
        }
    }

    fn decode(byte: u8) -> Result<Self, ChainError> {
        match byte {
            0 => Ok(Self::Admin),
            1 => Ok(Self::Member),
            2 => Ok(Self::Bot),
            _ => Err(ChainError::Malformed),
        }
    }
}

/// Who has signed an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The account's root: the recovery phrase.
    Root,
    /// An admin device.
    Device(DeviceId),
}

/// The key that an entry is signed with.
pub enum SignWith<'a> {
    /// The account's root.
    Root(&'a AccountKey),
    /// An admin device.
    Device(&'a DeviceKey),
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Opens the chain; root only, and first.
    Open {
        /// Hash of the HPKE public key that is derived from the root: what is to be read after a recovery is sealed to it.
        recovery: [u8; 32],
        /// Devices that the account had in version 0.1, with the hashes of their sealing keys. They have not countersigned.
        adopted: Vec<(DeviceId, [u8; 32])>,
    },
    /// Adds a device.
    Add {
        /// The device.
        device: DeviceId,
        /// Hash of its sealing key.
        seal: [u8; 32],
        /// What it may do.
        rights: Rights,
        /// Its countersignature: it holds its key, and wants to join this account.
        proof: [u8; 64],
    },
    /// Removes a device for good, and those that it has linked and that are not named as staying.
    Remove {
        /// The device.
        device: DeviceId,
        /// Devices that it has linked and that stay, or whose own links do; ascending.
        staying: Vec<DeviceId>,
    },
    /// Gives a device other rights.
    Rights {
        /// The device.
        device: DeviceId,
        /// Its new rights.
        rights: Rights,
    },
    /// Moves to other homes.
    Homes(Vec<RendezvousAddr>),
    /// Replaces all devices by one; root only.
    Recover {
        /// The device.
        device: DeviceId,
        /// Hash of its sealing key.
        seal: [u8; 32],
        /// Its countersignature.
        proof: [u8; 64],
    },
}

/// A device's wish to join an account, signed with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// The device.
    pub device: DeviceId,
    /// The HPKE public key that inbox entries for it are sealed to.
    pub seal_key: Vec<u8>,
    /// Its signature over the account and these.
    pub proof: [u8; 64],
}

impl Joining {
    /// Signs the wish.
    pub fn sign(device: &DeviceKey, account: &AccountId, seal_key: Vec<u8>) -> Self {
        let message = join_message(account, &seal_hash(&seal_key));
        Self { device: device.id(), proof: device.sign(JOIN_DOMAIN, &message), seal_key }
    }

    /// Checks the signature, for this account.
    pub fn verify(&self, account: &AccountId) -> Result<(), ChainError> {
        if self.seal_key.len() > super::MAX_SEAL_KEY {
            return Err(ChainError::Malformed);
        }
        verify_proof(account, &self.device, &self.seal_hash(), &self.proof)
    }

    pub(super) fn seal_hash(&self) -> [u8; 32] {
        seal_hash(&self.seal_key)
    }
}

fn join_message(account: &AccountId, seal: &[u8; 32]) -> Vec<u8> {
    [account.as_bytes().as_slice(), seal].concat()
}

fn verify_proof(account: &AccountId, device: &DeviceId, seal: &[u8; 32], proof: &[u8; 64]) -> Result<(), ChainError> {
    let good = device.verify(JOIN_DOMAIN, &join_message(account, seal), proof);
    if good { Ok(()) } else { Err(ChainError::Signature) }
}

/// The hash by which entries name an HPKE public key.
pub fn seal_hash(key: &[u8]) -> [u8; 32] {
    blake3::derive_key(SEAL_CONTEXT, key)
}

/// The hash by which the first entry names the HPKE public key that is derived from the root.
pub fn recovery_hash(key: &[u8]) -> [u8; 32] {
    blake3::derive_key(RECOVERY_CONTEXT, key)
}

/// One entry of a device chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose chain it is in.
    pub account: AccountId,
    /// Its place, counted from 0.
    pub seq: u32,
    /// The head before it.
    pub prev: Head,
    /// When it was written, in seconds since 1970, by the clock of who wrote it.
    pub time: u64,
    /// What it does.
    pub op: Op,
    /// Who signed it.
    pub signer: Signer,
    /// Body and signature, without the account.
    bytes: Vec<u8>,
    hash: Head,
}

const SIGNATURE: usize = 64;

impl Entry {
    pub(super) fn sign(
        with: &SignWith<'_>,
        account: AccountId,
        seq: u32,
        prev: Head,
        time: u64,
        op: Op,
    ) -> Result<Self, ChainError> {
        let signer = match with {
            SignWith::Root(root) if root.id() != account => return Err(ChainError::Account),
            SignWith::Root(_) => Signer::Root,
            SignWith::Device(device) => Signer::Device(device.id()),
        };
        let mut bytes = body(seq, prev, time, signer, &op);
        let message = signed_message(&account, &bytes);
        let signature = match with {
            SignWith::Root(root) => root.sign(ENTRY_DOMAIN, &message),
            SignWith::Device(device) => device.sign(ENTRY_DOMAIN, &message),
        };
        bytes.extend(signature);
        // What is encoded here has to be what is decoded elsewhere.
        Self::decode(account, &bytes)
    }

    /// Reads an entry of an account's chain. Its signatures are not checked: see [`Entry::verify`].
    pub fn decode(account: AccountId, bytes: &[u8]) -> Result<Self, ChainError> {
        let (body, _) = bytes.split_last_chunk::<SIGNATURE>().ok_or(ChainError::Malformed)?;
        let mut reader = Reader(body);
        let (seq, prev, time) = (reader.u32()?, Head(reader.array()?), reader.u64()?);
        let signer = match reader.u8()? {
            0 => Signer::Root,
            1 => Signer::Device(reader.device()?),
            _ => return Err(ChainError::Malformed),
        };
        let op = read_op(&mut reader)?;
        reader.end()?;
        let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        hasher.update(account.as_bytes());
        hasher.update(bytes);
        let hash = Head(*hasher.finalize().as_bytes());
        Ok(Self { account, seq, prev, time, op, signer, bytes: bytes.to_vec(), hash })
    }

    /// Checks its signature, and the countersignature of the device that it adds.
    pub fn verify(&self) -> Result<(), ChainError> {
        let (body, signature) = self.bytes.split_last_chunk::<SIGNATURE>().ok_or(ChainError::Malformed)?;
        let message = signed_message(&self.account, body);
        let good = match &self.signer {
            Signer::Root => self.account.verify(ENTRY_DOMAIN, &message, signature),
            Signer::Device(device) => device.verify(ENTRY_DOMAIN, &message, signature),
        };
        if !good {
            return Err(ChainError::Signature);
        }
        match &self.op {
            Op::Add { device, seal, proof, .. } | Op::Recover { device, seal, proof } => {
                verify_proof(&self.account, device, seal, proof)
            }
            _ => Ok(()),
        }
    }

    /// Body and signature; the account is known from where it stands.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its hash.
    pub fn hash(&self) -> Head {
        self.hash
    }

    /// Whether it makes a device one of the account's.
    pub fn introduces(&self, id: &DeviceId) -> bool {
        match &self.op {
            Op::Open { adopted, .. } => adopted.iter().any(|(device, _)| device == id),
            Op::Add { device, .. } | Op::Recover { device, .. } => device == id,
            Op::Remove { .. } | Op::Rights { .. } | Op::Homes(_) => false,
        }
    }

    /// Who removes which device, if it is a removal by a device.
    pub(super) fn removal(&self) -> Option<(DeviceId, DeviceId)> {
        match (&self.op, self.signer) {
            (Op::Remove { device, .. }, Signer::Device(signer)) => Some((signer, *device)),
            _ => None,
        }
    }
}

fn signed_message(account: &AccountId, body: &[u8]) -> Vec<u8> {
    [account.as_bytes().as_slice(), body].concat()
}

fn body(seq: u32, prev: Head, time: u64, signer: Signer, op: &Op) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    out.extend(seq.to_be_bytes());
    out.extend(prev.0);
    out.extend(time.to_be_bytes());
    match signer {
        Signer::Root => out.push(0),
        Signer::Device(device) => {
            out.push(1);
            out.extend(device.as_bytes());
        }
    }
    write_op(op, &mut out);
    out
}

fn write_op(op: &Op, out: &mut Vec<u8>) {
    match op {
        Op::Open { recovery, adopted } => {
            out.push(0);
            out.extend(recovery);
            out.push(adopted.len() as u8);
            for (device, seal) in adopted {
                out.extend(device.as_bytes());
                out.extend(seal);
            }
        }
        Op::Add { device, seal, rights, proof } => {
            out.push(1);
            out.extend(device.as_bytes());
            out.extend(seal);
            out.push(rights.encode());
            out.extend(proof);
        }
        Op::Remove { device, staying } => {
            out.push(2);
            out.extend(device.as_bytes());
            out.push(staying.len() as u8);
            for device in staying {
                out.extend(device.as_bytes());
            }
        }
        Op::Rights { device, rights } => {
            out.push(3);
            out.extend(device.as_bytes());
            out.push(rights.encode());
        }
        Op::Homes(homes) => {
            out.push(4);
            out.push(homes.len() as u8);
            for home in homes {
                home.encode(out);
            }
        }
        Op::Recover { device, seal, proof } => {
            out.push(5);
            out.extend(device.as_bytes());
            out.extend(seal);
            out.extend(proof);
        }
    }
}

fn read_op(reader: &mut Reader<'_>) -> Result<Op, ChainError> {
    Ok(match reader.u8()? {
        0 => {
            let recovery = reader.array()?;
            let adopted = reader.list(MAX_ADOPTED, |r| Ok((r.device()?, r.array()?)))?;
            Op::Open { recovery, adopted }
        }
        1 => Op::Add {
            device: reader.device()?,
            seal: reader.array()?,
            rights: Rights::decode(reader.u8()?)?,
            proof: reader.array()?,
        },
        2 => {
            let device = reader.device()?;
            let staying = reader.list(MAX_DEVICES.max(MAX_ADOPTED), Reader::device)?;
            if !staying.is_sorted_by(|a, b| a < b) {
                return Err(ChainError::Malformed);
            }
            Op::Remove { device, staying }
        }
        3 => Op::Rights { device: reader.device()?, rights: Rights::decode(reader.u8()?)? },
        4 => Op::Homes(reader.list(MAX_HOMES, Reader::home)?),
        5 => Op::Recover { device: reader.device()?, seal: reader.array()?, proof: reader.array()? },
        _ => return Err(ChainError::Malformed),
    })
}
