//! Doors: what a new device of a member's account needs to enter a group by itself.

use bytes::Bytes;
use prost::Message as _;

use crate::limits::MAX_LARGE;

/// The way into one epoch of a group. It stands in a log of its own, sealed under a secret that the devices of the group's accounts hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Door {
    /// The epoch that a newcomer ends by its commit.
    pub epoch: u64,
    /// The secret of the epoch's log.
    pub secret: [u8; 32],
    /// An `MLSMessage` with the `GroupInfo` of the epoch and its ratchet tree: of many devices it takes more than an entry, and is stored in parts.
    pub info: Bytes,
}

/// The encoded form.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Encoded {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(bytes = "bytes", tag = "2")]
    secret: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    info: Bytes,
}

/// What is no door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed door")]
pub struct DoorError;

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door(epoch {})", self.epoch)
    }
}

impl Door {
    /// The encoded form, before it is padded and sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let secret = Bytes::copy_from_slice(&self.secret);
        Encoded { epoch: self.epoch, secret, info: self.info.clone() }.encode_to_vec()
    }

    /// Reads what [`Door::to_bytes`] has made. Whether the `GroupInfo` is one is not looked at.
    ///
    /// # Errors
    /// If it is none, or if its `GroupInfo` is empty or larger than [`MAX_LARGE`].
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DoorError> {
        let Encoded { epoch, secret, info } = Encoded::decode(bytes).map_err(|_| DoorError)?;
        if info.is_empty() || info.len() > MAX_LARGE {
            return Err(DoorError);
        }
        Ok(Self { epoch, secret: secret[..].try_into().map_err(|_| DoorError)?, info })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_read_back_and_what_is_none_is_refused() {
        let door = Door { epoch: 7, secret: [1; 32], info: Bytes::from("a group") };
        assert_eq!(Door::from_bytes(door.to_bytes().into()), Ok(door.clone()));
        let encoded = |secret: usize, info: usize| {
            Encoded { epoch: 7, secret: vec![1; secret].into(), info: vec![1; info].into() }.encode_to_vec()
        };
        for bytes in [encoded(31, 1), encoded(32, 0), encoded(32, MAX_LARGE + 1), vec![0xff; 64]] {
            assert_eq!(Door::from_bytes(bytes.into()), Err(DoorError));
        }
        assert_eq!(format!("{door:?}"), "Door(epoch 7)", "its secret is not shown");
    }
}
