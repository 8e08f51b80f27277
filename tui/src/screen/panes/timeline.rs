//! The timeline with its header, or the call in its place, and remarks over its last rows.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};
use starling_control::objects::{ContactState, Presence, Standing};
use unicode_width::UnicodeWidthStr;

use super::super::{
    app::{App, Focus},
    call,
    card::wrap,
    clock,
    timeline::{cut, cut_off},
};
use crate::terminal::safe_line;

/// Rows that a remark may take.
const TOAST_ROWS: usize = 3;

/// Draws the pane.
pub fn draw(app: &mut App, buffer: &mut Buffer) {
    let (area, frame) = (app.panes.layout.timeline, app.panes.layout.area);
    draw_header(app, Rect { y: frame.y, height: 1, ..area }, buffer);
    if app.calls.covers_messages() {
        call::view::draw_view(app, area, buffer);
    } else if app.chat.open.is_some() {
        let focused = app.panes.focus == Focus::Timeline;
        app.chat.timeline.draw(area, buffer, &app.settings.theme, focused);
    } else {
        draw_welcome(app, area, buffer);
    }
    if !app.calls.is_large {
        call::view::draw_corner(app, area, buffer);
    }
    draw_hint(app, Rect { y: app.panes.layout.rule - 1, height: 1, ..area }, buffer);
}

fn draw_header(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let Some(contact) = app.open_contact() else {
        draw_group_header(app, area, buffer);
        return;
    };
    let name = safe_line(&contact.name);
    let bot = if contact.bot { " · bot" } else { "" };
    let (lock, style) = if contact.key_changed {
        ("⚠ devices changed", theme.bad)
    } else if contact.verified {
        ("🔒 verified", theme.good)
    } else {
        ("🔒 not verified", theme.dim)
    };
    let presence = match contact.presence {
        Some(Presence::Online) => "online".to_owned(),
        Some(Presence::Away) => "away".to_owned(),
        Some(Presence::Offline) | None => match &contact.last_seen {
            Some(seen) => {
                let (day, time) = clock::local(clock::milliseconds(seen));
                format!("last seen {day} {time}")
            }
            None => "offline".to_owned(),
        },
    };
    let state = match contact.state {
        ContactState::Requested => "asked, not yet accepted".to_owned(),
        ContactState::Blocked => "blocked".to_owned(),
        ContactState::Active | ContactState::Removed => presence,
    };
    let right_width = lock.width() as u16 + 3;
    // The name gives way to the state: whether somebody is blocked matters more than the end of a long name.
    let rest = format!("── {state}{bot} ");
    let room = area.width.saturating_sub(right_width + 3);
    let left = cut(&name, room.saturating_sub(rest.width() as u16).clamp(8.min(room), 40));
    let rest = cut(&rest, room.saturating_sub(left.width() as u16));
    let line =
        Line::from(vec![Span::raw(" "), Span::styled(left, theme.peer), Span::raw(" "), Span::styled(rest, theme.dim)]);
    buffer.set_line(area.x, area.y, &line, area.width);
    if area.width > right_width {
        buffer.set_string(area.x + area.width - right_width, area.y, format!(" {lock} "), style);
    }
}

/// The name of a group, and who is in it.
fn draw_group_header(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let Some(chat) = app.open_group() else { return };
    let group = app.directory.group(&chat.id);
    let state = match group {
        Some(group) if group.standing == Standing::Member => {
            let topic = if group.topic.is_empty() { String::new() } else { format!(" · {}", safe_line(&group.topic)) };
            format!("── {} members{topic} ", group.members.len())
        }
        Some(group) => format!("── {} ", group.standing.as_str()),
        None => String::new(),
    };
    let name = cut(&format!("#{}", safe_line(&chat.name)), area.width.saturating_sub(3).min(40));
    let rest = cut(&state, area.width.saturating_sub(name.width() as u16 + 3));
    let line =
        Line::from(vec![Span::raw(" "), Span::styled(name, theme.peer), Span::raw(" "), Span::styled(rest, theme.dim)]);
    buffer.set_line(area.x, area.y, &line, area.width);
}

/// The rows above the composer: remarks, typing, what came below.
fn draw_hint(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let contact = app.open_contact();
    let lines: Vec<Line<'static>> = if let Some(toast) = &app.toast {
        let mut rows = wrap(&[safe_line(&toast.text)], area.width.saturating_sub(2));
        let room = TOAST_ROWS.min(usize::from(area.y.saturating_sub(app.panes.layout.timeline.y)) + 1);
        if rows.len() > room {
            rows.truncate(room);
            if let Some(last) = rows.last_mut() {
                *last = cut_off(last, area.width.saturating_sub(2));
            }
        }
        let style = if toast.is_warning { theme.warn } else { theme.accent };
        rows.into_iter().map(|row| Line::styled(format!(" {row}"), style)).collect()
    } else if app.chat.timeline.below > 0 {
        let n = app.chat.timeline.below;
        let key = if app.panes.focus == Focus::Timeline { "G" } else { "PgDn" };
        let text = format!(" {n} new message{} below · {key} goes there", if n == 1 { "" } else { "s" });
        vec![Line::styled(text, theme.accent)]
    } else if let Some(contact) = contact.filter(|c| c.typing) {
        vec![Line::styled(format!(" {} is typing…", cut(&safe_line(&contact.name), 40)), theme.dim)]
    } else {
        return;
    };
    let top = (area.y + 1).saturating_sub(lines.len() as u16);
    for (n, line) in lines.iter().enumerate() {
        let y = top + n as u16;
        for x in area.x..area.x + area.width {
            buffer[(x, y)].set_symbol(" ").set_style(theme.text);
        }
        buffer.set_line(area.x, y, line, area.width);
    }
}

fn draw_welcome(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let lines = [
        ("Nobody here yet.", theme.text),
        ("", theme.text),
        ("/invite     a link and a QR code", theme.dim),
        ("/code       some words to read out", theme.dim),
        ("/add LINK   who has invited you", theme.dim),
        ("", theme.text),
        ("F2 finds everything · F1 all keys", theme.dim),
    ];
    let width = lines.iter().map(|(l, _)| l.width()).max().unwrap_or(0) as u16;
    let y = area.y + area.height.saturating_sub(lines.len() as u16) / 2;
    let x = area.x + 1 + area.width.saturating_sub(width + 2) / 2;
    for (i, (line, style)) in lines.iter().enumerate() {
        if y + (i as u16) < area.y + area.height {
            buffer.set_string(x, y + i as u16, cut(line, area.width.saturating_sub(2)), *style);
        }
    }
}
