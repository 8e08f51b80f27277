//! Who fills the logs of a group, as far as a device that reads them can tell: it counts the bytes of what each account has written there.
//!
//! Of each log few accounts are counted, by the summary of Misra and Gries ("Finding repeated elements", 1982): what is counted of one is too low by
//! at most an eighth of all, so whoever has written much is among them. Entries that cannot be read, and commits that count for nobody, are counted
//! as those of one account, whoever has appended them. What an account writes counts as its own if others have appended it, too. Commits that count,
//! and what goes with commits, are nobody's flood, as there are rules for how many of them somebody makes.

use std::collections::BTreeMap;

use starling_keys::AccountId;

use super::limits::{FLOOD_PART, LOG_ENTRY_BYTES, MAX_LOG_WRITERS, VOID_COMMIT_BYTES};
use crate::{
    conversation::{
        Conversations,
        context::Context,
        group::{GroupEntry, GroupId},
        receive::Taken,
    },
    store::{WriterRow, WrittenRow},
};

/// The tag of all whose account is not known.
const UNKNOWN: u64 = 0;

fn tag_of(account: &AccountId) -> u64 {
    let mut tag = [0; 8];
    tag.copy_from_slice(&account.as_bytes()[..8]);
    u64::from_le_bytes(tag).max(1)
}

impl WrittenRow {
    /// So many bytes more are read, which count as those of a writer, if there is one.
    fn count(&mut self, writer: Option<u64>, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let Some(tag) = writer else { return };
        if let Some(known) = self.writers.iter_mut().find(|known| known.tag == tag) {
            known.bytes = known.bytes.saturating_add(bytes);
            return;
        }
        let least = self.writers.iter().map(|known| known.bytes).min().unwrap_or(0).min(bytes);
        let left = if self.writers.len() < MAX_LOG_WRITERS {
            bytes
        } else {
            // Each of them gives as much as the new one.
            for known in &mut self.writers {
                known.bytes -= least;
            }
            self.writers.retain(|known| known.bytes > 0);
            bytes - least
        };
        if left > 0 {
            self.writers.push(WriterRow { tag, bytes: left });
        }
    }
}

impl GroupEntry {
    fn count_entry(&mut self, epoch: u64, writer: Option<u64>, bytes: u64) {
        if let Some(log) = self.logs.iter_mut().find(|log| log.epoch == epoch) {
            log.written.get_or_insert_default().count(writer, bytes.saturating_add(LOG_ENTRY_BYTES));
            self.unsaved.logs.insert(epoch);
        }
    }

    /// An entry of an account was read.
    #[cfg(test)]
    pub(super) fn note_entry(&mut self, epoch: u64, account: Option<AccountId>, bytes: u64) {
        self.count_entry(epoch, Some(account.map_or(UNKNOWN, |account| tag_of(&account))), bytes);
    }

    /// Whether an account other than our own, or all together whose account is not known, may be flooding the group's logs.
    pub(super) fn is_flooded(&self, own: Option<AccountId>) -> bool {
        let past = self.row.past_logs.iter().filter_map(|log| log.written.as_ref());
        let logs = past.chain(self.logs.iter().filter_map(|log| log.written.as_ref()));
        let (mut all, mut by): (u64, BTreeMap<u64, u64>) = (0, BTreeMap::new());
        for log in logs {
            all = all.saturating_add(log.bytes);
            for writer in &log.writers {
                let sum = by.entry(writer.tag).or_default();
                *sum = sum.saturating_add(writer.bytes);
            }
        }
        if let Some(own) = own {
            by.remove(&tag_of(&own));
        }
        by.into_values().any(|bytes| bytes > all / FLOOD_PART)
    }
}

impl Conversations {
    /// An entry was read in the log of an epoch: it takes room of our account, if the log is ours.
    pub(super) fn note_written(&mut self, cx: &Context<'_>, (id, epoch): (GroupId, u64), taken: Taken, len: usize) {
        if !self.may_own_logs(cx, id) {
            return;
        }
        let own = cx.dir.account.id();
        let Some(entry) = self.groups.get_mut(&id) else { return };
        // The group has gone on by it, or had before.
        let is_over = entry.epoch() != epoch;
        let (writer, least) = match taken {
            Taken::Events(account) | Taken::Receipts(account) => (Some(tag_of(&account)), 0),
            Taken::Own => (Some(tag_of(&own)), 0),
            Taken::BesideCommits => (None, 0),
            Taken::Commit if is_over => (None, 0),
            Taken::Commit => (Some(UNKNOWN), VOID_COMMIT_BYTES),
            Taken::Nothing => (Some(UNKNOWN), 0),
        };
        entry.count_entry(epoch, writer, (len as u64).max(least));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::AccountKey;

    use super::*;
    use crate::store::{GroupRow, LogRow};

    fn account(n: u8) -> AccountId {
        AccountKey::from_seed(&[n; 32]).id()
    }

    fn group() -> GroupEntry {
        let mut entry = GroupEntry::with([1; 16], GroupRow::default(), Vec::new());
        let mut log = LogRow::default();
        (log.epoch, log.address) = (20, vec![20; 32]);
        entry.put_log(log);
        entry
    }

    #[test]
    fn who_has_written_a_quarter_among_many_is_found() {
        let mut entry = group();
        for n in 0..200_u32 {
            // One of four entries.
            for m in 0..3 {
                entry.note_entry(20, Some(account(10 + ((3 * n + m) % 120) as u8)), 1_000);
            }
            entry.note_entry(20, Some(account(2)), 1_100);
        }
        assert!(entry.is_flooded(Some(account(1))));
        assert!(!entry.is_flooded(Some(account(2))), "our own account floods nobody");
        let written = entry.logs[0].written.as_ref().unwrap();
        assert!(written.writers.len() <= MAX_LOG_WRITERS);
    }

    #[test]
    fn where_many_write_nobody_floods() {
        let mut entry = group();
        for n in 0..1_000_u32 {
            entry.note_entry(20, Some(account((n % 40) as u8)), 1_000);
        }
        assert!(!entry.is_flooded(None));
    }

    #[test]
    fn what_cannot_be_read_counts_as_one_accounts_and_commits_as_nobodys() {
        let mut entry = group();
        for n in 0..20 {
            entry.note_entry(20, Some(account(n)), 1_000);
        }
        entry.count_entry(20, None, 40_000);
        assert!(!entry.is_flooded(None));
        for _ in 0..20 {
            entry.note_entry(20, None, 1_000);
        }
        assert!(entry.is_flooded(None));
    }
}
