//! The bottom layer of the screen: list, timeline, composer and details, in their frame.

mod chats;
mod composer;
mod details;
mod layout;
mod timeline;

use ratatui::{
    Frame,
    buffer::Buffer,
    crossterm::event::Event,
    layout::{Position, Rect},
    style::Style,
    widgets::{Block, Widget},
};

use self::layout::LayoutPreferences;
pub use self::layout::{DETAILS_FROM, Layout};
use super::{
    app::{App, Focus},
    call,
    component::{Component, Handled},
    composer::Mode,
    model::{ActivityOrder, ChatList},
    theme::Theme,
};

/// Columns that the list can have.
const LIST: (u16, u16) = (12, 60);

/// Draws everything.
pub fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let area = frame.area();
    if Layout::is_too_small(area) {
        frame.buffer_mut().set_string(0, 0, "too small", Style::new());
        return;
    }
    if let Some(cursor) = app.render(area, frame.buffer_mut()) {
        frame.set_cursor_position(cursor);
    }
}

/// What the panes show, and where.
pub struct PaneState {
    pub focus: Focus,
    pub list: ChatList,
    /// The order of what it lists.
    pub order: ActivityOrder,
    /// Columns of the list.
    pub list_width: u16,
    /// Its border is being dragged.
    pub dragging: bool,
    /// Whether details are shown; by default where there is room.
    pub details: Option<bool>,
    /// As it was drawn last.
    pub layout: Layout,
    /// Something lies over the panes.
    pub covered: bool,
}

impl PaneState {
    /// Before the first drawing.
    pub fn new(focus: Focus, list_width: u16) -> Self {
        Self {
            focus,
            list: ChatList::default(),
            order: ActivityOrder::default(),
            list_width: list_width.clamp(LIST.0, LIST.1),
            dragging: false,
            details: None,
            layout: Layout::default(),
            covered: false,
        }
    }

    /// Gives the list so many columns, as far as that is possible.
    pub fn resize_list(&mut self, columns: u16) {
        self.list_width = columns.clamp(LIST.0, LIST.1);
    }
}

/// The panes. Their state is the application's: commands and events change it, too.
#[derive(Default)]
pub struct Panes {
    cursor: Option<Position>,
}

impl Component for Panes {
    fn handle_event(&mut self, event: &Event) -> Handled {
        match event.clone() {
            Event::Key(key) => Handled::then(move |app| app.pane_key(&key)),
            Event::Mouse(mouse) => Handled::then(move |app| app.pane_mouse(&mouse)),
            Event::Paste(text) => Handled::then(move |app| app.pane_paste(&text)),
            _ => Handled::Ignored,
        }
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer, app: &mut App) {
        let theme = app.settings.theme.clone();
        buffer.set_style(area, theme.text);
        app.panes.layout = app.lay_out(area);
        let layout = app.panes.layout.clone();
        draw_frame(&layout, buffer, &theme);
        if layout.shows_list {
            chats::draw(app, buffer);
        }
        if layout.shows_main {
            timeline::draw(app, buffer);
            composer::draw(app, buffer);
            if let Some(area) = layout.details {
                details::draw(app, area, buffer);
            }
            composer::draw_offers(app, layout.text, buffer);
        }
        if let Some(bar) = layout.bar {
            call::view::draw_bar(app, bar, buffer);
        }
        self.cursor =
            (layout.shows_main && app.panes.focus == Focus::Composer).then(|| composer::cursor(app, layout.text));
    }

    fn cursor(&self) -> Option<Position> {
        self.cursor
    }
}

impl App {
    fn lay_out(&self, area: Rect) -> Layout {
        let wishes = LayoutPreferences {
            on_list: self.panes.focus == Focus::List,
            list_width: self.panes.list_width,
            details: self.panes.details,
            has_details: self.chat.open.is_some() && !self.calls.is_large,
            has_mode: self.chat.composer.mode != Mode::Write,
            in_call: self.calls.shown.is_some(),
        };
        Layout::new(area, wishes, |width| self.chat.composer.rows(width))
    }
}

/// The lines around and between the panes.
fn draw_frame(layout: &Layout, buffer: &mut Buffer, theme: &Theme) {
    let (area, rule) = (layout.area, layout.rule);
    let (right, bottom) = (area.x + area.width - 1, area.y + area.height - 1);
    Block::bordered().border_style(theme.border).render(area, buffer);
    for x in area.x + 1..right {
        buffer.set_string(x, rule, "─", theme.border);
    }
    buffer.set_string(area.x, rule, "├", theme.border);
    buffer.set_string(right, rule, "┤", theme.border);
    let columns = [layout.border.map(|x| (x, bottom)), layout.details.map(|details| (details.x - 1, rule))];
    for (x, to) in columns.into_iter().flatten() {
        buffer.set_string(x, area.y, "┬", theme.border);
        for y in area.y + 1..to {
            buffer.set_string(x, y, "│", theme.border);
        }
        buffer.set_string(x, to, "┴", theme.border);
        if to > rule {
            buffer.set_string(x, rule, "┼", theme.border);
        }
    }
}
