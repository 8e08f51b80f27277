//! Rules for text that people and peers write: what of it a terminal may show, what a name is, when two words are the same, and what of pasted
//! text was meant.
//!
//! Pure functions without I/O. Every program of the workspace uses them, so that a rule exists once.

mod compare;
mod emoji;
mod name;
mod pasted;
mod safe;

pub use compare::{folded, same};
pub use emoji::is_one_emoji;
pub use name::{MAX_NAME_BYTES, MAX_NAME_GRAPHEMES, NameError, display_name, is_visible, received_name, shortened};
pub use pasted::{unquoted, without_invisible};
pub use safe::{SafeText, is_unsafe};
