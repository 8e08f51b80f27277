//! Whose entries a log has, as far as shares need it: under a pseudonym for each conversation, which a class of entries bears while there are some.

use std::ops::RangeInclusive;

use super::streams::{Batch, Head, MAX_CLASS, entries_cost};

/// Classes of a log's messages, one for each writer; more writers than that share some.
const MESSAGES: RangeInclusive<u8> = 1..=95;
/// Classes of its commits, and of their parts.
const COMMITS: RangeInclusive<u8> = 96..=MAX_CLASS;

/// Who appends to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Not 0, and the same in all logs of a conversation; another one for messages than for commits.
    pub tag: u64,
    /// It is a device of the account that owns the log.
    pub is_owner: bool,
}

/// What there is of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterCost {
    class: u8,
    /// [`Writer::tag`].
    pub tag: u64,
    /// As of [`Head::cost`].
    pub cost: u64,
}

impl WriterCost {
    /// It is of commits.
    pub fn is_commits(&self) -> bool {
        COMMITS.contains(&self.class)
    }
}

impl Head {
    /// The class of new entries: of a writer its own, or one that nobody has.
    pub fn class_of(&self, batch: &Batch) -> u8 {
        let Some(writer) = batch.writer else { return batch.class };
        let is_of_commits = batch.candidate.or(batch.part).is_some();
        let range = if is_of_commits { COMMITS } else { MESSAGES };
        let mut taken = range.clone().map(|class| (class, self.writer_in(class)));
        let own = taken.clone().find(|(_, tag)| *tag == Some(writer.tag));
        let free = || taken.find(|(_, tag)| tag.is_none());
        let shared = || (*range.start()).saturating_add((writer.tag % range.len() as u64) as u8);
        own.or_else(free).map_or_else(shared, |(class, _)| class)
    }

    /// The writer whose entries have a class.
    fn writer_in(&self, class: u8) -> Option<u64> {
        let known = self.classes.iter().find(|known| known.class == u32::from(class));
        known.map(|known| known.tag)
    }

    /// Notes whose a class is, if it was nobody's.
    pub(super) fn name_class(&mut self, class: u8, writer: Option<Writer>) {
        let Some(writer) = writer else { return };
        for known in self.classes.iter_mut().filter(|known| known.class == u32::from(class) && known.tag == 0) {
            known.tag = writer.tag;
        }
    }

    /// What there is of each writer.
    pub fn writers(&self) -> Vec<WriterCost> {
        let named = self.classes.iter().filter(|known| known.tag != 0);
        let cost = |known: &super::streams::ClassUse| WriterCost {
            class: u8::try_from(known.class).unwrap_or(MAX_CLASS),
            tag: known.tag,
            cost: entries_cost(known.count, known.bytes),
        };
        named.map(cost).collect()
    }

    /// Messages and their bytes: entries that are no commits of a known author, and no parts of one.
    pub fn messages(&self) -> (u64, u64) {
        let (count, bytes) = self.of_authors();
        (self.count.saturating_sub(count), self.bytes.saturating_sub(bytes))
    }

    /// What writers had before, and have no more.
    pub(super) fn removed_since(&self, before: Vec<WriterCost>) -> Vec<WriterCost> {
        let now = self.writers();
        let left = |was: &WriterCost| now.iter().find(|is| is.class == was.class).map_or(0, |is| is.cost);
        let gone = before.into_iter().map(|was| WriterCost { cost: was.cost.saturating_sub(left(&was)), ..was });
        gone.filter(|gone| gone.cost > 0).collect()
    }
}

impl Batch {
    /// What it will add for its writer to a stream.
    pub fn writers(&self, head: Option<&Head>) -> Vec<WriterCost> {
        let unknown = Head::default();
        let head = head.unwrap_or(&unknown);
        let class = head.class_of(self);
        let of = |writer: Writer| WriterCost {
            class,
            tag: head.writer_in(class).filter(|tag| *tag != 0).unwrap_or(writer.tag),
            cost: self.cost(),
        };
        self.writer.map(of).into_iter().collect()
    }
}
