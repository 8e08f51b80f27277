//! The lines of a subscription: what `starling listen --json` prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::objects::{
    Call, CallNote, ChatRef, ContactRef, Cursor, DeliveryState, DeviceId, DeviceNote, HistoryCopy, LinkChange,
    MessageId, MessageKey, MessageRef, Presence, Role, Status, Time, Via,
};

/// The version of the lines. Fields and types are only ever added to one version.
pub const VERSION: u32 = 1;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The version of the line: 1.
    pub v: u32,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// Durable events of a profile count from 1 without gaps. Events that are not kept, such as `typing`, carry the number of the last durable one.
    pub seq: u64,
    /// Where a subscription goes on after this event.
    pub cursor: Cursor,
    /// When it happened.
    pub ts: Time,
    /// The name of the profile.
    pub profile: String,
    /// It happened before the subscription. Absent from `stream.…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
}

/// What happened, and to what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum EventKind {
    /// Everything that had happened before the subscription has been sent.
    #[serde(rename = "stream.ready")]
    StreamReady {},
    /// Nothing has happened for a while.
    #[serde(rename = "stream.keepalive")]
    StreamKeepalive {},
    /// The reader was too slow: the subscription ends, and can be continued from the cursor.
    #[serde(rename = "stream.shutdown")]
    StreamShutdown {
        /// Why.
        reason: String,
    },
    /// A message was written here or has arrived.
    #[serde(rename = "message.new")]
    MessageNew(MessageChange),
    /// The author of a message has changed it.
    #[serde(rename = "message.edited")]
    MessageEdited(MessageChange),
    /// The author of a message has deleted it.
    #[serde(rename = "message.deleted")]
    MessageDeleted(MessageChange),
    /// A reaction to a message was set or removed.
    #[serde(rename = "message.reaction")]
    MessageReaction(MessageChange),
    /// A message of this account has come further.
    #[serde(rename = "message.state")]
    MessageState {
        /// Its conversation.
        chat: ChatRef,
        /// The message.
        message: MessageKey,
        /// How far it is.
        state: DeliveryState,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Somebody is typing, or has stopped.
    #[serde(rename = "typing")]
    Typing {
        /// Where.
        chat: ChatRef,
        /// They are typing now.
        typing: bool,
        /// Who, in a group; absent in a conversation with one contact.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<ContactRef>,
    },
    /// Another device of the account has left something unsent in a conversation, or cleared that.
    #[serde(rename = "chat.draft")]
    ChatDraft {
        /// Where.
        chat: ChatRef,
        /// What; empty for nothing.
        text: String,
    },
    /// A contact has come or gone.
    #[serde(rename = "presence")]
    Presence {
        /// Who.
        contact: ContactRef,
        /// Whether they are there.
        presence: Presence,
        /// Their last sign of life.
        last_seen: Time,
    },
    /// Somebody asks to be a contact.
    #[serde(rename = "contact.requested")]
    ContactRequested {
        /// Who.
        contact: ContactRef,
    },
    /// Somebody is a contact now.
    #[serde(rename = "contact.accepted")]
    ContactAccepted {
        /// Who.
        contact: ContactRef,
    },
    /// The devices of a contact have changed since the user verified them.
    #[serde(rename = "contact.key_changed")]
    ContactKeyChanged {
        /// Who.
        contact: ContactRef,
    },
    /// The devices of a contact have changed: one has joined or left, or somebody else may be there.
    #[serde(rename = "contact.devices")]
    ContactDevices {
        /// The conversation with the contact.
        chat: ChatRef,
        /// The line about it in the conversation.
        message: MessageRef,
        /// What it says; absent if the line is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device_note: Option<DeviceNote>,
    },
    /// This account has blocked somebody.
    #[serde(rename = "contact.blocked")]
    ContactBlocked {
        /// Who.
        contact: ContactRef,
    },
    /// A device asks to join the account of this profile, over a code that `device.link` has given: `device.answer` answers it.
    #[serde(rename = "device.asks")]
    DeviceAsks {
        /// That code.
        code: String,
        /// The device.
        device: DeviceId,
        /// What its user calls it.
        name: String,
        /// What it says that it is.
        system: String,
        /// The rendezvous says that it is in the same network as this device. If it does not say so, the device may be anywhere.
        #[serde(default)]
        same_network: bool,
    },
    /// A device has joined the account of this profile.
    #[serde(rename = "device.linked")]
    DeviceLinked {
        /// The device.
        device: DeviceId,
    },
    /// A device was removed from the account of this profile.
    #[serde(rename = "device.removed")]
    DeviceRemoved {
        /// The device.
        device: DeviceId,
    },
    /// A device of the account of this profile, which may be this one, has entered conversations: it can use them now. Not more often than a few times in
    /// a second.
    #[serde(rename = "device.entered")]
    DeviceEntered {
        /// The device.
        device: DeviceId,
        /// How many of the conversations with contacts it can use.
        ready: usize,
        /// How many there are.
        conversations: usize,
    },
    /// The copying of the history to the device of this profile has come further: not more often than a few times in a second.
    #[serde(rename = "device.history")]
    DeviceHistory {
        /// How far it is.
        copy: HistoryCopy,
    },
    /// Another device of the account wishes to copy the history of this one: `device.give_history` lets it.
    #[serde(rename = "device.history_wished")]
    DeviceHistoryWished {
        /// The device.
        device: DeviceId,
    },
    /// Another device of the account lets this one copy its history: `device.get_history` does.
    #[serde(rename = "device.history_offered")]
    DeviceHistoryOffered {
        /// The device.
        device: DeviceId,
    },
    /// A contact knows something of the account's devices that its rendezvous was not told: somebody has the key of a device that may change the
    /// account. To undo it remove the device, and the one that has signed it; `device.recover` if that is not enough.
    #[serde(rename = "device.hidden")]
    DeviceHidden {
        /// Who knows it.
        contact: ContactRef,
        /// What was done: `joined`, `left`, `recovered`, `changed` (rights or rendezvous), `forked` (a second history).
        change: String,
        /// The device that it was done to.
        device: DeviceId,
        /// What that is called, by its own word; empty if that is not known.
        name: String,
        /// The device whose key has signed it; null for the recovery phrase.
        by: Option<DeviceId>,
    },
    /// A device that was removed from the account of this profile has removed another, with a history from before its own removal: somebody has its
    /// key, and a rendezvous has forgotten the removal, or lies; or two devices were removed by one another at about the same time.
    #[serde(rename = "device.refused")]
    DeviceRefused {
        /// The device that was removed.
        by: DeviceId,
        /// The device that it has removed, or has tried to.
        device: DeviceId,
        /// Both removals count, as they were made within ten minutes: `device` is not one of the account's any more, either. Else nothing was changed.
        #[serde(default)]
        stands: bool,
    },
    /// A device that was removed from the account of this profile was used: nothing that it does counts, and somebody has it in hand. Told once a day
    /// for each device, and once a day for each device and `attempt` that contacts tell of.
    #[serde(rename = "device.tried")]
    DeviceTried {
        /// The device that was removed.
        device: DeviceId,
        /// What it has tried: `write`, `call`, `enter` (into a conversation), `remove` or `link` (another device).
        attempt: String,
        /// The contact that says so, whose devices have refused it; nothing proves that. Null if a device of the account has seen it itself.
        contact: Option<ContactRef>,
    },
    /// What the account's home keeps of its contacts and settings cannot be read by this device, which was linked or recovered now: they are not here.
    #[serde(rename = "account.unreadable")]
    AccountUnreadable {
        /// The address of the rendezvous.
        rendezvous: String,
    },
    /// A rendezvous has shown the devices of a conversation different things, so that they were apart: they have found each other again. A member with
    /// a modified program can do the same.
    #[serde(rename = "chat.split")]
    ChatSplit {
        /// The conversation.
        chat: ChatRef,
        /// The address of the rendezvous.
        rendezvous: String,
    },
    /// There are two copies of a device of this account: it was cloned, or an older backup of its profile was put back. What both write and receive is
    /// lost in part: link the device again as a new one, and remove this one.
    #[serde(rename = "device.copied")]
    DeviceCopied {
        /// The device; it may be this one.
        device: DeviceId,
    },
    /// A contact invites this account into a group: `groups.accept` or `groups.decline` answers.
    #[serde(rename = "group.invited")]
    GroupInvited {
        /// The group.
        chat: ChatRef,
        /// Who invites.
        contact: ContactRef,
    },
    /// An account has come into a group; it may be the one of this profile.
    #[serde(rename = "group.joined")]
    GroupJoined {
        /// The group.
        chat: ChatRef,
        /// Who.
        member: ContactRef,
    },
    /// An account has left a group.
    #[serde(rename = "group.left")]
    GroupLeft {
        /// The group.
        chat: ChatRef,
        /// Who.
        member: ContactRef,
    },
    /// An account was removed from a group; it may be the one of this profile.
    #[serde(rename = "group.removed")]
    GroupRemoved {
        /// The group.
        chat: ChatRef,
        /// Who.
        member: ContactRef,
    },
    /// An account was banned from a group; it may be the one of this profile.
    #[serde(rename = "group.banned")]
    GroupBanned {
        /// The group.
        chat: ChatRef,
        /// Who.
        member: ContactRef,
    },
    /// A link into a group was made or ended, or somebody has come in by it.
    #[serde(rename = "group.link")]
    GroupLink {
        /// The group.
        chat: ChatRef,
        /// The id of the link.
        link: String,
        /// What became of it.
        change: LinkChange,
        /// Who has made it.
        member: ContactRef,
    },
    /// Somebody asks to be let into a group, by a link that needs approval: `groups.approve`, `groups.refuse`.
    #[serde(rename = "group.request")]
    GroupRequest {
        /// The group.
        chat: ChatRef,
        /// Who.
        contact: ContactRef,
    },
    /// A member of a group that this account moderates reports a message: `groups.reports` has what it says, and its author.
    #[serde(rename = "group.reported")]
    GroupReported {
        /// The group.
        chat: ChatRef,
        /// Who reports.
        member: ContactRef,
        /// The message.
        message: MessageId,
        /// Why, if that was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A member has handed on messages from before this device came into a group: they are in the history, and no `message.new` tells of them.
    #[serde(rename = "group.history")]
    GroupHistory {
        /// The group.
        chat: ChatRef,
        /// Who has handed them on.
        member: ContactRef,
        /// How many: more may follow.
        messages: u32,
    },
    /// A member of a group writes so much that nobody should be notified of each message for a time. All of them are in the history.
    #[serde(rename = "group.slowed")]
    GroupSlowed {
        /// The group.
        chat: ChatRef,
        /// Who.
        member: ContactRef,
        /// For how long, in milliseconds: it is said again if it goes on.
        for_ms: u64,
    },
    /// A group has other settings, or a ban was lifted: `groups.show` has both.
    #[serde(rename = "group.policy")]
    GroupPolicy {
        /// The group.
        chat: ChatRef,
    },
    /// An account has another role in a group.
    #[serde(rename = "group.role")]
    GroupRole {
        /// The group.
        chat: ChatRef,
        /// Who.
        member: ContactRef,
        /// Which.
        role: Role,
    },
    /// A group has another name or topic: `groups.show` has both.
    #[serde(rename = "group.topic")]
    GroupTopic {
        /// The group.
        chat: ChatRef,
    },
    /// A change of a group that was wanted here cannot be made any more.
    #[serde(rename = "group.refused")]
    GroupRefused {
        /// The group.
        chat: ChatRef,
        /// Why, in words.
        reason: String,
        /// Why, for programs.
        #[serde(default)]
        code: String,
    },
    /// Somebody calls.
    #[serde(rename = "call.incoming")]
    CallIncoming {
        /// The conversation.
        chat: ChatRef,
        /// The call.
        call: Call,
    },
    /// A call has changed.
    #[serde(rename = "call.state")]
    CallState {
        /// The conversation.
        chat: ChatRef,
        /// The call.
        call: Call,
    },
    /// A call is over, and its note is in the conversation; or something was said about its recording.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// The conversation.
        chat: ChatRef,
        /// The note.
        message: MessageRef,
        /// What it says; absent if the note is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<CallNote>,
        /// How the note came to this device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// A short code can no longer be used.
    #[serde(rename = "code.ended")]
    CodeEnded {
        /// The code.
        code: String,
        /// It was used; otherwise its time is over, or somebody has guessed.
        used: bool,
    },
    /// Connections have changed.
    #[serde(rename = "net.state")]
    NetState {
        /// The node as it is now.
        net: Box<Status>,
    },
    /// The node has stopped: its storage has failed.
    #[serde(rename = "node.failed")]
    NodeFailed {
        /// Why.
        reason: String,
    },
    /// A type of a newer version.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// A message, and what it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageChange {
    /// Its conversation.
    pub chat: ChatRef,
    /// The message as it is now.
    pub message: MessageRef,
    /// How it came to this device; absent if it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

impl EventKind {
    /// Its name, as in `type`; empty for a type of a newer version.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StreamReady {} => "stream.ready",
            Self::StreamKeepalive {} => "stream.keepalive",
            Self::StreamShutdown { .. } => "stream.shutdown",
            Self::MessageNew(_) => "message.new",
            Self::MessageEdited(_) => "message.edited",
            Self::MessageDeleted(_) => "message.deleted",
            Self::MessageReaction(_) => "message.reaction",
            Self::MessageState { .. } => "message.state",
            Self::Typing { .. } => "typing",
            Self::ChatDraft { .. } => "chat.draft",
            Self::Presence { .. } => "presence",
            Self::ContactRequested { .. } => "contact.requested",
            Self::ContactAccepted { .. } => "contact.accepted",
            Self::ContactKeyChanged { .. } => "contact.key_changed",
            Self::ContactDevices { .. } => "contact.devices",
            Self::ContactBlocked { .. } => "contact.blocked",
            Self::DeviceAsks { .. } => "device.asks",
            Self::DeviceLinked { .. } => "device.linked",
            Self::DeviceRemoved { .. } => "device.removed",
            Self::DeviceEntered { .. } => "device.entered",
            Self::DeviceHistory { .. } => "device.history",
            Self::DeviceHistoryWished { .. } => "device.history_wished",
            Self::DeviceHistoryOffered { .. } => "device.history_offered",
            Self::DeviceHidden { .. } => "device.hidden",
            Self::DeviceRefused { .. } => "device.refused",
            Self::DeviceTried { .. } => "device.tried",
            Self::AccountUnreadable { .. } => "account.unreadable",
            Self::ChatSplit { .. } => "chat.split",
            Self::DeviceCopied { .. } => "device.copied",
            Self::GroupInvited { .. } => "group.invited",
            Self::GroupJoined { .. } => "group.joined",
            Self::GroupLeft { .. } => "group.left",
            Self::GroupRemoved { .. } => "group.removed",
            Self::GroupBanned { .. } => "group.banned",
            Self::GroupPolicy { .. } => "group.policy",
            Self::GroupLink { .. } => "group.link",
            Self::GroupRequest { .. } => "group.request",
            Self::GroupReported { .. } => "group.reported",
            Self::GroupHistory { .. } => "group.history",
            Self::GroupSlowed { .. } => "group.slowed",
            Self::GroupRole { .. } => "group.role",
            Self::GroupTopic { .. } => "group.topic",
            Self::GroupRefused { .. } => "group.refused",
            Self::CallIncoming { .. } => "call.incoming",
            Self::CallState { .. } => "call.state",
            Self::CallEnded { .. } => "call.ended",
            Self::CodeEnded { .. } => "code.ended",
            Self::NetState { .. } => "net.state",
            Self::NodeFailed { .. } => "node.failed",
            Self::Unknown => "",
        }
    }

    /// The conversation that it is about, if it is about one.
    pub fn chat(&self) -> Option<&ChatRef> {
        match self {
            Self::MessageNew(change)
            | Self::MessageEdited(change)
            | Self::MessageDeleted(change)
            | Self::MessageReaction(change) => Some(&change.chat),
            Self::MessageState { chat, .. }
            | Self::Typing { chat, .. }
            | Self::ChatDraft { chat, .. }
            | Self::ContactDevices { chat, .. }
            | Self::ChatSplit { chat, .. }
            | Self::GroupInvited { chat, .. }
            | Self::GroupJoined { chat, .. }
            | Self::GroupLeft { chat, .. }
            | Self::GroupRemoved { chat, .. }
            | Self::GroupBanned { chat, .. }
            | Self::GroupPolicy { chat }
            | Self::GroupLink { chat, .. }
            | Self::GroupRequest { chat, .. }
            | Self::GroupReported { chat, .. }
            | Self::GroupHistory { chat, .. }
            | Self::GroupSlowed { chat, .. }
            | Self::GroupRole { chat, .. }
            | Self::GroupTopic { chat }
            | Self::GroupRefused { chat, .. }
            | Self::CallIncoming { chat, .. }
            | Self::CallState { chat, .. }
            | Self::CallEnded { chat, .. } => Some(chat),
            _ => None,
        }
    }

    /// Whether it is kept and has a number of its own.
    pub fn is_durable(&self) -> bool {
        !matches!(
            self,
            Self::StreamReady {}
                | Self::StreamKeepalive {}
                | Self::StreamShutdown { .. }
                | Self::Typing { .. }
                | Self::GroupSlowed { .. }
                | Self::ChatDraft { .. }
                | Self::Presence { .. }
                | Self::CallIncoming { .. }
                | Self::CallState { .. }
                | Self::CodeEnded { .. }
                | Self::DeviceAsks { .. }
                | Self::DeviceEntered { .. }
                | Self::DeviceHistory { .. }
                | Self::DeviceHistoryWished { .. }
                | Self::DeviceHistoryOffered { .. }
                | Self::NetState { .. }
                | Self::NodeFailed { .. }
                | Self::Unknown
        )
    }
}
