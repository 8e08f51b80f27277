//! The first run: a name, where to meet, a passphrase or none; then the recovery phrase.

use std::{cell::Cell, time::Duration};

use futures::StreamExt;
use ratatui::{
    Frame,
    buffer::Buffer,
    crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, BorderType, Widget},
};
use starling_keys::{Protection, RecoveryPhrase};
use unicode_width::UnicodeWidthStr;
use zeroize::Zeroizing;

use super::{
    event_loop::{Screen, make_cells_safe, screen_of},
    theme::Theme,
    timeline::cut,
};
use crate::{
    error::CliResult,
    profile::Profile,
    terminal::Session,
    verbs::{NewProfile, make_profile, parse_home},
};

/// The rendezvous that is offered, so that a distribution or a company can set its own.
const DEFAULT_HOME: &str = "STARLING_RENDEZVOUS";

struct Form {
    step: usize,
    fields: [Zeroizing<String>; 4],
    problem: String,
    words: Vec<String>,
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
    fn put(&mut self, line: Line<'static>) {
        if self.y < self.bottom {
            self.buffer.set_line(self.x, self.y, &line, self.room);
            self.y += 1;
        }
    }
}

/// Keys that come after each other faster than this were typed ahead, or are one that is held down.
const TYPED_AHEAD: Duration = Duration::from_millis(50);

/// The step that shows the phrase.
const PHRASE: usize = 4;

const STEPS: [(&str, &str); 4] = [
    (
        "What shall others call you?",
        "Any name; you can change it later. (If you are on Starling already, leave and run: starling device join — or, with the recovery phrase alone, starling init --restore)",
    ),
    (
        "Where do you want to meet?",
        "The address of a rendezvous: its operator gives it, or `starling-rendezvous` prints it. Empty: only people on this network.",
    ),
    (
        "A passphrase for this device?",
        "It is asked for at every start. Empty: none, the key is kept in a file that only you can read.",
    ),
    ("The passphrase once more", "So that a slip of the finger does not lock you out."),
];

impl Form {
    fn draw(&self, frame: &mut Frame<'_>, theme: &Theme) {
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
        let room = inner.width.saturating_sub(4);
        let mut page = Page { x: inner.x + 2, y: inner.y + 1, bottom: inner.y + inner.height, room, buffer };
        match self.step {
            PHRASE => self.draw_phrase(&mut page, theme),
            _ => {
                let cursor = self.draw_question(&mut page, theme);
                frame.set_cursor_position(cursor);
            }
        }
    }

    fn draw_phrase(&self, page: &mut Page<'_>, theme: &Theme) {
        page.put(Line::from("Your recovery phrase, shown only now. Write it down:"));
        page.put(Line::styled("who has it is you; without it a lost device is a lost account.", theme.dim));
        let columns = usize::from(page.room / 14).clamp(1, 4);
        for (i, row) in self.words.chunks(columns).enumerate() {
            let cells = row.iter().enumerate().map(|(j, w)| format!("{:>2} {w:<11}", i * columns + j + 1));
            page.put(Line::styled(cells.collect::<String>(), theme.accent));
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
        page.put(Line::styled("Next, /invite makes a link for your first friend.", theme.dim));
    }

    /// Gives where the cursor is.
    fn draw_question(&self, page: &mut Page<'_>, theme: &Theme) -> (u16, u16) {
        let (question, help) = STEPS[self.step];
        page.put(Line::styled(format!("{} of 3", self.step.min(2) + 1), theme.dim));
        page.y += 1;
        page.put(Line::styled(question, theme.accent));
        let mut row = String::new();
        for word in help.split(' ') {
            if row.width() + word.width() + 1 > usize::from(page.room) {
                page.put(Line::styled(std::mem::take(&mut row), theme.dim));
            }
            row.push_str(word);
            row.push(' ');
        }
        page.put(Line::styled(row, theme.dim));
        page.y += 1;
        let text = &self.fields[self.step];
        let shown = if self.step >= 2 { "•".repeat(text.chars().count()) } else { text.to_string() };
        // The end of a long address is what one has just typed.
        let skip = shown.chars().count().saturating_sub(usize::from(page.room.saturating_sub(4)));
        let tail: String = shown.chars().skip(skip).collect();
        page.put(Line::from(vec![Span::styled("› ", theme.accent), Span::raw(tail.clone())]));
        let cursor = (page.x + 2 + tail.width() as u16, page.y.saturating_sub(1));
        page.y += 1;
        if !self.problem.is_empty() {
            page.put(Line::styled(cut(&self.problem, page.room), theme.warn));
        }
        page.y = page.y.max(page.bottom.saturating_sub(2));
        page.put(Line::styled("Enter goes on · Shift-Tab goes back · Ctrl-C leaves", theme.dim));
        cursor
    }

    /// Takes a key; `Some` when it is over: whether there is a profile now.
    fn key(&mut self, key: &KeyEvent, profile: &Profile) -> Option<bool> {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            // Nobody goes on who could not see all of it.
            KeyCode::Enter if self.step == PHRASE && self.all_shown.get() => return Some(true),
            KeyCode::Enter if self.step == PHRASE => self.problem = "Not yet: make the window larger".into(),
            _ if self.step == PHRASE => {}
            KeyCode::Char('c') if ctrl => return Some(false),
            KeyCode::Enter => self.go_on(profile),
            KeyCode::BackTab if self.step > 0 => self.step -= 1,
            KeyCode::Backspace => drop(self.fields[self.step].pop()),
            KeyCode::Char('u') if ctrl => self.fields[self.step].clear(),
            KeyCode::Char(c) if !ctrl => self.fields[self.step].push(c),
            _ => {}
        }
        None
    }

    /// To the next question, or to the phrase of the profile that is made.
    fn go_on(&mut self, profile: &Profile) {
        if let Err(problem) = self.check() {
            self.problem = problem;
            if self.step == 3 {
                self.fields[3].clear();
            }
            return;
        }
        self.problem.clear();
        self.step += 1;
        // No passphrase needs no second look.
        if self.step == 3 && self.fields[2].is_empty() {
            self.step = PHRASE;
        }
        if self.step == PHRASE {
            match make(profile, self) {
                Ok(words) => self.words = words,
                Err(error) => {
                    self.problem = error.message.into();
                    self.step = 2;
                }
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        match self.step {
            0 if self.fields[0].trim().is_empty() => Err("A name is needed.".into()),
            0 => starling_text::display_name(&self.fields[0]).map(|_| ()).map_err(|e| e.to_string()),
            1 if !self.fields[1].trim().is_empty() => {
                parse_home(self.fields[1].trim()).map(|_| ()).map_err(|e| e.message.into())
            }
            3 if self.fields[2] != self.fields[3] => {
                Err("They are not the same: try again, or Shift-Tab goes back.".into())
            }
            _ => Ok(()),
        }
    }
}

/// Asks, and makes the profile. `false` if the user has left.
pub async fn run(profile: &Profile, theme: &Theme) -> CliResult<bool> {
    // The mouse is left to the terminal, so that words can be selected with it.
    let session = Session::open(false)?;
    ask(&mut screen_of(&session)?, profile, theme).await
}

async fn ask(terminal: &mut Screen, profile: &Profile, theme: &Theme) -> CliResult<bool> {
    let home = std::env::var(DEFAULT_HOME).unwrap_or_default();
    let mut form = Form {
        step: 0,
        fields: [Zeroizing::default(), Zeroizing::new(home), Zeroizing::default(), Zeroizing::default()],
        problem: String::new(),
        words: Vec::new(),
        all_shown: Cell::new(false),
    };
    let mut input = EventStream::new();
    loop {
        terminal.draw(|frame| {
            form.draw(frame, theme);
            make_cells_safe(frame.buffer_mut());
        })?;
        let Some(Ok(event)) = input.next().await else {
            return Ok(false);
        };
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let asked = form.step;
                if let Some(made) = form.key(&key, profile) {
                    return Ok(made);
                }
                if form.step == PHRASE && asked != PHRASE {
                    // Keys that were typed while the profile was made were not meant for a phrase that nobody had seen.
                    while let Ok(Some(_)) = tokio::time::timeout(TYPED_AHEAD, input.next()).await {}
                }
            }
            Event::Paste(text) if form.step < PHRASE => form.fields[form.step].push_str(text.trim()),
            _ => {}
        }
    }
}

fn make(profile: &Profile, form: &Form) -> CliResult<Vec<String>> {
    let passphrase = &form.fields[2];
    let protection = if passphrase.is_empty() { Protection::Plain } else { Protection::Passphrase };
    let home = form.fields[1].trim();
    let phrase = RecoveryPhrase::generate();
    let words = phrase.words().split(' ').map(Into::into).collect();
    let new = NewProfile {
        name: form.fields[0].trim().to_owned(),
        origin: starling_node::Origin::New(phrase.account_key()),
        homes: if home.is_empty() { Vec::new() } else { vec![parse_home(home)?] },
        protection,
        registration_token: String::new(),
        username: String::new(),
        bot: false,
    };
    profile.remember_passphrase(passphrase.clone());
    make_profile(profile, new)?;
    Ok(words)
}
