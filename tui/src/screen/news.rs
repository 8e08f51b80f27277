//! What the node says to the screen: answers to calls, and events.

use serde_json::{Value, json};
use starling_node::Clock;

use super::{
    app::{App, Card, Focus, PAGE, Tag},
    palette::{Row, Run},
    timeline::{Message, cut},
};
use crate::{
    error::CliError,
    terminal::{safe, safe_line},
    verbs::{field, short_device},
};

/// Events that are noted while history is on its way: more than come within that time.
const MAX_MEANWHILE: usize = 4_096;
/// Title of the card that tells how to link a device.
const LINKING: &str = "Another device";

/// The part of a text where the first word of a search is.
fn around(text: &str, query: &str) -> String {
    let word = starling_text::folded(query.split_whitespace().next().unwrap_or_default());
    let folded = starling_text::folded(text);
    let at = folded.find(&word).map_or(0, |byte| folded[..byte].chars().count());
    if at < 20 { text.to_owned() } else { format!("…{}", text.chars().skip(at - 12).collect::<String>()) }
}

impl App {
    pub fn answer(&mut self, tag: Tag, result: Result<Value, CliError>) {
        self.note_answer(&tag);
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                match &tag {
                    // What was written is not lost: it is put back.
                    Tag::Sent(chat, text) => self.put_back(chat, text),
                    Tag::Added(text) if self.composer.is_empty() => self.composer.put_back(text),
                    Tag::Kept => return self.kept_none(),
                    Tag::Keep => return self.cannot_keep(&error),
                    _ => {}
                }
                let hint = error.hint.map(|h| format!(" — {h}")).unwrap_or_default();
                return self.warn(format!("{}{hint}", error.message));
            }
        };
        let messages = || value.as_array().into_iter().flatten().filter_map(Message::from_json).collect::<Vec<_>>();
        match tag {
            Tag::Status => {
                self.me = value;
            }
            Tag::Contacts => {
                self.contacts = value.as_array().cloned().unwrap_or_default();
                self.composer.names = self.contacts.iter().map(|c| safe_line(field(c, "name"))).collect();
                self.relist();
                self.open_what_is_due();
            }
            Tag::Chats => {
                self.chats = value.as_array().cloned().unwrap_or_default();
                self.relist();
                self.open_what_is_due();
            }
            Tag::Requests => {
                self.requests = value.as_array().cloned().unwrap_or_default();
                self.relist();
            }
            Tag::Load(chat) if self.open.as_ref() == Some(&chat) => {
                let unread = self.chat(&chat).and_then(|c| c["unread"].as_u64()).unwrap_or(0);
                let read = Clock(self.chat(&chat).and_then(|c| c["read_clock"].as_u64()).unwrap_or(0));
                self.timeline.load(messages(), PAGE, (unread > 0).then_some(read));
                self.catch_up();
                self.mark_read();
            }
            Tag::Kept => self.take_kept(value),
            Tag::Place(chat, place) if self.open.as_ref() == Some(&chat) => {
                let messages = messages();
                // Nothing is left there: the newest, then.
                match messages.is_empty() {
                    true => self.load_newest(),
                    false => self.timeline.return_to(messages, place),
                }
                self.catch_up();
            }
            Tag::Page(chat, wants) if self.open.as_ref() == Some(&chat) => {
                self.timeline.extend(&wants, messages(), PAGE);
                self.catch_up();
            }
            Tag::Around(chat, id) if self.open.as_ref() == Some(&chat) => {
                self.timeline.around(messages(), id);
                self.catch_up();
                self.focus = Focus::Timeline;
            }
            Tag::Found(query) => {
                let rows: Vec<Row> = messages()
                    .into_iter()
                    .map(|m| {
                        let (day, time) = super::clock::local(m.at_ms);
                        let who = if m.mine { "you".to_owned() } else { safe_line(&m.name) };
                        let found = around(&safe_line(&m.text), &query);
                        Row::new(format!("{who}, {day} {time}"), found, "", Run::Message(m.id))
                    })
                    .collect();
                if let Some(palette) = self.palette.as_mut().filter(|p| p.searches && p.query == query) {
                    palette.title = format!("Search — {} found", rows.len());
                    palette.rows = rows;
                    palette.filter();
                }
            }
            Tag::Changed => {
                // A warning about an earlier try is over.
                if self.toast.as_ref().is_some_and(|(_, bad, _)| *bad) {
                    self.say("Done.".into());
                }
                self.refresh_status();
                self.refresh();
            }
            Tag::Read => self.refresh_chats(),
            Tag::Cleared(chat) => {
                if self.open.as_ref() == Some(&chat) {
                    self.timeline.load(Vec::new(), PAGE, None);
                }
                self.refresh();
            }
            Tag::Invite => self.show_invite(field(&value, "link")),
            Tag::Code => {
                let code = field(&value, "code").to_owned();
                let text = format!(
                    "\n   {code}\n\nRead it out or send it. It works once, for ten minutes, while Starling runs.\nThe other side types:  /add {code}"
                );
                let lines = text.lines().map(Into::into).collect();
                self.card = Some(Card { title: "A short code".into(), lines, copy: Some(code) });
            }
            Tag::Link => {
                let (code, home) = (field(&value, "code"), field(&value, "rendezvous"));
                let command = format!("starling device join {code} --rendezvous {home}");
                let text = format!(
                    "\nOn the new device, within ten minutes, while Starling runs here:\n\n{command}\n\nWhoever has this code becomes you: tell it to nobody."
                );
                let lines = text.lines().map(Into::into).collect();
                self.card = Some(Card { title: LINKING.into(), lines, copy: Some(command) });
            }
            Tag::Devices => self.show_devices(&value),
            Tag::Transferred => self.say("It rings on your other device, and goes on here until it is taken.".into()),
            Tag::Added(_) => {
                self.say("Added. Once they have answered, you can write to each other.".into());
                self.to_open = Some(field(&value, "account").to_owned());
                self.refresh();
            }
            Tag::Calls => self.calls_are(&value),
            Tag::Privacy => {
                self.say(format!(
                    "Last seen: {}. Read receipts: {}. Typing: {}.",
                    field(&value, "last_seen"),
                    field(&value, "receipts"),
                    field(&value, "typing")
                ));
            }
            _ => {}
        }
    }

    /// An event line of the subscription.
    pub fn event(&mut self, event: &Value) {
        let chat = field(&event["chat"], "id").to_owned();
        let is_open = self.open.as_deref() == Some(chat.as_str());
        let kind = field(event, "type");
        let seen = is_open && self.has_focus && self.timeline.is_at_bottom();
        if is_open && kind.starts_with("message.") {
            if self.loading > 0 && self.meanwhile.len() < MAX_MEANWHILE {
                self.meanwhile.push(event.clone());
            }
            self.change_timeline(event);
        }
        match kind {
            "message.new" => {
                let Some(message) = Message::from_json(&event["message"]) else {
                    return;
                };
                if !message.mine {
                    if let Some(contact) = self.contacts.iter_mut().find(|c| c["chat"] == chat.as_str()) {
                        contact["typing"] = false.into();
                    }
                    let me = field(&self.me, "account");
                    let muted = self.chat(&chat).is_some_and(|c| !c["muted_until"].is_null());
                    if !(muted || seen) {
                        self.notify(&message.name, &message.text, message.mentions.iter().any(|m| m == me));
                    }
                }
                if is_open && seen {
                    self.mark_read();
                }
                self.refresh_chats();
            }
            "message.state" => {
                // How many wait is shown in the list.
                if self.chat(&chat).is_some_and(|c| c["queued"].as_u64() > Some(0)) {
                    self.refresh_chats();
                }
            }
            "typing" => {
                let typing = event["typing"] == true;
                if let Some(contact) = self.contacts.iter_mut().find(|c| c["chat"] == chat.as_str()) {
                    contact["typing"] = typing.into();
                }
            }
            "presence" => {
                let account = field(&event["contact"], "account");
                if let Some(contact) = self.contacts.iter_mut().find(|c| c["account"] == account) {
                    contact["presence"] = event["presence"].clone();
                    contact["last_seen"] = event["last_seen"].clone();
                    contact["typing"] = false.into();
                }
                self.refresh_contacts();
            }
            "contact.requested" => {
                let name = cut(&safe_line(field(&event["contact"], "name")), 24);
                self.say(format!("{name} asks to talk to you: F2 shows the request."));
                self.notify(&name, "asks to talk to you", true);
                self.refresh();
            }
            "contact.accepted" => {
                let name = cut(&safe_line(field(&event["contact"], "name")), 24);
                self.say(format!("You and {name} can write to each other."));
                if self.open.is_none() {
                    self.to_open = Some(field(&event["contact"], "account").to_owned());
                    self.card = None;
                }
                self.refresh();
            }
            "contact.key_changed" => {
                let name = cut(&safe_line(field(&event["contact"], "name")), 24);
                self.warn(format!(
                    "The devices of {name} have changed. Nothing is sent until you trust them: /verify, then /trust."
                ));
                self.refresh();
            }
            "contact.blocked" => self.refresh(),
            "device.linked" => {
                let device = short_device(field(event, "device")).to_owned();
                self.say(format!("A device was linked to your account: {device}. If it was not you: /devices"));
                self.card = self.card.take().filter(|card| card.title != LINKING);
                self.refresh();
            }
            "device.removed" => {
                self.say(format!("{} is no longer a device of your account.", short_device(field(event, "device"))));
            }
            "call.incoming" | "call.state" | "call.ended" => self.call_event(event),
            "net.state" => {
                self.refresh_status();
                self.refresh_contacts();
                self.refresh_chats();
            }
            "node.failed" => self.warn(format!("The node has stopped: {}", safe(field(event, "reason")))),
            _ => {}
        }
    }

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

    /// An answer is there, or none comes: what has changed since it was asked for is asked for again.
    fn note_answer(&mut self, tag: &Tag) {
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
    fn catch_up(&mut self) {
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
                    self.timeline.set_state(id, field(event, "state"), field(event, "reason"));
                }
            }
            "message.new" => {
                if let Some(message) = Message::from_json(&event["message"]) {
                    self.timeline.insert(message);
                }
            }
            _ => {
                if let Some(message) = Message::from_json(&event["message"]) {
                    self.timeline.update(message);
                }
            }
        }
    }
}
