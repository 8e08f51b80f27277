//! What a device has received, and what its user has read. Carries no sequence number.

use crate::{Clock, EventError};

/// Most sending devices that one receipt names.
const MAX_DEVICES: usize = 256;
/// Most accounts of which one receipt says what is known.
pub const MAX_CHAINS: usize = 64;
/// Most ranges of events that one receipt says to be missing.
pub const MAX_MISSING: usize = 16;

/// What a device has, when no direct stream could carry an acknowledgement, and what its user has read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    /// For each sending device what is stored. Of the receipt's own device: what each other account has stored, which is for the account's other
    /// devices.
    pub delivered: Vec<Delivered>,
    /// Everything up to here was read; zero if the sender does not say.
    pub read: Clock,
    /// The device chains of the conversation's accounts that the sender knows, its own among them; at most [`MAX_CHAINS`].
    pub chains: Vec<KnownChain>,
    /// Events of a group that its log does not have for the sender, who has later ones of the same devices; at most [`MAX_MISSING`].
    pub missing: Vec<MissingEvents>,
}

/// Numbered events of a device that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingEvents {
    /// The tag of the device that has written them.
    pub device: [u8; 8],
    /// The number of the first …
    pub first: u64,
    /// … and of the last.
    pub last: u64,
}

/// How much of what a device has sent is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// The tag of the device.
    pub device: [u8; 8],
    /// All its numbered events up to this one.
    pub upto: u64,
    /// The clock of that one; zero if it is not known.
    pub clock: Clock,
}

/// Which device chain of an account is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownChain {
    /// The account.
    pub account: [u8; 32],
    /// How many entries the chain has.
    pub length: u32,
    /// The hash of all of them.
    pub head: [u8; 32],
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Receipt {
        #[prost(message, repeated, tag = "1")]
        pub delivered: Vec<Delivered>,
        #[prost(fixed64, tag = "2")]
        pub read: u64,
        #[prost(message, repeated, tag = "3")]
        pub chains: Vec<KnownChain>,
        #[prost(message, repeated, tag = "4")]
        pub missing: Vec<MissingEvents>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct MissingEvents {
        #[prost(fixed64, tag = "1")]
        pub device: u64,
        #[prost(uint64, tag = "2")]
        pub first: u64,
        #[prost(uint64, tag = "3")]
        pub last: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct KnownChain {
        #[prost(bytes = "vec", tag = "1")]
        pub account: Vec<u8>,
        #[prost(uint32, tag = "2")]
        pub length: u32,
        #[prost(bytes = "vec", tag = "3")]
        pub head: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Delivered {
        #[prost(fixed64, tag = "1")]
        pub device: u64,
        #[prost(uint64, tag = "2")]
        pub upto: u64,
        #[prost(fixed64, tag = "3")]
        pub clock: u64,
    }
}

impl Receipt {
    pub(super) fn to_proto(&self) -> proto::Receipt {
        let delivered =
            |d: &Delivered| proto::Delivered { device: u64::from_be_bytes(d.device), upto: d.upto, clock: d.clock.0 };
        let chain = |chain: &KnownChain| proto::KnownChain {
            account: chain.account.to_vec(),
            length: chain.length,
            head: chain.head.to_vec(),
        };
        let missing = |missing: &MissingEvents| proto::MissingEvents {
            device: u64::from_be_bytes(missing.device),
            first: missing.first,
            last: missing.last,
        };
        proto::Receipt {
            delivered: self.delivered.iter().map(delivered).collect(),
            read: self.read.0,
            chains: self.chains.iter().map(chain).collect(),
            missing: self.missing.iter().map(missing).collect(),
        }
    }

    pub(super) fn from_proto(receipt: &proto::Receipt) -> Result<Self, EventError> {
        let has_too_many = receipt.delivered.len() > MAX_DEVICES || receipt.missing.len() > MAX_MISSING;
        if has_too_many || receipt.chains.len() > MAX_CHAINS {
            return Err(EventError::Malformed);
        }
        let delivered =
            |d: &proto::Delivered| Delivered { device: d.device.to_be_bytes(), upto: d.upto, clock: Clock(d.clock) };
        let delivered = receipt.delivered.iter().map(delivered).collect();
        let chain = |chain: &proto::KnownChain| {
            let account = chain.account.as_slice().try_into().ok()?;
            Some(KnownChain { account, length: chain.length, head: chain.head.as_slice().try_into().ok()? })
        };
        let chains = receipt.chains.iter().map(chain).collect::<Option<_>>().ok_or(EventError::Malformed)?;
        let missing = |missing: &proto::MissingEvents| {
            let is_range = (1..=missing.last).contains(&missing.first);
            let device = missing.device.to_be_bytes();
            is_range.then_some(MissingEvents { device, first: missing.first, last: missing.last })
        };
        let missing = receipt.missing.iter().map(missing).collect::<Option<_>>().ok_or(EventError::Malformed)?;
        Ok(Self { delivered, read: Clock(receipt.read), chains, missing })
    }
}
