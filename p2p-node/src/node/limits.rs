//! Bounds of the node's thread, each with its reason.

use std::time::Duration;

/// Commands and network events that may wait for the engine.
pub const ENGINE_QUEUE: usize = 512;
/// Inputs handled in one turn, and so in one commit.
pub const TURN_INPUTS: usize = 512;
/// How long acknowledgements, and what members of groups pass on, wait for something else to be written with them: far less than anybody sees, and
/// longer than a bot takes to send its next message.
pub const ACK_DELAY: Duration = Duration::from_millis(4);
