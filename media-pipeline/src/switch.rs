//! A switch that a thread waits at: on, off, or ended for good.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    On,
    Off,
    Ended,
}

/// The switch.
#[derive(Debug)]
pub struct Switch {
    state: Mutex<State>,
    changed: Condvar,
}

impl Switch {
    /// A switch that is on or off.
    pub fn new(on: bool) -> Self {
        Self { state: Mutex::new(if on { State::On } else { State::Off }), changed: Condvar::new() }
    }

    /// Turns it on or off; an ended one stays so.
    pub fn set(&self, on: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != State::Ended {
            *state = if on { State::On } else { State::Off };
        }
        self.changed.notify_all();
    }

    /// Ends it for good.
    pub fn end(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Ended;
        self.changed.notify_all();
    }

    /// Whether it is on now.
    pub fn is_on(&self) -> bool {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) == State::On
    }

    /// Whether it was ended.
    pub fn is_ended(&self) -> bool {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) == State::Ended
    }

    /// Waits until it is on; gives false when it was ended.
    pub fn wait_on(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while *state == State::Off {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state == State::On
    }
}
