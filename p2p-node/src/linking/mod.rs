//! Short codes between two devices: one that somebody becomes a contact by, and one that a device joins our account by.

mod codes;
mod listed;

use crate::{history::History, meeting::Meeting, views::Views};

/// Answers short codes, and lets devices in.
pub struct Linking<'a> {
    pub cx: Views<'a>,
    /// What a new device may copy.
    pub history: &'a mut History,
}

impl Linking<'_> {
    fn meeting(&mut self) -> Meeting<'_> {
        Meeting { cx: self.cx.reborrow() }
    }
}
