//! A message's text was changed by its author.

use crate::{EventError, EventId, limits::MAX_TEXT};

/// A new text for a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// The message.
    pub target: EventId,
    /// Its new text, at most [`MAX_TEXT`] bytes.
    pub text: String,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Edit {
        #[prost(bytes, tag = "1")]
        pub target: Vec<u8>,
        #[prost(string, tag = "2")]
        pub text: String,
    }
}

impl Edit {
    pub(super) fn to_proto(&self) -> proto::Edit {
        proto::Edit { target: self.target.to_bytes().to_vec(), text: self.text.clone() }
    }

    pub(super) fn from_proto(edit: proto::Edit) -> Result<Self, EventError> {
        Ok(Self { target: super::target(&edit.target)?, text: super::bounded(edit.text, MAX_TEXT)? })
    }
}
