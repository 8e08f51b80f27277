//! The tables of a profile, and what their rows are found by.

use redb::TableDefinition;

/// A table; keys and values are bytes.
#[derive(Clone, Copy, Debug)]
pub struct Table(&'static str);

impl Table {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    pub(super) fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// Single values: secrets, settings.
pub const META: Table = Table("meta");
/// By account.
pub const CONTACTS: Table = Table("contacts");
/// By chat id.
pub const CHATS: Table = Table("chats");
/// MLS groups, by group id.
pub const GROUPS: Table = Table("groups");
/// Encryption states of groups, by group id.
pub const MLS: Table = Table("mls");
/// Secrets of earlier epochs, by group id and epoch.
pub const EPOCHS: Table = Table("epochs");
/// Commits of ours that wait to win, by group id.
pub const PENDING_COMMITS: Table = Table("pending_commits");
/// Logs that are read, with how far, by group id and epoch.
pub const LOGS: Table = Table("logs");
/// By chat id and event id.
pub const TIMELINE: Table = Table("timeline");
/// By first sequence number.
pub const EVENT_LOG: Table = Table("feed");
/// By chat id and first sequence number of the entry.
pub const OUTBOX: Table = Table("outbox");
/// Secrets of our key packages, by their reference.
pub const KEY_PACKAGES: Table = Table("key_packages");
/// Invites that we gave, by token.
pub const INVITES: Table = Table("invites");
/// Contact requests that wait for the user, by account.
pub const REQUESTS: Table = Table("requests");
/// Sealed inbox items that we owe to others, by device and group.
pub const OUTBOUND_ITEMS: Table = Table("parcels");

/// Entries of ours in logs, by chat id, first sequence number, log address and number.
pub const LOGGED: Table = Table("logged");

/// Members of conversations, by chat id and account.
pub const MEMBERS: Table = Table("members");
/// Authors of events, by number.
pub const AUTHORS: Table = Table("authors");

/// What came before the message that it is about, by chat id and the message's id.
pub const EARLY: Table = Table("early");
/// Events that are stamped ahead of the time, until they are due, by chat id and event id.
pub const HELD: Table = Table("held");

/// Settings of the account, the same on all its devices, by kind and account.
pub const SETTINGS: Table = Table("settings");

/// All of them.
pub(super) const TABLES: [Table; 21] = [
    META,
    CONTACTS,
    CHATS,
    GROUPS,
    TIMELINE,
    EVENT_LOG,
    OUTBOX,
    KEY_PACKAGES,
    INVITES,
    REQUESTS,
    OUTBOUND_ITEMS,
    LOGGED,
    MEMBERS,
    AUTHORS,
    EARLY,
    HELD,
    MLS,
    EPOCHS,
    PENDING_COMMITS,
    LOGS,
    SETTINGS,
];
