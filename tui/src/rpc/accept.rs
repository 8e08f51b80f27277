//! Accepting connections.

use std::time::Duration;

/// How long accepting pauses when the process or the machine has no file descriptors left: the connection stays in the queue of the listener, and
/// would be found again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// What was accepted; nothing, after a pause, if that failed. One connection that fails, or a lack of file descriptors, is no reason to accept no
/// more.
pub async fn or_pause<T>(accepted: std::io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::debug!(kind = ?error.kind(), "accepting failed");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}
