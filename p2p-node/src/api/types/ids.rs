//! Ids and their text.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use starling_wire::EventId;

/// What ids look like in text: base32 without padding, lower case.
fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_lowercase()
}

fn decode(text: &str) -> Result<Vec<u8>, InvalidId> {
    BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).map_err(|_| InvalidId)
}

/// A text that is no id of this kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid id")]
pub struct InvalidId;

/// A conversation, in this profile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatId(pub [u8; 16]);

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatId({})", &self.to_string()[..6])
    }
}

impl FromStr for ChatId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = decode(text)?;
        bytes.try_into().map(Self).map_err(|_| InvalidId)
    }
}

/// A message. Its order is the order of messages in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MessageId(pub EventId);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0.to_bytes()))
    }
}

impl FromStr for MessageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = decode(text)?;
        EventId::from_bytes(&bytes).map(Self).ok_or(InvalidId)
    }
}
