//! A message was deleted for everyone by its author.

use crate::{EventError, EventId};

/// A message is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delete {
    /// The message.
    pub target: EventId,
}

impl Delete {
    pub(super) fn to_proto(self) -> Vec<u8> {
        self.target.to_bytes().to_vec()
    }

    pub(super) fn from_proto(target: &[u8]) -> Result<Self, EventError> {
        Ok(Self { target: super::target(target)? })
    }
}
