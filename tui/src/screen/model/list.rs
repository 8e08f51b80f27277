//! The list of chats: its rows, the one that is chosen, and what is folded away.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use starling_control::objects::{AccountId, Chat, ChatId, Request};

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListRow {
    Title(&'static str),
    /// A folder of the user's, and whether it is folded.
    Folder(String, bool),
    /// The chat's id.
    Chat(ChatId),
    /// A channel below its community.
    Channel(ChatId),
    /// The account that asks.
    Request(AccountId),
    /// The group that we are invited into.
    Invitation(ChatId),
    /// The group that we have asked to be let into.
    Asked(ChatId),
}

impl ListRow {
    /// The chat that it opens.
    pub fn chat(&self) -> Option<&ChatId> {
        match self {
            Self::Chat(id) | Self::Channel(id) => Some(id),
            _ => None,
        }
    }

    /// Whether it stands for the same as another row.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folder(name, _), Self::Folder(other, _)) => name == other,
            _ if self.chat().is_some() => self.chat() == other.chat(),
            _ => self == other,
        }
    }
}

/// What there is to list.
#[derive(Default)]
pub struct ListSources<'a> {
    pub requests: &'a [Request],
    /// Groups that we are invited into, and those that we have asked to be let into.
    pub invitations: Vec<&'a ChatId>,
    pub asked: Vec<&'a ChatId>,
    /// By activity, pinned ones first.
    pub chats: Vec<&'a Chat>,
    /// The communities that channels belong to.
    pub communities: HashMap<&'a ChatId, &'a ChatId>,
    /// Names of folders that are folded.
    pub folded: BTreeSet<&'a str>,
    /// This chat is never folded away.
    pub open: Option<&'a ChatId>,
}

/// The rows, from the top to the bottom. A title is never chosen where there is something else.
#[derive(Clone, Debug, Default)]
pub struct ChatList {
    rows: Vec<ListRow>,
    at: usize,
    /// Chats that stand together, in order, also where they are folded away.
    together: Vec<Vec<ChatId>>,
    /// Chats that are folded away, by the row that stands for them.
    hidden: HashMap<usize, Vec<ChatId>>,
}

/// Conversations that are listed at the top level, and the channels below them.
struct Sections<'a> {
    folders: BTreeMap<&'a str, Vec<&'a Chat>>,
    direct: Vec<&'a Chat>,
    groups: Vec<&'a Chat>,
    archived: Vec<&'a Chat>,
    channels: HashMap<&'a ChatId, Vec<&'a Chat>>,
}

impl<'a> Sections<'a> {
    fn new(sources: &ListSources<'a>) -> Self {
        let mut sections = Self {
            folders: BTreeMap::new(),
            direct: Vec::new(),
            groups: Vec::new(),
            archived: Vec::new(),
            channels: HashMap::new(),
        };
        let listed: HashSet<&ChatId> = sources.chats.iter().map(|chat| &chat.id).collect();
        for &chat in &sources.chats {
            let community = sources.communities.get(&chat.id).copied();
            let community = community.filter(|community| listed.contains(community));
            match (chat.archived, chat.folder.as_deref(), community) {
                (true, ..) => sections.archived.push(chat),
                (false, Some(folder), _) => sections.folders.entry(folder).or_default().push(chat),
                (false, None, Some(community)) => sections.channels.entry(community).or_default().push(chat),
                (false, None, None) if chat.kind.is_group() => sections.groups.push(chat),
                (false, None, None) => sections.direct.push(chat),
            }
        }
        sections
    }
}

/// Puts chats that stand together into the order that the user has given them by hand; those without a place stay behind, by activity.
fn sort_by_hand(chats: &mut [&Chat]) {
    if chats.iter().any(|chat| chat.place.is_some()) {
        chats.sort_by_key(|chat| (!chat.pinned, chat.place.unwrap_or(u32::MAX)));
    }
}

fn ids_of(chats: &[&Chat]) -> Vec<ChatId> {
    chats.iter().map(|chat| chat.id.clone()).collect()
}

impl ChatList {
    /// Makes the rows again; `follow` is a chat that is to be chosen, if it is there. Else what was chosen still is.
    pub fn rebuild(&mut self, sources: &ListSources<'_>, follow: Option<&ChatId>) {
        let chosen = self.rows.get(self.at).cloned();
        self.rows.clear();
        self.together.clear();
        self.hidden.clear();
        let invitations = sources.invitations.iter().map(|id| ListRow::Invitation((*id).clone()));
        self.put_titled("Invitations", invitations.collect());
        let asked = sources.asked.iter().map(|id| ListRow::Asked((*id).clone()));
        self.put_titled("Waiting", asked.collect());
        let requests = sources.requests.iter().map(|request| ListRow::Request(request.account.clone()));
        self.put_titled("Requests", requests.collect());
        let mut sections = Sections::new(sources);
        for (name, chats) in std::mem::take(&mut sections.folders) {
            let is_folded = sources.folded.contains(name);
            self.rows.push(ListRow::Folder(name.to_owned(), is_folded));
            let folder = is_folded.then(|| self.rows.len() - 1);
            self.put(chats, &sections, folder, sources.open);
        }
        self.rows.push(ListRow::Title("Direct"));
        self.put(std::mem::take(&mut sections.direct), &sections, None, sources.open);
        for (title, chats) in
            [("Groups", std::mem::take(&mut sections.groups)), ("Archived", std::mem::take(&mut sections.archived))]
        {
            if !chats.is_empty() {
                self.rows.push(ListRow::Title(title));
                self.put(chats, &sections, None, sources.open);
            }
        }
        let followed = follow.and_then(|open| self.rows.iter().position(|row| row.chat() == Some(open)));
        let again = || chosen.and_then(|chosen| self.rows.iter().position(|row| row.is_same(&chosen)));
        self.at = followed.or_else(again).unwrap_or(self.at).min(self.rows.len().saturating_sub(1));
        let below = (self.at..self.rows.len()).find(|at| !self.is_title(*at));
        let above = || (0..self.at).rev().find(|at| !self.is_title(*at));
        self.at = below.or_else(above).unwrap_or(self.at);
    }

    fn put_titled(&mut self, title: &'static str, rows: Vec<ListRow>) {
        if !rows.is_empty() {
            self.rows.push(ListRow::Title(title));
            self.rows.extend(rows);
        }
    }

    /// Puts chats that stand together, each with its channels below it. `folder` is the row of the folder in which they are folded away, if they are.
    fn put(&mut self, mut chats: Vec<&Chat>, sections: &Sections<'_>, folder: Option<usize>, open: Option<&ChatId>) {
        sort_by_hand(&mut chats);
        self.together.push(ids_of(&chats));
        for chat in chats {
            self.put_row(ListRow::Chat(chat.id.clone()), folder, open);
            let Some(mut channels) = sections.channels.get(&chat.id).cloned() else { continue };
            sort_by_hand(&mut channels);
            self.together.push(ids_of(&channels));
            let row = self.rows.len().saturating_sub(1);
            let fold = folder.or(chat.folded.then_some(row));
            for channel in channels {
                self.put_row(ListRow::Channel(channel.id.clone()), fold, open);
            }
        }
    }

    /// Puts the row of a chat, unless it is folded away below another row.
    fn put_row(&mut self, row: ListRow, fold: Option<usize>, open: Option<&ChatId>) {
        let closed = row.chat().filter(|id| open != Some(*id)).cloned();
        match fold.zip(closed) {
            Some((fold, id)) => self.hidden.entry(fold).or_default().push(id),
            None => self.rows.push(row),
        }
    }

    pub fn rows(&self) -> &[ListRow] {
        &self.rows
    }

    /// The row that is chosen.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The chats that are folded away below a row.
    pub fn hidden_below(&self, row: usize) -> &[ChatId] {
        self.hidden.get(&row).map(Vec::as_slice).unwrap_or_default()
    }

    /// The chats that stand together with one, in order, and that one.
    pub fn together_with(&self, chat: &ChatId) -> &[ChatId] {
        self.together.iter().find(|chats| chats.contains(chat)).map(Vec::as_slice).unwrap_or_default()
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
        let chats: Vec<&ChatId> = self.rows.iter().filter_map(ListRow::chat).collect();
        let at = chats.iter().position(|chat| Some(*chat) == open);
        chats.get(at.map_or(0, |at| at.saturating_add_signed(by))).copied()
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
