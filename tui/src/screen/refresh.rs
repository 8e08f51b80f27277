//! Keeping what is shown up to date: what may have changed is asked for again, and events that come while history is on its way are not lost.

use starling_control::{
    event::EventKind,
    methods::{chats, contacts, groups, node},
};

use super::{
    app::App,
    model::Message,
    requests::{Answer, Target},
};

/// Contacts come without their safety numbers, which take the node a millisecond or two each: that of a chat is asked for when it is opened.
const IN_SHORT: contacts::List = contacts::List { safety_numbers: Some(false) };
/// Events that are noted while history is on its way: more than come within that time.
const MAX_MEANWHILE: usize = 4_096;

impl App {
    pub fn refresh_chats(&mut self) {
        if self.directory.fresh.chats.changed() {
            self.ask(chats::List {}, Answer::Chats);
        }
    }

    pub fn refresh_contacts(&mut self) {
        if self.directory.fresh.contacts.changed() {
            self.ask(IN_SHORT, Answer::Contacts);
        }
    }

    /// Asks for the safety number of the open chat's contact, unless it is known or on its way.
    pub fn fetch_safety_number(&mut self) {
        let Some(contact) = self.open_contact().filter(|contact| contact.safety_number.is_none()) else { return };
        let account = Some(contact.account.clone());
        let request = contacts::Find { who: format!("id:{}", contact.chat), safety_number: Some(true) };
        if self.chat.loading.numbered != account {
            self.chat.loading.numbered = account;
            self.ask(request, Answer::Contact);
        }
    }

    pub fn refresh(&mut self) {
        self.refresh_chats();
        self.refresh_contacts();
        if self.directory.fresh.requests.changed() {
            self.ask(contacts::Requests {}, Answer::Requests);
        }
        self.refresh_groups();
    }

    pub fn refresh_groups(&mut self) {
        if self.directory.fresh.groups.changed() {
            self.ask(groups::List {}, Answer::Groups);
        }
    }

    pub fn refresh_status(&mut self) {
        if self.directory.fresh.status.changed() {
            self.ask(node::Status::default(), Answer::Status);
        }
    }

    /// Takes an event about a message of the open chat into the timeline.
    pub fn message_changed(&mut self, event: EventKind) {
        self.change_timeline(&event);
        if self.chat.loading.pending > 0 && self.chat.loading.meanwhile.len() < MAX_MEANWHILE {
            self.chat.loading.meanwhile.push(event);
        }
    }

    /// An answer is there, or none comes: what has changed since it was asked for is asked for again.
    pub fn note_answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Status(_) if self.directory.fresh.status.answered() => {
                self.ask(node::Status::default(), Answer::Status)
            }
            Answer::Contacts(_) if self.directory.fresh.contacts.answered() => self.ask(IN_SHORT, Answer::Contacts),
            Answer::Chats(_) if self.directory.fresh.chats.answered() => self.ask(chats::List {}, Answer::Chats),
            Answer::Groups(_) if self.directory.fresh.groups.answered() => self.ask(groups::List {}, Answer::Groups),
            Answer::Audit(..) if self.directory.fresh.audit.answered() => self.refresh_audit_again(),
            Answer::Requests(_) if self.directory.fresh.requests.answered() => {
                self.ask(contacts::Requests {}, Answer::Requests)
            }
            Answer::History(chat, target, _) if self.chat.open.as_ref() == Some(chat) && *target != Target::Newest => {
                self.chat.loading.fetching = false;
            }
            _ => {}
        }
    }

    /// After a page of history was taken: what has happened since it was asked for is newer than what it holds.
    pub fn catch_up(&mut self) {
        self.chat.loading.pending = self.chat.loading.pending.saturating_sub(1);
        let events = std::mem::take(&mut self.chat.loading.meanwhile);
        for event in &events {
            self.change_timeline(event);
        }
        if self.chat.loading.pending > 0 {
            self.chat.loading.meanwhile = events;
        }
    }

    /// Takes what has happened to a message into the timeline of the open chat.
    fn change_timeline(&mut self, event: &EventKind) {
        match event {
            EventKind::MessageState { message, state, reason, .. } => {
                if let Ok(id) = message.id.as_str().parse() {
                    self.chat.timeline.set_state(id, *state, reason.as_deref().unwrap_or_default());
                }
            }
            EventKind::MessageNew(new) => {
                if let Some(message) = new.message.whole().cloned().and_then(Message::new) {
                    self.chat.timeline.insert(message);
                }
            }
            EventKind::MessageEdited(change)
            | EventKind::MessageDeleted(change)
            | EventKind::MessageReaction(change) => {
                if let Some(message) = change.message.whole().cloned().and_then(Message::new) {
                    self.chat.timeline.update(message);
                }
            }
            _ => {}
        }
    }
}
