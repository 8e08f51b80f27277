//! The list of chats: its rows, and the one that is chosen.

use starling_control::objects::{AccountId, Chat, ChatId, Request};

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListRow {
    Title(&'static str),
    /// The chat's id.
    Chat(ChatId),
    /// The account that asks.
    Request(AccountId),
}

/// The rows, from the top to the bottom. A title is never chosen where there is something else.
#[derive(Clone, Debug, Default)]
pub struct ChatList {
    rows: Vec<ListRow>,
    at: usize,
}

impl ChatList {
    /// Makes the rows again; `follow` is a chat that is to be chosen, if it is there.
    pub fn rebuild(&mut self, requests: &[Request], chats: &[Chat], follow: Option<&ChatId>) {
        let row = |chat: &Chat| ListRow::Chat(chat.id.clone());
        self.rows.clear();
        if !requests.is_empty() {
            self.rows.push(ListRow::Title("Requests"));
            self.rows.extend(requests.iter().map(|request| ListRow::Request(request.account.clone())));
        }
        self.rows.push(ListRow::Title("Direct"));
        self.rows.extend(chats.iter().filter(|chat| !chat.archived).map(row));
        if chats.iter().any(|chat| chat.archived) {
            self.rows.push(ListRow::Title("Archived"));
            self.rows.extend(chats.iter().filter(|chat| chat.archived).map(row));
        }
        let followed =
            follow.and_then(|open| self.rows.iter().position(|r| matches!(r, ListRow::Chat(id) if id == open)));
        self.at = followed.unwrap_or(self.at).min(self.rows.len().saturating_sub(1));
        if self.is_title(self.at) && self.at + 1 < self.rows.len() {
            self.at += 1;
        }
    }

    pub fn rows(&self) -> &[ListRow] {
        &self.rows
    }

    /// The row that is chosen.
    pub fn at(&self) -> usize {
        self.at
    }

    fn is_title(&self, at: usize) -> bool {
        matches!(self.rows.get(at), Some(ListRow::Title(_)))
    }

    /// Chooses the next row that is no title, or the one before.
    pub fn step(&mut self, down: bool) {
        let by = if down { 1 } else { -1 };
        let mut at = self.at;
        while let Some(next) = at.checked_add_signed(by).filter(|next| *next < self.rows.len()) {
            at = next;
            if !self.is_title(at) {
                self.at = at;
                return;
            }
        }
    }

    /// Chooses a row; `false` if there is none, or it is a title.
    pub fn choose(&mut self, at: usize) -> bool {
        let can = at < self.rows.len() && !self.is_title(at);
        if can {
            self.at = at;
        }
        can
    }

    /// The chat so many chats further, from an open one; the first if none is open.
    pub fn beside(&self, open: Option<&ChatId>, by: isize) -> Option<&ChatId> {
        let chats = self.rows.iter().filter_map(|row| if let ListRow::Chat(id) = row { Some(id) } else { None });
        let chats: Vec<&ChatId> = chats.collect();
        let at = chats.iter().position(|chat| Some(*chat) == open);
        chats.get(at.map_or(0, |at| at.saturating_add_signed(by))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(id: &str, archived: bool) -> Chat {
        Chat { id: id.into(), archived, ..Chat::default() }
    }

    #[test]
    fn titles_are_stepped_over_and_the_open_chat_is_followed() {
        let mut list = ChatList::default();
        list.rebuild(&[], &[], None);
        list.step(true);
        assert_eq!((list.at(), list.beside(None, 1)), (0, None));
        let chats = [chat("a", false), chat("b", true), chat("c", false)];
        let asks = Request { account: "r".into(), ..Request::default() };
        list.rebuild(&[asks], &chats, Some(&"c".into()));
        // Requests, r, Direct, a, c, Archived, b.
        assert_eq!((list.rows().len(), list.at()), (7, 4));
        list.step(true);
        assert_eq!(list.at(), 6);
        list.step(true);
        assert_eq!(list.at(), 6);
        (0..9).for_each(|_| list.step(false));
        assert_eq!(list.at(), 1);
        assert!(!list.choose(2) && !list.choose(7) && list.choose(3));
        assert_eq!(
            [("a", 1), ("b", 1), ("a", -1)].map(|(open, by)| list.beside(Some(&open.into()), by).map(ChatId::as_str)),
            [Some("c"), None, Some("a")]
        );
        list.rebuild(&[], &chats[..1], None);
        assert_eq!(list.at(), 1);
    }
}
