//! What a command waits for, where it takes long.

use std::{pin::pin, time::Duration};

use super::say;
use crate::cli::Global;

/// How long a command is silent about what it waits for.
const SILENT: Duration = Duration::from_secs(2);

/// Does something that may wait for others, and says what it waits for if it does.
pub async fn patiently<T>(global: &Global, waits_for: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(SILENT) => say(global, format!("Waiting for {waits_for} …")),
    }
    work.await
}
