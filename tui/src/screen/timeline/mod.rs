//! The timeline as it is seen: which part of the history is in view, what is selected, and rows laid out only where they are visible.

mod row;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use ratatui::{buffer::Buffer, layout::Rect, widgets::Widget};
use starling_control::objects::DeliveryState;
use starling_node::{Clock, MessageId};

use self::row::{Beside, GUTTER, Head, Laid, Quoted, lay_out, note_rows};
pub use self::row::{cut, cut_off};
use super::{
    clock,
    model::{History, Inserted, Message, Notes, Numbers, Place, Wants},
    theme::Theme,
};

/// Messages beyond the view that are fetched before they are scrolled to.
const AHEAD: usize = 30;
/// With fewer messages than this, older ones are fetched even at the bottom.
const FEW: usize = 60;
/// Messages whose rows are kept laid out.
const MAX_LAID: usize = 3_000;
/// After such a pause the name stands above a message again, in milliseconds.
const PAUSE_MS: u64 = 300_000;

/// The timeline of the open chat.
#[derive(Default)]
pub struct Timeline {
    history: History,
    /// Message and row at the top of the view; `None` follows the newest.
    top: Option<(usize, usize)>,
    /// What the last drawing has shown: top, and the messages of each row.
    shown_top: (usize, usize),
    shown: Vec<Option<usize>>,
    height: usize,
    pub selected: Option<usize>,
    pub numbers: Numbers,
    unfolded: HashSet<MessageId>,
    laid: HashMap<MessageId, Laid>,
    /// Everything after this is new.
    unread_after: Option<Clock>,
    /// The first of the new messages, above which a line says so.
    first_new: Option<MessageId>,
    /// Messages that came while the view was further up.
    pub below: usize,
    /// What has happened in the group: lines between the messages.
    notes: Notes,
}

impl Timeline {
    /// An empty timeline, whose messages have these numbers.
    pub fn of(numbers: Numbers) -> Self {
        Self { numbers, ..Self::default() }
    }

    /// Another window of messages in place of this one.
    fn replace(&mut self, history: History) {
        let (numbers, unfolded) = (std::mem::take(&mut self.numbers), std::mem::take(&mut self.unfolded));
        let notes = std::mem::take(&mut self.notes);
        *self = Self { history, numbers, unfolded, notes, ..Self::default() };
    }

    /// The newest page of the chat.
    pub fn load(&mut self, messages: Vec<Message>, limit: usize, unread_after: Option<Clock>) {
        self.replace(History::newest(messages, limit));
        self.unread_after = unread_after;
        self.find_first_new();
    }

    fn find_first_new(&mut self) {
        let Some(after) = self.unread_after else { return };
        let first = self.history.first_new(after);
        if first != self.first_new {
            self.relay();
        }
        self.first_new = first;
    }

    /// What has happened in the group of this chat.
    pub fn set_notes(&mut self, notes: Notes) {
        if self.notes != notes {
            self.notes = notes;
            self.relay();
        }
    }

    /// Nothing is new any more.
    pub fn all_read(&mut self) {
        self.unread_after = None;
    }

    /// A page around a message, which is selected.
    pub fn around(&mut self, messages: Vec<Message>, id: MessageId) {
        self.replace(History::part(messages));
        self.selected = self.history.position(id);
        self.top = self.selected.map(|s| (s.saturating_sub(3), 0));
    }

    /// A page around the place where the user was before.
    pub fn return_to(&mut self, messages: Vec<Message>, place: Place) {
        self.replace(History::part(messages));
        // If the message is gone, the one that was after it.
        let at = self.history.first_from(place.message);
        self.top = Some((at.min(self.history.len().saturating_sub(1)), place.row));
    }

    /// Where the view is; `None` at the newest message.
    pub fn place(&self) -> Option<Place> {
        let (index, row) = self.top?;
        Some(Place { message: self.history.get(index)?.id, row })
    }

    pub fn is_empty(&self) -> bool {
        self.history.is_empty()
    }

    /// The view shows the newest message.
    pub fn is_at_bottom(&self) -> bool {
        self.top.is_none() && self.history.has_newest()
    }

    /// The newest message is in the window, so that going down needs no fetching.
    pub fn has_newest(&self) -> bool {
        self.history.has_newest()
    }

    /// There may be older messages than there were.
    pub fn has_older_now(&mut self) {
        self.history.has_older_now();
    }

    pub fn selected_message(&self) -> Option<&Message> {
        self.history.get(self.selected?)
    }

    pub fn find(&self, id: MessageId) -> Option<&Message> {
        self.history.find(id)
    }

    /// The message with a number, if it is in the window.
    pub fn by_number(&self, number: u64) -> Option<&Message> {
        self.find(self.numbers.message(number)?)
    }

    /// A new message, at its place.
    pub fn insert(&mut self, message: Message) {
        let (id, own) = (message.id, message.is_own());
        match self.history.insert(message) {
            Inserted::Elsewhere => self.below += 1,
            Inserted::Known => self.changed(id),
            Inserted::At(at) => {
                if own {
                    self.go_to_bottom();
                } else if self.top.is_some() {
                    self.below += 1;
                }
                for index in self.top.iter_mut().map(|(index, _)| index).chain(&mut self.selected) {
                    *index += usize::from(*index >= at);
                }
                // Who reads further up is not moved.
                if self.top.is_none() {
                    let dropped = self.history.drop_oldest();
                    self.selected = self.selected.and_then(|s| s.checked_sub(dropped));
                }
            }
        }
    }

    /// A message has changed.
    pub fn update(&mut self, message: Message) {
        let id = message.id;
        if self.history.update(message) {
            self.changed(id);
        }
    }

    /// A message, and what quotes it, has to be laid out again.
    fn changed(&mut self, id: MessageId) {
        self.laid.remove(&id);
        for answer in self.history.answers_to(id) {
            self.laid.remove(&answer);
        }
    }

    pub fn set_state(&mut self, id: MessageId, state: DeliveryState, reason: &str) {
        self.history.set_state(id, state, reason);
        self.laid.remove(&id);
    }

    /// A page that the view wanted, of at most so many messages.
    pub fn extend(&mut self, wants: &Wants, page: Vec<Message>, limit: usize) {
        let Some(moved) = self.history.extend(wants, page, limit) else { return };
        let places = self.top.iter_mut().map(|(index, _)| index).chain([&mut self.shown_top.0]);
        places.for_each(|index| *index = (*index + moved.added).saturating_sub(moved.dropped));
        self.selected = self.selected.and_then(|s| (s + moved.added).checked_sub(moved.dropped));
        self.find_first_new();
    }

    /// What has to be fetched for the view and some room around it.
    pub fn wants(&self) -> Option<Wants> {
        let near_start = self.shown_top.0 < AHEAD && (self.top.is_some() || self.history.len() < FEW);
        let bottom = self.shown.iter().rev().find_map(|m| *m).unwrap_or(0);
        let older = self.history.wants_older().filter(|_| near_start);
        older.or_else(|| self.history.wants_newer().filter(|_| bottom + AHEAD > self.history.len()))
    }

    pub fn go_to_bottom(&mut self) {
        self.top = None;
        self.below = 0;
        self.selected = None;
    }

    pub fn unfold(&mut self, id: MessageId) {
        if !self.unfolded.remove(&id) {
            self.unfolded.insert(id);
        }
        self.laid.remove(&id);
    }

    /// Every message has to be laid out again: colours or names have changed.
    pub fn relay(&mut self) {
        self.laid.clear();
    }

    /// Moves the view by rows; negative is up.
    pub fn scroll(&mut self, rows: isize, theme: &Theme, width: u16) {
        let (mut index, mut row) = self.top.unwrap_or(self.shown_top);
        let mut left = rows.unsigned_abs();
        if rows < 0 {
            while left > 0 {
                if row > 0 {
                    let step = row.min(left);
                    row -= step;
                    left -= step;
                } else if index > 0 {
                    index -= 1;
                    row = self.lay(index, width, theme);
                } else {
                    break;
                }
            }
            self.top = Some((index, row));
        } else if self.top.is_some() {
            while left > 0 && index < self.history.len() {
                let here = self.lay(index, width, theme);
                let step = here.saturating_sub(row).min(left);
                row += step;
                left -= step;
                if row >= here {
                    index += 1;
                    row = 0;
                }
            }
            self.top = Some((index, row));
            self.settle(width, theme);
        }
    }

    /// Follows the newest message again once it is in view.
    fn settle(&mut self, width: u16, theme: &Theme) {
        let Some((index, row)) = self.top else { return };
        let mut rows = 0;
        for at in index..self.history.len() {
            rows += self.lay(at, width, theme).saturating_sub(if at == index { row } else { 0 });
            if rows > self.height {
                return;
            }
        }
        if self.history.has_newest() {
            self.top = None;
            self.below = 0;
        }
    }

    /// Selects a message relative to the one that is; it is brought into view.
    pub fn select(&mut self, step: isize, theme: &Theme, width: u16) {
        let Some(last) = self.history.len().checked_sub(1) else { return };
        let bottom = self.shown.iter().rev().find_map(|m| *m).unwrap_or(last);
        let index = match self.selected {
            Some(index) => index.saturating_add_signed(step).min(last),
            None => bottom.min(last),
        };
        self.selected = Some(index);
        self.show(index, theme, width);
    }

    pub fn select_first(&mut self, theme: &Theme, width: u16) {
        if !self.history.is_empty() {
            self.selected = Some(0);
            self.show(0, theme, width);
        }
    }

    /// Selects a message by id, if it is in the window.
    pub fn select_id(&mut self, id: MessageId, theme: &Theme, width: u16) -> bool {
        let Some(index) = self.history.position(id) else {
            return false;
        };
        self.selected = Some(index);
        self.show(index, theme, width);
        true
    }

    /// The message in a row of the view.
    pub fn at_row(&self, row: usize) -> Option<usize> {
        self.shown.get(row).copied().flatten()
    }

    fn show(&mut self, index: usize, theme: &Theme, width: u16) {
        let top = self.top.unwrap_or(self.shown_top);
        if index < top.0 || (index == top.0 && top.1 > 0) {
            self.top = Some((index, 0));
            return;
        }
        // From the message upwards: does everything from the top fit above it?
        let mut rows = self.lay(index, width, theme);
        let mut at = index;
        while at > top.0 && rows <= self.height {
            at -= 1;
            rows += self.lay(at, width, theme);
        }
        if at == top.0 {
            rows = rows.saturating_sub(top.1);
        }
        if rows > self.height {
            self.top = Some((at, rows - self.height + if at == top.0 { top.1 } else { 0 }));
            self.settle(width, theme);
        }
    }

    /// Lays a message out if it is not; gives its number of rows.
    fn lay(&mut self, index: usize, width: u16, theme: &Theme) -> usize {
        let (head, notes) = (self.head(index), self.notes_beside(index));
        let Some(message) = self.history.get(index) else { return 0 };
        let is_laid = |laid: &&Laid| laid.width == width && laid.head == head && laid.notes == notes;
        if let Some(laid) = self.laid.get(&message.id).filter(is_laid) {
            return laid.rows.len();
        }
        let quoted = match message.reply_to {
            None => Quoted::Nothing,
            Some(id) => self.history.find(id).map_or(Quoted::Older, Quoted::Message),
        };
        let mut laid = lay_out(message, head, quoted, self.unfolded.contains(&message.id), width, theme);
        let words = [&notes.before, &notes.after].map(|range| self.notes.words(range.clone()));
        laid.put_notes(notes, &words, theme);
        let count = laid.rows.len();
        let id = message.id;
        if self.laid.len() >= MAX_LAID {
            self.laid.clear();
        }
        self.laid.insert(id, laid);
        count
    }

    fn head(&self, index: usize) -> Head {
        let Some(message) = self.history.get(index) else {
            return Head::default();
        };
        let before = index.checked_sub(1).and_then(|i| self.history.get(i));
        let (day, _) = clock::local(message.at_ms);
        let day = before.is_none_or(|b| clock::local(b.at_ms).0 != day).then_some(day);
        let unread = self.unread_after.is_some() && self.first_new == Some(message.id);
        let goes_on = |b: &Message| {
            let is_same = b.is_own() == message.is_own() && b.wire.from.account == message.wire.from.account;
            is_same && message.at_ms.saturating_sub(b.at_ms) <= PAUSE_MS
        };
        let is_parted = || index.checked_sub(1).is_some_and(|before| !self.notes_after(before).is_empty());
        let part = part_of(before, message);
        let name = day.is_some() || unread || part.is_some() || !before.is_some_and(goes_on) || is_parted();
        Head { day, unread, part, name }
    }

    /// What has happened in the group between a message and the next one. After the newest one that is everything since.
    fn notes_after(&self, index: usize) -> Range<usize> {
        let at = |index: usize| self.history.get(index).map(|message| message.id.0.clock.ms());
        match (at(index), at(index + 1)) {
            (Some(from), Some(to)) => self.notes.between(from, Some(to)),
            (Some(from), None) if self.history.has_newest() => self.notes.between(from, None),
            _ => 0..0,
        }
    }

    /// The same, and for the oldest message what was before it.
    fn notes_beside(&self, index: usize) -> Beside {
        let is_first = index == 0 && self.history.wants_older().is_none();
        let first = self.history.get(0).filter(|_| is_first).map(|message| message.id.0.clock.ms());
        Beside {
            before: first.map_or(0..0, |first| self.notes.between(0, Some(first))),
            after: self.notes_after(index),
        }
    }

    /// The first message and row that are visible, and the row of the view where they begin.
    fn first_visible(&mut self, width: u16, theme: &Theme) -> (usize, usize, usize) {
        if let Some((index, row)) = self.top {
            let rows = self.lay(index, width, theme);
            self.top = Some((index.min(self.history.len().saturating_sub(1)), row.min(rows.saturating_sub(1))));
            self.settle(width, theme);
        }
        if let Some((index, row)) = self.top {
            return (index, row, 0);
        }
        let (mut index, mut rows) = (self.history.len(), 0);
        while index > 0 && rows < self.height {
            index -= 1;
            rows += self.lay(index, width, theme);
        }
        // A short conversation sits at the bottom, above where one writes.
        (index, rows.saturating_sub(self.height), self.height.saturating_sub(rows))
    }

    /// Draws what is visible.
    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, theme: &Theme, focused: bool) {
        let (width, height) = (area.width, usize::from(area.height));
        self.height = height;
        self.shown = vec![None; height];
        if height == 0 {
            return;
        }
        if self.history.is_empty() {
            // Nobody has written yet.
            let words = self.notes.words(self.notes.between(0, None));
            let rows = note_rows(&words, width, theme);
            let top = area.bottom().saturating_sub(rows.len() as u16).max(area.y);
            for (y, row) in (top..area.bottom()).zip(&rows) {
                row.render(Rect { y, height: 1, ..area }, buffer);
            }
            return;
        }
        let (mut index, mut skip, mut y) = self.first_visible(width, theme);
        self.shown_top = (index, skip);
        while let Some(id) = self.history.get(index).map(|m| m.id).filter(|_| y < height) {
            self.lay(index, width, theme);
            let number = self.numbers.of(id);
            let Some(laid) = self.laid.get(&id) else { break };
            for (n, line) in laid.rows.iter().enumerate().skip(skip).take(height - y) {
                let at = Rect { y: area.y + y as u16, height: 1, ..area };
                line.render(at, buffer);
                if n == laid.body {
                    let gutter = usize::from(GUTTER) - 1;
                    buffer.set_string(at.x, at.y, format!("{number:>gutter$}"), theme.dim);
                }
                if focused && self.selected == Some(index) && laid.own.contains(&n) {
                    buffer.set_style(at, theme.selected);
                    buffer.set_string(at.x, at.y, "▌", theme.accent);
                }
                self.shown[y] = Some(index);
                y += 1;
            }
            skip = 0;
            index += 1;
        }
    }
}

/// What is said above a message where what a member has handed on begins, and where it ends.
fn part_of(before: Option<&Message>, message: &Message) -> Option<String> {
    let by = |message: &Message| message.wire.handed_on_by.as_ref().map(|member| member.account.clone());
    let (was, is) = (before.and_then(by), by(message));
    if was == is {
        return None;
    }
    Some(match &message.wire.handed_on_by {
        Some(member) => format!("history from {}", member.name.as_deref().unwrap_or("a member")),
        None => "since you came".to_owned(),
    })
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
