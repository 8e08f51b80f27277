//! What the node answers to the calls that the screen makes.

use starling_control::{
    methods::{contacts::Account, devices::LinkCode, messages::Found},
    objects::{Chat, ChatId, Contact, Message as WireMessage, Privacy},
};
use starling_node::Clock;

use super::{
    app::{App, Focus, PAGE},
    card::Card,
    clock,
    model::{Kept, Message, page},
    palette::{Palette, Row, Run},
    requests::{Answer, Target},
};
use crate::{
    error::{CliError, CliResult, screen_hint},
    terminal::safe_line,
};

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
    /// Takes what came of a request.
    pub fn answer(&mut self, answer: Answer) {
        self.note_answer(&answer);
        if let Err(error) = self.take_answer(answer) {
            self.show_error(&error);
        }
    }

    fn show_error(&mut self, error: &CliError) {
        // The hint names verbs, where the screen has commands.
        let hint = error.reason.as_deref().and_then(screen_hint).or(error.hint.as_deref());
        let hint = hint.map(|hint| format!(" — {hint}")).unwrap_or_default();
        self.warn(format!("{}{hint}", error.message));
    }

    fn take_answer(&mut self, answer: Answer) -> CliResult {
        match answer {
            Answer::Status(status) => self.directory.me = Some(status?),
            Answer::Contacts(contacts) => self.take_contacts(contacts?),
            Answer::Contact(contact) => self.take_safety_number(contact)?,
            Answer::Chats(chats) => self.take_chats(chats?),
            Answer::Requests(requests) => {
                self.directory.requests = requests?;
                self.relist();
            }
            Answer::Groups(groups) => self.take_groups(groups?),
            Answer::Audit(group, log) => self.take_audit(&group, log)?,
            Answer::Invited(invited) => self.take_invited(invited)?,
            Answer::Calls(calls) => self.take_calls(calls?),
            Answer::History(chat, target, messages) => {
                let messages = messages?;
                if self.chat.open.as_ref() == Some(&chat) {
                    self.take_history(target, messages);
                    self.catch_up();
                }
            }
            Answer::Found(query, found) => self.show_found(&query, found?),
            // A node that keeps nothing is no reason to say so before something is lost.
            Answer::Kept(kept) => self.take_kept(kept.map(|kept| Kept::from_rows(kept.rows)).unwrap_or_default()),
            Answer::Keep(Err(error)) => self.cannot_keep(&error),
            Answer::Keep(Ok(())) => {}
            Answer::Sent(chat, text, sent) => {
                // What was written is not lost: it is put back.
                sent.inspect_err(|_| self.put_back(&chat, &text))?;
            }
            Answer::Added(line, added) => self.take_added(&line, added)?,
            Answer::Changed(changed) => changed.map(|()| self.take_change())?,
            Answer::Read(read) => read.map(|()| self.refresh_chats())?,
            Answer::Cleared(chat, cleared) => cleared.map(|()| self.take_cleared(&chat))?,
            Answer::Invite(invite) => self.show_invite(&invite?.link),
            Answer::Code(code) => self.show_code(&code?.code),
            Answer::Link(link) => self.show_link(&link?),
            Answer::GroupLink(link) => self.show_group_link(&link?),
            Answer::GroupPreview(link, preview) => self.ask_to_join(link, &preview?),
            Answer::JoinRequests(group, None, asking) => self.show_join_requests(&asking?, &group),
            Answer::JoinRequests(group, Some((name, approves)), asking) => {
                self.decide_join(group, &name, approves, &asking?);
            }
            Answer::Reports(group, reports) => self.show_reports(&reports?, &group),
            Answer::Devices(devices) => self.show_devices(devices?),
            Answer::DeviceChanged(done) => done.map(|()| self.device_changed())?,
            // A node of an older version knows of none.
            Answer::Copy(history) => self.devices.copy = history.ok().and_then(|history| history.copy),
            Answer::Said(words, done) => done.map(|()| self.say(words))?,
            Answer::Transferred(done) => {
                done?;
                self.say("It rings on your other device, and goes on here until it is taken.".into());
            }
            Answer::Privacy(privacy) => self.say_privacy(&privacy?),
            Answer::Done(done) => done?,
        }
        Ok(())
    }

    fn take_chats(&mut self, chats: Vec<Chat>) {
        self.directory.take_chats(chats);
        self.relist();
        self.open_what_is_due();
        self.take_listed_drafts();
    }

    /// The messages of a conversation are deleted here.
    fn take_cleared(&mut self, chat: &ChatId) {
        if self.chat.open.as_ref() == Some(chat) {
            self.chat.timeline.load(Vec::new(), PAGE as usize, None);
        }
        self.refresh();
    }

    fn say_privacy(&mut self, privacy: &Privacy) {
        let [seen, receipts, typing] =
            [&privacy.last_seen, &privacy.receipts, &privacy.typing].map(|audience| audience.as_str());
        self.say(format!("Last seen: {seen}. Read receipts: {receipts}. Typing: {typing}."));
    }

    fn take_contacts(&mut self, contacts: Vec<Contact>) {
        self.directory.take_contacts(contacts);
        self.fetch_safety_number();
        self.name_mentionable();
        self.relist();
        self.open_what_is_due();
    }

    fn take_safety_number(&mut self, contact: CliResult<Contact>) -> CliResult {
        // Whatever came of it, it may be asked for again.
        self.chat.loading.numbered = None;
        let wanted = std::mem::take(&mut self.chat.loading.verify);
        let contact = contact?;
        let is_open = self.chat.open.as_ref() == Some(&contact.chat);
        self.directory.take_safety_number(contact);
        if wanted && is_open {
            self.show_verify();
        }
        Ok(())
    }

    /// Something was changed.
    pub fn take_change(&mut self) {
        // A warning about an earlier try is over.
        if self.toast.as_ref().is_some_and(|toast| toast.is_warning) {
            self.say("Done.".into());
        }
        self.refresh_status();
        self.refresh();
    }

    fn take_added(&mut self, line: &str, added: CliResult<Account>) -> CliResult {
        if added.is_err() && self.chat.composer.is_empty() {
            self.chat.composer.put_back(line);
        }
        self.chat.loading.to_open = Some(added?.account);
        self.say("Added. Once they have answered, you can write to each other.".into());
        self.refresh();
        Ok(())
    }

    /// Takes messages of the open chat.
    fn take_history(&mut self, target: Target, messages: Vec<WireMessage>) {
        let messages = page(messages);
        match target {
            Target::Newest => {
                let chat = self.chat.open.as_ref().and_then(|chat| self.directory.chat(chat));
                let read = chat.filter(|chat| chat.unread > 0).map(|chat| Clock(chat.read_clock));
                self.chat.timeline.load(messages, PAGE as usize, read);
                self.mark_read();
            }
            Target::Page(wants) => self.chat.timeline.extend(&wants, messages, PAGE as usize),
            Target::Around(id) => {
                self.chat.timeline.around(messages, id);
                self.panes.focus = Focus::Timeline;
            }
            // Nothing is left there.
            Target::Place(_) if messages.is_empty() => self.load_newest(),
            Target::Place(place) => self.chat.timeline.return_to(messages, place),
        }
    }

    fn show_found(&mut self, query: &str, found: Vec<Found>) {
        let row = |m: Message| {
            let (day, time) = clock::local(m.at_ms);
            let who = if m.is_own() { "you".to_owned() } else { safe_line(m.name()) };
            let found = around(&safe_line(&m.words()), query);
            Row::new(format!("{who}, {day} {time}"), found, "", Run::Message(m.id))
        };
        let messages = page(found.into_iter().map(|found| found.message).collect());
        let rows: Vec<Row> = messages.into_iter().map(row).collect();
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

    fn show_link(&mut self, link: &LinkCode) {
        self.devices.codes.push(link.code.clone());
        let (code, home) = (&link.code, link.rendezvous.as_deref().unwrap_or_default());
        let command = format!("starling device join {code} --rendezvous {home}");
        let text = format!(
            "\nOn the new device, within ten minutes, while Starling runs here:\n\n{command}\n\nWhoever has this code can ask to become you: tell it to nobody."
        );
        let lines = text.lines().map(Into::into).collect();
        self.layers.push(Card::new(LINKING, lines, Some(command)));
    }
}
