//! A reaction to a message.

use crate::{EventError, EventId, limits::MAX_EMOJI};

/// An account's reaction to a message is set, changed or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reaction {
    /// The message.
    pub target: EventId,
    /// One emoji, at most [`MAX_EMOJI`] bytes; empty if the reaction is removed.
    pub emoji: String,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Reaction {
        #[prost(bytes, tag = "1")]
        pub target: Vec<u8>,
        #[prost(string, tag = "2")]
        pub emoji: String,
    }
}

impl Reaction {
    pub(super) fn to_proto(&self) -> proto::Reaction {
        proto::Reaction { target: self.target.to_bytes().to_vec(), emoji: self.emoji.clone() }
    }

    pub(super) fn from_proto(reaction: proto::Reaction) -> Result<Self, EventError> {
        Ok(Self { target: super::target(&reaction.target)?, emoji: super::bounded(reaction.emoji, MAX_EMOJI)? })
    }
}
