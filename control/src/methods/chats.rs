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
        /// The folder of lists that it is in; empty for none.
        #[serde(skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
        /// Whether its channels are folded away in lists, if it is a community.
        #[serde(skip_serializing_if = "Option::is_none")]
        folded: Option<bool>,
    }

    /// Sorts conversations that stand together in a list, by hand or by activity, on all devices of the account.
    #[derive(Default)]
    Arrange = "chats.arrange" -> Done => {
        /// The conversations: by hand they stand in this order, before those that are sorted by activity.
        chats: Vec<ChatId>,
        /// Whether they are sorted by activity again.
        #[serde(skip_serializing_if = "Option::is_none")]
        by_activity: Option<bool>,
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
