//! The questions of the first run, and what is typed in answer to them.

mod draw;

use std::cell::Cell;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use starling_keys::{RecoveryPhrase, ShortCode};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Next,
    making::{Progress, Wanted},
};
use crate::verbs::{WordChecks, parse_home, place_of};

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

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
