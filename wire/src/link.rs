//! How a device joins an account over the channel of a short code: the host offers its account, the new device asks, and the host answers
//! once its user has agreed and a home has the chain with the new device. All three are sealed with the code's key.

use bytes::Bytes;
use prost::Message as _;

use crate::{inbox::InboxError, label::MAX_KIND, name};

/// Whose account the code leads into: shows that both sides used the same code.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinkOffer {
    /// The account (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub account: Bytes,
    /// The account's display name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The account is a program.
    #[prost(bool, tag = "3")]
    pub bot: bool,
    /// Its user name; empty without one.
    #[prost(string, tag = "4")]
    pub username: String,
    /// The HPKE public key that is derived from the account's root; its hash is in the chain.
    #[prost(bytes = "bytes", tag = "5")]
    pub recovery_key: Bytes,
}

impl LinkOffer {
    /// Reads an offer.
    ///
    /// # Errors
    /// If it is malformed or the name is beyond its bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InboxError> {
        let offer = Self::decode(bytes)?;
        let name = name::from_fields("", &offer.name).ok_or(InboxError::Name)?;
        Ok(Self { name, ..offer })
    }
}

/// A device asks to join.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinkRequest {
    /// The device (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// Its sealing key.
    #[prost(bytes = "bytes", tag = "2")]
    pub seal_key: Bytes,
    /// Its signature over account and sealing key (64 bytes).
    #[prost(bytes = "bytes", tag = "3")]
    pub proof: Bytes,
    /// What its user calls it.
    #[prost(string, tag = "4")]
    pub name: String,
    /// What it is: an operating system, for example.
    #[prost(string, tag = "5")]
    pub kind: String,
}

/// The answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinkAnswer {
    /// Whether the user has agreed; nothing else counts if not.
    #[prost(bool, tag = "1")]
    pub agreed: bool,
    /// How many entries the account's chain has with the new device.
    #[prost(uint32, tag = "2")]
    pub length: u32,
    /// The head after those (32 bytes): whoever shows another chain has forgotten or lies.
    #[prost(bytes = "bytes", tag = "3")]
    pub head: Bytes,
    /// The account's display name.
    #[prost(string, tag = "4")]
    pub name: String,
    /// The account is a program.
    #[prost(bool, tag = "5")]
    pub bot: bool,
    /// Its home rendezvous servers.
    #[prost(string, repeated, tag = "6")]
    pub homes: Vec<String>,
    /// Its user name; empty without one.
    #[prost(string, tag = "7")]
    pub username: String,
    /// The HPKE public key that is derived from the account's root; its hash is in the chain.
    #[prost(bytes = "bytes", tag = "8")]
    pub recovery_key: Bytes,
    /// The permission to copy the history of the device that answers; 0 if it may not.
    #[prost(fixed64, tag = "9")]
    pub history: u64,
}

impl LinkRequest {
    /// Reads a request; names are shortened to what can be shown.
    ///
    /// # Errors
    /// If it is malformed or a name is beyond its bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InboxError> {
        let request = Self::decode(bytes)?;
        if request.kind.len() > MAX_KIND {
            return Err(InboxError::Name);
        }
        let name = name::from_fields("", &request.name).ok_or(InboxError::Name)?;
        Ok(Self { name, ..request })
    }
}

impl LinkAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// If it is malformed or the name is beyond its bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InboxError> {
        let answer = Self::decode(bytes)?;
        let name = name::from_fields("", &answer.name).ok_or(InboxError::Name)?;
        Ok(Self { name, ..answer })
    }
}
