//! Work that takes milliseconds of a processor: it runs on threads of its own, so that it holds up nobody's connection, and on few at a time.

use std::{num::NonZeroUsize, thread::available_parallelism};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// Runs what would hold up the threads that serve connections, on half of the processors at most.
pub struct Workers {
    places: Semaphore,
}

impl Default for Workers {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        Self { places: Semaphore::new((processors / 2).max(1)) }
    }
}

impl Workers {
    /// What `work` gives, once there is a place for it; each session waits for one at a time. `None` if it has panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.ok()?;
        spawn_blocking(work).await.ok()
    }
}
