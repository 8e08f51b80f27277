//! What users of a node see: its handle, its commands, and plain data.

mod commands;
mod driver;
pub mod error;
pub mod node;
mod queries;
pub mod types;

pub(crate) use commands::fail;
pub use commands::{Command, Reply};

pub use crate::{
    account::commands::AccountCommand, contacts::commands::ContactCommand, conversation::commands::ConversationCommand,
    presence::commands::PresenceCommand,
};
