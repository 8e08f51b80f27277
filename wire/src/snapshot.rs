//! The account's snapshot at its home: sealed to each of its devices, and to what a recovery with the phrase opens.

use bytes::Bytes;
use prost::Message as _;

/// First bytes of the encoded form: a snapshot of version 0.1 begins with a random nonce.
const FORMAT: &[u8] = b"starling-snapshot-2";
/// The domain of the signature in a [`SealedSnapshot`].
pub const SNAPSHOT_DOMAIN: &str = "starling account snapshot v2";
/// The HPKE `info` of its sealed keys.
pub const SNAPSHOT_INFO: &[u8] = b"starling account snapshot key v2";
/// Devices that it is sealed to at most, and the recovery key.
const MAX_RECIPIENTS: usize = 17;

/// A snapshot that one of the account's devices has sealed and signed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealedSnapshot {
    /// The device that wrote it (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// The key of the content, sealed to each recipient.
    #[prost(message, repeated, tag = "2")]
    pub keys: Vec<SealedKey>,
    /// The content.
    #[prost(bytes = "bytes", tag = "3")]
    pub content: Bytes,
    /// The device's signature over [`SealedSnapshot::signed`].
    #[prost(bytes = "bytes", tag = "4")]
    pub signature: Bytes,
}

/// A key that is sealed to a device, or to the recovery key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealedKey {
    /// The device (32 bytes); empty for the recovery key.
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// Sealed with HPKE.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed: Bytes,
}

impl SealedSnapshot {
    /// What is signed.
    pub fn signed(&self) -> Vec<u8> {
        Self { signature: Bytes::new(), ..self.clone() }.encode_to_vec()
    }

    /// The encoded form.
    pub fn to_bytes(&self) -> Vec<u8> {
        [FORMAT, &self.encode_to_vec()].concat()
    }

    /// Reads the encoded form; `None` for one of version 0.1, or what is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let snapshot = Self::decode(bytes.strip_prefix(FORMAT)?).ok()?;
        (snapshot.keys.len() <= MAX_RECIPIENTS).then_some(snapshot)
    }
}
