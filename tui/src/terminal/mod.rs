//! The terminal: text that is safe to print, prompts, and the session of a view that has the whole terminal.

mod editor;
mod frame;
mod prompt;
mod safe;
mod session;
mod signals;

pub use self::{
    editor::{Edited, edit},
    frame::FrameWriter,
    prompt::read_secret,
    safe::{for_the_screen, safe, safe_cell, safe_line},
    session::{Session, TtyWriter, restore_now},
    signals::{JobControl, Signals},
};

/// Whether the terminal can show more than lines. One that has no name is taken for one that cannot.
pub fn can_show_the_screen() -> bool {
    std::env::var("TERM").is_ok_and(|name| !matches!(name.as_str(), "" | "dumb" | "unknown"))
}
