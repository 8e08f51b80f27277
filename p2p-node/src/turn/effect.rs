//! What a turn is given, and what comes of it.

use crate::{api::types::TransientEvent, call_media::CallCommand, mls::GroupError, net::NetCommand, store::StoreError};

/// The time, as an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timers: never goes back while the node runs. Starts at the clock's milliseconds since 1970.
    pub steady_ms: u64,
    /// For what is written down: the clock's milliseconds since 1970.
    pub wall_ms: u64,
    /// For what does not outlive the node: since its start, with the time that the machine slept, whatever becomes of the clock.
    pub running_ms: u64,
}

/// What leaves the engine after a turn's commit.
pub enum Effect {
    /// For the network.
    Net(NetCommand),
    /// An answer to a caller.
    Reply(Box<dyn FnOnce() + Send>),
    /// For the media of calls.
    Call(CallCommand),
    /// Events that are not kept.
    TransientEvent(TransientEvent),
}

/// What can go wrong inside a turn so that the engine must stop.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own keys or groups cannot be used.
    #[error("the profile's encryption state cannot be used: {0}")]
    Group(#[from] GroupError),
    /// A fact leads to itself: a mistake of ours.
    #[error("what happened leads to itself without an end")]
    Facts,
    /// The identity in the profile cannot be read.
    #[error("the profile's identity is damaged")]
    Identity,
}
