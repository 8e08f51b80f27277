//! A list that filters as one types: palette, help, emoji, search results, the actions on a message.

use nucleo_matcher::{
    Config, Matcher,
    pattern::{CaseMatching, Normalization, Pattern},
};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::{Block, BorderType, Clear, Widget},
};
use starling_node::MessageId;
use unicode_width::UnicodeWidthStr;

use super::{keys::Action, theme::Theme, timeline::cut};

/// What a row does.
#[derive(Clone, Debug)]
pub enum Run {
    Action(Action),
    /// Opens a chat.
    Chat(String),
    /// Puts a slash command into the composer, or runs it if it needs nothing more.
    Command(&'static str),
    Theme(&'static str),
    /// Reacts to the selected message.
    Emoji(String),
    /// Shows a contact request.
    Request(String),
    /// Asks whether a device of ours is to go.
    Device(String),
    /// Goes to a message.
    Message(MessageId),
    /// Answers a question.
    Yes(Question),
    Nothing,
}

/// What is asked before it is done.
#[derive(Clone, Debug)]
pub enum Question {
    Quit,
    Delete(MessageId),
    Block(String),
    Remove(String),
    Clear(String),
    Verified(String),
    Trust(String),
    Unlink(String),
}

/// A row.
#[derive(Clone, Debug)]
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
    pub place: Rect,
    first_row: (u16, usize),
    matcher: Matcher,
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
            first_row: (0, 0),
            matcher: Matcher::new(Config::DEFAULT),
        };
        palette.filter();
        palette
    }

    /// A question with answers to choose from.
    pub fn ask(title: impl Into<String>, text: Vec<Line<'static>>, rows: Vec<Row>) -> Self {
        Self { text, filters: false, ..Self::new(title, rows) }
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

    pub fn step(&mut self, by: isize) {
        let last = self.shown.len().saturating_sub(1);
        self.at = self.at.saturating_add_signed(by).min(last);
    }

    /// Chooses the row under the mouse; `false` if there is none.
    pub fn click(&mut self, at: Position) -> bool {
        let (y, first) = self.first_row;
        let row = first + usize::from(at.y.saturating_sub(y));
        let hit = self.place.contains(at) && at.y >= y && at.y + 1 < self.place.y + self.place.height;
        if hit && row < self.shown.len() {
            self.at = row;
            return true;
        }
        false
    }

    pub fn chosen(&self) -> Option<&Row> {
        self.shown.get(self.at).and_then(|i| self.rows.get(*i))
    }

    /// The row with a key, where letters choose.
    pub fn by_key(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key)
    }

    /// Draws it in the middle of an area; gives where the cursor is.
    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, theme: &Theme) -> Option<(u16, u16)> {
        let width = area.width.saturating_sub(4).min(84);
        let head = self.text.len() as u16 + u16::from(self.filters) + u16::from(!self.text.is_empty());
        let wanted = (self.rows.len() as u16).saturating_add(head + 2).max(6);
        let height = wanted.min(area.height.saturating_sub(2));
        let place = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height.saturating_sub(height)) / 3,
            width,
            height,
        };
        Clear.render(place, buffer);
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(theme.accent)
            .style(theme.text)
            .title(Span::styled(format!(" {} ", self.title), theme.accent));
        let inner = block.inner(place);
        block.render(place, buffer);
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
            cursor = Some((inner.x + 2 + query.width() as u16, y));
            y += 1;
        }
        for line in &self.text {
            if y < bottom {
                buffer.set_line(inner.x + 1, y, line, inner.width - 1);
                y += 1;
            }
        }
        y += u16::from(!self.text.is_empty());
        let room = usize::from(bottom.saturating_sub(y));
        let first = (self.at + 1).saturating_sub(room);
        self.first_row = (y, first);
        let names = self.shown.iter().skip(first).take(room).filter_map(|i| self.rows.get(*i)).map(|r| r.name.width());
        let column = names.max().unwrap_or(0).clamp(8, usize::from(inner.width) / 2);
        for (n, index) in self.shown.iter().enumerate().skip(first).take(room) {
            let Some(row) = self.rows.get(*index) else { continue };
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
        if self.shown.is_empty() && y < bottom {
            let text =
                if self.searches && self.query.is_empty() { "type, then Enter searches" } else { "nothing found" };
            buffer.set_string(inner.x + 2, y, text, theme.dim);
        }
        cursor
    }
}
