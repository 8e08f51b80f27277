//! The order of conversations by activity. Where much is written everywhere they would change places all the time, and nobody could read the list or
//! hit a row of it: so an order is held for a moment before the next one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use starling_control::objects::{Chat, ChatId};

/// How long an order stays at least: long enough to read a few rows, short enough to find what has just come at the top.
const PAUSE: Duration = Duration::from_secs(2);

/// The order that is shown.
#[derive(Debug, Default)]
pub struct ActivityOrder {
    held: HashMap<ChatId, Held>,
    /// When it was made.
    sorted: Option<Instant>,
    /// There is a newer one.
    is_behind: bool,
}

/// The place of a conversation, and what else the user expects to be seen at once.
#[derive(Debug)]
struct Held {
    at: usize,
    pinned: bool,
    archived: bool,
    place: Option<u32>,
    folder: Option<String>,
}

impl Held {
    fn new(at: usize, chat: &Chat) -> Self {
        let Chat { pinned, archived, place, .. } = *chat;
        Self { at, pinned, archived, place, folder: chat.folder.clone() }
    }

    /// Whether nothing but its activity has changed.
    fn is_as(&self, chat: &Chat) -> bool {
        (self.pinned, self.archived, self.place) == (chat.pinned, chat.archived, chat.place)
            && self.folder == chat.folder
    }
}

impl ActivityOrder {
    /// There are these conversations now, in this order. It is taken at once where more than their activity has changed, else not before the last one
    /// was there for a moment, and not while the user moves in the list (`is_frozen`).
    pub fn update(&mut self, chats: &[Chat], now: Instant, is_frozen: bool) {
        let is_known = |chat: &Chat| self.held.get(&chat.id).is_some_and(|held| held.is_as(chat));
        let is_same = chats.len() == self.held.len() && chats.iter().all(is_known);
        let is_in_order = is_same && chats.is_sorted_by_key(|chat| self.held.get(&chat.id).map(|held| held.at));
        let is_soon = self.sorted.is_some_and(|sorted| now < sorted + PAUSE);
        self.is_behind = is_same && !is_in_order && (is_frozen || is_soon);
        if !is_in_order && !self.is_behind {
            self.held = chats.iter().enumerate().map(|(at, chat)| (chat.id.clone(), Held::new(at, chat))).collect();
            self.sorted = Some(now);
        }
    }

    /// When a newer order may be taken, if there is one.
    pub fn due(&self) -> Option<Instant> {
        self.sorted.filter(|_| self.is_behind).map(|sorted| sorted + PAUSE)
    }

    /// The conversations in the order that is shown.
    pub fn sorted<'a>(&self, chats: &'a [Chat]) -> Vec<&'a Chat> {
        let mut sorted: Vec<&Chat> = chats.iter().collect();
        sorted.sort_by_key(|chat| self.held.get(&chat.id).map_or(usize::MAX, |held| held.at));
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chats(ids: &str) -> Vec<Chat> {
        ids.chars().map(|id| Chat { id: id.to_string().into(), ..Chat::default() }).collect()
    }

    fn shown(order: &ActivityOrder, chats: &[Chat]) -> String {
        order.sorted(chats).iter().map(|chat| chat.id.as_str()).collect()
    }

    #[test]
    fn an_order_is_held_for_a_moment_and_while_the_user_moves_in_the_list() {
        let (mut order, begin) = (ActivityOrder::default(), Instant::now());
        order.update(&chats("abc"), begin, false);
        assert_eq!((shown(&order, &chats("cba")).as_str(), order.due()), ("abc", None));
        // A thousand messages in a minute.
        for n in 0..30 {
            order.update(&chats(if n % 2 == 0 { "cba" } else { "bca" }), begin + Duration::from_millis(60 * n), false);
            assert_eq!(shown(&order, &chats("cba")), "abc");
        }
        assert_eq!(order.due(), Some(begin + PAUSE));
        order.update(&chats("cba"), begin + PAUSE, true);
        assert_eq!(shown(&order, &chats("cba")), "abc", "the user is in the list");
        order.update(&chats("cba"), begin + PAUSE, false);
        assert_eq!((shown(&order, &chats("abc")).as_str(), order.due()), ("cba", None));
        // What comes back to the order that is shown is nothing to wait for.
        order.update(&chats("abc"), begin + PAUSE, false);
        order.update(&chats("cba"), begin + PAUSE, false);
        assert_eq!(order.due(), None);
    }

    #[test]
    fn what_the_user_changes_and_what_is_new_is_seen_at_once() {
        let (mut order, now) = (ActivityOrder::default(), Instant::now());
        order.update(&chats("abc"), now, false);
        order.update(&chats("dbac"), now, true);
        assert_eq!(shown(&order, &chats("abcd")), "dbac");
        let mut pinned = chats("cdba");
        pinned[0].pinned = true;
        order.update(&pinned, now, true);
        assert_eq!(shown(&order, &pinned), "cdba");
    }
}
