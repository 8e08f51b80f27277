//! JSON-RPC 2.0, one object a line: how the screen, the command line and bots talk to the node, in this process or through its control socket.

mod attended;
mod calls;
mod client;
pub mod frames;
mod json;
mod screen_state;
mod server;

pub use client::{Client, acquire, bind, connect, open_node, serve_listener};
pub use json::{now_ms, rfc3339};
pub use screen_state::ScreenState;
pub use server::{Served, serve_stream};

/// Longest line: a message of 64 KB with every character escaped, and room for a batch of lines.
pub const MAX_LINE: usize = 4 * 1024 * 1024;
