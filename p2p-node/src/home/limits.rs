//! Bounds of servers, each with its reason.

/// Proof of work that a server may ask for: 2^24 hashes are some seconds.
pub const MAX_WORK_BITS: u32 = 24;
/// A home's clock corrects ours by no more than this: a day, as in a wrong time zone or on a wrong date.
pub const MAX_CLOCK_CORRECTION_MS: u64 = 86_400_000;
/// A clock that shows an earlier time was never set (2026-11-01, in milliseconds since 1970).
pub const RELEASED_MS: u64 = 1_793_491_200_000;
/// Contacts whom we meet at a server that has not answered for so long are looked for through their homes, which learn this device's key by that. A
/// server that is there answers before, also when this program has just started.
pub const MISSED_AFTER_MS: u64 = 3_000;
/// Servers of others that are visited at a time.
pub const MAX_VISITS: usize = 16;
/// A visit that is not over after this time is ended: longer than anybody waits for an answer
/// ([`REACH_TIMEOUT_MS`](crate::limits::REACH_TIMEOUT_MS)), and than the work for an item takes.
pub const VISIT_MS: u64 = 30_000;
/// … and what it was for waits so long, so that others get their turn.
pub const VISIT_REST_MS: u64 = 10_000;
/// A server whose connection is gone, while others answer, is lost after this time: a program that was killed and is started again at once is back
/// before, as it is dialled after 0.5, 1.5 and 3.5 s.
pub const HOME_LOST_AFTER_MS: u64 = 4_500;
/// The same of one that was not connected before, or with which all connections were gone: its name may have to be looked up, and UDP be blocked.
pub const NEW_HOME_LOST_AFTER_MS: u64 = 8_000;
/// The same of one that answers, but not what it was asked for four seconds before: a disk that is busy for a moment moves nobody. One that does not
/// answer at all is lost at once: by then it has not for 4.5 s, and another connection to it was tried for two of them.
pub const SLOW_HOME_LOST_AFTER_MS: u64 = 4_000;
/// Before a server is lost the others are asked whether they answer; those that do not are known to be silent within this time.
pub const OTHERS_ASKED_MS: u64 = 4_000;
/// The longest time for which a server that is being restarted is waited for, if it asks for that.
pub const MAX_RESTART_MS: u64 = 60_000;
/// What a lost server has stored, and nobody is known to have read, is sent by another one after this time.
pub const HOME_LOST_LONG_MS: u64 = 60_000;
