//! What the account stores at its homes.

use super::ChatId;

/// The logs of a conversation at a home of the account, which count against it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLogs {
    /// What tells them from others there: the address of the first.
    pub id: String,
    /// The home.
    pub home: String,
    /// The conversation and its name, if this device has one of the logs.
    pub chat: Option<(ChatId, String)>,
    /// How many there are.
    pub logs: u64,
    /// How many of them this device does not need: those of epochs that are over, and those that somebody else has opened.
    pub unused: u64,
    /// Their entries.
    pub entries: u64,
    /// What counts: bytes, and something for each log and entry.
    pub bytes: u64,
}

/// All of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Where most is stored comes first.
    pub conversations: Vec<StoredLogs>,
    /// How many logs were deleted now.
    pub deleted: u64,
}
