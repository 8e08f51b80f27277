//! The ways into the channels of a community, as members tell them to who has come.

use std::fmt;

use crate::{EventError, MAX_CHANNELS};

/// Bytes of an address of a rendezvous.
const MAX_HOME: usize = 512;
/// Bytes of a channel's name.
const MAX_NAME: usize = 512;

/// Ways into channels of the community that the event is in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ways {
    /// At most [`MAX_CHANNELS`].
    pub ways: Vec<ChannelWay>,
}

/// The way into a channel.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChannelWay {
    /// Its conversation.
    pub conversation: [u8; 16],
    /// Its MLS group.
    pub group: [u8; 16],
    /// The secret of its door.
    pub secret: [u8; 32],
    /// The rendezvous with its logs.
    pub home: String,
    /// What it is called.
    pub name: String,
}

/// Without the secret.
impl fmt::Debug for ChannelWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelWay").field("group", &self.group).finish_non_exhaustive()
    }
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Ways {
        #[prost(message, repeated, tag = "1")]
        pub ways: Vec<ChannelWay>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ChannelWay {
        #[prost(bytes = "vec", tag = "1")]
        pub conversation: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub group: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub secret: Vec<u8>,
        #[prost(string, tag = "4")]
        pub home: String,
        #[prost(string, tag = "5")]
        pub name: String,
    }
}

impl Ways {
    pub(super) fn to_proto(&self) -> proto::Ways {
        let way = |way: &ChannelWay| proto::ChannelWay {
            conversation: way.conversation.to_vec(),
            group: way.group.to_vec(),
            secret: way.secret.to_vec(),
            home: way.home.clone(),
            name: way.name.clone(),
        };
        proto::Ways { ways: self.ways.iter().map(way).collect() }
    }

    pub(super) fn from_proto(ways: proto::Ways) -> Result<Self, EventError> {
        if ways.ways.len() > MAX_CHANNELS {
            return Err(EventError::Malformed);
        }
        let way = |way: proto::ChannelWay| -> Result<ChannelWay, EventError> {
            Ok(ChannelWay {
                conversation: way.conversation.as_slice().try_into().map_err(|_| EventError::Malformed)?,
                group: way.group.as_slice().try_into().map_err(|_| EventError::Malformed)?,
                secret: way.secret.as_slice().try_into().map_err(|_| EventError::Malformed)?,
                home: super::bounded(way.home, MAX_HOME)?,
                name: super::bounded(way.name, MAX_NAME)?,
            })
        };
        Ok(Self { ways: ways.ways.into_iter().map(way).collect::<Result<_, _>>()? })
    }
}
