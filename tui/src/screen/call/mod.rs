//! A call on the screen: what is known of it, and what keys, commands and events do to it.

mod pictures;
mod stream;
pub mod view;

use std::{
    num::NonZeroU16,
    time::{Duration, Instant},
};

use ratatui::{crossterm::event::KeyEventKind, layout::Rect};
use starling_control::{
    frames::{self, Part, Request},
    methods::calls::{AgreeToRecording, Answer, Attend, MAX_TERMINAL, Media, Record, Set},
    objects::{Call, CallEnd, CallId, CallPhase, ChatId, ChatRef, Consent},
};

pub use self::{
    pictures::{GraphicsProtocol, Pictures},
    stream::Video,
    view::{Colours, half_blocks},
};
use super::{app::App, clock, model::CallState, timeline::cut};
use crate::terminal::safe_line;

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

/// What somebody may have said to the end of a call, for a remark.
fn quoted(word: &str) -> String {
    let word = safe_line(word);
    if word.is_empty() { String::new() } else { format!(" “{}”", cut(&word, 60)) }
}

/// What there is to say of recordings when a call has changed.
fn recording_remark(before: &Call, now: &CallState) -> Option<String> {
    Some(match (before.recording, now.wire.recording) {
        (old, Consent::Yes) if old != Consent::Yes => "The call is being recorded; /record stop ends it.".to_owned(),
        (Consent::Asked, Consent::No) => "The call is not recorded.".to_owned(),
        (Consent::Yes, Consent::No) => "The recording is complete.".to_owned(),
        _ if before.recorded == Consent::Yes && now.wire.recorded == Consent::No => {
            format!("{} no longer records.", now.name)
        }
        _ => return None,
    })
}

/// The calls, and what the one that is shown needs.
pub struct Calls {
    /// The call that is shown.
    pub shown: Option<CallState>,
    /// Others: on hold, or ringing.
    pub others: Vec<CallState>,
    /// The call stands in place of the messages.
    pub is_large: bool,
    /// The microphone is on while a key is held, until then at most.
    pub talk_until: Option<Instant>,
    /// When the node was last told that the key is held.
    talk_renewed: Option<Instant>,
    pub shot: Option<Shot>,
    /// The other side's shared terminal.
    pub shared: Option<vt100::Parser>,
    pub pictures: Pictures,
    /// Pictures that came.
    pictures_seen: u64,
    pub colours: Colours,
}

impl Calls {
    /// No calls, in a terminal with so many colours.
    pub fn new(colours: Colours) -> Self {
        Self {
            shown: None,
            others: Vec::new(),
            is_large: false,
            talk_until: None,
            talk_renewed: None,
            shot: None,
            shared: None,
            pictures: Pictures::of_terminal(),
            pictures_seen: 0,
            colours,
        }
    }

    /// Whether the call is seen in place of the messages.
    pub fn covers_messages(&self) -> bool {
        self.is_large && self.shown.is_some()
    }

    /// Nothing of the call that was shown is left.
    fn clear_shown(&mut self) {
        (self.shot, self.shared, self.talk_until) = (None, None, None);
    }

    /// Shows another call in place of this one, which waits.
    fn show(&mut self, id: &CallId) {
        let Some(at) = self.others.iter().position(|call| call.wire.id == *id) else { return };
        let next = self.others.remove(at);
        self.others.extend(self.shown.replace(next));
        self.clear_shown();
    }

    /// The call that is shown is over: one that waited takes its place.
    fn end_shown(&mut self) {
        self.clear_shown();
        self.shown = (!self.others.is_empty()).then(|| self.others.remove(0));
        self.is_large &= self.shown.is_some();
    }

    /// Takes a picture of a stream.
    fn take_picture(&mut self, stream: u8, width: u16, height: u16, rgb: Vec<u8>) {
        self.pictures_seen += 1;
        let picture = Picture { number: self.pictures_seen, width, height, rgb };
        if let Some(tile) = self.shot.get_or_insert_default().tiles.get_mut(usize::from(stream)) {
            *tile = (width > 0).then_some(picture);
        }
    }

    /// Takes the parts of a frame.
    pub fn take_frame(&mut self, parts: Vec<Part>) {
        for part in parts {
            match part {
                Part::Tile(frames::Tile { stream, width, height }, rgb) => {
                    self.take_picture(stream, width, height, rgb);
                }
                Part::Stats(stats) => {
                    if let Some(call) = &mut self.shown {
                        call.stats = *stats;
                    }
                }
                Part::Terminal(columns, rows, content) => {
                    self.shared = (columns > 0).then(|| terminal_of(columns, rows, &content));
                }
            }
        }
        // Also without a picture: from now on frames are drawn in one piece.
        self.shot.get_or_insert_default();
    }
}

/// A terminal that shows what was drawn in another.
fn terminal_of(columns: u16, rows: u16, content: &[u8]) -> vt100::Parser {
    let size = |n: u16| NonZeroU16::new(n.min(MAX_TERMINAL)).unwrap_or(NonZeroU16::MIN);
    let mut parser = vt100::Parser::new(size(rows), size(columns), 0);
    parser.process(content);
    parser
}

impl App {
    pub fn answer_call(&mut self, call: &CallState, video: bool) {
        self.tell(Answer::new(call.wire.id.clone(), Self::call_media(video)));
        self.calls.is_large = true;
        self.open(&call.wire.chat.id.clone());
    }

    pub fn set_microphone(&mut self, on: bool) {
        let Some(call) = &mut self.calls.shown else { return };
        call.own_media_mut().microphone = on;
        let set = Set { call: call.wire.id.clone(), microphone: Some(on), ..Set::default() };
        self.tell_in_order(set);
    }

    pub fn set_camera(&mut self, on: bool) {
        let Some(call) = &mut self.calls.shown else { return };
        call.own_media_mut().camera = on;
        let set = Set { call: call.wire.id.clone(), camera: Some(on), ..Set::default() };
        self.tell_in_order(set);
    }

    /// What a call captures: devices, or what variables name in their place.
    pub fn call_media(video: bool) -> Media {
        let named = |variable: &str| std::env::var(variable).ok();
        Media {
            video: Some(video),
            audio_in: named("STARLING_AUDIO_IN"),
            audio_out: named("STARLING_AUDIO_OUT"),
            video_in: named("STARLING_VIDEO_IN").filter(|_| video),
            ..Media::default()
        }
    }

    /// Asks to record, answers who asks, or ends it.
    pub fn record(&mut self, call: &CallState, rest: &str) {
        let id = call.wire.id.clone();
        match rest {
            "yes" | "no" => self.tell(AgreeToRecording { call: id, agree: rest == "yes" }),
            "stop" => self.tell(Record { call: id, path: None }),
            "" if call.wire.recording != Consent::No => self.tell(Record { call: id, path: None }),
            _ => {
                let home = std::env::var_os("HOME").map(std::path::PathBuf::from).unwrap_or_default();
                let path = match rest {
                    "" => home.join(recording_name(&call.name, call.wire.video)),
                    _ => home.join(rest.strip_prefix("~/").unwrap_or(rest)),
                };
                self.say(format!("{} is asked. It goes to {}", call.name, path.display()));
                self.tell(Record { call: id, path: Some(path.to_string_lossy().into_owned()) });
            }
        }
    }

    /// The list of calls, at the start and after another node.
    pub fn take_calls(&mut self, calls: Vec<Call>) {
        let named = |call: Call| {
            let name = self.directory.contact_of(&call.chat.id).map(|c| safe_line(&c.name)).unwrap_or_default();
            CallState::new(call, name)
        };
        let mut known: Vec<CallState> = calls.into_iter().map(named).collect();
        // One that is talked in before one that rings.
        known.sort_by_key(|call| call.wire.state == CallPhase::Ringing);
        let mut known = known.into_iter();
        let first = known.next();
        self.calls.others = known.collect();
        match first {
            Some(call) => self.take_call(call),
            None => self.call_over(),
        }
    }

    /// The note of a call is in a chat.
    pub fn call_noted(&mut self, chat: &ChatId) {
        self.refresh_chats();
        if self.chat.open.as_ref() == Some(chat) {
            self.load_newest();
        }
    }

    /// Somebody calls.
    pub fn call_comes_in(&mut self, chat: &ChatRef, call: Call) {
        let name = cut(&safe_line(chat.name.as_deref().unwrap_or_default()), 24);
        let what = if call.moved { "can be talked to here now" } else { "calls you" };
        self.notify(&name, what, true);
        self.call_changed(chat, call);
    }

    /// A call has changed.
    pub fn call_changed(&mut self, chat: &ChatRef, call: Call) {
        let shown = self.calls.shown.as_ref().is_none_or(|c| c.wire.id == call.id);
        if call.state == CallPhase::Ended {
            self.calls.others.retain(|c| c.wire.id != call.id);
            if shown {
                self.call_ended(&call);
            }
            return;
        }
        if let Some(trouble) = call.trouble.as_deref().filter(|trouble| !trouble.is_empty()) {
            self.warn(safe_line(trouble));
        }
        let state = CallState::new(call, safe_line(chat.name.as_deref().unwrap_or_default()));
        if shown {
            return self.take_call(state);
        }
        // What was just answered or made is the one that is shown.
        let (id, phase) = (state.wire.id.clone(), state.wire.state);
        let is_new = matches!(phase, CallPhase::Starting | CallPhase::Connecting)
            || (state.wire.outgoing && phase == CallPhase::Ringing);
        match self.calls.others.iter_mut().find(|c| c.wire.id == id) {
            Some(known) => *known = CallState { since: known.since, ..state },
            None => self.calls.others.push(state),
        }
        if is_new {
            self.show_call(&id);
        }
    }

    /// The call that is shown is over.
    fn call_ended(&mut self, call: &Call) {
        self.call_over();
        match call.reason {
            // It goes on under another name.
            _ if call.replaced_by.is_some() => {}
            Some(CallEnd::Elsewhere) => self.say("Another device of yours has the call: /take brings it here.".into()),
            // In words of our own: those of the other end are no explanation.
            Some(CallEnd::Insecure) => self.warn(
                "The call has ended: its check failed, and somebody may have sat between you. Compare safety numbers by another way.".into(),
            ),
            reason => {
                let reason = reason.map(CallEnd::as_str).unwrap_or_default().replace('_', " ");
                let word = quoted(call.text.as_deref().unwrap_or_default());
                self.say(format!("The call is over: {reason}.{word}"));
            }
        }
    }

    /// Shows one of the other calls in place of this one, which waits.
    fn show_call(&mut self, id: &CallId) {
        self.end_talk();
        self.calls.show(id);
    }

    /// Answers a call that waits, or goes back to one that is on hold.
    pub fn switch_call(&mut self) {
        let next = self.calls.others.iter().find(|c| c.rings()).or(self.calls.others.first()).cloned();
        let Some(next) = next else {
            return self.say("There is no other call.".into());
        };
        if next.rings() {
            // The node puts the others on hold.
            return self.answer_call(&next, next.wire.video);
        }
        self.end_talk();
        if let Some(now) = &mut self.calls.shown {
            now.own_media_mut().hold = true;
            let set = Set { call: now.wire.id.clone(), hold: Some(true), ..Set::default() };
            self.tell_in_order(set);
        }
        self.tell_in_order(Set { call: next.wire.id.clone(), hold: Some(false), ..Set::default() });
        self.show_call(&next.wire.id);
        if let Some(now) = &mut self.calls.shown {
            now.own_media_mut().hold = false;
        }
    }

    /// A key that is held while one talks: `kind` tells whether it was pressed, repeated or let go.
    pub fn talk_key(&mut self, kind: KeyEventKind) {
        let Some(call) = self.calls.shown.as_ref().filter(|c| c.connected()) else {
            return;
        };
        let (on, now) = (call.own_media().microphone, Instant::now());
        match (kind, self.calls.talk_until) {
            (KeyEventKind::Release, Some(_)) => self.end_talk(),
            (KeyEventKind::Release, None) => {}
            (_, Some(_)) => {
                self.calls.talk_until = Some(now + NEXT_REPEAT);
                if self.calls.talk_renewed.is_none_or(|at| now.duration_since(at) >= TALK_RENEW) {
                    self.hold_microphone(now);
                }
            }
            (_, None) if on => self.say("The microphone is on; with it off, this key is held to talk.".into()),
            (_, None) => {
                self.calls.talk_until = Some(now + FIRST_REPEAT);
                self.hold_microphone(now);
            }
        }
    }

    /// Opens the microphone for a moment. The node closes it unless this is said again, whatever becomes of the screen.
    fn hold_microphone(&mut self, now: Instant) {
        let Some(call) = &mut self.calls.shown else { return };
        self.calls.talk_renewed = Some(now);
        call.own_media_mut().microphone = true;
        let (microphone, microphone_ms) = (Some(true), Some(TALK_LEASE_MS));
        let set = Set { call: call.wire.id.clone(), microphone, microphone_ms, ..Set::default() };
        self.tell_in_order(set);
    }

    /// No longer talks.
    pub fn end_talk(&mut self) {
        if self.calls.talk_until.take().is_some() && self.calls.shown.is_some() {
            self.set_microphone(false);
        }
    }

    fn take_call(&mut self, call: CallState) {
        let before = self.calls.shown.take().filter(|c| c.wire.id == call.wire.id);
        let first = before.is_none();
        let before = before.unwrap_or_default();
        if let Some(remark) = recording_remark(&before.wire, &call) {
            self.say(remark);
        }
        let since = before.since.or_else(|| call.connected().then(Instant::now));
        if first {
            // One that we took from another device of ours is large, too.
            self.calls.is_large |= call.wire.outgoing || (call.wire.moved && call.wire.state == CallPhase::Connecting);
            self.tell(Attend { call: call.wire.id.clone() });
        }
        self.calls.shown = Some(CallState { since, stats: before.stats, ..call });
    }

    fn call_over(&mut self) {
        self.calls.end_shown();
        let on_hold = self.calls.shown.as_ref().filter(|next| next.connected()).map(|next| next.name.clone());
        if let Some(name) = on_hold {
            self.say(format!("{name} is on hold: /hold goes on."));
        }
    }

    /// What the node is asked to send, once the tiles have a place.
    pub fn wants_video(&self) -> Option<(CallId, Request)> {
        let call = self.calls.shown.as_ref().filter(|c| c.connected())?;
        let tile = |tile: &Tile| {
            let (width, height) = self.calls.pictures.pixels(tile.area);
            let side = |pixels: u32| pixels.min(frames::MAX_SIDE.into()) as u16;
            frames::Tile { stream: tile.stream, width: side(width), height: side(height) }
        };
        Some((call.wire.id.clone(), Request { tiles: self.panes.layout.tiles.iter().map(tile).collect() }))
    }
}
