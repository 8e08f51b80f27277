//! Every bound that a client can reach and that the operator does not set, with its reason.

use std::time::Duration;

/// Frames that wait for one device. A device that reads more slowly is disconnected: it comes back and reads its logs from where it was.
pub const PUSH_QUEUE: usize = 256;
/// Logs that one session may follow: one per conversation, and some that are being left.
pub const MAX_FOLLOWED: usize = 10_000;
/// Entries in one page of a log or inbox.
pub const PAGE_ENTRIES: usize = 256;
/// Bytes in one page of a log or inbox; a single entry may be larger.
pub const PAGE_BYTES: usize = 512 * 1024;
/// Entries in one append.
pub const APPEND_ENTRIES: usize = 256;
/// Bytes in one append.
pub const APPEND_BYTES: usize = 768 * 1024;
/// Open short codes at a time: their numbers stay short.
pub const MAX_CODES: usize = 10_000;
/// Open short codes of one session.
pub const CODES_PER_SESSION: usize = 4;
/// Devices in one claim of key packages: those of two accounts.
pub const DEVICES_PER_CLAIM: usize = 32;
/// Requests to inboxes that one session may pay for with work.
pub const MAX_PAID: usize = 1_024;
/// Guesses at short codes in one session.
pub const CODE_TRIES_PER_SESSION: u32 = 16;
/// Entries together larger than this are not pushed: readers are told to fetch them, so that a slow one holds little memory.
pub const PUSH_BYTES: usize = 64 * 1024;
/// A closed log may take this much beyond its quota, so that it can be left.
pub const CLOSE_OVERDRAFT: u64 = 16 * 1024 * 1024;
/// So many receipts may go over a log's bounds, so that a full one can be emptied.
pub const RECEIPTS_OVERDRAFT: u64 = 64;
/// Largest receipt that may.
pub const RECEIPT_BYTES: u64 = 8 * 1024;
/// Entries that one receipt may replace.
pub const RECEIPT_REPLACES: usize = 16;
/// An invite's longest life, seconds.
pub const INVITE_LIFE_S: u64 = 366 * 86_400;
/// A device has to answer pings within this time, or its connection is closed.
pub const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How often expired entries are looked for.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);
/// User names of accounts that were away longer are free again.
pub const NAME_UNUSED_DAYS: u64 = 365;
