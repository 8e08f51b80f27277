//! What a device has received, and what its user has read. Carries no sequence number.

use crate::{Clock, EventError};

/// Most sending devices that one receipt names.
const MAX_DEVICES: usize = 256;

/// What a device has, when no direct stream could carry an acknowledgement, and what its user has read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    /// Per sending device (tag): all its numbered events up to this one are stored. Under the tag of the receipt's own device: each other account
    /// has stored them, which is for the account's other devices.
    pub delivered: Vec<([u8; 8], u64)>,
    /// Everything up to here was read; zero if the sender does not say.
    pub read: Clock,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Receipt {
        #[prost(message, repeated, tag = "1")]
        pub delivered: Vec<Delivered>,
        #[prost(fixed64, tag = "2")]
        pub read: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Delivered {
        #[prost(fixed64, tag = "1")]
        pub device: u64,
        #[prost(uint64, tag = "2")]
        pub upto: u64,
    }
}

impl Receipt {
    pub(super) fn to_proto(&self) -> proto::Receipt {
        let delivered =
            |(device, upto): &([u8; 8], u64)| proto::Delivered { device: u64::from_be_bytes(*device), upto: *upto };
        proto::Receipt { delivered: self.delivered.iter().map(delivered).collect(), read: self.read.0 }
    }

    pub(super) fn from_proto(receipt: &proto::Receipt) -> Result<Self, EventError> {
        if receipt.delivered.len() > MAX_DEVICES {
            return Err(EventError::Malformed);
        }
        let delivered = receipt.delivered.iter().map(|d| (d.device.to_be_bytes(), d.upto)).collect();
        Ok(Self { delivered, read: Clock(receipt.read) })
    }
}
