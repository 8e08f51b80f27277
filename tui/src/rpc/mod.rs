//! JSON-RPC 2.0, one object a line: how the screen, the command line and bots talk to the node, in this process or through its control socket.

mod accept;
mod arrange;
mod calls;
mod client;
mod convert;
mod devices;
mod find;
pub mod frames;
mod groups;
mod safety;
mod screen_state;
mod serve;
mod session;
mod socket;
mod stats;
mod storage;
mod subscription;
mod token;

pub use client::{
    Client, FIRST_ANSWER, acquire, acquire_asking, connect, described, open_node, serve_port, serve_socket,
};
pub use convert::{media_devices, now_ms, rfc3339};
pub use screen_state::ScreenState;
pub use session::Served;
pub use socket::{ControlSocket, pointed, spare};
pub use token::Token;
