//! Where one writes: readline keys, completion.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui_textarea::{CursorMove, TextArea, WrapMode};
use starling_node::MessageId;
use unicode_width::UnicodeWidthStr;

pub use super::model::Mode;
use super::{actions, model::Draft};

/// Rows that the composer may take.
const MAX_ROWS: u16 = 8;
/// Completions that are offered at once.
const OFFERS: usize = 6;

/// What a key has done.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// Something with the text, or nothing that concerns others.
    Here,
    /// To the timeline, with the newest message selected.
    SelectLast,
    /// To `$EDITOR`.
    Editor,
}

/// A completion.
#[derive(Clone, Debug)]
pub struct Offer {
    pub insert: String,
    pub label: String,
}

/// The composer.
pub struct Composer {
    pub area: TextArea<'static>,
    pub mode: Mode,
    pub offers: Vec<Offer>,
    pub offer: usize,
    /// Names for `@`.
    pub names: Vec<String>,
    /// The draft that waits while a message is edited.
    waiting: String,
    ctrl_x: bool,
    /// When the others were last told that the user is typing.
    pub told_typing: Option<Instant>,
}

fn new_area(lines: Vec<String>) -> TextArea<'static> {
    let mut area = TextArea::new(lines);
    area.set_wrap_mode(WrapMode::Glyph);
    area.set_cursor_line_style(ratatui::style::Style::new());
    area.move_cursor(CursorMove::Bottom);
    area.move_cursor(CursorMove::End);
    area
}

impl Default for Composer {
    fn default() -> Self {
        Self {
            area: new_area(Vec::new()),
            mode: Mode::Write,
            offers: Vec::new(),
            offer: 0,
            names: Vec::new(),
            waiting: String::new(),
            ctrl_x: false,
            told_typing: None,
        }
    }
}

impl Composer {
    pub fn text(&self) -> String {
        self.area.lines().join("\n")
    }

    pub fn is_empty(&self) -> bool {
        self.area.is_empty()
    }

    pub fn set(&mut self, text: &str) {
        self.area = new_area(text.split('\n').map(Into::into).collect());
        self.complete();
    }

    /// Empties it; what was being written before an edit comes back.
    pub fn clear(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.set(&waiting);
        self.offers.clear();
        self.mode = Mode::Write;
    }

    /// Begins to edit a message; the draft waits.
    pub fn edit(&mut self, id: MessageId, text: &str) {
        let draft = if matches!(self.mode, Mode::Edit(_)) { std::mem::take(&mut self.waiting) } else { self.text() };
        self.mode = Mode::Edit(id);
        self.set(text);
        self.offers.clear();
        self.waiting = draft;
    }

    /// What is being written.
    pub fn draft(&self) -> Draft {
        Draft { text: self.text(), mode: self.mode, waiting: self.waiting.clone() }
    }

    /// Goes on with another draft.
    pub fn set_draft(&mut self, draft: Draft) {
        self.area = new_area(draft.text.split('\n').map(Into::into).collect());
        (self.mode, self.waiting) = (draft.mode, draft.waiting);
        self.offers.clear();
    }

    /// Puts back a text that could not be sent, before what has been written since.
    pub fn put_back(&mut self, text: &str) {
        let since = self.text();
        self.set(&if since.is_empty() { text.to_owned() } else { format!("{text}\n{since}") });
        self.offers.clear();
    }

    /// Rows for a width.
    pub fn rows(&self, width: u16) -> u16 {
        let width = usize::from(width.max(2));
        let rows: usize = self.area.lines().iter().map(|l| (l.width() + 1).div_ceil(width).max(1)).sum();
        u16::try_from(rows).unwrap_or(MAX_ROWS).clamp(1, MAX_ROWS)
    }

    /// Many lines at once stay one message, and wait for Enter.
    pub fn paste(&mut self, text: &str) {
        self.area.insert_str(text.replace("\r\n", "\n").replace('\r', "\n"));
        self.complete();
    }

    /// A new line where the cursor is.
    pub fn new_line(&mut self) {
        self.area.insert_newline();
        self.complete();
    }

    /// A key for the completions, if there are any. Gives whether it was one.
    pub fn completion_key(&mut self, key: &KeyEvent) -> bool {
        let Some(offer) = self.offers.get(self.offer) else { return false };
        match key.code {
            KeyCode::Tab => self.take_offer(),
            // A word of a command that is not yet whole is completed first.
            KeyCode::Enter
                if key.modifiers.is_empty()
                    && self.text().starts_with('/')
                    && !starling_text::same(&offer.insert, &self.word().0) =>
            {
                self.take_offer();
            }
            KeyCode::Esc => self.offers.clear(),
            KeyCode::Up => self.offer = self.offer.saturating_sub(1),
            KeyCode::Down => self.offer = (self.offer + 1).min(self.offers.len() - 1),
            _ => return false,
        }
        true
    }

    /// A key that no action has: it is written, or edits what is written.
    pub fn key(&mut self, key: &KeyEvent, emacs: bool) -> Done {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        if std::mem::take(&mut self.ctrl_x) && ctrl && key.code == KeyCode::Char('e') {
            return Done::Editor;
        }
        let area = &mut self.area;
        match key.code {
            KeyCode::Up if area.is_empty() => return Done::SelectLast,
            KeyCode::Up => area.move_cursor(CursorMove::Up),
            KeyCode::Down => area.move_cursor(CursorMove::Down),
            KeyCode::Char('x') if ctrl => self.ctrl_x = true,
            _ => edit(area, key, emacs),
        }
        self.complete();
        Done::Here
    }

    /// The word before the cursor, and where it begins (in characters).
    fn word(&self) -> (String, usize) {
        let cursor = self.area.cursor();
        let line = self.area.lines().get(cursor.0).map(String::as_str).unwrap_or_default();
        let before: Vec<char> = line.chars().take(cursor.1).collect();
        let start = before.iter().rposition(|c| c.is_whitespace()).map_or(0, |i| i + 1);
        (before[start..].iter().collect(), start)
    }

    /// What could complete the word before the cursor.
    fn complete(&mut self) {
        self.offer = 0;
        let (word, start) = self.word();
        let first = self.area.cursor().0 == 0 && start == 0;
        self.offers = if first && word.starts_with('/') && !word.starts_with("//") {
            let found = actions::commands().filter(|c| c.name.starts_with(&word[1..]));
            let offer =
                |c: &actions::Command| Offer { insert: c.prefix(), label: format!("{} — {}", c.usage(), c.help) };
            found.map(offer).collect()
        } else if let Some(part) = word.strip_prefix('@') {
            let part = starling_text::folded(part);
            let found = self.names.iter().filter(|n| starling_text::folded(n).starts_with(&part));
            found.map(|n| Offer { insert: format!("@{n} "), label: format!("@{n}") }).collect()
        } else if let Some(part) = word.strip_prefix(':').filter(|p| p.len() >= 2) {
            let found = emojis::iter().filter_map(|e| Some((e, e.shortcodes().find(|s| s.starts_with(part))?)));
            let offer = |(e, s): (&emojis::Emoji, &str)| Offer { insert: format!("{e} "), label: format!("{e} :{s}:") };
            found.map(offer).take(OFFERS).collect()
        } else {
            Vec::new()
        };
        self.offers.truncate(OFFERS);
    }

    pub fn take_offer(&mut self) {
        let Some(offer) = self.offers.get(self.offer).cloned() else {
            return;
        };
        for _ in 0..self.word().0.chars().count() {
            self.area.delete_char();
        }
        self.area.insert_str(&offer.insert);
        self.complete();
        if offer.insert.starts_with('/') {
            self.offers.clear();
        }
    }
}

/// Edits what is written, as a key of readline does.
fn edit(area: &mut TextArea<'_>, key: &KeyEvent, emacs: bool) {
    let (ctrl, alt) = (key.modifiers.contains(KeyModifiers::CONTROL), key.modifiers.contains(KeyModifiers::ALT));
    match key.code {
        KeyCode::Char('p') if ctrl && emacs => area.move_cursor(CursorMove::Up),
        KeyCode::Char('n') if ctrl => area.move_cursor(CursorMove::Down),
        KeyCode::Char('a') if ctrl => area.move_cursor(CursorMove::Head),
        KeyCode::Char('e') if ctrl => area.move_cursor(CursorMove::End),
        KeyCode::Home => area.move_cursor(CursorMove::Head),
        KeyCode::End => area.move_cursor(CursorMove::End),
        KeyCode::Left if ctrl || alt => area.move_cursor(CursorMove::WordBack),
        KeyCode::Right if ctrl || alt => area.move_cursor(CursorMove::WordForward),
        KeyCode::Char('b') if alt => area.move_cursor(CursorMove::WordBack),
        KeyCode::Char('f') if alt => area.move_cursor(CursorMove::WordForward),
        KeyCode::Char('b') if ctrl => area.move_cursor(CursorMove::Back),
        KeyCode::Char('f') if ctrl => area.move_cursor(CursorMove::Forward),
        KeyCode::Left => area.move_cursor(CursorMove::Back),
        KeyCode::Right => area.move_cursor(CursorMove::Forward),
        KeyCode::Char('d') if alt => drop(area.delete_next_word()),
        KeyCode::Char('d') if ctrl => drop(area.delete_next_char()),
        KeyCode::Char('k') if ctrl => drop(area.delete_line_by_end()),
        KeyCode::Char('u') if ctrl => drop(area.delete_line_by_head()),
        KeyCode::Char('w') if ctrl => drop(area.delete_word()),
        KeyCode::Backspace if alt || ctrl => drop(area.delete_word()),
        KeyCode::Char('h') if ctrl => drop(area.delete_char()),
        KeyCode::Char('y') if ctrl => drop(area.paste()),
        KeyCode::Char('t') if ctrl => transpose(area),
        KeyCode::Char('_' | '7' | 'z') if ctrl => drop(area.undo()),
        KeyCode::Backspace => drop(area.delete_char()),
        KeyCode::Delete => drop(area.delete_next_char()),
        KeyCode::Char(c) if !ctrl && !alt => area.insert_char(c),
        _ => {}
    }
}

/// Swaps the two characters before the cursor.
fn transpose(area: &mut TextArea<'_>) {
    let cursor = area.cursor();
    let line: Vec<char> = area.lines().get(cursor.0).map(|l| l.chars().collect()).unwrap_or_default();
    let at = cursor.1.min(line.len());
    if at >= 2 {
        area.delete_char();
        area.delete_char();
        area.insert_char(line[at - 1]);
        area.insert_char(line[at - 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(composer: &mut Composer, keys: &str) -> Done {
        let mut done = Done::Here;
        for c in keys.chars() {
            let key = match c {
                '\n' => KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE),
                '\t' => KeyEvent::new(KeyCode::Tab, KeyModifiers::NONE),
                '\u{1}'..='\u{1a}' => {
                    let letter = char::from(c as u8 + b'a' - 1);
                    KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)
                }
                c => KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE),
            };
            done = if composer.completion_key(&key) { Done::Here } else { composer.key(&key, false) };
        }
        done
    }

    #[test]
    fn readline_keys_and_completion() {
        let mut composer = Composer { names: vec!["alice".into()], ..Composer::default() };
        press(&mut composer, "one two\u{17}three\u{1}>");
        assert_eq!(composer.text(), ">one three");
        press(&mut composer, "\u{5}\u{15}");
        assert!(composer.is_empty());
        press(&mut composer, "hi @al\t");
        assert_eq!(composer.text(), "hi @alice ");
        composer.clear();
        press(&mut composer, ":rocke\t");
        assert_eq!(composer.text(), "🚀 ");
        composer.clear();
        press(&mut composer, "/rep\t1 x");
        assert_eq!(composer.text(), "/reply 1 x");
        let enter = KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE);
        assert!(!composer.completion_key(&enter), "it is sent");
        composer.clear();
        press(&mut composer, "/group ops @al");
        assert!(composer.completion_key(&enter), "the name is completed first");
        composer.clear();
        press(&mut composer, "/group ops @Alice");
        assert!(!composer.completion_key(&enter), "a whole name needs no other Enter");
    }

    #[test]
    fn a_paste_of_many_lines_is_not_sent_and_drafts_are_kept() {
        let mut composer = Composer::default();
        composer.paste(&"line\r\n".repeat(10_000));
        assert_eq!((composer.area.lines().len(), composer.rows(80)), (10_001, 8));
        let draft = composer.draft();
        composer.set_draft(Draft::default());
        assert!(composer.is_empty());
        composer.set_draft(draft);
        assert_eq!(composer.area.lines().len(), 10_001);
    }

    #[test]
    fn a_draft_that_waits_for_an_edit_is_part_of_the_draft() {
        let mut composer = Composer::default();
        composer.paste("half a thought");
        composer.edit(MessageId::default(), "a message");
        let draft = composer.draft();
        composer.set_draft(Draft::default());
        composer.set_draft(draft);
        assert_eq!((composer.text().as_str(), composer.mode), ("a message", Mode::Edit(MessageId::default())));
        composer.clear();
        assert_eq!((composer.text().as_str(), composer.mode), ("half a thought", Mode::Write));
        composer.put_back("could not be sent");
        assert_eq!(composer.text(), "could not be sent\nhalf a thought");
    }
}
