//! Slash commands: they mirror the verbs of the command line.

use serde_json::json;

use super::{
    app::{App, Call, Tag},
    composer::Mode,
    keys::Action,
    markup::emoji,
    palette::Question,
    theme::{THEMES, Theme},
};
use crate::{cli::parse_duration, verbs::field};

/// A slash command.
pub struct Command {
    pub name: &'static str,
    pub args: &'static str,
    pub help: &'static str,
}

macro_rules! commands {
    ($($name:literal $args:literal $help:literal;)*) => {
        /// All slash commands.
        pub const COMMANDS: &[Command] = &[$(Command { name: $name, args: $args, help: $help }),*];
    };
}

commands! {
    "reply" "N TEXT" "answer message N";
    "edit" "N TEXT" "change your message N";
    "delete" "N" "delete your message N for everyone";
    "react" "N :emoji:" "react to message N";
    "search" "TEXT" "find messages in this chat";
    "chat" "NAME" "open a chat";
    "invite" "" "make an invite link";
    "code" "" "make a short code to read out, such as 7-uniform-quiz";
    "add" "INVITE|CODE|USER@HOST" "add somebody";
    "accept" "NAME" "accept a request";
    "decline" "NAME" "decline a request";
    "block" "" "shut this person out";
    "unblock" "" "let this person in again";
    "remove" "" "remove this contact";
    "rename" "NAME" "your own name for this person; empty for theirs";
    "verify" "" "compare safety numbers";
    "trust" "" "trust this person's changed devices";
    "call" "[video]" "call this person; video: with the camera";
    "answer" "[video]" "answer the call";
    "hangup" "[WORDS]" "end the call, or turn it away";
    "mic" "" "microphone on or off, in a call";
    "camera" "" "camera on or off, in a call";
    "view" "" "the call large, or small in the corner";
    "hold" "" "put the call on hold; again to take it back";
    "switch" "" "answer a second call, or go back to the first";
    "transfer" "[DEVICE]" "hand the call over to another device of yours; it rings there";
    "take" "[video]" "take the call that another device of yours has";
    "record" "[FILE|stop|yes|no]" "ask to record the call, or answer who asks";
    "share" "[COMMAND|stop]" "show a terminal in the call; they see what it prints";
    "type" "TEXT" "type into the terminal that is shared in the call";
    "hand" "[back]" "let the other side type into your terminal";
    "pin" "" "keep this chat on top; again to take it back";
    "mute" "TIME" "no notifications, for 1h, 8h, … or for good";
    "unmute" "" "notifications again";
    "archive" "" "put this chat out of the way";
    "clear" "" "delete this chat's messages here";
    "name" "NAME" "the name that others see";
    "privacy" "WHAT WHO" "last_seen, receipts or typing for everyone, contacts or nobody";
    "devices" "" "your devices; a chosen one can be removed";
    "link" "" "link another device of yours";
    "away" "" "show yourself as away";
    "online" "" "show yourself as online";
    "theme" "NAME" "dark, light, contrast, terminal or mono";
    "details" "" "details of this chat";
    "help" "" "all keys and commands";
    "quit" "" "leave Starling";
}

impl App {
    /// Runs a line that begins with one slash.
    pub fn command(&mut self, line: &str) {
        let (name, rest) = line[1..].split_once(char::is_whitespace).unwrap_or((&line[1..], ""));
        let rest = rest.trim();
        let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
            let close =
                COMMANDS.iter().find(|c| name.len() > 1 && (c.name.starts_with(name) || name.starts_with(c.name)));
            let hint = close.map(|c| format!(" Did you mean /{}?", c.name)).unwrap_or_default();
            self.warn(format!("There is no command /{name}.{hint} Two slashes send the text."));
            return;
        };
        if rest.is_empty() && !matches!(command.args, "" | "TIME") && !command.args.starts_with('[') && name != "rename"
        {
            self.warn(format!("/{name} {} — {}", command.args, command.help));
            return;
        }
        let line = self.composer.text();
        self.composer.set("");
        self.run_command(name, rest, command);
        // What could not be done can be mended and tried again.
        if self.toast.as_ref().is_some_and(|(_, bad, _)| *bad) && self.composer.is_empty() && !line.is_empty() {
            self.composer.set(&line);
            self.composer.offers.clear();
        }
    }

    fn run_command(&mut self, name: &str, rest: &str, command: &Command) {
        self.toast = None;
        match name {
            "help" => self.act(Action::Help),
            "quit" => self.act(Action::Quit),
            "details" => self.act(Action::Details),
            "invite" => self.act(Action::Invite),
            "code" => self.ask(Tag::Code, "code.open", json!({})),
            "devices" => self.ask(Tag::Devices, "device.list", json!({})),
            "link" => self.ask(Tag::Link, "device.link", json!({})),
            "take" => self.ask(Tag::Nothing, "call.take", Self::call_params(rest == "video")),
            "search" => self.search(rest),
            "chat" => match self.chat_named(rest) {
                Some(chat) => self.open(&chat),
                None => self.warn(format!("There is no chat with {rest}.")),
            },
            "add" => {
                self.calls.push(Call::Add(rest.to_owned()));
                self.say("Adding …".into());
            }
            "accept" | "decline" => {
                let found = self.requests.iter().find(|r| field(r, "name").eq_ignore_ascii_case(rest));
                match found.map(|r| field(r, "account").to_owned()) {
                    Some(account) => {
                        let method = if name == "accept" { "contacts.accept" } else { "contacts.decline" };
                        self.ask(Tag::Changed, method, json!({ "account": account }));
                    }
                    None => self.warn(format!("There is no request from {rest}.")),
                }
            }
            "name" => self.ask(Tag::Changed, "profile.name", json!({ "name": rest })),
            "privacy" => match rest.split_once(' ') {
                Some((what @ ("last_seen" | "receipts" | "typing"), who)) => {
                    self.ask(Tag::Privacy, "profile.privacy", json!({ what: who.trim() }));
                }
                _ => self.warn(format!("/privacy {} — {}", command.args, command.help)),
            },
            "away" | "online" => self.ask(Tag::Changed, "availability", json!({ "availability": name })),
            "theme" => match Theme::named(rest) {
                Some(theme) => self.set_theme(theme),
                None => self.warn(format!("The themes are {}.", THEMES.join(", "))),
            },
            "answer" | "hangup" | "mic" | "camera" | "view" | "hold" | "switch" | "transfer" | "record" | "share"
            | "type" | "hand" => {
                self.call_command(name, rest);
            }
            _ => self.chat_command(name, rest),
        }
    }

    /// Commands that need an open chat.
    fn chat_command(&mut self, name: &str, rest: &str) {
        let Some(contact) = self.open_contact().cloned() else {
            self.warn("Open a chat first.".into());
            return;
        };
        let account = json!({ "account": contact["account"] });
        let chat = field(&contact, "chat").to_owned();
        let (number, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let target = number.parse().ok().and_then(|n| self.timeline.by_number(n)).map(|m| (m.id, m.mine));
        match (name, target) {
            ("reply" | "edit" | "delete" | "react", None) => {
                self.warn(format!(
                    "There is no message {number} on the screen: the numbers stand left of each message."
                ));
            }
            ("edit" | "delete", Some((_, false))) => self.warn("Only your own messages can be changed.".into()),
            ("reply", Some((id, _))) if text.is_empty() => self.composer.mode = Mode::Reply(id),
            ("reply", Some((id, _))) => self.send(text, Some(id)),
            ("edit", Some((id, _))) => {
                self.ask_in_order(
                    Tag::Changed,
                    "edit",
                    json!({ "chat": chat, "message": id.to_string(), "text": emoji(text) }),
                );
            }
            ("delete", Some((id, _))) => self.ask_yes(Question::Delete(id)),
            ("react", Some((id, _))) => self.react(id, emoji(text.trim()).trim()),
            ("block", _) => self.ask_yes(Question::Block(field(&contact, "account").to_owned())),
            ("unblock", _) => self.ask(Tag::Changed, "contacts.unblock", account),
            ("remove", _) => self.ask_yes(Question::Remove(field(&contact, "account").to_owned())),
            ("call", _) => {
                let mut params = Self::call_params(rest == "video");
                params["chat"] = chat.into();
                self.ask(Tag::Nothing, "call.start", params);
            }
            ("verify", _) => self.act(Action::Verify),
            ("trust", _) => self.ask_yes(Question::Trust(field(&contact, "account").to_owned())),
            ("rename", _) => {
                self.ask(Tag::Changed, "contacts.rename", json!({ "account": contact["account"], "name": rest }));
            }
            ("pin", _) => {
                let pinned = self.chat(&chat).is_some_and(|c| c["pinned"] == true);
                self.ask(Tag::Changed, "chat.set", json!({ "chat": chat, "pinned": !pinned }));
            }
            ("mute", _) => {
                let until = match parse_duration(rest) {
                    _ if rest.is_empty() => Some(u64::MAX / 2),
                    Some(ms) => Some(crate::rpc::now_ms() + ms),
                    None => None,
                };
                match until {
                    Some(until) => self.ask(Tag::Changed, "chat.set", json!({ "chat": chat, "muted_until_ms": until })),
                    None => self.warn(format!("“{rest}” is no time: use 1h, 8h, 2d.")),
                }
            }
            ("unmute", _) => self.ask(Tag::Changed, "chat.set", json!({ "chat": chat, "muted_until_ms": 0 })),
            ("archive", _) => {
                let archived = self.chat(&chat).is_some_and(|c| c["archived"] == true);
                self.ask(Tag::Changed, "chat.set", json!({ "chat": chat, "archived": !archived }));
            }
            ("clear", _) => self.ask_yes(Question::Clear(chat)),
            _ => {}
        }
    }
}
