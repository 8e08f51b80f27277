//! Facts: what happened in one capability and means something to others.
//!
//! A capability does not call another when something happens to it: it emits a fact through the turn. What follows from each is in the table of
//! the engine (`engine/facts.rs`), within the turn and after the input that the fact came from: it is committed with it.

use libp2p::Multiaddr;
use starling_keys::{AccountId, DeviceChain, DeviceId, chain::Change};

use starling_wire::{Call, Clock, Cut, EventId, KnownChain, MissingEvents, RemovedDeviceUse};

use crate::{
    api::{
        problem::ChatProblem,
        types::{Attempt, ChatId, Via},
    },
    mls::GroupId,
    net::{HomeId, LanKey},
};

/// The author of a call's signal, and where it stands in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub account: AccountId,
    pub device: DeviceId,
    /// It is another device of our account.
    pub own: bool,
    pub chat: ChatId,
    pub event: EventId,
}

/// Who hands history of a group on, and by which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedPlace {
    pub chat: ChatId,
    /// The member.
    pub account: AccountId,
    /// Its number among the authors.
    pub author: u32,
    pub event: EventId,
}

/// What a user sets of a conversation, for all devices of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatSetting {
    /// It stands on top.
    Pinned(bool),
    /// It is muted until then, in milliseconds since 1970.
    MutedUntil(u64),
    /// It is out of the way until something new comes.
    Archived(bool),
    /// It was read up to this clock.
    Read(u64),
}

/// What happened with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeFact {
    /// A home is connected, and nothing was asked of it yet.
    Up,
    /// A home has registered us, or knows us and our newest device list.
    Registered,
    /// What a home has refused for a time may be asked for again.
    Retry,
    /// The same of pages of logs, if the home has said when.
    RetryLogs,
    /// A home is not connected any more.
    Down,
    /// A server does not answer, though others do: what waits for it goes elsewhere. Again when that is so for long.
    Lost,
    /// A server answers that did not.
    Answers,
    /// Something waits for inboxes at a home.
    OutboundItemsWait,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Something happened with a home.
    Home(HomeId, HomeFact),
    /// This device cannot go on in a group of many.
    GroupLost(GroupId),
    /// A server has taken a welcome into a group, or it is given up.
    WelcomeSent(GroupId),
    /// What keeps an item from somebody's inbox, or `None` once nothing does.
    OutboundItemProblem {
        /// Whose.
        account: AccountId,
        /// What it is.
        problem: Option<ChatProblem>,
    },
    /// A stream to a device is there.
    LinkUp(DeviceId),
    /// A stream to a device has ended.
    LinkDown(DeviceId),
    /// A device does not answer on its stream.
    LinkSilent(DeviceId),
    /// It answers again.
    LinkAnswers(DeviceId),
    /// An account, ours or a contact's, has another list of devices.
    DevicesChanged(AccountId),
    /// The chain of somebody we know says something else of their devices now.
    ContactDevices {
        /// Whose.
        account: AccountId,
        /// What does not count any more.
        withdrawn: Vec<Change>,
        /// What has happened.
        changes: Vec<Change>,
    },
    /// Somebody we know has sent entries of its device chain that were not known here.
    ContactSentChain(AccountId),
    /// A member of a group, or a server, has shown the device chain of another account of it.
    MemberChain {
        /// Whose.
        account: AccountId,
        /// The chain, or the end of it.
        chain: Vec<u8>,
    },
    /// Somebody has written a chain of a contact's account that contradicts the one known for long.
    ContactForked(Box<DeviceChain>),
    /// A device has joined our account.
    OwnDeviceAdded(DeviceId),
    /// A device of our account was removed.
    OwnDeviceRemoved(DeviceId),
    /// The user shows, or does not show any more, when they are here.
    AudienceChanged,
    /// This device is not part of its account any more.
    AccountSuperseded,
    /// Another device of ours has events of this one that are not here.
    ProfileOutdated,
    /// A device of ours has sent two events with one number: two copies of it run, or an older one.
    OwnDeviceCopied(DeviceId),
    /// A device that may be one that was removed from our account was used.
    RemovedDeviceUsed {
        /// Which.
        device: DeviceId,
        /// For what.
        attempt: Attempt,
    },
    /// A device was refused because a contact has removed it.
    RefusedDeviceUsed {
        /// The contact.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// What it wanted.
        attempt: Attempt,
    },
    /// What certifies this device as one of its account is another now.
    Certified,
    /// Something that the account's snapshot says of contacts has changed.
    ContactsChanged,
    /// Somebody was blocked or removed: nothing more goes to them.
    ContactUnlinked(AccountId),
    /// Whom or which servers we want to be connected to may be others, or are to be found elsewhere.
    ReachChanged,
    /// An invite with this token was used for the last time.
    InviteUsed(Vec<u8>),
    /// A group of a conversation cannot be read, and was given up.
    GroupDamaged,
    /// A device has come into a group, and names its account there.
    DeviceJoined {
        /// The account.
        account: AccountId,
        /// The device.
        device: DeviceId,
    },
    /// The log of a group that we have made is there.
    LogOpened(GroupId),
    /// Nobody can go on in a group of ours.
    GroupAbandoned,
    /// This device has entered a group of a conversation that it had none of.
    GroupEntered(GroupId),
    /// A chain of a contact in which a device that was removed from it has removed others: its owner is to see it.
    ContactChainMisused(Box<DeviceChain>),
    /// Another device of ours can be reached at these addresses.
    OwnDeviceAt {
        /// The device.
        device: DeviceId,
        /// Where.
        addresses: Vec<Multiaddr>,
        /// What its names on a LAN follow from, if it says so.
        lan_key: Option<LanKey>,
    },
    /// What was written into a conversation, or arrived in it.
    Event(EventFact),
}

/// Something that was written into a conversation, or arrived in it. Each is routed, in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFact {
    /// Events of somebody else, or of another device of ours, are in a conversation; they are not written yet.
    Arrived(ChatId),
    /// A device waits to hear that its events are here.
    AckDue {
        /// Whose events.
        device: DeviceId,
        /// Where.
        chat: ChatId,
        /// The group that they came in.
        group: GroupId,
    },
    /// A device says in a conversation up to which number it has our events.
    Receipt {
        /// The conversation.
        chat: ChatId,
        /// The device.
        device: DeviceId,
        /// All our events up to this one are stored there.
        upto: u64,
        /// The clock of that one; zero if it is not known.
        clock: Clock,
    },
    /// A device lacks events of a group, and has later ones.
    Missing {
        /// The conversation.
        chat: ChatId,
        /// The device.
        device: DeviceId,
        /// What it lacks.
        missing: Vec<MissingEvents>,
    },
    /// A device has more of our events of a conversation than was known.
    Acknowledged {
        /// The conversation.
        chat: ChatId,
        /// The device.
        device: DeviceId,
        /// All our events up to this one are stored there.
        upto: u64,
    },
    /// More of our events of a conversation was delivered to each other account.
    Delivered(ChatId),
    /// What waits in a conversation's outbox was encrypted again: what was sent of it counts no more.
    OutboxRenewed(ChatId),
    /// Another account has written a message.
    Wrote {
        /// Where.
        chat: ChatId,
        /// Who.
        account: AccountId,
        /// When, by their clock, in milliseconds since 1970.
        at_ms: u64,
    },
    /// An account gives itself a name, and takes us for a contact.
    Profile {
        /// The account.
        account: AccountId,
        /// What it says.
        profile: starling_wire::Profile,
        /// The event that says so.
        event: EventId,
    },
    /// A member of a group gives itself a name.
    MemberProfile {
        /// The account.
        account: AccountId,
        /// What it says.
        profile: starling_wire::Profile,
        /// The event that says so.
        event: EventId,
    },
    /// Another device of ours has said in a conversation who we are.
    Introduced(ChatId),
    /// A device says that its account leaves a group.
    Leave {
        /// Where.
        chat: ChatId,
        /// The account.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// What it says.
        leave: starling_wire::Leave,
    },
    /// A member hands on a part of a group's audit log.
    Audit {
        /// Where.
        chat: ChatId,
        /// The part.
        part: starling_wire::AuditPart,
    },
    /// A member of a community tells ways into its channels.
    Ways {
        /// The community.
        chat: ChatId,
        /// The member.
        account: AccountId,
        /// The ways.
        ways: starling_wire::Ways,
    },
    /// A member of a group reports a message to those who moderate it.
    Report {
        /// The group.
        chat: ChatId,
        /// The member.
        account: AccountId,
        /// The tag of its device.
        device: [u8; 8],
        /// The report, sealed.
        report: starling_wire::Report,
    },
    /// A member of a group hands on a part of its history.
    HandedHistory {
        /// Who, and where.
        from: HandedPlace,
        /// The part, sealed.
        history: starling_wire::HandedHistory,
    },
    /// The user has set something of a conversation, on this device.
    Set(ChatId, ChatSetting),
    /// An account, ours or another, has sent what it knows of a device chain; it is not checked.
    DeviceList {
        /// The account that has sent it.
        account: AccountId,
        /// The chain, of that account or another one.
        devices: starling_wire::Devices,
    },
    /// A member of a conversation says which chain of an account it knows.
    KnownChain {
        /// The conversation.
        chat: ChatId,
        /// The member.
        from: AccountId,
        /// The chain.
        chain: KnownChain,
    },
    /// A contact says that a device which our account has removed was used at its devices.
    RemovedDeviceUse {
        /// The contact.
        account: AccountId,
        /// What it says.
        used: RemovedDeviceUse,
    },
    /// An account has removed a device, and says which of its events count.
    Cut {
        /// Where.
        chat: ChatId,
        /// The account.
        account: AccountId,
        /// How that came.
        via: Via,
        /// The event that says so.
        said: EventId,
        /// What counts.
        cut: Cut,
    },
    /// A signal of a call.
    CallSignal(Sender, Call),
}

impl From<EventFact> for Fact {
    fn from(fact: EventFact) -> Self {
        Self::Event(fact)
    }
}
