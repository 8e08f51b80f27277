//! The settings of a group as a form over everything.

use ratatui::{
    buffer::Buffer,
    crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEventKind},
    layout::{Position, Rect},
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr;

use super::{
    app::App,
    component::{Component, Handled},
    model::{Field, SettingsForm},
    theme::Theme,
    timeline::cut,
};

/// Columns that it has at most.
const WIDEST: u16 = 64;
/// Columns of what stands left of the values.
const LABEL: u16 = 12;
/// Rows below the settings: what the chosen one means, and the keys.
const FOOT: u16 = 2;

/// The form.
pub struct GroupForm {
    /// Of the group, safe to be shown.
    name: String,
    pub form: SettingsForm,
    place: Rect,
    /// Where the first row was drawn, and which that is.
    first_row: (u16, usize),
}

impl GroupForm {
    /// The settings of a group with a name, which is safe to be shown.
    pub fn new(name: String, form: SettingsForm) -> Self {
        Self { name, form, place: Rect::default(), first_row: (0, 0) }
    }

    fn save(&self) -> Handled {
        match self.form.change() {
            Some(set) => Handled::close_then(|app| app.change(set)),
            None => Handled::close(),
        }
    }

    fn key(&mut self, key: &KeyEvent) -> Handled {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl => return Handled::close(),
            KeyCode::Esc | KeyCode::Char('q') => return Handled::close(),
            KeyCode::Enter => return self.save(),
            KeyCode::Up | KeyCode::BackTab | KeyCode::Char('k') => self.form.step(-1),
            KeyCode::Down | KeyCode::Tab | KeyCode::Char('j') => self.form.step(1),
            KeyCode::Home | KeyCode::Char('g') => self.form.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.form.step(isize::MAX),
            KeyCode::Left | KeyCode::Char('h' | '-') => self.form.turn(false),
            KeyCode::Right | KeyCode::Char('l' | '+' | ' ') => self.form.turn(true),
            _ => {}
        }
        Handled::Consumed(None)
    }

    fn click(&mut self, at: Position) {
        let (y, first) = self.first_row;
        let row = first + usize::from(at.y.saturating_sub(y));
        let last = self.place.y + self.place.height.saturating_sub(1 + FOOT);
        if at.y >= y && at.y < last && row < self.form.fields.len() {
            self.form.at = row;
        }
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, theme: &Theme) {
        let width = area.width.saturating_sub(4).min(WIDEST);
        let wanted = self.form.fields.len() as u16 + 2 + FOOT;
        let height = wanted.min(area.height.saturating_sub(2));
        let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 3);
        let place = Rect { x, y, width, height };
        self.place = place;
        let title = cut(&format!("Settings of #{}", self.name), width.saturating_sub(6));
        let inner = theme.draw_box(&title, place, buffer);
        if inner.height <= FOOT || inner.width < LABEL {
            return;
        }
        let rows = usize::from(inner.height - FOOT);
        let first = (self.form.at + 1).saturating_sub(rows);
        self.first_row = (inner.y, first);
        for (n, field) in self.form.fields.iter().enumerate().skip(first).take(rows) {
            let at = Rect { y: inner.y + (n - first) as u16, height: 1, ..inner };
            buffer.set_line(at.x, at.y, &row(field, n == self.form.at, at.width, theme), at.width);
            if n == self.form.at {
                buffer.set_style(at, theme.selected);
            }
        }
        let help = self.form.fields.get(self.form.at).map(|field| field.setting.help()).unwrap_or_default();
        let help = cut(help, inner.width.saturating_sub(2));
        buffer.set_string(inner.x + 1, inner.y + inner.height - FOOT, help, theme.dim);
        let can_change = self.form.note.is_none();
        let hint = match &self.form.note {
            Some(note) => note.as_str(),
            None if self.form.change().is_some() => "Enter saves · Esc leaves it as it was",
            None => "← → change · Enter saves · Esc closes",
        };
        let style = if can_change { theme.dim } else { theme.warn };
        let hint = cut(hint, inner.width.saturating_sub(2));
        buffer.set_string(inner.x + 1, inner.y + inner.height - 1, hint, style);
    }
}

/// A row: what it is, and its value, between arrows where it can be changed.
fn row(field: &Field, is_chosen: bool, width: u16, theme: &Theme) -> Line<'static> {
    let label = field.setting.label();
    let pad = " ".repeat(usize::from(LABEL).saturating_sub(label.width()));
    let value = cut(&field.value.words(field.setting), width.saturating_sub(LABEL + 9));
    let style = if field.is_open() { theme.text } else { theme.dim };
    let (left, right) = if field.is_open() { ("‹ ", " ›") } else { ("  ", "") };
    Line::from(vec![
        Span::styled(if is_chosen { "▸ " } else { "  " }, theme.accent),
        Span::styled(format!("{label}{pad} "), style),
        Span::styled(left, theme.accent),
        Span::styled(value, style),
        Span::styled(right, theme.accent),
        Span::styled(if field.is_changed() { " *" } else { "" }, theme.warn),
        Span::styled(if field.setting.has_effect() { "" } else { " · kept for later versions" }, theme.dim),
    ])
}

impl Component for GroupForm {
    fn handle_event(&mut self, event: &Event) -> Handled {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Mouse(mouse) => {
                let at = Position::new(mouse.column, mouse.row);
                match mouse.kind {
                    MouseEventKind::ScrollUp => self.form.step(-1),
                    MouseEventKind::ScrollDown => self.form.step(1),
                    MouseEventKind::Down(MouseButton::Left) if self.place.contains(at) => self.click(at),
                    MouseEventKind::Down(MouseButton::Left) => return Handled::close(),
                    _ => {}
                }
            }
            Event::Paste(_) => {}
            _ => return Handled::Ignored,
        }
        Handled::Consumed(None)
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, app: &mut App) {
        self.draw(area, buffer, &app.settings.theme);
    }
}
