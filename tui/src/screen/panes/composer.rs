//! Where one writes: the text, what it answers or changes, and completions.

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Clear, Widget},
};

use starling_control::objects::Standing;

use super::super::{
    app::{App, Focus},
    composer::Mode,
    model::{and_above, group, span},
    timeline::cut,
};
use crate::terminal::safe_line;

/// Draws the pane.
pub fn draw(app: &mut App, buffer: &mut Buffer) {
    let (pane, text) = (app.panes.layout.composer, app.panes.layout.text);
    if app.chat.composer.mode != Mode::Write {
        draw_mode(app, Rect { height: 1, ..pane }, buffer);
    }
    let theme = &app.settings.theme;
    let mark = if app.panes.focus == Focus::Composer { theme.accent } else { theme.dim };
    buffer.set_string(pane.x, text.y, "›", mark);
    app.chat.composer.area.set_style(theme.text);
    app.chat.composer.area.set_cursor_style(Style::new());
    if app.chat.composer.is_empty() {
        let hint = match app.panes.focus {
            Focus::Timeline => "r reply · e edit · d delete · + react · Space all actions · Esc write",
            Focus::List => "↑ ↓ choose · Enter open · Esc write",
            Focus::Details => "↑ ↓ choose a member · Enter what can be done · Esc write",
            Focus::Composer => "write a message · / for commands · F1 for help",
        };
        let rule = Some(app.panes.focus).filter(|focus| *focus == Focus::Composer).and_then(|_| rule_of_group(app));
        let hint = rule.as_deref().unwrap_or(hint);
        buffer.set_string(text.x, text.y, cut(hint, text.width), theme.dim);
    } else {
        (&app.chat.composer.area).render(text, buffer);
    }
}

/// What one has to know before one writes into the open group.
fn rule_of_group(app: &App) -> Option<String> {
    let group = app.group()?;
    if !group::may_post(group) {
        return Some(match group.standing {
            Standing::Member if group::may_comment(group) => {
                format!("only {} write here; you can answer: r on a message", and_above(group.policy.post))
            }
            Standing::Member => format!("only {} write here · / for commands", and_above(group.policy.post)),
            other => format!("you cannot write here: {}", other.as_str()),
        });
    }
    let pause = Some(group.policy.slow_mode).filter(|seconds| *seconds > 0)?;
    Some(format!("one message in {} · / for commands", span(pause)))
}

/// Where the cursor is, once it was drawn.
pub fn cursor(app: &App, text: Rect) -> Position {
    let at = app.chat.composer.area.screen_cursor();
    let first = usize::from(app.chat.composer.area.scroll_offset().0);
    let (row, column) = if app.chat.composer.is_empty() { (0, 0) } else { (at.row.saturating_sub(first), at.col) };
    let (column, row) = (column.min(usize::from(u16::MAX)) as u16, row.min(usize::from(u16::MAX)) as u16);
    Position::new(text.x + column.min(text.width.saturating_sub(1)), text.y + row.min(text.height.saturating_sub(1)))
}

fn draw_mode(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let (what, id) = match &app.chat.composer.mode {
        Mode::Reply(id) => ("reply to", *id),
        Mode::Edit(id) => ("edit", *id),
        Mode::Write => return,
    };
    let text = app.chat.timeline.find(id).map(|m| safe_line(&m.words())).unwrap_or_default();
    let number = app.chat.timeline.numbers.get(id).map(|n| format!(" {n}")).unwrap_or_default();
    let text = cut(&format!("{what}{number}: {text}"), area.width.saturating_sub(16));
    let line = Line::from(vec![
        Span::styled("┌ ", theme.accent),
        Span::styled(text, theme.dim),
        Span::styled("  Esc undoes", theme.border),
    ]);
    buffer.set_line(area.x, area.y, &line, area.width);
}

/// Draws completions above the text.
pub fn draw_offers(app: &App, above: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    if app.chat.composer.offers.is_empty() || app.panes.focus != Focus::Composer {
        return;
    }
    let height = app.chat.composer.offers.len() as u16;
    let Some(y) = above.y.checked_sub(height + 1) else {
        return;
    };
    let area = Rect { x: above.x.saturating_sub(2), y, width: above.width + 2, height };
    Clear.render(area, buffer);
    for (i, offer) in app.chat.composer.offers.iter().enumerate() {
        let at = Rect { y: y + i as u16, height: 1, ..area };
        buffer.set_string(at.x, at.y, format!(" {}", cut(&offer.label, at.width.saturating_sub(1))), theme.text);
        buffer.set_style(at, if i == app.chat.composer.offer { theme.selected } else { theme.dim });
    }
}
