//! Bounds of doors, and of coming in by them, each with its reason.

/// A new device that cannot enter a group in this time makes another.
pub const DOOR_TIMEOUT_MS: u64 = 20_000;
/// If others came before it, it looks for the way into the next epoch after this time …
pub const DOOR_AGAIN_MS: u64 = 500;
/// … and into a group of many after a time up to so much longer, which doubles up to this each time that others came first: of all who come at once
/// about one comes in at a time, and the others do not read what each of them makes of the tree.
pub const MAX_DOOR_SPREAD_MS: u64 = 10_000;
/// Whoever finds another's commit behind the door of a large group waits so long for a door of now: longer than
/// [`DOORS_EVERY`](crate::limits::DOORS_EVERY) epochs take in which keys are renewed one after the other, 10 s apart.
pub const NEXT_DOOR_MS: u64 = 120_000;
/// It does so this often before it rests.
pub const NEXT_DOOR_WAITS: u32 = 2;
/// So many times it looks for it as often as at first, and then half as often …
pub const LOOKS_AS_OFTEN: u32 = 8;
/// … and half as often again, so many times.
pub const MAX_LOOK_BACKOFF: u32 = 2;
/// Epochs that a device remembers not to have come in from.
pub const MAX_LOST_EPOCHS: usize = 256;
/// Not more often than after this time it is shown how many groups a new device has entered.
pub const SHOW_ENTERED_MS: u64 = 250;
/// Ways into a group that a new device tries: each costs some milliseconds, and members can write as many as they like.
pub const MAX_DOORS_TRIED: usize = 8;
/// How long the logs of a group wait for an account to list a device that has entered: its commit says as much, or the account's home does.
pub const UNLISTED_DEVICE_MS: u64 = 60_000;
/// Pages of a door's log that it reads: as much as a log has by default.
pub const MAX_DOOR_PAGES: u32 = 64;
/// Parts of doors that are kept while its log is read: those of several doors may be mixed.
pub const MAX_DOOR_PARTS: usize = 4 * starling_wire::limits::MAX_PARTS;
/// Bytes of the doors that were read and not tried yet, together.
pub const MAX_DOOR_BYTES: usize = 2 * starling_wire::limits::MAX_LARGE;
/// Entries before a new door that are deleted with it: the server takes so many numbers.
pub const DOOR_TRIM: u64 = 1_024;
/// A device that cannot enter a group looks again after this time …
pub const ENTER_AGAIN_MS: u64 = 10_000;
/// … doubled so many times at most.
pub const MAX_ENTER_BACKOFF: u32 = 8;
/// Who comes by a link and finds nothing that leads in gives up after so many times.
pub const MAX_LINK_FAILURES: u32 = 3;
/// Who was not added after so long enters by the door …
pub const ADDED_WITHIN_MS: u64 = 5_000;
/// … each after another time up to so much longer.
pub const ADDED_SPREAD_MS: u64 = 3_000;
/// So often whoever adds it can have it wait as long again: of many who come at once each commit adds some.
pub const MAX_WAITS_TO_BE_ADDED: u32 = 32;
/// Who was added and does not find the group's tree yet looks again after this time …
pub const TREE_AGAIN_MS: u64 = 100;
/// … for so long, and then enters by the door.
pub const TREE_WITHIN_MS: u64 = 5_000;
