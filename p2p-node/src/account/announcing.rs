//! When conversations learn of devices that were added to our account: once these know that they belong to it, the most recent conversations first and
//! a few in each turn. Where a device has entered the group meanwhile it has shown itself.

use super::limits::{ANNOUNCE_ADDED_MS, ANNOUNCED_AT_ONCE};
use crate::api::types::ChatId;

/// The conversations that are still to learn of devices that were added.
pub struct Announcing {
    /// When it begins or goes on, in steady time.
    due: u64,
    /// The conversations, the most recent last; `None` before it has begun.
    rest: Option<Vec<ChatId>>,
}

impl Announcing {
    /// Begins when the devices are answered, or soon.
    pub fn soon(now: u64) -> Self {
        Self { due: now.saturating_add(ANNOUNCE_ADDED_MS), rest: None }
    }

    /// The devices were answered.
    pub fn hasten(&mut self, now: u64) {
        self.due = self.due.min(now);
    }

    /// When it begins or goes on, in steady time.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Whether it is to be given its conversations now.
    pub fn begins(&self, now: u64) -> bool {
        self.rest.is_none() && self.due <= now
    }

    /// Gives it its conversations, the most recent last.
    pub fn begin(&mut self, chats: Vec<ChatId>) {
        self.rest = Some(chats);
    }

    /// Takes those that are told in this turn. Gives whether they are the last.
    pub fn take(&mut self) -> (Vec<ChatId>, bool) {
        let Some(rest) = &mut self.rest else { return (Vec::new(), false) };
        let mut now = rest.split_off(rest.len().saturating_sub(ANNOUNCED_AT_ONCE));
        now.reverse();
        (now, rest.is_empty())
    }
}
