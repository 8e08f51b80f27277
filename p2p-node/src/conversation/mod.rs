//! Conversations: their MLS groups and logs, what is sent into them and what comes out of them.

pub mod authors;
pub mod group;
pub mod log;
pub mod logged;
pub mod mending;
mod messages;
pub mod receive;
pub mod roster;
pub mod send;

pub use group::GroupEntry;
