//! A call on the screen: the bar above the messages, the view with its tiles, the picture in the corner while chatting, and the other side's
//! shared terminal.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    widgets::{Clear, Widget},
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    app::{App, Tag},
    clock,
    keys::Action,
    notify::notify,
    timeline::cut,
};
use crate::{
    rpc::frames::{self, Frames, Part},
    terminal::safe_line,
    verbs::field,
};

/// Streams of a call: the other side, and ourselves.
pub const PEER: u8 = 0;
pub const SELF: u8 = 1;
/// Pictures are drawn at most so often; a terminal that is slower gets fewer.
const FRAME: Duration = Duration::from_millis(33);
/// Above this level somebody talks.
const TALKING: f64 = 0.02;

/// A call as the screen knows it.
#[derive(Clone, Debug, Default)]
pub struct CallState {
    pub id: String,
    pub chat: String,
    pub name: String,
    pub state: String,
    pub outgoing: bool,
    pub video: bool,
    pub emoji: String,
    pub since: Option<Instant>,
    /// How far our recording is, and theirs: no, asked or yes.
    pub recording: (String, String),
    /// Statistics, as they came last.
    pub stats: Value,
}

impl CallState {
    fn rings(&self) -> bool {
        !self.outgoing && self.state == "ringing"
    }

    pub fn connected(&self) -> bool {
        matches!(self.state.as_str(), "connected" | "interrupted")
    }

    /// When its clock goes on.
    pub fn next_second(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.connected())?;
        Some(since + Duration::from_secs(since.elapsed().as_secs() + 1))
    }

    fn clock(&self) -> String {
        let seconds = self.since.map_or(0, |s| s.elapsed().as_secs());
        match seconds {
            0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
            _ => format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        }
    }

    pub fn microphone(&self) -> bool {
        self.stats["state"]["microphone"] == true
    }

    pub fn camera(&self) -> bool {
        self.stats["state"]["camera"] == true
    }

    /// Somebody records it, with consent or as they say themselves.
    fn is_recorded(&self) -> bool {
        let says = |state: &Value| state["recording"] == true;
        self.recording.0 == "yes"
            || self.recording.1 == "yes"
            || says(&self.stats["state"])
            || says(&self.route()["state"])
    }

    fn route(&self) -> &Value {
        &self.stats["routes"][0]
    }

    /// Loss, round trip, rate and path, in one line.
    fn quality(&self) -> String {
        let route = self.route();
        let Some(path) = route["path"].as_str() else { return String::new() };
        let number = |v: &Value| v.as_f64().unwrap_or(0.0);
        let audio = &route["audio"];
        let packets = number(&audio["packets"]) + number(&audio["lost"]);
        let loss = if packets > 0.0 { number(&audio["lost"]) * 100.0 / packets } else { 0.0 };
        let mut line = if path == "relay" { "relayed".to_owned() } else { "direct".to_owned() };
        if let Some(rtt) = route["rtt_ms"].as_f64() {
            line.push_str(&format!(" · {rtt:.0} ms"));
        }
        line.push_str(&format!(" · {loss:.1} % lost"));
        let rate = (number(&route["sent_bps"]) + number(&route["received_bps"])) / 1e3;
        line.push_str(&format!(" · {rate:.0} kbit/s"));
        if route["video"]["fps"].as_f64() > Some(0.5) {
            line.push_str(&format!(" · {}p {:.0} fps", route["video"]["height"], number(&route["video"]["fps"])));
        }
        line
    }
}

/// A name for a recording that is not there yet.
fn recording_name(who: &str, video: bool) -> String {
    let who: String = who.chars().filter(|c| c.is_alphanumeric()).take(24).collect();
    let kind = if video { "mp4" } else { "ogg" };
    format!("starling-{}-{who}.{kind}", clock::stamp())
}

/// One picture, and what else came with it.
#[derive(Debug, Default)]
pub struct Shot {
    pub tiles: [Option<Picture>; 2],
    pub stats: Value,
}

/// A picture in RGB.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub width: u16,
    pub height: u16,
    pub rgb: Vec<u8>,
}

impl Picture {
    /// A pixel, with five bits a colour: the noise of a camera would else repaint every cell.
    fn at(&self, x: u16, y: u16) -> Option<(u8, u8, u8)> {
        let at = (usize::from(y) * usize::from(self.width) + usize::from(x)) * 3;
        let [r, g, b] = self.rgb.get(at..at + 3)? else { return None };
        Some((r & 0xf8, g & 0xf8, b & 0xf8))
    }
}

/// Where a stream is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub stream: u8,
    pub area: Rect,
}

impl App {
    /// What the keys of a call do.
    pub fn act_on_call(&mut self, action: Action) {
        let Some(call) = self.call.clone() else {
            if action == Action::Answer || action == Action::CallView {
                return self.say("There is no call: /call makes one.".into());
            }
            return self.say("There is no call.".into());
        };
        match action {
            Action::Answer if call.rings() => self.answer_call(&call, call.video),
            Action::Answer => self.ask(Tag::Nothing, "call.hangup", json!({ "call": call.id })),
            // Absolute values, in order: twice in a breath must not overtake itself.
            Action::Microphone => self.set_call("microphone", !call.microphone()),
            Action::Camera => self.set_call("camera", !call.camera()),
            _ => self.call_view = !self.call_view,
        }
    }

    pub fn answer_call(&mut self, call: &CallState, video: bool) {
        let mut params = Self::call_params(video);
        params["call"] = call.id.clone().into();
        self.ask(Tag::Nothing, "call.answer", params);
        self.call_view = true;
        self.open(&call.chat.clone());
    }

    fn set_call(&mut self, what: &str, on: bool) {
        let Some(call) = &mut self.call else { return };
        call.stats["state"][what] = on.into();
        let id = call.id.clone();
        self.ask_in_order(Tag::Nothing, "call.set", json!({ "call": id, what: on }));
    }

    /// What a call captures: devices, or what variables name in their place.
    pub fn call_params(video: bool) -> Value {
        let mut params = json!({ "video": video });
        for (variable, name) in
            [("STARLING_AUDIO_IN", "audio_in"), ("STARLING_AUDIO_OUT", "audio_out"), ("STARLING_VIDEO_IN", "video_in")]
        {
            if let Ok(value) = std::env::var(variable)
                && (video || name != "video_in")
            {
                params[name] = value.into();
            }
        }
        params
    }

    /// A slash command about the call.
    pub fn call_command(&mut self, name: &str, rest: &str) {
        let Some(call) = self.call.clone() else { return self.say("There is no call: /call makes one.".into()) };
        let id = call.id.clone();
        match name {
            "answer" if call.rings() => self.answer_call(&call, call.video || rest == "video"),
            "answer" => self.say("No call rings.".into()),
            "hangup" => self.ask(Tag::Nothing, "call.hangup", json!({ "call": id, "text": rest })),
            "mic" => self.act_on_call(Action::Microphone),
            "camera" => self.act_on_call(Action::Camera),
            "view" => self.act_on_call(Action::CallView),
            "hold" => {
                let hold = call.stats["state"]["hold"] != true;
                self.ask_in_order(Tag::Nothing, "call.set", json!({ "call": id, "hold": hold }));
            }
            "record" => self.record(&call, rest),
            "share" if rest == "stop" => self.ask(Tag::Nothing, "call.unshare", json!({ "call": id })),
            "share" => {
                let mut params = json!({ "call": id, "columns": 80, "rows": 24 });
                if !rest.is_empty() {
                    params["command"] = rest.into();
                }
                self.ask(Tag::Nothing, "call.share", params);
                self.say(
                    "They see what it prints; /type types into it, /hand lets them type, /share stop ends it.".into(),
                );
            }
            "type" => {
                let own = call.stats["state"]["sharing"] == true;
                self.ask_in_order(
                    Tag::Nothing,
                    "call.type",
                    json!({ "call": id, "own": own, "text": format!("{rest}\r") }),
                );
            }
            "hand" => {
                let given = rest != "back";
                self.ask(Tag::Nothing, "call.hand", json!({ "call": id, "given": given }));
                self.say(if given { "They may type into your terminal." } else { "Only you type." }.into());
            }
            _ => {}
        }
    }

    /// Asks to record, answers who asks, or ends it.
    fn record(&mut self, call: &CallState, rest: &str) {
        let id = &call.id;
        match rest {
            "yes" | "no" => {
                self.ask(Tag::Nothing, "call.consent", json!({ "call": id, "agree": rest == "yes" }));
            }
            "stop" => self.ask(Tag::Nothing, "call.record", json!({ "call": id })),
            "" if call.recording.0 != "no" => self.ask(Tag::Nothing, "call.record", json!({ "call": id })),
            _ => {
                let home = std::env::var_os("HOME").map(std::path::PathBuf::from).unwrap_or_default();
                let path = match rest {
                    "" => home.join(recording_name(&call.name, call.video)),
                    _ => home.join(rest.strip_prefix("~/").unwrap_or(rest)),
                };
                self.say(format!("{} is asked. It goes to {}", call.name, path.display()));
                self.ask(Tag::Nothing, "call.record", json!({ "call": id, "path": path }));
            }
        }
    }

    /// The list of calls, at the start and after another node.
    pub fn calls_are(&mut self, calls: &Value) {
        let known = calls.as_array().and_then(|calls| calls.first());
        match known {
            Some(call) => {
                let chat = field(&call["chat"], "id").to_owned();
                let name = self.contact_of(&chat).map(|c| field(c, "name").to_owned()).unwrap_or_default();
                self.take_call(call, &chat, &name);
            }
            None => self.call_over(),
        }
    }

    /// An event about a call.
    pub fn call_event(&mut self, event: &Value) {
        let call = &event["call"];
        let (chat, name) = (field(&event["chat"], "id").to_owned(), field(&event["chat"], "name").to_owned());
        if event["type"] == "call.ended" {
            self.refresh_chats();
            if self.open.as_deref() == Some(&chat) {
                self.ask(Tag::Load(chat.clone()), "history", json!({ "chat": chat, "limit": super::app::PAGE }));
            }
            return;
        }
        let ours = self.call.as_ref().is_none_or(|c| c.id == field(call, "id"));
        if call["state"] == "ended" {
            if ours {
                self.call_over();
                let why = field(call, "reason");
                let word = safe_line(field(call, "text"));
                let word = if word.is_empty() { String::new() } else { format!(" “{}”", cut(&word, 60)) };
                if call["replaced_by"].is_null() {
                    self.say(format!("The call is over: {}.{word}", why.replace('_', " ")));
                }
            }
            return;
        }
        if event["type"] == "call.incoming" {
            let name = cut(&safe_line(&name), 24);
            notify(&self.config, &name, "calls you", true);
        }
        if let Some(trouble) = call["trouble"].as_str().filter(|t| !t.is_empty()) {
            self.warn(safe_line(trouble));
        }
        if ours || self.call.as_ref().is_some_and(|c| !c.connected()) {
            self.take_call(call, &chat, &name);
        } else if event["type"] == "call.incoming" {
            self.say(format!("{} calls, too: F2 · starling call answer.", cut(&safe_line(&name), 24)));
        }
    }

    fn take_call(&mut self, call: &Value, chat: &str, name: &str) {
        let before = self.call.take().filter(|c| c.id == field(call, "id")).unwrap_or_default();
        let state = field(call, "state").to_owned();
        let talks = matches!(state.as_str(), "connected" | "interrupted");
        let first = before.id.is_empty();
        let consent = [(&before.recording.0, field(call, "recording")), (&before.recording.1, field(call, "recorded"))];
        let told = match consent {
            [(old, "yes"), _] if old != "yes" => Some("The call is being recorded; /record stop ends it.".to_owned()),
            [(old, "no"), _] if old == "asked" => Some("The call is not recorded.".to_owned()),
            [(old, "no"), _] if old == "yes" => Some("The recording is complete.".to_owned()),
            [_, (old, "no")] if old == "yes" => Some(format!("{} no longer records.", safe_line(name))),
            _ => None,
        };
        told.into_iter().for_each(|text| self.say(text));
        self.call = Some(CallState {
            id: field(call, "id").into(),
            chat: chat.into(),
            name: safe_line(name),
            state,
            outgoing: call["outgoing"] == true,
            video: call["video"] == true,
            emoji: field(call, "emoji").into(),
            recording: (field(call, "recording").into(), field(call, "recorded").into()),
            since: before.since.or_else(|| talks.then(Instant::now)),
            stats: before.stats,
        });
        if first && call["outgoing"] == true {
            self.call_view = true;
        }
    }

    fn call_over(&mut self) {
        (self.call, self.call_view, self.shot, self.shared) = (None, false, None, None);
    }

    /// What the node is asked to send, once the tiles have a place.
    pub fn wants_video(&self) -> Option<(String, Value)> {
        let call = self.call.as_ref().filter(|c| c.connected())?;
        let tiles: Vec<Value> = self
            .layout
            .tiles
            .iter()
            .map(|tile| {
                let (width, height) = self.pictures.pixels(tile.area);
                json!({ "stream": tile.stream, "width": width, "height": height })
            })
            .collect();
        Some((call.id.clone(), json!({ "tiles": tiles })))
    }

    /// A frame came.
    pub fn took_frame(&mut self, parts: Vec<Part>) {
        let mut shot = self.shot.take().unwrap_or_default();
        for part in parts {
            match part.kind {
                frames::TILE => {
                    let picture = Picture { width: part.width, height: part.height, rgb: part.content };
                    if let Some(tile) = shot.tiles.get_mut(usize::from(part.stream)) {
                        *tile = (picture.width > 0).then_some(picture);
                    }
                }
                frames::STATS => shot.stats = serde_json::from_slice(&part.content).unwrap_or_default(),
                frames::TERMINAL => {
                    self.shared = (part.width > 0).then(|| {
                        let size = |n: u16| std::num::NonZeroU16::new(n.min(400)).unwrap_or(std::num::NonZeroU16::MIN);
                        let mut parser = vt100::Parser::new(size(part.height), size(part.width), 0);
                        parser.process(&part.content);
                        parser
                    });
                }
                _ => {}
            }
        }
        if let Some(call) = &mut self.call {
            call.stats.clone_from(&shot.stats);
        }
        self.shot = Some(shot);
    }
}

/// The row above the messages.
pub fn draw_bar(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(call) = &app.call else { return };
    let theme = &app.theme;
    let key = |action| app.keys.keys_of(action);
    let name = cut(&call.name, area.width / 3);
    let (left, right, style) = match call.state.as_str() {
        _ if call.rings() => {
            let kind = if call.video { "video call" } else { "call" };
            (
                format!(" ☎ {name} · {kind}"),
                format!("{} answers · /hangup declines ", key(Action::Answer)),
                theme.accent,
            )
        }
        "connected" if call.recording.1 == "asked" => {
            (format!(" ● {name} asks to record this call"), "/record yes · /record no ".into(), theme.warn)
        }
        "connected" | "interrupted" => {
            let mic = if call.microphone() { "mic on" } else { "mic off" };
            let camera = if call.camera() { "camera on" } else { "camera off" };
            let state = if call.state == "interrupted" { " · interrupted, looking for a way" } else { "" };
            let record = if call.is_recorded() { "● REC · " } else { "" };
            let style = if call.is_recorded() { theme.warn } else { theme.good };
            (format!(" ☎ {name} {}{state}", call.clock()), format!("{record}{mic} · {camera} "), style)
        }
        "ringing" => (format!(" ☎ {name} · ringing …"), format!("{} cancels ", key(Action::Answer)), theme.accent),
        _ => (format!(" ☎ {name} · connecting …"), format!("{} cancels ", key(Action::Answer)), theme.accent),
    };
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
    buffer.set_style(area, app.theme.text);
    let Some(call) = app.call.clone() else { return };
    if area.height < 4 || area.width < 12 {
        return;
    }
    let theme = app.theme.clone();
    // The last two rows: quality and keys.
    let body = Rect { height: area.height - 2, ..area };
    let quality = call.quality();
    // What both sides compare is never cut off.
    let line = if call.emoji.is_empty() { quality } else { format!("{} · {quality}", call.emoji) };
    buffer.set_string(area.x + 1, area.y + area.height - 2, cut(&line, area.width - 2), theme.dim);
    let key = |action| app.keys.keys_of(action);
    let keys = format!(
        "{} mic · {} camera · {} hang up · {} small · /share /hold",
        key(Action::Microphone),
        key(Action::Camera),
        key(Action::Answer),
        key(Action::CallView)
    );
    buffer.set_string(area.x + 1, area.y + area.height - 1, cut(&keys, area.width - 2), theme.dim);
    if app.shared.is_some() {
        draw_terminal(app, body, buffer);
        return;
    }
    // Ourselves in the corner of the other side's picture.
    let tile = Tile { stream: PEER, area: Rect { height: body.height - 1, ..body } };
    draw_tile(app, tile, buffer);
    app.layout.tiles.push(tile);
    draw_name(app, Rect { y: body.y + body.height - 1, height: 1, ..body }, buffer);
    let (width, height) = (body.width / 5, body.width / 5 * 9 / 32);
    if call.camera() && width >= 12 && body.height > height * 2 {
        let own = Rect { x: body.x + body.width - width, y: body.y, width, height };
        let tile = Tile { stream: SELF, area: own };
        draw_tile(app, tile, buffer);
        app.layout.tiles.push(tile);
    }
}

/// Who it is, whether they talk, and what they have turned off.
fn draw_name(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(call) = &app.call else { return };
    let theme = &app.theme;
    let route = call.route();
    let talks = route["audio"]["level"].as_f64().unwrap_or(0.0) > TALKING;
    let mark = if talks { "◉" } else { "○" };
    let mut text = format!("{mark} {}", call.name);
    for (what, on, off) in [
        ("microphone", "", " · mic off"),
        ("camera", "", " · camera off"),
        ("hold", " · on hold", ""),
        ("recording", " · records", ""),
    ] {
        text.push_str(if route["state"][what] == true { on } else { off });
    }
    let style = if talks { theme.good } else { theme.text };
    buffer.set_string(area.x + 1, area.y, cut(&text, area.width.saturating_sub(2)), style);
    // Our own level, so that one sees to be heard.
    let level = (call.stats["level"].as_f64().unwrap_or(0.0).sqrt() * 8.0).round().clamp(0.0, 8.0) as usize;
    let meter = format!("you {}{}", "▮".repeat(level), "▯".repeat(8 - level));
    let width = meter.width() as u16;
    if area.width > width + text.width() as u16 + 4 {
        let style = if call.microphone() { theme.accent } else { theme.dim };
        let meter = if call.microphone() { meter } else { "you: mic off".to_owned() };
        buffer.set_string(area.x + area.width - 1 - meter.width() as u16, area.y, meter, style);
    }
}

/// The other side, small, while one chats.
pub fn draw_corner(app: &mut App, area: Rect, buffer: &mut Buffer) {
    let shows = app.call.as_ref().is_some_and(|c| c.connected() && c.route()["state"]["camera"] == true);
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
    app.layout.tiles.push(tile);
}

fn draw_tile(app: &mut App, tile: Tile, buffer: &mut Buffer) {
    Clear.render(tile.area, buffer);
    buffer.set_style(tile.area, app.theme.text);
    let picture = app.shot.as_ref().and_then(|s| s.tiles[usize::from(tile.stream)].as_ref());
    let Some(picture) = picture else {
        let text = match &app.call {
            Some(call) if tile.stream == PEER && call.route()["state"]["camera"] == true => "…".to_owned(),
            Some(call) if tile.stream == PEER => call.name.clone(),
            _ => String::new(),
        };
        let text = cut(&text, tile.area.width);
        let x = tile.area.x + (tile.area.width.saturating_sub(text.width() as u16)) / 2;
        buffer.set_string(x, tile.area.y + tile.area.height / 2, text, app.theme.dim);
        return;
    };
    let covered = app.palette.is_some() || app.card.is_some();
    if app.pictures.draws() && !covered {
        app.pictures.place(tile, picture, buffer);
    } else {
        half_blocks(picture, tile.area, app.colours, buffer);
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
            let (Some(top), Some(bottom)) = (picture.at(x, y * 2), picture.at(x, y * 2 + 1)) else { continue };
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
    let Some(parser) = &app.shared else { return };
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
            let Some(cell) = screen.cell(top + y, left + x) else { continue };
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
    let name = app.call.as_ref().map(|c| c.name.clone()).unwrap_or_default();
    let part = if view.width < columns || view.height < rows { " · a part of it" } else { "" };
    let text = format!("{name}'s terminal, {columns}×{rows}{part} · /type TEXT types, if they let you");
    buffer.set_string(area.x + 1, area.y + area.height - 1, cut(&text, area.width.saturating_sub(2)), app.theme.accent);
}

fn colour(colour: vt100::Color) -> Color {
    match colour {
        vt100::Color::Default => Color::Reset,
        vt100::Color::Idx(i) => Color::Indexed(i),
        vt100::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
    }
}

/// The connection that brings pictures. A task reads; the newest frame waits for the screen.
#[derive(Default)]
pub struct Video {
    call: String,
    wanted: Option<watch::Sender<Value>>,
    frames: Option<mpsc::Receiver<Vec<Part>>>,
    task: Option<JoinHandle<()>>,
    not_before: Option<Instant>,
}

impl Video {
    /// Watches a call, in these sizes, or nothing. `began`: when the last drawing did.
    pub fn want(&mut self, wanted: Option<(String, Value)>, socket: &Path, began: Instant) {
        // At most a third of the time goes into drawing: keys come first.
        self.not_before = Some(began + FRAME.max(began.elapsed() * 3));
        let Some((call, wish)) = wanted else { return self.stop() };
        if let Some(sender) = self.wanted.as_ref().filter(|_| self.call == call) {
            sender.send_if_modified(|old| {
                let changed = *old != wish;
                *old = wish;
                changed
            });
            return;
        }
        self.stop();
        let (sender, wishes) = watch::channel(wish);
        // One frame waits; the next is asked for when it was taken.
        let (shots, frames) = mpsc::channel(1);
        let (socket, id) = (socket.to_owned(), call.clone());
        self.task = Some(tokio::spawn(async move {
            let Ok(mut connection) = Frames::open(&socket, &id).await else { return };
            loop {
                let Ok(place) = shots.reserve().await else { return };
                let wish = wishes.borrow().clone();
                let Ok(parts) = connection.next(&wish).await else { return };
                place.send(parts);
            }
        }));
        (self.call, self.wanted, self.frames) = (call, Some(sender), Some(frames));
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        (self.wanted, self.frames) = (None, None);
        self.call.clear();
    }

    /// The next frame; never, while nothing is watched. Can be cancelled.
    pub async fn next(&mut self) -> Vec<Part> {
        let Some(frames) = &mut self.frames else { return std::future::pending().await };
        if let Some(at) = self.not_before {
            tokio::time::sleep_until(at.into()).await;
        }
        match frames.recv().await {
            Some(parts) => parts,
            None => {
                // It ended by itself; not asked for again before it was off.
                self.frames = None;
                std::future::pending().await
            }
        }
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        self.stop();
    }
}
