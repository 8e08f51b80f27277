//! Bounds of copies of the history, each with its reason.

/// Durable events that are looked through for one page of changes.
pub const MAX_HISTORY_EVENTS: usize = 4 * 1024;
/// Bytes of messages in a page of a history on a direct connection; few in tests, so that there are many pages …
pub const HISTORY_BYTES_DIRECT: usize = if cfg!(test) { 1024 } else { 192 * 1024 };
/// … through a relay, which others use, too …
pub const HISTORY_BYTES_RELAYED: usize = 64 * 1024;
/// … and through an inbox at the home, where it has to fit an item with our device list.
pub const HISTORY_BYTES_HOME: usize = if cfg!(test) { 1024 } else { 48 * 1024 };
/// A page that has not come is asked for again after this time.
pub const HISTORY_ASK_AGAIN_MS: u64 = 10_000;
/// Two devices that have not met for so long copy through the home …
pub const HISTORY_HOME_AFTER_MS: u64 = 20_000;
/// … and ask again there after this time: the request waits in an inbox.
pub const HISTORY_HOME_AGAIN_MS: u64 = 600_000;
/// Changes are asked for again after this time, and ever more seldom …
pub const HISTORY_IDLE_MS: u64 = 10_000;
/// … but not more seldom than this.
pub const MAX_HISTORY_IDLE_MS: u64 = 600_000;
/// Changes are followed for so long, if somebody does not write to the new device yet.
pub const HISTORY_FOLLOW_MS: u64 = 7 * 86_400_000;
/// A permission to copy the history is good for so long.
pub const HISTORY_GRANT_MS: u64 = 30 * 86_400_000;
/// Permissions that are kept: one for each device that an account can have.
pub const MAX_HISTORY_GRANTS: usize = 16;
/// What a group lacks is asked for again after the same times, doubled so many times at most: then twice a day through the home.
pub const MAX_GROUP_HISTORY_BACKOFF: u32 = 6;
/// A device that enters a group again asks for what is so much older than the newest that it has, too: what was written late may be missing.
pub const GROUP_HISTORY_BACK_MS: u64 = 7 * 86_400_000;
/// Progress is told at most this often.
pub const HISTORY_TOLD_EVERY_MS: u64 = 250;
