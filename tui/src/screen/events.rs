//! What the node reports as it happens.

use serde_json::Value;

use super::{
    answers::LINKING,
    app::App,
    card::Card,
    model::{Message, wire},
    timeline::cut,
};
use crate::{
    terminal::{safe, safe_line},
    verbs::{field, short_device},
};

/// The name of the person an event is about, for a remark.
fn name_in(event: &Value) -> String {
    cut(&safe_line(field(&event["contact"], "name")), 24)
}

impl App {
    /// Takes an event line of the subscription.
    pub fn event(&mut self, event: &Value) {
        let chat = field(&event["chat"], "id");
        let kind = field(event, "type");
        match kind {
            _ if kind.starts_with("message.") => self.message_event(kind, chat, event),
            _ if kind.starts_with("contact.") => self.contact_event(kind, event),
            _ if kind.starts_with("device.") => self.device_event(kind, field(event, "device")),
            "typing" => {
                if let Some(contact) = self.contacts.iter_mut().find(|c| c.chat == chat) {
                    contact.typing = event["typing"] == true;
                }
            }
            "presence" => {
                let account = field(&event["contact"], "account");
                if let Some(contact) = self.contacts.iter_mut().find(|c| c.account == account) {
                    contact.presence = wire::presence(event);
                    contact.last_seen_ms = wire::last_seen(event);
                    contact.typing = false;
                }
                self.refresh_contacts();
            }
            "call.incoming" | "call.state" | "call.ended" => self.call_event(event),
            "net.state" => {
                self.refresh_status();
                self.refresh_contacts();
                self.refresh_chats();
            }
            "node.failed" => self.warn(format!("The node has stopped: {}", safe(field(event, "reason")))),
            _ => {}
        }
    }

    fn message_event(&mut self, kind: &str, chat: &str, event: &Value) {
        let is_open = self.open.as_deref() == Some(chat);
        let seen = is_open && self.has_focus && self.timeline.is_at_bottom();
        if is_open {
            self.message_changed(event);
        }
        match kind {
            "message.new" => {
                if let Some(message) = wire::message(&event["message"]) {
                    self.new_message(chat, &message, seen);
                }
            }
            // How many wait is shown in the list.
            "message.state" if self.chat(chat).is_some_and(|c| c.queued > 0) => self.refresh_chats(),
            _ => {}
        }
    }

    fn new_message(&mut self, chat: &str, message: &Message, seen: bool) {
        if !message.mine {
            if let Some(contact) = self.contacts.iter_mut().find(|c| c.chat == chat) {
                contact.typing = false;
            }
            let muted = self.chat(chat).is_some_and(|c| c.muted);
            if !(muted || seen) {
                let mentions_us = self.me.as_ref().is_some_and(|me| message.mentions.contains(&me.account));
                self.notify(&message.name, &message.text, mentions_us);
            }
        }
        if seen {
            self.mark_read();
        }
        self.refresh_chats();
    }

    fn contact_event(&mut self, kind: &str, event: &Value) {
        let name = name_in(event);
        match kind {
            "contact.requested" => {
                self.say(format!("{name} asks to talk to you: F2 shows the request."));
                self.notify(&name, "asks to talk to you", true);
            }
            "contact.accepted" => {
                self.say(format!("You and {name} can write to each other."));
                if self.open.is_none() {
                    self.to_open = Some(field(&event["contact"], "account").to_owned());
                    self.layers.retain::<Card>(|_| false);
                }
            }
            "contact.key_changed" => self.warn(format!(
                "The devices of {name} have changed. Nothing is sent until you trust them: /verify, then /trust."
            )),
            _ => {}
        }
        self.refresh();
    }

    fn device_event(&mut self, kind: &str, device: &str) {
        let device = short_device(device);
        match kind {
            "device.linked" => {
                self.say(format!("A device was linked to your account: {device}. If it was not you: /devices"));
                self.layers.retain::<Card>(|card| card.title != LINKING);
                self.refresh();
            }
            "device.removed" => self.say(format!("{device} is no longer a device of your account.")),
            _ => {}
        }
    }
}
