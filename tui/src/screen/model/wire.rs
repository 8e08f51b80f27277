//! From the JSON of the interface to the types of the screen: the only place that knows the names of its fields. Whatever is missing or of
//! another kind counts as nothing, so that an older or newer node does no harm.

use serde_json::Value;
use starling_node::Clock;

use super::{
    CallNews, CallState, Chat, Contact, ContactRequest, ContactState, Delivery, Home, Message, OwnDevice, Path,
    Presence, Recording, Status, Via,
};
use crate::{
    screen::clock,
    terminal::safe_line,
    verbs::{field, words_of},
};

fn own(value: &Value, name: &str) -> String {
    field(value, name).to_owned()
}

fn is(value: &Value, name: &str) -> bool {
    value[name] == true
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn some_text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().filter(|text| !text.is_empty()).map(Into::into)
}

/// A list of something.
pub fn list<T>(answer: &Value, one: impl Fn(&Value) -> T) -> Vec<T> {
    answer.as_array().into_iter().flatten().map(one).collect()
}

/// `presence` of a contact or an event.
pub fn presence(value: &Value) -> Presence {
    match field(value, "presence") {
        "online" => Presence::Online,
        "away" => Presence::Away,
        "offline" => Presence::Offline,
        _ => Presence::Unknown,
    }
}

/// `last_seen` of a contact or an event.
pub fn last_seen(value: &Value) -> Option<u64> {
    value["last_seen"].as_str().map(clock::parse)
}

fn path(text: &str) -> Path {
    match text {
        "direct" => Path::Direct,
        "relay" => Path::Relay,
        _ => Path::None,
    }
}

pub fn contact(c: &Value) -> Contact {
    Contact {
        account: own(c, "account"),
        chat: own(c, "chat"),
        name: own(c, "name"),
        own_name: own(c, "own_name"),
        state: match field(c, "state") {
            "requested" => ContactState::Requested,
            "blocked" => ContactState::Blocked,
            "removed" => ContactState::Removed,
            _ => ContactState::Active,
        },
        verified: is(c, "verified"),
        key_changed: is(c, "key_changed"),
        bot: is(c, "bot"),
        typing: is(c, "typing"),
        devices: c["devices"].as_array().map_or(0, Vec::len),
        presence: presence(c),
        last_seen_ms: last_seen(c),
        path: path(field(c, "path")),
        safety_number: own(c, "safety_number"),
    }
}

pub fn chat(c: &Value) -> Chat {
    Chat {
        id: own(c, "id"),
        unread: number(c, "unread"),
        read: Clock(number(c, "read_clock")),
        pinned: is(c, "pinned"),
        muted: !c["muted_until"].is_null(),
        archived: is(c, "archived"),
        queued: number(c, "queued"),
        problem: some_text(c, "problem"),
        cipher: some_text(c, "cipher"),
    }
}

pub fn request(r: &Value) -> ContactRequest {
    ContactRequest { account: own(r, "account"), name: own(r, "name"), greeting: own(r, "greeting") }
}

pub fn status(s: &Value) -> Status {
    let homes = s["rendezvous"].as_array().into_iter().flatten().filter(|home| is(home, "own"));
    Status {
        account: own(s, "account"),
        name: own(s, "name"),
        homes: homes.map(|h| Home { registered: is(h, "registered"), problem: some_text(h, "problem") }).collect(),
        direct: number(&s["peers"], "direct"),
        relayed: number(&s["peers"], "relayed"),
    }
}

pub fn own_device(d: &Value) -> OwnDevice {
    OwnDevice {
        id: own(d, "device"),
        since: field(d, "added_at").get(..10).unwrap_or_default().to_owned(),
        this: is(d, "this"),
        path: path(field(d, "connection")),
    }
}

/// The `call` object, in a chat with somebody of this name. Its clock and statistics are not part of it.
pub fn call(call: &Value, chat: &str, name: &str) -> CallState {
    let recording = |name| match field(call, name) {
        "yes" => Recording::Yes,
        "asked" => Recording::Asked,
        _ => Recording::No,
    };
    CallState {
        id: own(call, "id"),
        chat: chat.to_owned(),
        name: safe_line(name),
        state: own(call, "state"),
        outgoing: is(call, "outgoing"),
        moved: is(call, "moved"),
        video: is(call, "video"),
        emoji: own(call, "emoji"),
        ours: recording("recording"),
        theirs: recording("recorded"),
        ..CallState::default()
    }
}

/// What else the `call` object of an event says.
pub fn call_news(call: &Value) -> CallNews {
    CallNews {
        reason: own(call, "reason"),
        text: own(call, "text"),
        replaced: !call["replaced_by"].is_null(),
        trouble: own(call, "trouble"),
    }
}

/// How far a message is.
pub fn delivery(text: &str) -> Delivery {
    match text {
        "sent" => Delivery::Sent,
        "delivered" => Delivery::Delivered,
        "read" => Delivery::Read,
        "failed" => Delivery::Failed,
        _ => Delivery::Queued,
    }
}

/// The `message` object; `None` without a valid id, and for one that was deleted here, of which only the id is left.
pub fn message(m: &Value) -> Option<Message> {
    if is(m, "gone") {
        return None;
    }
    let reaction = |r: &Value| (safe_line(field(r, "emoji")), is(r, "self"));
    Some(Message {
        id: field(m, "id").parse().ok()?,
        mine: is(&m["from"], "self"),
        name: own(&m["from"], "name"),
        text: words_of(m),
        at_ms: clock::parse(field(m, "sent_at")),
        state: delivery(field(m, "state")),
        reason: String::new(),
        via: match field(m, "via") {
            "direct" => Via::Direct,
            "relay" => Via::Relay,
            "log" => Via::Log,
            _ => Via::Own,
        },
        reply_to: m["reply_to"].as_str().and_then(|id| id.parse().ok()),
        edited: is(m, "edited"),
        deleted: is(m, "deleted"),
        reactions: list(&m["reactions"], reaction),
        mentions: list(&m["mentions"], |account| account.as_str().unwrap_or_default().to_owned()),
    })
}

/// A page of history.
pub fn messages(answer: &Value) -> Vec<Message> {
    answer.as_array().into_iter().flatten().filter_map(message).collect()
}
