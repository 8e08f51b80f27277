//! The first run: a name, where to meet, a passphrase or none; then the recovery phrase.

use std::cell::Cell;

use futures::StreamExt;
use ratatui::{
    Frame,
    crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers},
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
        let (x, room) = (inner.x + 2, inner.width.saturating_sub(4));
        let mut y = inner.y + 1;
        let bottom = inner.y + inner.height;
        let mut put = |line: Line<'static>, y: &mut u16| {
            if *y < bottom {
                buffer.set_line(x, *y, &line, room);
                *y += 1;
            }
        };
        if self.step == PHRASE {
            put(Line::from("Your recovery phrase, shown only now. Write it down:"), &mut y);
            put(Line::styled("who has it is you; without it a lost device is a lost account.", theme.dim), &mut y);
            let columns = usize::from(room / 14).clamp(1, 4);
            for (i, row) in self.words.chunks(columns).enumerate() {
                let cells = row.iter().enumerate().map(|(j, w)| format!("{:>2} {w:<11}", i * columns + j + 1));
                put(Line::styled(cells.collect::<String>(), theme.accent), &mut y);
            }
            self.all_shown.set(y < bottom);
            let last = match (y < bottom, self.problem.as_str()) {
                (true, _) => "Enter: I have written it down",
                (false, "") => "Make the window larger: words are missing",
                (false, problem) => problem,
            };
            // Over the last row if there is no other.
            y = y.min(bottom - 1);
            put(Line::styled(format!("{last:<room$}", room = usize::from(room)), theme.warn), &mut y);
            put(Line::styled("Next, /invite makes a link for your first friend.", theme.dim), &mut y);
            return;
        }
        let (question, help) = STEPS[self.step];
        put(Line::styled(format!("{} of 3", self.step.min(2) + 1), theme.dim), &mut y);
        y += 1;
        put(Line::styled(question, theme.accent), &mut y);
        let mut row = String::new();
        for word in help.split(' ') {
            if row.width() + word.width() + 1 > usize::from(room) {
                put(Line::styled(std::mem::take(&mut row), theme.dim), &mut y);
            }
            row.push_str(word);
            row.push(' ');
        }
        put(Line::styled(row, theme.dim), &mut y);
        y += 1;
        let text = &self.fields[self.step];
        let shown = if self.step >= 2 { "•".repeat(text.chars().count()) } else { text.to_string() };
        // The end of a long address is what one has just typed.
        let skip = shown.chars().count().saturating_sub(usize::from(room.saturating_sub(4)));
        let tail: String = shown.chars().skip(skip).collect();
        put(Line::from(vec![Span::styled("› ", theme.accent), Span::raw(tail.clone())]), &mut y);
        let cursor = (x + 2 + tail.width() as u16, y - 1);
        y += 1;
        if !self.problem.is_empty() {
            put(Line::styled(cut(&self.problem, room), theme.warn), &mut y);
        }
        y = y.max(bottom.saturating_sub(2));
        put(Line::styled("Enter goes on · Shift-Tab goes back · Ctrl-C leaves", theme.dim), &mut y);
        frame.set_cursor_position(cursor);
    }

    fn check(&self) -> Result<(), String> {
        match self.step {
            0 if self.fields[0].trim().is_empty() => Err("A name is needed.".into()),
            0 if self.fields[0].len() > 64 => Err("That name is too long.".into()),
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
        let key = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            Event::Paste(text) if form.step < PHRASE => {
                form.fields[form.step].push_str(text.trim());
                continue;
            }
            _ => continue,
        };
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) && form.step < PHRASE => {
                return Ok(false);
            }
            // Nobody goes on who could not see all of it.
            KeyCode::Enter if form.step == PHRASE && form.all_shown.get() => return Ok(true),
            KeyCode::Enter if form.step == PHRASE => form.problem = "Not yet: make the window larger".into(),
            KeyCode::Enter => match form.check() {
                Err(problem) => {
                    form.problem = problem;
                    if form.step == 3 {
                        form.fields[3].clear();
                    }
                }
                Ok(()) => {
                    form.problem.clear();
                    form.step += 1;
                    // No passphrase needs no second look.
                    if form.step == 3 && form.fields[2].is_empty() {
                        form.step = PHRASE;
                    }
                    if form.step == PHRASE {
                        match make(profile, &form) {
                            Ok(words) => form.words = words,
                            Err(error) => {
                                form.problem = error.message.into();
                                form.step = 2;
                            }
                        }
                    }
                }
            },
            KeyCode::BackTab if form.step > 0 && form.step < PHRASE => form.step -= 1,
            KeyCode::Backspace if form.step < PHRASE => drop(form.fields[form.step].pop()),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) && form.step < PHRASE => {
                form.fields[form.step].clear();
            }
            KeyCode::Char(c) if form.step < PHRASE && !key.modifiers.contains(KeyModifiers::CONTROL) => {
                form.fields[form.step].push(c);
            }
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
        account: phrase.account_key(),
        origin: starling_node::Origin::New,
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
