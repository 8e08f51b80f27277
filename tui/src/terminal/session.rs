//! The terminal while a view has all of it: other screen, raw mode, mouse, bracketed paste, keyboard flags.
//!
//! While a session is active, only its [`TtyWriter`] writes to the terminal: standard output and standard error of the process, and so
//! whatever C libraries print, go to the log file. There is at most one session. What is needed to restore the terminal is in a static,
//! because a panic and a forced exit have to restore it, too.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    panic,
    sync::{
        Arc, Mutex, Once, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ThreadId},
};

use ratatui::crossterm::{
    cursor::Show,
    event::{
        DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste, EnableFocusChange,
        EnableMouseCapture, KeyboardEnhancementFlags, PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags,
    },
    queue,
    style::ResetColor,
    terminal::{EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, supports_keyboard_enhancement},
};
use rustix::{
    stdio,
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr},
};

/// What restores the terminal, while a session is active.
static ACTIVE: Mutex<Option<Saved>> = Mutex::new(None);
static HOOK: Once = Once::new();

struct Saved {
    tty: Arc<File>,
    modes: Termios,
    keyboard: bool,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// The thread that draws: a panic of another one ends a task, not the session.
    thread: ThreadId,
    open: Arc<AtomicBool>,
}

impl Saved {
    /// Errors are passed over: after a hang-up there is no terminal any more, and nothing else to be done.
    fn restore(self) {
        self.open.store(false, Ordering::SeqCst);
        let mut bytes = Vec::new();
        if self.keyboard {
            let _ = queue!(bytes, PopKeyboardEnhancementFlags);
        }
        let _ = queue!(
            bytes,
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableFocusChange,
            DisableBracketedPaste,
            ResetColor,
            LeaveAlternateScreen,
            Show
        );
        let _ = (&*self.tty).write_all(&bytes);
        let _ = tcsetattr(&*self.tty, OptionalActions::Now, &self.modes);
        let _ = stdio::dup2_stdout(&self.stdout);
        let _ = stdio::dup2_stderr(&self.stderr);
    }
}

/// Restores the terminal if a session is active. Never waits: it is called by the panic hook and before a forced exit.
pub fn restore_now() {
    let saved = match ACTIVE.try_lock() {
        Ok(mut active) => active.take(),
        Err(TryLockError::Poisoned(active)) => active.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    if let Some(saved) = saved {
        saved.restore();
    }
}

fn install_panic_hook() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = ACTIVE.try_lock().is_ok_and(|a| a.as_ref().is_some_and(|s| s.thread == thread::current().id()));
            if ours {
                restore_now();
            }
            before(info);
        }));
    });
}

/// A session. Dropping it restores the terminal.
pub struct Session {
    tty: Arc<File>,
    /// As they were before the first session of this process changed them.
    modes: Termios,
    mouse: bool,
    keyboard: bool,
    open: Arc<AtomicBool>,
}

impl Session {
    /// Takes the terminal of standard output.
    pub fn open(mouse: bool) -> io::Result<Self> {
        install_panic_hook();
        let tty = Arc::new(File::from(rustix::io::fcntl_dupfd_cloexec(stdio::stdout(), 3)?));
        let modes = tcgetattr(&*tty)?;
        let mut session = Self { tty, modes, mouse, keyboard: false, open: Arc::default() };
        // Asking a terminal costs a round trip, and not all answer: only those that are known to have it are asked.
        let known = ["KITTY_WINDOW_ID", "WEZTERM_EXECUTABLE", "GHOSTTY_RESOURCES_DIR"];
        session.keyboard =
            known.iter().any(|v| std::env::var_os(v).is_some()) && matches!(supports_keyboard_enhancement(), Ok(true));
        session.resume()?;
        Ok(session)
    }

    /// Writes to the terminal; what is written while the session is suspended is dropped.
    pub fn writer(&self) -> TtyWriter {
        TtyWriter { tty: self.tty.clone(), open: self.open.clone() }
    }

    /// Gives the terminal back, for another program or the shell.
    pub fn suspend(&mut self) {
        restore_now();
    }

    /// Takes the terminal again, also one that another program has left in some other state. Everything has to be drawn afterwards.
    pub fn resume(&mut self) -> io::Result<()> {
        restore_now();
        let mut raw = self.modes.clone();
        raw.make_raw();
        // First of all: in the background this stops us until we are in the foreground again.
        tcsetattr(&*self.tty, OptionalActions::Now, &raw)?;
        let (stdout, stderr) = (
            rustix::io::fcntl_dupfd_cloexec(stdio::stdout(), 3)?,
            rustix::io::fcntl_dupfd_cloexec(stdio::stderr(), 3)?,
        );
        let saved = Saved {
            tty: self.tty.clone(),
            modes: self.modes.clone(),
            keyboard: self.keyboard,
            stdout,
            stderr,
            thread: thread::current().id(),
            open: self.open.clone(),
        };
        *ACTIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(saved);
        let log = match crate::profile::log_file() {
            Some(log) => log,
            None => File::options().write(true).open("/dev/null")?,
        };
        stdio::dup2_stdout(&log)?;
        stdio::dup2_stderr(&log)?;
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange)?;
        if self.mouse {
            queue!(bytes, EnableMouseCapture)?;
        }
        if self.keyboard {
            let flags =
                KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES | KeyboardEnhancementFlags::REPORT_EVENT_TYPES;
            queue!(bytes, PushKeyboardEnhancementFlags(flags))?;
        }
        (&*self.tty).write_all(&bytes)?;
        self.open.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Stops the process as the terminal's suspend key would, and takes the terminal again when it goes on.
    pub fn stop_process(&mut self) -> io::Result<()> {
        self.suspend();
        super::signals::stop_process();
        self.resume()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        restore_now();
    }
}

/// The only way to the terminal while a session is active.
#[derive(Clone)]
pub struct TtyWriter {
    tty: Arc<File>,
    open: Arc<AtomicBool>,
}

impl Write for TtyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open.load(Ordering::SeqCst) {
            return Ok(bytes.len());
        }
        (&*self.tty).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
