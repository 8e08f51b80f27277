//! A call, drawn: the bar, the view with its tiles, the picture in the corner, the other side's terminal.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    widgets::{Clear, Widget},
};
use starling_control::{
    frames::{PEER, SELF},
    objects::{CallPhase, Consent, Status, Transport},
};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    super::{app::App, model::CallState, timeline::cut},
    Picture, Tile,
};
use crate::terminal::safe_line;

/// Above this level somebody talks.
const TALKING: f32 = 0.02;

/// The row above the messages.
pub fn draw_bar(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(call) = &app.calls.shown else { return };
    let theme = &app.settings.theme;
    let key = |name| app.settings.keys.keys_of(name);
    let name = cut(&call.name, area.width / 3);
    let (left, right, style) = match call.wire.state {
        _ if call.connected() && app.calls.others.iter().any(CallState::rings) => {
            let other = app.calls.others.iter().find(|c| c.rings()).map(|c| cut(&c.name, area.width / 3));
            let text = format!(" ☎ {} calls, too", other.unwrap_or_default());
            (text, format!("/switch answers, {name} waits "), theme.accent)
        }
        _ if call.rings() => {
            let kind = match (call.wire.moved, call.wire.video) {
                (true, _) => "from your other device",
                (_, true) => "video call",
                _ => "call",
            };
            (format!(" ☎ {name} · {kind}"), format!("{} answers · /hangup declines ", key("answer")), theme.accent)
        }
        _ if call.connected() && call.wire.recorded == Consent::Asked => {
            (format!(" ● {name} asks to record"), "/record yes · /record no ".into(), theme.warn)
        }
        state @ (CallPhase::Connected | CallPhase::Interrupted) => {
            let mic = match (call.own_media().microphone, app.calls.talk_until) {
                (true, Some(_)) => "talking",
                (true, None) => "mic on",
                (false, _) => "mic off",
            };
            let camera = if call.own_media().camera { "camera on" } else { "camera off" };
            let state = if state == CallPhase::Interrupted { " · interrupted, looking for a way" } else { "" };
            let style = if call.is_recorded() { theme.warn } else { theme.good };
            (format!(" ☎ {name} {}{state}", call.clock()), format!("{mic} · {camera} "), style)
        }
        CallPhase::Ringing => (format!(" ☎ {name} · ringing …"), format!("{} cancels ", key("answer")), theme.accent),
        _ => (format!(" ☎ {name} · connecting …"), format!("{} cancels ", key("answer")), theme.accent),
    };
    // Whatever else is to be said, and however little room there is.
    let recorded = call.is_recorded() || app.calls.others.iter().any(CallState::is_recorded);
    let left = if recorded { format!(" ● REC{left}") } else { left };
    let left = if call.own_media().sharing { format!(" ▤ SHARED{left}") } else { left };
    for x in area.x..area.x + area.width {
        buffer[(x, area.y)].set_symbol(" ").set_style(style.add_modifier(Modifier::REVERSED));
    }
    let style = style.add_modifier(Modifier::REVERSED);
    let left = cut(&left, area.width);
    buffer.set_string(area.x, area.y, &left, style);
    let room = area.width.saturating_sub(left.width() as u16 + 1);
    let right_width = right.width() as u16;
    if right_width <= room {
        buffer.set_string(area.x + area.width - right_width, area.y, right, style);
    }
}

/// The call in place of the messages.
pub fn draw_view(app: &mut App, area: Rect, buffer: &mut Buffer) {
    Clear.render(area, buffer);
    buffer.set_style(area, app.settings.theme.text);
    let Some(call) = app.calls.shown.clone() else { return };
    if area.height < 4 || area.width < 12 {
        return;
    }
    let theme = app.settings.theme.clone();
    // The last two rows: quality and keys.
    let body = Rect { height: area.height - 2, ..area };
    let home = app.directory.me.as_ref().and_then(Status::without_quic);
    let without_udp = home.filter(|home| home.udp_blocked || home.transport == Some(Transport::Proxy));
    let quality = call.quality(without_udp.and_then(|home| home.transport));
    // What both sides compare is never cut off.
    let line = if call.wire.emoji.is_empty() { quality } else { format!("{} · {quality}", call.wire.emoji) };
    buffer.set_string(area.x + 1, area.y + area.height - 2, cut(&line, area.width - 2), theme.dim);
    let key = |name| app.settings.keys.keys_of(name);
    let keys = format!(
        "{} mic ({} held: talk) · {} camera · {} hang up · {} small · /share /hold",
        key("microphone"),
        key("talk"),
        key("camera"),
        key("answer"),
        key("call-view")
    );
    buffer.set_string(area.x + 1, area.y + area.height - 1, cut(&keys, area.width - 2), theme.dim);
    if app.calls.shared.is_some() {
        draw_terminal(app, body, buffer);
        return;
    }
    // Ourselves in the corner of the other side's picture.
    let tile = Tile { stream: PEER, area: Rect { height: body.height - 1, ..body } };
    draw_tile(app, tile, buffer);
    app.panes.layout.tiles.push(tile);
    draw_name(app, Rect { y: body.y + body.height - 1, height: 1, ..body }, buffer);
    let (width, height) = (body.width / 5, body.width / 5 * 9 / 32);
    if call.own_media().camera && width >= 12 && body.height > height * 2 {
        let own = Rect { x: body.x + body.width - width, y: body.y, width, height };
        let tile = Tile { stream: SELF, area: own };
        draw_tile(app, tile, buffer);
        app.panes.layout.tiles.push(tile);
    }
}

/// Who it is, whether they talk, and what they have turned off.
fn draw_name(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(call) = &app.calls.shown else { return };
    let theme = &app.settings.theme;
    let talks = call.their_level() > TALKING;
    let mark = if talks { "◉" } else { "○" };
    let mut text = format!("{mark} {}", call.name);
    let media = call.their_media().unwrap_or_default();
    for (is, what) in [
        (!media.microphone, " · mic off"),
        (!media.camera, " · camera off"),
        (media.hold, " · on hold"),
        (media.recording, " · records"),
    ] {
        text.push_str(if is { what } else { "" });
    }
    let style = if talks { theme.good } else { theme.text };
    buffer.set_string(area.x + 1, area.y, cut(&text, area.width.saturating_sub(2)), style);
    // Our own level, so that one sees to be heard.
    let level = (call.stats.level.sqrt() * 8.0).round().clamp(0.0, 8.0) as usize;
    let meter = format!("you {}{}", "▮".repeat(level), "▯".repeat(8 - level));
    let width = meter.width() as u16;
    if area.width > width + text.width() as u16 + 4 {
        let style = if call.own_media().microphone { theme.accent } else { theme.dim };
        let meter = if call.own_media().microphone { meter } else { "you: mic off".to_owned() };
        buffer.set_string(area.x + area.width - 1 - meter.width() as u16, area.y, meter, style);
    }
}

/// The other side, small, while one chats.
pub fn draw_corner(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let shows = app.calls.shown.as_ref().is_some_and(|c| c.connected() && c.shows_them());
    let width = (area.width / 4).clamp(16, 40);
    // 16:9, and cells are twice as high as they are wide.
    let height = width * 9 / 32;
    if !shows || area.width < 3 * width || area.height < height + 6 {
        return;
    }
    let tile = Tile { stream: PEER, area: Rect { x: area.x + area.width - width, y: area.y, width, height } };
    // A wide character must not be cut in half.
    Clear.render(Rect { x: tile.area.x - 1, width: 1, ..tile.area }, buffer);
    draw_tile(app, tile, buffer);
    app.panes.layout.tiles.push(tile);
}

fn draw_tile(app: &mut App, tile: Tile, buffer: &mut Buffer) {
    Clear.render(tile.area, buffer);
    buffer.set_style(tile.area, app.settings.theme.text);
    let picture = app.calls.shot.as_ref().and_then(|s| s.tiles[usize::from(tile.stream)].as_ref());
    let Some(picture) = picture else {
        let text = match &app.calls.shown {
            Some(call) if tile.stream == PEER && call.shows_them() => "…".to_owned(),
            Some(call) if tile.stream == PEER => call.name.clone(),
            _ => String::new(),
        };
        let text = cut(&text, tile.area.width);
        let x = tile.area.x + (tile.area.width.saturating_sub(text.width() as u16)) / 2;
        buffer.set_string(x, tile.area.y + tile.area.height / 2, text, app.settings.theme.dim);
        return;
    };
    if app.calls.pictures.draws() && !app.panes.covered && app.calls.pictures.fits(tile.area, picture) {
        app.calls.pictures.place(tile, picture, buffer);
    } else {
        half_blocks(picture, tile.area, app.calls.colours, buffer);
    }
}

/// How many colours a terminal has for pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    True,
    Indexed,
    None,
}

impl Colours {
    /// From what the terminal says of itself.
    pub fn of_terminal(theme: &str) -> Self {
        let true_colour = std::env::var("COLORTERM").is_ok_and(|c| c == "truecolor" || c == "24bit");
        match (theme, true_colour) {
            ("mono", _) => Self::None,
            (_, true) => Self::True,
            _ => Self::Indexed,
        }
    }

    fn of(self, (r, g, b): (u8, u8, u8)) -> Color {
        match self {
            Self::True => Color::Rgb(r, g, b),
            _ => {
                let step = |c: u8| (u16::from(c) * 5 + 127) / 255;
                Color::Indexed((16 + 36 * step(r) + 6 * step(g) + step(b)) as u8)
            }
        }
    }
}

/// Two pixels in each cell, the upper one in front.
pub fn half_blocks(picture: &Picture, area: Rect, colours: Colours, buffer: &mut Buffer) {
    for y in 0..area.height.min(picture.height / 2) {
        for x in 0..area.width.min(picture.width) {
            let (Some(top), Some(bottom)) = (picture.at(x, y * 2), picture.at(x, y * 2 + 1)) else {
                continue;
            };
            let cell = &mut buffer[(area.x + x, area.y + y)];
            if colours == Colours::None {
                let bright = |(r, g, b): (u8, u8, u8)| (u32::from(r) * 3 + u32::from(g) * 6 + u32::from(b)) / 10;
                let shade = (bright(top) + bright(bottom)) / 2;
                cell.set_symbol([" ", "░", "▒", "▓", "█"][(shade as usize * 5 / 256).min(4)]);
            } else {
                cell.set_symbol("▀").set_fg(colours.of(top)).set_bg(colours.of(bottom));
            }
        }
    }
}

/// The other side's terminal: cells only, so that nothing of it can steer ours.
fn draw_terminal(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(parser) = &app.calls.shared else { return };
    let screen = parser.screen();
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let view = Rect { height: area.height.saturating_sub(1), ..area };
    // Too large for us: the part with the cursor.
    let (row, column) = screen.cursor_position();
    let top = (row + 1).saturating_sub(view.height).min(rows.saturating_sub(view.height));
    let left = (column + 1).saturating_sub(view.width).min(columns.saturating_sub(view.width));
    let style = Style::new().fg(Color::Reset).bg(Color::Reset);
    for y in 0..view.height.min(rows) {
        for x in 0..view.width.min(columns) {
            let Some(cell) = screen.cell(top + y, left + x) else {
                continue;
            };
            if cell.is_wide_continuation() {
                continue;
            }
            let wide = 1 + usize::from(cell.is_wide());
            let text = safe_line(cell.contents());
            let text = if text.width() == wide {
                text
            } else {
                cell.contents().chars().next().filter(|c| c.width() == Some(wide)).map(String::from).unwrap_or_default()
            };
            let fits = !text.is_empty() && x + wide as u16 <= view.width;
            let mut style = style.fg(colour(cell.fgcolor())).bg(colour(cell.bgcolor()));
            for (on, modifier) in [
                (cell.bold(), Modifier::BOLD),
                (cell.dim(), Modifier::DIM),
                (cell.italic(), Modifier::ITALIC),
                (cell.underline(), Modifier::UNDERLINED),
                (cell.inverse(), Modifier::REVERSED),
            ] {
                if on {
                    style = style.add_modifier(modifier);
                }
            }
            buffer[(view.x + x, view.y + y)].set_symbol(if fits { &text } else { " " }).set_style(style);
        }
    }
    if (top..top + view.height).contains(&row) && (left..left + view.width).contains(&column) {
        let cell = &mut buffer[(view.x + column - left, view.y + row - top)];
        cell.modifier.toggle(Modifier::REVERSED);
    }
    let name = app.calls.shown.as_ref().map(|c| c.name.clone()).unwrap_or_default();
    let part = if view.width < columns || view.height < rows { " · a part of it" } else { "" };
    let hand = app.calls.shown.as_ref().is_some_and(|c| c.stats.has_hand);
    let may = if hand { "you may type: /type TEXT" } else { "read only" };
    let text = format!("{name}'s terminal, {columns}×{rows}{part} · {may}");
    buffer.set_string(
        area.x + 1,
        area.y + area.height - 1,
        cut(&text, area.width.saturating_sub(2)),
        app.settings.theme.accent,
    );
}

fn colour(colour: vt100::Color) -> Color {
    match colour {
        vt100::Color::Default => Color::Reset,
        vt100::Color::Idx(i) => Color::Indexed(i),
        vt100::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
    }
}
