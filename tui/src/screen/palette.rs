//! A list that filters as one types: palette, help, emoji, search results, the actions on a message.

use std::time::{Duration, Instant};

use nucleo_matcher::{
    Config, Matcher,
    pattern::{CaseMatching, Normalization, Pattern},
};
use ratatui::{
    buffer::Buffer,
    crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind},
    layout::{Position, Rect},
    text::{Line, Span},
};
use starling_control::objects::{AccountId, ChatId, DeviceId};
use starling_node::MessageId;
use unicode_width::UnicodeWidthStr;

use super::{
    actions::{Binding, Command},
    app::App,
    card::wrap,
    component::{Component, Handled},
    devices::DeviceAction,
    groups::GroupAction,
    theme::Theme,
    timeline::{cut, cut_off},
};
use crate::terminal::safe_line;

pub use super::question::Question;

/// What a row does.
#[derive(Clone)]
pub enum Run {
    Action(&'static Binding),
    /// Opens a chat.
    Chat(ChatId),
    /// Puts a slash command into the composer, or runs it if it needs nothing more.
    Command(&'static Command),
    /// Answers somebody who asks to be a contact.
    Answer(Verdict, AccountId),
    Theme(&'static str),
    /// Reacts to the selected message.
    Emoji(String),
    /// Shows a contact request.
    Request(AccountId),
    /// Shows a device of ours.
    Device(DeviceId),
    /// Asks whether it is to go.
    Unlink(DeviceId),
    /// Changes one, or answers one that asks to join.
    Change(DeviceAction),
    /// Shows or changes something of a group.
    Group(GroupAction),
    /// Asks before something is done.
    Ask(Question),
    /// Goes to a message.
    Message(MessageId),
    /// Answers a question.
    Yes(Question),
    Nothing,
}

/// The answer to somebody who asks to be a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Decline,
    Block,
}

/// A row.
#[derive(Clone)]
pub struct Row {
    pub name: String,
    pub help: String,
    pub key: String,
    pub run: Run,
}

impl Row {
    pub fn new(name: impl Into<String>, help: impl Into<String>, key: impl Into<String>, run: Run) -> Self {
        Self { name: name.into(), help: help.into(), key: key.into(), run }
    }
}

/// What opens by itself takes no key before nothing was typed for so long: what was begun before it was seen is not an answer to it.
const QUIET: Duration = if cfg!(test) { Duration::from_hours(1) } else { Duration::from_millis(500) };

/// Rows that are shown below a text however long it is.
const ROWS_BELOW_TEXT: usize = 3;

/// The popup.
pub struct Palette {
    pub title: String,
    /// Text above the rows.
    pub text: Vec<Line<'static>>,
    pub rows: Vec<Row>,
    pub query: String,
    /// Typing filters; else letters choose.
    pub filters: bool,
    /// The rows come from a search elsewhere for the query.
    pub searches: bool,
    shown: Vec<usize>,
    pub at: usize,
    /// Where it was drawn, and the first of its rows there, for the mouse.
    place: Rect,
    cursor: Option<Position>,
    first_row: (u16, usize),
    matcher: Matcher,
    /// No key counts before.
    deaf_until: Option<Instant>,
}

impl Palette {
    pub fn new(title: impl Into<String>, rows: Vec<Row>) -> Self {
        let mut palette = Self {
            title: title.into(),
            text: Vec::new(),
            shown: (0..rows.len()).collect(),
            rows,
            query: String::new(),
            filters: true,
            searches: false,
            at: 0,
            place: Rect::default(),
            cursor: None,
            first_row: (0, 0),
            matcher: Matcher::new(Config::DEFAULT),
            deaf_until: None,
        };
        palette.filter();
        palette
    }

    /// A question with answers to choose from.
    pub fn ask(title: impl Into<String>, text: Vec<Line<'static>>, rows: Vec<Row>) -> Self {
        Self { text, filters: false, ..Self::new(title, rows) }
    }

    /// A question that comes by itself, and perhaps while something else is typed.
    pub fn unasked(title: impl Into<String>, text: Vec<Line<'static>>, rows: Vec<Row>) -> Self {
        Self { deaf_until: Some(Instant::now() + QUIET), ..Self::ask(title, text, rows) }
    }

    /// Nothing was typed since it came.
    #[cfg(test)]
    pub fn was_seen(&mut self) {
        self.deaf_until = None;
    }

    /// Filters by what was typed.
    pub fn filter(&mut self) {
        self.at = 0;
        if self.query.trim().is_empty() || self.searches || !self.filters {
            self.shown = (0..self.rows.len()).collect();
            return;
        }
        let pattern = Pattern::parse(&self.query, CaseMatching::Ignore, Normalization::Smart);
        let mut buffer = Vec::new();
        let mut found: Vec<(u32, usize)> = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            let mut score =
                |text: &str| pattern.score(nucleo_matcher::Utf32Str::new(text, &mut buffer), &mut self.matcher);
            // A hit in the name counts more than one in the help.
            let best = score(&row.name).map(|s| s + 1000).max(score(&row.help));
            if let Some(score) = best {
                found.push((score, i));
            }
        }
        found.sort_by_key(|(score, i)| (std::cmp::Reverse(*score), *i));
        self.shown = found.into_iter().map(|(_, i)| i).collect();
    }

    fn step(&mut self, by: isize) {
        let last = self.shown.len().saturating_sub(1);
        self.at = self.at.saturating_add_signed(by).min(last);
    }

    /// Chooses the row under the mouse; `false` if there is none.
    fn click(&mut self, at: Position) -> bool {
        let (y, first) = self.first_row;
        let row = first + usize::from(at.y.saturating_sub(y));
        let hit = self.place.contains(at) && at.y >= y && at.y + 1 < self.place.y + self.place.height;
        if hit && row < self.shown.len() {
            self.at = row;
            return true;
        }
        false
    }

    fn chosen(&self) -> Option<&Row> {
        self.shown.get(self.at).and_then(|i| self.rows.get(*i))
    }

    /// The row with a key, where letters choose.
    fn by_key(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key)
    }

    /// Draws it in the middle of an area; gives where the cursor is.
    fn draw(&mut self, area: Rect, buffer: &mut Buffer, theme: &Theme) -> Option<Position> {
        let width = area.width.saturating_sub(4).min(84);
        let text = self.wrapped_text(width.saturating_sub(3), area.height.saturating_sub(4));
        let head = text.len() as u16 + u16::from(self.filters) + u16::from(!text.is_empty());
        let wanted = (self.rows.len() as u16).saturating_add(head + 2).max(6);
        let height = wanted.min(area.height.saturating_sub(2));
        let place = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height.saturating_sub(height)) / 3,
            width,
            height,
        };
        self.place = place;
        let inner = theme.draw_box(&self.title, place, buffer);
        if inner.height == 0 || inner.width < 8 {
            return None;
        }
        let mut y = inner.y;
        let mut cursor = None;
        let bottom = inner.y + inner.height;
        if self.filters {
            let query = cut(&self.query, inner.width.saturating_sub(3));
            buffer.set_line(
                inner.x,
                y,
                &Line::from(vec![Span::styled("› ", theme.accent), query.clone().into()]),
                inner.width,
            );
            cursor = Some(Position::new(inner.x + 2 + query.width() as u16, y));
            y += 1;
        }
        for line in &text {
            if y < bottom {
                buffer.set_line(inner.x + 1, y, line, inner.width - 1);
                y += 1;
            }
        }
        // Space below the text, unless the rows need it.
        let spare = usize::from(bottom.saturating_sub(y)) > self.rows.len().min(ROWS_BELOW_TEXT);
        y += u16::from(!text.is_empty() && spare);
        self.draw_rows(Rect { y, height: bottom.saturating_sub(y), ..inner }, buffer, theme);
        cursor
    }

    /// The text above the rows in lines of a width. The rows that a question has are always there: text that leaves no room for them is cut.
    fn wrapped_text(&self, width: u16, height: u16) -> Vec<Line<'static>> {
        let room = usize::from(height).saturating_sub(self.rows.len().min(ROWS_BELOW_TEXT) + usize::from(self.filters));
        let mut lines: Vec<Line<'static>> = Vec::new();
        for line in &self.text {
            let style = line.spans.first().map_or(line.style, |span| line.style.patch(span.style));
            lines.extend(wrap(&[line.to_string()], width).into_iter().map(|row| Line::styled(row, style)));
        }
        if lines.len() > room {
            lines.truncate(room);
            if let Some(last) = lines.last_mut() {
                *last = Line::styled(cut_off(&last.to_string(), width), last.style);
            }
        }
        lines
    }

    fn draw_rows(&mut self, inner: Rect, buffer: &mut Buffer, theme: &Theme) {
        let room = usize::from(inner.height);
        let mut y = inner.y;
        let first = (self.at + 1).saturating_sub(room);
        self.first_row = (y, first);
        let names = self.shown.iter().skip(first).take(room).filter_map(|i| self.rows.get(*i)).map(|r| r.name.width());
        let half = usize::from(inner.width) / 2;
        let column = names.max().unwrap_or(0).clamp(8.min(half), half);
        for (n, index) in self.shown.iter().enumerate().skip(first).take(room) {
            let Some(row) = self.rows.get(*index) else {
                continue;
            };
            let key = cut(&row.key, 20);
            let rest = usize::from(inner.width).saturating_sub(column + key.width() + 4);
            let name = cut(&row.name, column as u16);
            let pad = " ".repeat(column.saturating_sub(name.width()));
            let help = cut(&row.help, rest as u16);
            let gap = " ".repeat(rest.saturating_sub(help.width()));
            let line = Line::from(vec![
                Span::styled(if n == self.at { "▸ " } else { "  " }, theme.accent),
                Span::styled(name, theme.text),
                Span::raw(pad + " "),
                Span::styled(help, theme.dim),
                Span::raw(gap),
                Span::styled(key, theme.accent),
            ]);
            buffer.set_line(inner.x, y, &line, inner.width);
            if n == self.at {
                buffer.set_style(Rect { y, height: 1, ..inner }, theme.selected);
            }
            y += 1;
        }
        if self.shown.is_empty() && room > 0 {
            let text =
                if self.searches && self.query.is_empty() { "type, then Enter searches" } else { "nothing found" };
            buffer.set_string(inner.x + 2, y, text, theme.dim);
        }
    }
}

impl Palette {
    /// Closes and does what the chosen row says.
    fn run_chosen(&self) -> Handled {
        match self.chosen().map(|row| row.run.clone()) {
            Some(run) => Handled::close_then(|app| app.run(run)),
            None => Handled::close(),
        }
    }

    /// The query has changed.
    fn query_changed(&mut self) -> Handled {
        if self.searches {
            self.rows.clear();
        }
        self.filter();
        Handled::Consumed(None)
    }

    fn key(&mut self, key: &KeyEvent) -> Handled {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            // A second Ctrl-C means it.
            KeyCode::Char('c') if ctrl => match self.chosen().map(|row| &row.run) {
                Some(Run::Yes(Question::Quit)) => {
                    return Handled::close_then(|app| app.quit = true);
                }
                _ => return Handled::close(),
            },
            KeyCode::Esc => return Handled::close(),
            KeyCode::Up => self.step(-1),
            KeyCode::Down => self.step(1),
            KeyCode::Char('p') if ctrl => self.step(-1),
            KeyCode::Char('n') if ctrl => self.step(1),
            KeyCode::PageUp => self.step(-10),
            KeyCode::PageDown => self.step(10),
            KeyCode::Enter if self.searches && self.chosen().is_none() => {
                return Handled::then(App::run_search);
            }
            KeyCode::Enter => return self.run_chosen(),
            KeyCode::Backspace if self.filters => {
                self.query.pop();
                return self.query_changed();
            }
            KeyCode::Char('u') if ctrl => {
                self.query.clear();
                self.filter();
            }
            KeyCode::Char(c) if self.filters && !ctrl => {
                self.query.push(c);
                return self.query_changed();
            }
            KeyCode::Char(c) if !ctrl => {
                let name = if c == ' ' { "Space".to_owned() } else { c.to_string() };
                match (self.by_key(&name).map(|row| row.run.clone()), c) {
                    (Some(run), _) => return Handled::close_then(|app| app.run(run)),
                    (None, 'j') => self.step(1),
                    (None, 'k') => self.step(-1),
                    _ => {}
                }
            }
            _ => {}
        }
        Handled::Consumed(None)
    }

    fn mouse(&mut self, event: &MouseEvent) -> Handled {
        let at = Position::new(event.column, event.row);
        match event.kind {
            MouseEventKind::ScrollUp => self.step(-3),
            MouseEventKind::ScrollDown => self.step(3),
            MouseEventKind::Down(MouseButton::Left) if self.click(at) => return self.run_chosen(),
            MouseEventKind::Down(MouseButton::Left) if !self.place.contains(at) => {
                return Handled::close();
            }
            MouseEventKind::Down(MouseButton::Left) => {}
            _ => return Handled::Ignored,
        }
        Handled::Consumed(None)
    }
}

impl Component for Palette {
    fn handle_event(&mut self, event: &Event) -> Handled {
        let is_answer = match event {
            Event::Key(_) | Event::Paste(_) => true,
            Event::Mouse(mouse) => matches!(mouse.kind, MouseEventKind::Down(_)),
            _ => false,
        };
        if is_answer && self.deaf_until.is_some_and(|until| Instant::now() < until) {
            self.deaf_until = Some(Instant::now() + QUIET);
            return Handled::Consumed(None);
        }
        match event {
            Event::Key(key) => self.key(key),
            Event::Mouse(mouse) => self.mouse(mouse),
            Event::Paste(text) if self.filters => {
                self.query.push_str(&safe_line(text));
                self.filter();
                Handled::Consumed(None)
            }
            Event::Paste(_) => Handled::Consumed(None),
            _ => Handled::Ignored,
        }
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, app: &mut App) {
        self.cursor = self.draw(area, buffer, &app.settings.theme);
    }

    fn cursor(&self) -> Option<Position> {
        self.cursor
    }
}
