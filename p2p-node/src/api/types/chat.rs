//! Conversations and their messages.

use starling_keys::{AccountId, DeviceId};
use starling_wire::Clock;

use super::{CallNote, ChatId, DeviceNote, GroupKind, MessageId, stored_enum};
use crate::api::problem::ChatProblem;

stored_enum! {
    /// How far a message of ours has come.
    DeliveryState {
        /// On this device only.
        #[default]
        Queued = 0,
        /// Taken by a log or a device.
        Sent = 1,
        /// A device of the recipient has it.
        Delivered = 2,
        /// The recipient has read it.
        Read = 3,
        /// It will not arrive.
        Failed = 4,
    }
}

stored_enum! {
    /// What kind of conversation one is.
    ChatKind {
        /// Between two accounts.
        #[default]
        Direct = 0,
        /// Of any number of accounts, with a policy.
        Group = 1,
    }
}

stored_enum! {
    /// How a message came to us.
    Via {
        /// We wrote it.
        #[default]
        Own = 0,
        /// On a direct connection.
        Direct = 1,
        /// Through a relay.
        Relay = 2,
        /// From a log.
        Log = 3,
        /// Copied from another device of ours.
        Copy = 4,
        /// From a member of the group: its log does not have it yet. If it does not come to count its state is [`DeliveryState::Failed`].
        Gossip = 5,
        /// From before this device came: a member of the group has handed it on, and nobody can check it.
        Handed = 6,
    }
}

/// A message as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its conversation.
    pub chat: ChatId,
    /// Who has written it.
    pub author: AccountId,
    /// On which device; `None` if it was removed before its key was known here.
    pub device: Option<DeviceId>,
    /// Its author is this account.
    pub own: bool,
    /// Its current text, as it was sent: not made safe for a terminal.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// Accounts mentioned.
    pub mentions: Vec<AccountId>,
    /// Everybody in the group is mentioned, by somebody who may do that.
    pub mentions_all: bool,
    /// It was edited.
    pub edited: bool,
    /// Its author has deleted it.
    pub deleted: bool,
    /// Emoji, and whether it is ours.
    pub reactions: Vec<(String, bool)>,
    /// How far it has come.
    pub state: DeliveryState,
    /// How it came.
    pub via: Via,
    /// The member who has handed it on, if it came by [`Via::Handed`].
    pub handed_on_by: Option<AccountId>,
    /// It is no message, but the note of a call.
    pub call: Option<CallNote>,
    /// It is no message, but a line about a device of its author.
    pub device_note: Option<DeviceNote>,
}

impl Message {
    /// When it was written, milliseconds since 1970, by its author's clock.
    pub fn sent_ms(&self) -> u64 {
        self.id.0.clock.ms()
    }
}

/// An account that takes part in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatMember {
    /// The account.
    pub account: AccountId,
    /// It is ours.
    pub own: bool,
}

/// A conversation in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// The conversation.
    pub id: ChatId,
    /// What it is.
    pub kind: ChatKind,
    /// What kind of group it is; a group where that is not known, and in a direct conversation.
    pub group: GroupKind,
    /// Who takes part in it, our account too.
    pub members: Vec<ChatMember>,
    /// Its name.
    pub name: String,
    /// Messages not read.
    pub unread: u32,
    /// When the newest message was written, milliseconds since 1970.
    pub newest_ms: u64,
    /// Pinned to the top.
    pub pinned: bool,
    /// No notifications until then, milliseconds since 1970.
    pub muted_until_ms: u64,
    /// Out of the way.
    pub archived: bool,
    /// Read up to this clock.
    pub read: Clock,
    /// Messages that wait in the outbox.
    pub queued: u64,
    /// What keeps them from getting through, such as a full log; it clears itself.
    pub problem: Option<ChatProblem>,
    /// The encryption that it uses, as text.
    pub cipher: &'static str,
    /// What another device of ours has left unsent here, if it was the last to write something; empty if it has cleared that.
    pub draft: Option<String>,
    /// The folder of lists that it is in; empty for none.
    pub folder: String,
    /// Its place in a list that is sorted by hand, from 1; none where it is sorted by activity.
    pub place: Option<u32>,
    /// Its channels are folded away in lists, if it is a community.
    pub folded: bool,
}

/// How the user arranges a conversation in lists, on all devices of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arranged {
    /// It is in this folder; empty for none.
    Folder(String),
    /// It has this place, from 1, in a list that is sorted by hand; 0 for none.
    Place(u32),
    /// Its channels are folded away.
    Folded(bool),
}

impl Chat {
    /// The other account of a direct conversation.
    pub fn direct(&self) -> Option<AccountId> {
        let other = self.members.iter().find(|m| !m.own).filter(|_| self.kind == ChatKind::Direct);
        other.map(|member| member.account)
    }
}
