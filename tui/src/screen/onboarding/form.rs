//! The questions of the first run, and how they are drawn: the line that is typed into is there at every size.

use std::{borrow::Cow, cell::Cell};

use ratatui::{
    Frame,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, BorderType, Widget},
};
use starling_keys::{RecoveryPhrase, ShortCode};
use unicode_width::UnicodeWidthStr;
use zeroize::{Zeroize, Zeroizing};

use super::{
    Next,
    making::{Progress, Wanted},
};
use crate::{
    screen::{card::wrap, theme::Theme},
    verbs::{WordChecks, parse_home, place_of},
};

/// What somebody has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    New,
    Link,
    Recover,
}

/// What is asked or shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Purpose,
    Name,
    Code,
    Phrase,
    Home,
    Passphrase,
    Again,
    /// Something is made; no key counts but those that leave.
    Waiting,
    /// The words of a new account are shown.
    Words,
    FirstWord,
    SecondWord,
    /// The rendezvous does not register the account: a token may help.
    Token,
}

const STEPS: usize = Step::Token as usize + 1;

/// What can be chosen first.
const PURPOSES: [(Purpose, &str); 3] = [
    (Purpose::New, "new account"),
    (Purpose::Link, "link to my other device"),
    (Purpose::Recover, "recover with the phrase"),
];

/// Below so many rows there are none to spare for space between lines.
const ROOMY: u16 = 15;
/// Columns of a numbered word.
const WORD: usize = 12;
/// What fills these columns behind a word, which has up to eight letters.
const FILLING: &str = "         ";
/// Room for what is typed into a field, in bytes: more than a phrase needs.
const ROOM: usize = 512;

/// The form.
pub struct Form {
    step: Step,
    /// Where Shift-Tab leads back to.
    before: Vec<Step>,
    purpose: usize,
    fields: [Zeroizing<String>; STEPS],
    problem: String,
    /// What is waited for.
    notice: String,
    /// Of a new account, with a space between them, until two of them were confirmed.
    words: Zeroizing<String>,
    checks: WordChecks,
    /// The profile is there already.
    made: bool,
    /// A phrase was asked for.
    pub asked_for_phrase: bool,
    /// Whether the last drawing had room for all words.
    all_shown: Cell<bool>,
}

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
    /// With the address of a rendezvous that is offered.
    pub fn new(home: String) -> Self {
        let mut fields: [Zeroizing<String>; STEPS] = Default::default();
        fields[Step::Home as usize] = Zeroizing::new(home);
        Self {
            step: Step::Purpose,
            before: Vec::new(),
            purpose: 0,
            fields,
            problem: String::new(),
            notice: String::new(),
            words: Zeroizing::default(),
            checks: WordChecks::new(),
            made: false,
            asked_for_phrase: false,
            all_shown: Cell::new(false),
        }
    }

    fn purpose(&self) -> Purpose {
        PURPOSES[self.purpose].0
    }

    fn field(&self, step: Step) -> &str {
        self.fields[step as usize].trim()
    }

    fn typed(&mut self) -> Option<&mut Zeroizing<String>> {
        let is_typed = !matches!(self.step, Step::Purpose | Step::Waiting | Step::Words);
        is_typed.then(|| &mut self.fields[self.step as usize])
    }

    /// What the profile is made of.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            purpose: self.purpose(),
            name: self.field(Step::Name).to_owned(),
            home: self.field(Step::Home).to_owned(),
            code: code_of(self.field(Step::Code)).to_owned(),
            phrase: Zeroizing::new(self.field(Step::Phrase).to_owned()),
            passphrase: self.fields[Step::Passphrase as usize].clone(),
        }
    }

    /// A registration token, if one was typed.
    pub fn token(&self) -> String {
        self.field(Step::Token).to_owned()
    }

    /// Takes what has become of the profile.
    pub fn take(&mut self, progress: Progress) {
        match progress {
            Progress::Notice(notice) => self.notice = notice,
            Progress::Introduced(address, compare) => {
                self.fields[Step::Home as usize] = Zeroizing::new(address);
                self.go_to(Step::Home);
                match compare {
                    Some(compare) => self.problem = compare.into(),
                    // The next question is the passphrase's: nothing is made yet.
                    None => drop(self.enter()),
                }
            }
            Progress::NotIntroduced(problem) => {
                self.go_to(Step::Home);
                self.problem = problem;
            }
            // The profile is there: nothing before this can be changed any more.
            Progress::Made(words) => {
                self.words = words;
                self.made = true;
                self.before.clear();
                self.go_to(Step::Words);
            }
            Progress::NotMade(problem) => {
                self.before.pop();
                let first = if self.purpose() == Purpose::Link { Step::Code } else { Step::Passphrase };
                self.go_to(first);
                self.problem = problem;
            }
            Progress::NotRegistered(problem) => {
                self.forget_phrase();
                self.made = true;
                self.before.clear();
                self.go_to(Step::Token);
                self.problem = problem;
            }
            Progress::Ready => {}
        }
    }

    /// Wipes the phrase that was shown or typed, and the words of it that were asked for.
    fn forget_phrase(&mut self) {
        self.words.zeroize();
        for step in [Step::Phrase, Step::FirstWord, Step::SecondWord] {
            self.fields[step as usize].zeroize();
        }
    }

    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.typed() {
            append(field, text);
        }
    }

    pub fn key(&mut self, key: &KeyEvent) -> Next {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl && !matches!(self.step, Step::Words | Step::FirstWord | Step::SecondWord) => {
                return Next::Leave(self.made);
            }
            KeyCode::Esc if self.step == Step::Token => return Next::Leave(true),
            KeyCode::Enter => return self.enter(),
            KeyCode::BackTab => self.back(),
            KeyCode::Up if self.step == Step::Purpose => self.purpose = self.purpose.saturating_sub(1),
            KeyCode::Down if self.step == Step::Purpose => self.purpose = (self.purpose + 1).min(PURPOSES.len() - 1),
            KeyCode::Char(c @ '1'..='3') if self.step == Step::Purpose => {
                self.purpose = usize::from(c as u8 - b'1');
                return self.enter();
            }
            KeyCode::Backspace => drop(self.typed().and_then(|field| field.pop())),
            KeyCode::Char('u') if ctrl => self.typed().into_iter().for_each(|field| field.clear()),
            KeyCode::Char(c) if !ctrl => {
                self.paste(c.encode_utf8(&mut [0; 4]));
                // What was wrong is being changed.
                self.problem.clear();
            }
            _ => {}
        }
        Next::Stay
    }

    fn back(&mut self) {
        if self.step != Step::Waiting
            && let Some(before) = self.before.pop()
        {
            self.problem.clear();
            self.step = before;
        }
    }

    fn go_to(&mut self, step: Step) {
        self.problem.clear();
        self.step = step;
        self.asked_for_phrase |= step == Step::Phrase;
    }

    fn enter(&mut self) -> Next {
        match self.step {
            Step::Waiting => return Next::Stay,
            // Nobody goes on who could not see all of it.
            Step::Words if !self.all_shown.get() => {
                self.problem = "Not yet: make the window larger".into();
                return Next::Stay;
            }
            Step::Token => return self.wait_for(Next::Register),
            _ => {}
        }
        if let Err(problem) = self.check() {
            self.problem = problem;
            if self.step == Step::Again {
                self.fields[Step::Again as usize].clear();
            }
            return Next::Stay;
        }
        if self.step == Step::Home && place_of(self.field(Step::Home)).is_some() {
            let next = self.wait_for(Next::Introduce);
            self.notice = "Asking it for its key …".into();
            return next;
        }
        let next = self.next();
        self.before.push(self.step);
        if self.step == Step::SecondWord {
            self.forget_phrase();
        }
        self.go_to(next);
        match (self.before.last(), next) {
            (Some(Step::SecondWord), Step::Waiting) if self.field(Step::Home).is_empty() => Next::Leave(true),
            (Some(Step::SecondWord), Step::Waiting) => self.wait_for(Next::Register),
            (_, Step::Waiting) => self.wait_for(Next::Make),
            _ => Next::Stay,
        }
    }

    fn wait_for(&mut self, next: Next) -> Next {
        self.notice = "A moment …".into();
        self.go_to(Step::Waiting);
        next
    }

    /// The step after this one.
    fn next(&self) -> Step {
        let has_home = parse_home(self.field(Step::Home)).is_ok() && home_of(self.field(Step::Code)).is_some();
        match (self.step, self.purpose()) {
            (Step::Purpose, Purpose::New) => Step::Name,
            (Step::Purpose, Purpose::Link) => Step::Code,
            (Step::Purpose, Purpose::Recover) => Step::Phrase,
            (Step::Phrase, _) => Step::Name,
            (Step::Code, _) if has_home => Step::Passphrase,
            (Step::Code | Step::Name, _) => Step::Home,
            (Step::Home, _) => Step::Passphrase,
            // No passphrase needs no second look.
            (Step::Passphrase, _) if !self.fields[Step::Passphrase as usize].is_empty() => Step::Again,
            (Step::Words, _) => Step::FirstWord,
            (Step::FirstWord, _) => Step::SecondWord,
            _ => Step::Waiting,
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let text = Zeroizing::new(self.field(self.step).to_owned());
        match self.step {
            Step::Name if text.is_empty() => Err("A name is needed.".into()),
            Step::Name => starling_text::display_name(&text).map(drop).map_err(|e| e.to_string()),
            Step::Phrase => RecoveryPhrase::parse(&text).map(drop).map_err(|e| format!("{e}: check it word by word.")),
            Step::Code => {
                if let Some(home) = home_of(&text) {
                    self.fields[Step::Home as usize] = Zeroizing::new(home.to_owned());
                }
                code_of(&text).parse::<ShortCode>().map(drop).map_err(|e| e.to_string())
            }
            Step::Home if text.is_empty() && self.purpose() == Purpose::New => Ok(()),
            Step::Home if place_of(&text).is_some() => Ok(()),
            Step::Home => parse_home(&text).map(drop).map_err(|e| e.message.into()),
            Step::Again if self.fields[Step::Passphrase as usize] != self.fields[Step::Again as usize] => {
                Err("They are not the same: try again, or Shift-Tab goes back.".into())
            }
            Step::FirstWord | Step::SecondWord => self.check_word(&text),
            _ => Ok(()),
        }
    }

    fn check_word(&mut self, typed: &str) -> Result<(), String> {
        let place = self.checks.places[usize::from(self.step == Step::SecondWord)];
        if self.words.split(' ').nth(place).is_some_and(|word| typed.eq_ignore_ascii_case(word)) {
            return Ok(());
        }
        self.fields[self.step as usize].clear();
        Err("That is not what was shown. Shift-Tab shows it again.".into())
    }
}

/// Adds to what was typed. Room for more is made elsewhere, and the old place wiped: a text that grows by itself leaves a copy behind.
fn append(field: &mut Zeroizing<String>, text: &str) {
    let length = field.len() + text.len();
    if length > field.capacity() {
        let mut longer = Zeroizing::new(String::with_capacity(ROOM.max(2 * length)));
        longer.push_str(field);
        *field = longer;
    }
    field.push_str(text);
}

/// The code in what was typed: that alone, or the whole line that the other device shows.
fn code_of(text: &str) -> &str {
    let words = || text.split_whitespace();
    let after_join = words().skip_while(|word| *word != "join").nth(1);
    after_join.or_else(|| words().next()).unwrap_or_default()
}

/// The rendezvous in that line.
fn home_of(text: &str) -> Option<&str> {
    text.split_whitespace().skip_while(|word| *word != "--rendezvous").nth(1)
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

    fn put_wrapped(&self, page: &mut Page<'_>, text: &str, most: usize, style: ratatui::style::Style) {
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
            page.put(Line::styled(crate::screen::timeline::cut(keys, page.room), theme.dim));
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

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
