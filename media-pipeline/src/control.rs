//! What both ends of a route tell each other while media flow, on a data channel of their connection: JSON, and the bytes of a shared
//! terminal.

use serde::{Deserialize, Serialize};

use crate::{limits::MAX_CONTROL, participant::SelfState};

/// A message. Unknown ones are ignored, so that newer programs can say more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Control {
    /// How the sender is.
    State(SelfState),
    /// The sender shows our video at this height (0: not at all).
    Want {
        /// In pixels.
        height: u32,
    },
    /// How our sound arrives at the sender.
    Loss {
        /// Packets lost, in percent.
        percent: u8,
        /// Mean number of packets lost in a row, in tenths.
        burst: u8,
    },
    /// The sender begins to share a terminal of this size, or changes it.
    Share {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// The sender no longer shares.
    ShareEnd,
    /// The keyboard of the shared terminal is handed to us, or taken back.
    Hand {
        /// We may type.
        given: bool,
    },
    /// The call ends.
    Bye,
    /// Something newer.
    #[serde(other)]
    Unknown,
}

/// A message as it is sent: one byte for its kind, then its content.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// JSON.
    Control(Control),
    /// What a shared terminal shows.
    Output(Vec<u8>),
    /// What was typed for a shared terminal.
    Input(Vec<u8>),
}

const CONTROL: u8 = 0;
const OUTPUT: u8 = 1;
const INPUT: u8 = 2;

impl Message {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Control(control) => (CONTROL, serde_json::to_vec(control).unwrap_or_default()),
            Self::Output(bytes) => (OUTPUT, bytes.clone()),
            Self::Input(bytes) => (INPUT, bytes.clone()),
        };
        [&[kind], content.as_slice()].concat()
    }

    /// From bytes; nothing if they mean nothing.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, content) = bytes.split_first()?;
        if content.len() > MAX_CONTROL {
            return None;
        }
        match *kind {
            CONTROL => serde_json::from_slice(content).ok().map(Self::Control),
            OUTPUT => Some(Self::Output(content.to_vec())),
            INPUT => Some(Self::Input(content.to_vec())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn messages_are_read_back_and_strange_ones_ignored() {
        for message in [
            Message::Control(Control::State(SelfState { microphone: true, ..SelfState::default() })),
            Message::Control(Control::Want { height: 180 }),
            Message::Control(Control::Bye),
            Message::Output(b"\x1b[1mhello".to_vec()),
            Message::Input(vec![]),
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(b"\x00{\"t\":\"dance\"}"), Some(Message::Control(Control::Unknown)));
        for bad in [&b""[..], b"\x00{", b"\x09x", b"\x00{\"t\":\"want\"}"] {
            assert_eq!(Message::decode(bad), None);
        }
    }
}
