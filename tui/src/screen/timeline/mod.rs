//! The timeline: a window of messages out of a store that may hold millions, laid out only where it is visible.

mod row;

use std::collections::{HashSet, VecDeque};

use ratatui::{buffer::Buffer, layout::Rect, widgets::Widget};

use row::{GUTTER, Head, Laid, lay_out};
pub use row::{Message, cut};
use starling_node::{Clock, MessageId};

use super::{
    model::{Numbers, Place},
    theme::Theme,
};

/// Messages kept in memory; those far from the view go.
const WINDOW: usize = 1_200;

/// A page of history that the view needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Older than the first message.
    Older(MessageId),
    /// Newer than the last message.
    Newer(MessageId),
}

/// The timeline of the open chat. Its messages are in the order of their ids, which is the order of the conversation.
#[derive(Default)]
pub struct Timeline {
    messages: VecDeque<Message>,
    /// The window reaches the oldest, the newest message of the store.
    at_start: bool,
    at_end: bool,
    /// Message and row at the top of the view; `None` follows the newest.
    top: Option<(usize, usize)>,
    /// What the last drawing has shown: top, and the messages of each row.
    shown_top: (usize, usize),
    shown: Vec<Option<usize>>,
    height: usize,
    pub selected: Option<usize>,
    pub numbers: Numbers,
    unfolded: HashSet<MessageId>,
    /// Everything after this is new.
    pub unread_after: Option<Clock>,
    /// The first of the new messages, above which a line says so.
    first_new: Option<MessageId>,
    /// Messages that came while the view was further up.
    pub below: usize,
}

impl Timeline {
    /// An empty timeline, whose messages have these numbers.
    pub fn of(numbers: Numbers) -> Self {
        Self { numbers, ..Self::default() }
    }

    /// Another window of messages in place of this one.
    fn replace(&mut self, messages: Vec<Message>) {
        let (numbers, unfolded) = (std::mem::take(&mut self.numbers), std::mem::take(&mut self.unfolded));
        *self = Self { messages: messages.into(), numbers, unfolded, ..Self::default() };
    }

    /// The newest page of the chat.
    pub fn load(&mut self, messages: Vec<Message>, limit: usize, unread_after: Option<Clock>) {
        self.replace(messages);
        (self.at_start, self.at_end, self.unread_after) = (self.messages.len() < limit, true, unread_after);
        self.find_first_new();
    }

    fn find_first_new(&mut self) {
        let Some(after) = self.unread_after else { return };
        let first = self.messages.iter().find(|m| !m.mine && m.id.0.clock > after).map(|m| m.id);
        if first != self.first_new {
            self.relay();
        }
        self.first_new = first;
    }

    /// A page around a message, which is selected.
    pub fn around(&mut self, messages: Vec<Message>, id: MessageId) {
        self.replace(messages);
        self.selected = self.position(id);
        self.top = self.selected.map(|s| (s.saturating_sub(3), 0));
    }

    /// A page around the place where the user was before.
    pub fn return_to(&mut self, messages: Vec<Message>, place: Place) {
        self.replace(messages);
        // If the message is gone, the one that was after it.
        let at = self.messages.partition_point(|m| m.id < place.message);
        self.top = Some((at.min(self.messages.len().saturating_sub(1)), place.row));
    }

    /// Where the view is; `None` at the newest message.
    pub fn place(&self) -> Option<Place> {
        let (index, row) = self.top?;
        Some(Place { message: self.messages.get(index)?.id, row })
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The view shows the newest message.
    pub fn is_at_bottom(&self) -> bool {
        self.top.is_none() && self.at_end
    }

    pub fn selected_message(&self) -> Option<&Message> {
        self.messages.get(self.selected?)
    }

    fn position(&self, id: MessageId) -> Option<usize> {
        self.messages.binary_search_by_key(&id, |m| m.id).ok()
    }

    pub fn find(&self, id: MessageId) -> Option<&Message> {
        self.position(id).and_then(|i| self.messages.get(i))
    }

    /// The message with a number, if it is in the window.
    pub fn by_number(&self, number: u64) -> Option<&Message> {
        self.find(self.numbers.message(number)?)
    }

    /// A new message, at its place.
    pub fn insert(&mut self, message: Message) {
        if !self.at_end {
            self.below += 1;
            return;
        }
        let Err(at) = self.messages.binary_search_by_key(&message.id, |m| m.id) else {
            return self.update(message);
        };
        if let Some(after) = self.messages.get_mut(at) {
            after.laid = None;
        }
        if self.top.is_some() && !message.mine {
            self.below += 1;
        }
        if message.mine {
            self.go_to_bottom();
        }
        let shift = |index: &mut usize| {
            if *index >= at {
                *index += 1;
            }
        };
        self.messages.insert(at, message);
        if let Some((index, _)) = &mut self.top {
            shift(index);
        }
        if let Some(index) = &mut self.selected {
            shift(index);
        }
        while self.messages.len() > WINDOW && self.top.is_none() {
            self.messages.pop_front();
            self.at_start = false;
            self.selected = self.selected.and_then(|s| s.checked_sub(1));
        }
    }

    /// A message has changed.
    pub fn update(&mut self, message: Message) {
        if let Some(at) = self.position(message.id) {
            for other in self.messages.iter_mut().filter(|m| m.reply_to == Some(message.id)) {
                other.laid = None;
            }
            let reason = std::mem::take(&mut self.messages[at].reason);
            self.messages[at] = Message { reason, ..message };
        }
    }

    pub fn set_state(&mut self, id: MessageId, state: &str, reason: &str) {
        if let Some(at) = self.position(id) {
            let message = &mut self.messages[at];
            message.state = state.to_owned();
            message.reason = reason.to_owned();
            message.laid = None;
        }
    }

    /// A page that the view wanted.
    pub fn extend(&mut self, wants: &Wants, page: Vec<Message>, limit: usize) {
        match wants {
            Wants::Older(before) => {
                if self.messages.front().is_none_or(|m| m.id != *before) {
                    return;
                }
                self.at_start = page.len() < limit;
                let added = page.len();
                if let Some(first) = self.messages.front_mut() {
                    first.laid = None;
                }
                for message in page.into_iter().rev() {
                    self.messages.push_front(message);
                }
                if let Some((index, _)) = &mut self.top {
                    *index += added;
                }
                self.shown_top.0 += added;
                if let Some(index) = &mut self.selected {
                    *index += added;
                }
                while self.messages.len() > WINDOW {
                    self.messages.pop_back();
                    self.at_end = false;
                }
                self.find_first_new();
            }
            Wants::Newer(after) => {
                if self.messages.back().is_none_or(|m| m.id != *after) {
                    return;
                }
                self.at_end = page.len() < limit;
                self.messages.extend(page);
                while self.messages.len() > WINDOW {
                    self.messages.pop_front();
                    self.at_start = false;
                    if let Some((index, _)) = &mut self.top {
                        *index = index.saturating_sub(1);
                    }
                    self.shown_top.0 = self.shown_top.0.saturating_sub(1);
                    self.selected = self.selected.and_then(|s| s.checked_sub(1));
                }
            }
        }
    }

    /// What has to be fetched for the view and some room around it.
    pub fn wants(&self) -> Option<Wants> {
        let first = self.messages.front()?;
        let last = self.messages.back()?;
        if !self.at_start && self.shown_top.0 < 30 && (self.top.is_some() || self.messages.len() < 60) {
            return Some(Wants::Older(first.id));
        }
        let bottom = self.shown.iter().rev().find_map(|m| *m).unwrap_or(0);
        (!self.at_end && bottom + 30 > self.messages.len()).then(|| Wants::Newer(last.id))
    }

    pub fn go_to_bottom(&mut self) {
        self.top = None;
        self.below = 0;
        self.selected = None;
    }

    /// The newest message is in the window, so that going down needs no fetching.
    pub fn has_newest(&self) -> bool {
        self.at_end
    }

    pub fn unfold(&mut self, id: MessageId) {
        if !self.unfolded.remove(&id) {
            self.unfolded.insert(id);
        }
        if let Some(at) = self.position(id) {
            self.messages[at].laid = None;
        }
    }

    /// Every message has to be laid out anew: colours or names have changed.
    pub fn relay(&mut self) {
        for message in &mut self.messages {
            message.laid = None;
        }
    }

    /// Moves the view by rows; negative is up.
    pub fn scroll(&mut self, rows: isize, theme: &Theme, width: u16) {
        let (mut index, mut row) = self.top.unwrap_or(self.shown_top);
        if rows < 0 {
            let mut left = rows.unsigned_abs();
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
            let mut left = rows.unsigned_abs();
            while left > 0 && index < self.messages.len() {
                let here = self.lay(index, width, theme);
                let step = (here - row).min(left);
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
        for at in index..self.messages.len() {
            rows += self.lay(at, width, theme) - if at == index { row } else { 0 };
            if rows > self.height {
                return;
            }
        }
        if self.at_end {
            self.top = None;
            self.below = 0;
        }
    }

    /// Selects a message relative to the one that is; it is brought into view.
    pub fn select(&mut self, step: isize, theme: &Theme, width: u16) {
        if self.messages.is_empty() {
            return;
        }
        let last = self.messages.len() - 1;
        let bottom = self.shown.iter().rev().find_map(|m| *m).unwrap_or(last);
        let index = match self.selected {
            Some(index) => index.saturating_add_signed(step).min(last),
            None => bottom.min(last),
        };
        self.selected = Some(index);
        self.show(index, theme, width);
    }

    pub fn select_first(&mut self, theme: &Theme, width: u16) {
        if !self.messages.is_empty() {
            self.selected = Some(0);
            self.show(0, theme, width);
        }
    }

    /// Selects a message by id, if it is in the window.
    pub fn select_id(&mut self, id: MessageId, theme: &Theme, width: u16) -> bool {
        let Some(index) = self.position(id) else {
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
            rows -= top.1;
        }
        if rows > self.height {
            self.top = Some((at, rows - self.height + if at == top.0 { top.1 } else { 0 }));
            self.settle(width, theme);
        }
    }

    /// Lays a message out if it is not; gives its number of rows.
    fn lay(&mut self, index: usize, width: u16, theme: &Theme) -> usize {
        let head = self.head(index);
        let Some(message) = self.messages.get(index) else { return 0 };
        if let Some(laid) = &message.laid
            && laid.width == width
            && laid.head == head
        {
            return laid.rows.len();
        }
        let quoted = message.reply_to.map(|id| self.find(id).cloned());
        let unfolded = self.unfolded.contains(&message.id);
        let (rows, body) = lay_out(message, &head, quoted, unfolded, width, theme);
        let count = rows.len();
        self.messages[index].laid = Some(Laid { width, head, rows, body });
        count
    }

    fn head(&self, index: usize) -> Head {
        let Some(message) = self.messages.get(index) else {
            return Head::default();
        };
        let before = index.checked_sub(1).and_then(|i| self.messages.get(i));
        let (day, _) = super::clock::local(message.at_ms);
        let day = before.is_none_or(|b| super::clock::local(b.at_ms).0 != day).then_some(day);
        let unread = self.unread_after.is_some() && self.first_new == Some(message.id);
        let name = day.is_some()
            || unread
            || before.is_none_or(|b| b.mine != message.mine || message.at_ms.saturating_sub(b.at_ms) > 300_000);
        Head { day, unread, name }
    }

    /// Draws what is visible.
    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer, theme: &Theme, focused: bool) {
        let (width, height) = (area.width, usize::from(area.height));
        self.height = height;
        self.shown = vec![None; height];
        if self.messages.is_empty() || height == 0 {
            return;
        }
        if let Some((index, row)) = self.top {
            let rows = self.lay(index, width, theme);
            self.top = Some((index.min(self.messages.len() - 1), row.min(rows.saturating_sub(1))));
            self.settle(width, theme);
        }
        let (mut index, mut skip, mut y) = match self.top {
            Some((index, row)) => (index, row, 0),
            None => {
                let (mut index, mut rows) = (self.messages.len(), 0);
                while index > 0 && rows < height {
                    index -= 1;
                    rows += self.lay(index, width, theme);
                }
                // A short conversation sits at the bottom, above where one writes.
                (index, rows.saturating_sub(height), height.saturating_sub(rows))
            }
        };
        self.shown_top = (index, skip);
        while index < self.messages.len() && y < height {
            self.lay(index, width, theme);
            let number = self.numbers.of(self.messages[index].id);
            if let Some(laid) = &self.messages[index].laid {
                for (n, line) in laid.rows.iter().enumerate().skip(skip).take(height - y) {
                    let at = Rect { y: area.y + y as u16, height: 1, ..area };
                    line.render(at, buffer);
                    if n == laid.body {
                        buffer.set_string(
                            at.x,
                            at.y,
                            format!("{number:>width$}", width = usize::from(GUTTER) - 1),
                            theme.dim,
                        );
                    }
                    if focused && self.selected == Some(index) {
                        buffer.set_style(at, theme.selected);
                        buffer.set_string(at.x, at.y, "▌", theme.accent);
                    }
                    self.shown[y] = Some(index);
                    y += 1;
                }
            }
            skip = 0;
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use starling_node::EventId;

    use super::*;

    /// Ids of a burst: a clock that counts within one millisecond, as it does in the node.
    fn id(n: u64) -> MessageId {
        MessageId(EventId { clock: Clock(n), device: [1; 8], sequence: n })
    }

    fn message(n: u64) -> Message {
        Message {
            id: id(n),
            at_ms: n.saturating_mul(1000),
            text: format!("message {n}"),
            name: "bob".into(),
            ..Message::default()
        }
    }

    fn drawn(timeline: &mut Timeline, height: u16) -> String {
        let area = Rect::new(0, 0, 40, height);
        let mut buffer = Buffer::empty(area);
        timeline.draw(area, &mut buffer, &Theme::named("mono").unwrap(), true);
        (0..height)
            .map(|y| (0..40).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn only_what_is_visible_is_laid_out_and_the_view_stays_where_it_is() {
        let theme = Theme::named("mono").unwrap();
        let mut timeline = Timeline::default();
        timeline.load((1000..1100).map(message).collect(), 100, None);
        assert!(drawn(&mut timeline, 10).contains("message 1099"));
        assert!(timeline.messages.iter().filter(|m| m.laid.is_some()).count() < 20);

        timeline.scroll(-20, &theme, 40);
        let before = drawn(&mut timeline, 10);
        assert!(!before.contains("1099"));
        timeline.insert(message(1100));
        assert_eq!(drawn(&mut timeline, 10), before, "a reader who has scrolled up is left alone");
        assert_eq!(timeline.below, 1);
        let page: Vec<Message> = (900..1000).map(message).collect();
        timeline.extend(&Wants::Older(id(1000)), page, 100);
        assert_eq!(drawn(&mut timeline, 10), before);

        timeline.scroll(10_000, &theme, 40);
        assert!(drawn(&mut timeline, 10).contains("message 1100") && timeline.is_at_bottom());
    }

    #[test]
    fn a_burst_is_shown_in_the_order_of_its_ids_however_it_arrives() {
        // As text, the last character of an id goes `…y z 2 3 4…`: digits sort before letters, so a carry would be torn apart.
        let first = Clock::at(1_700_000_000_000).0;
        let burst = |n: u64| Message { at_ms: 1_700_000_000_000, text: format!("burst {n}"), ..message(first + n) };
        let texts = |timeline: &Timeline| timeline.messages.iter().map(|m| m.text.clone()).collect::<Vec<_>>();
        let expected: Vec<String> = (0..600).map(|n| format!("burst {n}")).collect();
        let mut in_order = Timeline::default();
        in_order.load(Vec::new(), 100, None);
        (0..600).for_each(|n| in_order.insert(burst(n)));
        assert_eq!(texts(&in_order), expected);
        // 7 has no common factor with 600: every message once, in a jumble; then some for a second time.
        let mut jumbled = Timeline::default();
        jumbled.load(Vec::new(), 100, None);
        (0..700).for_each(|n| jumbled.insert(burst(n * 7 % 600)));
        assert_eq!(texts(&jumbled), expected);
    }

    #[test]
    fn what_was_written_in_the_same_millisecond_after_the_read_mark_is_new() {
        let at = Clock::at(1_700_000_000_000).0;
        let page = (0..4).map(|n| Message { at_ms: 1_700_000_000_000, ..message(at + n) }).collect();
        let mut timeline = Timeline::default();
        timeline.load(page, 100, Some(Clock(at + 1)));
        assert_eq!(timeline.first_new, Some(id(at + 2)));
    }

    #[test]
    fn a_message_keeps_its_number_whatever_is_loaded_and_however_it_is_scrolled() {
        let theme = Theme::named("mono").unwrap();
        let mut timeline = Timeline::default();
        let newest: Vec<Message> = (1000..1100).map(message).collect();
        timeline.load(newest.clone(), 100, None);
        drawn(&mut timeline, 10);
        let number = timeline.numbers.get(id(1099)).unwrap();
        timeline.scroll(-40, &theme, 40);
        drawn(&mut timeline, 10);
        timeline.around((900..1000).map(message).collect(), id(950));
        drawn(&mut timeline, 10);
        // As after a call, or when one writes from far above.
        timeline.load(newest, 100, None);
        timeline.insert(message(1100));
        let shown = drawn(&mut timeline, 10);
        assert_eq!(timeline.by_number(number).map(|m| m.id), Some(id(1099)), "{shown}");
        assert!(timeline.by_number(timeline.numbers.get(id(950)).unwrap()).is_none(), "it is not on the screen");
        let mut numbers: Vec<&str> = shown.lines().filter_map(|l| l.split_whitespace().next()).collect();
        let lines = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), lines, "no number twice:\n{shown}");
    }

    #[test]
    fn the_place_is_found_again() {
        let theme = Theme::named("mono").unwrap();
        let mut timeline = Timeline::default();
        timeline.load((1000..1100).map(message).collect(), 100, None);
        drawn(&mut timeline, 10);
        assert_eq!(timeline.place(), None);
        timeline.scroll(-40, &theme, 40);
        let before = drawn(&mut timeline, 10);
        let place = timeline.place().unwrap();
        let mut next = Timeline::of(timeline.numbers.clone());
        next.return_to((960..1090).map(message).collect(), place);
        assert_eq!(drawn(&mut next, 10), before);
    }
}
