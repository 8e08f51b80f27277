//! What the node reports as it happens.

use std::time::{Duration, Instant};

use starling_control::{
    event::EventKind,
    objects::{ChatId, ChatRef, ContactRef, DeviceChange, DeviceId, LinkChange},
};

use super::{answers::LINKING, app::App, card::Card, model::Message, timeline::cut};
use crate::{
    terminal::{safe, safe_line},
    verbs::{
        called, place_in_words, short_device, words_of_copied, words_of_hidden, words_of_refused, words_of_split,
        words_of_tried, words_of_unreadable,
    },
};

/// The longest that nobody is notified of what somebody writes, whatever the node says.
const MAX_SLOWED: Duration = Duration::from_secs(3_600);

/// The name of the person an event is about, for a remark.
fn name_of(contact: &ContactRef) -> String {
    cut(&safe_line(contact.name.as_deref().unwrap_or_default()), 24)
}

/// The name of the conversation an event is about, for a remark.
fn chat_name(chat: &ChatRef) -> String {
    cut(&safe_line(chat.name.as_deref().unwrap_or_default()), 24)
}

impl App {
    /// Takes an event of the subscription.
    pub fn event(&mut self, event: EventKind) {
        match event {
            EventKind::MessageNew(_)
            | EventKind::MessageEdited(_)
            | EventKind::MessageDeleted(_)
            | EventKind::MessageReaction(_)
            | EventKind::MessageState { .. } => self.message_event(event),
            EventKind::ContactRequested { .. }
            | EventKind::ContactAccepted { .. }
            | EventKind::ContactKeyChanged { .. }
            | EventKind::ContactBlocked { .. } => self.contact_event(&event),
            EventKind::DeviceAsks { .. }
            | EventKind::DeviceLinked { .. }
            | EventKind::DeviceHidden { .. }
            | EventKind::DeviceEntered { .. }
            | EventKind::DeviceHistory { .. }
            | EventKind::DeviceHistoryWished { .. }
            | EventKind::DeviceHistoryOffered { .. }
            | EventKind::DeviceCopied { .. }
            | EventKind::DeviceRefused { .. }
            | EventKind::DeviceTried { .. }
            | EventKind::DeviceRemoved { .. } => self.device_event(event),
            EventKind::AccountUnreadable { rendezvous } => self.alarm(safe_line(&words_of_unreadable(&rendezvous))),
            EventKind::ChatSplit { chat, rendezvous } => {
                self.warn(format!("{}: {}", chat_name(&chat), safe_line(&words_of_split(&rendezvous))));
            }
            EventKind::Typing { .. } | EventKind::Presence { .. } | EventKind::GroupSlowed { .. } => {
                self.activity(event);
            }
            EventKind::ChatDraft { chat, text } => self.take_draft(&chat.id, text),
            EventKind::GroupInvited { .. }
            | EventKind::GroupJoined { .. }
            | EventKind::GroupLeft { .. }
            | EventKind::GroupRemoved { .. }
            | EventKind::GroupBanned { .. }
            | EventKind::GroupPolicy { .. }
            | EventKind::GroupLink { .. }
            | EventKind::GroupRequest { .. }
            | EventKind::GroupReported { .. }
            | EventKind::GroupHistory { .. }
            | EventKind::GroupRole { .. }
            | EventKind::GroupTopic { .. }
            | EventKind::GroupRefused { .. } => self.group_event(&event),
            EventKind::CallIncoming { chat, call } => self.call_comes_in(&chat, call),
            EventKind::CallState { chat, call } => self.call_changed(&chat, call),
            EventKind::CallEnded { chat, .. } => self.call_noted(&chat.id),
            EventKind::ContactDevices { chat, message, .. } => {
                self.device_noted(chat.id, message.whole().cloned().and_then(Message::new));
            }
            EventKind::NetState { .. } => {
                self.refresh_status();
                self.refresh_contacts();
                self.refresh_chats();
            }
            EventKind::CodeEnded { code, .. } => self.devices.codes.retain(|own| *own != code),
            EventKind::NodeFailed { reason } => self.warn(format!("The node has stopped: {}", safe(&reason))),
            EventKind::StreamReady {}
            | EventKind::StreamKeepalive {}
            | EventKind::StreamShutdown { .. }
            | EventKind::Unknown => {}
        }
    }

    /// What somebody is doing: writing, coming and going, or writing too much.
    fn activity(&mut self, event: EventKind) {
        match event {
            EventKind::Typing { chat, typing, member: Some(member) } => {
                let name = cut(&safe_line(member.name.as_deref().unwrap_or("somebody")), 24);
                self.directory.typing.set(&chat.id, &member.account, name, typing, Instant::now());
            }
            EventKind::Typing { chat, typing, member: None } => {
                if let Some(contact) = self.directory.contacts.iter_mut().find(|c| c.chat == chat.id) {
                    contact.typing = typing;
                }
            }
            EventKind::Presence { contact: who, presence, last_seen } => {
                if let Some(contact) = self.directory.contacts.iter_mut().find(|c| c.account == who.account) {
                    (contact.presence, contact.last_seen) = (Some(presence), Some(last_seen));
                    contact.typing = false;
                }
                self.refresh_contacts();
            }
            EventKind::GroupSlowed { chat, member, for_ms } => {
                let until = Instant::now() + Duration::from_millis(for_ms).min(MAX_SLOWED);
                let group = self.directory.name_of(&chat.id).map(safe_line).unwrap_or_default();
                let name = cut(&safe_line(member.name.as_deref().unwrap_or("somebody")), 24);
                self.directory.slow(&chat.id, member.account, until);
                self.say(format!("{group}: {name} writes very much. You are not notified of it for now."));
            }
            _ => {}
        }
    }

    /// What concerns the devices of our account.
    fn device_event(&mut self, event: EventKind) {
        match event {
            EventKind::DeviceAsks { code, device, name, system, same_network } => {
                let place = place_in_words(same_network);
                self.device_asks(&code, device, [&name, &system], place);
            }
            EventKind::DeviceLinked { device } => self.device_linked(&device),
            EventKind::DeviceHidden { contact, change, device, name, by } => {
                let which = safe_line(&called(&name, "", Some(&device)));
                let words = words_of_hidden(&name_of(&contact), &change, &which, by.as_ref());
                self.alarm(words);
            }
            EventKind::DeviceEntered { device, ready, conversations } => {
                self.device_entered(device, ready, conversations);
            }
            EventKind::DeviceHistory { copy } => self.history_copied(copy),
            EventKind::DeviceHistoryWished { device } => self.history_asked(&device, false),
            EventKind::DeviceHistoryOffered { device } => self.history_asked(&device, true),
            EventKind::DeviceCopied { device } => {
                self.alarm(words_of_copied(&device));
            }
            EventKind::DeviceRefused { by, device, stands } => {
                self.alarm(words_of_refused(&by, &device, stands));
            }
            EventKind::DeviceTried { device, attempt, contact } => {
                let who = contact.as_ref().map(name_of);
                self.alarm(words_of_tried(&device, &attempt, who.as_deref()));
            }
            EventKind::DeviceRemoved { device } => {
                self.devices.entering.take_if(|entering| entering.device == device);
                self.say(format!("{} is no longer a device of your account.", short_device(&device)));
            }
            _ => {}
        }
    }

    fn message_event(&mut self, event: EventKind) {
        let new = match &event {
            EventKind::MessageNew(new) => new.message.whole().cloned().map(|message| (new.chat.id.clone(), message)),
            // How many wait is shown in the list.
            EventKind::MessageState { chat, .. } if self.directory.chat(&chat.id).is_some_and(|c| c.queued > 0) => {
                self.refresh_chats();
                None
            }
            _ => None,
        };
        let is_open = event.chat().is_some_and(|chat| self.chat.open.as_ref() == Some(&chat.id));
        let seen = is_open && self.has_focus && self.chat.timeline.is_at_bottom();
        if is_open {
            self.message_changed(event);
        }
        if let Some((chat, message)) = new.and_then(|(chat, message)| Some((chat, Message::new(message)?))) {
            self.new_message(&chat, &message, seen);
        }
    }

    fn new_message(&mut self, chat: &ChatId, message: &Message, seen: bool) {
        if !message.is_own() {
            if let Some(contact) = self.directory.contacts.iter_mut().find(|c| c.chat == *chat) {
                contact.typing = false;
            }
            if let Some(account) = &message.wire.from.account {
                self.directory.typing.stopped(chat, account);
            }
            let is_named = self.directory.me.as_ref().is_some_and(|me| message.wire.mentions.contains(&me.account));
            let mentions_us = is_named || message.wire.mentions_all;
            if mentions_us && !seen {
                self.directory.note_mention(chat);
            }
            let muted = self.directory.chat(chat).is_some_and(|c| c.muted_until.is_some());
            let floods =
                message.wire.from.account.as_ref().is_some_and(|account| self.directory.is_slowed(chat, account));
            if !(muted || seen || floods) {
                self.notify(message.name(), &message.words(), mentions_us);
            }
        }
        if seen {
            self.mark_read();
        }
        self.refresh_chats();
    }

    fn contact_event(&mut self, event: &EventKind) {
        match event {
            EventKind::ContactRequested { contact } => {
                let name = name_of(contact);
                self.say(format!("{name} asks to talk to you: F2 shows the request."));
                self.notify(&name, "asks to talk to you", true);
            }
            EventKind::ContactAccepted { contact } => {
                self.say(format!("You and {} can write to each other.", name_of(contact)));
                if self.chat.open.is_none() {
                    self.chat.loading.to_open = Some(contact.account.clone());
                    self.layers.retain::<Card>(|_| false);
                }
            }
            EventKind::ContactKeyChanged { contact } => self.warn(format!(
                "The devices of {} have changed. Nothing is sent until you trust them: /verify, then /trust.",
                name_of(contact)
            )),
            _ => {}
        }
        self.refresh();
    }

    fn group_event(&mut self, event: &EventKind) {
        // In the open group a line of the timeline says so, one for all that happens there.
        let is_open = event.chat().is_some_and(|chat| self.chat.open.as_ref() == Some(&chat.id));
        match event {
            EventKind::GroupInvited { chat, contact } => {
                let (name, group) = (name_of(contact), chat_name(chat));
                self.say(format!("{name} invites you into #{group}: F2 shows the invitation."));
                self.notify(&name, &format!("invites you into #{group}"), true);
            }
            EventKind::GroupRefused { chat, reason, .. } => {
                self.warn(format!("#{}: {}", chat_name(chat), safe_line(reason)));
            }
            EventKind::GroupRemoved { chat, member } if self.is_own(member) => {
                self.warn(format!("You were removed from #{}.", chat_name(chat)));
            }
            EventKind::GroupBanned { chat, member } if self.is_own(member) => {
                self.warn(format!("You were banned from #{}.", chat_name(chat)));
            }
            EventKind::GroupRole { chat, member, role } if self.is_own(member) => {
                self.say(format!("#{}: you are {} now.", chat_name(chat), role.as_str()));
            }
            EventKind::GroupJoined { chat, member } if self.is_own(member) => {
                self.say(format!("You are in #{} now.", chat_name(chat)));
            }
            EventKind::GroupRequest { chat, contact } => {
                let (name, group) = (name_of(contact), chat_name(chat));
                self.say(format!("{name} asks to be let into #{group}: /approve or /refuse there"));
                self.notify(&name, &format!("asks to be let into #{group}"), true);
            }
            EventKind::GroupReported { chat, member, .. } => {
                let (name, group) = (name_of(member), chat_name(chat));
                self.say(format!("{name} reports a message in #{group}: /reports there"));
                self.notify(&name, &format!("reports a message in #{group}"), true);
            }
            EventKind::GroupHistory { chat, member, messages } => {
                let (name, group) = (name_of(member), chat_name(chat));
                self.say(format!("#{group}: {name} has handed on {messages} earlier messages."));
                if is_open {
                    self.older_has_come();
                }
            }
            _ if is_open => {}
            _ => self.group_elsewhere(event),
        }
        self.refresh_groups();
        self.refresh_chats();
        if is_open {
            self.refresh_audit();
        }
    }

    /// What happens in a group that is not open.
    fn group_elsewhere(&mut self, event: &EventKind) {
        match event {
            EventKind::GroupJoined { chat, member } => {
                self.say(format!("#{}: {} has come.", chat_name(chat), name_of(member)));
            }
            EventKind::GroupLeft { chat, member } => {
                self.say(format!("#{}: {} has left.", chat_name(chat), name_of(member)));
            }
            EventKind::GroupRemoved { chat, member } => {
                self.say(format!("#{}: {} was removed.", chat_name(chat), name_of(member)));
            }
            EventKind::GroupBanned { chat, member } => {
                self.say(format!("#{}: {} was banned.", chat_name(chat), name_of(member)));
            }
            EventKind::GroupRole { chat, member, role } => {
                self.say(format!("#{}: {} is {} now.", chat_name(chat), name_of(member), role.as_str()));
            }
            EventKind::GroupLink { chat, change: LinkChange::Ended, .. } => {
                self.say(format!("#{}: a link has ended.", chat_name(chat)));
            }
            _ => {}
        }
    }

    /// Messages have come into the open chat that are older than others there.
    fn older_has_come(&mut self) {
        match self.chat.timeline.is_at_bottom() {
            true => self.load_newest(),
            false => self.chat.timeline.has_older_now(),
        }
    }

    /// Whether somebody is the account of this profile.
    fn is_own(&self, who: &ContactRef) -> bool {
        self.directory.me.as_ref().is_some_and(|me| me.account == who.account)
    }

    /// A line about a device of a contact is in the conversation with them.
    fn device_noted(&mut self, chat: ChatId, line: Option<Message>) {
        if let Some(line) = line {
            let words = cut(&safe_line(&line.words()), 200);
            match line.wire.device_note.as_ref().map(|note| note.change) {
                Some(DeviceChange::Recovered | DeviceChange::Forked) => self.warn(words),
                _ => self.say(words),
            }
        }
        self.refresh_contacts();
        self.call_noted(&chat);
    }

    fn device_linked(&mut self, device: &DeviceId) {
        let device = short_device(device);
        self.say(format!("A device was linked to your account: {device}. If it was not you: /devices"));
        self.layers.retain::<Card>(|card| card.title != LINKING);
        self.refresh();
    }
}
