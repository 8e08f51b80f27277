//! Signals while a view has the terminal: all that would end it at once and leave the terminal as it is, and the shell's job control.

use std::io;

use futures::FutureExt;
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    error::CliError,
    signals::{self, Handled, handle, lend_keyboard},
};

/// The signals, taken for a view. It ends by itself when one comes, and restores the terminal first.
pub struct Signals {
    _handled: Handled,
    stop: Signal,
    go_on: Signal,
}

/// What the shell's job control asks of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobControl {
    /// To give the terminal back and stop.
    Stop,
    /// It was stopped and goes on: the terminal may have been used by others.
    Continue,
}

impl Signals {
    /// Takes them, for as long as this exists.
    pub fn take() -> io::Result<Self> {
        let number = |number: Number| signal(SignalKind::from_raw(number.as_raw()));
        let (stop, go_on) = (number(Number::TSTP)?, number(Number::CONT)?);
        Ok(Self { _handled: handle(), stop, go_on })
    }

    /// Ready when the process is to end; also when that was asked for before. The error has the exit code that shells use.
    pub async fn ended() -> CliError {
        signals::received().await.error()
    }

    /// What the shell asks next. Can be cancelled.
    pub async fn job_control(&mut self) -> JobControl {
        tokio::select! {
            _ = self.stop.recv() => JobControl::Stop,
            _ = self.go_on.recv() => JobControl::Continue,
        }
    }

    /// Lets another program have the terminal for as long as the guard lives. What the terminal's keys sent to the whole process group in
    /// that time was for that program.
    pub fn lend(&mut self) -> Lent<'_> {
        lend_keyboard(true);
        Lent(self)
    }
}

/// See [`Signals::lend`].
pub struct Lent<'a>(&'a mut Signals);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        lend_keyboard(false);
        while self.0.job_control().now_or_never().is_some() {}
    }
}

/// Stops this process; returns when it goes on. With SIGTTOU instead of SIGSTOP, because the kernel ignores that one where no shell could let
/// us go on again. Sent to this thread: a signal to the process may be taken by another one after this has returned, and what is done then
/// would be done before the stop.
pub fn stop_process() {
    let _ = signal_hook::low_level::raise(Number::TTOU.as_raw());
}
