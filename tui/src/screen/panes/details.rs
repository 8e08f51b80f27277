//! Details of the open chat.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use starling_control::objects::{ContactState, Path, Presence};

use super::{
    super::{app::App, timeline::cut},
    chats::presence_mark,
};
use crate::terminal::safe_line;

/// Draws them.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let Some(contact) = app.open_contact() else {
        draw_group(app, area, buffer);
        return;
    };
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

/// Who is in the group that is open.
fn draw_group(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let Some(group) = app.chat.open.as_ref().and_then(|id| app.directory.group(id)) else { return };
    let room = area.width.saturating_sub(2);
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    lines.push(Line::styled(cut(&format!("#{}", safe_line(&group.name)), room), theme.peer));
    lines.push(Line::styled(cut(&safe_line(&group.topic), room), theme.dim));
    lines.push(Line::default());
    for member in &group.members {
        let name = if member.own { "you".to_owned() } else { safe_line(&member.name).to_string() };
        let state = if member.devices == 0 { "invited" } else { member.role.as_str() };
        lines.push(Line::from(vec![
            Span::styled(format!("{:<16} ", cut(&name, 16)), theme.text),
            Span::styled(cut(state, room.saturating_sub(17)), theme.dim),
        ]));
    }
    for (y, line) in lines.iter().take(usize::from(area.height)).enumerate() {
        buffer.set_line(area.x + 1, area.y + y as u16, line, room);
    }
}
