//! The Starling rendezvous server: it helps peers to find and reach each other, and keeps sealed entries for those who are away.
//!
//! Tasks: one owns the swarm ([`network`]); one per connected device serves its stream ([`session`]); the store has a thread that writes. All
//! end when the server is dropped or drained. Queues are bounded: see [`limits`].

pub mod config;
pub mod limits;

mod boxed;
mod directory;
mod hub;
mod identity;
#[cfg(any(test, feature = "local"))]
pub mod local;
mod log;
mod network;
mod operator;
mod preflight;
mod presence;
mod server;
mod session;
pub mod store;
mod turn;

#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod testing;

pub use identity::IdentityError;
pub use operator::{AdminError, ask_admin};
pub use preflight::{Warning, preflight};
pub use server::{Ready, Server, StartError};
pub use turn::TurnError;
