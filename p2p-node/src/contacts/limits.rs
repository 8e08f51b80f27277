//! Bounds of contacts, each with its reason.

/// How long the same device chain is not sent into a conversation again: who asks for it again and again gets it seldom.
pub const ECHO_AGAIN_MS: u64 = 60_000;
/// Members of groups that are no contacts, and of whom something is known.
pub const MAX_ACQUAINTANCES: usize = 4_096;
