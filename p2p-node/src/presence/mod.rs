//! Presence and typing: sealed signals to contacts, over direct streams and past the log to whoever reads it now. Typing in groups is passed on by
//! gossip (`conversation/gossip/typing.rs`).

pub mod commands;
pub(crate) mod limits;

use std::collections::BTreeMap;

use bytes::Bytes;
use libp2p::Multiaddr;
use starling_keys::{AccountId, DeviceId};
use starling_wire::{
    Availability, LogVerb, SIGNAL_DOMAIN, Signal, SignedSignal,
    direct::{DirectFrame, SealedSignal},
    rendezvous::LogRequest,
};

use self::limits::{MAX_DEVICE_ADDRESSES, PRESENCE_EVERY_MS, TYPING_MS};
use crate::{
    account::Account,
    api::types::{Audience, ChatId, TransientEvent},
    contacts::{Contacts, Directory, Person},
    conversation::{Connections, Conversations},
    home::{Homes, Pending},
    limits::SIGNAL_AGE_MS,
    mls::GroupId,
    net::{LanKey, NetCommand, is_direct, peer_of},
    roster::GroupMember,
    store::{ContactRow, DeviceAddresses},
    turn::{Effect, Fact, Turn},
};
use commands::PresenceCommand;

/// What we say of ourselves.
pub struct Presence {
    /// Whether the user is here.
    pub availability: Availability,
    /// Our own addresses, and whether they are reachable from the outside.
    pub addresses: (Vec<Multiaddr>, bool),
    /// When somebody was last told, in steady time.
    pub last_signal_ms: u64,
    /// When the newest signal of each other device of ours was sent: an older one is a replay.
    own_devices: BTreeMap<DeviceId, u64>,
}

/// Addresses that a device gives for itself, as far as they may be dialled: the first few of a known form.
fn dialable(addresses: &[Vec<u8>], device: &DeviceId) -> Vec<Multiaddr> {
    let Some(peer) = peer_of(device) else { return Vec::new() };
    let read = addresses.iter().filter_map(|bytes| Multiaddr::try_from(bytes.clone()).ok());
    read.filter(|address| is_direct(address, &peer)).take(MAX_DEVICE_ADDRESSES).collect()
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            availability: Availability::Online,
            addresses: (Vec::new(), false),
            last_signal_ms: 0,
            own_devices: BTreeMap::new(),
        }
    }
}

/// What presence reads and uses of other capabilities.
pub struct Views<'a> {
    /// Our account.
    pub account: &'a Account,
    /// The people whose presence is shown.
    pub contacts: &'a mut Contacts,
    /// The groups that signals are sealed for.
    pub conversations: &'a mut Conversations,
    /// Where signals go to whoever reads a log.
    pub homes: &'a mut Homes,
    /// Which devices are connected.
    pub links: &'a dyn Connections,
}

impl Views<'_> {
    fn dir(&self) -> Directory<'_> {
        Directory { account: self.account, contacts: self.contacts }
    }

    /// A signal of a conversation of two, with the member that has sent it: nothing of one that is not authentic, or is a replay.
    fn open_signal(
        &self,
        turn: &Turn<'_>,
        group: &[u8],
        sealed: &[u8],
        from: Option<DeviceId>,
    ) -> Option<(ChatId, GroupMember, Signal)> {
        let entry = self.conversations.groups.get(&GroupId::try_from(group).ok()?)?;
        let chat = entry.chat().filter(|chat| !self.conversations.chats.is_group_chat(*chat))?;
        let keys = entry.current_keys()?;
        let (tag, plain) = keys.open_signal(sealed)?;
        let signed = SignedSignal::decode(&plain).ok()?;
        let sender = entry.members.iter().find(|m| m.device.tag() == tag).copied()?;
        // All members have the key of the seal: who has sent it is seen by the stream that it came on, or by the signature.
        let verify = |message: &[u8], signature: &[u8]| sender.device.verify(SIGNAL_DOMAIN, message, signature);
        if !signed.is_authentic(from.is_some(), &keys.address, verify) {
            return None;
        }
        let signal = signed.signal;
        if from.is_some_and(|d| d != sender.device) || signal.sent_ms.abs_diff(turn.agreed_ms()) > SIGNAL_AGE_MS {
            return None;
        }
        Some((chat, sender, signal))
    }
}

impl Presence {
    /// A signal, from a stream or past a log.
    pub fn on_signal(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Views<'_>,
        group: &[u8],
        sealed: &[u8],
        from: Option<DeviceId>,
    ) {
        let Some((chat, sender, signal)) = cx.open_signal(turn, group, sealed, from) else { return };
        let account = sender.account;
        if account == cx.account.id() {
            return self.on_other_device_signal(turn, cx, sender.device, &signal);
        }
        let (now, wall) = (turn.now(), turn.wall());
        let given_up = |p: &Person| p.list.as_ref().is_some_and(|l| l.device(&sender.device).is_none());
        let Some(person) = cx.contacts.people.get_mut(&account).filter(|p| p.is_linked() && !given_up(p)) else {
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
        if note_addresses(&mut person.row, &sender.device, &signal) {
            person.dirty = true;
            turn.fact(Fact::ReachChanged);
        }
        let last_seen_ms = cx.contacts.people.get(&account).map_or(0, |p| p.row.last_seen_ms);
        if was_typing != signal.typing {
            turn.transient_event(TransientEvent::Typing { chat, typing: signal.typing, member: None });
        }
        if let Some(availability) = now_shown
            && now_shown != before
        {
            turn.transient_event(TransientEvent::Presence { account, availability, last_seen_ms });
        }
        if signal.ask {
            self.tell_presence(turn, cx, chat, false);
        }
        if !cx.links.is_connected(&sender.device) && signal.availability != Some(Availability::Offline) {
            turn.emit(Effect::Net(NetCommand::Hint(sender.device)));
        }
    }

    /// A device of ours tells where it can be reached.
    fn on_other_device_signal(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, device: DeviceId, signal: &Signal) {
        let newest_ms = self.own_devices.entry(device).or_default();
        if signal.sent_ms <= std::mem::replace(newest_ms, signal.sent_ms.max(*newest_ms)) {
            return;
        }
        let addresses = dialable(&signal.addresses, &device);
        let known = cx.account.has_other(&device);
        let lan_key = signal.lan_key.map(LanKey);
        let at = (cx.account.own_devices.addresses.get(&device), cx.account.own_devices.lan_keys.get(&device));
        if known && !addresses.is_empty() && at != (Some(&addresses), lan_key.as_ref()) {
            turn.fact(Fact::OwnDeviceAt { device, addresses, lan_key });
        }
    }

    /// How many others read a log has changed.
    pub fn on_readers(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, address: &[u8], others: u32) {
        let Some((id, epoch)) =
            <[u8; 32]>::try_from(address).ok().and_then(|a| cx.conversations.groups.logs.get(&a)).copied()
        else {
            return;
        };
        let Some(entry) = cx.conversations.groups.get_mut(&id).filter(|g| g.epoch() == epoch) else {
            return;
        };
        let before = std::mem::replace(&mut entry.read.others, others);
        let members: Vec<DeviceId> = entry.members.iter().map(|m| m.device).collect();
        let Some(chat) = entry.chat().filter(|chat| !cx.conversations.chats.is_group_chat(*chat)) else { return };
        if others > before {
            self.tell_presence(turn, cx, chat, before == 0);
            for device in members {
                if device != cx.account.device() && !cx.links.is_connected(&device) {
                    turn.emit(Effect::Net(NetCommand::Hint(device)));
                }
            }
        } else if others == 0 {
            for device in members {
                self.contact_left(turn, cx, &device);
            }
        }
    }

    /// A device is not connected, and nobody else reads the log: they are away.
    pub fn contact_left(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, device: &DeviceId) {
        let Some(account) = cx.dir().account_of(device) else {
            return;
        };
        // Our own others read it, too, and are counted unless none of ours is.
        let own = cx.account.other_devices().iter().filter(|d| cx.links.is_connected(&d.id)).count() as u32;
        let own = if cx.homes.unseen { 0 } else { own };
        // Nor does one that is frozen: its session at the rendezvous is as dead as its stream.
        let devices = cx.dir().list_of(&account).into_iter().flat_map(|list| &list.devices);
        let silent = devices.filter(|d| cx.links.is_silent(&d.id)).count() as u32;
        let is_read = |chat| {
            let group = cx.conversations.active_group(cx.dir(), chat).and_then(|g| cx.conversations.groups.get(&g));
            group.is_some_and(|g| g.read.others > own + silent)
        };
        if cx.conversations.chats.direct_with(&account).is_some_and(is_read) {
            return;
        }
        let links = &cx.links;
        let Some(person) = cx.contacts.people.get_mut(&account) else {
            return;
        };
        let before = person.presence.availability;
        person.presence.left_but_for(|device| links.is_connected(device) && !links.is_silent(device));
        let availability = person.presence.best();
        person.presence.availability = availability;
        if let Some(availability) = availability.filter(|now| Some(*now) != before) {
            person.presence.typing_until = None;
            person.dirty = true;
            let last_seen_ms = person.row.last_seen_ms;
            turn.transient_event(TransientEvent::Presence { account, availability, last_seen_ms });
        }
    }

    /// Somebody was typing until now.
    pub fn expire_typing(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, account: AccountId) {
        let now = turn.now();
        let person = cx.contacts.people.get_mut(&account).filter(|p| p.presence.typing_until.is_some_and(|t| t <= now));
        if let Some(person) = person {
            person.presence.typing_until = None;
            if let Some(chat) = cx.conversations.chats.direct_with(&account) {
                turn.transient_event(TransientEvent::Typing { chat, typing: false, member: None });
            }
        }
    }

    fn send_signal(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, chat: ChatId, typing: bool, ask: bool) {
        if cx.conversations.chats.is_group_chat(chat) {
            // Where we are is for contacts.
            return;
        }
        let Some(group) = cx.conversations.active_group(cx.dir(), chat) else { return };
        if !cx.conversations.is_reachable(cx.dir(), chat) {
            return;
        }
        let Some(entry) = cx.conversations.groups.get(&group) else { return };
        let Some(keys) = entry.current_keys() else { return };
        let shows = !cx.account.is_unseen();
        // Of two in the same millisecond the second would be taken for a replay.
        self.last_signal_ms = turn.agreed_ms().max(self.last_signal_ms + 1).min(turn.agreed_ms() + SIGNAL_AGE_MS / 2);
        let signal = Signal {
            sent_ms: self.last_signal_ms,
            typing,
            availability: shows.then_some(self.availability),
            addresses: self.addresses.0.iter().take(MAX_DEVICE_ADDRESSES).map(Multiaddr::to_vec).collect(),
            ask,
            lan_key: Some(cx.account.identity.lan_key().0),
        };
        let key = &cx.account.identity.device_key;
        let signed = SignedSignal::encode(&signal, &keys.address, |message| key.sign(SIGNAL_DOMAIN, message));
        let sealed = keys.seal_signal(&cx.account.device().tag(), &signed);
        let me = cx.account.device();
        let others: Vec<DeviceId> = entry.members.iter().map(|m| m.device).filter(|d| *d != me).collect();
        let readers = entry.read.others;
        let mut missing = false;
        for device in others {
            if cx.links.is_connected(&device) {
                let signal = SealedSignal { group: Bytes::copy_from_slice(&group), sealed: sealed.clone().into() };
                let frame = DirectFrame { signals: vec![signal], ..DirectFrame::default() };
                turn.emit(Effect::Net(NetCommand::Direct(device, frame)));
            } else {
                missing = true;
            }
        }
        // What came past the log would show that somebody is here, whatever it says.
        let may_pass = shows || typing;
        if missing
            && may_pass
            && readers > 0
            && let Some(home) = cx.conversations.groups.home_of(group)
        {
            let request = LogRequest { entries: vec![Bytes::from(sealed)], ..LogRequest::default() };
            cx.homes.request_log(turn, home, &keys, LogVerb::Signal, request, Pending::Nothing);
        }
    }

    pub fn tell_presence(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, chat: ChatId, ask: bool) {
        let now = turn.now();
        let Some(state) = cx.conversations.chats.get_mut(&chat) else {
            return;
        };
        if !ask && now.saturating_sub(state.presence_sent_ms) < PRESENCE_EVERY_MS {
            return;
        }
        state.presence_sent_ms = now;
        self.send_signal(turn, cx, chat, false, ask);
    }

    pub fn tell_presence_to_all(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>) {
        for chat in cx.conversations.chats.keys().copied().collect::<Vec<_>>() {
            if let Some(state) = cx.conversations.chats.get_mut(&chat) {
                state.presence_sent_ms = 0;
            }
            self.tell_presence(turn, cx, chat, false);
        }
    }

    pub fn tell_typing(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, chat: ChatId, typing: bool) {
        if !Audience::allows(cx.account.settings.typing) {
            return;
        }
        if cx.conversations.chats.is_group_chat(chat) {
            let dir = Directory { account: cx.account, contacts: cx.contacts };
            return cx.conversations.publish_typing(turn, dir, chat, typing);
        }
        self.send_signal(turn, cx, chat, typing, false);
    }

    /// The last words before stopping.
    pub fn say_goodbye(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>) {
        self.availability = Availability::Offline;
        self.tell_presence_to_all(turn, cx);
    }

    /// The user is here, or is not.
    pub fn set_availability(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, availability: Availability) {
        if self.availability != availability {
            self.availability = availability;
            self.tell_presence_to_all(turn, cx);
        }
    }

    /// Our own addresses, and whether they are reachable from the outside, are others.
    pub fn set_addresses(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, addresses: (Vec<Multiaddr>, bool)) {
        self.addresses = addresses;
        self.tell_presence_to_all(turn, cx);
    }

    /// A command of the user.
    pub fn on_command(&mut self, turn: &mut Turn<'_>, cx: &mut Views<'_>, command: PresenceCommand) {
        match command {
            PresenceCommand::Typing { chat, typing } => self.tell_typing(turn, cx, chat, typing),
            PresenceCommand::SetAvailability(availability) => self.set_availability(turn, cx, availability),
        }
    }

    /// Somebody has written a message, at this time by their clock, in milliseconds since 1970: they type no longer.
    pub fn has_written(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Views<'_>,
        chat: ChatId,
        account: AccountId,
        at_ms: u64,
    ) {
        if cx.conversations.chats.is_group_chat(chat) {
            return cx.conversations.has_written_in_group(turn, chat, account, at_ms);
        }
        if let Some(person) = cx.contacts.people.get_mut(&account)
            && person.presence.typing_until.take().is_some()
        {
            turn.transient_event(TransientEvent::Typing { chat, typing: false, member: None });
        }
    }
}

/// Notes where a contact's device can be reached; gives whether that is new.
fn note_addresses(row: &mut ContactRow, device: &DeviceId, signal: &Signal) -> bool {
    let addresses: Vec<Vec<u8>> = dialable(&signal.addresses, device).iter().map(Multiaddr::to_vec).collect();
    let known = row.addresses.iter().find(|a| a.device == device.as_bytes());
    let lan_key = signal.lan_key.map(Vec::from);
    let lan_key = lan_key.or_else(|| known.map(|k| k.lan_key.clone())).unwrap_or_default();
    let addresses =
        if addresses.is_empty() { known.map(|k| k.addresses.clone()).unwrap_or_default() } else { addresses };
    let now = DeviceAddresses { device: device.as_bytes().to_vec(), addresses, lan_key };
    if known == Some(&now) || (now.addresses.is_empty() && now.lan_key.is_empty()) {
        return false;
    }
    row.addresses.retain(|a| a.device != device.as_bytes());
    row.addresses.push(now);
    true
}
