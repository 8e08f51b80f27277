//! From the node's types to those of the control interface.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use starling_control::{
    Event,
    event::{EventKind, MessageChange, VERSION},
    objects::{self, Author, CallAt, ChatKind, ChatRef, ContactRef, Cursor, MessageKey, MessageRef, Path, Time},
};
use starling_keys::{AccountId, SafetyNumber};
use starling_node::{
    Audience, Availability, CallElsewhere, CallEnd, CallInfo, CallNote, CallPhase, Chat, ChatId, Consent, Contact,
    ContactState, CopyPhase, DeliveryState, Device, DeviceChange, DeviceNote, DurableEvent, DurableEventKind, Group,
    GroupAccount, HiddenChange, HistoryCopy, HistoryState, Message, Node, NodeError, Recording, RefusedRemoval,
    Request, Role, Standing, Status, TransientEvent, Via,
    media::{audio, video},
};

use crate::error::problem;

/// Why a message has failed, in the words that the line of it has.
const NOT_FETCHED: &str = "nobody fetched it for 30 days";

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    format!("{at:.3}")
}

/// The milliseconds since 1970 of a time as [`rfc3339`] writes it, or of the beginning of a date in UTC.
pub fn milliseconds(text: &str) -> Option<u64> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
    };
    Some(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

pub fn time(ms: u64) -> Time {
    Time(rfc3339(ms))
}

/// A time that is not known where it is 0.
fn known_time(ms: u64) -> Option<Time> {
    (ms > 0).then(|| time(ms))
}

/// The text of an id.
pub fn id<T: From<String>>(id: impl ToString) -> T {
    id.to_string().into()
}

pub fn cursor(sequence: u64) -> Cursor {
    Cursor(format!("c1:{sequence}"))
}

pub fn state(state: DeliveryState) -> objects::DeliveryState {
    match state {
        DeliveryState::Queued => objects::DeliveryState::Queued,
        DeliveryState::Sent => objects::DeliveryState::Sent,
        DeliveryState::Delivered => objects::DeliveryState::Delivered,
        DeliveryState::Read => objects::DeliveryState::Read,
        DeliveryState::Failed => objects::DeliveryState::Failed,
    }
}

pub fn audience(audience: Audience) -> objects::Audience {
    match audience {
        Audience::Contacts => objects::Audience::Contacts,
        Audience::Everyone => objects::Audience::Everyone,
        Audience::Nobody => objects::Audience::Nobody,
    }
}

pub fn node_audience(audience: objects::Audience) -> Audience {
    match audience {
        objects::Audience::Contacts => Audience::Contacts,
        objects::Audience::Everyone => Audience::Everyone,
        objects::Audience::Nobody => Audience::Nobody,
    }
}

fn via(via: Via) -> objects::Via {
    match via {
        Via::Own => objects::Via::Own,
        Via::Direct => objects::Via::Direct,
        Via::Relay => objects::Via::Relay,
        Via::Log => objects::Via::Log,
        Via::Copy => objects::Via::Copy,
    }
}

fn presence(availability: Availability) -> objects::Presence {
    match availability {
        Availability::Online => objects::Presence::Online,
        Availability::Away => objects::Presence::Away,
        Availability::Offline => objects::Presence::Offline,
    }
}

/// How something is connected, from whether it is relayed.
fn path(relayed: Option<bool>) -> Option<Path> {
    relayed.map(|relayed| if relayed { Path::Relay } else { Path::Direct })
}

fn call_end(end: CallEnd) -> objects::CallEnd {
    match end {
        CallEnd::HungUp => objects::CallEnd::HungUp,
        CallEnd::Declined => objects::CallEnd::Declined,
        CallEnd::Busy => objects::CallEnd::Busy,
        CallEnd::NoAnswer => objects::CallEnd::NoAnswer,
        CallEnd::Cancelled => objects::CallEnd::Cancelled,
        CallEnd::Elsewhere => objects::CallEnd::Elsewhere,
        CallEnd::Failed => objects::CallEnd::Failed,
        CallEnd::Lost => objects::CallEnd::Lost,
        CallEnd::Insecure => objects::CallEnd::Insecure,
    }
}

fn consent(consent: Consent) -> objects::Consent {
    match consent {
        Consent::No => objects::Consent::No,
        Consent::Asked => objects::Consent::Asked,
        Consent::Yes => objects::Consent::Yes,
    }
}

fn note(note: CallNote) -> objects::CallNote {
    let recording = note.recording.map(|said| match said {
        Recording::Asked => objects::RecordingNote::Asked,
        Recording::Agreed => objects::RecordingNote::Agreed,
        Recording::Refused => objects::RecordingNote::Refused,
        Recording::Ended => objects::RecordingNote::Ended,
    });
    objects::CallNote {
        id: id(note.id),
        video: note.video,
        reason: call_end(note.why),
        duration_ms: note.duration_ms,
        recording,
    }
}

fn device_note(note: &DeviceNote) -> objects::DeviceNote {
    let change = match note.change {
        DeviceChange::Joined => objects::DeviceChange::Joined,
        DeviceChange::Left => objects::DeviceChange::Left,
        DeviceChange::Recovered => objects::DeviceChange::Recovered,
        DeviceChange::Forked => objects::DeviceChange::Forked,
    };
    objects::DeviceNote { change, name: note.name.clone(), system: note.system.clone() }
}

/// What names messages, conversations and accounts.
pub struct Names {
    me: Status,
    /// By account.
    contacts: HashMap<AccountId, Contact>,
    /// With whom each direct conversation is.
    chats: HashMap<ChatId, AccountId>,
    groups: HashMap<ChatId, Group>,
    /// Members of groups that are no contacts.
    others: HashMap<AccountId, String>,
}

impl Names {
    pub async fn load(node: &Node) -> Result<Self, NodeError> {
        let (contacts, groups) = (node.contacts().await?, node.groups().await?);
        Ok(Self {
            me: node.status().await?,
            chats: contacts.iter().map(|c| (c.chat, c.account)).collect(),
            contacts: contacts.into_iter().map(|c| (c.account, c)).collect(),
            groups: groups.into_iter().map(|group| (group.id, group)).collect(),
            others: node.acquaintances().await?.into_iter().collect(),
        })
    }

    pub fn knows(&self, chat: ChatId) -> bool {
        self.chats.contains_key(&chat) || self.groups.contains_key(&chat)
    }

    pub fn chat(&self, chat: ChatId) -> ChatRef {
        if let Some(group) = self.groups.get(&chat) {
            return ChatRef { id: id(chat), kind: ChatKind::Group, name: Some(group.name.clone()) };
        }
        let contact = self.chats.get(&chat).and_then(|account| self.contacts.get(account));
        ChatRef { id: id(chat), kind: ChatKind::Direct, name: contact.map(|c| c.name.clone()) }
    }

    /// What an account is called here, if it is known.
    fn name_of(&self, account: &AccountId) -> Option<String> {
        if *account == self.me.account {
            return Some(self.me.name.clone());
        }
        let contact = self.contacts.get(account).map(|c| c.name.clone());
        contact.or_else(|| self.others.get(account).cloned())
    }

    fn contact(&self, account: AccountId, own_name: &str) -> ContactRef {
        let name = self.name_of(&account).or_else(|| (!own_name.is_empty()).then(|| own_name.to_owned()));
        ContactRef { account: id(account), name }
    }

    /// A group, with the names of those in it.
    pub fn group(&self, group: &Group) -> objects::Group {
        let member = |m: &GroupAccount| objects::GroupMember {
            account: id(m.account),
            name: m.name.clone(),
            role: role(m.role),
            devices: m.devices,
            own: m.own,
        };
        objects::Group {
            id: id(group.id),
            name: group.name.clone(),
            topic: group.topic.clone(),
            kind: ChatKind::Group,
            standing: standing(group.standing),
            role: group.role().map(role),
            invited_by: group.invited_by.map(|by| self.contact(by, "")),
            members: group.members.iter().map(member).collect(),
            policy: objects::GroupPolicy {
                post: objects::Role::Member,
                invite: objects::Role::Admin,
                remove: objects::Role::Admin,
                settings: objects::Role::Admin,
            },
            changing: group.changing,
        }
    }

    fn author(&self, m: &Message) -> Author {
        if m.own {
            return Author {
                account: Some(id(self.me.account)),
                name: Some(self.me.name.clone()),
                device: m.device.map(id),
                verified: true,
                own: true,
                bot: self.me.bot,
            };
        }
        let contact = self.contacts.get(&m.author);
        Author {
            account: Some(id(m.author)),
            name: self.name_of(&m.author),
            device: m.device.map(id),
            verified: contact.is_some_and(|c| c.verified),
            own: false,
            bot: contact.is_some_and(|c| c.bot),
        }
    }

    /// A message. The handle is its short number, where it has one.
    pub fn message(&self, m: &Message, handle: String) -> objects::Message {
        let reactions = m.reactions.iter();
        objects::Message {
            id: id(m.id),
            handle,
            from: self.author(m),
            sent_at: time(m.sent_ms()),
            text: line_text(&m.text),
            format: objects::Format::Markdown,
            mentions: m.mentions.iter().map(id).collect(),
            reply_to: m.reply_to.map(id),
            thread: None,
            attachments: Vec::new(),
            expires_at: None,
            edited: m.edited,
            deleted: m.deleted,
            reactions: reactions.map(|(emoji, own)| objects::Reaction { emoji: emoji.clone(), own: *own }).collect(),
            state: state(m.state),
            via: via(m.via),
            call: m.call.map(note),
            device_note: m.device_note.as_ref().map(device_note),
        }
    }

    /// What a durable event is about; nothing if that cannot be said any more.
    fn durable(&self, n: &DurableEvent, node: &Node, handle: String) -> Option<EventKind> {
        let contact = || n.account.map(|account| self.contact(account, &n.text));
        Some(match n.kind {
            DurableEventKind::ContactRequested => EventKind::ContactRequested { contact: contact()? },
            DurableEventKind::ContactAccepted => EventKind::ContactAccepted { contact: contact()? },
            DurableEventKind::KeyChanged => EventKind::ContactKeyChanged { contact: contact()? },
            DurableEventKind::Blocked => EventKind::ContactBlocked { contact: contact()? },
            DurableEventKind::GroupInvited
            | DurableEventKind::GroupJoined
            | DurableEventKind::GroupLeft
            | DurableEventKind::GroupRemoved
            | DurableEventKind::GroupRole
            | DurableEventKind::GroupChanged
            | DurableEventKind::GroupRefused => self.of_group(n)?,
            DurableEventKind::DeviceLinked => EventKind::DeviceLinked { device: n.text.as_str().into() },
            DurableEventKind::DeviceRemoved => EventKind::DeviceRemoved { device: n.text.as_str().into() },
            DurableEventKind::DeviceHidden => {
                let hidden: HiddenChange = n.text.parse().ok()?;
                EventKind::DeviceHidden {
                    contact: self.contact(n.account?, ""),
                    change: hidden.change,
                    device: id(hidden.device),
                    name: hidden.name,
                    by: hidden.by.map(id),
                }
            }
            DurableEventKind::DeviceCopied => EventKind::DeviceCopied { device: n.text.as_str().into() },
            DurableEventKind::DeviceRefused => {
                let refused: RefusedRemoval = n.text.parse().ok()?;
                EventKind::DeviceRefused { by: id(refused.by), device: id(refused.device) }
            }
            DurableEventKind::ChatSplit => {
                EventKind::ChatSplit { chat: self.chat(n.chat?), rendezvous: n.text.clone() }
            }
            DurableEventKind::State => EventKind::MessageState {
                chat: self.chat(n.chat?),
                message: MessageKey { id: id(n.message?) },
                state: state(n.state),
                reason: (n.state == DeliveryState::Failed).then(|| NOT_FETCHED.to_owned()),
            },
            DurableEventKind::New
            | DurableEventKind::Edited
            | DurableEventKind::Deleted
            | DurableEventKind::Reaction
            | DurableEventKind::Call
            | DurableEventKind::ContactDevices => {
                let change = self.change(n.chat?, n.message?, node, handle);
                match n.kind {
                    DurableEventKind::New => EventKind::MessageNew(change),
                    DurableEventKind::Edited => EventKind::MessageEdited(change),
                    DurableEventKind::Deleted => EventKind::MessageDeleted(change),
                    DurableEventKind::Reaction => EventKind::MessageReaction(change),
                    DurableEventKind::ContactDevices => {
                        let MessageChange { chat, message, .. } = change;
                        let device_note = message.whole().and_then(|m| m.device_note.clone());
                        EventKind::ContactDevices { chat, message, device_note }
                    }
                    _ => {
                        let MessageChange { chat, message, via } = change;
                        let call = message.whole().and_then(|m| m.call.clone());
                        EventKind::CallEnded { chat, message, call, via }
                    }
                }
            }
        })
    }

    /// What has happened in a group.
    fn of_group(&self, n: &DurableEvent) -> Option<EventKind> {
        let chat = self.chat(n.chat?);
        let member = || n.account.map(|account| self.contact(account, ""));
        Some(match n.kind {
            DurableEventKind::GroupInvited => EventKind::GroupInvited { chat, contact: member()? },
            DurableEventKind::GroupJoined => EventKind::GroupJoined { chat, member: member()? },
            DurableEventKind::GroupLeft => EventKind::GroupLeft { chat, member: member()? },
            DurableEventKind::GroupRemoved => EventKind::GroupRemoved { chat, member: member()? },
            DurableEventKind::GroupRole => {
                let word = |role: &Role| self::role(*role).as_str() == n.text;
                EventKind::GroupRole { chat, member: member()?, role: role(Role::ALL.into_iter().find(word)?) }
            }
            DurableEventKind::GroupChanged => EventKind::GroupTopic { chat },
            _ => EventKind::GroupRefused { chat, reason: n.text.clone() },
        })
    }

    fn change(&self, chat: ChatId, message: starling_node::MessageId, node: &Node, handle: String) -> MessageChange {
        let found = node.message(chat, message).ok().flatten();
        let via = found.as_ref().map(|m| via(m.via));
        let message = match found {
            Some(m) => MessageRef::Whole(Box::new(self.message(&m, handle))),
            // The user has deleted the conversation here: the event keeps its number.
            None => MessageRef::Gone { id: id(message), gone: true },
        };
        MessageChange { chat: self.chat(chat), message, via }
    }

    /// What an event that is not kept is about.
    pub async fn transient(&self, live: &TransientEvent, node: &Node) -> Result<EventKind, NodeError> {
        Ok(match live {
            TransientEvent::Typing { chat, typing } => EventKind::Typing { chat: self.chat(*chat), typing: *typing },
            TransientEvent::Presence { account, availability, last_seen_ms } => EventKind::Presence {
                contact: self.contact(*account, ""),
                presence: presence(*availability),
                last_seen: time(*last_seen_ms),
            },
            TransientEvent::Net => EventKind::NetState { net: Box::new(status(&node.status().await?)) },
            TransientEvent::Call(info) => {
                let (chat, call) = (self.chat(info.chat), call(info));
                if !info.outgoing && info.phase == CallPhase::Ringing {
                    EventKind::CallIncoming { chat, call }
                } else {
                    EventKind::CallState { chat, call }
                }
            }
            TransientEvent::LinkRequested { code, device, name, kind, same_network } => EventKind::DeviceAsks {
                code: code.clone(),
                device: id(device),
                name: name.clone(),
                system: kind.clone(),
                same_network: *same_network,
            },
            TransientEvent::Draft { chat, text } => EventKind::ChatDraft { chat: self.chat(*chat), text: text.clone() },
            TransientEvent::Entered { device, conversations } => EventKind::DeviceEntered {
                device: id(device),
                ready: conversations.ready,
                conversations: conversations.total,
            },
            TransientEvent::HistoryCopy(copy) => EventKind::DeviceHistory { copy: history_copy(copy) },
            TransientEvent::HistoryWished(device) => EventKind::DeviceHistoryWished { device: id(device) },
            TransientEvent::HistoryOffered(device) => EventKind::DeviceHistoryOffered { device: id(device) },
            TransientEvent::CodeEnded { code, used } => EventKind::CodeEnded { code: code.clone(), used: *used },
            TransientEvent::Failed(reason) => EventKind::NodeFailed { reason: reason.clone() },
        })
    }

    /// A durable event; nothing if it is not known any more what it was about.
    pub fn durable_event(
        &self,
        n: &DurableEvent,
        node: &Node,
        profile: &str,
        handle: String,
        replayed: bool,
    ) -> Option<Event> {
        Some(Event {
            v: VERSION,
            kind: self.durable(n, node, handle)?,
            seq: n.sequence,
            cursor: cursor(n.sequence),
            ts: time(n.at_ms),
            profile: profile.to_owned(),
            replayed: Some(replayed),
        })
    }
}

/// An event that is not kept: it carries the number of the last durable one.
pub fn transient(kind: EventKind, profile: &str, last: u64) -> Event {
    let of_the_stream =
        matches!(kind, EventKind::StreamReady {} | EventKind::StreamKeepalive {} | EventKind::StreamShutdown { .. });
    Event {
        v: VERSION,
        kind,
        seq: last,
        cursor: cursor(last),
        ts: time(now_ms()),
        profile: profile.to_owned(),
        replayed: (!of_the_stream).then_some(false),
    }
}

pub fn call(c: &CallInfo) -> objects::Call {
    let state = match c.phase {
        CallPhase::Starting => objects::CallPhase::Starting,
        CallPhase::Ringing => objects::CallPhase::Ringing,
        CallPhase::Connecting => objects::CallPhase::Connecting,
        CallPhase::Connected => objects::CallPhase::Connected,
        CallPhase::Interrupted => objects::CallPhase::Interrupted,
        CallPhase::Ended => objects::CallPhase::Ended,
    };
    let (trouble_code, trouble) = c.trouble.as_ref().map(problem::call).unzip();
    let (problem_code, problem) = c.end.as_ref().and_then(|end| end.problem.as_ref()).map(problem::call).unzip();
    objects::Call {
        id: id(c.id),
        chat: CallAt { id: id(c.chat) },
        outgoing: c.outgoing,
        video: c.video,
        state,
        connected_at: known_time(c.connected_ms),
        waiting: c.waiting,
        emoji: c.emoji.clone(),
        trouble,
        trouble_code: trouble_code.map(str::to_owned),
        recording: consent(c.recording),
        recorded: consent(c.recorded),
        moved: c.moved,
        reason: c.end.as_ref().map(|end| call_end(end.why)),
        text: problem.or_else(|| c.end.as_ref().map(|end| end.text.clone())),
        problem_code: problem_code.map(str::to_owned),
        replaced_by: c.replaced_by.map(id),
    }
}

pub fn call_elsewhere(c: &CallElsewhere) -> objects::CallElsewhere {
    objects::CallElsewhere {
        chat: CallAt { id: id(c.chat) },
        device: id(c.device),
        video: c.video,
        connected_at: time(c.since_ms),
    }
}

pub fn contact(c: &Contact, safety_number: Option<SafetyNumber>) -> objects::Contact {
    let state = match c.state {
        ContactState::Active => objects::ContactState::Active,
        ContactState::Outgoing => objects::ContactState::Requested,
        ContactState::Blocked => objects::ContactState::Blocked,
        ContactState::Removed => objects::ContactState::Removed,
    };
    objects::Contact {
        account: id(c.account),
        chat: id(c.chat),
        name: c.name.clone(),
        own_name: c.own_name.clone(),
        username: Some(c.username.clone()).filter(|name| !name.is_empty()),
        found_as: Some(c.found_as.clone()).filter(|name| !name.is_empty() && !c.verified),
        state,
        verified: c.verified,
        key_changed: c.key_changed,
        bot: c.bot,
        devices: c.devices.iter().map(id).collect(),
        last_seen: known_time(c.last_seen_ms),
        presence: c.availability.map(presence),
        typing: c.typing,
        path: path(c.relayed).unwrap_or(Path::None),
        safety_number: safety_number.map(|number| number.to_string()),
    }
}

pub fn request(r: &Request) -> objects::Request {
    objects::Request { account: id(r.account), name: r.name.clone(), greeting: r.greeting.clone(), at: time(r.at_ms) }
}

fn role(role: Role) -> objects::Role {
    match role {
        Role::Owner => objects::Role::Owner,
        Role::Admin => objects::Role::Admin,
        Role::Moderator => objects::Role::Moderator,
        Role::Member => objects::Role::Member,
        Role::Reader => objects::Role::Reader,
    }
}

fn standing(standing: Standing) -> objects::Standing {
    match standing {
        Standing::Invited => objects::Standing::Invited,
        Standing::Entering => objects::Standing::Entering,
        Standing::Member => objects::Standing::Member,
        Standing::Leaving => objects::Standing::Leaving,
        Standing::Left => objects::Standing::Left,
        Standing::Removed => objects::Standing::Removed,
        Standing::Declined => objects::Standing::Declined,
    }
}

/// Whether something can still come of what an account is in a group.
pub fn is_open(standing: Standing) -> bool {
    !matches!(standing, Standing::Left | Standing::Removed | Standing::Declined)
}

pub fn chat(c: &Chat) -> objects::Chat {
    let (problem_code, problem) = c.problem.map(problem::chat).unzip();
    objects::Chat {
        id: id(c.id),
        kind: match c.kind {
            starling_node::ChatKind::Direct => ChatKind::Direct,
            starling_node::ChatKind::Group => ChatKind::Group,
        },
        name: c.name.clone(),
        peer: c.direct().map(id).unwrap_or_default(),
        unread: c.unread,
        newest: known_time(c.newest_ms),
        pinned: c.pinned,
        muted_until: known_time(c.muted_until_ms),
        archived: c.archived,
        queued: c.queued,
        problem,
        problem_code: problem_code.map(str::to_owned),
        cipher: c.cipher.into(),
        read_clock: c.read.0,
        draft: c.draft.clone(),
    }
}

pub fn status(s: &Status) -> objects::Status {
    let reachability = if s.public {
        objects::Reachability::Public
    } else if s.homes.iter().any(|h| h.own && h.connected) {
        objects::Reachability::Relay
    } else {
        objects::Reachability::None
    };
    let rendezvous = s.homes.iter().map(|h| {
        let (problem_code, problem) = h.problem.as_ref().map(problem::home).unzip();
        objects::Rendezvous {
            address: h.address.clone(),
            own: h.own,
            connected: h.connected,
            registered: h.registered,
            problem,
            problem_code: problem_code.map(str::to_owned),
            clock_offset_ms: h.clock_offset_ms,
        }
    });
    objects::Status {
        account: id(s.account),
        device: id(s.device),
        name: s.name.clone(),
        bot: s.bot,
        username: s.username.clone(),
        addresses: s.addresses.clone(),
        address: s.address.clone(),
        rendezvous: rendezvous.collect(),
        reachability,
        peers: objects::Peers { direct: s.peers.0, relayed: s.peers.1 },
        queued: s.queued,
        requests_waiting: s.requests_waiting,
        synced: s.synced,
        removed: s.removed,
    }
}

/// A device of our account.
pub fn device(d: &Device) -> objects::Device {
    objects::Device {
        device: id(d.id),
        name: d.name.clone(),
        system: d.system.clone(),
        added_at: time(d.added_ms),
        rights: match d.rights {
            starling_node::Rights::Admin => objects::Rights::Admin,
            starling_node::Rights::Member => objects::Rights::Member,
            starling_node::Rights::Bot => objects::Rights::Bot,
        },
        linked_by: d.linked_by.map(id),
        this: d.this,
        heard_at: d.heard_ms.map(time),
        connection: path(d.relayed),
        ready: d.conversations.ready,
        conversations: d.conversations.total,
    }
}

/// The copying of the history to this device.
fn history_copy(copy: &HistoryCopy) -> objects::HistoryCopy {
    let state = match copy.phase {
        CopyPhase::None => objects::CopyState::None,
        CopyPhase::Wished => objects::CopyState::Wished,
        CopyPhase::Copying => objects::CopyState::Copying,
        CopyPhase::Following | CopyPhase::Done => objects::CopyState::Complete,
        CopyPhase::Refused => objects::CopyState::Refused,
    };
    objects::HistoryCopy {
        device: id(copy.source),
        state,
        total: copy.total,
        done: copy.walked,
        copied: copy.copied,
        started_at: known_time(copy.started_ms),
        complete_at: known_time(copy.complete_ms),
    }
}

/// What is copied between this device and others.
pub fn history(state: &HistoryState) -> objects::History {
    let ids = |devices: &[starling_keys::DeviceId]| devices.iter().map(id).collect();
    objects::History {
        copy: state.copy.as_ref().map(history_copy),
        given: ids(&state.granted),
        wished: ids(&state.wishes),
        offered: ids(&state.offers),
    }
}

/// What a device may do, as the node has it.
pub fn node_rights(rights: objects::Rights) -> starling_node::Rights {
    match rights {
        objects::Rights::Admin => starling_node::Rights::Admin,
        objects::Rights::Member => starling_node::Rights::Member,
        objects::Rights::Bot => starling_node::Rights::Bot,
    }
}

/// What this machine has for calls. Asking the system takes a moment.
pub fn media_devices() -> objects::MediaDevices {
    let sound = audio::device::devices().into_iter().map(|device| {
        let audio::device::AudioDevice { system, name, input, output, default } = device;
        objects::SoundDevice { system, name, input, output, default }
    });
    let cameras = video::camera::cameras().into_iter();
    let cameras = cameras.map(|camera| objects::CameraDevice { name: camera.name, number: camera.number });
    objects::MediaDevices { audio: sound.collect(), cameras: cameras.collect() }
}
/// The most bytes of JSON that a text takes in a line, which has at most 256 KiB.
const MAX_TEXT_JSON: usize = 192 * 1024;

/// A text for a line. Control characters take six bytes there: where that would be too much, their pictures (U+2400 and up) stand for them.
fn line_text(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    if escaped.sum::<usize>() <= MAX_TEXT_JSON {
        return text.to_owned();
    }
    let picture = |c: char| char::from_u32(0x2400 + c as u32).filter(|_| c < ' ' && !matches!(c, '\n' | '\r' | '\t'));
    text.chars().map(|c| picture(c).unwrap_or(c)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_text_of_a_message_fits_into_a_line() {
        for c in ['\u{1}', '"', '\n', '\u{7f}', 'x'] {
            let text = c.to_string().repeat(64 * 1024);
            assert!(serde_json::to_string(&line_text(&text)).unwrap().len() <= MAX_TEXT_JSON + 2, "{c:?}");
        }
        assert_eq!(line_text("\u{1b}[1m \u{1}"), "\u{1b}[1m \u{1}", "what fits stays as it is");
    }
}
