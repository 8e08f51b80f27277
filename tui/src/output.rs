//! Standard output and standard error: the only way to them outside of the screen, so that nothing which others have written reaches a terminal as it
//! came, and so that a reader that has gone ends the program quietly.
//!
//! Plain text goes out as [`SafeText`], JSON with everything escaped that a terminal would obey or hide. `print!` and its kin are denied by a lint.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use serde::Serialize;
use starling_text::{SafeText, is_unsafe};
use zeroize::Zeroizing;

use crate::{
    cli::Global,
    error::{CliError, CliResult},
};

/// What a verb prints for people.
pub trait Printable {
    /// Without the line break at its end.
    fn printable(&self) -> String;
}

impl Printable for SafeText {
    fn printable(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Printable for &str {
    fn printable(&self) -> String {
        SafeText::line(self).into()
    }
}

impl Printable for String {
    fn printable(&self) -> String {
        SafeText::line(self).into()
    }
}

impl<T: Printable> Printable for &T {
    fn printable(&self) -> String {
        (*self).printable()
    }
}

/// Prints a line of results, or a block of them if it is a [`SafeText::block`].
///
/// # Errors
/// If standard output is closed (see [`CliError::is_closed_pipe`]) or cannot be written.
pub fn print(result: impl Printable) -> CliResult {
    let mut line = result.printable();
    line.push('\n');
    write(line.as_bytes())
}

/// Prints an object for programs.
///
/// # Errors
/// As [`print()`].
pub fn print_object(object: &impl Serialize) -> CliResult {
    let mut line = Zeroizing::new(json_line(object));
    line.push('\n');
    write(line.as_bytes())
}

/// Prints a line in given colours: the parameters of an SGR sequence.
///
/// # Errors
/// As [`print()`].
pub fn print_coloured(sgr: &str, line: &str) -> CliResult {
    write(format!("\x1b[{sgr}m{}\x1b[0m\n", SafeText::line(line)).as_bytes())
}

/// Writes what the program itself has made, such as a shell script.
///
/// # Errors
/// As [`print()`].
pub fn write(bytes: &[u8]) -> CliResult {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Text on standard error, whether or not somebody reads it.
pub fn complain(text: impl Into<SafeText>) {
    let text: SafeText = text.into();
    // If standard error is closed, there is nobody to say so to.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Asks on standard error; the answer follows on the same line.
pub fn ask(question: impl Into<SafeText>) {
    let question: SafeText = question.into();
    let mut err = io::stderr().lock();
    let _ = err.write_all(format!("{question} ").as_bytes()).and_then(|()| err.flush());
}

/// A remark for people, on standard error. Programs read one object there, if anything.
pub fn say(global: &Global, line: impl Into<SafeText>) {
    if !global.quiet && !global.json {
        complain(line);
    }
}

/// An error on standard error: for people, or as one object.
pub fn complain_of(error: &CliError, json: bool) {
    if json {
        let _ = io::stderr().lock().write_all(format!("{}\n", json_line(&error.to_line())).as_bytes());
        return;
    }
    complain(format!("error: {}", error.message));
    if let Some(hint) = &error.hint {
        complain(format!("hint: {hint}"));
    }
}

/// Room for a line of JSON. That of `init`, with its recovery phrase, must fit: a text that grows leaves a copy behind.
const LINE: usize = 1024;

/// A value as one line of JSON that is safe on a terminal.
pub fn json_line(value: &impl Serialize) -> String {
    let mut line = Vec::with_capacity(LINE);
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, Escaping);
    if let Err(error) = value.serialize(&mut serializer) {
        tracing::error!(%error, "an answer is no JSON");
    }
    String::from_utf8(line).unwrap_or_default()
}

/// Escapes in strings what is unsafe on a terminal; serde_json itself does so for C0 only.
struct Escaping;

impl serde_json::ser::Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let is_plain = |text: &str| text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if is_plain(fragment) || !fragment.chars().any(is_unsafe) {
            return writer.write_all(fragment.as_bytes());
        }
        let (mut utf8, mut utf16) = ([0; 4], [0; 2]);
        for c in fragment.chars() {
            if !is_unsafe(c) {
                writer.write_all(c.encode_utf8(&mut utf8).as_bytes())?;
                continue;
            }
            for unit in c.encode_utf16(&mut utf16) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Standard error for log lines: what stands in them is shown, not obeyed.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = SafeText::block(&String::from_utf8_lossy(bytes));
        // A closed standard error must not end the program.
        let _ = io::stderr().lock().write_all(text.as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on a panic is shown as text that is safe to print. (The screen restores the terminal first, then calls this.)
pub fn show_panics_safely() {
    static BACKTRACE: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0"));
    std::panic::set_hook(Box::new(|panic| {
        complain(SafeText::block(&panic.to_string()));
        if *BACKTRACE {
            complain(SafeText::block(&std::backtrace::Backtrace::force_capture().to_string()));
        }
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_holds_nothing_that_a_terminal_obeys_and_is_read_back() {
        let text: String = (0..=0x2_ffff).chain(0xe0000..=0xe01ff).filter_map(char::from_u32).collect();
        let value = json!({ "text": text, "\u{9b}key": 1 });
        let line = json_line(&value);
        assert!(!line.chars().any(is_unsafe));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn a_line_from_others_stays_one_line() {
        assert_eq!("bob\nerror: forged\u{1b}[2J".printable(), "bob⏎error: forged␛[2J");
        assert_eq!(SafeText::block("one\ntwo").printable(), "one\ntwo");
    }
}
