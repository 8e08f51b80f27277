//! Signals while a view has the terminal: all that would end it at once and leave the terminal as it is, and the shell's job control.

use std::io;

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use rustix::process::Signal as Number;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use crate::{
    error::CliError,
    signals::{self, Handled, handle, lend_keyboard},
};

/// Signals that end a process by default, and that nothing here sends: timers, limits, users. Not those of faults, after which there is no going on.
const OTHERS: [Number; 9] = [
    Number::USR1,
    Number::USR2,
    Number::ALARM,
    Number::VTALARM,
    Number::PROF,
    Number::XCPU,
    Number::XFSZ,
    Number::ABORT,
    Number::TRAP,
];

/// The numbers of all of them; on Linux also those that only it has, and the real-time signals.
fn others() -> Vec<i32> {
    let mut numbers: Vec<i32> = OTHERS.iter().map(|number| number.as_raw()).collect();
    #[cfg(target_os = "linux")]
    {
        numbers.extend([Number::IO, Number::POWER, Number::STKFLT, Number::SYS].map(Number::as_raw));
        numbers.extend(REAL_TIME);
    }
    numbers
}

/// The C library keeps the first one or two for itself.
#[cfg(target_os = "linux")]
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The signals, taken for a view. It ends by itself when one comes, and restores the terminal first.
pub struct Signals {
    _handled: Handled,
    stop: Signal,
    go_on: Signal,
    task: JoinHandle<()>,
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
        let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
        let number = |number: Number| signal(SignalKind::from_raw(number.as_raw()));
        let (stop, go_on) = (number(Number::TSTP)?, number(Number::CONT)?);
        // What the system does not have, or keeps for itself, cannot come.
        let others = others().into_iter().filter_map(|n| Some((n, signal(SignalKind::from_raw(n)).ok()?)));
        let others: Vec<_> = others.collect();
        let task = tokio::spawn(async move {
            let mut others: FuturesUnordered<_> = others
                .into_iter()
                .map(|(number, mut signal)| async move {
                    signal.recv().await;
                    number
                })
                .collect();
            loop {
                tokio::select! {
                    _ = hangup.recv() => signals::receive(signals::Signal::Hangup),
                    Some(number) = others.next() => signals::receive(signals::Signal::Other(number)),
                    _ = quit.recv() => if !signals::is_keyboard_lent() { signals::receive(signals::Signal::Quit) },
                }
            }
        });
        Ok(Self { _handled: handle(), stop, go_on, task })
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

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
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
