//! Keys, the mouse and pasted text, and the actions that they start.

use std::time::{Duration, Instant};

use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind},
    layout::{Position, Rect},
};
use serde_json::{Value, json};
use starling_node::MessageId;

use super::{
    app::{App, Call, Card, Focus, ListRow, PAGE, Tag},
    composer::{Done, Mode},
    keys::{ACTIONS, Action, Place},
    markup,
    palette::{Palette, Question, Row, Run},
    timeline::Message,
};
use crate::{terminal::safe_line, verbs::field};

/// Typing is told at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(3);

impl App {
    /// A key was let go; few terminals tell.
    pub fn key_released(&mut self, key: &KeyEvent) {
        if self.keys.action(Place::Everywhere, key) == Some(Action::Talk) {
            self.talk_key(KeyEventKind::Release);
        }
    }

    pub fn key(&mut self, key: &KeyEvent) {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return self.interrupt();
        }
        // A call is answered whatever lies over the screen.
        let call = self.keys.action(Place::Everywhere, key).filter(|a| a.is_of_call() && self.call.is_some());
        if let Some(action) = call {
            return self.act(action);
        }
        if let Some(card) = &self.card {
            match (&card.copy, key.code) {
                (Some(text), KeyCode::Char('y')) => self.calls.push(Call::Copy(text.clone())),
                _ => self.card = None,
            }
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
            // Keys that act on messages nobody sees do nothing.
            Focus::Timeline if self.call_view => self.call_view = false,
            Focus::Timeline => self.timeline_key(key),
            Focus::List => self.list_key(key),
        }
    }

    /// `Ctrl-C`: clears the draft, closes a popup, then asks to quit.
    pub fn interrupt(&mut self) {
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

    pub fn composer_key(&mut self, key: &KeyEvent) {
        match self.composer.key(key, self.keys.emacs) {
            Done::Here => self.tell_typing(),
            Done::Send => self.submit(),
            Done::Leave => self.focus = Focus::Timeline,
            Done::SelectLast => {
                self.focus = Focus::Timeline;
                self.select(0);
            }
            Done::NextPane => self.act(Action::NextPane),
            Done::Editor => {
                // Nobody sees the key let go while it runs.
                self.end_talk();
                self.calls.push(Call::Editor);
            }
        }
    }

    pub fn tell_typing(&mut self) {
        let due = self.told_typing.is_none_or(|told| told.elapsed() >= TYPING_EVERY);
        if let Some(chat) = self.open.clone().filter(|_| due && !self.composer.is_empty()) {
            if self.composer.text().starts_with('/') {
                return;
            }
            self.told_typing = Some(Instant::now());
            self.ask(Tag::Nothing, "typing", json!({ "chat": chat, "typing": true }));
        }
    }

    pub fn submit(&mut self) {
        let text = self.composer.text();
        if text.trim().is_empty() {
            return;
        }
        if text.starts_with('/') && !text.starts_with("//") {
            return self.command(text.trim_end());
        }
        let text = if text.starts_with("//") { text[1..].to_owned() } else { text };
        match self.composer.mode {
            Mode::Write => self.send(&text, None),
            Mode::Reply(id) => self.send(&text, Some(id)),
            Mode::Edit(id) => {
                if let Some(chat) = self.open.clone() {
                    let params =
                        json!({ "chat": chat.clone(), "message": id.to_string(), "text": markup::emoji(&text) });
                    self.ask_in_order(Tag::Sent(chat, text), "edit", params);
                }
            }
        }
        if self.open.is_some() {
            self.composer.clear();
        }
    }

    pub fn width(&self) -> u16 {
        self.layout.timeline.width
    }

    pub fn select(&mut self, step: isize) {
        let (theme, width) = (self.theme.clone(), self.width());
        self.timeline.select(step, &theme, width);
    }

    pub fn scroll(&mut self, rows: isize) {
        let (theme, width) = (self.theme.clone(), self.width());
        self.timeline.scroll(rows, &theme, width);
        if self.timeline.is_at_bottom() {
            self.mark_read();
        }
    }

    pub fn timeline_key(&mut self, key: &KeyEvent) {
        if key.code == KeyCode::Esc {
            self.timeline.selected = None;
            self.focus = Focus::Composer;
            return;
        }
        if key.code == KeyCode::Tab {
            return self.act(Action::NextPane);
        }
        if let Some(action) = self.keys.action(Place::Timeline, key) {
            self.act(action);
        }
    }

    pub fn list_key(&mut self, key: &KeyEvent) {
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

    pub fn open_row(&mut self, at: usize) {
        match self.list.get(at).cloned() {
            Some(ListRow::Chat(chat)) => {
                self.open(&chat);
                self.focus = Focus::Composer;
            }
            Some(ListRow::Request(account)) => self.show_request(&account),
            _ => {}
        }
    }

    pub fn step_chat(&mut self, by: isize) {
        let chats: Vec<&str> =
            self.list.iter().filter_map(|r| if let ListRow::Chat(id) = r { Some(id.as_str()) } else { None }).collect();
        let at = chats.iter().position(|c| Some(*c) == self.open.as_deref());
        let to = at.map_or(0, |at| at.saturating_add_signed(by));
        if let Some(next) = chats.get(to).map(|c| (*c).to_owned()) {
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
            Action::Details => {
                self.details = Some(self.layout.details.is_none());
                if self.layout.width < super::draw::DETAILS_FROM {
                    self.say(format!("Details need a window of {} columns.", super::draw::DETAILS_FROM));
                }
            }
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
                } else {
                    self.load_newest();
                }
            }
            Action::Compose => self.focus = Focus::Composer,
            Action::Verify => self.show_verify(),
            action if action.is_of_call() => self.act_on_call(action),
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

    pub fn act_on(&mut self, action: Action, message: &Message) {
        match action {
            Action::Reply => {
                self.composer.mode = Mode::Reply(message.id);
                self.focus = Focus::Composer;
            }
            Action::Edit | Action::Delete if !message.mine => {
                self.warn("Only your own messages can be changed.".into());
            }
            Action::Edit => {
                self.composer.edit(message.id, &message.text);
                self.focus = Focus::Composer;
            }
            Action::Delete => self.ask_yes(Question::Delete(message.id)),
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
            Action::Retry if message.mine && message.state == "failed" => {
                let (text, reply_to) = (message.text.clone(), message.reply_to);
                self.send(&text, reply_to);
            }
            Action::Retry => self.say("The message has not failed.".into()),
            Action::Unfold => self.timeline.unfold(message.id),
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
                self.card = Some(Card { title: "The message".into(), lines, copy: Some(message.id.to_string()) });
            }
            Action::GoToQuoted => match message.reply_to {
                Some(id) => self.go_to(id),
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

    pub fn react(&mut self, message: MessageId, emoji: &str) {
        let Some(chat) = self.open.clone() else { return };
        // The same again takes it back.
        let mine = self.timeline.find(message).is_some_and(|m| m.reactions.iter().any(|(e, own)| *own && e == emoji));
        let emoji = if mine { "" } else { emoji };
        self.ask_in_order(
            Tag::Changed,
            "react",
            json!({ "chat": chat, "message": message.to_string(), "emoji": emoji }),
        );
    }

    pub fn go_to(&mut self, id: MessageId) {
        let (theme, width) = (self.theme.clone(), self.width());
        if self.timeline.select_id(id, &theme, width) {
            self.focus = Focus::Timeline;
        } else if let Some(chat) = self.open.clone() {
            self.fetching = true;
            let around = json!({ "chat": chat.clone(), "around": id.to_string(), "limit": 2 * PAGE });
            self.ask_history(Tag::Around(chat, id), around);
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
            MouseEventKind::ScrollUp | MouseEventKind::ScrollDown if self.palette.is_some() => {
                if let Some(palette) = &mut self.palette {
                    palette.step(if event.kind == MouseEventKind::ScrollUp { -3 } else { 3 });
                }
            }
            MouseEventKind::ScrollUp if within(self.layout.timeline) => self.scroll(-3),
            MouseEventKind::ScrollDown if within(self.layout.timeline) => self.scroll(3),
            MouseEventKind::Down(MouseButton::Left) => {
                if self.card.take().is_some() {
                } else if let Some(palette) = &mut self.palette {
                    if palette.click(at) {
                        self.palette_key(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
                    } else if !palette.place.contains(at) {
                        self.palette = None;
                    }
                } else if self.layout.border == Some(event.column) {
                    self.dragging = true;
                } else if within(self.layout.list) {
                    let row = usize::from(event.row - self.layout.list.y) + self.layout.list_first;
                    if !matches!(self.list.get(row), None | Some(ListRow::Title(_))) {
                        self.list_at = row;
                        self.open_row(row);
                    }
                } else if self.layout.bar.is_some_and(within)
                    || (!self.call_view && self.layout.tiles.iter().any(|t| within(t.area)))
                {
                    self.act(Action::CallView);
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
