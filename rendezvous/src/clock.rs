//! The wall clock.

#[cfg(any(test, feature = "local"))]
use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    #[cfg(any(test, feature = "local"))]
    if let Some(now_ms) = SIMULATED.get() {
        return now_ms;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(any(test, feature = "local"))]
thread_local! {
    static SIMULATED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Sets the clock of the servers in this thread (milliseconds since 1970): in a simulation, time passes when it says so.
#[cfg(any(test, feature = "local"))]
pub fn set_clock(now_ms: u64) {
    SIMULATED.set(Some(now_ms));
}
