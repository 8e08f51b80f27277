//! Signals: typing and presence. Sealed for the conversation, never stored, may be lost.

use prost::Message as _;

use crate::limits::{MAX_SIGNAL, MAX_SIGNAL_ADDRESSES};

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// At the keyboard, or a running bot.
    Online,
    /// Connected, but idle.
    Away,
    /// Said good-bye.
    Offline,
}

/// A signal that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid signal")]
pub struct SignalError;

/// A short-lived hint to the other members of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// When it was sent, in milliseconds since 1970: an old one is a replay.
    pub sent_ms: u64,
    /// Whether the sender's user is typing in this conversation.
    pub typing: bool,
    /// Missing where the sender does not show it.
    pub availability: Option<Availability>,
    /// Where the sending device can be reached directly (multiaddrs); only contacts get to see it.
    pub addresses: Vec<Vec<u8>>,
    /// The sender wants to know the same of the receiver.
    pub ask: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Proto {
    #[prost(uint64, tag = "1")]
    sent_ms: u64,
    #[prost(bool, tag = "2")]
    typing: bool,
    #[prost(uint32, tag = "3")]
    availability: u32,
    #[prost(bytes, repeated, tag = "4")]
    addresses: Vec<Vec<u8>>,
    #[prost(bool, tag = "5")]
    ask: bool,
}

impl Signal {
    /// Encodes the signal.
    pub fn encode(&self) -> Vec<u8> {
        Proto {
            sent_ms: self.sent_ms,
            typing: self.typing,
            availability: match self.availability {
                None => 0,
                Some(Availability::Online) => 1,
                Some(Availability::Away) => 2,
                Some(Availability::Offline) => 3,
            },
            addresses: self.addresses.clone(),
            ask: self.ask,
        }
        .encode_to_vec()
    }

    /// Reads a signal.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignalError> {
        if bytes.len() > MAX_SIGNAL {
            return Err(SignalError);
        }
        let proto = Proto::decode(bytes).map_err(|_| SignalError)?;
        if proto.addresses.len() > MAX_SIGNAL_ADDRESSES {
            return Err(SignalError);
        }
        Ok(Self {
            sent_ms: proto.sent_ms,
            typing: proto.typing,
            availability: match proto.availability {
                1 => Some(Availability::Online),
                2 => Some(Availability::Away),
                3 => Some(Availability::Offline),
                _ => None,
            },
            addresses: proto.addresses,
            ask: proto.ask,
        })
    }
}
