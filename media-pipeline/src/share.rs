//! A shared terminal: a command in a pseudo-terminal, which the others of a call see as text.
//!
//! Two threads: one reads what the command prints, one writes what is typed. Both end with the command, which ends with the share.

use std::{
    io::{Read, Write},
    num::NonZeroU16,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use portable_pty::{ChildKiller, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::MediaError;

/// Keys that wait for the command; who types faster than a program reads waits, too.
const TYPED: usize = 64;
/// Most columns and rows.
const MAX_CELLS: u16 = 400;

/// A command whose terminal is shared.
pub struct Share {
    master: Mutex<Box<dyn MasterPty + Send>>,
    killer: Mutex<Box<dyn ChildKiller + Send + Sync>>,
    typed: mpsc::SyncSender<Vec<u8>>,
    /// What the terminal shows, for who joins later.
    screen: Arc<Mutex<vt100::Parser>>,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Share").finish_non_exhaustive()
    }
}

fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::NoDevice(format!("the terminal cannot be shared: {error}"))
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN)
}

impl Share {
    /// Runs `command` (a shell command line; without one the user's shell) in a terminal of this size. `output` gets what it prints, and
    /// nothing at its end.
    pub fn start(
        command: Option<&str>,
        columns: u16,
        rows: u16,
        mut output: impl FnMut(Option<&[u8]>) + Send + 'static,
    ) -> Result<Self, MediaError> {
        let (columns, rows) = (columns.clamp(20, MAX_CELLS), rows.clamp(5, MAX_CELLS));
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).map_err(failed)?;
        let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
        let mut builder = CommandBuilder::new(shell);
        if let Some(command) = command {
            builder.args(["-c", command]);
        }
        builder.env("TERM", "xterm-256color");
        builder.env("STARLING_SHARED", "1");
        if let Ok(here) = std::env::current_dir() {
            builder.cwd(here);
        }
        let mut child = pair.slave.spawn_command(builder).map_err(failed)?;
        drop(pair.slave);
        let killer = child.clone_killer();
        let mut reader = pair.master.try_clone_reader().map_err(failed)?;
        let mut writer = pair.master.take_writer().map_err(failed)?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let shown = screen.clone();
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        thread("share-output")
            .spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = reader.read(&mut buffer) {
                    shown.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..length]);
                    output(Some(&buffer[..length]));
                }
                let _ = child.wait();
                output(None);
            })
            .map_err(failed)?;
        let (typed, keys) = mpsc::sync_channel::<Vec<u8>>(TYPED);
        thread("share-input")
            .spawn(move || {
                while let Ok(bytes) = keys.recv() {
                    if writer.write_all(&bytes).and_then(|()| writer.flush()).is_err() {
                        break;
                    }
                }
            })
            .map_err(failed)?;
        Ok(Self { master: Mutex::new(pair.master), killer: Mutex::new(killer), typed, screen })
    }

    /// Types something.
    pub fn type_in(&self, bytes: &[u8]) {
        let _ = self.typed.try_send(bytes.to_vec());
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let (rows, columns) = self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().size();
        (columns.get(), rows.get())
    }

    /// Changes the size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.clamp(20, MAX_CELLS), rows.clamp(5, MAX_CELLS));
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let _ = self.master.lock().unwrap_or_else(PoisonError::into_inner).resize(size);
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen_mut().set_size(cells(rows), cells(columns));
    }

    /// Bytes that draw what is shown now.
    pub fn contents(&self) -> Vec<u8> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().state_formatted().into()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.killer.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_a_command_prints_is_seen_and_keys_reach_it() {
        let (sender, output) = mpsc::channel();
        let share = Share::start(Some("read line; echo got $line"), 80, 24, move |bytes| {
            let _ = sender.send(bytes.map(<[u8]>::to_vec));
        })
        .unwrap();
        share.type_in(b"hello\n");
        let mut all = Vec::new();
        while let Some(bytes) = output.recv().unwrap() {
            all.extend(bytes);
        }
        assert!(String::from_utf8_lossy(&all).contains("got hello"));
        let mut viewer = vt100::Parser::new(cells(24), cells(80), 0);
        viewer.process(&share.contents());
        assert!(viewer.screen().contents().contains("got hello"));
    }
}
