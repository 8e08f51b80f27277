//! The list of chats: its rows, and the one that is chosen.

use starling_control::objects::{AccountId, Chat, ChatId, Group, Request};

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListRow {
    Title(&'static str),
    /// The chat's id.
    Chat(ChatId),
    /// The account that asks.
    Request(AccountId),
    /// The group that we are invited into.
    Invitation(ChatId),
}

/// The rows, from the top to the bottom. A title is never chosen where there is something else.
#[derive(Clone, Debug, Default)]
pub struct ChatList {
    rows: Vec<ListRow>,
    at: usize,
}

impl ChatList {
    /// Makes the rows again; `follow` is a chat that is to be chosen, if it is there.
    pub fn rebuild<'a>(
        &mut self,
        requests: &[Request],
        invitations: impl Iterator<Item = &'a Group>,
        chats: &[Chat],
        follow: Option<&ChatId>,
    ) {
        let row = |chat: &Chat| ListRow::Chat(chat.id.clone());
        self.rows.clear();
        self.rows.extend(invitations.map(|group| ListRow::Invitation(group.id.clone())));
        if !self.rows.is_empty() {
            self.rows.insert(0, ListRow::Title("Invitations"));
        }
        if !requests.is_empty() {
            self.rows.push(ListRow::Title("Requests"));
            self.rows.extend(requests.iter().map(|request| ListRow::Request(request.account.clone())));
        }
        self.rows.push(ListRow::Title("Direct"));
        let is_group = |chat: &&Chat| chat.kind.is_group();
        let open: Vec<&Chat> = chats.iter().filter(|chat| !chat.archived).collect();
        self.rows.extend(open.iter().filter(|chat| !is_group(chat)).map(|chat| row(chat)));
        if open.iter().any(is_group) {
            self.rows.push(ListRow::Title("Groups"));
            self.rows.extend(open.iter().filter(|chat| is_group(chat)).map(|chat| row(chat)));
        }
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
    use starling_control::objects::ChatKind;

    use super::*;

    fn chat(id: &str, archived: bool) -> Chat {
        Chat { id: id.into(), archived, ..Chat::default() }
    }

    #[test]
    fn titles_are_stepped_over_and_the_open_chat_is_followed() {
        let mut list = ChatList::default();
        list.rebuild(&[], std::iter::empty(), &[], None);
        list.step(true);
        assert_eq!((list.at(), list.beside(None, 1)), (0, None));
        let chats = [chat("a", false), chat("b", true), chat("c", false)];
        let asks = Request { account: "r".into(), ..Request::default() };
        list.rebuild(&[asks], std::iter::empty(), &chats, Some(&"c".into()));
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
        list.rebuild(&[], std::iter::empty(), &chats[..1], None);
        assert_eq!(list.at(), 1);
        let groups = [chat("a", false), Chat { kind: ChatKind::Group, ..chat("g", false) }];
        let asked = Group { id: "i".into(), ..Group::default() };
        list.rebuild(&[], [&asked].into_iter(), &groups, Some(&"g".into()));
        // Invitations, i, Direct, a, Groups, g.
        assert_eq!((list.rows().len(), list.at()), (6, 5));
        list.rebuild(&[], std::iter::empty(), &chats[..1], Some(&"a".into()));
        assert_eq!(list.at(), 1);
    }
}
