//! What the user asks of conversations.

use starling_wire::{Clock, Text};

use super::ChatState;
use crate::{
    api::{
        Reply,
        error::{NodeError, NotFound},
        fail,
        types::{Chat, ChatId, MessageId, TransientEvent},
    },
    conversation::{Conversations, context::Context},
    store::{ChatRow, TIMELINE, UNREADABLE, prefix},
    turn::{ChatSetting, EngineError, EventFact, Turn},
};

/// A command about conversations. Each is a method of `Node`, documented there.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum ConversationCommand {
    List(Reply<Vec<Chat>>),
    Send {
        chat: ChatId,
        texts: Vec<Text>,
        reply: Reply<Vec<MessageId>>,
    },
    Edit {
        chat: ChatId,
        message: MessageId,
        text: String,
        reply: Reply<()>,
    },
    Delete {
        chat: ChatId,
        message: MessageId,
        reply: Reply<()>,
    },
    React {
        chat: ChatId,
        message: MessageId,
        emoji: String,
        reply: Reply<()>,
    },
    MarkRead {
        chat: ChatId,
        upto: Clock,
        reply: Reply<()>,
    },
    SetChat {
        chat: ChatId,
        pinned: Option<bool>,
        muted_until_ms: Option<u64>,
        archived: Option<bool>,
        reply: Reply<()>,
    },
    ClearChat(ChatId, Reply<()>),
}

impl ConversationCommand {
    /// Whether a device that its account has given up may still do this: its own view may be put in order.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::List(_) | Self::MarkRead { .. } | Self::SetChat { .. } | Self::ClearChat(..) => true,
            Self::Send { .. } | Self::Edit { .. } | Self::Delete { .. } | Self::React { .. } => false,
        }
    }

    /// Fails the command.
    pub(crate) fn refuse(self, error: NodeError) {
        match self {
            Self::List(reply) => fail(reply, error),
            Self::Send { reply, .. } => fail(reply, error),
            Self::Edit { reply, .. }
            | Self::Delete { reply, .. }
            | Self::React { reply, .. }
            | Self::MarkRead { reply, .. }
            | Self::SetChat { reply, .. }
            | Self::ClearChat(_, reply) => fail(reply, error),
        }
    }
}

impl Conversations {
    pub(crate) fn on_conversation_command(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        command: ConversationCommand,
    ) -> Result<(), EngineError> {
        let (reply, result) = match command {
            ConversationCommand::List(reply) => {
                let chats = self.chat_list(cx.dir);
                turn.reply(reply, Ok(chats));
                return Ok(());
            }
            ConversationCommand::Send { chat, texts, reply } => {
                self.enter_next(chat);
                let sent = self.send(turn, cx, chat, texts)?;
                turn.reply(reply, sent);
                return Ok(());
            }
            ConversationCommand::Edit { chat, message, text, reply } => {
                (reply, self.edit(turn, cx, chat, message, text)?)
            }
            ConversationCommand::Delete { chat, message, reply } => (reply, self.delete(turn, cx, chat, message)?),
            ConversationCommand::React { chat, message, emoji, reply } => {
                (reply, self.react(turn, cx, chat, message, emoji)?)
            }
            ConversationCommand::MarkRead { chat, upto, reply } => {
                self.enter_next(chat);
                if self.mark_read(turn, cx, chat, upto)? && !cx.counters.row.superseded {
                    self.chats.tell_read(turn, cx, chat);
                    let read = self.chats.get(&chat).map(|state| ChatSetting::Read(state.row.read));
                    turn.facts(read.map(|what| EventFact::Set(chat, what)));
                }
                (reply, Ok(()))
            }
            ConversationCommand::SetChat { chat, pinned, muted_until_ms, archived, reply } => {
                let result = self.change(chat, |state| {
                    state.row.pinned = pinned.unwrap_or(state.row.pinned);
                    state.row.muted_until_ms = muted_until_ms.unwrap_or(state.row.muted_until_ms);
                    state.row.archived = archived.unwrap_or(state.row.archived);
                });
                if result.is_ok() {
                    let pinned = pinned.map(ChatSetting::Pinned);
                    let others = [muted_until_ms.map(ChatSetting::MutedUntil), archived.map(ChatSetting::Archived)];
                    let set = pinned.into_iter().chain(others.into_iter().flatten());
                    turn.facts(set.map(|what| EventFact::Set(chat, what)));
                }
                (reply, result)
            }
            ConversationCommand::ClearChat(chat, reply) => (reply, self.clear(turn, chat)?),
        };
        turn.reply(reply, result);
        Ok(())
    }
}

impl Conversations {
    /// Another device of ours has changed what is stored of a conversation.
    pub(crate) fn apply(&mut self, chat: ChatId, change: impl FnOnce(&mut ChatRow)) {
        if let Some(state) = self.chats.get_mut(&chat) {
            change(&mut state.row);
            state.dirty = true;
        }
    }

    /// Clears the timeline of a conversation on this device, and what was kept of it for a newer version.
    fn clear(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<Result<(), NodeError>, EngineError> {
        self.chats.write_draft(turn, chat)?;
        self.chats.keep_undelivered(turn, chat)?;
        let result = self.change(chat, |state| {
            state.row.unread = 0;
            state.row.cleared = state.row.newest;
            state.row.archived = true;
            // What a member has made up would else ask for an update for ever.
            state.unreadable.clear();
        });
        if result.is_ok() {
            turn.delete_range(TIMELINE, prefix(&chat.0))?;
            turn.delete_range(UNREADABLE, prefix(&chat.0))?;
            turn.transient_event(TransientEvent::Net);
        }
        Ok(result)
    }

    /// Changes what is stored of a conversation.
    fn change(&mut self, chat: ChatId, change: impl FnOnce(&mut ChatState)) -> Result<(), NodeError> {
        let Some(state) = self.chats.get_mut(&chat) else {
            return Err(NotFound::Chat.into());
        };
        change(state);
        state.dirty = true;
        Ok(())
    }
}
