//! What records hold.

use bytes::Bytes;

/// What is known of an account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Account {
    /// The encoded device chain; or the list of an account that was not here since version 0.1.
    #[prost(bytes = "bytes", tag = "1")]
    pub device_list: Bytes,
    /// How many entries it has; or the list's version.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// When one of its devices was last here, in days since 1970.
    #[prost(uint64, tag = "3")]
    pub seen_day: u64,
    /// Keyed hash of its user name; empty without one.
    #[prost(bytes = "vec", tag = "5")]
    pub name: Vec<u8>,
    /// The ids of the devices in it that have shown that they belong to the account, so that it need not be read to look for one.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub devices: Vec<Vec<u8>>,
    /// Since when its entries are here.
    #[prost(message, repeated, tag = "8")]
    pub held: Vec<HeldMark>,
    /// The day since 1970 on which it has registered; 0 if that was before it was noted.
    #[prost(uint64, tag = "9")]
    pub since_day: u64,
    /// Bytes of its snapshot.
    #[prost(uint64, tag = "10")]
    pub snapshot_bytes: u64,
}

/// Since when a number of entries of a device chain are here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeldMark {
    /// How many entries.
    #[prost(uint32, tag = "1")]
    pub length: u32,
    /// Seconds since 1970.
    #[prost(uint64, tag = "2")]
    pub since: u64,
}

/// An account's claim to a device or a user name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Claim {
    /// The account (32 bytes).
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// The account names it, too: without this, anyone may take it over.
    #[prost(bool, tag = "2")]
    pub confirmed: bool,
}

/// An invite: who holds its token may append to the inboxes of an account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Invite {
    /// The account (32 bytes).
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// How often it can still be used.
    #[prost(uint32, tag = "2")]
    pub uses: u32,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    pub expires_at: u64,
    /// What was paid for and may not have arrived, oldest first.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub pending: Vec<Vec<u8>>,
}

/// A registration token of the operator.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Token {
    /// How many accounts it can still register.
    #[prost(uint32, tag = "1")]
    pub uses: u32,
    /// Seconds since 1970.
    #[prost(uint64, tag = "2")]
    pub expires_at: u64,
    /// Accounts that have paid with it and may not be registered, oldest first.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub pending: Vec<Vec<u8>>,
}

/// An account's sealed snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Snapshot {
    /// Its version.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Sealed for the account's devices.
    #[prost(bytes = "bytes", tag = "2")]
    pub sealed: Bytes,
}
