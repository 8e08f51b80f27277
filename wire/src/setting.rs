//! Settings that the devices of an account agree on: each is a register whose newest value counts, so that devices may change them while they are
//! apart, and hear of changes in any order. They travel in the account's snapshot and between connected devices.

use bytes::Bytes;

use crate::limits::MAX_SETTING_VALUE;

/// One setting.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Setting {
    /// A [`SettingKind`]. One that is not known is kept for other devices.
    #[prost(enumeration = "SettingKind", tag = "1")]
    pub kind: i32,
    /// The account (32 bytes) whose direct conversation it is about, or the id (16 bytes) of the group that it is about and 16 zeros; empty if it is
    /// about the account itself.
    #[prost(bytes = "bytes", tag = "2")]
    pub subject: Bytes,
    /// The [`crate::Clock`] at which it was set.
    #[prost(fixed64, tag = "3")]
    pub clock: u64,
    /// The tag of the device that has set it, as a big-endian number.
    #[prost(fixed64, tag = "4")]
    pub device: u64,
    /// The value: text as UTF-8, a number as eight bytes, big-endian.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// What is set. Numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SettingKind {
    /// Nothing.
    None = 0,
    /// The account's display name: text.
    Name = 1,
    /// Its user name: text; empty for none.
    Username = 2,
    /// Who sees when we were there last: a number.
    LastSeen = 3,
    /// Who sees how far we have read: a number.
    Receipts = 4,
    /// Who sees that we type: a number.
    Typing = 5,
    /// The conversation stands on top: 1 or 0.
    Pinned = 6,
    /// Until when the conversation is muted, in milliseconds since 1970.
    MutedUntil = 7,
    /// The conversation is archived: 1 or 0.
    Archived = 8,
    /// The clock up to which the conversation was read.
    Read = 9,
    /// What is being written in the conversation and was not sent: text; empty for nothing.
    Draft = 10,
    /// The folder of lists that the conversation is in: text; empty for none.
    Folder = 11,
    /// The place of the conversation in a list that is sorted by hand, from 1; 0 for none.
    Place = 12,
    /// The channels of the conversation, a community, are folded away in lists: 1 or 0.
    Folded = 13,
}

impl Setting {
    /// Its place in the order in which settings replace one another.
    pub fn stamp(&self) -> (u64, u64) {
        (self.clock, self.device)
    }

    /// Whether its parts are within their bounds.
    pub fn is_valid(&self) -> bool {
        (self.subject.is_empty() || self.subject.len() == 32) && self.value.len() <= MAX_SETTING_VALUE
    }

    /// Its value as text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }

    /// Its value as a number.
    pub fn number(&self) -> Option<u64> {
        Some(u64::from_be_bytes((*self.value).try_into().ok()?))
    }
}
