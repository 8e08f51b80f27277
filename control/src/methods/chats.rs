//! Conversations.

use super::{Done, requests};
use crate::objects::{Chat, ChatId};

requests! {
    /// All conversations.
    List = "chats" -> Vec<Chat> => {}

    /// Changes how a conversation is shown on this account.
    Set = "chat.set" -> Done => {
        /// The conversation.
        chat: ChatId,
        /// Whether it stays at the top of lists.
        pinned: Option<bool>,
        /// Until when there are no notifications of it, in milliseconds since 1970; 0 for notifications.
        muted_until_ms: Option<u64>,
        /// Whether it is out of the way.
        archived: Option<bool>,
    }

    /// Deletes the messages of a conversation on this device.
    Clear = "chat.clear" -> Done => {
        /// The conversation.
        chat: ChatId,
    }
}
