//! A line from the terminal without echo.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use futures::FutureExt;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use zeroize::Zeroizing;

use super::Signals;
use crate::error::{CliError, CliResult};

/// Longest line that is taken.
const MAX_SECRET: usize = 4096;
/// How often it is looked whether a signal came.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The terminal without echo, until it is dropped.
struct Quiet<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(tty: &'a File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut quiet = before.clone();
        // Keys one by one, and those that interrupt as bytes: a process that is ended by a signal could not turn the echo on again.
        quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
        quiet.input_modes |= InputModes::ICRNL;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(tty, OptionalActions::Flush, &quiet)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}

/// What a key does to the line.
enum Key {
    Goes,
    Ends,
    Interrupts,
}

fn press(byte: u8, line: &mut Zeroizing<Vec<u8>>) -> Key {
    match byte {
        b'\n' | b'\r' => return Key::Ends,
        // Ctrl-C and Ctrl-\.
        0x03 | 0x1c => return Key::Interrupts,
        // Ctrl-D ends the line, as it does with echo.
        0x04 => return Key::Ends,
        // Backspace: a whole character.
        0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
        // Ctrl-U.
        0x15 => line.clear(),
        _ if line.len() < MAX_SECRET => line.push(byte),
        _ => {}
    }
    Key::Goes
}

/// Reads a line from the terminal without echo. However it ends, the echo is on again: Ctrl-C and signals are errors.
pub fn read_secret(prompt: &str) -> CliResult<Zeroizing<String>> {
    let tty = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|e| {
        CliError::locked(format!("cannot ask for the passphrase: {e}")).hint("use --passphrase-file FILE")
    })?;
    let _signals = Signals::take().map_err(CliError::internal)?;
    // Before the question: who types as soon as it is there must not see what they type.
    let quiet = Quiet::new(&tty).map_err(CliError::internal)?;
    (&tty).write_all(prompt.as_bytes()).map_err(CliError::internal)?;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_SECRET));
    let result = read_line(&tty, &mut line);
    drop(quiet);
    let _ = (&tty).write_all(b"\n");
    result?;
    let text = std::str::from_utf8(&line).map_err(|_| CliError::usage("what was typed is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read_line(tty: &File, line: &mut Zeroizing<Vec<u8>>) -> CliResult {
    let mut bytes = Zeroizing::new([0; 256]);
    loop {
        if let Some(error) = Signals::ended().now_or_never() {
            return Err(error);
        }
        let mut ready = [PollFd::new(tty, PollFlags::IN)];
        match poll(&mut ready, Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(CliError::internal(error)),
        }
        let mut tty = tty;
        let read = tty.read(&mut *bytes).map_err(CliError::internal)?;
        if read == 0 {
            return Ok(());
        }
        for byte in &bytes[..read] {
            match press(*byte, line) {
                Key::Goes => {}
                Key::Ends => return Ok(()),
                Key::Interrupts => return Err(CliError::new("interrupted", 130, "interrupted")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_edit_the_line_by_whole_characters() {
        let mut line = Zeroizing::new(Vec::new());
        for byte in "gone\u{15}pä\u{7f}ässword".bytes() {
            press(byte, &mut line);
        }
        assert_eq!(line.as_slice(), "pässword".as_bytes());
        assert!(matches!(press(3, &mut line), Key::Interrupts) && matches!(press(b'\r', &mut line), Key::Ends));
        for _ in 0..2 * MAX_SECRET {
            press(b'x', &mut line);
        }
        assert_eq!(line.len(), MAX_SECRET);
    }
}
