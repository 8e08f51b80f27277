//! The control interface of a Starling node: what the screen, the command line and bots use.
//!
//! A control connection carries JSON-RPC 2.0, one object (or batch) a line. Everything that travels on it is a type of this crate:
//!
//! - [`methods`]: each request is a struct that implements [`Method`], which names its answer. [`methods::dispatch`] serves them, from the one
//!   table that also makes the description in `docs/schema/openrpc.json`.
//! - [`event`]: the lines of a subscription, as `starling listen --json` prints them.
//! - [`objects`]: contacts, messages, calls and so on, which answers and events hold.
//! - [`jsonrpc`]: the envelope, per the JSON-RPC 2.0 specification.
//! - [`frames`]: the pictures of a call, after `call.watch`.
//! - [`lines`]: what commands print with `--json` beside these.
//! - [`Client`]: the client's end of a connection.
//!
//! Parameters that a node does not know are refused, as an option that is ignored could do harm. In answers and events readers ignore fields
//! that they do not know: those are only ever added.

mod client;
mod error;
pub mod event;
pub mod frames;
pub mod jsonrpc;
pub mod lines;
pub mod methods;
pub mod objects;
pub mod schema;

pub use client::{Client, ClientError, EventLine};
pub use error::{Error, ErrorData, FAILED};
pub use event::Event;
pub use methods::{Method, Serve};

/// The longest line that is read, in bytes: a message of 64 KiB with every character escaped, and room for a batch of lines.
pub const MAX_LINE: usize = 4 * 1024 * 1024;
