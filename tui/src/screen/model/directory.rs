//! The people, the chats and the node, as the node has answered last.

use starling_control::objects::{AccountId, Chat, ChatId, Contact, Group, Request, Standing, Status};

/// Something that the node is asked for again whenever it may have changed. A change while an answer is on its way makes another request:
/// that answer may be from before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refresh {
    on_its_way: bool,
    again: bool,
}

impl Refresh {
    /// It may have changed: whether to ask now.
    pub fn changed(&mut self) -> bool {
        self.again = self.on_its_way;
        !std::mem::replace(&mut self.on_its_way, true)
    }

    /// The answer is there: whether to ask again.
    pub fn answered(&mut self) -> bool {
        self.on_its_way = std::mem::take(&mut self.again);
        self.on_its_way
    }
}

/// How far what is shown is up to date.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freshness {
    pub status: Refresh,
    pub contacts: Refresh,
    pub chats: Refresh,
    pub requests: Refresh,
    pub groups: Refresh,
}

/// What the node has answered.
#[derive(Debug, Default)]
pub struct Directory {
    /// `None` before it has answered.
    pub me: Option<Status>,
    pub contacts: Vec<Contact>,
    pub chats: Vec<Chat>,
    pub requests: Vec<Request>,
    /// Groups, and invitations into others.
    pub groups: Vec<Group>,
    pub fresh: Freshness,
}

impl Directory {
    /// Takes a list of contacts. It may come without safety numbers, which do not change: those that are known stay.
    pub fn take_contacts(&mut self, contacts: Vec<Contact>) {
        let before = std::mem::replace(&mut self.contacts, contacts);
        for known in before.into_iter().filter(|contact| contact.safety_number.is_some()) {
            self.take_safety_number(known);
        }
    }

    /// Takes the safety number of a contact.
    pub fn take_safety_number(&mut self, known: Contact) {
        if let Some(contact) = self.contacts.iter_mut().find(|contact| contact.account == known.account) {
            contact.safety_number = contact.safety_number.take().or(known.safety_number);
        }
    }

    pub fn chat(&self, id: &ChatId) -> Option<&Chat> {
        self.chats.iter().find(|chat| chat.id == *id)
    }

    pub fn group(&self, id: &ChatId) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == *id)
    }

    /// Groups that we are invited into.
    pub fn invitations(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.standing == Standing::Invited)
    }

    /// What a chat is called.
    pub fn name_of(&self, id: &ChatId) -> Option<&str> {
        let contact = self.contact_of(id).map(|contact| contact.name.as_str());
        contact.or_else(|| Some(self.chat(id)?.name.as_str()))
    }

    pub fn contact_of(&self, chat: &ChatId) -> Option<&Contact> {
        self.contacts.iter().find(|contact| contact.chat == *chat)
    }

    /// The chat with the contact of this name, with or without `@`, or the group, with or without `#`.
    pub fn chat_named(&self, name: &str) -> Option<ChatId> {
        let group = name.trim_start_matches('#');
        let of_group = || {
            let is_it = |chat: &&Chat| chat.kind.is_group() && starling_text::same(&chat.name, group);
            self.chats.iter().find(is_it).map(|chat| chat.id.clone())
        };
        let name = name.trim_start_matches('@');
        let contact = self.contacts.iter().find(|c| starling_text::same(&c.name, name)).map(|c| c.chat.clone());
        contact.or_else(of_group)
    }

    /// The mentions in a text: accounts of those whose `@name` it has.
    pub fn mentions(&self, text: &str) -> Vec<AccountId> {
        let text = starling_text::folded(text);
        let named = |c: &&Contact| text.contains(&starling_text::folded(&format!("@{}", c.name)));
        self.contacts.iter().filter(named).map(|c| c.account.clone()).collect()
    }
}
