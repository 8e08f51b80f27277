//! How far an encryption state has gone on since it was written.
//!
//! A message uses up one key, and need not write all of them: a state that is stored reserves keys of ours, which are passed over when it is loaded. One
//! that is behind in what it has read decrypts the same again, and events are taken once. So what was encrypted is written soon, as each key that is
//! passed over costs all others; what was only decrypted can wait where a state is large.

use super::limits::{MAX_READ_LEAD, READ_STATE_TIMES, STATE_MESSAGES, STATE_WITHIN_MS};

/// What was done with a state since it was written.
#[derive(Default)]
pub(super) struct Lead {
    /// Keys of ours that are reserved; none in a state that was just loaded.
    reserved: u32,
    /// Messages that were encrypted since …
    encrypted: u32,
    /// … and decrypted.
    decrypted: u32,
    /// When the first of them was, in steady time.
    since_ms: Option<u64>,
}

impl Lead {
    /// After the state was written.
    pub fn written(reserved: u32) -> Self {
        Self { reserved, ..Self::default() }
    }

    /// A message was encrypted.
    pub fn note_encrypted(&mut self, now: u64) {
        self.encrypted += 1;
        self.since_ms.get_or_insert(now);
    }

    /// A message was decrypted.
    pub fn note_decrypted(&mut self, now: u64) {
        self.decrypted += 1;
        self.since_ms.get_or_insert(now);
    }

    /// Whether what was written says enough for a message that was just encrypted.
    pub fn covers_encrypted(&self) -> bool {
        self.encrypted <= self.reserved
    }

    /// When the state is to be written, in steady time: the more keys it has reserved, the larger it is, and the later.
    pub fn due(&self) -> Option<u64> {
        let since = self.since_ms?;
        let most = self.reserved.max(STATE_MESSAGES);
        let times = most / STATE_MESSAGES;
        if self.encrypted >= most || self.decrypted >= most * times.min(MAX_READ_LEAD) {
            return Some(0);
        }
        let waits = if self.encrypted == 0 && times > 1 { READ_STATE_TIMES } else { 1 };
        Some(since + STATE_WITHIN_MS * u64::from(times) * waits)
    }

    /// Whether what is stored is not just this state.
    pub fn differs(&self) -> bool {
        self.reserved > 0 || self.encrypted > 0 || self.decrypted > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::limits::MAX_STATE_LEAD;

    /// Decrypts so many messages, one after each of these times, and gives how often the state was written.
    fn writes(reserved: u32, messages: u64, every_ms: u64) -> usize {
        let (mut lead, mut writes) = (Lead::written(reserved), 0);
        for n in 0..messages {
            lead.note_decrypted(n * every_ms);
            if lead.due().is_some_and(|due| due <= n * every_ms) {
                lead = Lead::written(reserved);
                writes += 1;
            }
        }
        writes
    }

    #[test]
    fn what_was_only_read_of_a_large_group_is_written_seldom() {
        let large = STATE_MESSAGES * MAX_STATE_LEAD as u32;
        let most = u64::from(large * MAX_READ_LEAD);
        assert_eq!(writes(large, 4 * most, 1), 4, "of many that come at once");
        assert_eq!(writes(STATE_MESSAGES, u64::from(4 * STATE_MESSAGES), 1), 4, "a small state is written as before");
        // One message in a minute: within ten minutes, not with each.
        let within = STATE_WITHIN_MS * MAX_STATE_LEAD as u64 * READ_STATE_TIMES;
        assert_eq!(writes(large, 1, 60_000), 0);
        let mut lead = Lead::written(large);
        lead.note_decrypted(5);
        assert_eq!(lead.due(), Some(5 + within));
        // What we encrypt is not waited with: after a stop others pass over these keys.
        lead.note_encrypted(6);
        assert_eq!(lead.due(), Some(5 + STATE_WITHIN_MS * MAX_STATE_LEAD as u64));
        assert!(lead.covers_encrypted() && lead.differs());
    }

    #[test]
    fn who_was_behind_and_who_has_stopped_still_follow_each_other() {
        // A ratchet follows over 1,024 keys: those that we had read and not written, and those that its owner passed over.
        let reserved = STATE_MESSAGES * MAX_STATE_LEAD as u32;
        assert!(reserved * MAX_READ_LEAD + reserved < 1_024);
    }
}
