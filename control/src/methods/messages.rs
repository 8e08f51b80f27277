//! Messages.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AT_ONCE, Done, requests};
use crate::objects::{AccountId, ChatId, ChatRef, DeliveryState, Message, MessageId, Time};

/// How many messages `history` and `search` give unless it is said otherwise.
pub const DEFAULT_LIMIT: u32 = 50;
/// The most messages that one `history` gives.
pub const MAX_HISTORY: u32 = 5_000;
/// The most messages that one `search` gives.
pub const MAX_FOUND: u32 = 1_000;
/// How long `wait` waits unless it is said otherwise, in milliseconds.
pub const WAIT_MS: u64 = 30_000;

requests! {
    /// Writes messages to a conversation. They are kept when the answer comes, and are sent as soon as that is possible.
    #[derive(Default)]
    Send = "send" -> Sent => {
        /// The conversation.
        chat: ChatId,
        /// The text of one message.
        text: Option<String>,
        /// Instead of it: the texts of several.
        texts: Option<Vec<String>>,
        /// The message that they answer.
        reply_to: Option<MessageId>,
        /// Accounts that they mention.
        mentions: Option<Vec<AccountId>>,
        /// Whether they mention everybody in the group, if the role of this account allows that.
        #[serde(skip_serializing_if = "Option::is_none")]
        mentions_all: Option<bool>,
    }

    /// Changes the text of a message of this account.
    Edit = "edit" -> Done => {
        /// The conversation.
        chat: ChatId,
        /// The message.
        message: MessageId,
        /// The new text.
        text: String,
    }

    /// Deletes a message of this account for everyone.
    Delete = "delete" -> Done => {
        /// The conversation.
        chat: ChatId,
        /// The message.
        message: MessageId,
    }

    /// Sets this account's reaction to a message.
    React = "react" -> Done => {
        /// The conversation.
        chat: ChatId,
        /// The message.
        message: MessageId,
        /// The emoji; empty for none.
        emoji: String,
    }

    /// Notes that the user has read a conversation.
    Read = "read" -> Done => {
        /// The conversation.
        chat: ChatId,
        /// Up to this message; the default is all.
        message: Option<MessageId>,
    }

    /// Shows that the user is typing.
    Typing = "typing" -> Done => {
        /// Where.
        chat: ChatId,
        /// Whether; the default is true.
        typing: Option<bool>,
    }

    /// Messages of a conversation, in its order: the newest, or those at the one place that is named.
    #[derive(Default)]
    History = "history" -> Vec<Message> => {
        /// The conversation.
        chat: ChatId,
        /// How many: 1 to 5000, by default 50.
        limit: Option<u32>,
        /// Only messages before this one.
        before: Option<MessageId>,
        /// Only messages after this one, the oldest first.
        after: Option<MessageId>,
        /// This message and those around it.
        around: Option<MessageId>,
        /// Only this message.
        message: Option<MessageId>,
    }

    /// The message that is so many back in a conversation, or its first one: where to begin with `after` to get more than one `history` gives.
    Back = "history.back" -> Place => {
        /// The conversation.
        chat: ChatId,
        /// How many messages back.
        count: u64,
        /// From this message; the default is the end.
        before: Option<MessageId>,
    }

    /// Messages that have all the words, the newest first.
    #[derive(Default)]
    Search = "search" -> Vec<Found> => {
        /// The words.
        query: String,
        /// Only in this conversation.
        chat: Option<ChatId>,
        /// Only of this account; `me` for the one of this profile.
        from: Option<String>,
        /// Only from this time on.
        since: Option<Time>,
        /// How many: 1 to 1000, by default 50.
        limit: Option<u32>,
    }

    /// Waits until a message has come so far.
    Wait = "wait" -> Waited, within Wait::patience => {
        /// The conversation.
        chat: ChatId,
        /// The message.
        message: MessageId,
        /// How far: `sent`, `delivered` or `read`.
        state: DeliveryState,
        /// How long to wait, in milliseconds; the default is 30 s.
        timeout_ms: Option<u64>,
    }
}

impl Send {
    /// A message that answers none and mentions nobody.
    pub fn text(chat: ChatId, text: impl Into<String>) -> Self {
        Self { chat, text: Some(text.into()), ..Self::default() }
    }
}

impl Wait {
    fn patience(&self) -> Duration {
        AT_ONCE.saturating_add(Duration::from_millis(self.timeout_ms.unwrap_or(WAIT_MS)))
    }
}

/// The messages that were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// Their ids, in the order of the texts.
    pub ids: Vec<MessageId>,
}

/// A place in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The message there; null if there is none.
    pub message: Option<MessageId>,
}

/// A message that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// Its conversation.
    pub chat: ChatRef,
    /// The message.
    #[serde(flatten)]
    pub message: Message,
}

/// How far a message is after waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waited {
    /// Its state.
    pub state: DeliveryState,
    /// It is as far as was asked.
    pub reached: bool,
}
