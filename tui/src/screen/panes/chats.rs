//! The list of chats, with the state of the connection below it.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
};
use starling_control::objects::{ChatId, ChatKind, ContactState, Presence, Rendezvous, Standing, Status};
use unicode_width::UnicodeWidthStr;

use super::super::{
    app::{App, Focus},
    model::ListRow,
    theme::Theme,
    timeline::cut,
};
use crate::{terminal::safe_line, verbs::transport_name};

/// Draws the pane, with its title.
pub fn draw(app: &mut App, buffer: &mut Buffer) {
    let (area, frame, rule) = (app.panes.layout.list, app.panes.layout.area, app.panes.layout.rule);
    let name =
        format!("Starling · {}", safe_line(app.directory.me.as_ref().map(|me| me.name.as_str()).unwrap_or_default()));
    let title = format!(" {} ", cut(&name, area.width.saturating_sub(3)));
    buffer.set_string(frame.x + 1, frame.y, title, app.settings.theme.accent);
    draw_list(app, area, buffer);
    draw_status(app, Rect { y: rule + 1, height: 1, ..area }, buffer);
}

/// The sign of a conversation of many.
pub fn mark_of(kind: ChatKind) -> Option<&'static str> {
    match kind {
        ChatKind::Direct => None,
        ChatKind::Group => Some("#"),
        ChatKind::Channel => Some("»"),
        ChatKind::Community => Some("◇"),
    }
}

/// How present somebody is, if they show it.
pub fn presence_mark(presence: Option<Presence>) -> &'static str {
    match presence {
        Some(Presence::Online) => "●",
        Some(Presence::Away) => "◐",
        Some(Presence::Offline) | None => "○",
    }
}

fn draw_list(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let height = usize::from(area.height);
    let first = (app.panes.list.at() + 2).saturating_sub(height.max(1));
    app.panes.layout.list_first = first;
    for (y, (n, row)) in app.panes.list.rows().iter().enumerate().skip(first).take(height).enumerate() {
        let at = Rect { y: area.y + y as u16, height: 1, ..area };
        let line = match row {
            ListRow::Title(title) => Line::styled(format!(" ▸ {title}"), theme.dim),
            ListRow::Folder(name, is_folded) => folder_row(app, (n, name.as_str(), *is_folded), area.width),
            ListRow::Request(account) => {
                let request = app.directory.requests.iter().find(|r| r.account == *account);
                let name = request.map(|r| safe_line(&r.name));
                Line::from(vec![
                    Span::styled("   ? ", theme.warn),
                    Span::raw(cut(&name.unwrap_or_default(), area.width.saturating_sub(6))),
                ])
            }
            ListRow::Invitation(id) => {
                let name = app.directory.group(id).map(|group| format!("#{}", safe_line(&group.name)));
                Line::from(vec![
                    Span::styled("   ? ", theme.warn),
                    Span::raw(cut(&name.unwrap_or_default(), area.width.saturating_sub(6))),
                ])
            }
            ListRow::Asked(id) => {
                let name = app.directory.group(id).map(|group| format!("#{}", safe_line(&group.name)));
                Line::from(vec![
                    Span::styled("   … ", theme.dim),
                    Span::raw(cut(&name.unwrap_or_default(), area.width.saturating_sub(6))),
                ])
            }
            ListRow::Chat(id) => list_row(app, (n, id, false), area.width),
            ListRow::Channel(id) => list_row(app, (n, id, true), area.width),
        };
        buffer.set_line(at.x, at.y, &line, at.width);
        if app.panes.focus == Focus::List && n == app.panes.list.at() {
            buffer.set_style(at, theme.selected);
            buffer.set_string(at.x, at.y, "▌", theme.accent);
        } else if row.chat().is_some_and(|id| app.chat.open.as_ref() == Some(id)) {
            buffer.set_style(at, theme.selected);
        }
    }
}

/// How many messages are unread in chats, and how many of them mention us.
fn unread_in<'a>(app: &App, chats: impl Iterator<Item = &'a ChatId>) -> (u32, u32) {
    chats.fold((0, 0), |(unread, mentions), id| {
        let new = app.directory.chat(id).map_or(0, |chat| chat.unread);
        (unread.saturating_add(new), mentions.saturating_add(app.directory.mentions_in(id)))
    })
}

/// The same as it is shown.
fn count_of((unread, mentions): (u32, u32)) -> String {
    let count = if unread > 0 { format!(" {unread}") } else { String::new() };
    match mentions {
        0 => count,
        1 => format!(" @{count}"),
        _ => format!(" @{mentions}{count}"),
    }
}

/// The sign before what can be folded.
fn fold_mark(is_folded: bool) -> &'static str {
    if is_folded { "+" } else { "-" }
}

/// A folder of the user's, with what is unread in it where it is folded.
fn folder_row(app: &App, (n, name, is_folded): (usize, &str, bool), width: u16) -> Line<'static> {
    let theme = &app.settings.theme;
    let unread = unread_in(app, app.panes.list.hidden_below(n).iter());
    let count = count_of(unread);
    let room = width.saturating_sub(4 + count.width() as u16);
    let name = cut(&safe_line(name), room);
    let pad = " ".repeat(usize::from(room).saturating_sub(name.width()));
    Line::from(vec![
        Span::styled(format!(" {} ", fold_mark(is_folded)), theme.dim),
        Span::styled(name, if unread.0 > 0 { theme.text.add_modifier(Modifier::BOLD) } else { theme.dim }),
        Span::raw(pad),
        Span::styled(count, theme.accent),
    ])
}

/// A chat; a channel below its community is drawn further in, and by its own name. A community shows what is unread in channels that are folded away.
fn list_row(app: &App, (n, id, is_below): (usize, &ChatId, bool), width: u16) -> Line<'static> {
    let theme = &app.settings.theme;
    let (contact, chat) = (app.directory.contact_of(id), app.directory.chat(id));
    let full_name = || app.directory.full_name(id).map(|name| safe_line(&name));
    let name = if is_below { app.directory.name_of(id).map(safe_line) } else { full_name() };
    let name = name.unwrap_or_default();
    let (unread, mentions) = unread_in(app, app.panes.list.hidden_below(n).iter().chain([id]));
    let before = match chat {
        _ if is_below => "     ".to_owned(),
        Some(chat) if chat.kind == ChatKind::Community => format!(" {} ", fold_mark(chat.folded)),
        _ => "   ".to_owned(),
    };
    let mut tail = String::new();
    if contact.is_some_and(|c| c.key_changed) {
        tail.push('⚠');
    }
    if contact.is_some_and(|c| c.typing) {
        tail.push('…');
    }
    if chat.is_some_and(|c| c.pinned) {
        tail.push('↑');
    }
    if chat.is_some_and(|c| c.muted_until.is_some()) {
        tail.push('∅');
    }
    if app.has_draft(id) {
        tail.push('✎');
    }
    let group = app.directory.group(id);
    if chat.is_some_and(|c| c.queued > 0) || group.is_some_and(|group| group.changing) {
        tail.push('⏳');
    }
    let count = count_of((unread, mentions));
    let is_out = group.is_some_and(|group| !matches!(group.standing, Standing::Member | Standing::Entering));
    let of_many = chat.and_then(|chat| mark_of(chat.kind)).map(|mark| (if is_out { "✗" } else { mark }, theme.dim));
    let (mark, mark_style) = of_many.unwrap_or_else(|| match contact.map(|c| c.state) {
        Some(ContactState::Blocked) => ("✗", theme.bad),
        Some(ContactState::Requested) => ("…", theme.dim),
        _ => {
            let mark = presence_mark(contact.and_then(|c| c.presence));
            (mark, if mark == "○" { theme.dim } else { theme.good })
        }
    });
    let room = usize::from(width).saturating_sub(before.len() + 3 + tail.width() + count.width());
    let name = cut(&name, room as u16);
    let pad = " ".repeat(room.saturating_sub(name.width()));
    let style = if unread > 0 { theme.text.add_modifier(Modifier::BOLD) } else { theme.text };
    Line::from(vec![
        Span::raw(before),
        Span::styled(mark, mark_style),
        Span::raw(" "),
        Span::styled(name, style),
        Span::raw(pad),
        Span::styled(tail, theme.dim),
        Span::styled(count, theme.accent),
    ])
}

/// How we are connected, or what is wrong.
fn draw_status(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.settings.theme;
    let (mark, style, text) = connection(app, theme);
    let line = Line::from(vec![
        Span::raw(" "),
        Span::styled(mark, style),
        Span::raw(" "),
        Span::styled(cut(&text, area.width.saturating_sub(4)), theme.dim),
    ]);
    buffer.set_line(area.x, area.y, &line, area.width);
}

fn connection(app: &App, theme: &Theme) -> (&'static str, Style, String) {
    let homes: Vec<&Rendezvous> = app.directory.me.iter().flat_map(Status::homes).collect();
    let up = homes.iter().filter(|home| home.registered).count();
    let (direct, relayed) = app.peers();
    let over = app.directory.me.as_ref().and_then(Status::without_quic).and_then(|home| home.transport);
    let problem = app.chat.open.as_ref().and_then(|id| app.directory.chat(id)?.problem.as_deref());
    if let Some(problem) = problem {
        ("⚠", theme.warn, safe_line(problem))
    } else if app.directory.me.is_none() {
        ("○", theme.dim, "starting …".to_owned())
    } else if homes.is_empty() {
        ("◐", theme.warn, format!("no rendezvous · {} peers", direct + relayed))
    } else if up == 0 {
        let problem = homes.iter().find_map(|home| home.problem.as_deref()).unwrap_or("connecting …");
        let text = match direct + relayed {
            0 => format!("no server: {}", safe_line(problem)),
            1 => "no server · 1 peer".into(),
            n => format!("no server · {n} peers"),
        };
        ("○", theme.warn, text)
    } else if let Some(progress) = app.invite_progress() {
        ("⏳", theme.good, progress)
    } else if let Some(progress) = app.entering_progress().or_else(|| app.copy_progress()) {
        ("⇣", theme.good, progress)
    } else if direct > 0 {
        ("●", theme.good, format!("direct · {direct} peer{}", if direct == 1 { "" } else { "s" }))
    } else if let Some(over) = over {
        // There is little room: by which way is more than to how many, and they are listed.
        ("●", theme.good, format!("{} · {}", if relayed > 0 { "relayed" } else { "online" }, transport_name(over)))
    } else if relayed > 0 {
        ("●", theme.good, format!("relayed · {relayed} peer{}", if relayed == 1 { "" } else { "s" }))
    } else {
        ("●", theme.good, "online".to_owned())
    }
}
