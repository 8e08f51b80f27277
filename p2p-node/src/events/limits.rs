//! Bounds of events, each with its reason.

/// Messages of a conversation that are not here and of which something is kept: an edit, a reaction. Others may make us keep so many.
pub const MAX_EARLY_TARGETS: u32 = 1024;
/// A message can be deleted for everyone this long.
pub const DELETE_WINDOW_MS: u64 = 48 * 3_600_000;
/// A deletion that comes later than this after its stamp is void: it waits for 30 days with its author, and for 30 days in a log.
pub const MAX_DELETE_DELAY_MS: u64 = 60 * 86_400_000;
