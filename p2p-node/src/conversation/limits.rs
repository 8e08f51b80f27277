//! Bounds of conversations and their groups; the folders in here have those of their own, each with its reason.

/// Plaintext of a batch that we make of several events. The database gives each row room in powers of two: with its frame and ids this fills 64 KiB.
pub const BATCH_BYTES: usize = 56 * 1024;
/// Encrypted entries that may wait in one conversation's outbox. More are refused: something is wrong, and memory is bounded.
pub const MAX_OUTBOX: usize = 50_000;
/// A message that nobody took in this time has failed (the life of a log's entries).
pub const OUTBOX_LIFE_MS: u64 = 30 * 86_400_000;
/// What everybody in a group has not got after so long is not kept for them any more, if a log has it: some devices never come back.
pub const GROUP_OUTBOX_LIFE_MS: u64 = 7 * 86_400_000;
/// In groups of more accounts nobody says what it has got: each message would be answered by as many receipts, each about all devices.
pub const ACKNOWLEDGING_ACCOUNTS: usize = 32;
/// What a log has is kept there for so long, as all may yet go on from another commit: nobody says that it has it.
pub const LARGE_OUTBOX_LIFE_MS: u64 = 3_600_000;
/// Appends whose entries one request deletes: the server takes 1,024 numbers.
pub const TRIM_ROWS: usize = 8;
/// Receipts in a log that the next one replaces: the server takes so many numbers.
pub const MAX_REPLACED_RECEIPTS: usize = 16;
/// A log whose epoch has ended is read on for so long, as somebody may have written there who had not read of the end. What they wrote comes again in
/// the next log; this is only sooner.
pub const READ_ENDED_MS: u64 = 86_400_000;
/// Ranges of events that came early, per device. Beyond that they are taken without a note, and a copy might be shown twice.
pub const MAX_EARLY: usize = 256;
/// MLS messages of an epoch not yet reached that are kept per group.
pub const MAX_FUTURE: usize = 256;
/// Hashes of ciphertexts kept to drop copies before they are decrypted.
pub const SEEN_HASHES: usize = 8_192;
/// Events of a conversation that wait until they are due. Of more, those that are furthest ahead give way.
pub const MAX_HELD: usize = 1_024;
/// Events of a conversation that are kept until this program is updated, as only a newer version can read them; of each device as many as are left
/// free. What comes after so many is lost.
pub const MAX_UNREADABLE: usize = 1_024;
/// Bytes of them, for the same reason.
pub const MAX_UNREADABLE_BYTES: usize = 4 * 1024 * 1024;
/// Groups whose encryption state is kept in memory: some 40 KB each. Others are read from the profile when a message needs them, in a fraction of
/// a millisecond. One in tests: all of them try what is dropped and loaded again.
pub const MAX_LOADED_GROUPS: usize = if cfg!(test) { 1 } else { 256 };
/// Leaves that the trees of these groups have in all, with those of copies beside them, some 4 KB in memory each: of groups of a thousand fewer are
/// kept.
pub const MAX_LOADED_LEAVES: u64 = 16 * 1024;
/// Messages that are encrypted and decrypted in a group before its encryption state, some 20 KB, is written again. After a crash so many keys of ours
/// are passed over, and members follow us over 1,024; few in tests, so that states are written, too.
pub const STATE_MESSAGES: u32 = if cfg!(test) { 3 } else { 64 };
/// A state that has gone on is written within this time: until then, the file has keys of messages that were read.
pub const STATE_WITHIN_MS: u64 = 10_000;
/// A state has 2 KB for each device: of so many more devices it is written that much more seldom …
pub const STATE_DEVICES: usize = 64;
/// … but not more seldom than so many times: members have to follow us over the keys that are passed over.
pub const MAX_STATE_LEAD: usize = 4;
/// Messages of others that are decrypted for each that could be encrypted before such a large state is written again: nobody passes over keys for that.
pub const MAX_READ_LEAD: u32 = 2;
/// A large state in which others' messages alone have used up keys is written so many times as late: what these keys open is in the same file.
pub const READ_STATE_TIMES: u64 = 15;
/// In groups of so many leaves the ratchet tree, nine tenths of the state, has a row of its own, which changes with commits alone.
pub const TREE_LEAVES: u32 = if cfg!(test) { 4 } else { 64 };
/// Groups kept for one conversation: the newest are used.
pub const MAX_GROUPS_PER_CHAT: usize = 8;
/// Groups that one welcome replaces, and that are remembered as replaced before they were joined.
pub const MAX_REPLACED_GROUPS: usize = 2 * MAX_GROUPS_PER_CHAT;
/// Devices that have given up the same group make another in turns of this length, until one has done it: to look devices up, claim their key packages
/// and leave the welcomes takes less.
pub const REGROUP_TURN_MS: u64 = 2_000;
/// A conversation whose group does not fit the devices of both sides gets another after this time, with jitter.
pub const MEND_AFTER_MS: u64 = 30_000;
/// If that does not help, again after this time, and then ever more seldom.
pub const MEND_AGAIN_MS: u64 = 3_600_000;
/// If no group could be made for a conversation that has none, the first wait before another try; it doubles up to a day.
pub const NO_GROUP_AGAIN_MS: u64 = 10_000;
/// Who is there joins a new group within this time.
pub const JOIN_WITHIN_MS: u64 = 600_000;
/// A conversation whose log was at a lost server moves to another one, and again after this time at the earliest; it doubles with each move …
pub const MOVE_AGAIN_MS: u64 = 30_000;
/// … up to this time, after which the moves before are forgotten.
pub const MAX_MOVE_AGAIN_MS: u64 = 3_600_000;
/// A group is entered again at most once in this time: each time is a commit for all its members.
pub const REENTER_MS: u64 = 600_000;
/// A device chain of at most so many bytes goes over a direct stream as a whole; of a longer one the newest entry does.
pub const MAX_DIRECT_CHAIN: usize = 32 * 1024;
/// Messages of a removed device are passed on that are no older than this: members learn of the removal, or are away, within it.
pub const CUT_MESSAGES_MS: u64 = 600_000;
/// No message older than this is taken back because of a removal: who was away for longer keeps what was written before.
pub const MAX_CUT_AGE_MS: u64 = 7 * 86_400_000;
/// Bytes of them that are passed on: they have to fit into one batch.
pub const CUT_BYTES: usize = 32 * 1024;
/// Newest rows of a conversation that are searched for what a removed device has written.
pub const MAX_CUT_ROWS: usize = 2_000;
/// Devices whose word is kept of where the events of a removed one end: an account has eight at a time.
pub const MAX_CUTS: usize = 16;
