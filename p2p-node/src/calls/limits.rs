//! Bounds of calls, each with its reason.

/// How long a call rings: people need a moment, and a ring that is older than this is a missed call.
pub const RING_MS: u64 = 60_000;
/// From an answer to media: longer means that there is no way.
pub const CALL_CONNECT_MS: u64 = 40_000;
/// A connection that is not made after this is tried again: a handshake over a bad network gives up sooner than people do.
pub const CALL_TRY_MS: u64 = 10_000;
/// The same if what the connection begins at is gone: a change of networks is several.
pub const CALL_HASTE_MS: u64 = 1_000;
/// How often.
pub const CALL_TRIES: u8 = 4;
/// From media to the other side's part of the emoji, which comes through the conversation; longer, and the user is warned.
pub const CALL_REVEAL_MS: u64 = 15_000;
/// Least time between new offers of the other side, after the first few.
pub const CALL_RESTART_MS: u64 = 2_000;
/// Wishes to record one call that are listened to: each is kept in the timeline.
pub const MAX_RECORD_ASKS: u8 = 8;
/// How long the rendezvous is waited for before a call begins without a relay.
pub const CALL_SERVERS_MS: u64 = 1_500;
/// The same for a call that is to go through a relay in any case, perhaps over Tor.
pub const CALL_RELAY_MS: u64 = 5_000;
/// Calls at a time, one of them active: who has more is busy.
pub const MAX_CALLS: usize = 3;
/// Rings of one contact in ten minutes that are not answered; the next ones are not announced, and the caller finds us busy.
pub const MAX_RINGS: usize = 6;
/// The time for that.
pub const RINGS_MS: u64 = 600_000;
/// Candidates that wait until a call is answered here.
pub const MAX_EARLY_CANDIDATES: usize = 64;
/// Calls of our other devices that are followed.
pub const MAX_ELSEWHERE: usize = 8;
/// Another device of ours hands a call over within this time.
pub const CALL_FETCH_MS: u64 = 10_000;
/// Calls of which something was heard before their ring.
pub const MAX_EARLY_CALLS: usize = 32;
/// A call that nobody attends is hung up after this: time for a screen to be started again.
pub const CALL_UNATTENDED_MS: u64 = 20_000;
/// Front ends that attend one call.
pub const CALL_ATTENDANTS: usize = 64;
/// The longest time for which a held key opens the microphone; it is renewed while the key is held.
pub const MAX_TALK_MS: u64 = 2_000;
