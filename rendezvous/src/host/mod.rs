//! The server as a process: its network, its sessions and their end. One task owns the swarm; each connected device has one that serves its
//! stream. All end when the server is dropped or drained.

mod admission;
mod boxed;
mod connection;
mod identity;
mod listening;
#[cfg(any(test, feature = "local"))]
pub mod local;
mod network;
mod pings;
mod preflight;
mod relay_shares;
mod returns;
mod server;
mod slots;
mod start_error;

#[cfg(feature = "fuzz")]
pub use self::returns::places;
pub use self::{
    identity::IdentityError,
    preflight::{Warning, preflight},
    server::{Ready, Server},
    start_error::StartError,
};
