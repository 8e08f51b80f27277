//! Messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccountId, CallNote, ContactRef, DeviceId, DeviceNote, MessageId, Time};

/// A message of a conversation, the note of a call in it, or a line about a device of a contact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// A short number for people, which counts the messages of the same answer or subscription; empty where there is none.
    pub handle: String,
    /// Who wrote it.
    pub from: Author,
    /// When, by the author's clock.
    pub sent_at: Time,
    /// The text as it was sent: not made safe for a terminal. Empty if the message was deleted.
    pub text: String,
    /// How the text is to be read.
    pub format: Format,
    /// Accounts that are mentioned.
    pub mentions: Vec<AccountId>,
    /// Everybody in the group is mentioned.
    #[serde(default)]
    pub mentions_all: bool,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// The thread that it belongs to. Not used yet.
    pub thread: Option<MessageId>,
    /// Files. Not used yet.
    pub attachments: Vec<serde_json::Value>,
    /// When it disappears. Not used yet.
    pub expires_at: Option<Time>,
    /// Its author has changed it.
    pub edited: bool,
    /// Its author has deleted it.
    pub deleted: bool,
    /// Reactions.
    pub reactions: Vec<Reaction>,
    /// How far it has come.
    pub state: DeliveryState,
    /// How it came to this device.
    pub via: Via,
    /// The member who has handed it on, if it is from before this device came into the group: nobody can check that its author wrote it.
    #[serde(default)]
    pub handed_on_by: Option<ContactRef>,
    /// What there is to know of the call that it is the note of.
    pub call: Option<CallNote>,
    /// What there is to know of the device that it is a line about.
    #[serde(default)]
    pub device_note: Option<DeviceNote>,
}

/// The author of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Author {
    /// The account, if it is still known.
    pub account: Option<AccountId>,
    /// The name to show, if it is known.
    pub name: Option<String>,
    /// The device, if it is still known.
    pub device: Option<DeviceId>,
    /// The user has compared safety numbers with this account.
    pub verified: bool,
    /// It is the account of this profile.
    #[serde(rename = "self")]
    pub own: bool,
    /// It is a program.
    pub bot: bool,
}

/// How a text is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// The Markdown of messages.
    #[default]
    #[serde(rename = "md")]
    Markdown,
}

/// A reaction to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// It is of the account of this profile.
    #[serde(rename = "self")]
    pub own: bool,
}

words! {
    /// How far a message has come.
    #[derive(Default)]
    DeliveryState {
        /// It is on this device only.
        #[default]
        Queued = "queued",
        /// A server or a device has taken it.
        Sent = "sent",
        /// A device of the recipient has it.
        Delivered = "delivered",
        /// The recipient has read it.
        Read = "read",
        /// It will not arrive.
        Failed = "failed",
    }
}

words! {
    /// How a message came to this device.
    #[derive(Default)]
    Via {
        /// It was written on this account.
        #[default]
        Own = "own",
        /// On a direct connection.
        Direct = "direct",
        /// Through a relay.
        Relay = "relay",
        /// From the log at a rendezvous.
        Log = "log",
        /// Copied from another device of the account.
        Copy = "copy",
        /// From a member of the group, before the group's log has it. With the state `failed` it does not count.
        Gossip = "gossip",
        /// Handed on by a member of the group, from before this device came: see `handed_on_by`.
        Handed = "handed",
    }
}

/// The message that an event is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MessageRef {
    /// As it is now.
    Whole(Box<Message>),
    /// It is no longer on this device: the user has deleted the conversation here.
    Gone {
        /// Its id.
        id: MessageId,
        /// Always true.
        gone: bool,
    },
}

impl MessageRef {
    /// The id of the message.
    pub fn id(&self) -> &MessageId {
        match self {
            Self::Whole(message) => &message.id,
            Self::Gone { id, .. } => id,
        }
    }

    /// The message, if it is still there.
    pub fn whole(&self) -> Option<&Message> {
        match self {
            Self::Whole(message) => Some(message),
            Self::Gone { .. } => None,
        }
    }
}

/// A message by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageKey {
    /// Its id.
    pub id: MessageId,
}
