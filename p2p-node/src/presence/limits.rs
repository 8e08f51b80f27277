//! Bounds of presence, each with its reason.

/// Typing is taken back after this time without another sign.
pub const TYPING_MS: u64 = 6_000;
/// Presence is sent at most this often for each conversation.
pub const PRESENCE_EVERY_MS: u64 = 2_000;
/// Addresses that are kept of one device: those of its interfaces, in both families and over both transports. Each is one that its user has us dial.
pub const MAX_DEVICE_ADDRESSES: usize = 8;
