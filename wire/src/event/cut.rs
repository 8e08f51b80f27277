//! Where the events of a removed device end.

use crate::{
    Clock, EventError,
    limits::{MAX_CUT_EVENTS, MAX_CUT_RANGES},
};

/// Which events of a device count that the sender's account has removed: those that the removing device had, and none after them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cut {
    /// The device (32 bytes).
    pub device: [u8; 32],
    /// Its last event that counts, by number.
    pub upto: u64,
    /// Ranges of numbers beyond (first and last of each, at most [`MAX_CUT_RANGES`]) that count, too: they had come although something before had not.
    pub early: Vec<[u64; 2]>,
    /// Who says so has been in the conversation since then, in milliseconds since 1970, and knows nothing of events before; 0: from the beginning.
    pub since_ms: u64,
    /// The last of its messages, at most [`MAX_CUT_EVENTS`], for those who don't have them.
    pub messages: Vec<CutMessage>,
}

/// A message of a removed device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CutMessage {
    /// When it was written.
    pub clock: Clock,
    /// Its number.
    pub sequence: u64,
    /// Its encoded body ([`crate::Event::encode_body`]).
    pub body: Vec<u8>,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Cut {
        #[prost(bytes = "vec", tag = "1")]
        pub device: Vec<u8>,
        #[prost(uint64, tag = "2")]
        pub upto: u64,
        #[prost(message, repeated, tag = "3")]
        pub messages: Vec<CutMessage>,
        #[prost(uint64, tag = "4")]
        pub since_ms: u64,
        #[prost(uint64, repeated, tag = "5")]
        pub early: Vec<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CutMessage {
        #[prost(fixed64, tag = "1")]
        pub clock: u64,
        #[prost(uint64, tag = "2")]
        pub sequence: u64,
        #[prost(bytes = "vec", tag = "3")]
        pub body: Vec<u8>,
    }
}

impl Cut {
    pub(super) fn to_proto(&self) -> proto::Cut {
        let message =
            |m: &CutMessage| proto::CutMessage { clock: m.clock.0, sequence: m.sequence, body: m.body.clone() };
        let messages = self.messages.iter().map(message).collect();
        let early = self.early.concat();
        proto::Cut { device: self.device.to_vec(), upto: self.upto, messages, since_ms: self.since_ms, early }
    }

    pub(super) fn from_proto(cut: proto::Cut) -> Result<Self, EventError> {
        let (early, rest) = cut.early.as_chunks::<2>();
        let are_ranges = rest.is_empty() && early.iter().all(|[first, last]| first <= last);
        if cut.messages.len() > MAX_CUT_EVENTS || early.len() > MAX_CUT_RANGES || !are_ranges {
            return Err(EventError::Malformed);
        }
        let early = early.to_vec();
        let device = cut.device.try_into().map_err(|_| EventError::Malformed)?;
        let message = |m: proto::CutMessage| CutMessage { clock: Clock(m.clock), sequence: m.sequence, body: m.body };
        let messages = cut.messages.into_iter().map(message).collect();
        Ok(Self { device, upto: cut.upto, early, since_ms: cut.since_ms, messages })
    }
}
