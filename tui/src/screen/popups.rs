//! What lies over the screen for a while: the palette, help, search, questions and cards.

use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    text::Line,
};
use serde_json::{Value, json};
use starling_node::MessageId;

use super::{
    app::{App, Card, Focus, ListRow, Tag},
    commands::COMMANDS,
    keys::{ACTIONS, Action, Place},
    palette::{Palette, Question, Row, Run},
    theme::{THEMES, Theme},
    timeline::cut,
};
use crate::{
    terminal::safe_line,
    verbs::{field, short_device},
};

/// Columns of a message that a question quotes.
const QUOTED: u16 = 60;

impl App {
    pub fn search(&mut self, query: &str) {
        self.act(Action::Search);
        if let Some(palette) = &mut self.palette {
            palette.query = query.to_owned();
        }
        self.run_search();
    }

    pub fn run_search(&mut self) {
        let query = self.palette.as_ref().map(|p| p.query.clone()).unwrap_or_default();
        if let Some(chat) = self.open.clone().filter(|_| !query.trim().is_empty()) {
            if let Some(palette) = &mut self.palette {
                palette.title = "Search …".into();
            }
            self.ask(Tag::Found(query.clone()), "search", json!({ "chat": chat, "query": query, "limit": 200 }));
        }
    }

    pub fn show_palette(&mut self) {
        let mut rows = Vec::new();
        for row in &self.list {
            if let ListRow::Request(account) = row {
                let request = self.requests.iter().find(|r| field(r, "account") == account);
                let name = request.map(|r| safe_line(field(r, "name"))).unwrap_or_default();
                rows.push(Row::new(name, "asks to talk to you", "", Run::Request(account.clone())));
            }
            if let ListRow::Chat(id) = row {
                let contact = self.contact_of(id);
                let name = contact.map(|c| safe_line(field(c, "name"))).unwrap_or_default();
                let unread = self.chat(id).and_then(|c| c["unread"].as_u64()).filter(|n| *n > 0);
                let help = unread.map_or("chat".to_owned(), |n| format!("chat, {n} unread"));
                rows.push(Row::new(name, help, "", Run::Chat(id.clone())));
            }
        }
        for (action, place, name, _, help) in ACTIONS {
            if *place == Place::Everywhere && *action != Action::Palette {
                rows.push(Row::new(*name, *help, self.keys.keys_of(*action), Run::Action(*action)));
            }
        }
        rows.extend(COMMANDS.iter().map(|c| Row::new(format!("/{}", c.name), c.help, c.args, Run::Command(c.name))));
        rows.extend(THEMES.iter().map(|t| Row::new(format!("theme {t}"), "colours", "", Run::Theme(t))));
        self.palette = Some(Palette::new("Find", rows));
    }

    pub fn show_help(&mut self) {
        let mut rows: Vec<Row> = ACTIONS
            .iter()
            .map(|(action, place, name, _, help)| {
                let help =
                    if *place == Place::Timeline { format!("{help} (on a message)") } else { (*help).to_owned() };
                Row::new(*name, help, self.keys.keys_of(*action), Run::Action(*action))
            })
            .collect();
        for (name, help, key) in [
            ("write", "Enter sends, Ctrl-J makes a new line", "Enter"),
            ("leave the composer", "to the messages, where single keys act", "Esc"),
            ("complete", "@names, :emoji:, /commands", "Tab"),
            ("editor", "write in $EDITOR", "Ctrl-X Ctrl-E"),
            ("clear", "clears the draft, closes a popup, asks to quit", "Ctrl-C"),
        ] {
            rows.push(Row::new(name, help, key, Run::Nothing));
        }
        rows.extend(COMMANDS.iter().map(|c| Row::new(format!("/{}", c.name), c.help, c.args, Run::Command(c.name))));
        self.palette = Some(Palette::new("Help — type to filter, Enter runs", rows));
    }

    pub fn show_invite(&mut self, link: &str) {
        let mut lines: Vec<String> = Vec::new();
        if let Ok(code) = crate::verbs::qr(link) {
            lines.extend(code.into_iter().map(|l| format!("\u{1}{l}")));
        }
        lines.push(String::new());
        lines.push(link.to_owned());
        lines.push(String::new());
        lines
            .push("Let them scan or paste this: it works once, for 7 days. y copies it, other keys close this.".into());
        self.card = Some(Card { title: "Invite somebody".into(), lines, copy: Some(link.to_owned()) });
    }

    pub fn show_request(&mut self, account: &str) {
        let Some(request) = self.requests.iter().find(|r| r["account"] == account) else {
            return;
        };
        let name = safe_line(field(request, "name"));
        let greeting = safe_line(field(request, "greeting"));
        let text = vec![
            Line::from(format!("{name} wants to talk to you.")),
            Line::styled(
                if greeting.is_empty() { "No greeting.".into() } else { format!("“{greeting}”") },
                self.theme.dim,
            ),
            Line::styled(format!("account {}", cut(&safe_line(account), 17)), self.theme.dim),
        ];
        let row =
            |name: &str, help: &str, key: &str, command: &'static str| Row::new(name, help, key, Run::Command(command));
        let mut palette = Palette::ask(
            "A request",
            text,
            vec![
                row("accept", "you can write to each other", "a", "accept"),
                row("decline", "they are not told", "d", "decline"),
                row("block", "they cannot ask again", "b", "block"),
            ],
        );
        palette.query = account.to_owned();
        self.palette = Some(palette);
    }

    pub fn show_verify(&mut self) {
        let Some(contact) = self.open_contact().cloned() else {
            return self.warn("Open a chat first.".into());
        };
        let name = safe_line(field(&contact, "name"));
        let number: Vec<&str> = field(&contact, "safety_number").split_whitespace().collect();
        let mut text = vec![
            Line::from(format!("Compare these numbers with {name}, by voice or side by side.")),
            Line::from("If they are the same, nobody sits between you."),
            Line::default(),
        ];
        text.extend(number.chunks(4).map(|c| Line::styled(format!("   {}", c.join("  ")), self.theme.accent)));
        let account = field(&contact, "account").to_owned();
        let mut rows =
            vec![Row::new("they are the same", "mark as verified", "y", Run::Yes(Question::Verified(account.clone())))];
        if contact["key_changed"] == true {
            rows.push(Row::new("trust the new devices", "without comparing", "t", Run::Yes(Question::Trust(account))));
        }
        rows.push(Row::new("not now", "", "n", Run::Nothing));
        let mut palette = Palette::ask(format!("Safety number with {name}"), text, rows);
        palette.at = palette.rows.len() - 1;
        self.palette = Some(palette);
    }

    /// Our devices; one that is chosen can be removed.
    pub fn show_devices(&mut self, devices: &Value) {
        let mut rows: Vec<Row> = Vec::new();
        for device in devices.as_array().into_iter().flatten() {
            let id = field(device, "device");
            let since = field(device, "added_at").get(..10).unwrap_or_default();
            let (state, run) = match (device["this"] == true, field(device, "connection")) {
                (true, _) => ("this device", Run::Nothing),
                (_, "direct") => ("connected", Run::Device(id.into())),
                (_, "relay") => ("connected through a relay", Run::Device(id.into())),
                _ => ("not connected", Run::Device(id.into())),
            };
            rows.push(Row::new(short_device(id), format!("{state}, since {since}"), "", run));
        }
        rows.push(Row::new("link another device", "", "", Run::Command("link")));
        self.palette = Some(Palette::new("Your devices", rows));
    }

    /// A message in one line, so that nobody decides about another one than they mean.
    fn quote(&self, id: MessageId) -> String {
        let number = self.timeline.numbers.get(id).map(|n| format!("{n} ")).unwrap_or_default();
        match self.timeline.find(id) {
            Some(message) => format!("{number}“{}”", cut(&safe_line(&message.text), QUOTED)),
            None => format!("{number}(not on the screen)"),
        }
    }

    pub fn ask_yes(&mut self, question: Question) {
        let (title, text, yes) = match &question {
            Question::Quit => ("Leave Starling?", "What is not yet sent goes out at the next start.", "quit"),
            Question::Delete(_) => {
                ("Delete the message for everyone?", "Its text goes from all devices that can be reached.", "delete")
            }
            Question::Block(_) => ("Shut this person out?", "They are not told. /unblock lets them in again.", "block"),
            Question::Unlink(_) => (
                "Remove this device from your account?",
                "It keeps what it has, your account key, too; it gets nothing more. To use it again, link it with a new profile.",
                "remove",
            ),
            Question::Trust(_) => {
                ("Trust the changed devices?", "Compare safety numbers first, if you can: /verify.", "trust")
            }
            Question::Verified(_) => ("Are the numbers the same?", "", "yes"),
            Question::Remove(_) => (
                "Remove this contact?",
                "You cannot write to each other until one of you adds the other again.",
                "remove",
            ),
            Question::Clear(_) => (
                "Delete all messages of this chat here?",
                "The other side keeps theirs. There is no way back.",
                "delete",
            ),
        };
        let mut lines: Vec<Line<'static>> = Vec::new();
        if let Question::Delete(id) = &question {
            lines.push(Line::styled(self.quote(*id), self.theme.text));
        }
        if !text.is_empty() {
            lines.push(Line::styled(text, self.theme.dim));
        }
        let rows = vec![Row::new(yes, "", "y", Run::Yes(question)), Row::new("no", "", "n", Run::Nothing)];
        let mut palette = Palette::ask(title, lines, rows);
        // Enter pressed by mistake does nothing that cannot be undone.
        let harmless = matches!(palette.rows[0].run, Run::Yes(Question::Quit));
        palette.at = if harmless { 0 } else { 1 };
        self.palette = Some(palette);
    }

    pub fn palette_key(&mut self, key: &KeyEvent) {
        let Some(palette) = &mut self.palette else { return };
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc => self.palette = None,
            KeyCode::Up => palette.step(-1),
            KeyCode::Down => palette.step(1),
            KeyCode::Char('p') if ctrl => palette.step(-1),
            KeyCode::Char('n') if ctrl => palette.step(1),
            KeyCode::PageUp => palette.step(-10),
            KeyCode::PageDown => palette.step(10),
            KeyCode::Enter if palette.searches && palette.chosen().is_none() => self.run_search(),
            KeyCode::Enter => {
                let (run, query) = (palette.chosen().map(|r| r.run.clone()), palette.query.clone());
                self.palette = None;
                if let Some(run) = run {
                    self.run(run, &query);
                }
            }
            KeyCode::Backspace if palette.filters => {
                palette.query.pop();
                if palette.searches {
                    palette.rows.clear();
                }
                palette.filter();
            }
            KeyCode::Char('u') if ctrl => {
                palette.query.clear();
                palette.filter();
            }
            KeyCode::Char(c) if palette.filters && !ctrl => {
                palette.query.push(c);
                if palette.searches {
                    palette.rows.clear();
                }
                palette.filter();
            }
            KeyCode::Char(c) if !ctrl => {
                let name = if c == ' ' { "Space".to_owned() } else { c.to_string() };
                let (run, query) = (palette.by_key(&name).map(|r| r.run.clone()), palette.query.clone());
                match (run, c) {
                    (Some(run), _) => {
                        self.palette = None;
                        self.run(run, &query);
                    }
                    (None, 'j') => palette.step(1),
                    (None, 'k') => palette.step(-1),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    pub fn run(&mut self, run: Run, query: &str) {
        match run {
            Run::Action(action) => {
                if action.place() == Place::Timeline && self.focus != Focus::Timeline {
                    self.focus = Focus::Timeline;
                }
                self.act(action);
            }
            Run::Chat(chat) => {
                self.open(&chat);
                self.focus = Focus::Composer;
            }
            // The rows of a request: its account is kept as the query.
            Run::Command(command @ ("accept" | "decline" | "block"))
                if self.requests.iter().any(|r| r["account"] == query) =>
            {
                let method = match command {
                    "accept" => "contacts.accept",
                    "decline" => "contacts.decline",
                    _ => "contacts.block",
                };
                self.ask(Tag::Changed, method, json!({ "account": query }));
            }
            Run::Command(name) => {
                let needs = COMMANDS.iter().any(|c| c.name == name && !c.args.is_empty() && !c.args.starts_with('['));
                self.focus = Focus::Composer;
                if needs {
                    self.composer.set(&format!("/{name} "));
                } else {
                    self.command(&format!("/{name}"));
                }
            }
            Run::Theme(name) => {
                if let Some(theme) = Theme::named(name) {
                    self.set_theme(theme);
                }
            }
            Run::Emoji(emoji) => {
                if let Some(id) = self.timeline.selected_message().map(|m| m.id) {
                    self.react(id, &emoji);
                }
            }
            Run::Message(id) => self.go_to(id),
            Run::Yes(Question::Quit) => self.quit = true,
            Run::Yes(Question::Delete(id)) => {
                if let Some(chat) = self.open.clone() {
                    self.ask_in_order(Tag::Changed, "delete", json!({ "chat": chat, "message": id.to_string() }));
                }
            }
            Run::Yes(Question::Block(account)) => {
                self.ask(Tag::Changed, "contacts.block", json!({ "account": account }))
            }
            Run::Yes(Question::Verified(account)) => {
                self.ask(Tag::Changed, "contacts.verify", json!({ "account": account, "verified": true }));
            }
            Run::Yes(Question::Trust(account)) => {
                self.ask(Tag::Changed, "contacts.trust", json!({ "account": account }))
            }
            Run::Yes(Question::Remove(account)) => {
                self.ask(Tag::Changed, "contacts.remove", json!({ "account": account }));
            }
            Run::Yes(Question::Clear(chat)) => {
                self.ask(Tag::Cleared(chat.clone()), "chat.clear", json!({ "chat": chat }));
            }
            Run::Yes(Question::Unlink(device)) => {
                self.ask(Tag::Changed, "device.remove", json!({ "device": device }));
            }
            Run::Device(device) => self.ask_yes(Question::Unlink(device)),
            Run::Request(account) => self.show_request(&account),
            Run::Nothing => {}
        }
    }
}
