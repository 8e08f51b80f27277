//! A window of a conversation's messages, out of a store that may hold millions.

use std::collections::VecDeque;

use starling_control::objects::DeliveryState;
use starling_node::{Clock, MessageId};

use super::Message;

/// Messages kept in memory; those far from the view go.
pub const WINDOW: usize = 1_200;

/// A page of history that the view needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Older than the first message.
    Older(MessageId),
    /// Newer than the last message.
    Newer(MessageId),
}

/// What has become of a new message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The window does not reach as far as the newest message: it is not here.
    Elsewhere,
    /// It was here already, and is what it is now.
    Known,
    /// It is at this place; those from there on have moved by one.
    At(usize),
}

/// By how much the messages that were here before have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Messages that were put before them.
    pub added: usize,
    /// Messages that were taken away at the beginning.
    pub dropped: usize,
}

/// The window. Messages are in the order of their ids, which is the order of the conversation.
#[derive(Clone, Debug, Default)]
pub struct History {
    messages: VecDeque<Message>,
    /// The window reaches the oldest, the newest message of the store.
    at_start: bool,
    at_end: bool,
}

impl History {
    /// The newest page, of at most so many messages.
    pub fn newest(messages: Vec<Message>, limit: usize) -> Self {
        Self { at_start: messages.len() < limit, at_end: true, messages: messages.into() }
    }

    /// A page from somewhere in between.
    pub fn part(messages: Vec<Message>) -> Self {
        Self { messages: messages.into(), at_start: false, at_end: false }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&Message> {
        self.messages.get(index)
    }

    pub fn position(&self, id: MessageId) -> Option<usize> {
        self.messages.binary_search_by_key(&id, |m| m.id).ok()
    }

    pub fn find(&self, id: MessageId) -> Option<&Message> {
        self.position(id).and_then(|i| self.messages.get(i))
    }

    /// The place of the first message that is not before this one.
    pub fn first_from(&self, id: MessageId) -> usize {
        self.messages.partition_point(|m| m.id < id)
    }

    /// The first message of others that is newer than this; what a member has handed on is not new.
    pub fn first_new(&self, after: Clock) -> Option<MessageId> {
        let is_new = |m: &&Message| !m.is_own() && m.wire.handed_on_by.is_none() && m.id.0.clock > after;
        self.messages.iter().find(is_new).map(|m| m.id)
    }

    /// Messages that answer this one.
    pub fn answers_to(&self, id: MessageId) -> impl Iterator<Item = MessageId> {
        self.messages.iter().filter(move |m| m.reply_to == Some(id)).map(|m| m.id)
    }

    /// Whether the newest message is here, so that going down needs no fetching.
    pub fn has_newest(&self) -> bool {
        self.at_end
    }

    /// There may be older messages in the store than there were.
    pub fn has_older_now(&mut self) {
        self.at_start = false;
    }

    /// Takes a new message to its place.
    pub fn insert(&mut self, message: Message) -> Inserted {
        if !self.at_end {
            return Inserted::Elsewhere;
        }
        match self.messages.binary_search_by_key(&message.id, |m| m.id) {
            Ok(_) => {
                self.update(message);
                Inserted::Known
            }
            Err(at) => {
                self.messages.insert(at, message);
                Inserted::At(at)
            }
        }
    }

    /// A message has changed; `false` if it is not here.
    pub fn update(&mut self, message: Message) -> bool {
        let Some(at) = self.position(message.id) else { return false };
        let reason = std::mem::take(&mut self.messages[at].reason);
        self.messages[at] = Message { reason, ..message };
        true
    }

    /// A message of ours has come further, or failed.
    pub fn set_state(&mut self, id: MessageId, state: DeliveryState, reason: &str) {
        if let Some(at) = self.position(id) {
            self.messages[at].wire.state = state;
            self.messages[at].reason = reason.to_owned();
        }
    }

    /// Takes a page that was wanted, of at most so many messages. `None` if the window has moved on meanwhile.
    pub fn extend(&mut self, wants: &Wants, page: Vec<Message>, limit: usize) -> Option<Moved> {
        match wants {
            Wants::Older(before) => {
                if self.messages.front().is_none_or(|m| m.id != *before) {
                    return None;
                }
                self.at_start = page.len() < limit;
                let added = page.len();
                page.into_iter().rev().for_each(|message| self.messages.push_front(message));
                if self.messages.len() > WINDOW {
                    self.messages.truncate(WINDOW);
                    self.at_end = false;
                }
                Some(Moved { added, dropped: 0 })
            }
            Wants::Newer(after) => {
                if self.messages.back().is_none_or(|m| m.id != *after) {
                    return None;
                }
                self.at_end = page.len() < limit;
                self.messages.extend(page);
                Some(Moved { added: 0, dropped: self.drop_oldest() })
            }
        }
    }

    /// Takes away what is too much at the beginning; how many that were.
    pub fn drop_oldest(&mut self) -> usize {
        let dropped = self.messages.len().saturating_sub(WINDOW);
        if dropped > 0 {
            self.messages.drain(..dropped);
            self.at_start = false;
        }
        dropped
    }

    /// What to fetch so that there is older history.
    pub fn wants_older(&self) -> Option<Wants> {
        self.messages.front().filter(|_| !self.at_start).map(|first| Wants::Older(first.id))
    }

    /// What to fetch so that there is newer history.
    pub fn wants_newer(&self) -> Option<Wants> {
        self.messages.back().filter(|_| !self.at_end).map(|last| Wants::Newer(last.id))
    }
}

#[cfg(test)]
mod tests {
    use starling_node::EventId;

    use super::*;

    /// Ids of a burst: a clock that counts within one millisecond, as it does in the node.
    fn id(n: u64) -> MessageId {
        MessageId(EventId { clock: Clock(n), device: [1; 8], sequence: n })
    }

    fn message(n: u64) -> Message {
        Message { id: id(n), ..Message::default() }
    }

    fn ids(history: &History) -> Vec<u64> {
        history.messages.iter().map(|m| m.id.0.clock.0).collect()
    }

    #[test]
    fn a_burst_is_in_the_order_of_its_ids_however_it_arrives() {
        // As text, the last character of an id goes `…y z 2 3 4…`: digits sort before letters, so a carry would be torn apart.
        let first = Clock::at(1_700_000_000_000).0;
        let expected: Vec<u64> = (first..first + 600).collect();
        let mut in_order = History::newest(Vec::new(), 100);
        for n in 0..600 {
            in_order.insert(message(first + n));
        }
        assert_eq!(ids(&in_order), expected);
        // 7 has no common factor with 600: every message once, in a jumble; then some for a second time.
        let mut jumbled = History::newest(Vec::new(), 100);
        for n in 0..700 {
            jumbled.insert(message(first + n * 7 % 600));
        }
        assert_eq!(ids(&jumbled), expected);
    }

    #[test]
    fn pages_fit_to_the_window_which_is_bounded() {
        let page = |from: u64, to: u64| (from..to).map(message).collect::<Vec<_>>();
        let mut history = History::newest(page(9_900, 10_000), 100);
        assert_eq!((history.wants_older(), history.wants_newer()), (Some(Wants::Older(id(9_900))), None));
        for n in (1..15).rev() {
            let first = 8_500 + n * 100;
            let wants = history.wants_older().unwrap();
            assert_eq!(history.extend(&wants, page(first - 100, first), 100).map(|m| m.added), Some(100));
            // The same for a second time is too late.
            assert_eq!(history.extend(&wants, page(first - 100, first), 100), None);
        }
        assert_eq!((history.len(), history.has_newest()), (WINDOW, false));
        assert_eq!(history.insert(message(20_000)), Inserted::Elsewhere);
        let wants = history.wants_newer().unwrap();
        let moved = history.extend(&wants, page(9_700, 9_750), 100);
        assert_eq!((moved, history.has_newest()), (Some(Moved { added: 0, dropped: 50 }), true));
        assert!(ids(&history).is_sorted());
        let first = history.get(0).unwrap().id;
        assert_eq!(history.extend(&Wants::Older(first), Vec::new(), 100), Some(Moved::default()));
        assert_eq!(history.wants_older(), None);
    }

    #[test]
    fn what_was_written_in_the_same_millisecond_after_the_read_mark_is_new() {
        let at = Clock::at(1_700_000_000_000).0;
        let history = History::newest((at..at + 4).map(message).collect(), 100);
        assert_eq!(history.first_new(Clock(at + 1)), Some(id(at + 2)));
    }

    #[test]
    fn a_change_keeps_why_a_message_failed() {
        let mut history = History::newest(vec![message(1)], 100);
        history.set_state(id(1), DeliveryState::Failed, "blocked");
        let mut edited = message(1);
        edited.wire.edited = true;
        assert!(history.update(edited));
        let message = history.find(id(1)).unwrap();
        assert!(message.wire.edited && message.reason == "blocked");
        assert!(!history.update(self::message(2)));
    }
}
