//! Signals that end the program: SIGINT and SIGTERM, and those that a view with the whole terminal passes on. The handlers are installed once, before the program prints anything, and a signal that was received stays received: no
//! loop can miss it by looking elsewhere at that moment. A thread of its own waits for signals and ends the program if the program itself does
//! not, for example because whoever reads its standard output has stopped reading.

use std::{
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::error::{CliError, CliResult};

/// A program that has not noticed a signal after this time is blocked, and is ended.
const UNNOTICED: Duration = Duration::from_secs(1);
/// One that has noticed it has this time to hang up and to close the profile.
const GRACE: Duration = Duration::from_secs(5);

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

/// Takes a signal that somebody else has caught; the first one counts.
pub fn receive(signal: Signal) {
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

async fn wait(installed: &mpsc::SyncSender<std::io::Result<()>>) {
    let handlers = signal(SignalKind::interrupt()).and_then(|i| Ok((i, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match handlers {
        Ok(handlers) => handlers,
        Err(error) => return drop(installed.send(Err(error))),
    };
    let _ = installed.send(Ok(()));
    let mut next = async || {
        loop {
            tokio::select! {
                _ = interrupt.recv() => if !is_keyboard_lent() { return Signal::Interrupt },
                _ = terminate.recv() => return Signal::Terminate,
            }
        }
    };
    let first = next().await;
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
        again = next() => again,
    };
    crate::terminal::restore_now();
    std::process::exit(last.exit_code().into());
}
