//! Bounds of what a fork, or a member at another place, may cost, each with its reason.

/// The state from which a commit was followed is kept for so long, so that a fork can be healed: the keys of that epoch are not forgotten before.
pub const PARENT_LIFE_MS: u64 = 7 * 86_400_000;
/// Bytes that are kept of one such state, with its commits. It is some 20 KB for two devices, and grows by 2 KB with each; a larger one is not kept.
pub const MAX_PARENT_BYTES: usize = 12 * 1024 * 1024;
/// Commits of ours that are kept when another was followed from an epoch, with the states after them.
pub const MAX_LEFT_COMMITS: usize = 8;
/// Commits that one member, or a group's logs, may have us judge or send in this time because of a fork; each costs some milliseconds …
pub const MAX_BEACON_WORK: u32 = 64;
/// … and the time.
pub const BEACON_WORK_MS: u64 = 3_600_000;
/// Messages that cannot be read make us compare epochs with a member at most this often.
pub const ASK_AGAIN_MS: u64 = 10_000;
/// What we have followed is left in the inboxes of members who were not heard in the new epoch for so long: in most cases they are by then.
pub const BEACON_ITEM_AFTER_MS: u64 = 300_000;
/// Beacons are left for one device at most this often, and eight times as seldom with each time that it was not heard since: five items in 30 days,
/// which is how long a server keeps them.
pub const BEACON_ITEM_EVERY_MS: u64 = 600_000;
/// Answers to beacons of one device that are left in its inbox in an hour; each costs some work, and a place there.
pub const MAX_BEACON_ANSWERS: u32 = 8;
/// Members write for so long in epochs that nothing leads to before a group is given up. A log that is there is read long before.
pub const BEHIND_FOR_MS: u64 = 600_000;
/// A member that may only be ahead of us, or behind, is asked for the way to where it is after this time. What stands in a log is read long before.
pub const SEEK_AFTER_MS: u64 = 300_000;
/// If it has not answered it is asked again after this time.
pub const SEEK_AGAIN_MS: u64 = 60_000;
/// Members of a group that are asked at most at a time.
pub const MAX_SEEKS: usize = 16;
/// Who asks for the way while another was shown it waits for that one at most so long: with a server that answers it has come by then …
pub const SHOWN_WAY_MS: u64 = 10_000;
/// … so many at a time; more have to ask again.
pub const MAX_SHOWN_WAITING: usize = 64;
/// The largest door that is shown on a stream: it has to fit a frame.
pub const MAX_SHOWN_DOOR: usize = 384 * 1024;
/// All who lead where a device is have left for so long, as of an epoch that it does not come to, before it gives up: a log is read long before.
pub const LEFT_ALONE_MS: u64 = 3_600_000;
/// What somebody lacks who enters a group again is written after as long as the group rests, doubled so many times at most.
pub const MAX_OWED_BACKOFF: u32 = 2;
/// How often somebody has entered a group again is remembered for this time after it was last given what it lacked.
pub const OWED_LIFE_MS: u64 = 86_400_000;
/// What a member tells of a commit while the log of its epoch is being read waits for that at most so long: what is written there comes first. A home
/// that answers has shown a thousand entries by then, and one that does not holds nobody up.
pub const TOLD_WAITS_MS: u64 = 10_000;
/// Of one group so many members' words wait, with up to 128 KiB each; what more of them tell of is looked at as it comes.
pub const MAX_TOLD_WAITING: usize = 4;
