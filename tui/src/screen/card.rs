//! A text over everything, such as an invite with its QR code.

use ratatui::{
    buffer::Buffer,
    crossterm::event::{Event, KeyCode, KeyModifiers, MouseButton, MouseEventKind},
    layout::Rect,
    style::{Color, Style},
    widgets::{Clear, Widget},
};
use unicode_width::UnicodeWidthStr;

use super::{
    app::{App, Effect},
    component::{Component, Handled},
    theme::Theme,
    timeline::cut,
};

/// A text; keys other than `y` close it.
pub struct Card {
    pub title: String,
    /// A QR code, row by row; empty for none.
    pub code: Vec<String>,
    pub text: Vec<String>,
    /// What `y` copies.
    pub copy: Option<String>,
}

impl Card {
    /// A text without a code.
    pub fn new(title: impl Into<String>, text: Vec<String>, copy: Option<String>) -> Self {
        Self { title: title.into(), code: Vec::new(), text, copy }
    }
}

impl Component for Card {
    fn handle_event(&mut self, event: &Event) -> Handled {
        match event {
            Event::Key(key) if key.code == KeyCode::Char('y') && !key.modifiers.contains(KeyModifiers::CONTROL) => {
                match self.copy.clone() {
                    Some(text) => Handled::then(|app| app.effects.push(Effect::Copy(text))),
                    None => Handled::close(),
                }
            }
            Event::Key(_) => Handled::close(),
            Event::Mouse(mouse) if mouse.kind == MouseEventKind::Down(MouseButton::Left) => Handled::close(),
            _ => Handled::Ignored,
        }
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, app: &mut App) {
        self.draw(area, buffer, &app.settings.theme);
    }
}

impl Card {
    /// A QR code is black on white, whatever the theme. Beside it, if there is no room below, stands the text; without room for the code,
    /// the text alone.
    fn draw(&self, area: Rect, buffer: &mut Buffer, theme: &Theme) {
        let (code_width, code_height) = (self.code.first().map_or(0, |l| l.width()) as u16, self.code.len() as u16);
        let inside = area.width.saturating_sub(4);
        let longest = self.text.iter().map(|l| l.width()).max().unwrap_or(0).max(self.title.width() + 4) as u16;
        let mut text = wrap(&self.text, longest.min(inside));
        let stacked = code_height + text.len() as u16 + 2 <= area.height && code_width <= inside;
        let beside = !stacked && code_height > 0 && code_height <= area.height && code_width + 22 <= area.width;
        if beside {
            return self.draw_beside(area, code_width, buffer, theme);
        }
        let code_height = if stacked { code_height } else { 0 };
        if !stacked && !self.code.is_empty() {
            text.push(String::new());
            text.extend(wrap(&["The window is too small for the QR code.".to_owned()], inside));
        }
        let width = (longest.max(if stacked { code_width } else { 0 }) + 4).min(area.width);
        let height = (code_height + text.len() as u16 + 2).min(area.height);
        let place =
            Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
        let inner = theme.draw_box(&self.title, place, buffer);
        if stacked {
            self.draw_code(inner.x + inner.width.saturating_sub(code_width) / 2, inner.y, buffer);
        }
        for (n, line) in text.iter().take(usize::from(inner.height.saturating_sub(code_height))).enumerate() {
            buffer.set_string(inner.x + 1, inner.y + code_height + n as u16, cut(line, inner.width - 1), theme.text);
        }
    }

    fn draw_code(&self, x: u16, y: u16, buffer: &mut Buffer) {
        let black = Style::new().fg(Color::Rgb(0, 0, 0)).bg(Color::Rgb(255, 255, 255));
        for (n, line) in self.code.iter().enumerate() {
            buffer.set_string(x, y + n as u16, line, black);
        }
    }

    fn draw_beside(&self, area: Rect, code_width: u16, buffer: &mut Buffer, theme: &Theme) {
        Clear.render(area, buffer);
        buffer.set_style(area, theme.text);
        self.draw_code(area.x, area.y + (area.height - self.code.len() as u16) / 2, buffer);
        let (x, room) = (area.x + code_width + 1, area.width - code_width - 2);
        buffer.set_string(x, area.y + 1, cut(&self.title, room), theme.accent);
        for (n, line) in wrap(&self.text, room).iter().take(usize::from(area.height - 2)).enumerate() {
            buffer.set_string(x, area.y + 2 + n as u16, line, theme.text);
        }
    }
}

/// Wraps lines to a width, within words if need be: links have no spaces.
pub fn wrap(lines: &[String], width: u16) -> Vec<String> {
    let width = usize::from(width.max(8));
    let mut out = Vec::new();
    for line in lines {
        let mut row = String::new();
        for word in line.split_inclusive(' ') {
            if !row.is_empty() && row.width() + word.trim_end().width() > width {
                out.push(std::mem::take(&mut row));
            }
            for c in word.chars() {
                if row.width() >= width {
                    out.push(std::mem::take(&mut row));
                }
                row.push(c);
            }
        }
        out.push(row);
    }
    out
}
