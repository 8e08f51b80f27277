//! Keys, the mouse and pasted text on the panes: list, timeline, composer.

use std::time::{Duration, Instant};

use ratatui::{
    crossterm::event::{Event, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind},
    layout::{Position, Rect},
};
use starling_control::methods::messages::{Edit, React, Typing};
use starling_node::MessageId;

use super::{
    actions::{Binding, Place},
    app::{App, Effect, Focus},
    composer::{Done, Mode},
    markup,
    model::ListRow,
    palette::Question,
    requests::{Answer, Target},
};
use crate::terminal::safe_line;

/// Typing is told at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(3);

impl App {
    /// A key was let go; few terminals tell.
    pub fn key_released(&mut self, key: &KeyEvent) {
        if self.settings.keys.everywhere(key).is_some_and(|binding| binding.name == "talk") {
            self.talk_key(KeyEventKind::Release);
        }
    }

    /// Takes a key. Some work whatever lies over the screen, in a call those of calls, too.
    pub fn key(&mut self, key: &KeyEvent) {
        let in_call = self.calls.shown.is_some();
        let always = |place| place == Place::Always || (place == Place::InCall && in_call);
        match self.settings.keys.everywhere(key).filter(|binding| always(binding.place)) {
            Some(binding) => self.act(binding),
            None => self.handle_event(&Event::Key(*key)),
        }
    }

    /// Whether the details list members of a group.
    pub fn shows_members(&self) -> bool {
        self.panes.layout.details.is_some() && self.group().is_some()
    }

    /// Takes a key that nothing lying over the panes has taken.
    pub fn pane_key(&mut self, key: &KeyEvent) {
        if self.panes.focus == Focus::Details && !self.shows_members() {
            // The window has become too small for them, or another chat was opened.
            self.panes.focus = Focus::Composer;
        }
        if let Some(binding) = self.settings.keys.everywhere(key) {
            return self.act(binding);
        }
        match self.panes.focus {
            Focus::Composer => self.composer_key(key),
            // Keys that act on messages nobody sees do nothing.
            Focus::Timeline if self.calls.is_large => self.calls.is_large = false,
            Focus::Timeline => self.act_on(self.settings.keys.on_timeline(key)),
            Focus::List => self.act_on(self.settings.keys.on_list(key)),
            Focus::Details => self.act_on(self.settings.keys.on_details(key)),
        }
    }

    fn act_on(&mut self, binding: Option<&'static Binding>) {
        if let Some(binding) = binding {
            self.act(binding);
        }
    }

    /// Clears the draft, or asks to quit. What lies over the panes has closed itself.
    pub fn interrupt(&mut self) {
        if !self.chat.composer.is_empty() || self.chat.composer.mode != Mode::Write {
            self.chat.composer.clear();
        } else {
            self.ask_yes(Question::Quit);
        }
    }

    pub fn composer_key(&mut self, key: &KeyEvent) {
        if self.chat.composer.completion_key(key) {
            return self.tell_typing();
        }
        if let Some(binding) = self.settings.keys.in_composer(key) {
            return self.act(binding);
        }
        match self.chat.composer.key(key, self.settings.keys.emacs) {
            Done::Here => self.tell_typing(),
            Done::SelectLast => {
                self.panes.focus = Focus::Timeline;
                self.select(0);
            }
            Done::Editor => self.write_in_editor(),
        }
    }

    pub fn write_in_editor(&mut self) {
        // Nobody sees the key let go while it runs.
        self.end_talk();
        self.effects.push(Effect::Editor);
    }

    /// Out of a reply or an edit, from the composer to the messages, and from elsewhere to the composer.
    pub fn go_back(&mut self) {
        match self.panes.focus {
            Focus::Composer if self.chat.end_mode() => {}
            Focus::Composer => self.panes.focus = Focus::Timeline,
            Focus::Timeline => {
                self.chat.timeline.selected = None;
                self.panes.focus = Focus::Composer;
            }
            Focus::List | Focus::Details => self.panes.focus = Focus::Composer,
        }
    }

    pub fn tell_typing(&mut self) {
        let due = self.chat.composer.told_typing.is_none_or(|told| told.elapsed() >= TYPING_EVERY);
        if let Some(chat) = self.chat.open.clone().filter(|_| due && !self.chat.composer.is_empty()) {
            if self.chat.composer.text().starts_with('/') {
                return;
            }
            self.chat.composer.told_typing = Some(Instant::now());
            self.tell(Typing { chat, typing: None });
        }
    }

    pub fn submit(&mut self) {
        let text = self.chat.composer.text();
        if text.trim().is_empty() {
            return;
        }
        if text.starts_with('/') && !text.starts_with("//") {
            return self.command(text.trim_end());
        }
        let text = if text.starts_with("//") { text[1..].to_owned() } else { text };
        match self.chat.composer.mode {
            Mode::Write => self.send(&text, None),
            Mode::Reply(id) => self.send(&text, Some(id)),
            Mode::Edit(id) => {
                if let Some(chat) = self.chat.open.clone() {
                    let message = id.to_string().into();
                    let edit = Edit { chat: chat.clone(), message, text: markup::emoji(&text) };
                    self.ask_in_order(edit, |result| Answer::Sent(chat, text, result.map(drop)));
                }
            }
        }
        if self.chat.open.is_some() {
            self.chat.composer.clear();
        }
    }

    pub fn width(&self) -> u16 {
        self.panes.layout.timeline.width
    }

    pub fn select(&mut self, step: isize) {
        let (theme, width) = (self.settings.theme.clone(), self.width());
        self.chat.timeline.select(step, &theme, width);
    }

    pub fn scroll(&mut self, rows: isize) {
        let (theme, width) = (self.settings.theme.clone(), self.width());
        self.chat.timeline.scroll(rows, &theme, width);
        if self.chat.timeline.is_at_bottom() {
            self.mark_read();
        }
    }

    pub fn open_row(&mut self, at: usize) {
        match self.panes.list.rows().get(at).cloned() {
            Some(ListRow::Chat(chat) | ListRow::Channel(chat)) => {
                self.open(&chat);
                self.panes.focus = Focus::Composer;
            }
            Some(ListRow::Request(account)) => self.show_request(&account),
            Some(ListRow::Invitation(group)) => self.show_invitation(&group),
            Some(ListRow::Asked(group)) => {
                let name = self.directory.group(&group).map(|group| safe_line(&group.name)).unwrap_or_default();
                self.say(format!("Your request to be let into #{name} waits: somebody there has to approve it."));
            }
            Some(ListRow::Folder(..)) => self.fold_row(),
            _ => {}
        }
    }

    pub fn step_chat(&mut self, by: isize) {
        if let Some(next) = self.panes.list.beside(self.chat.open.as_ref(), by).cloned() {
            self.open(&next);
        }
    }

    pub fn next_pane(&mut self) {
        self.panes.focus = match self.panes.focus {
            Focus::Composer => Focus::List,
            Focus::List => Focus::Timeline,
            Focus::Timeline if self.shows_members() => Focus::Details,
            Focus::Timeline | Focus::Details => Focus::Composer,
        };
    }

    /// Scrolls by pages; negative is up.
    pub fn scroll_pages(&mut self, pages: isize) {
        let page = self.panes.layout.timeline.height.saturating_sub(2).max(1) as isize;
        self.scroll(pages * page);
    }

    pub fn select_first(&mut self) {
        let (theme, width) = (self.settings.theme.clone(), self.width());
        self.chat.timeline.select_first(&theme, width);
    }

    pub fn go_to_newest(&mut self) {
        if self.chat.timeline.has_newest() {
            self.chat.timeline.go_to_bottom();
            self.mark_read();
        } else {
            self.load_newest();
        }
    }

    pub fn react(&mut self, message: MessageId, emoji: &str) {
        let Some(chat) = self.chat.open.clone() else {
            return;
        };
        // The same again takes it back.
        let own = self.chat.timeline.find(message).is_some_and(|m| m.has_own_reaction(emoji));
        let emoji = if own { "" } else { emoji }.to_owned();
        self.change_in_order(React { chat, message: message.to_string().into(), emoji });
    }

    pub fn go_to(&mut self, id: MessageId) {
        let (theme, width) = (self.settings.theme.clone(), self.width());
        if self.chat.timeline.select_id(id, &theme, width) {
            self.panes.focus = Focus::Timeline;
        } else if self.chat.open.is_some() {
            self.chat.loading.fetching = true;
            self.ask_history(Target::Around(id));
        }
    }

    /// Takes a paste that nothing lying over the panes has taken.
    pub fn pane_paste(&mut self, text: &str) {
        self.panes.focus = Focus::Composer;
        self.chat.composer.paste(text);
    }

    /// Takes the mouse where nothing lies over the panes.
    pub fn pane_mouse(&mut self, event: &MouseEvent) {
        let at = Position::new(event.column, event.row);
        let within = |area: Rect| area.contains(at);
        match event.kind {
            MouseEventKind::ScrollUp if within(self.panes.layout.timeline) => self.scroll(-3),
            MouseEventKind::ScrollDown if within(self.panes.layout.timeline) => self.scroll(3),
            MouseEventKind::ScrollUp if self.panes.layout.members.is_some_and(within) => {
                self.chat.group.members.step(-3);
            }
            MouseEventKind::ScrollDown if self.panes.layout.members.is_some_and(within) => {
                self.chat.group.members.step(3);
            }
            MouseEventKind::Down(MouseButton::Left) => {
                if self.panes.layout.border == Some(event.column) {
                    self.panes.dragging = true;
                } else if within(self.panes.layout.list) {
                    let row = usize::from(event.row - self.panes.layout.list.y) + self.panes.layout.list_first;
                    if self.panes.list.choose(row) {
                        self.open_row(row);
                    }
                } else if self.panes.layout.bar.is_some_and(within)
                    || (!self.calls.is_large && self.panes.layout.tiles.iter().any(|t| within(t.area)))
                {
                    self.calls.is_large = self.calls.shown.is_some() && !self.calls.is_large;
                } else if within(self.panes.layout.timeline) {
                    self.panes.focus = Focus::Timeline;
                    self.chat.timeline.selected =
                        self.chat.timeline.at_row(usize::from(event.row - self.panes.layout.timeline.y));
                } else if within(self.panes.layout.composer) {
                    self.panes.focus = Focus::Composer;
                } else if let Some(members) = self.panes.layout.members.filter(|area| area.contains(at)) {
                    self.panes.focus = Focus::Details;
                    if self.chat.group.members.choose_seen(usize::from(event.row - members.y)) {
                        self.show_chosen_member();
                    }
                }
            }
            MouseEventKind::Drag(MouseButton::Left) if self.panes.dragging => {
                self.panes.resize_list(event.column);
            }
            MouseEventKind::Up(_) => self.panes.dragging = false,
            _ => {}
        }
    }
}
