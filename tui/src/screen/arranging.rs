//! How the user arranges the list of chats: what stands where, in which folder, and what is folded away. The node keeps it for all devices of the
//! account, but for folders that are folded, which are this screen's.

use starling_control::{
    methods::chats::{Arrange, Set},
    objects::{ChatId, ChatKind},
};

use super::{app::App, model::ListRow};

/// Where a chat is moved among those that stand together with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Up,
    Down,
    Top,
    Bottom,
}

impl App {
    /// The chat of the row that is chosen in the list. Says if there is none.
    pub fn chosen_chat(&mut self) -> Option<ChatId> {
        let row = self.panes.list.rows().get(self.panes.list.at());
        let chat = row.and_then(ListRow::chat).cloned();
        if chat.is_none() {
            self.say("There is no chat in this row.".into());
        }
        chat
    }

    /// Moves the chosen row of the list.
    pub fn move_row(&mut self, step: Step) {
        if let Some(chat) = self.chosen_chat() {
            self.move_chat(&chat, step);
        }
    }

    /// Moves a chat among those that stand together with it, which are sorted by hand from then on. Pinned ones stay above the others.
    pub fn move_chat(&mut self, chat: &ChatId, step: Step) {
        let is_pinned = |id: &ChatId| self.directory.chat(id).is_some_and(|chat| chat.pinned);
        let own = is_pinned(chat);
        let together = self.panes.list.together_with(chat).iter();
        let mut order: Vec<ChatId> = together.filter(|id| is_pinned(id) == own).cloned().collect();
        let Some(at) = order.iter().position(|id| id == chat) else { return };
        let last = order.len() - 1;
        let to = match step {
            Step::Up => at.saturating_sub(1),
            Step::Down => (at + 1).min(last),
            Step::Top => 0,
            Step::Bottom => last,
        };
        let moved = order.remove(at);
        order.insert(to, moved);
        self.arrange(order, false);
    }

    /// Sorts those that stand together with a chat by activity, or by hand, as they stand.
    pub fn sort_beside(&mut self, chat: &ChatId, by_activity: bool) {
        let together = self.panes.list.together_with(chat).to_vec();
        self.arrange(together, by_activity);
    }

    fn arrange(&mut self, chats: Vec<ChatId>, by_activity: bool) {
        // At once, so that keys that are pressed fast go on from what is seen.
        self.directory.arrange(&chats, by_activity);
        self.relist();
        self.change_in_order(Arrange { chats, by_activity: by_activity.then_some(true) });
    }

    /// Folds what the chosen row of the list stands for, or unfolds it: a folder, or the channels of a community.
    pub fn fold_row(&mut self) {
        match self.panes.list.rows().get(self.panes.list.at()).cloned() {
            Some(ListRow::Folder(name, _)) => {
                self.fold_folder(&name);
                self.relist();
            }
            Some(ListRow::Chat(chat) | ListRow::Channel(chat)) => self.fold_community(&chat),
            _ => self.say("There is nothing to fold in this row.".into()),
        }
    }

    /// Folds the channels of a community, or unfolds them; of a channel those of its community.
    pub fn fold_community(&mut self, chat: &ChatId) {
        let community =
            self.directory.community_of(chat).map_or_else(|| chat.clone(), |community| community.id.clone());
        let found = self.directory.chats.iter_mut().find(|chat| chat.id == community);
        let Some(found) = found.filter(|chat| chat.kind == ChatKind::Community) else {
            return self.say("Only communities and folders can be folded.".into());
        };
        found.folded = !found.folded;
        let folded = Some(found.folded);
        self.relist();
        self.change_in_order(Set { chat: community, folded, ..Set::default() });
    }
}
