//! What happens.

use starling_keys::{AccountId, DeviceId};
use starling_wire::Availability;

use super::{CallInfo, ChatId, DeliveryState, HistoryCopy, MessageId, Usable, stored_enum};

stored_enum! {
    /// Kinds of durable events.
    DurableEventKind {
        /// A message.
        #[default]
        New = 0,
        /// A message's state has changed.
        State = 1,
        /// A message was edited.
        Edited = 2,
        /// A message was deleted.
        Deleted = 3,
        /// A reaction was set or removed.
        Reaction = 4,
        /// Somebody asks to be a contact.
        ContactRequested = 5,
        /// Somebody is a contact now.
        ContactAccepted = 6,
        /// A verified contact's key or devices have changed.
        KeyChanged = 7,
        /// We have blocked somebody.
        Blocked = 8,
        /// A call is over: its note in the timeline.
        Call = 9,
        /// Another device has joined our account.
        DeviceLinked = 10,
        /// A device was taken off our account.
        DeviceRemoved = 11,
        /// The devices of a contact have changed: the line about it in the timeline.
        ContactDevices = 12,
        /// A contact knows something of our account's devices that our home does not: [`super::HiddenChange`], in the text.
        DeviceHidden = 13,
        /// A device that was removed from our account has removed another: [`super::RefusedRemoval`], in the text.
        DeviceRefused = 14,
        /// A rendezvous has shown the devices of a conversation different things: its address, in the text.
        ChatSplit = 15,
        /// There are two copies of a device of our account, or an older one was put back: its id, in the text.
        DeviceCopied = 16,
        /// A contact invites us into a group: the contact is the account, the group's name the text.
        GroupInvited = 17,
        /// An account has come into a group; or we have.
        GroupJoined = 18,
        /// An account has left a group.
        GroupLeft = 19,
        /// An account was removed from a group.
        GroupRemoved = 20,
        /// An account has another role in a group: the role, in the text.
        GroupRole = 21,
        /// A group has another name or topic.
        GroupChanged = 22,
        /// What the user wanted of a group cannot be done: why, in the text.
        GroupRefused = 23,
        /// A device that was removed from our account was used: its id and what it has tried, in the text. The account is ours if a device of ours
        /// has seen that, else the contact that says so.
        DeviceTried = 24,
        /// What a home keeps of our account's contacts and settings cannot be read by this device, which has come to the account: the home's address, in
        /// the text.
        AccountUnreadable = 25,
        /// An account was banned from a group.
        GroupBanned = 26,
        /// A group has other settings, or the ban of an account was lifted.
        GroupPolicy = 27,
        /// A link into a group was made or ended, or somebody has come in by it: which of these and the link's id, in the text; who has made it is the
        /// account.
        GroupLink = 28,
        /// Somebody asks to be let into a group: what they call themselves, in the text.
        GroupRequest = 29,
        /// A member of a group reports a message to those who moderate it, as we do: the member is the account, the reason the text.
        GroupReported = 30,
        /// A member of a group has handed messages on from before this device came: the member is the account, how many they are the text.
        GroupHistory = 31,
    }
}

/// One durable event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableEvent {
    /// Counts from 1 without gaps in a profile.
    pub sequence: u64,
    /// When it happened, milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub kind: DurableEventKind,
    /// The conversation, if it is about one.
    pub chat: Option<ChatId>,
    /// The message, if it is about one.
    pub message: Option<MessageId>,
    /// The new state, for a state change.
    pub state: DeliveryState,
    /// The account, if it is about one.
    pub account: Option<AccountId>,
    /// A reason or text.
    pub text: String,
}

/// Events that are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransientEvent {
    /// Somebody types, or stops.
    Typing {
        /// Where.
        chat: ChatId,
        /// Whether.
        typing: bool,
        /// Who, in a group.
        member: Option<AccountId>,
    },
    /// A member of a group writes so much that nobody is to be notified of each message.
    Slowed {
        /// The group.
        chat: ChatId,
        /// The member.
        account: AccountId,
        /// For how long, in milliseconds: it is said again if it goes on.
        for_ms: u64,
    },
    /// Somebody's presence has changed.
    Presence {
        /// Who.
        account: AccountId,
        /// What they show.
        availability: Availability,
        /// Last sign of life, milliseconds since 1970.
        last_seen_ms: u64,
    },
    /// Connections have changed.
    Net,
    /// A call has changed.
    Call(Box<CallInfo>),
    /// A short code has ended: used (`true`) or burnt.
    CodeEnded {
        /// The code.
        code: String,
        /// Whether it was used.
        used: bool,
    },
    /// A device asks to join our account, over a code of ours.
    LinkRequested {
        /// The code.
        code: String,
        /// The device.
        device: DeviceId,
        /// What its user calls it.
        name: String,
        /// What it says that it is.
        kind: String,
        /// The rendezvous says that it is in the same network as this device. If it does not say so, the device may be anywhere.
        same_network: bool,
    },
    /// A device of ours has entered groups of conversations: not more often than a few times in a second.
    Entered {
        /// The device.
        device: DeviceId,
        /// What it can use now.
        conversations: Usable,
    },
    /// Another device of ours has left something unsent in a conversation, or cleared that.
    Draft {
        /// Where.
        chat: ChatId,
        /// What.
        text: String,
    },
    /// The copying of the history to this device has come further.
    HistoryCopy(HistoryCopy),
    /// Another device of ours wishes to copy the history of this one.
    HistoryWished(DeviceId),
    /// Another device of ours has its history copied, if this one wants it.
    HistoryOffered(DeviceId),
    /// The store has failed; the node has stopped.
    Failed(String),
}
