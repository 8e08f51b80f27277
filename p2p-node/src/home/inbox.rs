//! Inboxes: parcels that we leave in others', and requests and welcomes that come to ours.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{AccountId, DeviceEntry, DeviceId, DeviceList, RendezvousAddr, Verified};
use starling_wire::{
    Puzzle,
    inbox::{INBOX_DOMAIN, INBOX_INFO, InboxBody, InboxItem},
    limits::MAX_GREETING,
    rendezvous::{InboxAppend, Page, Refusal, RequestBody, ResponseBody},
};

use crate::{
    api::types::{ChatId, ContactState, DurableEventKind},
    contacts::Person,
    conversation::{GroupEntry, group::GroupId},
    engine::Engine,
    home::{Homes, Refused},
    limits::{MAX_REQUESTS, MAX_WORK_BITS},
    net::{HomeId, WorkFor},
    store::{OUTBOUND_ITEMS, OutboundItemRow, REQUESTS, Reading, RequestRow, prefix},
    turn::{EngineError, Fact, Turn},
};

/// A sealed inbox item that we owe.
pub struct OutboundItem {
    pub row: OutboundItemRow,
    pub under_way: bool,
    /// How often the server has refused the work done for it.
    denied: u8,
}

/// How far our inbox at a home was read.
#[derive(Default)]
pub struct InboxState {
    /// Items up to here are durable with us.
    pub cursor: u64,
    pub reading: bool,
    /// There is more than what is being read.
    pub again: bool,
    /// It was read to its end since the home is up.
    pub read: bool,
}

impl InboxState {
    /// The home has come up: what was under way is lost.
    pub fn restart(&mut self) {
        *self = Self { cursor: self.cursor, ..Self::default() };
    }
}

/// So many refusals of the work for a parcel may be the price having risen.
const DENIALS: u8 = 3;

impl OutboundItem {
    pub fn new(row: OutboundItemRow) -> Self {
        Self { row, under_way: false, denied: 0 }
    }
}

/// A request about inboxes that is not answered yet.
#[derive(Debug)]
pub enum HomePending {
    /// Ours is read.
    Inbox,
    /// A parcel for somebody's, by its key.
    OutboundItem(Vec<u8>),
}

impl Homes {
    /// The connection broke before the answer came.
    pub fn on_request_lost(&mut self, pending: HomePending) {
        match pending {
            HomePending::OutboundItem(key) => {
                if let Some(outbound_item) = self.outbound_items.get_mut(&key) {
                    outbound_item.under_way = false;
                }
            }
            HomePending::Inbox => {}
        }
    }

    /// Reads our inbox from where we are; the server deletes what lies before that.
    pub fn read_inbox(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let Some(state) = self.servers.get_mut(&home).filter(|h| h.own) else {
            return;
        };
        if std::mem::replace(&mut state.inbox.reading, true) {
            state.inbox.again = true;
            return;
        }
        let cursor = state.inbox.cursor;
        self.request(turn, home, RequestBody::InboxRead(cursor), HomePending::Inbox);
    }
}

impl Engine {
    pub(super) fn on_home_answer(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        pending: HomePending,
        answer: ResponseBody,
    ) -> Result<(), EngineError> {
        match (pending, answer) {
            (HomePending::Inbox, ResponseBody::Page(page)) => self.on_inbox(turn, home, page),
            (HomePending::OutboundItem(key), ResponseBody::Appended(_)) => self.parcel_delivered(turn, &key),
            _ => Ok(()),
        }
    }

    pub(super) fn on_home_refusal(
        &mut self,
        turn: &mut Turn<'_>,
        pending: HomePending,
        refused: &Refused,
    ) -> Result<(), EngineError> {
        match pending {
            HomePending::OutboundItem(key) => self.parcel_refused(turn, &key, refused.reason, refused.is_busy())?,
            HomePending::Inbox if refused.is_busy() => self.homes.retry_later(turn, refused),
            HomePending::Inbox => {}
        }
        Ok(())
    }

    pub(crate) fn outbound_items_up(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let Some(hello) = self.homes.servers.get(&home).and_then(|h| h.hello.clone()) else {
            return;
        };
        let due: Vec<Vec<u8>> = self
            .homes
            .outbound_items
            .iter()
            .filter(|(_, p)| !p.under_way && p.row.home.parse::<RendezvousAddr>().is_ok_and(|h| h.peer == home))
            // Whoever joins may write at once: the log has to be there before.
            .filter(|(key, _)| self.group_of_parcel(key).is_none_or(|g| !g.row.ours || g.row.log_opened || g.row.dead))
            .filter(|(key, _)| !self.waits_for_contact(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let Some(outbound_item) = self.homes.outbound_items.get_mut(&key) else {
                continue;
            };
            outbound_item.under_way = true;
            let append = InboxAppend {
                device: Bytes::copy_from_slice(&outbound_item.row.device),
                sealed: Bytes::copy_from_slice(&outbound_item.row.sealed),
                token: Bytes::copy_from_slice(&outbound_item.row.token),
                solution: None,
            };
            if append.token.is_empty() && hello.inbox_bits > MAX_WORK_BITS {
                outbound_item.under_way = false;
                if let Some(state) = self.homes.servers.get_mut(&home) {
                    state.problem = Some("it asks for more work than any message is worth".into());
                }
            } else if append.token.is_empty() {
                let subject = [&append.device[..], blake3::hash(&append.sealed).as_bytes()].concat();
                let puzzle = Puzzle::new("inbox", &home, &hello.nonce, &subject, hello.inbox_bits);
                self.homes.request_with_work(
                    turn,
                    home,
                    puzzle,
                    WorkFor::Inbox(append),
                    HomePending::OutboundItem(key),
                );
            } else {
                self.homes.request(turn, home, RequestBody::InboxAppend(append), HomePending::OutboundItem(key));
            }
        }
    }

    /// A group's log is there: what invites others into it may go out.
    pub(crate) fn parcels_of_group_up(&mut self, turn: &mut Turn<'_>, group: GroupId) {
        let of_group = self.homes.outbound_items.iter().filter(|(key, _)| key.get(32..) == Some(&group[..]));
        let mut homes: Vec<HomeId> =
            of_group.filter_map(|(_, p)| Some(p.row.home.parse::<RendezvousAddr>().ok()?.peer)).collect();
        homes.dedup();
        for home in homes {
            self.outbound_items_up(turn, home);
        }
    }

    /// Our other devices write into a group as soon as they have joined it: first the contact is to be able to.
    fn waits_for_contact(&self, key: &[u8]) -> bool {
        let me = self.account.id();
        let own = |p: &OutboundItem| p.row.account == me.as_bytes();
        let (Some(outbound_item), Some(place)) = (self.homes.outbound_items.get(key), key.get(32..)) else {
            return false;
        };
        own(outbound_item)
            && self.homes.outbound_items.iter().any(|(other, p)| other.get(32..) == Some(place) && !own(p))
    }

    /// Seals something to a device; it is delivered to the device's inbox as soon as that can be reached.
    pub(crate) fn leave_parcel(
        &mut self,
        turn: &mut Turn<'_>,
        to: &DeviceEntry,
        place: [u8; 16],
        body: &InboxBody,
        account: AccountId,
        home: &str,
    ) -> Result<(), EngineError> {
        let device = to.certificate.device();
        let encoded: Bytes = body.to_bytes().into();
        let signed = [&device.as_bytes()[..], &encoded].concat();
        let item = InboxItem {
            body: encoded,
            signature: Bytes::copy_from_slice(&self.account.identity.device_key.sign(INBOX_DOMAIN, &signed)),
        };
        let Ok(sealed) = self.mls.seal_to(&to.seal_key, INBOX_INFO, &item.encode_to_vec()) else {
            return Ok(());
        };
        let row = OutboundItemRow {
            account: account.as_bytes().to_vec(),
            device: device.as_bytes().to_vec(),
            sealed,
            token: body.token.to_vec(),
            home: home.to_owned(),
        };
        let key = [&device.as_bytes()[..], &place].concat();
        turn.put(OUTBOUND_ITEMS, &key, &row)?;
        if let Ok(home) = home.parse::<RendezvousAddr>() {
            turn.fact(Fact::ParcelsWait(home.peer));
        }
        self.homes.outbound_items.insert(key, OutboundItem::new(row));
        turn.fact(Fact::ReachChanged);
        Ok(())
    }

    fn group_of_parcel(&self, key: &[u8]) -> Option<&GroupEntry> {
        GroupId::try_from(key.get(32..)?).ok().and_then(|id| self.conversations.groups.get(&id))
    }

    pub(crate) fn parcel_delivered(&mut self, turn: &mut Turn<'_>, key: &[u8]) -> Result<(), EngineError> {
        if let Some(chat) = self.chat_of_parcel(key) {
            self.set_problem(turn, chat, None);
        }
        self.forget_parcel(turn, key)
    }

    fn forget_parcel(&mut self, turn: &mut Turn<'_>, key: &[u8]) -> Result<(), EngineError> {
        self.homes.outbound_items.remove(key);
        turn.fact(Fact::ReachChanged);
        turn.delete(OUTBOUND_ITEMS, key)?;
        let homes: Vec<HomeId> = self.account.identity.homes.iter().map(|h| h.peer).collect();
        for home in homes {
            turn.fact(Fact::ParcelsWait(home));
        }
        Ok(())
    }

    fn chat_of_parcel(&self, key: &[u8]) -> Option<ChatId> {
        let account = AccountId::from_bytes(&self.homes.outbound_items.get(key)?.row.account).ok()?;
        self.conversations.direct_with(&account)
    }

    pub(crate) fn parcel_refused(
        &mut self,
        turn: &mut Turn<'_>,
        key: &[u8],
        reason: Refusal,
        busy: bool,
    ) -> Result<(), EngineError> {
        let chat = self.chat_of_parcel(key);
        let Some(outbound_item) = self.homes.outbound_items.get_mut(key) else {
            return Ok(());
        };
        outbound_item.under_way = false;
        if busy {
            let at = turn.now() + crate::limits::RETRY_REFUSED_MS;
            if let Ok(home) = outbound_item.row.home.parse::<RendezvousAddr>() {
                self.homes.retry_at(home.peer, at);
            }
            if let Some(chat) = chat {
                let full = "their inbox is full: the request waits here until there is room";
                let slow = "their rendezvous asks us to slow down: the request waits here";
                self.set_problem(turn, chat, Some(if reason == Refusal::Full { full } else { slow }));
            }
            return Ok(());
        }
        if !outbound_item.row.token.is_empty() && reason == Refusal::Denied {
            // The invite is used up, revoked or expired: it becomes a request, which costs some work and waits for them to accept.
            outbound_item.row.token.clear();
            let row = outbound_item.row.clone();
            turn.put(OUTBOUND_ITEMS, key, &row)?;
            if let Ok(home) = row.home.parse::<RendezvousAddr>() {
                self.outbound_items_up(turn, home.peer);
            }
            return Ok(());
        }
        if reason == Refusal::Denied && outbound_item.denied < DENIALS {
            // The price may have risen since the server greeted us: the next greeting tells it.
            outbound_item.denied += 1;
            return Ok(());
        }
        // Nothing that trying again would mend.
        tracing::warn!(?reason, "a contact request was refused");
        if let Some(chat) = chat {
            self.set_problem(turn, chat, Some("their rendezvous refused the request: ask them for a new invite"));
        }
        self.forget_parcel(turn, key)
    }

    /// Items of our inbox.
    pub(crate) fn on_inbox(&mut self, turn: &mut Turn<'_>, home: HomeId, page: Page) -> Result<(), EngineError> {
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        state.inbox.reading = false;
        let again = std::mem::take(&mut state.inbox.again);
        let Some(last) = page.entries.last().map(|e| e.sequence) else {
            state.inbox.read = true;
            // Everything read is deleted there now; a server that forgets an empty inbox counts from 1 again.
            state.inbox.cursor = 0;
            if again {
                self.homes.read_inbox(turn, home);
            }
            return Ok(());
        };
        state.inbox.cursor = last;
        for entry in &page.entries {
            if let Err(why) = self.on_inbox_item(turn, &entry.sealed)? {
                tracing::debug!(why, "an inbox item was dropped");
            }
        }
        // Asked after this turn's commit: only then does the server delete what was read.
        self.homes.read_inbox(turn, home);
        self.account.check_packages(turn, &mut self.homes, home);
        Ok(())
    }

    fn on_inbox_item(&mut self, turn: &mut Turn<'_>, sealed: &[u8]) -> Result<Result<(), &'static str>, EngineError> {
        let secret = zeroize::Zeroizing::new(self.account.identity.row.seal_secret.clone());
        let Ok(plain) = self.mls.open_sealed(&secret, &self.account.identity.seal_public, INBOX_INFO, sealed) else {
            return Ok(Err("not sealed to this device"));
        };
        let Ok(item) = InboxItem::decode(plain.as_slice()) else {
            return Ok(Err("not an item"));
        };
        let Ok(body) = InboxBody::from_bytes(&item.body) else {
            return Ok(Err("not a body"));
        };
        let Ok(list) = Verified::<DeviceList>::from_bytes(&body.device_list) else {
            return Ok(Err("a false device list"));
        };
        let Ok(device) = DeviceId::from_bytes(&body.device) else {
            return Ok(Err("no device"));
        };
        let signed = [&self.account.device().as_bytes()[..], &item.body].concat();
        if list.device(&device).is_none() || !device.verify(INBOX_DOMAIN, &signed, &item.signature) {
            return Ok(Err("not signed by a device of that account"));
        }
        if body.greeting.len() > MAX_GREETING {
            return Ok(Err("beyond its limits"));
        }
        if list.account == self.account.id() {
            return self.on_other_device(turn, device, &body, list);
        }
        let account = list.account;
        let known = self.contacts.people.get(&account).map(Person::state);
        if known == Some(ContactState::Blocked) {
            return Ok(Err("from somebody who is blocked"));
        }
        let group = body.welcome.as_ref().and_then(|w| GroupId::try_from(&*w.group).ok());
        if group.is_some_and(|g| self.conversations.groups.contains_key(&g)) {
            // Delivered twice: it uses its invite up once.
            return Ok(Ok(()));
        }
        let invited = self.use_token(turn, &body.token)?;
        if invited || matches!(known, Some(ContactState::Active | ContactState::Outgoing)) {
            return self.join(turn, &body, list, false);
        }
        let key = self.store.name("request", account.as_bytes());
        let again = turn.get::<RequestRow>(REQUESTS, &key)?.is_some();
        if !again && turn.range::<RequestRow>(REQUESTS, prefix(b""), MAX_REQUESTS, false)?.len() >= MAX_REQUESTS {
            return Ok(Err("too many requests wait"));
        }
        let row = RequestRow { body: item.body.to_vec(), at_ms: turn.wall() };
        turn.put(REQUESTS, &key, &row)?;
        if !again {
            turn.account_news(DurableEventKind::ContactRequested, account, &body.name)?;
        }
        Ok(Ok(()))
    }
}
