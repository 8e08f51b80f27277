//! The key of a part of an event that not all members may read, sealed for devices of those who may.

use bytes::Bytes;

use crate::EventError;

/// Bytes of a sealed key: those of the hybrid KEM of our cipher suite, and some.
const MAX_SEALED_KEY: usize = 2 * 1024;

/// A key for one device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SealedKey {
    /// The tag of the device.
    pub device: [u8; 8],
    /// The key, sealed to the device's sealing key.
    pub sealed: Bytes,
}

pub(super) mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SealedKey {
        #[prost(bytes = "vec", tag = "1")]
        pub device: Vec<u8>,
        #[prost(bytes = "bytes", tag = "2")]
        pub sealed: Bytes,
    }
}

pub(super) fn to_proto(keys: &[SealedKey]) -> Vec<proto::SealedKey> {
    keys.iter().map(|key| proto::SealedKey { device: key.device.to_vec(), sealed: key.sealed.clone() }).collect()
}

/// At most `max` keys.
pub(super) fn from_proto(keys: Vec<proto::SealedKey>, max: usize) -> Result<Vec<SealedKey>, EventError> {
    if keys.len() > max || keys.iter().any(|key| key.sealed.len() > MAX_SEALED_KEY) {
        return Err(EventError::Malformed);
    }
    let key = |key: proto::SealedKey| -> Result<SealedKey, EventError> {
        let device = key.device.as_slice().try_into().map_err(|_| EventError::Malformed)?;
        Ok(SealedKey { device, sealed: key.sealed })
    };
    keys.into_iter().map(key).collect()
}
