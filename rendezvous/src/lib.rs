//! The Starling rendezvous server: it helps peers to find and reach each other, and keeps sealed entries for those who are away.
//!
//! - `host`: the process: network, sessions, start and end;
//! - `services`: what it does for clients and operators;
//! - [`store`]: what it keeps.
//!
//! Each imports only from those below it. Tasks: one owns the swarm; one for each connected device serves its stream; the store has a thread that
//! writes. All end when the server is dropped or drained. Queues are bounded: see [`limits`].

pub mod config;
pub mod limits;
pub mod store;

mod address;
mod clock;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod host;
mod private_file;
mod services;

#[cfg(test)]
mod attack_tests;
#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod epoch_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod reader_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod share_tests;
#[cfg(test)]
mod space_tests;
#[cfg(test)]
mod testing;

#[cfg(any(test, feature = "local"))]
pub use host::local;
pub use host::{IdentityError, Ready, Server, StartError, Warning, preflight};
pub use services::{
    operator::{AdminError, ask_admin},
    relay::turn::TurnError,
};
