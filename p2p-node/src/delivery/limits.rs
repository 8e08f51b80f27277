//! Bounds of direct streams, each with its reason.

/// Bytes sent to a device on a direct stream that it has not acknowledged. Enough for a burst over a long path (50 ms × 80 MB/s).
pub const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Entries in one pass over an outbox for one device, so that others get their turn.
pub const PUMP_ENTRIES: usize = 64;
/// Unacknowledged for so long on a live stream: sent again.
pub const RESEND_AFTER_MS: u64 = 20_000;
