//! Bounds of members of groups, and of those who want to be, each with its reason.

use starling_wire::limits::MAX_ADDS;

/// Groups that an account is in: their ways in have to fit a snapshot.
pub const MAX_GROUP_CHATS: usize = 1_000;
/// Groups that something is known of, with those that were left and declined.
pub const MAX_KNOWN_GROUPS: usize = 4_000;
/// Invitations into groups that wait for the user: contacts can make us keep so many.
pub const MAX_INVITATIONS: usize = 64;
/// Words of accounts that leave a group, until they are gone.
pub const MAX_LEAVES: usize = 32;
/// Accounts of which a group remembers that they have ceased to be owners; of more it forgets the first.
pub const MAX_FORMER_OWNERS: usize = 64;
/// What was done of what the user wanted in a group and may have to be done again.
pub const MAX_DONE_INTENTS: usize = 192;
/// Who we are is told to those who have come into a group after this time, once for all who come within it.
pub const INTRODUCE_AFTER_MS: u64 = 2_000;
/// … for each so many accounts: in large groups others come one after the other for long.
pub const INTRODUCED_AT_ONCE: usize = 32;
/// So long after a device of an account that could have said who it is, its next device does.
pub const INTRODUCE_TURN_MS: u64 = 30_000;
/// The ways into a community's channels are told to those who have come after this time, once for all who come within it …
pub const TELL_WAYS_AFTER_MS: u64 = 200;
/// … by one device after the other, until one has: all know them, and who reads that they were told is silent.
pub const TELL_WAYS_TURN_MS: u64 = 300;
/// Parts of an audit log that are handed to who has come, the newest first: some thousand entries. What is older is missing there, and said to be.
pub const MAX_AUDIT_PARTS: usize = 16;
/// Who was told of an invitation on its stream, and has not said so long that it has come, is told in its inbox.
pub const OFFERED_WITHIN_MS: u64 = 5_000;
/// Who has accepted an invitation is added so long after the last who has …
pub const ADD_AFTER_MS: u64 = 200;
/// … and so long after the first: many who accept at once come in by few commits.
pub const ADD_WITHIN_MS: u64 = 1_000;
/// Devices that one commit adds where few are there. Nothing else is done while it is made, which takes some tenths of a millisecond for each of them …
const MIN_ADDS: usize = 16;
/// … and one for each so many that are there. In a tree that was just founded a commit has 1.2 KB for each device, for all of them to read: where there
/// are many, few commits are worth more than short ones.
const DEVICES_FOR_ADD: usize = 8;
/// Who waits for the next commits is told so at most once in this time: it waits some seconds by itself.
pub const TELL_TO_WAIT_MS: u64 = 1_000;
/// Bytes of the key packages that one commit has, which they make about twice as large …
pub const ADD_BYTES: usize = 512 * 1024;
/// … and where commits have to fit an entry, with the path of 64 devices.
pub const ADD_BYTES_SMALL: usize = 40 * 1024;
/// Devices that wait to be added to a group by this one: as many as can be in it.
pub const MAX_WAITING_DEVICES: usize = 2_048;
/// Devices of whoever has invited us that are asked to add this one, which are connected.
pub const ASKED_TO_ADD: usize = 3;
/// Refusals of requests that are put into a link's box at once: the rest follows when it is read again.
pub const MAX_REFUSALS_AT_ONCE: usize = 16;
/// Accounts that may come in by one link.
pub const MAX_LINK_USES: u32 = 10_000;
/// Links that a user looks at at once.
pub const MAX_LOOKS: usize = 16;
/// Requests to be let into a group that a device keeps, the oldest: what more there are wait in the box until some are decided.
pub const MAX_JOIN_REQUESTS: usize = 128;
/// Who was refused may ask again after this time: a day, so that nobody is asked again and again …
pub const JOIN_AGAIN_MS: u64 = 86_400_000;
/// … or so much earlier, by the clock of who has refused: no two clocks agree.
pub const JOIN_AGAIN_EARLIER_MS: u64 = 600_000;
/// Messages that are handed on to who has come into a group, the newest; few in tests, as are bytes …
pub const MAX_HANDED_ROWS: usize = if cfg!(test) { 40 } else { 1_000 };
/// … and their bytes: they stand in the group's log, where an account has 2 MiB on its first day, and all members read them …
pub const MAX_HANDED_BYTES: usize = 256 * 1024;
/// … in so many parts, which are all that who has come takes …
pub const MAX_HANDED_PARTS: usize = 16;
/// … of so many bytes: with its keys a part fits what members pass on to one another …
pub const HANDED_PART_BYTES: usize = if cfg!(test) { 1024 } else { 31 * 1024 };
/// … or of one message that is longer. What is still longer is left out.
pub const MAX_HANDED_ROW: usize = 60 * 1024;
/// The history is handed on by the first member that is there; each waits so long after the one before.
pub const HANDED_TURN_MS: u64 = 3_000;
/// Where the log cannot be read, or the key of who has come is not known, it is tried again after this time …
pub const HANDED_AGAIN_MS: u64 = 10_000;
/// … for a key so often.
pub const MAX_HANDED_TRIES: u32 = 8;
/// Devices that have come and wait for the history in one group.
pub const MAX_NEWCOMERS: usize = 512;
/// Reports of messages that a moderator's device keeps of one group, the newest …
pub const MAX_REPORTS: usize = 256;
/// … and of one member, the oldest, so that it does not take the place of others.
pub const MAX_REPORTS_OF_MEMBER: usize = 32;

/// How many devices one commit adds to a group in which so many are.
pub fn adds_at_once(devices: usize) -> usize {
    (devices / DEVICES_FOR_ADD).clamp(MIN_ADDS, MAX_ADDS)
}
