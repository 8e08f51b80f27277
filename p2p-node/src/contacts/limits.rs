//! Bounds of contacts, each with its reason.

/// How long the same device chain is not sent into a conversation again: who asks for it again and again gets it seldom.
pub const ECHO_AGAIN_MS: u64 = 60_000;
/// Members of groups that are no contacts, and of whom something is known.
pub const MAX_ACQUAINTANCES: usize = 4_096;
/// Members of groups that are no contacts are looked up so often: whoever has found a lost device is not to read on with it for days …
pub const LOOK_UPS_EVERY_MS: u64 = 3_600_000;
/// … so many of them at a time: each is a visit to a server. In a group of any size that is some four look-ups of each account an hour.
pub const LOOK_UPS_AT_ONCE: usize = 4;
/// The first are looked up so long after the start, and up to [`LOOK_UPS_EVERY_MS`] later: most accounts have said by then who they are.
pub const FIRST_LOOK_UP_MS: u64 = 600_000;
/// A look-up of a member is given up after this time: several may wait for visits to one server, and there is another one later.
pub const LOOK_UP_WITHIN_MS: u64 = 300_000;
