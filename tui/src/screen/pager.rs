//! A long text over everything that scrolls, such as the audit log of a group.

use ratatui::{
    buffer::Buffer,
    crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEventKind},
    layout::{Position, Rect},
};
use unicode_width::UnicodeWidthStr;

use super::{
    app::App,
    card::wrap,
    component::{Component, Handled},
    theme::Theme,
    timeline::cut,
};

/// Columns that it has at most: longer rows are hard to read.
const WIDEST: u16 = 100;
/// Rows of the mouse wheel.
const WHEEL: isize = 3;

/// The text. It begins at its end, where the newest is.
pub struct Pager {
    pub title: String,
    /// Safe to be shown.
    lines: Vec<String>,
    /// The lines in rows of a width.
    rows: Vec<String>,
    width: u16,
    /// The first row that is seen; `None` stays at the end.
    top: Option<usize>,
    height: usize,
    place: Rect,
}

impl Pager {
    /// A text whose lines are safe to be shown.
    pub fn new(title: impl Into<String>, lines: Vec<String>) -> Self {
        Self { title: title.into(), lines, rows: Vec::new(), width: 0, top: None, height: 0, place: Rect::default() }
    }

    /// The text has become another one; the place in it stays.
    pub fn set_lines(&mut self, lines: Vec<String>) {
        self.lines = lines;
        self.width = 0;
    }

    fn last_top(&self) -> usize {
        self.rows.len().saturating_sub(self.height)
    }

    fn scroll(&mut self, rows: isize) {
        let last = self.last_top();
        let top = self.top.unwrap_or(last).min(last).saturating_add_signed(rows);
        self.top = (top < last).then_some(top);
    }

    fn key(&mut self, key: &KeyEvent) -> Handled {
        let page = self.height.saturating_sub(1).max(1) as isize;
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl => return Handled::close(),
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q') => return Handled::close(),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::PageUp => self.scroll(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll(page),
            KeyCode::Home | KeyCode::Char('g') => self.scroll(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.top = None,
            _ => {}
        }
        Handled::Consumed(None)
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, theme: &Theme) {
        let width = area.width.saturating_sub(4).min(WIDEST);
        let inside = width.saturating_sub(4);
        if self.width != inside {
            (self.rows, self.width) = (wrap(&self.lines, inside), inside);
        }
        let room = area.height.saturating_sub(2);
        let height = u16::try_from(self.rows.len()).unwrap_or(u16::MAX).saturating_add(2).clamp(4.min(room), room);
        let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 3);
        let place = Rect { x, y, width, height };
        self.place = place;
        self.height = usize::from(height.saturating_sub(2));
        let last = self.last_top();
        let top = self.top.unwrap_or(last).min(last);
        let title = cut(&self.title, width.saturating_sub(6));
        let inner = theme.draw_box(&title, place, buffer);
        for (y, row) in self.rows.iter().skip(top).take(usize::from(inner.height)).enumerate() {
            let row = cut(row, inner.width.saturating_sub(2));
            buffer.set_string(inner.x + 1, inner.y + y as u16, row, theme.text);
        }
        if last > 0 && height > 2 {
            let hint = cut(&format!(" {} of {} · j k g G · q ", top + self.height, self.rows.len()), width - 4);
            buffer.set_string(place.x + width - 2 - hint.width() as u16, place.y + height - 1, hint, theme.dim);
        }
    }
}

impl Component for Pager {
    fn handle_event(&mut self, event: &Event) -> Handled {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollUp => self.scroll(-WHEEL),
                MouseEventKind::ScrollDown => self.scroll(WHEEL),
                MouseEventKind::Down(MouseButton::Left)
                    if !self.place.contains(Position::new(mouse.column, mouse.row)) =>
                {
                    return Handled::close();
                }
                _ => {}
            },
            Event::Paste(_) => {}
            _ => return Handled::Ignored,
        }
        Handled::Consumed(None)
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, app: &mut App) {
        self.draw(area, buffer, &app.settings.theme);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(pager: &mut Pager, width: u16, height: u16) -> String {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        pager.draw(area, &mut buffer, &Theme::named("mono").unwrap());
        (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn it_begins_at_the_end_and_scrolls_within_the_text() {
        let mut pager = Pager::new("A log", (0..1000).map(|n| format!("entry {n}")).collect());
        let shown = drawn(&mut pager, 40, 12);
        assert!(shown.contains("entry 999") && shown.contains("1000 of 1000"), "{shown}");
        let press = |pager: &mut Pager, code| drop(pager.key(&KeyEvent::new(code, KeyModifiers::NONE)));
        press(&mut pager, KeyCode::Char('g'));
        assert!(drawn(&mut pager, 40, 12).contains("entry 0 "));
        press(&mut pager, KeyCode::Up);
        press(&mut pager, KeyCode::PageDown);
        let shown = drawn(&mut pager, 40, 12);
        assert!(shown.contains("entry 7 ") && !shown.contains("entry 0 "), "{shown}");
        // Another size, and more text.
        pager.set_lines((0..2000).map(|n| format!("entry {n}")).collect());
        assert!(drawn(&mut pager, 200, 50).contains("entry 8 "));
        press(&mut pager, KeyCode::Char('G'));
        assert!(drawn(&mut pager, 80, 24).contains("entry 1999"));
    }

    #[test]
    fn every_size_is_drawn_also_without_text() {
        for (width, height) in [(20, 6), (40, 12), (80, 24), (300, 100), (8, 3)] {
            drawn(&mut Pager::new("a long title 🦜🦜🦜", Vec::new()), width, height);
            drawn(&mut Pager::new("x", vec!["שלום ".repeat(80), "🦜".repeat(200)]), width, height);
        }
    }
}
