//! A message, as the screen knows it.

use starling_node::MessageId;

/// How far one of our messages is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    #[default]
    Queued,
    Sent,
    Delivered,
    Read,
    Failed,
}

impl Delivery {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

/// How a message came here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    #[default]
    Own,
    Direct,
    Relay,
    Log,
}

/// A message. Text and names are as others wrote them: they are made safe where they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    pub mine: bool,
    /// Of its author.
    pub name: String,
    pub text: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub state: Delivery,
    /// Why it has failed.
    pub reason: String,
    pub via: Via,
    pub reply_to: Option<MessageId>,
    pub edited: bool,
    pub deleted: bool,
    /// Emoji, safe to be shown, and whether it is ours.
    pub reactions: Vec<(String, bool)>,
    /// Accounts.
    pub mentions: Vec<String>,
}
