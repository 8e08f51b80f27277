//! Every bound that a client can reach and that the operator does not set, with its reason. Each stands in the table of `docs/operators.md`, too: a
//! test compares them.

use std::{num::NonZeroU32, ops::RangeInclusive, time::Duration};

/// A handshake that takes longer is given up: it has four round trips at most, and a place that others wait for.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Handshakes under way, over QUIC and over TCP each: some kilobytes each, and more than a processor finishes in [`HANDSHAKE_TIMEOUT`].
pub const PENDING_CONNECTIONS: usize = 1_024;
/// Connections of one device: over some transports, and older ones that it has lost and the server not yet.
pub const CONNECTIONS_PER_DEVICE: u32 = 8;
/// Networks that are remembered, as members have come from them: 3 MB at most, in memory only.
pub const FAMILIAR_NETWORKS: usize = 32_768;
/// An address that may connect so often in a minute may do it a quarter of that at once: handshakes that come together hold up everybody.
pub const CONNECTION_BURST_PART: u32 = 4;
/// An IPv4 /16 or IPv6 /32 may connect so many times as often as one address: who has a whole network to attack from has no more.
pub const WIDE_RATE: u32 = 8;
/// A trusted proxy may connect so many times as often as one address.
pub const PROXY_RATE: u32 = 100;
/// Networks whose rate of new connections is known at a time: 10 MB at most.
pub const RATED_NETWORKS: usize = 100_000;
/// Frames that wait for one device. What a device that reads more slowly has missed in logs it reads there, and signals are lost to it.
pub const PUSH_QUEUE: usize = 256;
/// Logs that one session may follow: one per conversation, and some that are being left.
pub const MAX_FOLLOWED: usize = 10_000;
/// Entries in one page of a log or inbox.
pub const PAGE_ENTRIES: usize = 256;
/// Bytes in one page of a log or inbox; a single entry may be larger.
pub const PAGE_BYTES: usize = 512 * 1024;
/// Entries in one append.
pub const APPEND_ENTRIES: usize = 256;
/// Bytes in one append.
pub const APPEND_BYTES: usize = 768 * 1024;
/// Open short codes at a time: one of ninety places.
pub const MAX_CODES: usize = 10_000;
/// Their places: as short as can be read out, and too many to be tried.
pub const CODE_PLACES: RangeInclusive<u32> = 100_000..=999_999;
/// A guess at a place where no code is open counts as so many: users mistype one now and then, and whoever looks for codes tries many.
pub const CLOSED_PLACE_COST: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Open short codes of one session.
pub const CODES_PER_SESSION: usize = 4;
/// Devices in one claim of key packages: those of two accounts.
pub const DEVICES_PER_CLAIM: usize = 32;
/// Requests to inboxes that one session may pay for with work.
pub const MAX_PAID: usize = 1_024;
/// Uses of an invite or registration token that may be pending: the oldest is forgotten, and pays again if it is repeated.
pub const MAX_PENDING: usize = 64;
/// How often claims of devices and names are looked through, in [`EXPIRY_INTERVAL`]s.
pub const CLAIMS_EVERY: u64 = 6;
/// Guesses at short codes in one session.
pub const CODE_TRIES_PER_SESSION: u32 = 16;
/// Key packages that an account, or strangers at one address, claim in an hour: the devices of some hundred contacts.
pub const CLAIMS_PER_HOUR: NonZeroU32 = NonZeroU32::new(600).unwrap();
/// One-time key packages that are claimed of one device in an hour; then its last-resort one is handed out.
pub const CLAIMED_PER_HOUR: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// Logs that a device may leave a second, on average, and at once: each is told to the readers who stay.
pub const LEAVES: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(2).unwrap(), NonZeroU32::new(1_000).unwrap());
/// How often a minute those who read a log are told that there was no room in it: each time costs all of them something, and one is enough to act.
pub const FULL_TOLD_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6).unwrap();
/// Guesses at short codes in an hour from one IPv4 address or IPv6 /64, and from wider networks twice and four times as many: a user types a few.
pub const CODE_TRIES_PER_HOUR: u32 = 120;
/// Entries together larger than this are not pushed: readers are told to fetch them, so that a slow one holds little memory.
pub const PUSH_BYTES: usize = 64 * 1024;
/// A device that was refused for asking too often is read from again after this, or when it may ask again if that is sooner, and one for which there
/// is no room after this: to refuse costs nearly as much as to answer.
pub const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Entries of a device chain that are read for one request of a rate: each costs two points of the curve. One whose signatures are checked costs
/// a request alone.
pub const CHAIN_ENTRIES_PER_REQUEST: usize = 8;
/// Logs in one list.
pub const LOGS_PAGE: usize = 256;
/// Logs in a list that count as one request.
pub const LOGS_PER_REQUEST: usize = 16;
/// Sessions that a device may begin a second, on average, and at once: a stream costs it nothing, and the server some reads.
pub const SESSIONS: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(1).unwrap(), NonZeroU32::new(30).unwrap());
/// For so long the server counts as ready, or not, without trying to write: whoever asks makes it write no more often.
pub const READY_FOR: Duration = Duration::from_secs(2);
/// A conversation may have so much though others take more than their part, some hundred short messages; in a small account a 64th of it.
pub const CONVERSATION_FLOOR: u64 = 256 * 1024;
/// The part of its full quotas that an account has on its first day …
pub const NEW_ACCOUNT_SHARE: u64 = 16;
/// … and the days until it has all: who registers many accounts has little for a month.
pub const FULL_AGE_DAYS: u64 = 30;
/// Of what the server stores, accounts of less than [`FULL_AGE_DAYS`] may have half: who registers many fills it for nobody else.
pub const YOUNG_PART: u64 = 2;
/// An account's key packages: those of as many devices as it can have had in version 0.1, and at first of two.
pub const KEY_PACKAGE_DEVICES: (u64, u64) = (2, 16);
/// An account's inboxes may have, together, so many times what one may.
pub const INBOXES_PER_ACCOUNT: u64 = 4;
/// A snapshot's version is at most so much above the one before, or the seconds since 1970: clients count up, at most once a second, and a server that
/// they come to later takes what they have come to elsewhere. Nobody can use up the numbers.
pub const SNAPSHOT_STEP: u64 = 1_000;
/// An account's snapshot and invites, together: the largest snapshot and some thousand invites.
pub const RECORDS_BYTES: u64 = 2 * 1024 * 1024;
/// What an invite counts as.
pub const INVITE_COST: u64 = 256;
/// What an account counts as, beside its record: claims and last-resort key packages.
pub const ACCOUNT_COST: u64 = 16 * 1024;
/// The most work that clients do.
pub const MAX_WORK_BITS: u32 = 24;
/// The commits of one author may take a log and its conversation this much beyond their quota, so that a full one can be left: one of the largest
/// entries.
pub const CANDIDATE_OVERDRAFT: u64 = 192 * 1024 + 1024;
/// Commits of one author in a log: an epoch ends with the first valid one, and whoever has lost a race goes on in the next. An author is a device of an
/// account that is registered, or a stranger's network.
pub const CANDIDATES_PER_AUTHOR: u64 = 16;
/// Commits in one log of all who do not belong to the account that owns it, more than the devices of one account can append: the owner's devices have
/// their shares beyond these.
pub const CANDIDATES_PER_LOG: u64 = 192;
/// Parts of commits of one author in a log: one of the largest commits, and some that were begun before it.
pub const PARTS_PER_AUTHOR: u64 = 40;
/// Such parts in one log of all who do not belong to the account that owns it. With those of the owner's devices they are fewer than readers count
/// ([`starling_wire::limits::MAX_LOG_PARTS_KIB`]).
pub const PARTS_PER_LOG: u64 = 160;
/// So many receipts may go over a log's bounds, so that a full one can be emptied.
pub const RECEIPTS_OVERDRAFT: u64 = 64;
/// Largest receipt that may.
pub const RECEIPT_BYTES: u64 = 8 * 1024;
/// Entries that one receipt may replace.
pub const RECEIPT_REPLACES: usize = 16;
/// An invite's longest life, seconds.
pub const INVITE_LIFE_S: u64 = 366 * 86_400;
/// How many accounts the operator's registration token may register.
pub const TOKEN_USES: RangeInclusive<u64> = 1..=1_000_000;
/// Days that the operator's registration token may last.
pub const TOKEN_DAYS: RangeInclusive<u64> = 1..=3_650;
/// How long an answer of the admin socket may take: the server may be stopped, or its disk hang.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection over QUIC on which nothing comes for so long is closed. Clients say something every 28 s at
/// least.
pub const QUIC_IDLE: Duration = Duration::from_secs(40);
/// How often a device over TCP is asked whether it is there.
pub const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How many devices connect again in a second after the server was killed: a handshake and the first requests of each take a core a few milliseconds.
pub const RETURNS_PER_SECOND: u64 = 200;
/// The longest time that they are asked to spread this over. Devices take no more from a server.
pub const MAX_RETRY_WINDOW: Duration = Duration::from_secs(60);
/// Of the accounts that were registered when the server started, one in so many is thought to have a device that is connected.
pub const ACCOUNTS_PER_SESSION: u64 = 4;
/// Members of which it is remembered where they are connected from, in case that the server is killed: with more of them, each of those who wait for
/// nothing comes back within half a minute.
pub const LAST_SEEN: usize = 1_000;
/// How often that is written down, in memory that outlives the process: who was connected for less is not at rest yet.
pub const LAST_SEEN_INTERVAL: Duration = Duration::from_secs(5);
/// What was written down longer ago does not count: everybody has noticed by themselves meanwhile, and somebody else may have the address.
pub const LAST_SEEN_LIFE: Duration = Duration::from_secs(120);
/// How many of them are called back at a time after that, ...
pub const CALLED_BACK_AT_ONCE: usize = 10;
/// ... and how often: half as many as may come back in a second by themselves ([`RETURNS_PER_SECOND`]).
pub const CALL_BACK_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is looked whether the disk has room.
pub const DISK_INTERVAL: Duration = Duration::from_secs(1);
/// How often expired entries are looked for.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);
/// User names that are taken from one network in an hour: each is one that nobody else can have.
pub const NAMES_PER_HOUR: u32 = 12;
/// User names that an account takes in an hour: it keeps the last one.
pub const NAMES_OF_ACCOUNT_PER_HOUR: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// User names that an account, or a stranger's network, looks up in an hour: people know the names of those whom they look for.
pub const NAME_LOOK_UPS_PER_HOUR: NonZeroU32 = NonZeroU32::new(120).unwrap();
/// User names of accounts that were away longer are free again.
pub const NAME_UNUSED_DAYS: u64 = 365;
/// How often the addresses of this host are listed, to which TURN relays nothing.
pub const INTERFACES_INTERVAL: Duration = Duration::from_secs(60);
/// Largest datagram that TURN takes from clients and peers: media fits into 1500 bytes.
pub const TURN_DATAGRAM: usize = 2048;
/// Largest TURN request: a refresh of 16 permissions, each listed with some ports, takes half of it.
pub const TURN_REQUEST: usize = 1024;
/// Messages that wait for a client of TURN on its stream: at 4 Mbit/s, what comes in a seventh of a second.
pub const TURN_STREAM_QUEUE: usize = 64;
/// A client that sends nothing on its stream to TURN for so long is gone: ours say something every 10 s.
pub const TURN_STREAM_SILENCE: Duration = Duration::from_secs(30);
/// A stream to TURN without an allocation is not used after this time.
pub const TURN_STREAM_UNUSED: Duration = Duration::from_secs(10);
/// Streams to TURN of one device at a time: one for each protocol and server name, twice while a call changes its path.
pub const TURN_STREAMS_PER_DEVICE: u32 = 8;
/// Datagrams for TURN that have come to ports of QUIC and wait, 2 MB at most: what comes in a tenth of a second at 100 Mbit/s. More are lost.
pub const TURN_QUIC_QUEUE: usize = 1024;
/// Longest user name in TURN: ours have 40 bytes, and it is kept with the allocation.
pub const TURN_USERNAME: usize = 128;
/// Peers' addresses that an allocation may exchange data with: one call has one peer, with some addresses.
pub const TURN_PERMISSIONS: usize = 16;
/// Channels of an allocation, as for permissions.
pub const TURN_CHANNELS: usize = 16;
/// An allocation ends so long after its last refresh: the default of RFC 8656, which is the most here.
pub const TURN_LIFETIME: Duration = Duration::from_secs(600);
/// A port that is kept for another allocation is free again after this time (RFC 8656: 30 s at least).
pub const TURN_RESERVATION_LIFE: Duration = Duration::from_secs(30);
/// A permission ends so long after its last refresh (RFC 8656).
pub const TURN_PERMISSION_LIFE: Duration = Duration::from_secs(300);
/// A channel ends so long after its last refresh (RFC 8656).
pub const TURN_CHANNEL_LIFE: Duration = Duration::from_secs(600);
/// Seconds in which a nonce has to be used.
pub const TURN_NONCE_LIFE_S: u64 = 600;
/// Bytes that a relayed datagram counts beside its data: headers and work, so that floods of small ones are bounded, too.
pub const TURN_OVERHEAD: u64 = 64;
/// Bytes a second, and at once, that TURN answers to one IPv4 address or IPv6 /64 that may be forged: nobody can be flooded through us.
pub const TURN_ANSWERS: (u64, u64) = (4 * 1024, 16 * 1024);
/// Bytes a second, and at once, of requests with a valid nonce from one IPv4 address or IPv6 /64: each costs some hashes.
pub const TURN_REQUESTS: (u64, u64) = (16 * 1024, 64 * 1024);
/// Counters for each of those two; addresses that fall on the same one share it. 100 KB each.
pub const TURN_SLOTS: usize = 4096;
/// Datagrams from peers that wait to be relayed, 8 MB at most; more are dropped, as in any network.
pub const TURN_QUEUE: usize = 4096;
/// Of those, datagrams of one allocation: a flood of one does not hold up the others.
pub const TURN_QUEUE_PER_RELAY: usize = 64;
/// Ports that are tried for an allocation.
pub const TURN_PORT_TRIES: usize = 16;
