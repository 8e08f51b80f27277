//! Bounds of groups' logs, each with its reason.

use crate::limits::DOOR_WAIT_MS;

/// Time until an entry that a connected device has not acknowledged goes to the log, too.
pub const LOG_AFTER_MS: u64 = 2_000;
/// Entries in one append.
pub const APPEND_ENTRIES: usize = 64;
/// Bytes in one append.
pub const APPEND_BYTES: usize = 512 * 1024;
/// Users are told that a home asks us to slow down if messages wait so long because of it.
pub const SHOWN_WAIT_MS: u64 = 1_000;
/// Groups whose logs a home that was asked too often is asked for at once after that, in each
/// [`MIN_RETRY_MS`](crate::limits::MIN_RETRY_MS): it lets an account ask for fifty pages in a second.
pub const LOGS_READ_AGAIN: usize = 6;
/// Bytes of a part of a commit or door that has more than [`WHOLE_BYTES`](crate::limits::WHOLE_BYTES).
pub const PART_BYTES: usize = if cfg!(test) { 8 * 1024 - 64 } else { starling_wire::limits::MAX_PART };
/// Parts in one append: the server takes 768 KiB.
pub const PARTS_AT_ONCE: usize = 5;
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
/// An epoch goes on so long at least when a candidate that ends nothing stands in its log: other changes may end it meanwhile.
pub const BLOCKED_AFTER_MS: u64 = 120_000;
/// A device whose program was updated shows that in all its groups, spread over so long for each of them: each time is a commit.
pub const REFRESH_SPREAD_MS: u64 = 250;
/// Logs of the last epochs are kept, though everybody has gone on: four for forks, and as many for ways in that are not of the newest one.
pub const KEPT_LOGS: u64 = 8;
/// Where a commit has found no room for some time, the logs of so many of the last epochs are kept …
pub const LEAST_KEPT_LOGS: u64 = 2;
/// … and this is that time: by then there is a way into the current epoch, which is written after [`DOOR_WAIT_MS`].
pub const DOOR_WRITTEN_MS: u64 = DOOR_WAIT_MS + 5_000;
/// Logs of epochs that are over, of one group, that are remembered to be deleted; others expire. A budget is used up by fewer.
pub const MAX_PAST_LOGS: usize = 512;
/// Of those so many are deleted at a time.
pub const DELETED_AT_ONCE: usize = 16;
/// Where there is no room for a log, devices that are far behind are left behind at most once in this time …
pub const LEFT_BEHIND_AGAIN_MS: u64 = 60_000;
/// … and in this one if it is others who find none: they may be flooding the log.
pub const LEFT_BEHIND_FOR_OTHERS_MS: u64 = 3_600_000;
/// Both times are doubled so often at most while that makes no room: the home may be full for another reason.
pub const MAX_LEFT_BEHIND_BACKOFF: u32 = 10;
/// Who has written more than this part of what is in a group's logs, an eighth, may be flooding them: in large groups nobody is left behind for others
/// then. Who has written a quarter is surely found …
pub const FLOOD_PART: u64 = 8;
/// … as so many accounts of a log are counted, so that what is counted of one is too low by at most an eighth of all …
pub const MAX_LOG_WRITERS: usize = 7;
/// … each entry with what a server counts beside its bytes …
pub const LOG_ENTRY_BYTES: u64 = 64;
/// … and a commit that counts for nobody as so much at least: a server takes sixteen of a device in a log, and 193 KiB.
pub const VOID_COMMIT_BYTES: u64 = 12 * 1024;
