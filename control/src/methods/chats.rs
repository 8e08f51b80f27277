//! Conversations.

use super::{Done, requests};
use crate::objects::{Chat, ChatId, ChatRef};

requests! {
    /// All conversations.
    List = "chats" -> Vec<Chat> => {}

    /// The conversation that somebody means.
    #[derive(Default)]
    Find = "chats.find" -> ChatRef => {
        /// `#group`, `#community/channel`, `@contact`, an account, an address, the id of a conversation, with or without `id:`, or a name that only
        /// one has.
        who: String,
    }

    /// Changes how a conversation is shown on this account.
    #[derive(Default)]
    Set = "chat.set" -> Done => {
        /// The conversation.
        chat: ChatId,
        /// Whether it stays at the top of lists.
        #[serde(skip_serializing_if = "Option::is_none")]
        pinned: Option<bool>,
        /// Until when there are no notifications of it, in milliseconds since 1970; 0 for notifications.
        #[serde(skip_serializing_if = "Option::is_none")]
        muted_until_ms: Option<u64>,
        /// Whether it is out of the way.
        #[serde(skip_serializing_if = "Option::is_none")]
        archived: Option<bool>,
    }

    /// Says what is being written in a conversation and not sent, for the account's other devices: see the event `chat.draft`.
    SetDraft = "chat.draft" -> Done => {
        /// The conversation.
        chat: ChatId,
        /// The text, of at most 1,024 bytes; empty for nothing.
        text: String,
    }

    /// Deletes the messages of a conversation on this device.
    Clear = "chat.clear" -> Done => {
        /// The conversation.
        chat: ChatId,
    }
}
