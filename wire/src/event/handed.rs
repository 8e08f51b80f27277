//! A part of a group's history that a member hands on to devices that have come. All members see that there is one, by whom and for which devices;
//! what it says is sealed for those ([`crate::history::HandedPart`]).

use bytes::Bytes;

use super::sealed_key::{self, SealedKey};
use crate::EventError;

/// Devices that one part is sealed for: each takes 1.2 KB.
pub const MAX_HANDED_DEVICES: usize = 16;
/// Bytes of a part as it is padded: with the keys it fits one batch.
pub const MAX_HANDED_PART: usize = 64 * 1024;

/// A part, sealed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HandedHistory {
    /// The padded [`crate::history::HandedPart`], sealed with a key that the parts of one history have in common.
    pub sealed: Bytes,
    /// That key, sealed for each device that has come. At most [`MAX_HANDED_DEVICES`].
    pub keys: Vec<SealedKey>,
}

pub(super) mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct HandedHistory {
        #[prost(bytes = "bytes", tag = "1")]
        pub sealed: Bytes,
        #[prost(message, repeated, tag = "2")]
        pub keys: Vec<crate::event::sealed_key::proto::SealedKey>,
    }
}

impl HandedHistory {
    /// What both seals are bound to: the conversation, and the device that hands it on, so that nobody passes off as their own what another has sealed.
    pub fn context(conversation: &[u8; 16], member: &[u8; 8]) -> Vec<u8> {
        [&b"starling handed history v1\0"[..], conversation, member].concat()
    }

    /// Whether it is sealed for a device, by its tag.
    pub fn is_for(&self, device: &[u8; 8]) -> bool {
        self.keys.iter().any(|key| key.device == *device)
    }

    pub(super) fn to_proto(&self) -> proto::HandedHistory {
        proto::HandedHistory { sealed: self.sealed.clone(), keys: sealed_key::to_proto(&self.keys) }
    }

    pub(super) fn from_proto(history: proto::HandedHistory) -> Result<Self, EventError> {
        // The seal has a nonce and a tag.
        if history.sealed.len() > MAX_HANDED_PART + 64 {
            return Err(EventError::Malformed);
        }
        Ok(Self { sealed: history.sealed, keys: sealed_key::from_proto(history.keys, MAX_HANDED_DEVICES)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_a_part_or_for_too_many_is_malformed() {
        let history = |size, keys| HandedHistory {
            sealed: vec![0; size].into(),
            keys: (0..keys).map(|_| SealedKey { device: [1; 8], sealed: Bytes::from_static(b"key") }).collect(),
        };
        let most = history(MAX_HANDED_PART + 40, MAX_HANDED_DEVICES);
        assert!(most.is_for(&[1; 8]) && !most.is_for(&[2; 8]));
        assert_eq!(HandedHistory::from_proto(most.to_proto()), Ok(most));
        for bad in [history(MAX_HANDED_PART + 65, 1), history(1, MAX_HANDED_DEVICES + 1)] {
            assert_eq!(HandedHistory::from_proto(bad.to_proto()), Err(EventError::Malformed));
        }
    }
}
