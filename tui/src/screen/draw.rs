//! Drawing: the frame, the list, the header, details, the composer and what lies over them.

use ratatui::{
    Frame,
    layout::{Margin, Rect},
    style::{Color, Style},
    text::{Line, Span},
    widgets::{Block, BorderType, Clear, Widget},
};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::{
    app::{App, Card, Focus, ListRow},
    call,
    composer::Mode,
    timeline::cut,
};
use crate::{terminal::safe_line, verbs::field};

/// Columns from which details slide in by themselves.
const WIDE: u16 = 120;
/// Below this, one place at a time.
const NARROW: u16 = 60;
const DETAILS: u16 = 34;
/// Columns that details need at least.
pub const DETAILS_FROM: u16 = 90;
/// Rows that a remark may take.
const TOAST_ROWS: usize = 3;

/// Where things are, for the mouse.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub list: Rect,
    pub list_first: usize,
    pub timeline: Rect,
    pub composer: Rect,
    pub details: Option<Rect>,
    /// The column between list and timeline.
    pub border: Option<u16>,
    /// Columns of the whole screen.
    pub width: u16,
    /// The call, above the messages.
    pub bar: Option<Rect>,
    /// Pictures of the call.
    pub tiles: Vec<call::Tile>,
}

fn presence_mark(contact: &Value) -> &'static str {
    match field(contact, "presence") {
        "online" => "●",
        "away" => "◐",
        _ => "○",
    }
}

/// Draws everything.
pub fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < 20 || area.height < 6 {
        frame.buffer_mut().set_string(0, 0, "too small", Style::new());
        return;
    }
    let theme = app.theme.clone();
    let buffer = frame.buffer_mut();
    buffer.set_style(area, theme.text);
    let narrow = area.width < NARROW;
    let show_list = !narrow || app.focus == Focus::List;
    let show_main = !narrow || app.focus != Focus::List;
    let list_width = if !show_list {
        0
    } else if narrow {
        area.width - 2
    } else {
        app.list_width.min(area.width / 2 - 2)
    };
    let details =
        app.details.unwrap_or(area.width >= WIDE) && area.width >= DETAILS_FROM && app.open.is_some() && !app.call_view;
    let inner = area.inner(Margin::new(1, 1));
    let main_x = inner.x + if show_list && show_main { list_width + 1 } else { 0 };
    let details_width = if details { DETAILS + 1 } else { 0 };
    let main_width = if show_main { (inner.x + inner.width).saturating_sub(main_x + details_width) } else { 0 };
    let composer_rows =
        if show_main { app.composer.rows(main_width.saturating_sub(3)).min(inner.height / 3) } else { 1 };
    let mode_rows = u16::from(app.composer.mode != Mode::Write);
    let bottom = composer_rows + mode_rows;
    let rule = inner.y + inner.height.saturating_sub(bottom + 1);

    // The frame.
    Block::bordered().border_style(theme.border).render(area, buffer);
    let line = |buffer: &mut ratatui::buffer::Buffer, y: u16, from: u16, to: u16| {
        for x in from..to {
            buffer.set_string(x, y, "─", theme.border);
        }
    };
    line(buffer, rule, inner.x, inner.x + inner.width);
    buffer.set_string(area.x, rule, "├", theme.border);
    buffer.set_string(area.x + area.width - 1, rule, "┤", theme.border);
    let mut columns = Vec::new();
    if show_list && show_main {
        columns.push((main_x - 1, area.y + area.height - 1));
    }
    if details {
        columns.push((main_x + main_width, rule));
    }
    for (x, to) in columns {
        buffer.set_string(x, area.y, "┬", theme.border);
        for y in inner.y..to {
            buffer.set_string(x, y, "│", theme.border);
        }
        buffer.set_string(x, to, "┴", theme.border);
        if to > rule {
            buffer.set_string(x, rule, "┼", theme.border);
        }
    }

    // A call is never out of sight: above the messages, or above the list where that is all there is.
    let bar_rows = u16::from(app.call.is_some() && rule > inner.y + 2);
    let (bar_main, bar_list) = if show_main { (bar_rows, 0) } else { (0, bar_rows) };
    let list_area =
        Rect { x: inner.x, y: inner.y + bar_list, width: list_width, height: rule.saturating_sub(inner.y + bar_list) };
    let timeline_area = Rect {
        x: main_x,
        y: inner.y + bar_main,
        width: main_width,
        height: rule.saturating_sub(inner.y + 1 + bar_main),
    };
    let (bar_x, bar_width) = if show_main { (main_x, main_width) } else { (inner.x, list_width) };
    let bar = (bar_rows > 0).then_some(Rect { x: bar_x, y: inner.y, width: bar_width, height: 1 });
    let composer_area =
        Rect { x: main_x + 2, y: rule + 1 + mode_rows, width: main_width.saturating_sub(2), height: composer_rows };
    app.layout = Layout {
        list: list_area,
        list_first: 0,
        timeline: timeline_area,
        composer: Rect { x: main_x, y: rule + 1, width: main_width, height: bottom },
        details: details.then(|| Rect { x: main_x + main_width + 1, width: DETAILS, ..list_area }),
        border: (show_list && show_main).then(|| main_x - 1),
        width: area.width,
        bar,
        tiles: Vec::new(),
    };

    if show_list {
        let title = format!(
            " {} ",
            cut(&format!("Starling · {}", safe_line(field(&app.me, "name"))), list_width.saturating_sub(3))
        );
        buffer.set_string(area.x + 1, area.y, title, theme.accent);
        draw_list(app, list_area, buffer);
        draw_status(app, Rect { x: inner.x, y: rule + 1, width: list_width, height: 1 }, buffer);
    }
    if show_main {
        draw_header(app, Rect { x: main_x, y: area.y, width: main_width, height: 1 }, buffer);
        let focused = app.focus == Focus::Timeline;
        if app.call_view && app.call.is_some() {
            call::view::draw_view(app, timeline_area, buffer);
        } else if app.open.is_some() {
            let mut timeline = std::mem::take(&mut app.timeline);
            timeline.draw(timeline_area, buffer, &theme, focused);
            app.timeline = timeline;
        } else {
            draw_welcome(app, timeline_area, buffer);
        }
        if !app.call_view {
            call::view::draw_corner(app, timeline_area, buffer);
        }
        draw_hint(app, Rect { y: rule - 1, height: 1, ..timeline_area }, buffer);
        if mode_rows > 0 {
            draw_mode(app, Rect { x: main_x, y: rule + 1, width: main_width, height: 1 }, buffer);
        }
        let mark = if app.focus == Focus::Composer { theme.accent } else { theme.dim };
        buffer.set_string(main_x, composer_area.y, "›", mark);
        app.composer.area.set_style(theme.text);
        app.composer.area.set_cursor_style(Style::new());
        if app.composer.is_empty() {
            let hint = match app.focus {
                Focus::Timeline => "r reply · e edit · d delete · + react · Space all actions · Esc write",
                Focus::List => "↑ ↓ choose · Enter open · Esc write",
                Focus::Composer => "write a message · / for commands · F1 for help",
            };
            buffer.set_string(composer_area.x, composer_area.y, cut(hint, composer_area.width), theme.dim);
        } else {
            (&app.composer.area).render(composer_area, buffer);
        }
        if let Some(area) = app.layout.details {
            draw_details(app, area, buffer);
        }
        draw_offers(app, composer_area, buffer);
    }
    if let Some(bar) = bar {
        call::view::draw_bar(app, bar, buffer);
    }
    let mut cursor = None;
    if show_main && app.focus == Focus::Composer {
        let at = app.composer.area.screen_cursor();
        let first = usize::from(app.composer.area.scroll_offset().0);
        let (row, column) = if app.composer.is_empty() { (0, 0) } else { (at.row.saturating_sub(first), at.col) };
        cursor = Some((
            composer_area.x + (column as u16).min(composer_area.width.saturating_sub(1)),
            composer_area.y + (row as u16).min(composer_rows.saturating_sub(1)),
        ));
    }
    if let Some(palette) = &mut app.palette {
        cursor = palette.draw(area, buffer, &theme);
    }
    if let Some(card) = &app.card {
        cursor = None;
        draw_card(app, card, area, buffer);
    }
    if let Some(cursor) = cursor {
        frame.set_cursor_position(cursor);
    }
}

type Buffer = ratatui::buffer::Buffer;

fn draw_list(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let height = usize::from(area.height);
    let first = (app.list_at + 2).saturating_sub(height.max(1));
    app.layout.list_first = first;
    for (y, (n, row)) in app.list.iter().enumerate().skip(first).take(height).enumerate() {
        let at = Rect { y: area.y + y as u16, height: 1, ..area };
        let line = match row {
            ListRow::Title(title) => Line::styled(format!(" ▸ {title}"), theme.dim),
            ListRow::Request(account) => {
                let name =
                    app.requests.iter().find(|r| r["account"] == account.as_str()).map(|r| safe_line(field(r, "name")));
                Line::from(vec![
                    Span::styled("   ? ", theme.warn),
                    Span::raw(cut(&name.unwrap_or_default(), area.width.saturating_sub(6))),
                ])
            }
            ListRow::Chat(id) => list_row(app, id, area.width),
        };
        buffer.set_line(at.x, at.y, &line, at.width);
        if app.focus == Focus::List && n == app.list_at {
            buffer.set_style(at, theme.selected);
            buffer.set_string(at.x, at.y, "▌", theme.accent);
        } else if matches!(row, ListRow::Chat(id) if app.open.as_ref() == Some(id)) {
            buffer.set_style(at, theme.selected);
        }
    }
}

fn list_row(app: &App, id: &str, width: u16) -> Line<'static> {
    let theme = &app.theme;
    let (contact, chat) = (app.contact_of(id), app.chat(id));
    let name = contact.map(|c| safe_line(field(c, "name"))).unwrap_or_default();
    let unread = chat.and_then(|c| c["unread"].as_u64()).unwrap_or(0);
    let is = |key: &str| chat.is_some_and(|c| c[key] == true);
    let mut tail = String::new();
    if contact.is_some_and(|c| c["key_changed"] == true) {
        tail.push('⚠');
    }
    if contact.is_some_and(|c| c["typing"] == true) {
        tail.push('…');
    }
    if is("pinned") {
        tail.push('↑');
    }
    if chat.is_some_and(|c| !c["muted_until"].is_null()) {
        tail.push('∅');
    }
    if app.has_draft(id) {
        tail.push('✎');
    }
    if chat.is_some_and(|c| c["queued"].as_u64() > Some(0)) {
        tail.push('⏳');
    }
    let count = if unread > 0 { format!(" {unread}") } else { String::new() };
    let (mark, mark_style) = match contact.map(|c| field(c, "state")) {
        Some("blocked") => ("✗", theme.bad),
        Some("requested") => ("…", theme.dim),
        _ => {
            let mark = contact.map_or("○", presence_mark);
            (mark, if mark == "○" { theme.dim } else { theme.good })
        }
    };
    let room = usize::from(width).saturating_sub(6 + tail.width() + count.width());
    let name = cut(&name, room as u16);
    let pad = " ".repeat(room.saturating_sub(name.width()));
    let style = if unread > 0 { theme.text.add_modifier(ratatui::style::Modifier::BOLD) } else { theme.text };
    Line::from(vec![
        Span::raw("   "),
        Span::styled(mark, mark_style),
        Span::raw(" "),
        Span::styled(name, style),
        Span::raw(pad),
        Span::styled(tail, theme.dim),
        Span::styled(count, theme.accent),
    ])
}

fn draw_status(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let homes: Vec<&Value> =
        app.me["rendezvous"].as_array().into_iter().flatten().filter(|h| h["own"] == true).collect();
    let up = homes.iter().filter(|h| h["registered"] == true).count();
    let (direct, relayed) = app.peers();
    let problem = app.open.as_deref().and_then(|id| app.chat(id)?["problem"].as_str());
    let (mark, style, text) = if let Some(problem) = problem {
        ("⚠", theme.warn, safe_line(problem))
    } else if app.me.is_null() {
        ("○", theme.dim, "starting …".to_owned())
    } else if homes.is_empty() {
        ("◐", theme.warn, format!("no rendezvous · {} peers", direct + relayed))
    } else if up == 0 {
        let problem = homes.iter().find_map(|h| h["problem"].as_str()).unwrap_or("connecting …");
        let text = match direct + relayed {
            0 => format!("no server: {}", safe_line(problem)),
            1 => "no server · 1 peer".into(),
            n => format!("no server · {n} peers"),
        };
        ("○", theme.warn, text)
    } else if direct > 0 {
        ("●", theme.good, format!("direct · {direct} peer{}", if direct == 1 { "" } else { "s" }))
    } else if relayed > 0 {
        ("●", theme.good, format!("relayed · {relayed} peer{}", if relayed == 1 { "" } else { "s" }))
    } else {
        ("●", theme.good, "online".to_owned())
    };
    let line = Line::from(vec![
        Span::raw(" "),
        Span::styled(mark, style),
        Span::raw(" "),
        Span::styled(cut(&text, area.width.saturating_sub(4)), theme.dim),
    ]);
    buffer.set_line(area.x, area.y, &line, area.width);
}

fn draw_header(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let Some(contact) = app.open_contact() else { return };
    let name = safe_line(field(contact, "name"));
    let bot = if contact["bot"] == true { " · bot" } else { "" };
    let (lock, style) = if contact["key_changed"] == true {
        ("⚠ devices changed", theme.bad)
    } else if contact["verified"] == true {
        ("🔒 verified", theme.good)
    } else {
        ("🔒 not verified", theme.dim)
    };
    let presence = match field(contact, "presence") {
        "online" => "online".to_owned(),
        "away" => "away".to_owned(),
        _ => match contact["last_seen"].as_str() {
            Some(seen) => {
                let (day, time) = super::clock::local(super::clock::parse(seen));
                format!("last seen {day} {time}")
            }
            None => "offline".to_owned(),
        },
    };
    let state = match field(contact, "state") {
        "requested" => "asked, not yet accepted".to_owned(),
        "blocked" => "blocked".to_owned(),
        _ => presence,
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

/// The rows above the composer: remarks, typing, what came below.
fn draw_hint(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let contact = app.open_contact();
    let lines: Vec<Line<'static>> = if let Some((text, bad, _)) = &app.toast {
        let mut rows = broken(&[&safe_line(text)], area.width.saturating_sub(2));
        rows.truncate(TOAST_ROWS.min(usize::from(area.y.saturating_sub(app.layout.timeline.y)) + 1));
        let style = if *bad { theme.warn } else { theme.accent };
        rows.into_iter().map(|row| Line::styled(format!(" {row}"), style)).collect()
    } else if app.timeline.below > 0 {
        let n = app.timeline.below;
        let key = if app.focus == Focus::Timeline { "G" } else { "PgDn" };
        let text = format!(" {n} new message{} below · {key} goes there", if n == 1 { "" } else { "s" });
        vec![Line::styled(text, theme.accent)]
    } else if let Some(contact) = contact.filter(|c| c["typing"] == true) {
        vec![Line::styled(format!(" {} is typing…", cut(&safe_line(field(contact, "name")), 40)), theme.dim)]
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

fn draw_mode(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let (what, id) = match &app.composer.mode {
        Mode::Reply(id) => ("reply to", *id),
        Mode::Edit(id) => ("edit", *id),
        Mode::Write => return,
    };
    let text = app.timeline.find(id).map(|m| safe_line(&m.text)).unwrap_or_default();
    let number = app.timeline.numbers.get(id).map(|n| format!(" {n}")).unwrap_or_default();
    let text = cut(&format!("{what}{number}: {text}"), area.width.saturating_sub(16));
    let line = Line::from(vec![
        Span::styled("┌ ", theme.accent),
        Span::styled(text, theme.dim),
        Span::styled("  Esc undoes", theme.border),
    ]);
    buffer.set_line(area.x, area.y, &line, area.width);
}

fn draw_offers(app: &App, above: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    if app.composer.offers.is_empty() || app.focus != Focus::Composer {
        return;
    }
    let height = app.composer.offers.len() as u16;
    let Some(y) = above.y.checked_sub(height + 1) else { return };
    let area = Rect { x: above.x.saturating_sub(2), y, width: above.width + 2, height };
    Clear.render(area, buffer);
    for (i, offer) in app.composer.offers.iter().enumerate() {
        let at = Rect { y: y + i as u16, height: 1, ..area };
        buffer.set_string(at.x, at.y, format!(" {}", cut(&offer.label, at.width.saturating_sub(1))), theme.text);
        buffer.set_style(at, if i == app.composer.offer { theme.selected } else { theme.dim });
    }
}

fn draw_details(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let Some(contact) = app.open_contact() else { return };
    let chat = app.open.as_deref().and_then(|id| app.chat(id));
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    let room = area.width.saturating_sub(2);
    lines.push(Line::styled(cut(&safe_line(field(contact, "name")), room), theme.peer));
    if field(contact, "own_name") != field(contact, "name") {
        lines.push(Line::styled(
            cut(&format!("calls themself {}", safe_line(field(contact, "own_name"))), room),
            theme.dim,
        ));
    }
    if contact["bot"] == true {
        lines.push(Line::styled("a program, not a person", theme.warn));
    }
    let mut row = |name: &str, value: String, style: Style| {
        lines.push(Line::from(vec![
            Span::styled(format!("{name:<10}"), theme.dim),
            Span::styled(cut(&value, room.saturating_sub(10)), style),
        ]));
    };
    row("", String::new(), theme.text);
    row(
        "presence",
        format!("{} {}", presence_mark(contact), contact["presence"].as_str().unwrap_or("unknown")),
        theme.text,
    );
    row(
        "path",
        match app.path_to(contact) {
            "none" => "not connected".into(),
            path => path.to_owned(),
        },
        theme.text,
    );
    row("devices", contact["devices"].as_array().map_or(0, Vec::len).to_string(), theme.text);
    if let Some(chat) = chat {
        if !chat["muted_until"].is_null() {
            row("muted", "yes".into(), theme.warn);
        }
        let queued = chat["queued"].as_u64().unwrap_or(0);
        if queued > 0 {
            row("waiting", format!("{queued} to be sent"), theme.warn);
        }
        if let Some(problem) = chat["problem"].as_str() {
            lines.push(Line::styled(cut(&format!("⚠ {}", safe_line(problem)), room), theme.warn));
        }
    }
    lines.push(Line::default());
    if contact["key_changed"] == true {
        lines.push(Line::styled("⚠ their devices have changed", theme.bad));
    } else if contact["verified"] == true {
        lines.push(Line::styled("🔒 verified", theme.good));
    } else {
        lines.push(Line::styled("not verified · v compares", theme.dim));
    }
    let number: Vec<&str> = field(contact, "safety_number").split_whitespace().collect();
    lines.extend(number.chunks(4).map(|c| Line::styled(c.join(" "), theme.text)));
    if let Some(cipher) = chat.and_then(|c| c["cipher"].as_str()) {
        lines.push(Line::default());
        lines.extend(cipher.split(", ").map(|part| Line::styled(part.to_owned(), theme.dim)));
    }
    for (y, line) in lines.iter().take(usize::from(area.height)).enumerate() {
        buffer.set_line(area.x + 1, area.y + y as u16, line, room);
    }
}

fn draw_welcome(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
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

/// Cuts lines to a width, within words: links have no spaces.
fn broken(lines: &[&String], width: u16) -> Vec<String> {
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

/// A QR code is black on white, whatever the theme. Beside it, if there is no room below, stands the text; without room for the code, the text
/// alone.
fn draw_card(app: &App, card: &Card, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let code: Vec<&str> = card.lines.iter().filter_map(|l| l.strip_prefix('\u{1}')).collect();
    let texts: Vec<&String> = card.lines.iter().filter(|l| !l.starts_with('\u{1}')).collect();
    let (code_width, code_height) = (code.first().map_or(0, |l| l.width()) as u16, code.len() as u16);
    let inside = area.width.saturating_sub(4);
    let longest = texts.iter().map(|l| l.width()).max().unwrap_or(0).max(card.title.width() + 4) as u16;
    let below = broken(&texts, longest.min(inside));
    let stacked = code_height + below.len() as u16 + 2 <= area.height && code_width <= inside;
    let beside = !stacked && code_height > 0 && code_height <= area.height && code_width + 22 <= area.width;
    let black = Style::new().fg(Color::Rgb(0, 0, 0)).bg(Color::Rgb(255, 255, 255));
    let draw_code = |buffer: &mut Buffer, x: u16, y: u16| {
        for (n, line) in code.iter().enumerate() {
            buffer.set_string(x, y + n as u16, line, black);
        }
    };
    if beside {
        Clear.render(area, buffer);
        buffer.set_style(area, theme.text);
        draw_code(buffer, area.x, area.y + (area.height - code_height) / 2);
        let (x, room) = (area.x + code_width + 1, area.width - code_width - 2);
        buffer.set_string(x, area.y + 1, cut(&card.title, room), theme.accent);
        for (n, line) in broken(&texts, room).iter().take(usize::from(area.height - 2)).enumerate() {
            buffer.set_string(x, area.y + 2 + n as u16, line, theme.text);
        }
        return;
    }
    let code_height = if stacked { code_height } else { 0 };
    let mut text = below;
    if !stacked && !code.is_empty() {
        text.push(String::new());
        text.extend(broken(&[&"The window is too small for the QR code.".to_owned()], inside));
    }
    let width = (longest.max(if stacked { code_width } else { 0 }) + 4).min(area.width);
    let height = (code_height + text.len() as u16 + 2).min(area.height);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buffer);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.accent)
        .style(theme.text)
        .title(Span::styled(format!(" {} ", card.title), theme.accent));
    let inner = block.inner(place);
    block.render(place, buffer);
    if stacked {
        draw_code(buffer, inner.x + inner.width.saturating_sub(code_width) / 2, inner.y);
    }
    for (n, line) in text.iter().take(usize::from(inner.height.saturating_sub(code_height))).enumerate() {
        buffer.set_string(inner.x + 1, inner.y + code_height + n as u16, cut(line, inner.width - 1), theme.text);
    }
}
