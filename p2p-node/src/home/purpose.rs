//! What a request to a server was for, as plain data. What its answer, its refusal or its loss means, its capability knows.

use starling_keys::{AccountId, DeviceId, chain::Head};
use starling_wire::CallId;

use crate::{api::types::ChatId, mls::GroupId, net::HomeId};

/// What a request was for.
#[derive(Debug)]
pub enum Pending {
    /// Nobody waits for the answer.
    Nothing,
    Account(AccountPending),
    Contact(ContactPending),
    Log(LogPending),
    Home(HomePending),
    /// STUN and TURN servers for a call.
    CallServers(CallId),
}

impl Pending {
    /// Who has asked, for the log.
    pub fn capability(&self) -> &'static str {
        match self {
            Self::Nothing => "nobody",
            Self::Account(_) => "account",
            Self::Contact(_) => "contacts",
            Self::Log(_) => "conversation",
            Self::Home(_) => "home",
            Self::CallServers(_) => "calls",
        }
    }

    /// Whether what is written in groups now waits for it. All else that a server has refused is asked for again together, which would use up what
    /// may be asked if it were done sooner.
    pub fn is_urgent(&self) -> bool {
        use LogPending::{Append, Commit, Parts, Read};
        matches!(self, Self::Log(Read(..) | Append(_) | Commit(_) | Parts(..)))
    }

    /// Whether others get something of ours by it: then who wants to stop waits for its answer.
    pub fn delivers(&self) -> bool {
        match self {
            Self::Account(pending) => matches!(pending, AccountPending::PutSnapshot),
            Self::Log(LogPending::Join(pending)) => {
                matches!(pending, JoinPending::Card(..) | JoinPending::Ask(_) | JoinPending::Refusal(..))
            }
            Self::Log(pending) => matches!(pending, LogPending::Append(_) | LogPending::Trim(_)),
            Self::Home(pending) => matches!(pending, HomePending::OutboundItem(..)),
            Self::Nothing | Self::Contact(_) | Self::CallServers(_) => false,
        }
    }
}

impl From<AccountPending> for Pending {
    fn from(pending: AccountPending) -> Self {
        Self::Account(pending)
    }
}

impl From<ContactPending> for Pending {
    fn from(pending: ContactPending) -> Self {
        Self::Contact(pending)
    }
}

impl From<LogPending> for Pending {
    fn from(pending: LogPending) -> Self {
        Self::Log(pending)
    }
}

impl From<HomePending> for Pending {
    fn from(pending: HomePending) -> Self {
        Self::Home(pending)
    }
}

/// A request of the account that is not answered yet.
#[derive(Debug)]
pub enum AccountPending {
    /// Our device chain with this head, to register or to bring up to date.
    Publish(Head),
    /// Our own device list, to add this device to it.
    OwnList,
    /// A user name; the one that was asked for.
    Username(String),
    /// How many key packages are left; or, if they were `filled` up, how many there are now.
    KeyPackages { filled: bool },
    /// The account snapshot.
    Snapshot,
    /// Our snapshot, to be stored.
    PutSnapshot,
    /// Logs of the account, for a question of the user.
    Logs(u64),
    /// A log that is deleted for it, by its address.
    DeleteLog(u64, [u8; 32]),
    /// A place for a short code.
    OpenCode(u64),
    /// An attempt at a short code.
    TryCode(u64),
    /// The chain of the account that this device joins.
    JoinedChain(u64),
}

/// A request about contacts that is not answered yet.
#[derive(Debug)]
pub enum ContactPending {
    /// The device list of somebody we want to connect to.
    DeviceList(u64),
    /// Key packages of these devices, theirs and our other ones, in which attempt.
    KeyPackages(u64, u32, Vec<DeviceId>),
    /// An invite that is registered at this home, by its key.
    Invite(HomeId, Vec<u8>),
}

/// A request about inboxes that is not answered yet.
#[derive(Debug)]
pub enum HomePending {
    /// Ours is read.
    Inbox,
    /// An item for somebody's, by its key; and which of those that were left under that key.
    OutboundItem(Vec<u8>, [u8; 16]),
}

/// A request about a log that is not answered yet.
#[derive(Debug)]
pub enum LogPending {
    /// A log that is opened.
    Open(GroupId),
    /// A log that is read, in an epoch.
    Read(GroupId, u64),
    /// Entries that are appended.
    Append(Appended),
    /// A commit that wants to win.
    Commit(GroupId),
    /// Parts of one, by its hash, up to so many from its beginning.
    Parts(GroupId, [u8; 32], usize),
    /// What we have followed from an epoch, in the log of those who have followed something else.
    Announce(GroupId, u64),
    /// Entries of a log to delete.
    Trim(Trimming),
    /// The way into a group in an epoch, in the log of its door: so many entries, with those that went before.
    Door(GroupId, u64, u64),
    /// Parts of one that go before.
    DoorParts(GroupId),
    /// The log of a door that this device enters a conversation's group by.
    ReadDoor(ChatId),
    /// The commit by which it enters.
    Enter(ChatId, [u8; 32]),
    /// Parts of it, by its hash, up to so many from its beginning.
    EnterParts(ChatId, [u8; 32], usize),
    /// A log of a group that is deleted, by its address.
    Delete(GroupId, [u8; 32]),
    /// Something about links into groups.
    Join(JoinPending),
}

/// A request about links into groups that is not answered yet. A link is named by its public key.
#[derive(Debug)]
pub enum JoinPending {
    /// The log of a link that our user looks at.
    Look(u64),
    /// Our request to be let into a group, in the box of a link.
    Ask(ChatId),
    /// What a group is in an epoch, in the log of a link into it: so many entries, with those that went before.
    Card(GroupId, u64, [u8; 32], u64),
    /// Parts of that which go before.
    CardParts(GroupId),
    /// A box that is opened.
    BoxOpened,
    /// A box that is read.
    Box(GroupId, [u8; 32]),
    /// Our refusal of an account's request, in a box.
    Refusal(ChatId, AccountId),
}

/// What an append has carried.
#[derive(Debug, Clone)]
pub struct Appended {
    pub place: LogPlace,
    pub epoch: u64,
    /// First and last sequence number of each outbox entry; none in a receipt.
    pub items: Vec<(u64, u64)>,
    /// A receipt: devices, and what they are told that we have.
    pub told: Vec<(DeviceId, u64)>,
    /// A receipt: up to where we have read, or 0 if that is not told.
    pub read: u64,
    /// A receipt: what our other devices are told that each other account has of ours, or 0.
    pub delivered: u64,
    /// Receipts before it in the same log, which are deleted with its append.
    pub replaced: Trimming,
}

impl Appended {
    /// Of entries with events, each with its first and last sequence number.
    pub fn events(place: LogPlace, epoch: u64, items: Vec<(u64, u64)>) -> Self {
        Self { place, epoch, items, told: Vec::new(), read: 0, delivered: 0, replaced: Trimming::new() }
    }
}

/// The key of a row about entries that a log keeps for us: chat, first sequence number of ours, log address, number of the first entry in the log.
pub type LoggedKey = Vec<u8>;

/// Entries that a server was asked to delete: rows, and the entries of each.
pub type Trimming = Vec<(LoggedKey, Vec<u64>)>;

/// A log of a conversation, with what deleting entries in it takes.
#[derive(Debug, Clone)]
pub struct LogPlace {
    pub chat: ChatId,
    pub group: GroupId,
    pub home: String,
    pub secret: Vec<u8>,
    pub address: [u8; 32],
}
