//! Keeping what is shown up to date: what may have changed is asked for again, and events that come while history is on its way are not lost.

use serde_json::{Value, json};

use super::{
    app::{App, Tag},
    model::wire,
};
use crate::verbs::field;

/// Events that are noted while history is on its way: more than come within that time.
const MAX_MEANWHILE: usize = 4_096;

impl App {
    pub fn refresh_chats(&mut self) {
        if self.fresh.chats.changed() {
            self.ask(Tag::Chats, "chats", json!({}));
        }
    }

    pub fn refresh_contacts(&mut self) {
        if self.fresh.contacts.changed() {
            self.ask(Tag::Contacts, "contacts", json!({}));
        }
    }

    pub fn refresh(&mut self) {
        self.refresh_chats();
        self.refresh_contacts();
        if self.fresh.requests.changed() {
            self.ask(Tag::Requests, "requests", json!({}));
        }
    }

    pub fn refresh_status(&mut self) {
        if self.fresh.status.changed() {
            self.ask(Tag::Status, "status", json!({}));
        }
    }

    /// Takes an event about a message of the open chat into the timeline.
    pub fn message_changed(&mut self, event: &Value) {
        if self.loading > 0 && self.meanwhile.len() < MAX_MEANWHILE {
            self.meanwhile.push(event.clone());
        }
        self.change_timeline(event);
    }

    /// An answer is there, or none comes: what has changed since it was asked for is asked for again.
    pub fn note_answer(&mut self, tag: &Tag) {
        match tag {
            Tag::Status if self.fresh.status.answered() => self.ask(Tag::Status, "status", json!({})),
            Tag::Contacts if self.fresh.contacts.answered() => self.ask(Tag::Contacts, "contacts", json!({})),
            Tag::Chats if self.fresh.chats.answered() => self.ask(Tag::Chats, "chats", json!({})),
            Tag::Requests if self.fresh.requests.answered() => self.ask(Tag::Requests, "requests", json!({})),
            Tag::Page(chat, _) | Tag::Around(chat, _) | Tag::Place(chat, _) if self.open.as_ref() == Some(chat) => {
                self.fetching = false;
            }
            _ => {}
        }
    }

    /// After a page of history was taken: what has happened since it was asked for is newer than what it holds.
    pub fn catch_up(&mut self) {
        self.loading = self.loading.saturating_sub(1);
        let events = std::mem::take(&mut self.meanwhile);
        for event in &events {
            self.change_timeline(event);
        }
        if self.loading > 0 {
            self.meanwhile = events;
        }
    }

    /// Takes what has happened to a message into the timeline of the open chat.
    fn change_timeline(&mut self, event: &Value) {
        match field(event, "type") {
            "message.state" => {
                if let Ok(id) = field(&event["message"], "id").parse() {
                    self.timeline.set_state(id, wire::delivery(field(event, "state")), field(event, "reason"));
                }
            }
            "message.new" => {
                if let Some(message) = wire::message(&event["message"]) {
                    self.timeline.insert(message);
                }
            }
            _ => {
                if let Some(message) = wire::message(&event["message"]) {
                    self.timeline.update(message);
                }
            }
        }
    }
}
