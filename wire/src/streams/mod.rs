//! Streams of Starling's protocols over libp2p: a behaviour that opens them on the best connection to a peer, and framed reading and writing.
//!
//! `libp2p-stream` picks a random connection, so that after a successful hole punch new streams may still travel through the relay. This one
//! prefers direct over relayed, then newer over older. It polls; it owns no task.

mod behaviour;
mod framed;
mod handler;
mod tls;
mod turn;
mod websocket;

pub use behaviour::{Behaviour, Connection, Event, Gate, OpenError, Opened, Stranger};
pub use framed::{FrameReader, FrameWriter, ReadError};
pub use tls::{Authorities, TlsError};
pub use turn::{read_message, write_message, write_messages};
pub use websocket::{
    WebsocketError, vouched_websocket, vouched_websocket_over, websocket, websocket_over, websocket_server,
};
