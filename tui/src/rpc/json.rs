//! The JSON of the interface contract.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use starling_node::{
    Audience, Availability, CallElsewhere, CallInfo, CallPhase, Chat, Contact, ContactState, DeliveryState, Device,
    FeedKind, Live, Message, News, Node, Request, Status, Via,
};

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    format!("{at:.3}")
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

pub fn state(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Sent => "sent",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Read => "read",
        DeliveryState::Failed => "failed",
    }
}

pub fn audience(audience: Audience) -> &'static str {
    match audience {
        Audience::Contacts => "contacts",
        Audience::Everyone => "everyone",
        Audience::Nobody => "nobody",
    }
}

pub fn parse_audience(text: &str) -> Option<Audience> {
    match text {
        "contacts" => Some(Audience::Contacts),
        "everyone" => Some(Audience::Everyone),
        "nobody" => Some(Audience::Nobody),
        _ => None,
    }
}

fn via(via: Via) -> &'static str {
    match via {
        Via::Own => "own",
        Via::Direct => "direct",
        Via::Relay => "relay",
        Via::Log => "log",
    }
}

fn availability(availability: Option<Availability>) -> Option<&'static str> {
    availability.map(|a| match a {
        Availability::Online => "online",
        Availability::Away => "away",
        Availability::Offline => "offline",
    })
}

/// What names and marks messages need.
pub struct Names {
    pub me: Status,
    contacts: HashMap<String, Contact>,
}

impl Names {
    pub async fn load(node: &Node) -> Result<Self, starling_node::NodeError> {
        let contacts = node.contacts().await?;
        Ok(Self { me: node.status().await?, contacts: contacts.into_iter().map(|c| (c.chat.to_string(), c)).collect() })
    }

    pub fn chat(&self, chat: &str) -> Value {
        let name = self.contacts.get(chat).map(|c| c.name.as_str());
        json!({ "id": chat, "kind": "direct", "name": name })
    }

    pub fn knows(&self, chat: &str) -> bool {
        self.contacts.contains_key(chat)
    }

    /// The `message` object.
    pub fn message(&self, m: &Message, handle: &str) -> Value {
        message(m, self.contacts.get(&m.chat.to_string()), &self.me, handle)
    }

    pub fn account(&self, account: &str) -> Option<&Contact> {
        self.contacts.values().find(|c| c.account.to_string() == account)
    }
}

/// The `message` object of the contract.
pub fn message(m: &Message, contact: Option<&Contact>, me: &Status, handle: &str) -> Value {
    let from = if m.mine {
        json!({ "account": me.account.to_string(), "name": me.name, "device": me.device.to_string(),
                "verified": true, "self": true, "bot": me.bot })
    } else {
        let device = contact.and_then(|c| c.devices.iter().find(|d| d.tag() == m.id.0.device));
        json!({ "account": contact.map(|c| c.account.to_string()), "name": contact.map(|c| c.name.as_str()),
                "device": device.map(ToString::to_string), "verified": contact.is_some_and(|c| c.verified),
                "self": false, "bot": contact.is_some_and(|c| c.bot) })
    };
    json!({
        "id": m.id.to_string(), "handle": handle, "from": from, "sent_at": rfc3339(m.sent_ms()), "text": m.text, "format": "md",
        "mentions": m.mentions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "reply_to": m.reply_to.map(|r| r.to_string()), "thread": null, "attachments": [], "expires_at": null,
        "edited": m.edited, "deleted": m.deleted,
        "reactions": m.reactions.iter().map(|(emoji, mine)| json!({ "emoji": emoji, "self": mine })).collect::<Vec<_>>(),
        "state": state(m.state), "via": via(m.via),
        "call": m.call.map(|call| json!({
            "id": call.id.to_string(), "video": call.video, "reason": call.why.as_str(), "duration_ms": call.duration_ms,
            "recording": call.recording.map(|r| r.as_str()),
        })),
    })
}

/// The `call` object of the contract.
pub fn call(c: &CallInfo) -> Value {
    let mut object = json!({
        "id": c.id.to_string(), "chat": { "id": c.chat.to_string() }, "outgoing": c.outgoing, "video": c.video,
        "state": c.phase.as_str(), "connected_at": (c.connected_ms > 0).then(|| rfc3339(c.connected_ms)),
        "waiting": c.waiting, "emoji": c.emoji, "trouble": c.trouble,
        "recording": c.recording.as_str(), "recorded": c.recorded.as_str(), "moved": c.moved,
    });
    if let Some((why, text)) = &c.end {
        object["reason"] = why.as_str().into();
        object["text"] = text.as_str().into();
    }
    if let Some(next) = &c.replaced_by {
        object["replaced_by"] = next.to_string().into();
    }
    object
}

/// A call that another device of ours has.
pub fn call_elsewhere(c: &CallElsewhere) -> Value {
    json!({
        "chat": { "id": c.chat.to_string() }, "device": c.device.to_string(), "video": c.video,
        "connected_at": rfc3339(c.since_ms),
    })
}

pub fn contact(c: &Contact, me: &Status) -> Value {
    let state = match c.state {
        ContactState::Active => "active",
        ContactState::Outgoing => "requested",
        ContactState::Blocked => "blocked",
        ContactState::Removed => "removed",
    };
    json!({
        "account": c.account.to_string(), "chat": c.chat.to_string(), "name": c.name, "own_name": c.own_name, "state": state,
        "verified": c.verified, "key_changed": c.key_changed, "bot": c.bot,
        "devices": c.devices.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "last_seen": (c.last_seen_ms > 0).then(|| rfc3339(c.last_seen_ms)),
        "presence": availability(c.availability), "typing": c.typing,
        "path": match c.relayed { None => "none", Some(true) => "relay", Some(false) => "direct" },
        "safety_number": starling_keys::SafetyNumber::of(&me.account, &c.account).to_string(),
    })
}

pub fn request(r: &Request) -> Value {
    json!({ "account": r.account.to_string(), "name": r.name, "greeting": r.greeting, "at": rfc3339(r.at_ms) })
}

pub fn chat(c: &Chat) -> Value {
    json!({
        "id": c.id.to_string(), "kind": "direct", "name": c.name, "peer": c.peer.to_string(), "unread": c.unread,
        "newest": (c.newest_ms > 0).then(|| rfc3339(c.newest_ms)), "pinned": c.pinned,
        "muted_until": (c.muted_until_ms > 0).then(|| rfc3339(c.muted_until_ms)), "archived": c.archived,
        "queued": c.queued, "problem": c.problem, "cipher": c.cipher, "read_clock": c.read.0,
    })
}

pub fn status(s: &Status) -> Value {
    json!({
        "account": s.account.to_string(), "device": s.device.to_string(), "name": s.name, "bot": s.bot, "username": s.username,
        "addresses": s.addresses, "address": s.address,
        "rendezvous": s.homes.iter().map(|h| json!({
            "address": h.address, "own": h.own, "connected": h.connected, "registered": h.registered,
            "problem": h.problem, "clock_offset_ms": h.clock_offset_ms,
        })).collect::<Vec<_>>(),
        "reachability": if s.public { "public" } else if s.homes.iter().any(|h| h.own && h.connected) { "relay" } else { "none" },
        "peers": { "direct": s.peers.0, "relayed": s.peers.1 }, "queued": s.queued,
        "requests_waiting": s.requests_waiting, "synced": s.synced,
    })
}

/// A device of our account.
pub fn device(d: &Device) -> Value {
    let connection = d.relayed.map(|relayed| if relayed { "relay" } else { "direct" });
    json!({ "device": d.id.to_string(), "added_at": rfc3339(d.added_ms), "this": d.this, "connection": connection })
}

/// An event line of durable news. `None` if the message it is about is gone.
pub fn news(n: &News, node: &Node, names: &Names, profile: &str, handle: &str, replayed: bool) -> Option<Value> {
    let mut line = json!({
        "v": 1, "seq": n.sequence, "cursor": format!("c1:{}", n.sequence), "ts": rfc3339(n.at_ms), "profile": profile, "replayed": replayed,
    });
    let kind = match n.kind {
        FeedKind::New => "message.new",
        FeedKind::State => "message.state",
        FeedKind::Edited => "message.edited",
        FeedKind::Deleted => "message.deleted",
        FeedKind::Reaction => "message.reaction",
        FeedKind::ContactRequested => "contact.requested",
        FeedKind::ContactAccepted => "contact.accepted",
        FeedKind::KeyChanged => "contact.key_changed",
        FeedKind::Blocked => "contact.blocked",
        FeedKind::Call => "call.ended",
        FeedKind::DeviceLinked => "device.linked",
        FeedKind::DeviceRemoved => "device.removed",
    };
    line["type"] = kind.into();
    if let Some(chat) = n.chat {
        line["chat"] = names.chat(&chat.to_string());
    }
    if let (Some(chat), Some(id)) = (n.chat, n.message) {
        if n.kind == FeedKind::State {
            line["message"] = json!({ "id": id.to_string() });
            line["state"] = state(n.state).into();
            if !n.text.is_empty() {
                line["reason"] = n.text.clone().into();
            }
        } else {
            match node.message(chat, id).ok().flatten() {
                Some(message) => {
                    line["via"] = via(message.via).into();
                    if n.kind == FeedKind::Call {
                        line["call"] = names.message(&message, handle)["call"].clone();
                    }
                    line["message"] = names.message(&message, handle);
                }
                // The user has deleted the conversation here: the line keeps its number.
                None => line["message"] = json!({ "id": id.to_string(), "gone": true }),
            }
        }
    }
    if matches!(n.kind, FeedKind::DeviceLinked | FeedKind::DeviceRemoved) {
        line["device"] = n.text.as_str().into();
    } else if let Some(account) = n.account {
        let account = account.to_string();
        let name =
            names.account(&account).map(|c| c.name.clone()).or_else(|| (!n.text.is_empty()).then(|| n.text.clone()));
        line["contact"] = json!({ "account": account, "name": name });
    }
    Some(line)
}

/// An event line of news that are not kept; `seq` and `cursor` are those of the last durable line.
pub fn live(l: &Live, names: &Names, profile: &str, seq: u64) -> Option<Value> {
    let mut line = json!({
        "v": 1, "seq": seq, "cursor": format!("c1:{seq}"), "ts": rfc3339(now_ms()), "profile": profile, "replayed": false,
    });
    match l {
        Live::Typing { chat, typing } => {
            line["type"] = "typing".into();
            line["chat"] = names.chat(&chat.to_string());
            line["typing"] = (*typing).into();
        }
        Live::Presence { account, availability: a, last_seen_ms } => {
            let account = account.to_string();
            line["type"] = "presence".into();
            line["contact"] = json!({ "account": account, "name": names.account(&account).map(|c| c.name.clone()) });
            line["presence"] = availability(Some(*a)).into();
            line["last_seen"] = rfc3339(*last_seen_ms).into();
        }
        Live::Net => line["type"] = "net.state".into(),
        Live::Call(info) => {
            let rings = !info.outgoing && info.phase == CallPhase::Ringing;
            line["type"] = if rings { "call.incoming" } else { "call.state" }.into();
            line["chat"] = names.chat(&info.chat.to_string());
            line["call"] = call(info);
        }
        Live::CodeEnded { code, used } => {
            line["type"] = "code.ended".into();
            line["code"] = code.as_str().into();
            line["used"] = (*used).into();
        }
        Live::Failed(reason) => {
            line["type"] = "node.failed".into();
            line["reason"] = reason.as_str().into();
        }
    }
    Some(line)
}
