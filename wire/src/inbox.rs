//! What is left in a device's inbox: sealed to the device, signed by the sender.

use bytes::Bytes;
use prost::{DecodeError, Message as _};

use crate::{DeviceLabel, SealedBeacon, limits::MAX_PADDED_ITEM, name};

/// Why an inbox item was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// Not a message.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// A name is longer than it may be.
    #[error("a name is too long")]
    Name,
}

/// The signed content of an inbox entry, before it is sealed with HPKE to the device's seal key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InboxItem {
    /// An encoded [`InboxBody`].
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    /// The sending device's signature over the receiving device's id and `body`.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
    /// Zeros, so that the size says little.
    #[prost(bytes = "bytes", tag = "3")]
    pub padding: Bytes,
}

impl InboxItem {
    /// Pads it to the next bucket: powers of two from 1 to 64 KiB, then [`MAX_PADDED_ITEM`], which welcomes into groups of many devices and pages of a
    /// history take. What is larger stays as it is.
    #[must_use]
    pub fn padded(mut self) -> Self {
        self.padding.clear();
        let len = self.encoded_len();
        // The field's own key and length take two to four bytes, and an empty one is left out.
        let bucket = (len + 3).next_power_of_two().clamp(1024, MAX_PADDED_ITEM);
        let header = |padding: usize| 1 + prost::length_delimiter_len(padding);
        let room = (2..=4).filter_map(|header| bucket.checked_sub(len + header));
        let padding = room.filter(|padding| len + header(*padding) + padding <= bucket).max().unwrap_or_default();
        self.padding = vec![0; padding].into();
        self
    }
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
    /// The proof of the invite that is used (32 bytes); empty without one. Versions before 0.2 show its token (12 bytes).
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
    /// The whole name where `name` is cut; only in the encoded form.
    #[prost(string, tag = "9")]
    pub full_name: String,
    /// What the sender's devices are called.
    #[prost(message, repeated, tag = "10")]
    pub labels: Vec<DeviceLabel>,
    /// To another device of the sender's own account only: an encoded [`crate::history::HistoryMessage`].
    #[prost(bytes = "bytes", tag = "11")]
    pub history: Bytes,
    /// What the sender has followed in groups that it shares with the receiver (at most [`crate::limits::MAX_ITEM_BEACONS`]). An item with these has
    /// `device` and nothing else.
    #[prost(message, repeated, tag = "12")]
    pub beacons: Vec<SealedBeacon>,
    /// A way into a group that the sender invites into; or, from another device of the account, one that it is in.
    #[prost(message, optional, tag = "13")]
    pub offer: Option<GroupOffer>,
    /// The receiving device was added to a group.
    #[prost(message, optional, tag = "14")]
    pub added: Option<GroupWelcome>,
}

impl InboxBody {
    /// Whether it is about a group of many: an invitation, or a welcome.
    pub fn is_about_group(&self) -> bool {
        self.offer.is_some() || self.added.is_some()
    }

    /// The encoded form, which older programs read, too: with long names in two fields.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (name, full_name) = name::to_fields(&self.name);
        Self { name, full_name, known: self.known.as_ref().map(Known::split), ..self.clone() }.encode_to_vec()
    }

    /// Reads what [`InboxBody::to_bytes`] has made: `name` is the whole name, without what does not belong into one.
    ///
    /// # Errors
    /// If it is malformed or a name is beyond its bound.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InboxError> {
        let mut body = Self::decode(bytes)?;
        let full_name = std::mem::take(&mut body.full_name);
        body.name = name::from_fields(&body.name, &full_name).ok_or(InboxError::Name)?;
        body.labels = DeviceLabel::received(std::mem::take(&mut body.labels)).ok_or(InboxError::Name)?;
        body.known = body.known.map(Known::joined).transpose()?;
        Ok(body)
    }
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
    /// The whole `name` where it is cut; only in the encoded form.
    #[prost(string, tag = "10")]
    pub full_name: String,
    /// The whole `alias` where it is cut; only in the encoded form.
    #[prost(string, tag = "11")]
    pub full_alias: String,
    /// When they were given `name`, and by which device of theirs (tag): an older one does not count.
    #[prost(fixed64, tag = "12")]
    pub named_clock: u64,
    /// See `named_clock`.
    #[prost(fixed64, tag = "13")]
    pub named_by: u64,
    /// What their devices are called.
    #[prost(message, repeated, tag = "14")]
    pub labels: Vec<DeviceLabel>,
    /// The head of their device chain (32 bytes) that the user has last said to trust; empty if that was never said.
    #[prost(bytes = "bytes", tag = "15")]
    pub trusted: Bytes,
}

impl Known {
    fn split(&self) -> Self {
        let ((name, full_name), (alias, full_alias)) = (name::to_fields(&self.name), name::to_fields(&self.alias));
        Self { name, full_name, alias, full_alias, ..self.clone() }
    }

    fn joined(self) -> Result<Self, InboxError> {
        let name = name::from_fields(&self.name, &self.full_name).ok_or(InboxError::Name)?;
        let alias = name::from_fields(&self.alias, &self.full_alias).ok_or(InboxError::Name)?;
        let labels = DeviceLabel::received(self.labels).ok_or(InboxError::Name)?;
        Ok(Self { name, alias, labels, full_name: String::new(), full_alias: String::new(), ..self })
    }
}

/// A way into a group: who may enter does so by its door.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct GroupOffer {
    /// The conversation (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub conversation: Bytes,
    /// The MLS group (16 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub group: Bytes,
    /// The secret of its door (32 bytes).
    #[prost(bytes = "bytes", tag = "3")]
    pub secret: Bytes,
    /// Where its logs are: a rendezvous address.
    #[prost(string, tag = "4")]
    pub home: String,
    /// What it is called.
    #[prost(string, tag = "5")]
    pub name: String,
    /// To another device of the sender's own account: 1 the account is in it, 2 it has declined to be. 0 to others; 3 to whoever has asked to be let
    /// in, and is not: then there is neither a secret nor a home.
    #[prost(uint32, tag = "6")]
    pub answer: u32,
}

impl std::fmt::Debug for GroupOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupOffer")
    }
}

/// What a device says, on a direct stream, to whoever has invited its account into a group: it has accepted, and waits to be added.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupAcceptance {
    /// The conversation (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub conversation: Bytes,
    /// The MLS group (16 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub group: Bytes,
    /// An `MLSMessage` with a key package of the device, for this group alone; at most [`crate::limits::MAX_ADD_PACKAGE`] bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub package: Bytes,
    /// How many other devices of the receiver's account the sender asks first: so many turns later this one adds it.
    #[prost(uint32, tag = "4")]
    pub place: u32,
}

/// What a device needs that was added to a group, but for the group's tree: that is in the door of the epoch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupWelcome {
    /// The conversation (16 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub conversation: Bytes,
    /// The MLS group (16 bytes).
    #[prost(bytes = "bytes", tag = "2")]
    pub group: Bytes,
    /// The epoch that begins with the device in the group.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// An `MLSMessage` with the welcome for this device alone; empty if the device is not added: it is to enter by the door.
    #[prost(bytes = "bytes", tag = "4")]
    pub message: Bytes,
    /// The secret of the log of the epoch before (32 bytes): a server opens the next one for who has the key of the last.
    #[prost(bytes = "bytes", tag = "5")]
    pub log: Bytes,
    /// The number of the last entry there that the sender has read: what is up to it is not for the device.
    #[prost(uint64, tag = "6")]
    pub sequence: u64,
    /// There is no `message` yet, and the sender is about to add the device: it goes on waiting.
    #[prost(bool, tag = "7")]
    pub waits: bool,
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
    /// Groups of the same conversation (16 bytes each) that the sending device cannot go on in.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub replaces: Vec<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_read_back_and_older_programs_can_read_the_item() {
        let long = "🇨🇦".repeat(64);
        let known = Known { name: long.clone(), alias: long.clone(), ..Known::default() };
        let body = InboxBody { name: long.clone(), known: Some(known), ..InboxBody::default() };
        let bytes = body.to_bytes();
        assert_eq!(InboxBody::from_bytes(&bytes), Ok(body));
        // Version 0.1 refuses names of more than 64 bytes, and knows the first fields only.
        let old = InboxBody::decode(bytes.as_slice()).unwrap();
        let old_known = old.known.unwrap();
        assert!(
            [&old.name, &old_known.name, &old_known.alias]
                .iter()
                .all(|name| name.len() <= 64 && long.starts_with(*name))
        );
    }

    #[test]
    fn an_item_tells_its_size_by_a_bucket_alone() {
        let sizes = |body: usize| {
            let item = InboxItem { body: vec![1; body].into(), signature: vec![2; 64].into(), ..InboxItem::default() };
            let padded = item.clone().padded().encode_to_vec();
            let read = InboxItem::decode(padded.as_slice()).unwrap();
            assert_eq!((&read.body, &read.signature), (&item.body, &item.signature));
            padded.len()
        };
        let kib = 1024;
        for (from, to, bucket) in [(0, 950, kib), (960, 1_970, 2 * kib), (17_000, 32_600, 32 * kib)] {
            assert!((from..to).all(|body| (bucket - 1..=bucket).contains(&sizes(body))));
        }
        // Some of the larger ones, and those at the edges.
        for (from, to, bucket) in [(32_696, 65_463, 64 * kib), (65_464, 128_951, MAX_PADDED_ITEM)] {
            let bodies = (from..to).step_by(1_021).chain(from..from + 20).chain(to - 20..=to);
            assert!(bodies.into_iter().all(|body| (bucket - 1..=bucket).contains(&sizes(body))), "{bucket}");
        }
        // No room for a byte of padding, or the server has none for the item.
        assert_eq!((sizes(128_952), sizes(130_000)), (MAX_PADDED_ITEM - 2, 130_070));
    }

    #[test]
    fn a_name_beyond_its_bound_is_refused() {
        let body = InboxBody { name: "x".repeat(65), ..InboxBody::default() };
        assert_eq!(InboxBody::from_bytes(&body.encode_to_vec()), Err(InboxError::Name));
        let known = Known { full_alias: "x".repeat(513), ..Known::default() };
        let body = InboxBody { known: Some(known), ..InboxBody::default() };
        assert_eq!(InboxBody::from_bytes(&body.encode_to_vec()), Err(InboxError::Name));
    }
}
