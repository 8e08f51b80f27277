//! Conversations and what is in them, as users of a node read and write them.

use starling_wire::{Clock, Text};

use super::Node;
use crate::{
    api::{
        error::NodeError,
        types::{Arranged, Chat, ChatId, Message, MessageId},
    },
    engine::{AccountCommand, ConversationCommand, Input, PresenceCommand},
    store::{CHATS, ChatRow, Reading, prefix},
    timeline::{
        self,
        search::{Scan, Search},
    },
};

impl Node {
    /// Conversations: pinned first, then by newest message.
    pub async fn chats(&self) -> Result<Vec<Chat>, NodeError> {
        self.call(ConversationCommand::List).await
    }

    /// Writes messages. When this is ready they are durable here and in the outbox; events tell how far they come.
    pub async fn send(&self, chat: ChatId, texts: Vec<Text>) -> Result<Vec<MessageId>, NodeError> {
        self.call(|reply| ConversationCommand::Send { chat, texts, reply }).await
    }

    /// Changes the text of a message of ours.
    pub async fn edit(&self, chat: ChatId, message: MessageId, text: String) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::Edit { chat, message, text, reply }).await
    }

    /// Deletes a message of ours for everyone, within 48 hours.
    pub async fn delete(&self, chat: ChatId, message: MessageId) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::Delete { chat, message, reply }).await
    }

    /// Sets our reaction to a message; an empty emoji removes it.
    pub async fn react(&self, chat: ChatId, message: MessageId, emoji: String) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::React { chat, message, emoji, reply }).await
    }

    /// The user has read a chat up to a clock; the other side is told if the settings say so.
    pub async fn mark_read(&self, chat: ChatId, upto: Clock) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::MarkRead { chat, upto, reply }).await
    }

    /// The user types, or has stopped. Not kept; dropped if the engine is busy.
    pub fn typing(&self, chat: ChatId, typing: bool) {
        let _ = self.inputs.try_send(Input::Command(PresenceCommand::Typing { chat, typing }.into()));
    }

    /// Pins, mutes (until a time in milliseconds since 1970) or archives a chat; `None` leaves it as it is.
    pub async fn set_chat(
        &self,
        chat: ChatId,
        pinned: Option<bool>,
        muted_until_ms: Option<u64>,
        archived: Option<bool>,
    ) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::SetChat { chat, pinned, muted_until_ms, archived, reply }).await
    }

    /// What the user is writing in a chat, for the account's other devices: at most 1,024 bytes; empty for nothing.
    pub async fn set_draft(&self, chat: ChatId, text: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetDraft { chat, text, reply }).await
    }

    /// Arranges chats in lists, on all devices of the account: all of it, or nothing if one of them is not there.
    pub async fn arrange(&self, changes: Vec<(ChatId, Arranged)>) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::Arrange(changes, reply)).await
    }

    /// Whether there is such a chat.
    pub fn has_chat(&self, chat: ChatId) -> Result<bool, NodeError> {
        Ok(self.store()?.read()?.get::<ChatRow>(CHATS, &chat.0)?.is_some())
    }

    /// Deletes a chat's messages here, not elsewhere.
    pub async fn clear_chat(&self, chat: ChatId) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::ClearChat(chat, reply)).await
    }

    /// Messages of a chat, oldest first: the last `limit` before `before` (from the end without it).
    pub fn history(&self, chat: ChatId, before: Option<MessageId>, limit: usize) -> Result<Vec<Message>, NodeError> {
        let range = prefix(&chat.0);
        let end = match before {
            Some(before) => std::ops::Bound::Excluded([&chat.0[..], &before.0.to_bytes()].concat()),
            None => range.1,
        };
        let mut messages = timeline::messages(&*self.store()?, chat, (range.0, end), limit, true)?;
        messages.reverse();
        Ok(messages)
    }

    /// Messages that have the words, newest first. Looks through the messages step by step; dropping the future gives up.
    pub async fn search(&self, search: Search) -> Result<Vec<Message>, NodeError> {
        let chats = self.chats().await?.iter().map(|chat| chat.id).collect();
        let mut scan = Scan::new(&search, chats)?;
        loop {
            let store = self.store()?;
            let step = tokio::task::spawn_blocking(move || scan.step(&store).map(|more| (scan, more)));
            let (stepped, more) = step.await.map_err(|_| NodeError::Stopped)??;
            scan = stepped;
            if !more {
                return Ok(scan.into_found());
            }
        }
    }

    /// Messages of a chat after one (from the start without it), oldest first.
    pub fn history_after(
        &self,
        chat: ChatId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>, NodeError> {
        let range = prefix(&chat.0);
        let start = match after {
            Some(after) => std::ops::Bound::Excluded([&chat.0[..], &after.0.to_bytes()].concat()),
            None => range.0,
        };
        Ok(timeline::messages(&*self.store()?, chat, (start, range.1), limit, false)?)
    }

    /// One message.
    pub fn message(&self, chat: ChatId, id: MessageId) -> Result<Option<Message>, NodeError> {
        let key = [&chat.0[..], &id.0.to_bytes()].concat();
        Ok(timeline::messages(&*self.store()?, chat, key.clone()..=key, 1, false)?.pop())
    }
}
