//! A message.

use crate::{
    EventError, EventId,
    limits::{MAX_MENTIONS, MAX_TEXT},
};

/// A text message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Text {
    /// Markdown, at most [`MAX_TEXT`] bytes.
    pub text: String,
    /// The message that this one answers.
    pub reply_to: Option<EventId>,
    /// Account keys of those mentioned.
    pub mentions: Vec<[u8; 32]>,
    /// Everybody in the group is mentioned.
    pub mentions_all: bool,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Text {
        #[prost(string, tag = "1")]
        pub text: String,
        #[prost(bytes, tag = "2")]
        pub reply_to: Vec<u8>,
        #[prost(bytes, repeated, tag = "3")]
        pub mentions: Vec<Vec<u8>>,
        #[prost(bool, tag = "4")]
        pub mentions_all: bool,
    }
}

impl Text {
    pub(super) fn to_proto(&self) -> proto::Text {
        proto::Text {
            text: self.text.clone(),
            reply_to: self.reply_to.map(|id| id.to_bytes().to_vec()).unwrap_or_default(),
            mentions: self.mentions.iter().map(|m| m.to_vec()).collect(),
            mentions_all: self.mentions_all,
        }
    }

    pub(super) fn from_proto(text: proto::Text) -> Result<Self, EventError> {
        if text.mentions.len() > MAX_MENTIONS {
            return Err(EventError::Malformed);
        }
        let reply_to = if text.reply_to.is_empty() { None } else { Some(super::target(&text.reply_to)?) };
        Ok(Self {
            text: super::bounded(text.text, MAX_TEXT)?,
            reply_to,
            mentions: text.mentions.iter().filter_map(|m| m.as_slice().try_into().ok()).collect(),
            mentions_all: text.mentions_all,
        })
    }
}
