//! Details of the open chat.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use starling_control::objects::{ContactState, Group, Path, Presence};
use unicode_width::UnicodeWidthStr;

use super::{
    super::{
        app::{App, Focus},
        card::wrap,
        model::{YOU, span},
        theme::Theme,
        timeline::{cut, cut_off},
    },
    chats::presence_mark,
};
use crate::{
    terminal::safe_line,
    verbs::{counted_members, member_name, updates},
};

/// Rows of a group's topic.
const TOPIC_ROWS: usize = 3;

/// Draws them.
pub fn draw(app: &mut App, area: Rect, buffer: &mut Buffer) {
    if app.open_contact().is_none() {
        return draw_group(app, area, buffer);
    }
    draw_contact(app, area, buffer);
}

fn draw_contact(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let Some(contact) = app.open_contact() else { return };
    let chat = app.chat.open.as_ref().and_then(|id| app.directory.chat(id));
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    let room = area.width.saturating_sub(2);
    lines.push(Line::styled(cut(&safe_line(&contact.name), room), theme.peer));
    if contact.own_name != contact.name {
        lines.push(Line::styled(cut(&format!("calls themself {}", safe_line(&contact.own_name)), room), theme.dim));
    }
    if contact.bot {
        lines.push(Line::styled("a program, not a person", theme.warn));
    }
    let mut row = |name: &str, value: String, style: Style| {
        lines.push(Line::from(vec![
            Span::styled(format!("{name:<10}"), theme.dim),
            Span::styled(cut(&value, room.saturating_sub(10)), style),
        ]));
    };
    row("", String::new(), theme.text);
    let presence = contact.presence.map_or("unknown", Presence::as_str);
    row("presence", format!("{} {presence}", presence_mark(contact.presence)), theme.text);
    let path = match app.path_to(contact) {
        Path::None => "not connected",
        path => path.as_str(),
    };
    row("path", path.to_owned(), theme.text);
    row("devices", contact.devices.len().to_string(), theme.text);
    if let Some(chat) = chat {
        if chat.muted_until.is_some() {
            row("muted", "yes".into(), theme.warn);
        }
        if chat.queued > 0 {
            row("waiting", format!("{} to be sent", chat.queued), theme.warn);
        }
        if let Some(problem) = &chat.problem {
            lines.push(Line::styled(cut(&format!("⚠ {}", safe_line(problem)), room), theme.warn));
        }
    }
    lines.push(Line::default());
    if contact.key_changed {
        lines.push(Line::styled("⚠ their devices have changed", theme.bad));
    } else if contact.verified {
        lines.push(Line::styled("🔒 verified", theme.good));
    } else {
        lines.push(Line::styled("not verified · v compares", theme.dim));
    }
    if let Some(name) = &contact.found_as {
        let active = contact.state == ContactState::Active;
        let (doubt, style) = if active { ("⚠ not known to be", theme.bad) } else { ("found as", theme.dim) };
        lines.push(Line::styled(cut(&format!("{doubt} @{}", safe_line(name)), room), style));
    }
    let number: Vec<&str> = contact.safety_number.as_deref().unwrap_or_default().split_whitespace().collect();
    lines.extend(number.chunks(4).map(|c| Line::styled(c.join(" "), theme.text)));
    if let Some(cipher) = chat.map(|c| c.cipher.as_str()).filter(|cipher| !cipher.is_empty()) {
        lines.push(Line::default());
        lines.extend(cipher.split(", ").map(|part| Line::styled(part.to_owned(), theme.dim)));
    }
    for (y, line) in lines.iter().take(usize::from(area.height)).enumerate() {
        buffer.set_line(area.x + 1, area.y + y as u16, line, room);
    }
}

/// What the open group is about, and who is in it: a list that scrolls.
fn draw_group(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let Some(group) = app.group() else { return };
    let theme = app.settings.theme.clone();
    let room = area.width.saturating_sub(2);
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    lines.push(Line::styled(cut(&format!("#{}", safe_line(&group.name)), room), theme.peer));
    lines.extend(about(group, room).into_iter().map(|row| Line::styled(row, theme.dim)));
    lines.push(Line::default());
    for (y, line) in lines.iter().take(usize::from(area.height)).enumerate() {
        buffer.set_line(area.x + 1, area.y + y as u16, line, room);
    }
    let head = (lines.len() as u16).min(area.height);
    let place = Rect { y: area.y + head, height: area.height - head, ..area };
    app.panes.layout.members = Some(place);
    draw_members(app, place, buffer, &theme);
}

/// Topic, how many are in the group, and what is set that everybody notices.
fn about(group: &Group, room: u16) -> Vec<String> {
    let topic = safe_line(&group.topic);
    let mut rows = if topic.is_empty() { Vec::new() } else { wrap(&[topic], room) };
    if rows.len() > TOPIC_ROWS {
        rows.truncate(TOPIC_ROWS);
        if let Some(last) = rows.last_mut() {
            *last = cut_off(last, room);
        }
    }
    let invited = group.members.iter().filter(|member| member.devices == 0 && !member.own).count();
    let waits = if invited > 0 { format!(" · {invited} invited") } else { String::new() };
    rows.push(format!("{}{waits}", counted_members(group.members.len())));
    for line in updates(group) {
        rows.extend(wrap(&[line], room));
    }
    if group.policy.slow_mode > 0 {
        rows.push(format!("one message in {}", span(group.policy.slow_mode)));
    }
    if group.policy.lifetime > 0 {
        // Nothing is deleted after that time in this version.
        rows.push(format!("lifetime {}, no effect yet", span(group.policy.lifetime)));
    }
    rows.into_iter().map(|row| cut(&row, room)).collect()
}

fn draw_members(app: &mut App, area: Rect, buffer: &mut Buffer, theme: &Theme) {
    let has_focus = app.panes.focus == Focus::Details;
    let (at, room) = (app.chat.group.members.at(), usize::from(area.width.saturating_sub(2)));
    let (first, seen) = app.chat.group.members.seen(usize::from(area.height));
    for (n, member) in seen.iter().enumerate() {
        let y = area.y + n as u16;
        let presence = app.directory.presence_in_group(member);
        let state = if member.devices == 0 && !member.own { "invited" } else { member.role.as_str() };
        let name_room = room.saturating_sub(state.width() + 3);
        let name = if member.own { YOU.to_owned() } else { member_name(member) };
        let name = cut(&name, name_room as u16);
        let pad = " ".repeat(name_room.saturating_sub(name.width()) + 1);
        let mark = if member.own { "●" } else { presence_mark(presence) };
        let line = Line::from(vec![
            Span::styled(mark, if mark == "○" { theme.dim } else { theme.good }),
            Span::raw(" "),
            Span::styled(name, if member.own { theme.own } else { theme.text }),
            Span::raw(pad),
            Span::styled(state, theme.dim),
        ]);
        buffer.set_line(area.x + 1, y, &line, room as u16);
        if has_focus && first + n == at {
            buffer.set_style(Rect { y, height: 1, ..area }, theme.selected);
            buffer.set_string(area.x, y, "▌", theme.accent);
        }
    }
}
