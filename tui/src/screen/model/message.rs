//! A message, as the screen knows it.

use std::borrow::Cow;

use starling_control::objects::{self, DeliveryState};
use starling_node::MessageId;

use crate::{screen::clock, verbs::words_of};

/// A message, with what the screen needs of it in another form. Text and names are as others wrote them: they are made safe where they are
/// shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Messages of a conversation are in the order of their ids.
    pub id: MessageId,
    pub reply_to: Option<MessageId>,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why it has failed.
    pub reason: String,
    /// As the node has given it.
    pub wire: objects::Message,
}

impl Message {
    /// `None` without a valid id.
    pub fn new(wire: objects::Message) -> Option<Self> {
        Some(Self {
            id: wire.id.as_str().parse().ok()?,
            reply_to: wire.reply_to.as_ref().and_then(|id| id.as_str().parse().ok()),
            at_ms: clock::milliseconds(&wire.sent_at),
            reason: String::new(),
            wire,
        })
    }

    /// The account of this profile wrote it.
    pub fn is_own(&self) -> bool {
        self.wire.from.own
    }

    /// The name of its author.
    pub fn name(&self) -> &str {
        self.wire.from.name.as_deref().unwrap_or_default()
    }

    /// What is shown of it: its text, or what the note of a call or of a device says.
    pub fn words(&self) -> Cow<'_, str> {
        match (&self.wire.call, &self.wire.device_note) {
            (None, None) => self.wire.text.as_str().into(),
            _ => words_of(&self.wire).into(),
        }
    }

    /// How far it has come.
    pub fn state(&self) -> DeliveryState {
        self.wire.state
    }

    /// Whether the account of this profile has reacted to it with an emoji.
    pub fn has_own_reaction(&self, emoji: &str) -> bool {
        self.wire.reactions.iter().any(|reaction| reaction.own && reaction.emoji == emoji)
    }
}

/// The messages of a page.
pub fn page(messages: Vec<objects::Message>) -> Vec<Message> {
    messages.into_iter().filter_map(Message::new).collect()
}
