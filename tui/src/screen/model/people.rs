//! People, chats, and the node itself, as the screen knows them. Names are as others gave them: they are made safe where they are shown.

use starling_node::Clock;

/// How far we have got with somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContactState {
    #[default]
    Active,
    /// We have asked, and they have not accepted yet.
    Requested,
    Blocked,
    Removed,
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// They do not show it, or have not been seen yet.
    #[default]
    Unknown,
    Online,
    Away,
    Offline,
}

impl Presence {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Online => "online",
            Self::Away => "away",
            Self::Offline => "offline",
        }
    }
}

/// How somebody is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    #[default]
    None,
    Relay,
    Direct,
}

impl Path {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "not connected",
            Self::Relay => "relay",
            Self::Direct => "direct",
        }
    }
}

/// Somebody we can write to, or could.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    pub account: String,
    /// The conversation with them.
    pub chat: String,
    /// What we call them.
    pub name: String,
    /// What they call themselves.
    pub own_name: String,
    pub state: ContactState,
    /// We have compared safety numbers.
    pub verified: bool,
    /// Their devices have changed, and we have not agreed yet.
    pub key_changed: bool,
    /// A program, not a person.
    pub bot: bool,
    pub typing: bool,
    /// Number of their devices.
    pub devices: usize,
    pub presence: Presence,
    /// Milliseconds since 1970.
    pub last_seen_ms: Option<u64>,
    pub path: Path,
    pub safety_number: String,
}

/// A conversation, as the list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chat {
    pub id: String,
    pub unread: u64,
    /// Read up to here.
    pub read: Clock,
    pub pinned: bool,
    pub muted: bool,
    pub archived: bool,
    /// Messages that wait to be sent.
    pub queued: u64,
    /// What keeps messages from being sent, in words.
    pub problem: Option<String>,
    /// How it is encrypted, in words.
    pub cipher: Option<String>,
}

/// Somebody who asks to talk to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactRequest {
    pub account: String,
    pub name: String,
    pub greeting: String,
}

/// One of our own servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    pub registered: bool,
    pub problem: Option<String>,
}

/// The node, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub account: String,
    pub name: String,
    pub homes: Vec<Home>,
    /// Devices of others that are connected directly, and through a relay.
    pub direct: u64,
    pub relayed: u64,
}

/// A device of our own account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnDevice {
    pub id: String,
    /// The day since which it belongs to the account.
    pub since: String,
    /// The one that we are on.
    pub this: bool,
    pub path: Path,
}
