//! Rows of contacts, requests and what is left for others.

use prost::Message;

use super::{DeviceUseRow, HeldRow};

/// Somebody we know. By [`super::Store::name`] of the account.
#[derive(Clone, PartialEq, Message)]
pub struct ContactRow {
    /// Account key.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Their device chain; or the signed list that is known since version 0.1.
    #[prost(bytes = "vec", tag = "2")]
    pub device_list: Vec<u8>,
    /// Name that the contact gives itself.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Name that the user gives.
    #[prost(string, tag = "4")]
    pub alias: String,
    /// [`crate::ContactState`].
    #[prost(uint32, tag = "5")]
    pub state: u32,
    /// The user has compared safety numbers.
    #[prost(bool, tag = "6")]
    pub verified: bool,
    /// The contact is a program.
    #[prost(bool, tag = "7")]
    pub bot: bool,
    /// Last sign of life, milliseconds since 1970.
    #[prost(uint64, tag = "8")]
    pub last_seen_ms: u64,
    /// Direct addresses that its devices told us.
    #[prost(message, repeated, tag = "9")]
    pub addresses: Vec<DeviceAddresses>,
    /// Devices of the contact have changed after it was verified; sending waits for the user's trust.
    #[prost(bool, tag = "10")]
    pub key_changed: bool,
    /// Rendezvous servers from the invite, until a device list is known.
    #[prost(string, repeated, tag = "11")]
    pub homes: Vec<String>,
    /// When it was added, milliseconds since 1970.
    #[prost(uint64, tag = "12")]
    pub added_ms: u64,
    /// How many entries of their device chain other devices of ours have known, while it is not known here.
    #[prost(uint64, tag = "13")]
    pub trusted_version: u64,
    /// When the user has last said what they are to us, milliseconds since 1970.
    #[prost(uint64, tag = "14")]
    pub said_ms: u64,
    /// The head after `trusted_version` entries (32 bytes); empty if nothing is known of it.
    #[prost(bytes = "vec", tag = "15")]
    pub trusted_head: Vec<u8>,
    /// Since when the entries of the chain are known.
    #[prost(message, repeated, tag = "16")]
    pub held: Vec<HeldRow>,
    /// When they were given `name`; 0 if they have not said.
    #[prost(uint64, tag = "17")]
    pub named_clock: u64,
    /// By which device of theirs (tag).
    #[prost(fixed64, tag = "18")]
    pub named_by: u64,
    /// The user was warned that their chain has two ends, and has not said since that they trust it.
    #[prost(bool, tag = "19")]
    pub forked: bool,
    /// The user name by which a rendezvous has led to them, until they say themselves that it is theirs.
    #[prost(string, tag = "20")]
    pub found_as: String,
    /// The user name that they say they have.
    #[prost(string, tag = "21")]
    pub username: String,
    /// The head of their chain that the user has last said to trust, on any device of ours (32 bytes); empty if that was never said.
    #[prost(bytes = "vec", tag = "22")]
    pub trusted: Vec<u8>,
    /// What they were told lately of the use of devices that they have removed.
    #[prost(message, repeated, tag = "23")]
    pub told_uses: Vec<DeviceUseRow>,
}

impl ContactRow {
    /// Takes the name that they give themselves, unless it is older than the one that is known; gives whether it is another one.
    pub fn rename(&mut self, name: &str, named: (u64, u64)) -> bool {
        if name.is_empty() || named < (self.named_clock, self.named_by) {
            return false;
        }
        (self.named_clock, self.named_by) = named;
        let other = self.name != name;
        name.clone_into(&mut self.name);
        other
    }
}

/// Where a device was last reachable.
#[derive(Clone, PartialEq, Message)]
pub struct DeviceAddresses {
    /// The device.
    #[prost(bytes = "vec", tag = "1")]
    pub device: Vec<u8>,
    /// Multiaddrs.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub addresses: Vec<Vec<u8>>,
    /// What its names on a LAN follow from; empty if it has not said.
    #[prost(bytes = "vec", tag = "3")]
    pub lan_key: Vec<u8>,
}

/// An invite that we gave. By [`super::Store::name`] of the token.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct InviteRow {
    /// The token.
    #[prost(bytes = "vec", tag = "1")]
    pub token: Vec<u8>,
    /// How often it may still be used.
    #[prost(uint32, tag = "2")]
    pub uses: u32,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    pub expires_at: u64,
    /// The homes that know its ticket. Fields before (4, 5) said so of one home.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub homes: Vec<Vec<u8>>,
}

/// A contact request. By [`super::Store::name`] of the account.
#[derive(Clone, PartialEq, Message)]
pub struct RequestRow {
    /// The encoded inbox body.
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    /// When it came, milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// What speaks for it: 0 nothing; 1 it has shown an invite of ours, though none that is good any more; 2 its account is one that was a contact.
    #[prost(uint32, tag = "3")]
    pub standing: u32,
}

/// A sealed inbox item that we owe to a device.
#[derive(Clone, PartialEq, Message)]
pub struct OutboundItemRow {
    /// Account that it is for.
    #[prost(bytes = "vec", tag = "1")]
    pub account: Vec<u8>,
    /// Device that it is for.
    #[prost(bytes = "vec", tag = "2")]
    pub device: Vec<u8>,
    /// Sealed item.
    #[prost(bytes = "vec", tag = "3")]
    pub sealed: Vec<u8>,
    /// What the invite shows to the rendezvous; empty without one.
    #[prost(bytes = "vec", tag = "4")]
    pub token: Vec<u8>,
    /// The rendezvous where the inbox is.
    #[prost(string, tag = "5")]
    pub home: String,
    /// The user has not asked for it: what becomes of it is not shown, and what is refused is given up.
    #[prost(bool, tag = "6")]
    pub quiet: bool,
    /// If that is another home of the account than the one that it was for, which did not answer: that one.
    #[prost(string, tag = "7")]
    pub first_home: String,
    /// That has it, and it may not be read yet.
    #[prost(bool, tag = "8")]
    pub delivered: bool,
    /// It is a way into a group of any number of accounts: nobody waits for others there.
    #[prost(bool, tag = "9")]
    pub is_offer: bool,
}
