//! Bounds of carrying out calls, each with its reason.

/// Finished calls whose statistics can still be asked for.
pub const CALLS_REMEMBERED: usize = 16;
