//! The network side of one route: a WebRTC peer connection, and what makes it good on bad networks.

pub mod addresses;
mod candidates;
mod codecs;
pub mod estimate;
mod handshake;
pub mod link;
pub mod nack;
mod other_port;
pub mod pacer;
mod passthrough;
pub mod peer;
mod runtime;
pub mod sender;
mod taps;
pub mod translator;
pub mod tunnel;
