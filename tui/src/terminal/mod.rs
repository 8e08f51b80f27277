//! The terminal: text that is safe to print, prompts, and the session of a view that has the whole terminal.

mod editor;
mod prompt;
mod safe;
mod session;
mod signals;

pub use self::{
    editor::{Edited, edit},
    prompt::read_secret,
    safe::{for_the_screen, safe, safe_cell, safe_line},
    session::{Session, TtyWriter, restore_now},
    signals::{JobControl, Signals},
};

use crate::error::{CliError, CliResult};

/// Refuses terminals that can show lines only, and names what works there.
pub fn can_show_the_screen() -> CliResult {
    match std::env::var("TERM").as_deref() {
        Ok(name @ ("dumb" | "unknown")) => {
            Err(CliError::usage(format!("this terminal (TERM={name}) cannot show the screen"))
                .hint("use `starling chat --plain WHO` here, or the verbs: send, listen, history, contacts, …"))
        }
        _ => Ok(()),
    }
}
