//! Rows of what members of groups have passed on to one another.

use bytes::Bytes;
use prost::Message;

/// An entry that came by gossip, until the log has it. By chat id and the hash of its message.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct GossipRow {
    /// The topic of the epoch in which it was encrypted.
    #[prost(bytes = "vec", tag = "1")]
    pub topic: Vec<u8>,
    /// The entry, sealed for that epoch's log.
    #[prost(bytes = "bytes", tag = "2")]
    pub entry: Bytes,
    /// The device that has written it.
    #[prost(bytes = "vec", tag = "3")]
    pub device: Vec<u8>,
    /// Ids of the messages in it that are shown and not final, 24 bytes each.
    #[prost(bytes = "vec", tag = "4")]
    pub ids: Vec<u8>,
    /// When it came, milliseconds since 1970.
    #[prost(uint64, tag = "5")]
    pub at_ms: u64,
}
