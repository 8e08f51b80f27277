//! What users of a node see: its handle, its commands, and plain data.

mod commands;
pub mod node;
mod queries;
pub mod types;

pub use commands::{Command, Reply};
