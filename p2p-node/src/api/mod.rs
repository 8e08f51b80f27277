//! What users of a node see, as plain data, and how they are answered.

pub mod error;
pub mod problem;
pub mod types;

use tokio::sync::oneshot;

use error::NodeError;

/// Where the answer of a command goes.
pub type Reply<T> = oneshot::Sender<Result<T, NodeError>>;

/// Answers a request with an error.
pub(crate) fn fail<T>(reply: Reply<T>, error: NodeError) {
    // Who does not wait any more needs no answer.
    let _ = reply.send(Err(error));
}
