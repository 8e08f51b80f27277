//! Bounds of the account, each with its reason.

use crate::limits::MAX_CONTACTS;

/// A device that asks to join waits so long for the user of the other one: as long as its code lasts.
pub const LINK_TIMEOUT_MS: u64 = 600_000;
/// Removed devices that are remembered, so that no list brings them back.
pub const MAX_REMOVED: usize = 64;
/// Servers that were our homes and are notified where we have gone.
pub const MAX_LEFT_HOMES: usize = 8;
/// A server that was our home is not tried any more after this time.
pub const LEFT_HOME_MS: u64 = 30 * 86_400_000;
/// A device that was added to our account is announced to contacts after this time even if it could not be answered.
pub const ANNOUNCE_ADDED_MS: u64 = 2_000;
/// Conversations in which it is announced in one turn.
pub const ANNOUNCED_AT_ONCE: usize = 8;
/// A home that has another history of our account is asked again after this time.
pub const OTHER_HISTORY_AGAIN_MS: u64 = 600_000;
/// Chains of our account that contacts have shown and that wait for an answer of our home: each is up to 64 KiB, and one is all there ever is
/// unless somebody misuses a key.
pub const MAX_SHOWN_CHAINS: usize = 4;
/// Most settings that the devices of an account agree on: some for each of [`MAX_CONTACTS`] conversations.
pub const MAX_SETTINGS: usize = 8 * MAX_CONTACTS;
