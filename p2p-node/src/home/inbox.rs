//! Our inboxes: how far each was read, and the sealed items in them.

use prost::Message as _;
use starling_keys::{DeviceChain, DeviceId};
use starling_wire::{
    inbox::{INBOX_DOMAIN, INBOX_INFO, InboxBody, InboxItem},
    limits::MAX_GREETING,
    rendezvous::{LogEntry, Page, RequestBody},
};

use super::{HomePending, Homes, Refused};
use crate::{
    api::problem::ItemRefused,
    mls::Mls,
    net::HomeId,
    turn::{EngineError, Turn},
};

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

/// An item of our inbox that a device of some account has signed.
pub struct ReceivedItem {
    /// Who has left it.
    pub sender: DeviceId,
    /// The sender's account and its devices; none with beacons, which count by the groups that the sender is in.
    pub list: Option<DeviceChain>,
    pub body: InboxBody,
    /// `body` as it was signed.
    pub encoded: Vec<u8>,
}

impl ReceivedItem {
    /// Opens what was sealed to this device. What is wrong with it, if something is.
    pub fn open(mls: &Mls, own: DeviceId, secret: &[u8], public: &[u8], sealed: &[u8]) -> Result<Self, ItemRefused> {
        let Ok(plain) = mls.open_sealed(secret, public, INBOX_INFO, sealed) else {
            return Err(ItemRefused::NotSealed);
        };
        let Ok(item) = InboxItem::decode(plain.as_slice()) else {
            return Err(ItemRefused::Malformed);
        };
        let Ok(body) = InboxBody::from_bytes(&item.body) else {
            return Err(ItemRefused::Malformed);
        };
        let list = if body.device_list.is_empty() && !body.beacons.is_empty() {
            None
        } else {
            Some(DeviceChain::from_bytes(&body.device_list).map_err(|_| ItemRefused::FalseChain)?)
        };
        let Ok(sender) = DeviceId::from_bytes(&body.device) else {
            return Err(ItemRefused::Malformed);
        };
        let signed = [&own.as_bytes()[..], &item.body].concat();
        let listed = list.as_ref().is_none_or(|list| list.device(&sender).is_some());
        if !listed || !sender.verify(INBOX_DOMAIN, &signed, &item.signature) {
            return Err(ItemRefused::NotSigned);
        }
        if body.greeting.len() > MAX_GREETING {
            return Err(ItemRefused::BeyondLimits);
        }
        Ok(Self { sender, list, body, encoded: item.body.to_vec() })
    }
}

impl Homes {
    /// The connection broke before the answer came.
    pub fn on_request_lost(&mut self, pending: HomePending) {
        match pending {
            HomePending::OutboundItem(key, tag) => {
                if let Some(outbound_item) = self.sent_item(&key, tag) {
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

    /// Something is about to come: our inboxes are read. A server that has died since shows that by not answering; otherwise it is found out only
    /// by the next probe, which may be half a minute away.
    pub fn expect_items(&mut self, turn: &mut Turn<'_>) {
        let up = self.servers.iter().filter(|(_, home)| home.own && home.registered && home.hello.is_some());
        let up: Vec<HomeId> = up.map(|(home, _)| *home).collect();
        up.into_iter().for_each(|home| self.read_inbox(turn, home));
    }

    /// A page of our inbox: gives the entries to be taken. Once they are, [`Homes::read_inbox`] has the server delete them.
    pub fn on_inbox_page(&mut self, turn: &mut Turn<'_>, home: HomeId, page: Page) -> Vec<LogEntry> {
        let Some(state) = self.servers.get_mut(&home) else { return Vec::new() };
        state.inbox.reading = false;
        let again = std::mem::take(&mut state.inbox.again);
        match page.entries.last() {
            Some(last) => state.inbox.cursor = last.sequence,
            None => {
                state.inbox.read = true;
                // Everything read is deleted there now; a server that forgets an empty inbox counts from 1 again.
                state.inbox.cursor = 0;
                if again {
                    self.read_inbox(turn, home);
                }
            }
        }
        page.entries
    }

    /// A server has refused a request about inboxes.
    pub fn on_home_refusal(
        &mut self,
        turn: &mut Turn<'_>,
        pending: HomePending,
        refused: &Refused,
    ) -> Result<(), EngineError> {
        match pending {
            HomePending::OutboundItem(key, tag) => self.outbound_item_refused(turn, (&key, tag), refused)?,
            HomePending::Inbox if refused.is_busy() => self.retry_later(refused),
            HomePending::Inbox => {}
        }
        Ok(())
    }
}
