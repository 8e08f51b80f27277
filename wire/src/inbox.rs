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
    /// To another device of the sender's own account only: somebody that the account knows. A welcome is into the conversation with them.
    #[prost(message, optional, tag = "8")]
    pub known: Option<Known>,
}

/// Somebody that an account knows, as one of its devices tells another.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Known {
    /// Their account (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub account: Bytes,
    /// Their newest signed device list; empty if it is not known.
    #[prost(bytes = "bytes", tag = "2")]
    pub device_list: Bytes,
    /// Where their devices are found, if there is no list.
    #[prost(string, repeated, tag = "3")]
    pub homes: Vec<String>,
    /// The name that they give themselves.
    #[prost(string, tag = "4")]
    pub name: String,
    /// The name that the user gives them.
    #[prost(string, tag = "5")]
    pub alias: String,
    /// 0 contact, 1 asked by us, 2 blocked, 3 removed.
    #[prost(uint32, tag = "6")]
    pub state: u32,
    /// The user has compared safety numbers.
    #[prost(bool, tag = "7")]
    pub verified: bool,
    /// They are a program.
    #[prost(bool, tag = "8")]
    pub bot: bool,
    /// When the user has said so, milliseconds since 1970: an older word does not count.
    #[prost(uint64, tag = "9")]
    pub said_ms: u64,
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

/// What makes a new device one of the account: sealed with the key of a short code (`device`), told by a device that the account has.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct DeviceLink {
    /// Seed of the account key (32 bytes).
    #[prost(bytes = "vec", tag = "1")]
    pub account_seed: Vec<u8>,
    /// The account's display name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The account is a program.
    #[prost(bool, tag = "3")]
    pub bot: bool,
    /// Its home rendezvous servers.
    #[prost(string, repeated, tag = "4")]
    pub homes: Vec<String>,
    /// Its user name; empty without one.
    #[prost(string, tag = "5")]
    pub username: String,
    /// Version of its device list: whoever shows an older one, or none, has forgotten or lies.
    #[prost(uint64, tag = "6")]
    pub list_version: u64,
}

impl std::fmt::Debug for DeviceLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceLink")
    }
}

impl Drop for DeviceLink {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.account_seed);
    }
}
