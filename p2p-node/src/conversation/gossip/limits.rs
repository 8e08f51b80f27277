//! Bounds of gossip, and of signs of life in groups, each with its reason.

/// Topics on which entries of groups are passed on at a time, those of the groups in which something was written last. gossipsub takes 100 of a peer.
pub const MAX_TOPICS: usize = 96;
/// Of more groups those are chosen in which something was written last, in steps of this length: two lively ones do not take turns.
pub const TOPIC_ACTIVITY_MS: u64 = 600_000;
/// The topic of an epoch is kept for so long after its end: others may not have read of that yet.
pub const GOSSIP_GRACE_MS: u64 = 60_000;
/// Entries of a conversation that are kept until its log has them: a day of a lively group whose home is away …
pub const MAX_GOSSIP_ENTRIES: usize = 2_048;
/// … from one device, so that it does not take the place of others …
pub const MAX_GOSSIP_OF_DEVICE: usize = 512;
/// … and their bytes. More is read in the log.
pub const MAX_GOSSIP_BYTES: usize = 16 * 1024 * 1024;
/// What comes by gossip waits so long for the log's copy where the log can be read, far less than anybody sees; not in tests, where both come at once …
pub const GOSSIP_WAIT_MS: u64 = if cfg!(test) { 0 } else { 40 };
/// … or a quarter longer than the log took lately, if that was not more than this …
pub const MAX_LOG_LAG_MS: u64 = 250;
/// … and so much longer for each other that waits, as many come together or this device is behind …
pub const GOSSIP_WAIT_EACH_MS: u64 = 5;
/// … but not longer than this …
pub const MAX_GOSSIP_WAIT_MS: u64 = 1_000;
/// … and of all groups so many at most …
pub const MAX_WAITING: usize = 512;
/// … with so many bytes.
pub const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// What was passed on and is not in the log after so long any member appends …
pub const APPEND_FOR_OTHERS_MS: u64 = 60_000;
/// … and again if it still is not, after twice as long each time, up to so often …
pub const MAX_APPEND_DOUBLINGS: u32 = 6;
/// … one after the other, so long apart …
pub const APPEND_TURN_MS: u64 = 2_000;
/// … and not before the log could be read for so long: its author appends it at once.
pub const GOSSIP_READ_MS: u64 = 5_000;
/// A message whose epoch is over, and that its author has not written again after so long, is marked.
pub const GOSSIP_UNDONE_MS: u64 = 600_000;
/// What a log that is away lacks is passed on again to who comes, at most this often …
pub const GOSSIP_AGAIN_MS: u64 = 10_000;
/// … in parts of so many entries, the oldest first …
pub const MAX_GOSSIP_AGAIN: usize = 64;
/// … and once more after so long: within two minutes gossipsub passes nothing on that it has seen.
pub const GOSSIP_REPEAT_MS: u64 = 130_000;
/// Events of a member's device that are not in a log which was read to its end are asked for after this time: those before which others stand …
pub const ASK_FOR_MISSING_MS: u64 = 60_000;
/// … again after this time, doubled each time …
pub const ASK_FOR_MISSING_AGAIN_MS: u64 = 600_000;
/// … and so often in all: for three days, as their author may be away, and keeps them for a week. What nobody has any more stays missing.
pub const MAX_ASKS_FOR_MISSING: u32 = 10;
/// Of these the last are a device's own: before, somebody else who lacks the same may have asked for all …
pub const OWN_ASKS_FOR_MISSING: u32 = 2;
/// … as members ask in so many turns, one after the other.
pub const ASK_FOR_MISSING_TURNS: usize = 30;
/// So many gaps of one device are asked for at a time, the first: others have their place in the receipt, too.
pub const MAX_MISSING_OF_DEVICE: usize = 4;
/// Each device is answered at most once in this time …
pub const ANSWER_MISSING_EVERY_MS: u64 = 300_000;
/// … in a group, and all of them together so often: what they ask for goes into the log for everybody.
pub const MAX_MISSING_ANSWERS: usize = 16;
/// Messages of others that a device keeps of a group's epoch to bring them into the log again: the newest …
pub const MAX_RECENT_MESSAGES: usize = 512;
/// … their bytes …
pub const MAX_RECENT_BYTES: usize = 1024 * 1024;
/// … and those of all groups.
pub const MAX_ALL_RECENT_BYTES: usize = 16 * 1024 * 1024;
/// In a group typing is passed on at most this often by a device, as each sign goes to all …
pub const GROUP_TYPING_EVERY_MS: u64 = 5_000;
/// … by others it is taken a little more often: what was held up comes close to what follows it …
pub const GROUP_TYPING_LEAST_MS: u64 = 4_000;
/// … and taken back after this time without another sign …
pub const GROUP_TYPING_MS: u64 = 9_000;
/// … of so many devices in one group, the others are not shown …
pub const MAX_TYPISTS: usize = 64;
/// … and not in groups of more accounts than these.
pub const TYPING_ACCOUNTS: usize = 32;
/// Who has written or typed in a group within this time is there, as far as others can tell …
pub const ACTIVE_MS: u64 = 300_000;
/// … and so many accounts are remembered for that in one group.
pub const MAX_ACTIVE: usize = 256;
/// Who writes more messages than these in a minute floods a group …
pub const FLOOD_MESSAGES: u32 = 120;
/// … and for so long the user is not notified of each: all of them are there, as everybody has to have the same.
pub const SLOWED_MS: u64 = 300_000;
