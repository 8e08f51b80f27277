//! Every size and count that a peer can reach, with the reason for it.

/// Longest text of one message. Longer texts are files.
pub const MAX_TEXT: usize = 64 * 1024;
/// Most mentions in one message.
pub const MAX_MENTIONS: usize = 64;
/// Longest name, in bytes, that programs of version 0.1 read. Longer ones (see `starling_text::display_name`) have a field of their own.
pub const MAX_SHORT_NAME: usize = 64;
/// Longest reaction: one emoji of several code points.
pub const MAX_EMOJI: usize = 32;
/// Largest signed device list that travels in an event: 16 devices have about 24 KB.
pub const MAX_DEVICE_LIST: usize = 64 * 1024;
/// Longest greeting of a contact request.
pub const MAX_GREETING: usize = 512;
/// Most events in one encrypted batch: enough to make the cost of encryption small, few enough to bound a batch's decoding.
pub const MAX_BATCH_EVENTS: usize = 512;
/// Largest plaintext of one encrypted batch: one text of the greatest length and room for small ones.
pub const MAX_BATCH_BYTES: usize = 96 * 1024;
/// Largest MLS message that is carried as one entry: a batch with its framing, or a commit.
pub const MAX_ENTRY: usize = 128 * 1024;
/// Largest commit or door that is stored in parts: the door of 2,000 devices with post-quantum keys, at 1.7 KB each, and the largest policy.
pub const MAX_LARGE: usize = 4 * 1024 * 1024;
/// Largest key package by which a device is added to a group: 3 KB with post-quantum keys, and its device's path to the root of its account.
pub const MAX_ADD_PACKAGE: usize = 16 * 1024;
/// Devices that one commit adds.
pub const MAX_ADDS: usize = 64;
/// Largest part: with its mark it is padded to 128 KiB.
pub const MAX_PART: usize = 127 * 1024;
/// Most parts of one commit or door: those of the largest.
pub const MAX_PARTS: usize = MAX_LARGE.div_ceil(MAX_PART);
/// Largest part as a log keeps it, padded and sealed.
pub const MAX_PART_ENTRY: usize = 128 * 1024 + 64;
/// Parts that count in a log, from its beginning, in KiB, each rounded up: more than a server takes, so that what a reader keeps is bounded, and the
/// same for all.
pub const MAX_LOG_PARTS_KIB: u32 = 64 * 1024;
/// Largest sealed entry that members pass on to one another: one that is padded to 64 KiB. Larger ones are read in the log.
pub const MAX_GOSSIP_ENTRY: usize = 64 * 1024 + 64;
/// Largest envelope of such an entry.
pub const MAX_ENVELOPE: usize = MAX_GOSSIP_ENTRY + 33;
/// Largest frame on a direct stream: a few entries.
pub const MAX_DIRECT_FRAME: usize = 512 * 1024;
/// Most entries in one direct frame.
pub const MAX_FRAME_ENTRIES: usize = 256;
/// Most beacons in one direct frame.
pub const MAX_FRAME_BEACONS: usize = 64;
/// Most groups that one direct frame asks the way into, or says that the receiver is out of.
pub const MAX_FRAME_SEEKS: usize = 8;
/// Most chains of other accounts in one direct frame.
pub const MAX_FRAME_CHAINS: usize = 8;
/// Most beacons in one inbox item: those of all groups that two devices may share in a conversation.
pub const MAX_ITEM_BEACONS: usize = 32;
/// Largest frame between a device and a rendezvous: a publication of 50 post-quantum key packages of 3 KB, or a page of a log.
pub const MAX_RENDEZVOUS_FRAME: usize = 1024 * 1024;
/// Largest sealed inbox item: a welcome for two accounts with 16 devices each is about 60 KB.
pub const MAX_INBOX_ITEM: usize = 128 * 1024;
/// Inbox items are padded up to this size, so that they still are within [`MAX_INBOX_ITEM`] when they are sealed: that adds 1,138 bytes.
pub const MAX_PADDED_ITEM: usize = MAX_INBOX_ITEM - 2 * 1024;
/// Largest typing or presence signal.
pub const MAX_SIGNAL: usize = 2 * 1024;
/// Signals are padded to a multiple of this: the largest that our version sends, so that all are of one size.
pub const SIGNAL_BUCKET: usize = 1024;
/// Most addresses in one presence signal.
pub const MAX_SIGNAL_ADDRESSES: usize = 16;
/// Most one-time key packages that a device may store at a rendezvous.
pub const MAX_KEY_PACKAGES: usize = 50;
/// Largest key package.
pub const MAX_KEY_PACKAGE: usize = 8 * 1024;
/// Most messages of a removed device that are passed on.
pub const MAX_CUT_EVENTS: usize = 64;
/// Most ranges of numbers that count of a removed device beyond the first that is missing.
pub const MAX_CUT_RANGES: usize = 256;
/// Most settings of an account in one frame between its devices.
pub const MAX_SETTINGS_IN_FRAME: usize = 256;
/// Most messages in one page of a history that is copied.
pub const MAX_HISTORY_ROWS: usize = 1024;
/// Largest message about copying the history: a page and one long message.
pub const MAX_HISTORY_MESSAGE: usize = 320 * 1024;
/// Most messages about it in one direct frame: one is on the way at a time.
pub const MAX_HISTORY_IN_FRAME: usize = 4;
/// Longest value of a setting, in bytes: a name, a short draft.
pub const MAX_SETTING_VALUE: usize = 1024;
/// Largest account snapshot (contacts and settings), sealed.
pub const MAX_SNAPSHOT: usize = 512 * 1024;
/// Longest user name at a rendezvous.
pub const MAX_USERNAME: usize = 32;
/// Shortest user name at a rendezvous.
pub const MIN_USERNAME: usize = 2;
/// Whether a text may be a user name: lower-case ASCII letters, digits and `._-`, beginning with a letter or digit.
pub fn is_username(name: &str) -> bool {
    (MIN_USERNAME..=MAX_USERNAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && name.as_bytes()[0].is_ascii_alphanumeric()
}
/// Most uses of one invite.
pub const MAX_INVITE_USES: u32 = 1000;
/// Lifetime of a short code in seconds.
pub const CODE_LIFETIME_S: u64 = 600;
/// Wrong guesses that burn a short code.
pub const CODE_FAILURES: u32 = 3;
/// Longest session description of a call: ours have 2,500 bytes.
pub const MAX_DESCRIPTION: usize = 16 * 1024;
/// Most ICE candidates in one signal of a call.
pub const MAX_CANDIDATES: usize = 32;
/// Longest ICE candidate.
pub const MAX_CANDIDATE: usize = 1024;
/// Longest word with the end of a call.
pub const MAX_CALL_TEXT: usize = 512;
