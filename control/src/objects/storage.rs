//! What the account stores at its rendezvous servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ChatId;

/// What the account's rendezvous servers store for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Storage {
    /// Where most is stored comes first.
    pub conversations: Vec<StoredLogs>,
    /// How many logs were deleted now.
    pub deleted: u64,
}

/// The logs of a conversation at a rendezvous, which count against the account there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredLogs {
    /// What tells them from others.
    pub id: String,
    /// The rendezvous.
    pub rendezvous: String,
    /// The conversation, if this device has one of the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many logs there are.
    pub logs: u64,
    /// How many of them this device does not need.
    pub unused: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes that count: those of the entries, and something for each log and entry.
    pub bytes: u64,
}
