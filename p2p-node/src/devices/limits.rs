//! Bounds of the account's devices, each with its reason.

/// Logs at the account's homes that are listed for the user: more than its space has room for at 8 KiB each.
pub const MAX_STORED_LOGS: usize = 16_384;
/// One-time key packages that a device keeps at its home.
pub const KEY_PACKAGE_STOCK: u32 = 20;
/// Secrets of key packages that a device keeps: those on offer, and those that somebody has claimed and not used yet.
pub const MAX_KEY_PACKAGE_SECRETS: usize = 20 * KEY_PACKAGE_STOCK as usize;
/// Bytes of contacts in a snapshot up to which it says how new devices enter their groups; the rest is for settings.
pub const MAX_SNAPSHOT_WITH_DOORS: usize = 320 * 1024;
/// Number of an account's newest snapshot that is believed: one a second for longer than anybody lives.
pub const MAX_SNAPSHOT_VERSION: u64 = 1 << 40;
/// A home takes no snapshot whose number is further ahead of the one that it has.
pub const NEAR_SNAPSHOT_VERSIONS: u64 = 1_000;
/// Snapshots of the account that cannot be read and are kept: each may have as much as a home stores (512 KiB).
pub const MAX_UNREADABLE_SNAPSHOTS: usize = 3;
/// A removed device that is used is shown again after this time, in milliseconds: once a day.
pub const TRIED_AGAIN_MS: u64 = 86_400_000;
/// Removed devices of which it is remembered that they were used.
pub const MAX_TRIED_DEVICES: usize = 64;
/// Uses of removed devices of one contact that it is told of in the time of [`TRIED_AGAIN_MS`]: all kinds of three devices.
pub const MAX_USES_TOLD: usize = 15;
/// Uses of removed devices of ours that one contact is heard about in that time, as it may have made them up …
pub const MAX_USES_OF_CONTACT: usize = 8;
/// … and all contacts together.
pub const MAX_USES_HEARD: usize = 64;
/// Attempts of removed devices that are remembered, so that the user is warned of each once.
pub const MAX_REFUSED_REMOVALS: usize = 16;
