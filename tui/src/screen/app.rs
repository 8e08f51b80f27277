//! The state of the screen, and how events and keys change it. Nothing here waits: calls to the node are collected and made by the loop in
//! `mod.rs`, and their answers come back as events.

use std::time::{Duration, Instant};

use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind},
    layout::{Position, Rect},
    text::Line,
};
use serde_json::{Value, json};

use super::{
    commands::COMMANDS,
    composer::{Composer, Done, Mode},
    config::Config,
    draw::Layout,
    keys::{ACTIONS, Action, Keys, Place},
    markup,
    notify::notify,
    palette::{Palette, Question, Row, Run},
    theme::{THEMES, Theme},
    timeline::{Message, Timeline, Wants},
};
use crate::{
    error::CliError,
    terminal::{safe, safe_line},
    verbs::field,
};

/// Messages fetched at a time.
pub const PAGE: usize = 100;
/// A remark goes away by itself.
const TOAST: Duration = Duration::from_secs(6);
/// Typing is told at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(3);

/// What a call to the node was for.
#[derive(Clone, Debug)]
pub enum Tag {
    Status,
    Contacts,
    Chats,
    Requests,
    /// The newest page of a chat that is being opened.
    Load(String),
    Page(String, Wants),
    Around(String, String),
    Found(String),
    Sent(String),
    Changed,
    Cleared(String),
    Invite,
    Code,
    Added,
    Privacy,
    Nothing,
}

/// A call that the loop has to make.
#[derive(Debug)]
pub enum Call {
    Rpc {
        tag: Tag,
        method: &'static str,
        params: Value,
        in_order: bool,
    },
    /// Adds somebody by what the user typed.
    Add(String),
    /// Opens a link with the desktop's program.
    Open(String),
    /// Puts a text on the clipboard.
    Copy(String),
    /// The composer's text in `$EDITOR`.
    Editor,
}

/// Which place has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    List,
    Timeline,
    Composer,
}

/// A row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListRow {
    Title(&'static str),
    Chat(String),
    Request(String),
}

/// The screen's state.
pub struct App {
    pub config: Config,
    pub keys: Keys,
    pub theme: Theme,
    pub me: Value,
    pub contacts: Vec<Value>,
    pub chats: Vec<Value>,
    pub requests: Vec<Value>,
    pub open: Option<String>,
    pub timeline: Timeline,
    pub composer: Composer,
    pub focus: Focus,
    pub list: Vec<ListRow>,
    pub list_at: usize,
    pub list_width: u16,
    pub palette: Option<Palette>,
    /// A text over everything, such as an invite with its QR code; any key closes it.
    pub card: Option<(String, Vec<String>)>,
    pub toast: Option<(String, bool, Instant)>,
    /// Whether details are shown; by default where there is room.
    pub details: Option<bool>,
    pub layout: Layout,
    pub calls: Vec<Call>,
    pub quit: bool,
    has_focus: bool,
    fetching: bool,
    loaded: bool,
    stale: [bool; 3],
    told_typing: Option<Instant>,
    dragging: bool,
}

impl App {
    pub fn new(config: Config, keys: Keys, theme: Theme) -> Self {
        let focus = if keys.starts_on_timeline { Focus::Timeline } else { Focus::Composer };
        Self {
            list_width: config.list_width.clamp(12, 60),
            config,
            keys,
            theme,
            me: Value::Null,
            contacts: Vec::new(),
            chats: Vec::new(),
            requests: Vec::new(),
            open: None,
            timeline: Timeline::default(),
            composer: Composer::default(),
            focus,
            list: Vec::new(),
            list_at: 0,
            palette: None,
            card: None,
            toast: None,
            details: None,
            layout: Layout::default(),
            calls: Vec::new(),
            quit: false,
            has_focus: true,
            fetching: false,
            loaded: false,
            stale: [false; 3],
            told_typing: None,
            dragging: false,
        }
    }

    /// Asks for everything that is shown first.
    pub fn start(&mut self) {
        self.ask(Tag::Nothing, "subscribe", json!({ "since": "now", "keepalive": false }));
        self.ask(Tag::Status, "status", json!({}));
        self.ask(Tag::Contacts, "contacts", json!({}));
        self.ask(Tag::Chats, "chats", json!({}));
        self.ask(Tag::Requests, "requests", json!({}));
    }

    pub fn ask(&mut self, tag: Tag, method: &'static str, params: Value) {
        self.calls.push(Call::Rpc { tag, method, params, in_order: false });
    }

    /// For what the user writes: it has to reach the node in the order in which it was written.
    pub fn ask_in_order(&mut self, tag: Tag, method: &'static str, params: Value) {
        self.calls.push(Call::Rpc { tag, method, params, in_order: true });
    }

    pub fn say(&mut self, text: String) {
        self.toast = Some((text, false, Instant::now() + TOAST));
    }

    pub fn warn(&mut self, text: String) {
        self.toast = Some((text, true, Instant::now() + TOAST));
    }

    /// When something has to be drawn again without any event.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.toast.as_ref().map(|(.., until)| *until)
    }

    pub fn tick(&mut self) {
        if self.toast.as_ref().is_some_and(|(.., until)| *until <= Instant::now()) {
            self.toast = None;
        }
    }

    pub fn set_theme(&mut self, theme: Theme) {
        self.say(format!("Theme {}. Keep it with `theme = \"{}\"` in config.toml.", theme.name, theme.name));
        self.theme = theme;
        self.timeline.relay();
    }

    pub fn chat(&self, id: &str) -> Option<&Value> {
        self.chats.iter().find(|c| c["id"] == id)
    }

    pub fn contact_of(&self, chat: &str) -> Option<&Value> {
        self.contacts.iter().find(|c| c["chat"] == chat)
    }

    pub fn open_contact(&self) -> Option<&Value> {
        self.contact_of(self.open.as_deref()?)
    }

    pub fn chat_named(&self, name: &str) -> Option<String> {
        let name = name.trim_start_matches('@');
        let found = self.contacts.iter().find(|c| field(c, "name").eq_ignore_ascii_case(name))?;
        Some(field(found, "chat").to_owned())
    }

    /// The mentions in a text: accounts of those whose `@name` it has.
    fn mentions(&self, text: &str) -> Vec<String> {
        let named = |c: &&Value| text.contains(&format!("@{}", field(c, "name")));
        self.contacts.iter().filter(named).map(|c| field(c, "account").to_owned()).collect()
    }

    // What comes from the node.

    pub fn answer(&mut self, tag: Tag, result: Result<Value, CliError>) {
        if let Tag::Page(..) | Tag::Around(..) = &tag {
            self.fetching = false;
        }
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                match &tag {
                    // What was written is not lost: it is put back.
                    Tag::Sent(text) if self.composer.is_empty() => self.composer.set(text),
                    Tag::Contacts => self.stale[0] = false,
                    Tag::Chats => self.stale[1] = false,
                    Tag::Status => self.stale[2] = false,
                    _ => {}
                }
                let hint = error.hint.map(|h| format!(" — {h}")).unwrap_or_default();
                return self.warn(format!("{}{hint}", error.message));
            }
        };
        let messages = || value.as_array().into_iter().flatten().filter_map(Message::from_json).collect::<Vec<_>>();
        match tag {
            Tag::Status => {
                self.stale[2] = false;
                self.me = value;
            }
            Tag::Contacts => {
                self.stale[0] = false;
                self.contacts = value.as_array().cloned().unwrap_or_default();
                self.composer.names = self.contacts.iter().map(|c| safe_line(field(c, "name"))).collect();
                self.relist();
            }
            Tag::Chats => {
                self.stale[1] = false;
                self.chats = value.as_array().cloned().unwrap_or_default();
                self.relist();
                if !std::mem::replace(&mut self.loaded, true)
                    && let Some(first) = self.chats.first().map(|c| field(c, "id").to_owned())
                {
                    self.open(&first);
                }
            }
            Tag::Requests => {
                self.requests = value.as_array().cloned().unwrap_or_default();
                self.relist();
            }
            Tag::Load(chat) if self.open.as_ref() == Some(&chat) => {
                let unread = self.chat(&chat).and_then(|c| c["unread"].as_u64()).unwrap_or(0);
                let read = self.chat(&chat).and_then(|c| c["read_clock"].as_u64()).unwrap_or(0) >> 16;
                self.timeline = Timeline::load(messages(), PAGE, (unread > 0).then_some(read));
                self.mark_read();
            }
            Tag::Page(chat, wants) if self.open.as_ref() == Some(&chat) => {
                self.timeline.extend(&wants, messages(), PAGE);
            }
            Tag::Around(chat, id) if self.open.as_ref() == Some(&chat) => {
                self.timeline = Timeline::around(messages(), &id);
                self.focus = Focus::Timeline;
            }
            Tag::Found(query) => {
                let rows: Vec<Row> = messages()
                    .into_iter()
                    .map(|m| {
                        let (day, time) = super::clock::local(m.at_ms);
                        let who = if m.mine { "you".to_owned() } else { safe_line(&m.name) };
                        Row::new(format!("{who}, {day} {time}"), safe_line(&m.text), "", Run::Message(m.id))
                    })
                    .collect();
                if let Some(palette) = self.palette.as_mut().filter(|p| p.searches && p.query == query) {
                    palette.title = format!("Search — {} found", rows.len());
                    palette.rows = rows;
                    palette.filter();
                }
            }
            Tag::Changed => self.refresh(),
            Tag::Cleared(chat) => {
                if self.open.as_ref() == Some(&chat) {
                    self.timeline = Timeline::load(Vec::new(), PAGE, None);
                }
                self.refresh();
            }
            Tag::Invite => self.show_invite(field(&value, "link")),
            Tag::Code => {
                let code = field(&value, "code").to_owned();
                let text = format!(
                    "\n   {code}\n\nRead it out or send it. It works once, for ten minutes, while Starling runs.\nThe other side types:  /add {code}"
                );
                self.card = Some(("A short code".into(), text.lines().map(Into::into).collect()));
            }
            Tag::Added => {
                self.refresh();
                self.say("Added. Once they have answered, you can write to each other.".into());
                let account = field(&value, "account");
                if let Some(chat) =
                    self.contacts.iter().find(|c| c["account"] == account).map(|c| field(c, "chat").to_owned())
                {
                    self.open(&chat);
                }
            }
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
        match kind {
            "message.new" => {
                let Some(message) = Message::from_json(&event["message"]) else {
                    return;
                };
                let seen = is_open && self.has_focus && self.timeline.is_at_bottom();
                if !message.mine {
                    if let Some(contact) = self.contacts.iter_mut().find(|c| c["chat"] == chat.as_str()) {
                        contact["typing"] = false.into();
                    }
                    let me = field(&self.me, "account");
                    let muted = self.chat(&chat).is_some_and(|c| !c["muted_until"].is_null());
                    if !(muted || seen) {
                        notify(&self.config, &message.name, &message.text, message.mentions.iter().any(|m| m == me));
                    }
                }
                if is_open {
                    self.timeline.insert(message);
                    if seen {
                        self.mark_read();
                    }
                }
                self.refresh_chats();
            }
            "message.edited" | "message.deleted" | "message.reaction" if is_open => {
                if let Some(message) = Message::from_json(&event["message"]) {
                    self.timeline.update(message);
                }
            }
            "message.state" if is_open => {
                self.timeline.set_state(field(&event["message"], "id"), field(event, "state"), field(event, "reason"));
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
                let name = safe_line(field(&event["contact"], "name"));
                self.say(format!("{name} asks to talk to you. F2, or the list, shows the request."));
                notify(&self.config, &name, "asks to talk to you", true);
                self.refresh();
            }
            "contact.accepted" => {
                let name = safe_line(field(&event["contact"], "name"));
                self.say(format!("You and {name} can write to each other."));
                self.refresh();
            }
            "contact.key_changed" => {
                let name = safe_line(field(&event["contact"], "name"));
                self.warn(format!(
                    "The devices of {name} have changed. Nothing is sent until you trust them: /verify, then /trust."
                ));
                self.refresh();
            }
            "contact.blocked" => self.refresh(),
            "net.state" => {
                if !std::mem::replace(&mut self.stale[2], true) {
                    self.ask(Tag::Status, "status", json!({}));
                }
                self.refresh_contacts();
            }
            "node.failed" => self.warn(format!("The node has stopped: {}", safe(field(event, "reason")))),
            _ => {}
        }
    }

    fn refresh_chats(&mut self) {
        if !std::mem::replace(&mut self.stale[1], true) {
            self.ask(Tag::Chats, "chats", json!({}));
        }
    }

    fn refresh_contacts(&mut self) {
        if !std::mem::replace(&mut self.stale[0], true) {
            self.ask(Tag::Contacts, "contacts", json!({}));
        }
    }

    fn refresh(&mut self) {
        self.refresh_chats();
        self.refresh_contacts();
        self.ask(Tag::Requests, "requests", json!({}));
    }

    fn mark_read(&mut self) {
        if let Some(chat) = self.open.clone().filter(|_| self.has_focus) {
            self.ask(Tag::Nothing, "read", json!({ "chat": chat }));
            self.refresh_chats();
        }
    }

    fn relist(&mut self) {
        let mut rows = Vec::new();
        if !self.requests.is_empty() {
            rows.push(ListRow::Title("Requests"));
            rows.extend(self.requests.iter().map(|r| ListRow::Request(field(r, "account").to_owned())));
        }
        let id = |c: &Value| ListRow::Chat(field(c, "id").to_owned());
        rows.push(ListRow::Title("Direct"));
        rows.extend(self.chats.iter().filter(|c| c["archived"] != true).map(id));
        if self.chats.iter().any(|c| c["archived"] == true) {
            rows.push(ListRow::Title("Archived"));
            rows.extend(self.chats.iter().filter(|c| c["archived"] == true).map(id));
        }
        self.list = rows;
        if let Some(open) = &self.open
            && let Some(at) = self.list.iter().position(|r| *r == ListRow::Chat(open.clone()))
            && self.focus != Focus::List
        {
            self.list_at = at;
        }
        self.list_at = self.list_at.min(self.list.len().saturating_sub(1));
    }

    // What the user does.

    pub fn open(&mut self, chat: &str) {
        if self.open.as_deref() == Some(chat) {
            self.timeline.go_to_bottom();
            return;
        }
        self.composer.switch(self.open.as_deref(), chat);
        self.open = Some(chat.to_owned());
        self.timeline = Timeline::default();
        self.fetching = false;
        self.ask(Tag::Load(chat.to_owned()), "history", json!({ "chat": chat, "limit": PAGE }));
        self.relist();
    }

    /// After a drawing: what the view lacks is fetched.
    pub fn fetch(&mut self) {
        if self.fetching {
            return;
        }
        if let (Some(chat), Some(wants)) = (self.open.clone(), self.timeline.wants()) {
            let params = match &wants {
                Wants::Older(before) => json!({ "chat": chat, "before": before, "limit": PAGE }),
                Wants::Newer(after) => json!({ "chat": chat, "after": after, "limit": PAGE }),
            };
            self.fetching = true;
            self.ask(Tag::Page(chat, wants), "history", params);
        }
    }

    pub fn focus_changed(&mut self, has_focus: bool) {
        self.has_focus = has_focus;
        if has_focus && self.timeline.is_at_bottom() && !self.timeline.is_empty() {
            self.mark_read();
        }
        if self.open.is_none() {
            return;
        }
        let availability = if has_focus { "online" } else { "away" };
        self.ask(Tag::Nothing, "availability", json!({ "availability": availability }));
    }

    pub fn key(&mut self, key: &KeyEvent) {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return self.interrupt();
        }
        if self.card.take().is_some() {
            return;
        }
        if self.palette.is_some() {
            return self.palette_key(key);
        }
        if let Some(action) = self.keys.action(Place::Everywhere, key) {
            return self.act(action);
        }
        match self.focus {
            Focus::Composer => self.composer_key(key),
            Focus::Timeline => self.timeline_key(key),
            Focus::List => self.list_key(key),
        }
    }

    /// `Ctrl-C`: clears the draft, closes a popup, then asks to quit.
    fn interrupt(&mut self) {
        if self.card.take().is_some() {
        } else if let Some(palette) = self.palette.take() {
            if matches!(palette.chosen().map(|r| &r.run), Some(Run::Yes(Question::Quit))) {
                self.quit = true;
            }
        } else if !self.composer.is_empty() || self.composer.mode != Mode::Write {
            self.composer.clear();
        } else {
            self.act(Action::Quit);
        }
    }

    fn composer_key(&mut self, key: &KeyEvent) {
        match self.composer.key(key, self.keys.emacs) {
            Done::Here => self.tell_typing(),
            Done::Send => self.submit(),
            Done::Leave => self.focus = Focus::Timeline,
            Done::SelectLast => {
                self.focus = Focus::Timeline;
                self.select(0);
            }
            Done::NextPane => self.act(Action::NextPane),
            Done::Editor => self.calls.push(Call::Editor),
        }
    }

    fn tell_typing(&mut self) {
        let due = self.told_typing.is_none_or(|told| told.elapsed() >= TYPING_EVERY);
        if let Some(chat) = self.open.clone().filter(|_| due && !self.composer.is_empty()) {
            if self.composer.text().starts_with('/') {
                return;
            }
            self.told_typing = Some(Instant::now());
            self.ask(Tag::Nothing, "typing", json!({ "chat": chat, "typing": true }));
        }
    }

    fn submit(&mut self) {
        let text = self.composer.text();
        if text.trim().is_empty() {
            return;
        }
        if text.starts_with('/') && !text.starts_with("//") {
            return self.command(text.trim_end());
        }
        let text = if text.starts_with("//") { text[1..].to_owned() } else { text };
        match std::mem::take(&mut self.composer.mode) {
            Mode::Write => self.send(&text, None),
            Mode::Reply(id) => self.send(&text, Some(id)),
            Mode::Edit(id) => {
                if let Some(chat) = self.open.clone() {
                    let params = json!({ "chat": chat, "message": id, "text": markup::emoji(&text) });
                    self.ask_in_order(Tag::Sent(text), "edit", params);
                }
            }
        }
        if self.open.is_some() {
            self.composer.clear();
        }
    }

    pub fn send(&mut self, text: &str, reply_to: Option<String>) {
        let Some(chat) = self.open.clone() else {
            return self.warn("Open a chat first, or add somebody with /add.".into());
        };
        let sent = markup::emoji(text);
        let params = json!({ "chat": chat, "text": sent, "reply_to": reply_to, "mentions": self.mentions(&sent) });
        self.told_typing = None;
        self.ask_in_order(Tag::Sent(text.to_owned()), "send", params);
        if self.timeline.has_newest() {
            self.timeline.go_to_bottom();
        } else {
            // The view is far up in the past: back to now.
            self.ask(Tag::Load(chat.clone()), "history", json!({ "chat": chat, "limit": PAGE }));
        }
        self.timeline.unread_after = None;
    }

    fn width(&self) -> u16 {
        self.layout.timeline.width
    }

    fn select(&mut self, step: isize) {
        let (theme, width) = (self.theme.clone(), self.width());
        self.timeline.select(step, &theme, width);
    }

    fn scroll(&mut self, rows: isize) {
        let (theme, width) = (self.theme.clone(), self.width());
        self.timeline.scroll(rows, &theme, width);
        if self.timeline.is_at_bottom() {
            self.mark_read();
        }
    }

    fn timeline_key(&mut self, key: &KeyEvent) {
        if key.code == KeyCode::Esc {
            self.timeline.selected = None;
            self.focus = Focus::Composer;
            return;
        }
        if key.code == KeyCode::Tab {
            return self.act(Action::NextPane);
        }
        match self.keys.action(Place::Timeline, key) {
            Some(action) => self.act(action),
            None => {
                if key.code == KeyCode::Char('R') {
                    self.say("What has failed is sent anew by writing it again: y copies it.".into());
                }
            }
        }
    }

    fn list_key(&mut self, key: &KeyEvent) {
        let step = |app: &mut Self, by: isize| {
            let mut at = app.list_at;
            loop {
                let next = at.saturating_add_signed(by).min(app.list.len().saturating_sub(1));
                if next == at {
                    return;
                }
                at = next;
                if !matches!(app.list.get(at), Some(ListRow::Title(_))) {
                    app.list_at = at;
                    return;
                }
            }
        };
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => step(self, -1),
            KeyCode::Down | KeyCode::Char('j') => step(self, 1),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open_row(self.list_at),
            KeyCode::Esc => self.focus = Focus::Composer,
            KeyCode::Tab => self.act(Action::NextPane),
            KeyCode::Char('?') => self.act(Action::Help),
            KeyCode::Char('/') => {
                self.focus = Focus::Composer;
                self.composer.set("/");
            }
            _ => {}
        }
    }

    fn open_row(&mut self, at: usize) {
        match self.list.get(at).cloned() {
            Some(ListRow::Chat(chat)) => {
                self.open(&chat);
                self.focus = Focus::Composer;
            }
            Some(ListRow::Request(account)) => self.show_request(&account),
            _ => {}
        }
    }

    fn step_chat(&mut self, by: isize) {
        let chats: Vec<&str> =
            self.list.iter().filter_map(|r| if let ListRow::Chat(id) = r { Some(id.as_str()) } else { None }).collect();
        let at = chats.iter().position(|c| Some(*c) == self.open.as_deref()).unwrap_or(0);
        if let Some(next) = chats.get(at.saturating_add_signed(by)).map(|c| (*c).to_owned()) {
            self.open(&next);
        }
    }

    pub fn act(&mut self, action: Action) {
        let page = self.layout.timeline.height.saturating_sub(2).max(1) as isize;
        let selected = self.timeline.selected_message().cloned();
        match action {
            Action::Palette => self.show_palette(),
            Action::Help | Action::Filter => self.show_help(),
            Action::NextUnread => {
                let unread = |c: &&Value| c["unread"].as_u64() > Some(0) && c["id"].as_str() != self.open.as_deref();
                match self.chats.iter().find(unread).map(|c| field(c, "id").to_owned()) {
                    Some(chat) => self.open(&chat),
                    None => self.say("Nothing unread.".into()),
                }
            }
            Action::Search => {
                let mut palette = Palette::new("Search in this chat", Vec::new());
                palette.searches = true;
                self.palette = Some(palette);
            }
            Action::NextPane => {
                self.focus = match self.focus {
                    Focus::Composer => Focus::List,
                    Focus::List => Focus::Timeline,
                    Focus::Timeline => Focus::Composer,
                };
            }
            Action::PreviousChat => self.step_chat(-1),
            Action::NextChat => self.step_chat(1),
            Action::Details => self.details = Some(self.layout.details.is_none()),
            Action::PageUp => self.scroll(-page),
            Action::PageDown => self.scroll(page),
            Action::Invite => self.ask(Tag::Invite, "invite", json!({})),
            Action::Quit => self.ask_yes(Question::Quit),
            Action::Up => self.select(-1),
            Action::Down => self.select(1),
            Action::Top => {
                let (theme, width) = (self.theme.clone(), self.width());
                self.timeline.select_first(&theme, width);
            }
            Action::Bottom => {
                if self.timeline.has_newest() {
                    self.timeline.go_to_bottom();
                    self.mark_read();
                } else if let Some(chat) = self.open.clone() {
                    self.ask(Tag::Load(chat.clone()), "history", json!({ "chat": chat, "limit": PAGE }));
                }
            }
            Action::Compose => self.focus = Focus::Composer,
            Action::Verify => self.show_verify(),
            _ => match selected {
                Some(message) => self.act_on(action, &message),
                None => {
                    self.select(0);
                    if self.timeline.selected.is_none() {
                        self.say("There is no message yet.".into());
                    }
                }
            },
        }
    }

    fn act_on(&mut self, action: Action, message: &Message) {
        match action {
            Action::Reply => {
                self.composer.mode = Mode::Reply(message.id.clone());
                self.focus = Focus::Composer;
            }
            Action::Edit | Action::Delete if !message.mine => {
                self.warn("Only your own messages can be changed.".into());
            }
            Action::Edit => {
                self.composer.mode = Mode::Edit(message.id.clone());
                self.composer.set(&message.text);
                self.composer.offers.clear();
                self.focus = Focus::Composer;
            }
            Action::Delete => self.ask_yes(Question::Delete(message.id.clone())),
            Action::React => {
                let common = ["👍", "❤️", "😂", "😮", "😢", "🎉", "👎"];
                let known = common.iter().filter_map(|e| emojis::get(e));
                let rows = known.chain(emojis::iter().filter(|e| !common.contains(&e.as_str()))).map(|e| {
                    let code = e.shortcode().map(|s| format!(":{s}:")).unwrap_or_default();
                    Row::new(format!("{e} {}", e.name()), code, "", Run::Emoji(e.as_str().to_owned()))
                });
                self.palette = Some(Palette::new("React", rows.collect()));
            }
            Action::Copy => self.calls.push(Call::Copy(message.text.clone())),
            Action::Open => match markup::links(&message.text).into_iter().next() {
                Some(link) => self.calls.push(Call::Open(link)),
                None => self.say("The message has no link.".into()),
            },
            Action::Unfold => self.timeline.unfold(&message.id),
            Action::Info => {
                let (day, time) = super::clock::local(message.at_ms);
                let via = match message.via.as_str() {
                    "direct" => "came directly",
                    "relay" => "came through the relay",
                    "log" => "waited at the rendezvous",
                    _ => "written here",
                };
                let mut lines = vec![String::new(), format!("{day}, {time}"), via.to_owned()];
                if message.mine {
                    lines.push(format!("state: {}", message.state));
                }
                lines.push(format!("id: {}", message.id));
                self.card = Some(("The message".into(), lines));
            }
            Action::GoToQuoted => match &message.reply_to {
                Some(id) => self.go_to(&id.clone()),
                None => self.say("The message answers no other.".into()),
            },
            Action::Actions => {
                let actions = ACTIONS.iter().filter(|row| row.1 == Place::Timeline);
                let rows = actions.map(|(action, _, name, _, help)| {
                    Row::new(*name, *help, self.keys.keys_of(*action), Run::Action(*action))
                });
                let mut palette = Palette::new("On this message", rows.collect());
                palette.filters = false;
                self.palette = Some(palette);
            }
            _ => {}
        }
    }

    pub fn react(&mut self, message: &str, emoji: &str) {
        let Some(chat) = self.open.clone() else { return };
        // The same again takes it back.
        let mine = self.timeline.find(message).is_some_and(|m| m.reactions.iter().any(|(e, own)| *own && e == emoji));
        let emoji = if mine { "" } else { emoji };
        self.ask_in_order(Tag::Changed, "react", json!({ "chat": chat, "message": message, "emoji": emoji }));
    }

    fn go_to(&mut self, id: &str) {
        let (theme, width) = (self.theme.clone(), self.width());
        if self.timeline.select_id(id, &theme, width) {
            self.focus = Focus::Timeline;
        } else if let Some(chat) = self.open.clone() {
            self.fetching = true;
            self.ask(
                Tag::Around(chat.clone(), id.to_owned()),
                "history",
                json!({ "chat": chat, "around": id, "limit": 2 * PAGE }),
            );
        }
    }

    pub fn search(&mut self, query: &str) {
        self.act(Action::Search);
        if let Some(palette) = &mut self.palette {
            palette.query = query.to_owned();
        }
        self.run_search();
    }

    fn run_search(&mut self) {
        let query = self.palette.as_ref().map(|p| p.query.clone()).unwrap_or_default();
        if let Some(chat) = self.open.clone().filter(|_| !query.trim().is_empty()) {
            if let Some(palette) = &mut self.palette {
                palette.title = "Search …".into();
            }
            self.ask(Tag::Found(query.clone()), "search", json!({ "chat": chat, "query": query, "limit": 200 }));
        }
    }

    // Popups.

    fn show_palette(&mut self) {
        let mut rows = Vec::new();
        for row in &self.list {
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

    fn show_help(&mut self) {
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

    fn show_invite(&mut self, link: &str) {
        let mut lines = vec![String::new()];
        if let Ok(code) = qrcode::QrCode::with_error_correction_level(link.as_bytes(), qrcode::EcLevel::L) {
            let drawn = code.render::<qrcode::render::unicode::Dense1x2>().quiet_zone(true).build();
            // Light on dark terminals would be inverted: drawn black on white by `draw.rs`.
            lines.extend(drawn.lines().map(|l| format!("\u{1}{l}")));
        }
        lines.push(String::new());
        lines.push(link.to_owned());
        lines.push("It works once, for 7 days. y copies it.".into());
        self.calls.push(Call::Copy(link.to_owned()));
        self.card = Some(("Invite somebody: let them scan or paste this".into(), lines));
    }

    fn show_request(&mut self, account: &str) {
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
            Line::styled(format!("account {}…", &account[..account.len().min(16)]), self.theme.dim),
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

    fn show_verify(&mut self) {
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

    pub fn ask_yes(&mut self, question: Question) {
        let (title, text, yes) = match &question {
            Question::Quit => ("Leave Starling?", "What is not yet sent goes out at the next start.", "quit"),
            Question::Delete(_) => {
                ("Delete the message for everyone?", "Its text goes from all devices that can be reached.", "delete")
            }
            Question::Block(_) => ("Shut this person out?", "They are not told. /unblock lets them in again.", "block"),
            Question::Trust(_) => {
                ("Trust the changed devices?", "Compare safety numbers first, if you can: /verify.", "trust")
            }
            Question::Verified(_) => ("Are the numbers the same?", "", "yes"),
        };
        let rows = vec![Row::new(yes, "", "y", Run::Yes(question)), Row::new("no", "", "n", Run::Nothing)];
        let text = if text.is_empty() { Vec::new() } else { vec![Line::styled(text, self.theme.dim)] };
        self.palette = Some(Palette::ask(title, text, rows));
    }

    fn palette_key(&mut self, key: &KeyEvent) {
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

    fn run(&mut self, run: Run, query: &str) {
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
                let needs = COMMANDS.iter().any(|c| c.name == name && !c.args.is_empty());
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
                if let Some(id) = self.timeline.selected_message().map(|m| m.id.clone()) {
                    self.react(&id, &emoji);
                }
            }
            Run::Message(id) => self.go_to(&id),
            Run::Yes(Question::Quit) => self.quit = true,
            Run::Yes(Question::Delete(id)) => {
                if let Some(chat) = self.open.clone() {
                    self.ask_in_order(Tag::Changed, "delete", json!({ "chat": chat, "message": id }));
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
            Run::Nothing => {}
        }
    }

    pub fn paste(&mut self, text: &str) {
        match &mut self.palette {
            Some(palette) if palette.filters => {
                palette.query.push_str(&safe_line(text));
                palette.filter();
            }
            Some(_) => {}
            None => {
                self.focus = Focus::Composer;
                self.composer.paste(text);
            }
        }
    }

    pub fn mouse(&mut self, event: &MouseEvent) {
        let at = Position::new(event.column, event.row);
        let within = |area: Rect| area.contains(at);
        match event.kind {
            MouseEventKind::ScrollUp if within(self.layout.timeline) => self.scroll(-3),
            MouseEventKind::ScrollDown if within(self.layout.timeline) => self.scroll(3),
            MouseEventKind::Down(MouseButton::Left) => {
                if self.card.take().is_some() || self.palette.take().is_some() {
                } else if self.layout.border == Some(event.column) {
                    self.dragging = true;
                } else if within(self.layout.list) {
                    let row = usize::from(event.row - self.layout.list.y) + self.layout.list_first;
                    if !matches!(self.list.get(row), None | Some(ListRow::Title(_))) {
                        self.list_at = row;
                        self.open_row(row);
                    }
                } else if within(self.layout.timeline) {
                    self.focus = Focus::Timeline;
                    self.timeline.selected = self.timeline.at_row(usize::from(event.row - self.layout.timeline.y));
                } else if within(self.layout.composer) {
                    self.focus = Focus::Composer;
                }
            }
            MouseEventKind::Drag(MouseButton::Left) if self.dragging => {
                self.list_width = event.column.clamp(12, 60);
            }
            MouseEventKind::Up(_) => self.dragging = false,
            _ => {}
        }
    }
}
