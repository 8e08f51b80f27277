//! How the questions of the first run are drawn: the line that is typed into is there at every size.

use std::borrow::Cow;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::{Block, BorderType, Widget},
};
use unicode_width::UnicodeWidthStr;

use super::{Form, PURPOSES, Purpose, Step};
use crate::screen::{card::wrap, theme::Theme, timeline};

/// Below so many rows there are none to spare for space between lines.
const ROOMY: u16 = 15;
/// Columns of a numbered word.
const WORD: usize = 12;
/// What fills these columns behind a word, which has up to eight letters.
const FILLING: &str = "         ";

/// Where rows are put, one below the other, as long as there is room.
struct Page<'a> {
    x: u16,
    y: u16,
    bottom: u16,
    /// Columns of a row.
    room: u16,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    /// What the line borrows is copied into cells only.
    fn put(&mut self, line: Line<'_>) {
        if self.y < self.bottom {
            self.buffer.set_line(self.x, self.y, &line, self.room);
            self.y += 1;
        }
    }

    fn left(&self) -> usize {
        usize::from(self.bottom.saturating_sub(self.y))
    }
}

impl Form {
    /// The question and what helps to answer it.
    fn question(&self) -> (String, &'static str) {
        let (question, help) = match self.step {
            Step::Purpose => ("Welcome. What shall it be?", ""),
            Step::Name => ("What shall others call you?", "Any name; you can change it later."),
            Step::Code => (
                "What does the other device show?",
                "Type /link there, or run `starling device link`, and paste the line that it shows, or its code.",
            ),
            Step::Phrase => {
                ("What is the recovery phrase?", "All 24 words. Other devices of the account are removed by it.")
            }
            Step::Home if self.purpose() == Purpose::New => (
                "Where do you want to meet?",
                "The name or address of a rendezvous: its operator gives it, or `starling-rendezvous` prints it. Empty: only people on this network.",
            ),
            Step::Home => {
                ("Which rendezvous has the account?", "Its address, as the other device or its operator shows it.")
            }
            Step::Passphrase => (
                "A passphrase for this device?",
                "It is asked for at every start. Empty: none, the key is kept in a file that only you can read.",
            ),
            Step::Again => ("The passphrase once more", "So that a slip of the finger does not lock you out."),
            Step::FirstWord | Step::SecondWord => {
                let place = self.checks.places[usize::from(self.step == Step::SecondWord)];
                return (format!("What is word {} of it?", place + 1), "So that it is written down right.");
            }
            Step::Token => ("A token of its operator, if you have one", ""),
            Step::Waiting | Step::Words => ("", ""),
        };
        (question.to_owned(), help)
    }

    pub fn draw(&self, frame: &mut Frame<'_>, theme: &Theme) {
        let area = frame.area();
        let width = area.width.min(76);
        let height = area.height.min(18);
        let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 3, width, height };
        let buffer = frame.buffer_mut();
        buffer.set_style(area, theme.text);
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(theme.border)
            .title(Span::styled(" Welcome to Starling ", theme.accent));
        let inner = block.inner(place);
        block.render(place, buffer);
        let margin = u16::from(height >= ROOMY);
        let room = inner.width.saturating_sub(2 + 2 * margin);
        let (x, y) = (inner.x + 1 + margin, inner.y + margin);
        let mut page = Page { x, y, bottom: inner.y + inner.height, room, buffer };
        let cursor = match self.step {
            Step::Words => {
                self.draw_words(&mut page, theme);
                None
            }
            Step::Waiting => {
                self.put_wrapped(&mut page, &self.notice, usize::MAX, theme.text);
                None
            }
            _ => Some(self.draw_question(&mut page, theme)),
        };
        if let Some(cursor) = cursor {
            frame.set_cursor_position(cursor);
        }
    }

    fn put_wrapped(&self, page: &mut Page<'_>, text: &str, most: usize, style: Style) {
        for row in wrap(&[text.to_owned()], page.room).into_iter().take(most) {
            page.put(Line::styled(row, style));
        }
    }

    fn draw_words(&self, page: &mut Page<'_>, theme: &Theme) {
        page.put(Line::from("Your recovery phrase, shown only now."));
        let columns = (usize::from(page.room + 1) / WORD).clamp(1, 4);
        let words: Vec<&str> = self.words.split(' ').collect();
        let rows = words.len().div_ceil(columns);
        if page.left() > rows + 3 {
            let why = "Write it down: who has it is you; without it a lost device is a lost account.";
            self.put_wrapped(page, why, page.left().saturating_sub(rows + 2), theme.dim);
        }
        // Borrowed, so that there are no copies of them but those in cells, which are overwritten by the next drawing.
        for (i, row) in words.chunks(columns).enumerate() {
            let spans = row.iter().enumerate().flat_map(|(j, word)| {
                let number = format!("{:>2} ", i * columns + j + 1);
                [Span::raw(number), Span::raw(*word), Span::raw(FILLING.get(word.len()..).unwrap_or_default())]
            });
            page.put(Line::from_iter(spans).style(theme.accent));
        }
        let all = page.y < page.bottom;
        self.all_shown.set(all);
        let last = match (all, self.problem.as_str()) {
            (true, _) => "Enter: I have written it down",
            (false, "") => "Make the window larger: words are missing",
            (false, problem) => problem,
        };
        // Over the last row if there is no other.
        page.y = page.y.min(page.bottom.saturating_sub(1));
        page.put(Line::styled(format!("{last:<room$}", room = usize::from(page.room)), theme.warn));
    }

    /// Gives where the cursor is. What is typed, and why it is not right, have their rows before anything else.
    fn draw_question(&self, page: &mut Page<'_>, theme: &Theme) -> (u16, u16) {
        let (question, help) = self.question();
        let typed = if self.step == Step::Purpose { PURPOSES.len() } else { 1 };
        let problem = wrap(std::slice::from_ref(&self.problem), page.room);
        let problem = if self.problem.is_empty() { &[][..] } else { &problem[..] };
        let roomy = page.left() >= usize::from(ROOMY) - 2;
        let fixed = typed + problem.len() + 1;
        self.put_wrapped(page, &question, page.left().saturating_sub(fixed).max(1), theme.accent);
        let spare = page.left().saturating_sub(fixed + 2 * usize::from(roomy));
        if !help.is_empty() {
            self.put_wrapped(page, help, spare, theme.dim);
        }
        page.y += u16::from(roomy);
        let cursor =
            if self.step == Step::Purpose { self.draw_purposes(page, theme) } else { self.draw_field(page, theme) };
        page.y += u16::from(roomy);
        let most = page.left();
        for row in problem.iter().take(most) {
            page.put(Line::styled(row.clone(), theme.warn));
        }
        if page.left() > 0 {
            page.y = page.bottom - 1;
            let keys = match self.step {
                Step::Token => "Enter tries again · Esc goes on without",
                Step::FirstWord | Step::SecondWord => "Enter goes on · Shift-Tab shows it again",
                _ => "Enter goes on · Shift-Tab back · Ctrl-C leaves",
            };
            page.put(Line::styled(timeline::cut(keys, page.room), theme.dim));
        }
        cursor
    }

    fn draw_purposes(&self, page: &mut Page<'_>, theme: &Theme) -> (u16, u16) {
        let first = page.y;
        for (n, (_, name)) in PURPOSES.iter().enumerate() {
            let chosen = n == self.purpose;
            let mark = if chosen { "▸ " } else { "  " };
            let style = if chosen { theme.accent } else { theme.text };
            page.put(Line::styled(format!("{mark}{} {name}", n + 1), style));
        }
        (page.x, first + self.purpose as u16)
    }

    fn draw_field(&self, page: &mut Page<'_>, theme: &Theme) -> (u16, u16) {
        let text = &self.fields[self.step as usize];
        let hidden = matches!(self.step, Step::Passphrase | Step::Again);
        let shown = if hidden { Cow::from("•".repeat(text.chars().count())) } else { Cow::from(text.as_str()) };
        // The end of a long address is what one has just typed.
        let skip = shown.chars().count().saturating_sub(usize::from(page.room.saturating_sub(4)));
        let start = shown.char_indices().nth(skip).map_or(shown.len(), |(at, _)| at);
        let tail = &shown[start..];
        page.put(Line::from(vec![Span::styled("› ", theme.accent), Span::raw(tail)]));
        (page.x + 2 + tail.width() as u16, page.y.saturating_sub(1))
    }
}
