//! Starling's media pipeline: pictures and sound from a source through an encoder onto the network, and from there through a jitter buffer
//! and a decoder to a sink. It knows calls, and nothing of chat: who calls whom, and how descriptions get there, is its caller's matter.
//!
//! A [`Call`] has *routes*, one for each other participant. What is captured is encoded once for each size that is wanted, and
//! goes to every route; what comes from a route is a participant.

pub mod audio;
pub mod call;
pub mod control;
pub mod files;
pub mod limits;
pub mod outlets;
pub mod participant;
pub mod record;
pub mod share;
pub mod spec;
pub mod stats;
mod switch;
pub mod transport;
pub mod video;

pub use call::{Call, CallConfig, CallEvent};
pub use stats::CallStats;
pub use transport::peer::{IceServer, PeerConfig};

/// Why media do not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// A device is missing or cannot be used; the text says what to do.
    #[error("{0}")]
    NoDevice(String),
    /// A file cannot be read or written.
    #[error("{0}")]
    File(String),
    /// A name of a source or sink is not understood.
    #[error("{0}")]
    Spec(String),
    /// An encoder or decoder refused.
    #[error("{0}")]
    Codec(String),
    /// The connection could not be made or used.
    #[error("the connection of the call: {0}")]
    Transport(String),
}
