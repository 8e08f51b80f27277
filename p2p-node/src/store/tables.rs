//! The tables of a profile, and what their rows are found by. Keys that others could know (of devices, logs, key packages) are enciphered.

use redb::TableDefinition;

/// A table; keys and values are bytes.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    name: &'static str,
    /// So many bytes of its keys are stored as they are.
    clear: usize,
}

impl Table {
    /// A table whose keys say nothing to who has only the file.
    const fn of(name: &'static str) -> Self {
        Self { name, clear: usize::MAX }
    }

    /// A table whose keys are enciphered after their first `clear` bytes.
    const fn hiding(name: &'static str, clear: usize) -> Self {
        Self { name, clear }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The part of a key that is stored as it is, if that is not all of it.
    pub(super) fn clear_part(self, key: &[u8]) -> Option<&[u8]> {
        key.get(..self.clear).filter(|clear| clear.len() < key.len())
    }

    /// Whether all keys are stored as they are.
    pub(super) fn is_clear(self) -> bool {
        self.clear == usize::MAX
    }

    /// The same table with its keys as they are stored.
    pub(super) fn as_stored(self) -> Self {
        Self::of(self.name)
    }

    pub(super) fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name)
    }
}

/// A conversation's id.
const CHAT: usize = 16;
/// A conversation's id and the clock of an event: what follows in an event's id tells who has written it.
const CHAT_AND_CLOCK: usize = 24;
/// A group's id and an epoch: what follows is the hash of what members have written.
const GROUP_AND_EPOCH: usize = 24;
/// A conversation's id and a sequence number: what follows is the address of a log, which its server knows.
const CHAT_AND_FIRST: usize = 24;

/// Single values: secrets, settings.
pub const META: Table = Table::of("meta");
/// By account.
pub const CONTACTS: Table = Table::of("contacts");
/// By chat id.
pub const CHATS: Table = Table::of("chats");
/// MLS groups, by group id.
pub const GROUPS: Table = Table::of("groups");
/// Encryption states of groups, by group id.
pub const MLS: Table = Table::of("mls");
/// Ratchet trees of large groups, by group id.
pub const TREES: Table = Table::of("trees");
/// Secrets of earlier epochs, by group id and epoch.
pub const EPOCHS: Table = Table::of("epochs");
/// Encryption states from which a commit was followed, by group id and epoch.
pub const PARENTS: Table = Table::of("parents");
/// Commits of ours that wait to win, by group id.
pub const PENDING_COMMITS: Table = Table::of("pending_commits");
/// Logs that are read, with how far, by group id and epoch.
pub const LOGS: Table = Table::of("logs");
/// Parts of commits that were read in logs, by group id, epoch and the part's name.
pub const PARTS: Table = Table::hiding("parts", GROUP_AND_EPOCH);
/// By chat id and event id.
pub const TIMELINE: Table = Table::hiding("timeline", CHAT_AND_CLOCK);
/// By first sequence number.
pub const EVENT_LOG: Table = Table::of("feed");
/// By chat id and first sequence number of the entry.
pub const OUTBOX: Table = Table::of("outbox");
/// Secrets of our key packages, by their reference.
pub const KEY_PACKAGES: Table = Table::hiding("key_packages", 0);
/// Invites that we gave, by token.
pub const INVITES: Table = Table::of("invites");
/// Contact requests that wait for the user, by account.
pub const REQUESTS: Table = Table::of("requests");
/// Sealed inbox items that we owe to others, by device and group.
pub const OUTBOUND_ITEMS: Table = Table::hiding("parcels", 0);

/// Entries of ours in logs, by chat id, first sequence number, log address and number.
pub const LOGGED: Table = Table::hiding("logged", CHAT_AND_FIRST);

/// Members of conversations, by chat id and account.
pub const MEMBERS: Table = Table::of("members");
/// Authors of events, by number.
pub const AUTHORS: Table = Table::of("authors");

/// What came before the message that it is about, by chat id and the message's id.
pub const EARLY: Table = Table::hiding("early", CHAT_AND_CLOCK);
/// Events that are stamped ahead of the time, until they are due, by chat id and event id.
pub const HELD: Table = Table::hiding("held", CHAT_AND_CLOCK);

/// Events of kinds that a newer version knows, until this program is updated, by chat id and event id.
pub const UNREADABLE: Table = Table::hiding("unreadable", CHAT_AND_CLOCK);

/// Settings of the account, the same on all its devices, by kind and account.
pub const SETTINGS: Table = Table::of("settings");

/// What is known of group conversations beside their MLS groups, by chat id.
pub const POLICIES: Table = Table::of("policies");
/// Members of groups that are no contacts, by account.
pub const ACQUAINTANCES: Table = Table::of("acquaintances");

/// Entries of the audit logs of groups, by chat id and number.
pub const AUDIT: Table = Table::of("audit");

/// Entries that members of groups have passed on, until the groups' logs have them, by chat id and the hash of the message.
pub const GOSSIPED: Table = Table::of("gossip");

/// Those who ask to be let into groups by a link, by chat id and account.
pub const JOIN_REQUESTS: Table = Table::of("join_requests");

/// Reports of messages to those who moderate a group, by chat id, reporter and the message's id, which tells who has written it.
pub const REPORTS: Table = Table::hiding("reports", CHAT);

/// All of them.
pub(super) const TABLES: [Table; 31] = [
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
    UNREADABLE,
    MLS,
    TREES,
    EPOCHS,
    PARENTS,
    PENDING_COMMITS,
    LOGS,
    PARTS,
    SETTINGS,
    POLICIES,
    ACQUAINTANCES,
    AUDIT,
    GOSSIPED,
    JOIN_REQUESTS,
    REPORTS,
];
