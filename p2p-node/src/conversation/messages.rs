//! What users do with messages: send, change, read.

use starling_wire::{
    Body, Clock, Delete, Edit, Reaction, Receipt, Text,
    limits::{MAX_EMOJI, MAX_MENTIONS, MAX_TEXT},
};

use crate::{
    api::types::{ChatId, FeedKind, MessageId, NodeError},
    conversation::receive::react,
    limits::DELETE_WINDOW_MS,
    store::{EventRow, FeedRow, TIMELINE},
    turn::{Engine, EngineError, Turn},
};

impl Engine {
    pub(crate) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        texts: Vec<Text>,
    ) -> Result<Vec<MessageId>, NodeError> {
        self.check_may_write(chat)?;
        for text in &texts {
            if text.text.len() > MAX_TEXT {
                return Err(NodeError::Invalid(format!(
                    "a message has at most {} KB, this one has {} KB; send it as a file",
                    MAX_TEXT / 1024,
                    text.text.len().div_ceil(1024)
                )));
            }
            if text.text.is_empty() {
                return Err(NodeError::Invalid("a message needs some text".into()));
            }
            if text.mentions.len() > MAX_MENTIONS {
                return Err(NodeError::Invalid(format!("a message mentions at most {MAX_MENTIONS} people")));
            }
        }
        if let Some(state) = self.conversations.chats.get_mut(&chat) {
            state.row.archived = false;
        }
        Ok(texts.into_iter().map(|text| MessageId(self.write_event(turn, chat, Body::Text(text)))).collect())
    }

    pub(crate) fn edit(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        message: MessageId,
        text: String,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Ok(Err(NodeError::Invalid(format!("a message has 1 to {} KB", MAX_TEXT / 1024))));
        }
        if let Err(error) = self.check_may_write(chat) {
            return Ok(Err(error));
        }
        let row = match self.own_message(turn, chat, message)? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        let target = message.0;
        let id = self.write_event(turn, chat, Body::Edit(Edit { target, text: text.clone() }));
        let row = EventRow { edited: Some(text), edit_clock: id.clock.0, ..row };
        self.changed_message(turn, chat, message, &row, FeedKind::Edited)?;
        Ok(Ok(()))
    }

    pub(crate) fn delete(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        message: MessageId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if let Err(error) = self.check_may_write(chat) {
            return Ok(Err(error));
        }
        let row = match self.own_message(turn, chat, message)? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        if turn.agreed_ms().saturating_sub(message.0.clock.ms()) > DELETE_WINDOW_MS {
            return Ok(Err(NodeError::Refused("a message can be deleted for everyone for 48 hours only".into())));
        }
        self.write_event(turn, chat, Body::Delete(Delete { target: message.0 }));
        let row = EventRow {
            body: starling_wire::Event::encode_body(&Body::Text(Text::default())),
            deleted: true,
            edited: None,
            reactions: Vec::new(),
            ..row
        };
        self.changed_message(turn, chat, message, &row, FeedKind::Deleted)?;
        Ok(Ok(()))
    }

    pub(crate) fn react(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        message: MessageId,
        emoji: &str,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if emoji.len() > MAX_EMOJI {
            return Ok(Err(NodeError::Invalid("a reaction is one emoji".into())));
        }
        if let Err(error) = self.check_may_write(chat) {
            return Ok(Err(error));
        }
        let key = crate::conversation::send::timeline_key(chat, message.0);
        use crate::store::Reading;
        let Some(mut row) = turn.get::<EventRow>(TIMELINE, &key)?.filter(|r| !r.deleted) else {
            return Ok(Err(NodeError::NotFound("there is no such message in this conversation".into())));
        };
        let target = message.0;
        let id = self.write_event(turn, chat, Body::Reaction(Reaction { target, emoji: emoji.into() }));
        react(&mut row, &self.account.id(), emoji, id.clock);
        self.changed_message(turn, chat, message, &row, FeedKind::Reaction)?;
        Ok(Ok(()))
    }

    pub(crate) fn changed_message(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        message: MessageId,
        row: &EventRow,
        kind: FeedKind,
    ) -> Result<(), EngineError> {
        turn.put(TIMELINE, &crate::conversation::send::timeline_key(chat, message.0), row)?;
        turn.news(FeedRow {
            kind: kind.stored(),
            chat: chat.0.to_vec(),
            ids: message.0.to_bytes().to_vec(),
            ..FeedRow::default()
        })
    }

    /// Takes note that a chat was read; gives whether that is new.
    pub(crate) fn mark_read(&mut self, chat: ChatId, upto: Clock) -> bool {
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return false;
        };
        let upto = upto.0.min(state.row.newest);
        if upto <= state.row.read && state.row.unread == 0 {
            return false;
        }
        state.row.read = state.row.read.max(upto);
        if state.row.read >= state.row.newest {
            state.row.unread = 0;
        }
        state.dirty = true;
        true
    }

    pub(crate) fn tell_read(&mut self, turn: &mut Turn<'_>, chat: ChatId) {
        if !Self::allows(self.account.settings.receipts) {
            return;
        }
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return;
        };
        if state.row.read_told < state.row.read {
            state.row.read_told = state.row.read;
            state.dirty = true;
            let read = Clock(state.row.read);
            self.write_event(turn, chat, Body::Receipt(Receipt { delivered: Vec::new(), read }));
        }
    }

    /// Tells once more how far we have read.
    pub(crate) fn read_again(&mut self, turn: &mut Turn<'_>, chat: ChatId) {
        let told = self.conversations.chats.get(&chat).map_or(0, |c| c.row.read_told);
        if told > 0 && Self::allows(self.account.settings.receipts) {
            let read = Clock(told);
            self.write_event(turn, chat, Body::Receipt(Receipt { delivered: Vec::new(), read }));
        }
    }
}
