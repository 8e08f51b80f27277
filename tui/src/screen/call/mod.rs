//! A call on the screen: what is known of it, and what keys, commands and events do to it.

mod pictures;
mod stream;
pub mod view;

use std::time::{Duration, Instant};

use ratatui::{crossterm::event::KeyEventKind, layout::Rect};
use serde_json::{Value, json};

pub use self::{
    pictures::{GraphicsProtocol, Pictures},
    stream::Video,
    view::{Colours, half_blocks},
};
use super::{
    app::{App, Tag},
    clock,
    model::{CallState, CallStats, Recording, wire},
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
/// For how long a held key opens the microphone, and after what time it is said again.
const TALK_LEASE_MS: u64 = 1_500;
const TALK_RENEW: Duration = Duration::from_millis(500);

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
        let [r, g, b] = self.rgb.get(at..at + 3)? else {
            return None;
        };
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
    pub fn answer_call(&mut self, call: &CallState, video: bool) {
        let mut params = Self::call_params(video);
        params["call"] = call.id.clone().into();
        self.ask(Tag::Nothing, "call.answer", params);
        self.call_view = true;
        self.open(&call.chat.clone());
    }

    pub fn set_call(&mut self, what: &str, on: bool) {
        let Some(call) = &mut self.call else { return };
        let media = call.own_media_mut();
        match what {
            "microphone" => media.microphone = on,
            _ => media.camera = on,
        }
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

    /// Asks to record, answers who asks, or ends it.
    pub fn record(&mut self, call: &CallState, rest: &str) {
        let id = &call.id;
        match rest {
            "yes" | "no" => {
                self.ask(Tag::Nothing, "call.consent", json!({ "call": id, "agree": rest == "yes" }));
            }
            "stop" => self.ask(Tag::Nothing, "call.record", json!({ "call": id })),
            "" if call.ours != Recording::No => self.ask(Tag::Nothing, "call.record", json!({ "call": id })),
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
            let name = self.contact_of(&chat).map(|c| c.name.clone()).unwrap_or_default();
            known.push((call, chat, name));
        }
        // One that is talked in before one that rings.
        known.sort_by_key(|(call, ..)| call["state"] == "ringing");
        match known.split_first() {
            Some(((call, chat, name), others)) => {
                self.take_call(wire::call(call, chat, name));
                self.other_calls = others.iter().map(|(call, chat, name)| wire::call(call, chat, name)).collect();
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
                let news = wire::call_news(call);
                let word = safe_line(&news.text);
                let word = if word.is_empty() { String::new() } else { format!(" “{}”", cut(&word, 60)) };
                if news.reason == "elsewhere" && !news.replaced {
                    self.say("Another device of yours has the call: /take brings it here.".into());
                } else if !news.replaced {
                    self.say(format!("The call is over: {}.{word}", news.reason.replace('_', " ")));
                }
            }
            return;
        }
        if event["type"] == "call.incoming" {
            let name = cut(&safe_line(&name), 24);
            let what = if call["moved"] == true { "can be talked to here now" } else { "calls you" };
            self.notify(&name, what, true);
        }
        let trouble = wire::call_news(call).trouble;
        if !trouble.is_empty() {
            self.warn(safe_line(&trouble));
        }
        if ours {
            return self.take_call(wire::call(call, &chat, &name));
        }
        let state = wire::call(call, &chat, &name);
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
        let Some(at) = self.other_calls.iter().position(|c| c.id == id) else {
            return;
        };
        let next = self.other_calls.remove(at);
        if let Some(now) = self.call.replace(next) {
            self.other_calls.push(now);
        }
        (self.shot, self.shared, self.talk_until) = (None, None, None);
    }

    /// Answers a call that waits, or goes back to one that is on hold.
    pub fn switch_call(&mut self) {
        let next = self.other_calls.iter().find(|c| c.rings()).or(self.other_calls.first()).cloned();
        let Some(next) = next else {
            return self.say("There is no other call.".into());
        };
        if next.rings() {
            // The node puts the others on hold.
            return self.answer_call(&next, next.video);
        }
        self.end_talk();
        if let Some(now) = &mut self.call {
            now.own_media_mut().hold = true;
            let id = now.id.clone();
            self.ask_in_order(Tag::Nothing, "call.set", json!({ "call": id, "hold": true }));
        }
        self.ask_in_order(Tag::Nothing, "call.set", json!({ "call": next.id, "hold": false }));
        self.show_call(&next.id);
        if let Some(now) = &mut self.call {
            now.own_media_mut().hold = false;
        }
    }

    /// A key that is held while one talks: `kind` tells whether it was pressed, repeated or let go.
    pub fn talk_key(&mut self, kind: KeyEventKind) {
        let Some(call) = self.call.as_ref().filter(|c| c.connected()) else {
            return;
        };
        let (on, now) = (call.own_media().microphone, Instant::now());
        match (kind, self.talk_until) {
            (KeyEventKind::Release, Some(_)) => self.end_talk(),
            (KeyEventKind::Release, None) => {}
            (_, Some(_)) => {
                self.talk_until = Some(now + NEXT_REPEAT);
                if self.talk_renewed.is_none_or(|at| now.duration_since(at) >= TALK_RENEW) {
                    self.hold_microphone(now);
                }
            }
            (_, None) if on => self.say("The microphone is on; with it off, this key is held to talk.".into()),
            (_, None) => {
                self.talk_until = Some(now + FIRST_REPEAT);
                self.hold_microphone(now);
            }
        }
    }

    /// Opens the microphone for a moment. The node closes it unless this is said again, whatever becomes of the screen.
    fn hold_microphone(&mut self, now: Instant) {
        let Some(call) = &mut self.call else { return };
        self.talk_renewed = Some(now);
        call.own_media_mut().microphone = true;
        let params = json!({ "call": call.id, "microphone": true, "microphone_ms": TALK_LEASE_MS });
        self.ask_in_order(Tag::Nothing, "call.set", params);
    }

    /// No longer talks.
    pub fn end_talk(&mut self) {
        if self.talk_until.take().is_some() && self.call.is_some() {
            self.set_call("microphone", false);
        }
    }

    fn take_call(&mut self, call: CallState) {
        let before = self.call.take().filter(|c| c.id == call.id);
        let first = before.is_none();
        let before = before.unwrap_or_default();
        let said = match (before.ours, call.ours) {
            (old, Recording::Yes) if old != Recording::Yes => {
                Some("The call is being recorded; /record stop ends it.".to_owned())
            }
            (Recording::Asked, Recording::No) => Some("The call is not recorded.".to_owned()),
            (Recording::Yes, Recording::No) => Some("The recording is complete.".to_owned()),
            _ if before.theirs == Recording::Yes && call.theirs == Recording::No => {
                Some(format!("{} no longer records.", call.name))
            }
            _ => None,
        };
        said.into_iter().for_each(|text| self.say(text));
        let since = before.since.or_else(|| call.connected().then(Instant::now));
        if first {
            // One that we took from another device of ours is large, too.
            self.call_view |= call.outgoing || (call.moved && call.state == "connecting");
            self.ask(Tag::Nothing, "call.attend", json!({ "call": call.id }));
        }
        self.call = Some(CallState { since, stats: before.stats, ..call });
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
        let mut stats = None;
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
                frames::STATS => stats = Some(CallStats::from_bytes(&part.content)),
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
        if let (Some(call), Some(stats)) = (&mut self.call, stats) {
            call.stats = stats;
        }
        self.shot = Some(shot);
    }
}
