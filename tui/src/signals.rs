//! Signals that end the program: all that would end it at once by default, so that it can close what it has open. The handlers are installed once,
//! before the program prints anything, and a signal that was received stays received: no loop can miss it by looking elsewhere at that moment. A
//! thread of its own waits for signals and ends the program if the program itself does
//! not, for example because whoever reads its standard output has stopped reading.

use std::{
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use rustix::process::Signal as Number;
use tokio::{
    signal::unix::{self, SignalKind, signal},
    sync::watch,
};

use crate::error::{CliError, CliResult};

/// A program that has not noticed a signal after this time is blocked, and is ended.
const UNNOTICED: Duration = Duration::from_secs(1);
/// One that has noticed it has this time to hang up and to close the profile.
const GRACE: Duration = Duration::from_secs(5);

/// Signals that end a process by default, and that nothing here sends: timers, limits, users. Not those of faults, after which there is no going on.
const OTHERS: [Number; 8] = [
    Number::USR1,
    Number::USR2,
    Number::ALARM,
    Number::VTALARM,
    Number::PROF,
    Number::XCPU,
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

/// Signals are sent to a process, so this belongs to the process, too.
static STATE: LazyLock<watch::Sender<State>> = LazyLock::new(|| watch::channel(State::default()).0);
static NOTICED: AtomicBool = AtomicBool::new(false);
/// Who has the keyboard.
static KEYBOARD: Mutex<Keyboard> = Mutex::new(Keyboard::Ours);
/// A key that ended the other program may be noticed a moment after its end.
const LATE: Duration = Duration::from_secs(1);

/// Whose the interrupt and quit keys are.
enum Keyboard {
    Ours,
    Lent,
    /// It was lent until then.
    Returned(Instant),
}

#[derive(Default)]
struct State {
    /// The first signal that was received.
    received: Option<Signal>,
    /// How many [`Handled`] there are.
    handlers: usize,
}

/// A signal that ends the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
    Hangup,
    Quit,
    /// Any other one that ends a process, by its number.
    Other(i32),
}

impl Signal {
    /// The exit code of a program that the signal ended, as shells give it.
    fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Hangup => 129,
            Self::Quit => 131,
            Self::Other(number) => u8::try_from(number).map_or(u8::MAX, |number| 128 | number),
        }
    }

    /// The result of a verb that the signal ended before it was done.
    pub fn error(self) -> CliError {
        let (code, message) = match self {
            Self::Interrupt => ("interrupted", "interrupted".to_owned()),
            Self::Terminate => ("terminated", "another program has asked this one to end".to_owned()),
            Self::Hangup => ("hung_up", "the terminal was closed".to_owned()),
            Self::Quit => ("quit", "the quit key has ended the program".to_owned()),
            Self::Other(number) => ("ended_by_signal", format!("signal {number} has ended the program")),
        };
        CliError::new(code, self.exit_code(), message)
    }
}

/// Installs the handlers. When this returns, neither signal ends the process by its default action any more.
pub fn install() -> CliResult {
    let (installed, ready) = mpsc::sync_channel(1);
    let wait = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(wait(&installed)),
        Err(error) => drop(installed.send(Err(error))),
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    ready.recv().map_err(CliError::internal)??;
    Ok(())
}

/// While this exists, a verb looks for signals itself with [`received`], as it has something to close. Otherwise a signal drops the verb where
/// it is.
#[must_use]
pub struct Handled(());

/// From now on the caller handles signals.
pub fn handle() -> Handled {
    STATE.send_modify(|state| state.handlers += 1);
    Handled(())
}

impl Drop for Handled {
    fn drop(&mut self) {
        STATE.send_modify(|state| state.handlers -= 1);
    }
}

/// Waits for a signal; ready at once if there was one.
pub async fn received() -> Signal {
    when(|_| true).await
}

/// Waits for a signal that no verb handles.
pub async fn unhandled() -> Signal {
    when(|state| state.handlers == 0).await
}

/// Does something unless a signal comes first; that is an error then.
pub async fn unless_received<T>(task: impl Future<Output = CliResult<T>>) -> CliResult<T> {
    tokio::select! {
        biased;
        signal = received() => Err(signal.error()),
        result = task => result,
    }
}

/// Notes a signal; the first one counts.
fn receive(signal: Signal) {
    STATE.send_modify(|state| state.received = state.received.or(Some(signal)));
}

/// While another program has the terminal, its interrupt and quit keys are meant for that program.
pub fn lend_keyboard(lent: bool) {
    let state = if lent { Keyboard::Lent } else { Keyboard::Returned(Instant::now()) };
    *KEYBOARD.lock().unwrap_or_else(PoisonError::into_inner) = state;
}

/// Whether an interrupt that comes now may have been meant for another program.
pub fn is_keyboard_lent() -> bool {
    match &*KEYBOARD.lock().unwrap_or_else(PoisonError::into_inner) {
        Keyboard::Ours => false,
        Keyboard::Lent => true,
        Keyboard::Returned(at) => at.elapsed() < LATE,
    }
}

async fn when(fits: impl Fn(&State) -> bool) -> Signal {
    let mut states = STATE.subscribe();
    let state = states.wait_for(|state| state.received.is_some() && fits(state)).await;
    let Some(signal) = state.ok().and_then(|state| state.received) else { return std::future::pending().await };
    NOTICED.store(true, Ordering::Relaxed);
    signal
}

/// Whether the process was started with a signal ignored, as `nohup` does; also where that cannot be found out.
fn is_ignored(number: Number) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (number.as_raw() - 1)) != 0)
}

/// What the process was sent.
struct Handlers {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: Option<unix::Signal>,
    quit: Option<unix::Signal>,
    others: Vec<(i32, unix::Signal)>,
    /// Of a file that would be too large: what writes it gets an error instead.
    _file_size: Option<unix::Signal>,
}

impl Handlers {
    fn install() -> std::io::Result<Self> {
        let unless_ignored =
            |number: Number| (!is_ignored(number)).then(|| signal(SignalKind::from_raw(number.as_raw()))).transpose();
        // What the system does not have, or keeps for itself, cannot come.
        let others = others().into_iter().filter_map(|n| Some((n, signal(SignalKind::from_raw(n)).ok()?)));
        Ok(Self {
            hangup: unless_ignored(Number::HUP)?,
            quit: unless_ignored(Number::QUIT)?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            others: others.collect(),
            _file_size: signal(SignalKind::from_raw(Number::XFSZ.as_raw())).ok(),
        })
    }

    /// The next one that ends the program.
    async fn next(&mut self) -> Signal {
        async fn received(signal: &mut Option<unix::Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        loop {
            let others = self.others.iter_mut().map(|(number, signal)| async {
                signal.recv().await;
                *number
            });
            let mut others: FuturesUnordered<_> = others.collect();
            tokio::select! {
                _ = self.interrupt.recv() => if !is_keyboard_lent() { return Signal::Interrupt },
                _ = self.terminate.recv() => return Signal::Terminate,
                () = received(&mut self.hangup) => return Signal::Hangup,
                () = received(&mut self.quit) => if !is_keyboard_lent() { return Signal::Quit },
                Some(number) = others.next() => return Signal::Other(number),
            }
        }
    }
}

async fn wait(installed: &mpsc::SyncSender<std::io::Result<()>>) {
    let mut handlers = match Handlers::install() {
        Ok(handlers) => handlers,
        Err(error) => return drop(installed.send(Err(error))),
    };
    let _ = installed.send(Ok(()));
    let first = handlers.next().await;
    receive(first);
    let blocked = async {
        tokio::time::sleep(UNNOTICED).await;
        if NOTICED.load(Ordering::Relaxed) {
            tokio::time::sleep(GRACE - UNNOTICED).await;
        }
    };
    // Whoever asks a second time does not want to wait.
    let last = tokio::select! {
        () = blocked => first,
        again = handlers.next() => again,
    };
    crate::terminal::restore_now();
    std::process::exit(last.exit_code().into());
}
