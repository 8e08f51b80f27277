//! Bounds of meeting others, each with its reason.

/// Contact requests that wait for the user.
pub const MAX_REQUESTS: usize = 200;
/// Groups at one server that a new device enters at the same time, the most recent conversations first.
pub const ENTERED_AT_ONCE: usize = 16;
