//! Presence and typing: sealed signals to contacts, over direct streams and past the log to whoever reads it now.

pub mod commands;

use std::collections::HashMap;

use bytes::Bytes;
use libp2p::Multiaddr;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{Availability, LogVerb, Signal, rendezvous::LogRequest};

use crate::{
    api::types::{ChatId, TransientEvent},
    conversation::group::GroupId,
    engine::Engine,
    home::Pending,
    limits::{PRESENCE_EVERY_MS, SIGNAL_AGE_MS, TYPING_MS},
    net::NetCommand,
    store::DeviceAddresses,
    turn::{Effect, Fact, Turn},
};

/// What somebody shows.
#[derive(Debug, Default)]
pub struct Seen {
    /// The best that one of their devices shows.
    pub availability: Option<Availability>,
    pub typing_until: Option<u64>,
    /// Of each device: the newest signal (an older one is a replay), and what it shows.
    devices: HashMap<DeviceId, (u64, Option<Availability>)>,
}

impl Seen {
    /// What somebody shows if these are their devices.
    fn best(&self) -> Option<Availability> {
        let all = || self.devices.values().filter_map(|(_, availability)| *availability);
        [Availability::Online, Availability::Away].into_iter().find(|a| all().any(|b| b == *a)).or_else(|| all().next())
    }

    /// All but those that are connected have left.
    fn left_but_for(&mut self, connected: impl Fn(&DeviceId) -> bool) {
        for (_, (_, availability)) in self.devices.iter_mut().filter(|(device, _)| !connected(device)) {
            *availability = availability.map(|_| Availability::Offline);
        }
    }
}

/// What we say of ourselves.
pub struct Presence {
    /// Whether the user is here.
    pub availability: Availability,
    /// Our own addresses, and whether they are reachable from the outside.
    pub addresses: (Vec<Multiaddr>, bool),
    /// When somebody was last told, in steady time.
    pub last_signal_ms: u64,
}

impl Default for Presence {
    fn default() -> Self {
        Self { availability: Availability::Online, addresses: (Vec::new(), false), last_signal_ms: 0 }
    }
}

impl Engine {
    fn group_chat(&self, group: &[u8]) -> Option<(GroupId, ChatId)> {
        let id = GroupId::try_from(group).ok()?;
        let entry = self.conversations.groups.get(&id)?;
        Some((id, ChatId(entry.row.chat.as_slice().try_into().ok()?)))
    }

    /// A signal, from a stream or past a log.
    pub(crate) fn on_signal(&mut self, turn: &mut Turn<'_>, group: &[u8], sealed: &[u8], from: Option<DeviceId>) {
        let Some((id, chat)) = self.group_chat(group) else {
            return;
        };
        let Some(entry) = self.conversations.groups.get(&id) else { return };
        let opened = entry.current_keys().and_then(|keys| keys.open_signal(sealed));
        let Some((tag, plain)) = opened else { return };
        let Ok(signal) = Signal::decode(&plain) else {
            return;
        };
        let Some(sender) = entry.members.iter().find(|m| m.device.tag() == tag).copied() else {
            return;
        };
        let account = sender.account;
        if from.is_some_and(|d| d != sender.device) || signal.sent_ms.abs_diff(turn.agreed_ms()) > SIGNAL_AGE_MS {
            return;
        }
        if account == self.account.id() {
            return self.on_other_device_signal(turn, sender.device, &signal);
        }
        let (now, wall) = (turn.now(), turn.wall());
        let given_up =
            |p: &crate::contacts::Person| p.list.as_ref().is_some_and(|l| l.device(&sender.device).is_none());
        let Some(person) = self.contacts.people.get_mut(&account).filter(|p| p.is_linked() && !given_up(p)) else {
            return;
        };
        let listed = |device: &DeviceId| person.list.as_ref().is_none_or(|l| l.device(device).is_some());
        person.presence.devices.retain(|device, _| listed(device));
        let (newest_ms, shown) = person.presence.devices.entry(sender.device).or_default();
        if signal.sent_ms <= *newest_ms {
            return;
        }
        *newest_ms = signal.sent_ms;
        *shown = signal.availability.or(*shown);
        let was_typing = person.presence.typing_until.is_some();
        person.presence.typing_until = signal.typing.then_some(now + TYPING_MS);
        let before = person.presence.availability;
        if signal.availability.is_some() {
            person.presence.availability = person.presence.best();
            person.row.last_seen_ms = wall;
        }
        let now_shown = person.presence.availability;
        let known = person.row.addresses.iter().find(|a| a.device == sender.device.as_bytes());
        if !signal.addresses.is_empty() && known.is_none_or(|k| k.addresses != signal.addresses) {
            person.row.addresses.retain(|a| a.device != sender.device.as_bytes());
            person
                .row
                .addresses
                .push(DeviceAddresses { device: sender.device.as_bytes().to_vec(), addresses: signal.addresses });
            person.dirty = true;
            turn.fact(Fact::ReachChanged);
        }
        let last_seen_ms = self.contacts.people.get(&account).map_or(0, |p| p.row.last_seen_ms);
        if was_typing != signal.typing {
            turn.live(TransientEvent::Typing { chat, typing: signal.typing });
        }
        if let Some(availability) = now_shown
            && now_shown != before
        {
            turn.live(TransientEvent::Presence { account, availability, last_seen_ms });
        }
        if signal.ask {
            self.tell_presence(turn, chat, false);
        }
        if !self.delivery.links.contains_key(&sender.device) && signal.availability != Some(Availability::Offline) {
            turn.emit(Effect::Net(NetCommand::Hint(sender.device)));
        }
    }

    /// A device of ours tells where it can be reached.
    fn on_other_device_signal(&mut self, turn: &mut Turn<'_>, device: DeviceId, signal: &Signal) {
        let addresses: Vec<_> = signal.addresses.iter().filter_map(|a| a.clone().try_into().ok()).collect();
        let known = self.account.has_other(&device);
        if known && !addresses.is_empty() && self.account.own_devices.addresses.get(&device) != Some(&addresses) {
            self.account.own_devices.addresses.insert(device, addresses);
            turn.fact(Fact::ReachChanged);
        }
    }

    /// How many others read a log has changed.
    pub(crate) fn on_readers(&mut self, turn: &mut Turn<'_>, address: &[u8], others: u32) {
        let Some((id, epoch)) =
            <[u8; 32]>::try_from(address).ok().and_then(|a| self.conversations.logs.get(&a)).copied()
        else {
            return;
        };
        let Some(entry) = self.conversations.groups.get_mut(&id).filter(|g| g.epoch() == epoch) else {
            return;
        };
        let before = std::mem::replace(&mut entry.readers, others);
        let members: Vec<DeviceId> = entry.members.iter().map(|m| m.device).collect();
        let Some((_, chat)) = self.group_chat(&id) else {
            return;
        };
        if others > before {
            self.tell_presence(turn, chat, before == 0);
            for device in members {
                if device != self.account.device() && !self.delivery.links.contains_key(&device) {
                    turn.emit(Effect::Net(NetCommand::Hint(device)));
                }
            }
        } else if others == 0 {
            for device in members {
                self.contact_left(turn, &device);
            }
        }
    }

    /// A device is not connected, and nobody else reads the log: they are away.
    pub(crate) fn contact_left(&mut self, turn: &mut Turn<'_>, device: &DeviceId) {
        let Some(account) = self.account_of(device) else {
            return;
        };
        // Our own others read it, too.
        let own = self
            .account
            .other_devices()
            .iter()
            .filter(|d| self.delivery.links.contains_key(&d.certificate.device()))
            .count() as u32;
        let is_read = |chat| {
            let group = self.active_group(chat).and_then(|g| self.conversations.groups.get(&g));
            group.is_some_and(|g| g.readers > own)
        };
        if self.conversations.of(&account).any(is_read) {
            return;
        }
        let links = &self.delivery.links;
        let Some(person) = self.contacts.people.get_mut(&account) else {
            return;
        };
        let before = person.presence.availability;
        person.presence.left_but_for(|device| links.contains_key(device));
        let availability = person.presence.best();
        person.presence.availability = availability;
        if let Some(availability) = availability.filter(|now| Some(*now) != before) {
            person.presence.typing_until = None;
            person.dirty = true;
            let last_seen_ms = person.row.last_seen_ms;
            turn.live(TransientEvent::Presence { account, availability, last_seen_ms });
        }
    }

    /// Somebody was typing until now.
    pub(crate) fn expire_typing(&mut self, turn: &mut Turn<'_>, account: AccountId) {
        let now = turn.now();
        let person =
            self.contacts.people.get_mut(&account).filter(|p| p.presence.typing_until.is_some_and(|t| t <= now));
        if let Some(person) = person {
            person.presence.typing_until = None;
            for chat in self.conversations.of(&account) {
                turn.live(TransientEvent::Typing { chat, typing: false });
            }
        }
    }

    fn send_signal(&mut self, turn: &mut Turn<'_>, chat: ChatId, typing: bool, ask: bool) {
        let Some(group) = self.active_group(chat) else { return };
        if !self.is_reachable(chat) {
            return;
        }
        let Some(entry) = self.conversations.groups.get(&group) else { return };
        let Some(keys) = entry.current_keys() else { return };
        let shows = Self::allows(self.account.settings.last_seen);
        // Of two in the same millisecond the second would be taken for a replay.
        self.presence.last_signal_ms =
            turn.agreed_ms().max(self.presence.last_signal_ms + 1).min(turn.agreed_ms() + SIGNAL_AGE_MS / 2);
        let signal = Signal {
            sent_ms: self.presence.last_signal_ms,
            typing,
            availability: shows.then_some(self.presence.availability),
            addresses: self.presence.addresses.0.iter().map(|a| a.to_vec()).collect(),
            ask,
        };
        let sealed = keys.seal_signal(&self.account.device().tag(), &signal.encode());
        let me = self.account.device();
        let others: Vec<DeviceId> = entry.members.iter().map(|m| m.device).filter(|d| *d != me).collect();
        let readers = entry.readers;
        let mut missing = false;
        for device in others {
            if self.delivery.links.contains_key(&device) {
                self.send_signal_direct(turn, device, group, sealed.clone());
            } else {
                missing = true;
            }
        }
        if missing
            && readers > 0
            && let Some(home) = self.conversations.home_of(group)
        {
            let request = LogRequest { entries: vec![Bytes::from(sealed)], ..LogRequest::default() };
            self.homes.request_log(turn, home, &keys, LogVerb::Signal, request, Pending::Nothing);
        }
    }

    pub(crate) fn tell_presence(&mut self, turn: &mut Turn<'_>, chat: ChatId, ask: bool) {
        let now = turn.now();
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return;
        };
        if !ask && now.saturating_sub(state.presence_sent_ms) < PRESENCE_EVERY_MS {
            return;
        }
        state.presence_sent_ms = now;
        self.send_signal(turn, chat, false, ask);
    }

    pub(crate) fn tell_presence_to_all(&mut self, turn: &mut Turn<'_>) {
        for chat in self.conversations.chats.keys().copied().collect::<Vec<_>>() {
            if let Some(state) = self.conversations.chats.get_mut(&chat) {
                state.presence_sent_ms = 0;
            }
            self.tell_presence(turn, chat, false);
        }
    }

    pub(crate) fn tell_typing(&mut self, turn: &mut Turn<'_>, chat: ChatId, typing: bool) {
        if Self::allows(self.account.settings.typing) {
            self.send_signal(turn, chat, typing, false);
        }
    }

    /// The last words before stopping.
    pub(crate) fn say_goodbye(&mut self, turn: &mut Turn<'_>) {
        self.presence.availability = Availability::Offline;
        self.tell_presence_to_all(turn);
    }
}
