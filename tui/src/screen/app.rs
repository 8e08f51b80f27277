//! The state of the screen. Nothing here waits: calls to the node are collected and made by the loop in `mod.rs`, and their answers come
//! back as events. `news.rs` holds what the node says, `input.rs` what the user does, `popups.rs` what lies over the rest.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use starling_node::MessageId;

use super::{
    call::{CallState, Colours, Pictures, Shot},
    composer::Composer,
    config::Config,
    draw::Layout,
    keys::Keys,
    markup,
    palette::Palette,
    theme::Theme,
    timeline::{Timeline, Wants},
};
use crate::verbs::field;

/// Messages fetched at a time.
pub const PAGE: usize = 100;
/// A remark goes away by itself.
const TOAST: Duration = Duration::from_secs(6);

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
    Around(String, MessageId),
    Found(String),
    Sent(String),
    Changed,
    Read,
    Cleared(String),
    Invite,
    Code,
    /// Our devices, and a code for another.
    Devices,
    Link,
    /// A call was handed over.
    Transferred,
    /// With the line that is put back if it fails.
    Added(String),
    Privacy,
    /// Calls that are not over.
    Calls,
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

/// A text over everything, such as an invite with its QR code; keys other than `y` close it.
pub struct Card {
    pub title: String,
    /// Rows that begin with `\u{1}` are part of a QR code.
    pub lines: Vec<String>,
    /// What `y` copies.
    pub copy: Option<String>,
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
    pub card: Option<Card>,
    pub toast: Option<(String, bool, Instant)>,
    /// Whether details are shown; by default where there is room.
    pub details: Option<bool>,
    pub layout: Layout,
    pub calls: Vec<Call>,
    pub quit: bool,
    pub has_focus: bool,
    pub fetching: bool,
    /// An account that was just added: its chat is opened when it is known.
    pub to_open: Option<String>,
    pub stale: [bool; 3],
    pub told_typing: Option<Instant>,
    pub dragging: bool,
    /// The call that is shown.
    pub call: Option<CallState>,
    /// Others: on hold, or ringing.
    pub other_calls: Vec<CallState>,
    /// Pictures that came.
    pub pictures_seen: u64,
    /// The microphone is on while a key is held, until then at most.
    pub talk_until: Option<Instant>,
    /// It stands in place of the messages.
    pub call_view: bool,
    pub shot: Option<Shot>,
    /// The other side's shared terminal.
    pub shared: Option<vt100::Parser>,
    pub pictures: Pictures,
    pub colours: Colours,
}

impl App {
    pub fn new(config: Config, keys: Keys, theme: Theme) -> Self {
        let colours = Colours::of_terminal(&theme.name);
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
            to_open: None,
            stale: [false; 3],
            told_typing: None,
            dragging: false,
            call: None,
            other_calls: Vec::new(),
            pictures_seen: 0,
            talk_until: None,
            call_view: false,
            shot: None,
            shared: None,
            pictures: Pictures::of_terminal(),
            colours,
        }
    }

    /// Asks for everything that is shown first.
    pub fn start(&mut self) {
        self.ask(Tag::Nothing, "subscribe", json!({ "since": "now", "keepalive": false }));
        self.ask(Tag::Status, "status", json!({}));
        self.ask(Tag::Contacts, "contacts", json!({}));
        self.ask(Tag::Chats, "chats", json!({}));
        self.ask(Tag::Requests, "requests", json!({}));
        self.ask(Tag::Calls, "call.list", json!({}));
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
        let toast = self.toast.as_ref().map(|(.., until)| *until);
        let second = self.call.as_ref().and_then(CallState::next_second);
        toast.into_iter().chain(second).chain(self.talk_until).min()
    }

    pub fn tick(&mut self) {
        if self.toast.as_ref().is_some_and(|(.., until)| *until <= Instant::now()) {
            self.toast = None;
        }
        if self.talk_until.is_some_and(|until| until <= Instant::now()) {
            self.end_talk();
        }
    }

    pub fn set_theme(&mut self, theme: Theme) {
        match super::config::remember_theme(&theme.name) {
            Ok(()) => self.say(format!("Theme {}.", theme.name)),
            Err(error) => self.warn(format!("Theme {}, for now: it cannot be kept: {error}", theme.name)),
        }
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
        let found = self.contacts.iter().find(|c| starling_text::same(field(c, "name"), name))?;
        Some(field(found, "chat").to_owned())
    }

    /// The mentions in a text: accounts of those whose `@name` it has.
    pub fn mentions(&self, text: &str) -> Vec<String> {
        let text = starling_text::folded(text);
        let named = |c: &&Value| text.contains(&starling_text::folded(&format!("@{}", field(c, "name"))));
        self.contacts.iter().filter(named).map(|c| field(c, "account").to_owned()).collect()
    }

    pub fn mark_read(&mut self) {
        if let Some(chat) = self.open.clone().filter(|_| self.has_focus) {
            // The count of unread messages is asked for once this is answered.
            self.ask(Tag::Read, "read", json!({ "chat": chat }));
        }
    }

    pub fn relist(&mut self) {
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
        if matches!(self.list.get(self.list_at), Some(ListRow::Title(_))) && self.list_at + 1 < self.list.len() {
            self.list_at += 1;
        }
    }

    /// Opens the chat that was just added, or the first one where none is open.
    pub fn open_what_is_due(&mut self) {
        if let Some(account) = &self.to_open
            && let Some(contact) = self.contacts.iter().find(|c| field(c, "account") == account)
            && let chat = field(contact, "chat").to_owned()
            && self.chat(&chat).is_some()
        {
            self.to_open = None;
            return self.open(&chat);
        }
        let gone = self.open_contact().is_some_and(|c| field(c, "state") == "removed");
        if gone || self.open.is_none() {
            match self.chats.first().map(|c| field(c, "id").to_owned()) {
                Some(first) => self.open(&first),
                None => self.open = None,
            }
        }
    }

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
                Wants::Older(before) => json!({ "chat": chat, "before": before.to_string(), "limit": PAGE }),
                Wants::Newer(after) => json!({ "chat": chat, "after": after.to_string(), "limit": PAGE }),
            };
            self.fetching = true;
            self.ask(Tag::Page(chat, wants), "history", params);
        }
    }

    pub fn focus_changed(&mut self, has_focus: bool) {
        self.has_focus = has_focus;
        if !has_focus {
            // The key may be let go elsewhere.
            self.end_talk();
        }
        if has_focus && self.timeline.is_at_bottom() && !self.timeline.is_empty() {
            self.mark_read();
        }
        if self.open.is_none() {
            return;
        }
        let availability = if has_focus { "online" } else { "away" };
        self.ask(Tag::Nothing, "availability", json!({ "availability": availability }));
    }

    pub fn send(&mut self, text: &str, reply_to: Option<MessageId>) {
        let Some(chat) = self.open.clone() else {
            return self.warn("Open a chat first, or add somebody with /add.".into());
        };
        let sent = markup::emoji(text);
        let params = json!({ "chat": chat, "text": sent, "reply_to": reply_to.map(|id| id.to_string()), "mentions": self.mentions(&sent) });
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
}
