//! The timeline with its header, or the call in its place, and remarks over its last rows.

use std::time::Instant;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};
use starling_control::objects::{ContactState, Group, Presence, Standing};
use unicode_width::UnicodeWidthStr;

use super::{
    super::{
        app::{App, Focus},
        call,
        card::wrap,
        clock,
        model::several,
        timeline::{cut, cut_off},
    },
    chats::mark_of,
};
use crate::{terminal::safe_line, verbs::member_name};

/// Rows that a remark may take.
const TOAST_ROWS: usize = 3;
/// So many who are there now are named.
const FEW: usize = 2;
/// Columns of a name where several are.
const SHORT_NAME: u16 = 12;
/// Columns that a group's name, and how many are in it, need at least.
const ROOM: u16 = 24;

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

/// The name of a group, and who is in it: on the right those who are there now, if there is room.
fn draw_group_header(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let Some(chat) = app.open_group() else { return };
    let mark = mark_of(chat.kind).unwrap_or_default();
    let group = app.directory.group(&chat.id);
    let (state, online) = match group {
        Some(group) if group.standing == Standing::Member => {
            let count = group.members.len();
            let topic = if group.topic.is_empty() { String::new() } else { format!(" · {}", safe_line(&group.topic)) };
            let members = if count == 1 { "only you".to_owned() } else { format!("{count} members") };
            (format!("── {members}{topic} "), online(app, group))
        }
        Some(group) => (format!("── {} ", group.standing.as_str()), None),
        None => (String::new(), None),
    };
    let right = online.map(|words| format!(" ● {words} ")).filter(|words| area.width > words.width() as u16 + ROOM);
    let right_width = right.as_ref().map_or(0, |words| words.width() as u16 + 1);
    let room = area.width.saturating_sub(right_width);
    let name = cut(
        &format!("{mark}{}", safe_line(&app.directory.full_name(&chat.id).unwrap_or_default())),
        room.saturating_sub(3).min(40),
    );
    let rest = cut(&state, room.saturating_sub(name.width() as u16 + 3));
    let line =
        Line::from(vec![Span::raw(" "), Span::styled(name, theme.peer), Span::raw(" "), Span::styled(rest, theme.dim)]);
    buffer.set_line(area.x, area.y, &line, room);
    if let Some(words) = right {
        buffer.set_string(area.x + area.width - right_width, area.y, words, theme.good);
    }
}

/// Who of a group is there now, as far as they show it: by name where they are few.
fn online(app: &App, group: &Group) -> Option<String> {
    let online = app.directory.online_in(group);
    match online.as_slice() {
        [] => None,
        [..] if online.len() > FEW => Some(format!("{} online", online.len())),
        few => {
            let names: Vec<String> = few.iter().map(|member| cut(&member_name(member), SHORT_NAME)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Some(format!("{} online", several(&names)))
        }
    }
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
    } else if let Some(words) = app.open_group().and_then(|chat| app.directory.typing.words(&chat.id, Instant::now())) {
        vec![Line::styled(format!(" {}", cut(&words, area.width.saturating_sub(2))), theme.dim)]
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
