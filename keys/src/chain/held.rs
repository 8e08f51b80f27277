//! How long somebody has held the entries of a chain.

use super::{REMOVED_AFTER_S, SETTLED_AFTER_S};

/// Times that are remembered at most; beyond them, entries count as held for less long than they were.
const MAX_MARKS: usize = 16;

/// For how long the first entries of a chain were held, as far as that decides what may still take their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// So many entries were held for [`SETTLED_AFTER_S`]: nothing but the root's takes their place.
    pub settled: u32,
    /// So many were held for [`REMOVED_AFTER_S`]: whom they have removed removes nobody on a head before them.
    pub firm: u32,
}

/// Since when the entries of a chain are known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many entries were known since when (seconds since 1970), ascending.
    marks: Vec<(u32, u64)>,
}

impl Held {
    /// What was stored: pairs of a number of entries and a time.
    pub fn from_marks(marks: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut held = Self::default();
        for (length, since) in marks.into_iter().take(MAX_MARKS) {
            held.note(0, length, since);
        }
        held
    }

    /// What is to be stored.
    pub fn marks(&self) -> &[(u32, u64)] {
        &self.marks
    }

    /// A chain of this length is known now; its first `common` entries were before.
    pub fn note(&mut self, common: u32, length: u32, now_s: u64) {
        if common > 0 {
            let beyond = self.marks.iter().find(|(length, _)| *length > common).map(|(_, since)| *since);
            self.marks.retain(|(length, _)| *length <= common);
            if let Some(since) = beyond.filter(|_| self.marks.last().is_none_or(|(known, _)| *known < common)) {
                self.marks.push((common, since));
            }
        }
        if self.marks.last().is_none_or(|(known, _)| *known < length) {
            self.marks.push((length, now_s));
        }
        if self.marks.len() > MAX_MARKS {
            self.marks.remove(MAX_MARKS / 2);
        }
    }

    /// How old the entries are now.
    pub fn age(&self, now_s: u64) -> Age {
        Age { settled: self.held_for(SETTLED_AFTER_S, now_s), firm: self.held_for(REMOVED_AFTER_S, now_s) }
    }

    /// How many entries were held for some seconds.
    fn held_for(&self, seconds: u64, now_s: u64) -> u32 {
        let old = |(_, since): &&(u32, u64)| since.saturating_add(seconds) <= now_s;
        self.marks.iter().filter(old).map(|(length, _)| *length).max().unwrap_or(0)
    }
}
