//! Events and messages, with the names that they show.

use std::collections::HashMap;

use starling_control::{
    Event,
    event::{EventKind, MessageChange, VERSION},
    objects::{self, Author, ChatKind, ChatRef, ContactRef, LinkChange, MessageKey, MessageRef},
};
use starling_keys::AccountId;
use starling_node::{
    CallPhase, ChatId, Contact, DeliveryState, DeviceChange, DeviceNote, DurableEvent, DurableEventKind, Group,
    GroupAccount, GroupRefusal, GroupReport, HiddenChange, JoinLinkInfo, JoinPreview, Message, Node, NodeError,
    OldProgram, RefusedRemoval, Role, Status, TransientEvent,
};

use super::{
    account::{history_copy, status},
    audit::link_id,
    calls::{call, note},
    cursor, id, now_ms,
    people::{arrivals, group_policy, kind_of, role, standing},
    presence, state, time, via,
};
use crate::error::{problem, refused_in_group};

/// Why a message has failed, in the words that the line of it has.
const NOT_FETCHED: &str = "nobody fetched it for 30 days";

fn device_note(note: &DeviceNote) -> objects::DeviceNote {
    let change = match note.change {
        DeviceChange::Joined => objects::DeviceChange::Joined,
        DeviceChange::Left => objects::DeviceChange::Left,
        DeviceChange::Recovered => objects::DeviceChange::Recovered,
        DeviceChange::Forked => objects::DeviceChange::Forked,
    };
    objects::DeviceNote { change, name: note.name.clone(), system: note.system.clone() }
}

/// What has happened with a message, or with what stands in its place.
fn of_message(kind: DurableEventKind, change: MessageChange) -> EventKind {
    match kind {
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

fn old_program(old: &OldProgram) -> objects::OldProgram {
    objects::OldProgram {
        account: id(old.account),
        name: old.name.clone(),
        device: id(old.device),
        label: Some(old.label.clone()).filter(|label| !label.is_empty()),
        own: old.own,
    }
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
            return ChatRef { id: id(chat), kind: kind_of(group), name: Some(group.name.clone()) };
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

    /// An account, with what it is called here.
    pub fn account(&self, account: AccountId) -> ContactRef {
        self.contact(account, "")
    }

    /// A group, with the names of those in it.
    pub fn group(&self, group: &Group) -> objects::Group {
        let member = |m: &GroupAccount| objects::GroupMember {
            account: id(m.account),
            name: m.name.clone(),
            role: role(m.role),
            devices: m.devices,
            online: m.online,
            own: m.own,
        };
        let (problem_code, problem) = group.problem.map(problem::chat).unzip();
        objects::Group {
            id: id(group.id),
            name: group.name.clone(),
            topic: group.topic.clone(),
            kind: kind_of(group),
            standing: standing(group.standing),
            role: group.role().map(role),
            invited_by: group.invited_by.map(|by| self.contact(by, "")),
            members: group.members.iter().map(member).collect(),
            policy: group_policy(group),
            banned: group.rules.iter().flat_map(|rules| &rules.bans).filter_map(|a| self.banned(a)).collect(),
            changing: group.changing,
            problem,
            problem_code: problem_code.map(str::to_owned),
            arriving: arrivals(group),
            community: group.community().map(id),
            channels: group.channels().map(|(channel, lowest)| self.channel(channel, lowest)).collect(),
            outdated: group.outdated.iter().map(old_program).collect(),
            needs_update: group.needs_update,
        }
    }

    fn channel(&self, channel: ChatId, lowest: Role) -> objects::GroupChannel {
        let name = self.groups.get(&channel).map(|group| group.name.clone());
        objects::GroupChannel { id: id(channel), name, lowest: role(lowest) }
    }

    /// A link into a group.
    pub fn join_link(&self, link: &JoinLinkInfo) -> objects::GroupLink {
        objects::GroupLink {
            id: link_id(&link.id),
            link: link.link.clone(),
            by: self.contact(link.by, ""),
            expires_at: link.expires_ms.map(time),
            uses: link.uses,
            approval: link.approve,
        }
    }

    /// Where one leads.
    pub fn join_preview(&self, preview: &JoinPreview) -> objects::GroupPreview {
        objects::GroupPreview {
            id: id(preview.chat),
            name: preview.name.clone(),
            topic: preview.topic.clone(),
            members: preview.members,
            by: self.contact(preview.by, &preview.by_name),
            approval: preview.approve,
            expires_at: preview.expires_ms.map(time),
            standing: preview.standing.map(standing),
        }
    }

    /// A report of a message.
    pub fn report(&self, report: &GroupReport) -> objects::GroupReport {
        objects::GroupReport {
            message: id(report.message),
            author: self.contact(report.author, ""),
            text: report.text.clone(),
            confirmed: report.confirmed,
            by: self.contact(report.by, ""),
            reason: Some(report.reason.clone()).filter(|reason| !reason.is_empty()),
            at: time(report.at_ms),
        }
    }

    fn banned(&self, account: &[u8; 32]) -> Option<ContactRef> {
        AccountId::from_bytes(account).ok().map(|account| self.contact(account, ""))
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
            mentions_all: m.mentions_all,
            reply_to: m.reply_to.map(id),
            thread: None,
            attachments: Vec::new(),
            expires_at: None,
            edited: m.edited,
            deleted: m.deleted,
            reactions: reactions.map(|(emoji, own)| objects::Reaction { emoji: emoji.clone(), own: *own }).collect(),
            state: state(m.state),
            via: via(m.via),
            handed_on_by: m.handed_on_by.map(|member| self.contact(member, "")),
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
            | DurableEventKind::GroupBanned
            | DurableEventKind::GroupPolicy
            | DurableEventKind::GroupLink
            | DurableEventKind::GroupRequest
            | DurableEventKind::GroupReported
            | DurableEventKind::GroupHistory
            | DurableEventKind::GroupRole
            | DurableEventKind::GroupChanged
            | DurableEventKind::GroupRefused => self.of_group(n)?,
            DurableEventKind::DeviceLinked
            | DurableEventKind::DeviceRemoved
            | DurableEventKind::DeviceHidden
            | DurableEventKind::DeviceCopied
            | DurableEventKind::DeviceRefused
            | DurableEventKind::DeviceTried => self.of_device(n)?,
            DurableEventKind::AccountUnreadable => EventKind::AccountUnreadable { rendezvous: n.text.clone() },
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
            | DurableEventKind::ContactDevices => of_message(n.kind, self.change(n.chat?, n.message?, node, handle)),
        })
    }

    /// What has happened with devices.
    fn of_device(&self, n: &DurableEvent) -> Option<EventKind> {
        Some(match n.kind {
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
                EventKind::DeviceRefused { by: id(refused.by), device: id(refused.device), stands: refused.stands }
            }
            _ => {
                let (device, attempt) = n.text.split_once(' ')?;
                let by = n.account.filter(|account| *account != self.me.account);
                let contact = by.map(|account| self.contact(account, ""));
                EventKind::DeviceTried { device: device.into(), attempt: attempt.to_owned(), contact }
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
            DurableEventKind::GroupBanned => EventKind::GroupBanned { chat, member: member()? },
            DurableEventKind::GroupPolicy => EventKind::GroupPolicy { chat },
            DurableEventKind::GroupLink => {
                let (word, link) = n.text.split_once(' ')?;
                let changes = [LinkChange::Made, LinkChange::Used, LinkChange::Ended];
                let change = changes.into_iter().find(|change| change.as_str() == word)?;
                EventKind::GroupLink { chat, link: link.to_owned(), change, member: member()? }
            }
            DurableEventKind::GroupRequest => {
                EventKind::GroupRequest { chat, contact: self.contact(n.account?, &n.text) }
            }
            DurableEventKind::GroupReported => EventKind::GroupReported {
                chat,
                member: member()?,
                message: id(n.message?),
                reason: Some(n.text.clone()).filter(|reason| !reason.is_empty()),
            },
            DurableEventKind::GroupHistory => {
                EventKind::GroupHistory { chat, member: member()?, messages: n.text.parse().ok()? }
            }
            DurableEventKind::GroupChanged => EventKind::GroupTopic { chat },
            _ => {
                let why = GroupRefusal::from_code(&n.text).unwrap_or(GroupRefusal::Void);
                EventKind::GroupRefused { chat, reason: refused_in_group(why).to_owned(), code: why.code().to_owned() }
            }
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
            TransientEvent::Typing { chat, typing, member } => {
                let member = member.map(|account| self.contact(account, ""));
                EventKind::Typing { chat: self.chat(*chat), typing: *typing, member }
            }
            TransientEvent::Slowed { chat, account, for_ms } => {
                EventKind::GroupSlowed { chat: self.chat(*chat), member: self.contact(*account, ""), for_ms: *for_ms }
            }
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
