//! Bounds of the node that several parts of it share, each with its reason. Every other bound that a peer, a server or a caller can reach is in the
//! `limits.rs` of the folder that it is about.

/// Commits and doors of large groups that have more bytes are stored in parts; in tests those of ten devices are.
pub const WHOLE_BYTES: usize = if cfg!(test) { 12 * 1024 } else { starling_wire::limits::MAX_ENTRY };
/// Wait before another try after a rendezvous has refused for lack of room or rate.
pub const RETRY_REFUSED_MS: u64 = 10_000;
/// The shortest such wait, if a rendezvous says how long to wait as it was asked too often: by then it lets us ask for a dozen things.
pub const MIN_RETRY_MS: u64 = 250;
/// The longest such wait, however long a rendezvous says: it may have been mistaken.
pub const MAX_RETRY_MS: u64 = 60_000;
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
/// Accounts that one commit lets in …
pub const INVITED_AT_ONCE: usize = 64;
/// … and accounts that one removes by role: each leaves a part of the tree without inner nodes, and the commit has 1.2 KB more for each of these.
pub const REMOVED_AT_ONCE: usize = 16;
