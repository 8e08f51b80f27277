//! What others have written lately in groups, as it stood in the log, in memory alone: a log may lose it, or not show it to everybody. It is of the
//! current epoch, as what was encrypted in another does not count in its log.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{Batch, MissingEvents};

use super::limits::{MAX_ALL_RECENT_BYTES, MAX_RECENT_BYTES, MAX_RECENT_MESSAGES};
use crate::{
    api::types::ChatId,
    conversation::{Conversations, group::GroupId},
};

/// A message with numbered events.
struct Message {
    device: DeviceId,
    first: u64,
    last: u64,
    message: Bytes,
}

impl Message {
    fn has(&self, missing: &MissingEvents) -> bool {
        self.device.tag() == missing.device && self.first <= missing.last && missing.first <= self.last
    }
}

/// Those of a group's epoch, the newest last.
struct OfGroup {
    group: GroupId,
    epoch: u64,
    messages: VecDeque<Message>,
    bytes: usize,
}

/// Those of all groups.
#[derive(Default)]
pub(super) struct Recent {
    of: BTreeMap<ChatId, OfGroup>,
    bytes: usize,
}

impl Recent {
    fn note(&mut self, (chat, group, epoch): (ChatId, GroupId, u64), message: Message) {
        if self.of.get(&chat).is_some_and(|known| (known.group, known.epoch) != (group, epoch)) {
            self.forget(&chat);
        }
        if self.bytes + message.message.len() > MAX_ALL_RECENT_BYTES {
            // Of other groups nothing is asked for that often.
            self.of.retain(|other, _| *other == chat);
            self.bytes = self.of.values().map(|known| known.bytes).sum();
        }
        let known = self.of.entry(chat).or_insert(OfGroup { group, epoch, messages: VecDeque::new(), bytes: 0 });
        known.bytes += message.message.len();
        self.bytes += message.message.len();
        known.messages.push_back(message);
        while known.messages.len() > MAX_RECENT_MESSAGES || known.bytes > MAX_RECENT_BYTES {
            let Some(oldest) = known.messages.pop_front() else { break };
            known.bytes -= oldest.message.len();
            self.bytes -= oldest.message.len();
        }
    }

    /// Nothing of a conversation is needed any more.
    pub(super) fn forget(&mut self, chat: &ChatId) {
        let known = self.of.remove(chat).map_or(0, |known| known.bytes);
        self.bytes -= known;
    }

    /// The messages of an epoch that have some of these events, with their authors.
    pub(super) fn with<'a>(
        &'a self,
        (chat, group, epoch): (&ChatId, GroupId, u64),
        missing: &'a [MissingEvents],
    ) -> impl Iterator<Item = (DeviceId, &'a Bytes)> {
        let known = self.of.get(chat).filter(|known| (known.group, known.epoch) == (group, epoch));
        let messages = known.into_iter().flat_map(|known| &known.messages);
        let wanted = messages.filter(move |message| missing.iter().any(|missing| message.has(missing)));
        wanted.map(|message| (message.device, &message.message))
    }
}

impl Conversations {
    /// A message was read in the log of a group.
    pub(in crate::conversation) fn keep_recent(
        &mut self,
        (chat, id, epoch): (ChatId, GroupId, u64),
        device: DeviceId,
        (batch, message): (&Batch, &Bytes),
    ) {
        let is_current = self.groups.get(&id).is_some_and(|group| group.epoch() == epoch);
        if !is_current || !self.chats.is_group_chat(chat) {
            return;
        }
        let numbers = || batch.events.iter().map(|event| event.id.sequence).filter(|sequence| *sequence != 0);
        if let Some((first, last)) = numbers().min().zip(numbers().max()) {
            // It is a part of a page, which is not kept for it.
            let message = Bytes::copy_from_slice(message);
            self.gossip.recent.note((chat, id, epoch), Message { device, first, last, message });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::DeviceKey;

    use super::*;

    #[test]
    fn of_many_messages_the_newest_of_the_epoch_are_kept() {
        let device = DeviceKey::from_seed(&[1; 32]).id();
        let (chat, group) = (ChatId([1; 16]), [2; 16]);
        let mut recent = Recent::default();
        let message = |n: u64, len: usize| Message { device, first: n, last: n, message: vec![7; len].into() };
        for n in 1..=2_000 {
            recent.note((chat, group, 5), message(n, 100));
        }
        let missing = |first, last| [MissingEvents { device: device.tag(), first, last }];
        let found =
            |recent: &Recent, epoch, missing: &[MissingEvents]| recent.with((&chat, group, epoch), missing).count();
        assert_eq!(found(&recent, 5, &missing(1, 2_000)), MAX_RECENT_MESSAGES);
        assert_eq!(found(&recent, 5, &missing(1_999, u64::MAX)), 2);
        assert_eq!(found(&recent, 5, &missing(1, 100)), 0);
        assert_eq!(found(&recent, 6, &missing(1, 2_000)), 0);
        let other = [MissingEvents { device: [0; 8], first: 1, last: 2_000 }];
        assert_eq!(found(&recent, 5, &other), 0);
        recent.note((chat, group, 6), message(2_001, 100));
        assert_eq!((found(&recent, 6, &missing(1, 9_999)), recent.bytes), (1, 100));
        // However many groups there are, they have so many bytes together.
        for n in 0..=255 {
            for at in 1..=32 {
                recent.note((ChatId([n; 16]), group, 1), message(at, 64 * 1024));
            }
            assert!(recent.bytes <= MAX_ALL_RECENT_BYTES);
            assert_eq!(recent.bytes, recent.of.values().map(|known| known.bytes).sum::<usize>());
            assert!(recent.of[&ChatId([n; 16])].bytes <= MAX_RECENT_BYTES);
        }
        recent.forget(&ChatId([255; 16]));
        assert_eq!(recent.bytes, recent.of.values().map(|known| known.bytes).sum::<usize>());
    }
}
