//! What the node answers to the calls that the screen makes.

use serde_json::Value;

use super::{
    app::{App, Focus, PAGE, Tag},
    card::Card,
    clock,
    model::{Message, Place, wire},
    palette::{Palette, Row, Run},
};
use crate::{error::CliError, terminal::safe_line, verbs::field};

/// Title of the card that shows how to link a device.
pub const LINKING: &str = "Another device";

/// The part of a text where the first word of a search is.
fn around(text: &str, query: &str) -> String {
    let word = starling_text::folded(query.split_whitespace().next().unwrap_or_default());
    let folded = starling_text::folded(text);
    let at = folded.find(&word).map_or(0, |byte| folded[..byte].chars().count());
    if at < 20 { text.to_owned() } else { format!("…{}", text.chars().skip(at - 12).collect::<String>()) }
}

impl App {
    /// Takes the answer to a call.
    pub fn answer(&mut self, tag: Tag, result: Result<Value, CliError>) {
        self.note_answer(&tag);
        match result {
            Ok(value) => self.take_answer(tag, value),
            Err(error) => self.refused(&tag, error),
        }
    }

    fn refused(&mut self, tag: &Tag, error: CliError) {
        match tag {
            // What was written is not lost: it is put back.
            Tag::Sent(chat, text) => self.put_back(chat, text),
            Tag::Added(text) if self.composer.is_empty() => self.composer.put_back(text),
            Tag::Kept => return self.kept_none(),
            Tag::Keep => return self.cannot_keep(&error),
            _ => {}
        }
        let hint = error.hint.map(|h| format!(" — {h}")).unwrap_or_default();
        self.warn(format!("{}{hint}", error.message));
    }

    fn take_answer(&mut self, tag: Tag, value: Value) {
        match tag {
            Tag::Status => self.me = (!value.is_null()).then(|| wire::status(&value)),
            Tag::Contacts => {
                self.contacts = wire::list(&value, wire::contact);
                self.composer.names = self.contacts.iter().map(|c| safe_line(&c.name)).collect();
                self.relist();
                self.open_what_is_due();
            }
            Tag::Chats => {
                self.chats = wire::list(&value, wire::chat);
                self.relist();
                self.open_what_is_due();
            }
            Tag::Requests => {
                self.requests = wire::list(&value, wire::request);
                self.relist();
            }
            Tag::Load(ref chat) | Tag::Page(ref chat, _) | Tag::Around(ref chat, _) | Tag::Place(ref chat, _) => {
                if self.open.as_ref() == Some(chat) {
                    self.take_history(&tag, wire::messages(&value));
                    self.catch_up();
                }
            }
            Tag::Kept => self.take_kept(value),
            Tag::Found(query) => self.show_found(&query, wire::messages(&value)),
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
            Tag::Code => self.show_code(field(&value, "code")),
            Tag::Link => self.show_link(field(&value, "code"), field(&value, "rendezvous")),
            Tag::Devices => self.show_devices(&wire::list(&value, wire::own_device)),
            Tag::Transferred => self.say("It rings on your other device, and goes on here until it is taken.".into()),
            Tag::Added(_) => {
                self.say("Added. Once they have answered, you can write to each other.".into());
                self.to_open = Some(field(&value, "account").to_owned());
                self.refresh();
            }
            Tag::Calls => self.calls_are(&value),
            Tag::Privacy => {
                let who = |what| field(&value, what);
                let (seen, receipts, typing) = (who("last_seen"), who("receipts"), who("typing"));
                self.say(format!("Last seen: {seen}. Read receipts: {receipts}. Typing: {typing}."));
            }
            Tag::Sent(..) | Tag::Keep | Tag::Nothing => {}
        }
    }

    /// Takes a page of the open chat.
    fn take_history(&mut self, tag: &Tag, page: Vec<Message>) {
        match tag {
            Tag::Load(chat) => {
                let read = self.chat(chat).filter(|chat| chat.unread > 0).map(|chat| chat.read);
                self.timeline.load(page, PAGE, read);
                self.mark_read();
            }
            Tag::Page(_, wants) => self.timeline.extend(wants, page, PAGE),
            Tag::Around(_, id) => {
                self.timeline.around(page, *id);
                self.focus = Focus::Timeline;
            }
            Tag::Place(_, place) => self.return_to(page, *place),
            _ => {}
        }
    }

    fn return_to(&mut self, page: Vec<Message>, place: Place) {
        if page.is_empty() {
            // Nothing is left there.
            return self.load_newest();
        }
        self.timeline.return_to(page, place);
    }

    fn show_found(&mut self, query: &str, found: Vec<Message>) {
        let row = |m: Message| {
            let (day, time) = clock::local(m.at_ms);
            let who = if m.mine { "you".to_owned() } else { safe_line(&m.name) };
            let found = around(&safe_line(&m.text), query);
            Row::new(format!("{who}, {day} {time}"), found, "", Run::Message(m.id))
        };
        let rows: Vec<Row> = found.into_iter().map(row).collect();
        if let Some(palette) = self.layers.find::<Palette>().filter(|p| p.searches && p.query == query) {
            palette.title = format!("Search — {} found", rows.len());
            palette.rows = rows;
            palette.filter();
        }
    }

    fn show_code(&mut self, code: &str) {
        let text = format!(
            "\n   {code}\n\nRead it out or send it. It works once, for ten minutes, while Starling runs.\nThe other side types:  /add {code}"
        );
        let lines = text.lines().map(Into::into).collect();
        self.layers.push(Card::new("A short code", lines, Some(code.to_owned())));
    }

    fn show_link(&mut self, code: &str, home: &str) {
        let command = format!("starling device join {code} --rendezvous {home}");
        let text = format!(
            "\nOn the new device, within ten minutes, while Starling runs here:\n\n{command}\n\nWhoever has this code becomes you: tell it to nobody."
        );
        let lines = text.lines().map(Into::into).collect();
        self.layers.push(Card::new(LINKING, lines, Some(command)));
    }
}
