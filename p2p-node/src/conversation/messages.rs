//! What users do with messages: send, change, read.

use starling_keys::DeviceChain;
use starling_wire::{
    Body, Clock, Delete, Edit, EventId, KnownChain, MAX_CHAINS, Reaction, Receipt, Text,
    limits::{MAX_EMOJI, MAX_MENTIONS, MAX_TEXT},
};

use crate::{
    api::{
        error::{GroupRefusal, Invalid, NodeError, NotAllowed, NotFound},
        types::{Audience, ChatId, MessageId},
    },
    contacts::Directory,
    conversation::{Chats, Conversations, context::Context},
    events::{self, At, Target},
    turn::{EngineError, Turn},
};

/// Whether a text can be that of a message.
fn check_length(text: &str) -> Result<(), Invalid> {
    match text.len() {
        _ if !starling_text::is_visible(text) => Err(Invalid::EmptyMessage),
        length if length > MAX_TEXT => Err(Invalid::MessageTooLong { length, max: MAX_TEXT }),
        _ => Ok(()),
    }
}

impl Conversations {
    pub(crate) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        texts: Vec<Text>,
    ) -> Result<Result<Vec<MessageId>, NodeError>, EngineError> {
        let permissions = self.policies.permissions(&chat);
        let lowest = permissions.to_write(texts.iter().all(|text| text.reply_to.is_some()));
        if let Err(error) = self.ready_to(turn, cx, chat, lowest)?.and_then(|()| check_texts(&texts)) {
            return Ok(Err(error));
        }
        let own = self.role_in(chat, &cx.dir.account.id());
        let may_mention_all = own.is_some_and(|role| role <= permissions.mention_all);
        if texts.iter().any(|text| text.mentions_all) && !may_mention_all {
            return Ok(Err(NotAllowed::Group(GroupRefusal::Role).into()));
        }
        if own.is_some_and(|role| role > permissions.post)
            && let Err(error) = self.check_answers(turn, cx.dir, chat, &texts)?
        {
            return Ok(Err(error));
        }
        if let Err(retry_after_ms) = self.keep_own_pace(turn, cx.dir, chat, texts.len()) {
            return Ok(Err(NodeError::RateLimited { retry_after_ms }));
        }
        let write = |text| Ok(MessageId(self.write_event(turn, cx, chat, Body::Text(text))?));
        Ok(Ok(texts.into_iter().map(write).collect::<Result<_, EngineError>>()?))
    }

    /// Whether what our user answers is here: who may only answer others needs something to answer.
    fn check_answers(
        &mut self,
        turn: &Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        texts: &[Text],
    ) -> Result<Result<(), NodeError>, EngineError> {
        for target in texts.iter().filter_map(|text| text.reply_to) {
            let found = self.with_fold(turn, dir, chat, |fold| fold.target(target)).map(|(found, _)| found);
            if !matches!(found.transpose()?, Some(Target::Message { .. })) {
                return Ok(Err(NotFound::Message.into()));
            }
        }
        Ok(Ok(()))
    }

    /// Whether our user may write so many messages now, in slow mode; if not, after how many milliseconds.
    fn keep_own_pace(&mut self, turn: &Turn<'_>, dir: Directory<'_>, chat: ChatId, count: usize) -> Result<(), u64> {
        let own = dir.account.id();
        let (slow_ms, now_ms) = (self.policies.slow_ms(&chat, self.role_in(chat, &own)), turn.agreed_ms());
        let Some(state) = self.chats.get_mut(&chat).filter(|state| state.is_group() && slow_ms > 0) else {
            return Ok(());
        };
        // What the log does not have yet counts, too.
        let since_written = state.written_ms.map_or(0, |at| at.saturating_add(slow_ms).saturating_sub(now_ms));
        match state.roster.waits(own, now_ms, slow_ms).max(since_written) {
            0 if count == 1 => {
                state.written_ms = Some(now_ms);
                Ok(())
            }
            0 => Err(slow_ms),
            wait => Err(wait),
        }
    }

    pub(crate) fn edit(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        message: MessageId,
        text: String,
    ) -> Result<Result<(), NodeError>, EngineError> {
        if let Err(error) = check_length(&text) {
            return Ok(Err(error.into()));
        }
        self.change_message(turn, cx, chat, Body::Edit(Edit { target: message.0, text }))
    }

    pub(crate) fn delete(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        message: MessageId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        self.change_message(turn, cx, chat, Body::Delete(Delete { target: message.0 }))
    }

    pub(crate) fn react(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        message: MessageId,
        emoji: String,
    ) -> Result<Result<(), NodeError>, EngineError> {
        // Without one, the reaction is taken back.
        if emoji.len() > MAX_EMOJI || !(emoji.is_empty() || starling_text::is_one_emoji(&emoji)) {
            return Ok(Err(Invalid::Reaction.into()));
        }
        self.change_message(turn, cx, chat, Body::Reaction(Reaction { target: message.0, emoji }))
    }

    /// Writes an event about a message, if that is here and every member will take it.
    fn change_message(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        body: Body,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let permissions = self.policies.permissions(&chat);
        let answers = permissions.to_write(true);
        let lowest = if matches!(body, Body::Delete(_)) { answers.max(permissions.delete) } else { answers };
        if let Err(error) = self.ready_to(turn, cx, chat, lowest)? {
            return Ok(Err(error));
        }
        let origin = self.authors.own_origin(turn, cx.dir)?;
        let clock = cx.counters.clock.tick(turn.agreed_ms());
        let id = EventId { clock, device: cx.dir.account.device().tag(), sequence: 0 };
        let at = At { id, body: &body, origin: &origin };
        let Some((checked, _)) = self.with_fold(turn, cx.dir, chat, |fold| events::check(fold, &at)) else {
            return Ok(Err(NotFound::Chat.into()));
        };
        match checked? {
            (Some(Target::Unknown), _) => Ok(Err(NotFound::Message.into())),
            (_, Ok(())) => {
                self.write_event(turn, cx, chat, body)?;
                Ok(Ok(()))
            }
            (_, Err(refusal)) => Ok(Err(NotAllowed::Event(refusal).into())),
        }
    }

    /// The user has read a chat up to a clock. Gives whether that is new.
    pub(crate) fn mark_read(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        chat: ChatId,
        upto: Clock,
    ) -> Result<bool, EngineError> {
        let state = |engine: &Self| engine.chats.get(&chat).map(|c| (c.row.read, c.row.unread, c.row.newest));
        let Some(before) = state(self) else { return Ok(false) };
        let (_, _, newest) = before;
        let origin = self.authors.own_origin(turn, cx.dir)?;
        let body =
            Body::Receipt(Receipt { delivered: Vec::new(), read: upto.min(Clock(newest)), ..Receipt::default() });
        self.fold_event(turn, cx.dir, chat, &At { id: EventId::default(), body: &body, origin: &origin })?;
        Ok(state(self) != Some(before))
    }

    /// Another device of ours has read up to a clock.
    pub(crate) fn read_elsewhere(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        upto: Clock,
    ) -> Result<(), EngineError> {
        let read = self.with_fold(turn, dir, chat, |fold| events::read_upto(fold, upto.min(fold.latest())));
        read.map_or(Ok(()), |(read, _)| read.map_err(EngineError::from))
    }
}

impl Chats {
    pub(crate) fn tell_read(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) {
        if !Audience::allows(cx.dir.account.settings.receipts) {
            return;
        }
        let Some(state) = self.states.get_mut(&chat) else {
            return;
        };
        if state.row.read_told < state.row.read {
            state.row.read_told = state.row.read;
            state.dirty = true;
            let read = Clock(state.row.read);
            self.send_read(turn, cx, chat, read);
        }
    }

    fn send_read(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId, read: Clock) {
        let chains = self.known_chains(cx.dir, chat);
        self.announce(turn, cx, chat, Body::Receipt(Receipt { read, chains, ..Receipt::default() }));
    }

    /// The device chains of a conversation's accounts that are known here, as receipts carry them.
    pub(crate) fn known_chains(&self, dir: Directory<'_>, chat: ChatId) -> Vec<KnownChain> {
        let accounts = self.states.get(&chat).into_iter().flat_map(|state| state.roster.accounts());
        let chains = accounts.filter_map(|account| dir.list_of(&account).filter(|list| !list.is_empty()));
        let known = |list: &DeviceChain| KnownChain {
            account: *list.account.as_bytes(),
            length: list.len(),
            head: list.head().0,
        };
        chains.take(MAX_CHAINS).map(known).collect()
    }

    /// Tells once more how far we have read.
    pub(crate) fn read_again(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>, chat: ChatId) {
        let told = self.states.get(&chat).map_or(0, |c| c.row.read_told);
        if told > 0 && Audience::allows(cx.dir.account.settings.receipts) {
            let read = Clock(told);
            self.send_read(turn, cx, chat, read);
        }
    }
}

/// Whether messages are within their limits.
fn check_texts(texts: &[Text]) -> Result<(), NodeError> {
    for text in texts {
        check_length(&text.text)?;
        if text.mentions.len() > MAX_MENTIONS {
            return Err(Invalid::TooManyMentions { max: MAX_MENTIONS }.into());
        }
    }
    Ok(())
}
