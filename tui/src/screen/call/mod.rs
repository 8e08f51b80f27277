//! A call on the screen: what is known of it, and what keys, commands and events do to it.

mod pictures;
mod stream;
pub mod view;

use std::time::{Duration, Instant};

use ratatui::{crossterm::event::KeyEventKind, layout::Rect};
use serde_json::{Value, json};

pub use self::{
    pictures::{Pictures, Way},
    stream::Video,
    view::{Colours, half_blocks},
};
use super::{
    app::{App, Tag},
    clock,
    keys::Action,
    timeline::cut,
};
use crate::{
    rpc::frames::{self, Part},
    terminal::safe_line,
    verbs::field,
};

/// Streams of a call: the other side, and ourselves.
pub const PEER: u8 = 0;
pub const SELF: u8 = 1;
/// Who talks while a key is held is heard until it is no longer repeated: the first repetition takes a while.
const FIRST_REPEAT: Duration = Duration::from_millis(800);
const NEXT_REPEAT: Duration = Duration::from_millis(400);

/// A call as the screen knows it.
#[derive(Clone, Debug, Default)]
pub struct CallState {
    pub id: String,
    pub chat: String,
    pub name: String,
    pub state: String,
    pub outgoing: bool,
    /// Another device of ours hands it over.
    pub moved: bool,
    pub video: bool,
    pub emoji: String,
    pub since: Option<Instant>,
    /// How far our recording is, and theirs: no, asked or yes.
    pub recording: (String, String),
    /// Statistics, as they came last.
    pub stats: Value,
}

impl CallState {
    fn new(call: &Value, chat: &str, name: &str) -> Self {
        Self {
            id: field(call, "id").into(),
            chat: chat.into(),
            name: safe_line(name),
            state: field(call, "state").into(),
            outgoing: call["outgoing"] == true,
            moved: call["moved"] == true,
            video: call["video"] == true,
            emoji: field(call, "emoji").into(),
            recording: (field(call, "recording").into(), field(call, "recorded").into()),
            since: None,
            stats: Value::Null,
        }
    }

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

    /// Whether its packets go directly to the other side; `None` before that is known.
    pub fn is_direct(&self) -> Option<bool> {
        let path = self.route()["path"].as_str().filter(|_| self.connected())?;
        Some(path != "relay")
    }

    /// Loss, round trip, rate and path, in one line.
    fn quality(&self) -> String {
        let route = self.route();
        let Some(direct) = self.is_direct() else { return String::new() };
        let number = |v: &Value| v.as_f64().unwrap_or(0.0);
        let audio = &route["audio"];
        let packets = number(&audio["packets"]) + number(&audio["lost"]);
        let loss = if packets > 0.0 { number(&audio["lost"]) * 100.0 / packets } else { 0.0 };
        let mut line = if direct { "direct".to_owned() } else { "relayed".to_owned() };
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
    /// Which one it is: the same is not written twice.
    pub number: u64,
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
            Action::Microphone => {
                self.talk_until = None;
                self.set_call("microphone", !call.microphone());
            }
            Action::Camera => self.set_call("camera", !call.camera()),
            Action::Talk => self.talk_key(KeyEventKind::Press),
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
            "switch" => self.switch_call(),
            "transfer" => {
                let device = (!rest.is_empty()).then_some(rest);
                self.ask(Tag::Transferred, "call.transfer", json!({ "call": id, "device": device }));
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
        self.other_calls.clear();
        let mut known: Vec<(&Value, String, String)> = Vec::new();
        for call in calls.as_array().into_iter().flatten() {
            let chat = field(&call["chat"], "id").to_owned();
            let name = self.contact_of(&chat).map(|c| field(c, "name").to_owned()).unwrap_or_default();
            known.push((call, chat, name));
        }
        // One that is talked in before one that rings.
        known.sort_by_key(|(call, ..)| call["state"] == "ringing");
        match known.split_first() {
            Some(((call, chat, name), others)) => {
                self.take_call(call, chat, name);
                self.other_calls = others.iter().map(|(call, chat, name)| CallState::new(call, chat, name)).collect();
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
                self.load_newest();
            }
            return;
        }
        let id = field(call, "id");
        let ours = self.call.as_ref().is_none_or(|c| c.id == id);
        if call["state"] == "ended" {
            self.other_calls.retain(|c| c.id != id);
            if ours {
                self.call_over();
                let why = field(call, "reason");
                let word = safe_line(field(call, "text"));
                let word = if word.is_empty() { String::new() } else { format!(" “{}”", cut(&word, 60)) };
                if why == "elsewhere" && call["replaced_by"].is_null() {
                    self.say("Another device of yours has the call: /take brings it here.".into());
                } else if call["replaced_by"].is_null() {
                    self.say(format!("The call is over: {}.{word}", why.replace('_', " ")));
                }
            }
            return;
        }
        if event["type"] == "call.incoming" {
            let name = cut(&safe_line(&name), 24);
            let what = if call["moved"] == true { "can be talked to here now" } else { "calls you" };
            self.notify(&name, what, true);
        }
        if let Some(trouble) = call["trouble"].as_str().filter(|t| !t.is_empty()) {
            self.warn(safe_line(trouble));
        }
        if ours {
            self.take_call(call, &chat, &name);
            return;
        }
        let state = CallState::new(call, &chat, &name);
        // What was just answered or made is the one that is shown.
        let shown =
            matches!(state.state.as_str(), "starting" | "connecting") || (state.outgoing && state.state == "ringing");
        match self.other_calls.iter_mut().find(|c| c.id == id) {
            Some(known) => *known = CallState { since: known.since, ..state },
            None => self.other_calls.push(state),
        }
        if shown {
            self.show_call(id);
        }
    }

    /// Shows one of the other calls in place of this one, which waits.
    fn show_call(&mut self, id: &str) {
        self.end_talk();
        let Some(at) = self.other_calls.iter().position(|c| c.id == id) else { return };
        let next = self.other_calls.remove(at);
        if let Some(now) = self.call.replace(next) {
            self.other_calls.push(now);
        }
        (self.shot, self.shared, self.talk_until) = (None, None, None);
    }

    /// Answers a call that waits, or goes back to one that is on hold.
    fn switch_call(&mut self) {
        let next = self.other_calls.iter().find(|c| c.rings()).or(self.other_calls.first()).cloned();
        let Some(next) = next else { return self.say("There is no other call.".into()) };
        if next.rings() {
            // The node puts the others on hold.
            return self.answer_call(&next, next.video);
        }
        self.end_talk();
        if let Some(now) = &mut self.call {
            now.stats["state"]["hold"] = true.into();
            let id = now.id.clone();
            self.ask_in_order(Tag::Nothing, "call.set", json!({ "call": id, "hold": true }));
        }
        self.ask_in_order(Tag::Nothing, "call.set", json!({ "call": next.id, "hold": false }));
        self.show_call(&next.id);
        if let Some(now) = &mut self.call {
            now.stats["state"]["hold"] = false.into();
        }
    }

    /// A key that is held while one talks: `kind` tells whether it was pressed, repeated or let go.
    pub fn talk_key(&mut self, kind: KeyEventKind) {
        let Some(call) = self.call.as_ref().filter(|c| c.connected()) else { return };
        let (on, now) = (call.microphone(), Instant::now());
        match (kind, self.talk_until) {
            (KeyEventKind::Release, Some(_)) => self.end_talk(),
            (KeyEventKind::Release, None) => {}
            (_, Some(_)) => self.talk_until = Some(now + NEXT_REPEAT),
            (_, None) if on => self.say("The microphone is on; with it off, this key is held to talk.".into()),
            (_, None) => {
                self.talk_until = Some(now + FIRST_REPEAT);
                self.set_call("microphone", true);
            }
        }
    }

    /// No longer talks.
    pub fn end_talk(&mut self) {
        if self.talk_until.take().is_some() && self.call.is_some() {
            self.set_call("microphone", false);
        }
    }

    fn take_call(&mut self, call: &Value, chat: &str, name: &str) {
        let before = self.call.take().filter(|c| c.id == field(call, "id")).unwrap_or_default();
        let talks = matches!(field(call, "state"), "connected" | "interrupted");
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
        let since = before.since.or_else(|| talks.then(Instant::now));
        self.call = Some(CallState { since, stats: before.stats, ..CallState::new(call, chat, name) });
        if first {
            // One that we took from another device of ours is large, too.
            self.call_view |= call["outgoing"] == true || (call["moved"] == true && call["state"] == "connecting");
            self.ask(Tag::Nothing, "call.attend", json!({ "call": call["id"] }));
        }
    }

    fn call_over(&mut self) {
        (self.shot, self.shared, self.talk_until) = (None, None, None);
        // One that waited takes its place.
        self.call = (!self.other_calls.is_empty()).then(|| self.other_calls.remove(0));
        match &self.call {
            None => self.call_view = false,
            Some(next) if next.connected() => self.say(format!("{} is on hold: /hold goes on.", next.name)),
            Some(_) => {}
        }
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
                    self.pictures_seen += 1;
                    let (number, width, height) = (self.pictures_seen, part.width, part.height);
                    let picture = Picture { number, width, height, rgb: part.content };
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
