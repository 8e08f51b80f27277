//! Bounds of the node that several parts of it share, each with its reason. Every other bound that a peer, a server or a caller can reach is in the
//! `limits.rs` of the folder that it is about.

/// Time until an entry that a connected device has not acknowledged goes to the log, too.
pub const LOG_AFTER_MS: u64 = 2_000;
/// Entries in one append.
pub const APPEND_ENTRIES: usize = 64;
/// Bytes in one append.
pub const APPEND_BYTES: usize = 512 * 1024;
/// Commits and doors of large groups that have more bytes are stored in parts; in tests those of ten devices are.
pub const WHOLE_BYTES: usize = if cfg!(test) { 12 * 1024 } else { starling_wire::limits::MAX_ENTRY };
/// Bytes of such a part.
pub const PART_BYTES: usize = if cfg!(test) { 8 * 1024 - 64 } else { starling_wire::limits::MAX_PART };
/// Parts in one append: the server takes 768 KiB.
pub const PARTS_AT_ONCE: usize = 5;
/// Wait before another try after a rendezvous has refused for lack of room or rate.
pub const RETRY_REFUSED_MS: u64 = 10_000;
/// Contacts: their snapshot, some 150 bytes each, has to fit `MAX_SNAPSHOT`.
pub const MAX_CONTACTS: usize = 3_000;
/// A clock further ahead than this is not followed, and an event with such a stamp waits: nobody pins what he writes to the end.
pub const MAX_CLOCK_AHEAD_MS: u64 = 120_000;
/// An operation that needs a rendezvous gives up after this time without a connection.
pub const REACH_TIMEOUT_MS: u64 = 20_000;
/// A signal older than this is a replay.
pub const SIGNAL_AGE_MS: u64 = 120_000;
/// Clocks that differ by less are not mended.
pub const CLOCK_TOLERANCE_MS: u64 = 30_000;
/// In large groups of more devices than this, few in tests, …
pub const DOOR_WAITS_DEVICES: usize = if cfg!(test) { 12 } else { 64 };
/// … where nobody is known to wait before the door, the way into an epoch is written after this time, if no other epoch has begun by then …
pub const DOOR_WAIT_MS: u64 = 30_000;
/// … but for each so many epochs at once, so that there are doors also while one commit follows another.
pub const DOORS_EVERY: u64 = 8;
/// Rows that one page of a history stands for, those among them that are not copied: a page takes a few milliseconds.
pub const MAX_HISTORY_WALK: u32 = 8 * 1024;
/// Logs of the last epochs are kept, though everybody has gone on: four for forks, and as many for ways in that are not of the newest one.
pub const KEPT_LOGS: u64 = 8;
/// Where a commit has found no room for some time, the logs of so many of the last epochs are kept …
pub const LEAST_KEPT_LOGS: u64 = 2;
/// … and this is that time: by then there is a way into the current epoch, which is written after [`DOOR_WAIT_MS`].
pub const DOOR_WRITTEN_MS: u64 = DOOR_WAIT_MS + 5_000;
/// Logs of epochs that are over, of one group, that are remembered to be deleted; others expire. A budget is used up by fewer.
pub const MAX_PAST_LOGS: usize = 512;
/// Of those so many are deleted at a time.
pub const DELETED_AT_ONCE: usize = 16;
/// Where there is no room for a log, devices that are far behind are left behind at most once in this time …
pub const LEFT_BEHIND_AGAIN_MS: u64 = 60_000;
/// … and in this one if it is others who find none: they may be flooding the log.
pub const LEFT_BEHIND_FOR_OTHERS_MS: u64 = 3_600_000;
/// Who has written more than this part of what is in a group's logs, an eighth, may be flooding them: in large groups nobody is left behind for others
/// then. Who has written a quarter is surely found …
pub const FLOOD_PART: u64 = 8;
/// … as so many accounts of a log are counted, so that what is counted of one is too low by at most an eighth of all …
pub const MAX_LOG_WRITERS: usize = 7;
/// … each entry with what a server counts beside its bytes …
pub const LOG_ENTRY_BYTES: u64 = 64;
/// … and a commit that counts for nobody as so much at least: a server takes sixteen of a device in a log, and 193 KiB.
pub const VOID_COMMIT_BYTES: u64 = 12 * 1024;
/// Both times are doubled so often at most while that makes no room: the home may be full for another reason.
pub const MAX_LEFT_BEHIND_BACKOFF: u32 = 10;
/// Accounts that one commit lets in …
pub const INVITED_AT_ONCE: usize = 64;
/// … and accounts that one removes by role: each leaves a part of the tree without inner nodes, and the commit has 1.2 KB more for each of these.
pub const REMOVED_AT_ONCE: usize = 16;
