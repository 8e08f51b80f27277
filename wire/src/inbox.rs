//! What is left in a device's inbox: sealed to the device, signed by the sender.

use bytes::Bytes;

/// The signed content of an inbox entry, before it is sealed with HPKE to the device's seal key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InboxItem {
    /// An encoded [`InboxBody`].
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// The sending device's signature over the receiving device's id and `body`.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
}

/// The domain of the signature in an [`InboxItem`].
pub const INBOX_DOMAIN: &str = "starling inbox item v1";
/// The HPKE `info` of a sealed [`InboxItem`].
pub const INBOX_INFO: &[u8] = b"starling inbox v1";

/// Who writes, and what.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InboxBody {
    /// The sender's signed device list.
    #[prost(bytes = "bytes", tag = "1")]
    pub device_list: Bytes,
    /// The sending device (32 bytes); it is on that list.
    #[prost(bytes = "bytes", tag = "2")]
    pub device: Bytes,
    /// The sender's display name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// A few words with a request.
    #[prost(string, tag = "4")]
    pub greeting: String,
    /// The token of the invite that is used; empty without one.
    #[prost(bytes = "bytes", tag = "5")]
    pub token: Bytes,
    /// A welcome into the direct conversation with the sender.
    #[prost(message, optional, tag = "6")]
    pub welcome: Option<Welcome>,
    /// The sender is a program.
    #[prost(bool, tag = "7")]
    pub bot: bool,
}

/// A welcome into an MLS group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// The group's id (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub group: Bytes,
    /// An `MLSMessage` with the welcome, ratchet tree included.
    #[prost(bytes = "bytes", tag = "2")]
    pub message: Bytes,
    /// Where the group's log is: a rendezvous address; empty where there is none.
    #[prost(string, tag = "3")]
    pub home: String,
}
