//! Bounds of groups' logs, each with its reason.

/// Wait before a receipt goes to the log: receipts of messages that come together travel together.
pub const RECEIPT_DELAY_MS: u64 = 150;
/// In a group they are spread over so long for each account, so that not all members append at the same time …
pub const RECEIPT_SPREAD_MS: u64 = 50;
/// … and a device says so only once in this time for each pair of accounts: all of them read what each of them says, and what that comes to in a
/// second is the same whatever their number …
pub const RECEIPT_PACE_MS: u64 = 40;
/// … but nobody waits longer than this.
pub const MAX_RECEIPT_PACE_MS: u64 = 10_000;
/// A commit that was refused so often, as there were commits in the log that we had not read, is stored behind them.
pub const MAX_COMMIT_REFUSALS: u8 = 3;
/// Our keys in a group are renewed after so many entries …
pub const UPDATE_AFTER_ENTRIES: u64 = 500;
/// … or so long …
pub const UPDATE_AFTER_MS: u64 = 7 * 86_400_000;
/// … or after having been away so long.
pub const UPDATE_AFTER_AWAY_MS: u64 = 86_400_000;
/// In groups of more devices than this …
pub const RENEWED_AT_ONCE: usize = 8;
/// … renewals that are due at the same time are spread over so long for each device, so that they do not race.
pub const RENEWAL_SPREAD_MS: u64 = 10_000;
/// A device whose program was updated shows that in all its groups, spread over so long for each of them: each time is a commit.
pub const REFRESH_SPREAD_MS: u64 = 250;
