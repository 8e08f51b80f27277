//! Bounds of what our devices tell each other, each with its reason.

/// How far was read changes with every message that is looked at: it is in the account's snapshot within this time.
pub const READ_MARKS_WITHIN_MS: u64 = 10_000;
