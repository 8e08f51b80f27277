//! Outbound items: sealed, left by us in the inboxes of others' devices, and of our own.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{AccountId, DeviceEntry, DeviceKey, InviteProof, RendezvousAddr};
use starling_wire::{
    Puzzle,
    inbox::{INBOX_DOMAIN, INBOX_INFO, InboxBody, InboxItem},
    rendezvous::{InboxAppend, Refusal, RequestBody, ServerHello},
};

use super::{HomePending, Homes, Refused, Subject, limits::MAX_WORK_BITS};
use crate::{
    api::problem::{ChatProblem, HomeProblem},
    limits::RETRY_REFUSED_MS,
    mls::{GroupId, Mls},
    net::{HomeId, WorkFor},
    store::{OUTBOUND_ITEMS, OutboundItemRow},
    turn::{EngineError, Fact, HomeFact, Turn},
};

/// A sealed inbox item that we owe.
pub struct OutboundItem {
    pub row: OutboundItemRow,
    pub under_way: bool,
    /// How often the server has refused the work done for it.
    denied: u8,
    /// The work that it has asked for when it did, in leading zero bits; else 0.
    work_bits: u32,
    /// Another home of the same account has refused it.
    pub(super) stays: bool,
}

/// So many refusals of the work for an outbound item may be the price having risen.
const DENIALS: u8 = 3;
/// A server that asks for more work than anybody does is visited again after this time.
const TOO_MUCH_WORK_MS: u64 = 600_000;

impl OutboundItem {
    pub fn new(row: OutboundItemRow) -> Self {
        Self { row, under_way: false, denied: 0, work_bits: 0, stays: false }
    }

    /// Tells it from others with the same key: a seal begins with a random key.
    fn tag(&self) -> [u8; 16] {
        self.row.sealed.first_chunk().copied().unwrap_or_default()
    }

    /// Whether it may go to another home of the same account.
    pub(super) fn may_move(&self) -> bool {
        !self.row.quiet && !self.stays
    }

    /// Whom it is for.
    fn subject(&self) -> Option<Subject> {
        AccountId::from_bytes(&self.row.account).ok().map(Subject::Account)
    }

    /// The server with the inbox.
    pub(super) fn home(&self) -> Option<HomeId> {
        self.row.home.parse::<RendezvousAddr>().ok().map(|home| home.peer)
    }
}

/// Whose inbox an item goes to.
pub struct Recipient<'a> {
    pub account: AccountId,
    pub device: &'a DeviceEntry,
    /// The address of the server with the inbox.
    pub home: &'a str,
}

/// What an item is sealed and signed with.
pub struct Sealing<'a> {
    pub mls: &'a Mls,
    /// Of this device.
    pub key: &'a DeviceKey,
}

/// Shows a server that we are no stranger to the owner of a log.
pub struct Vouching {
    /// The log's address.
    pub log: [u8; 32],
    /// By its key.
    pub signature: [u8; 64],
}

/// The group that an item invites into, by the item's key.
pub(super) fn group_of(key: &[u8]) -> Option<GroupId> {
    GroupId::try_from(key.get(32..)?).ok()
}

impl Homes {
    /// Delivers what waits for inboxes at a server, if that is there. `own` is our account; `may_join` tells of a group whether those who are
    /// invited into it can join it yet. `vouch` shows that we share a log with an account, if we do.
    pub fn send_outbound_items(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        own: AccountId,
        may_join: impl Fn(&GroupId) -> bool,
        vouch: impl Fn(&AccountId, &[u8], &[u8]) -> Option<Vouching>,
    ) {
        let Some(hello) = self.servers.get(&home).and_then(|h| h.hello.clone()) else {
            return;
        };
        let is_about = |item: &OutboundItem| item.subject().is_some_and(|subject| self.serves(&home, &subject));
        let due: Vec<Vec<u8>> = self
            .outbound_items
            .iter()
            .filter(|(_, item)| !item.under_way && item.home() == Some(home) && is_about(item))
            .filter(|(key, _)| group_of(key).is_none_or(|group| may_join(&group)))
            .filter(|(key, _)| !self.waits_for_contact(own, key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.send_outbound_item(turn, home, &hello, key, &vouch);
        }
    }

    /// The servers that something waits for, and whom it is for: for what waits for nothing else, `ready` is true.
    pub fn waiting_outbound_items(
        &self,
        own: AccountId,
        may_join: impl Fn(&GroupId) -> bool,
        ready: bool,
    ) -> impl Iterator<Item = (RendezvousAddr, Subject)> {
        let is_ready = move |key: &Vec<u8>| {
            group_of(key).is_none_or(|group| may_join(&group)) && !self.waits_for_contact(own, key)
        };
        let items = self.outbound_items.iter().filter(move |(key, _)| is_ready(key) == ready);
        items.filter_map(|(_, item)| Some((item.row.home.parse().ok()?, item.subject()?)))
    }

    fn send_outbound_item(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        hello: &ServerHello,
        key: Vec<u8>,
        vouch: impl Fn(&AccountId, &[u8], &[u8]) -> Option<Vouching>,
    ) {
        let Some(outbound_item) = self.outbound_items.get_mut(&key) else { return };
        outbound_item.under_way = true;
        let tag = outbound_item.tag();
        let bits = hello.inbox_bits.max(outbound_item.work_bits);
        let mut append = InboxAppend {
            device: Bytes::copy_from_slice(&outbound_item.row.device),
            sealed: Bytes::copy_from_slice(&outbound_item.row.sealed),
            token: Bytes::copy_from_slice(&outbound_item.row.token),
            ..InboxAppend::default()
        };
        let account = AccountId::from_bytes(&outbound_item.row.account).ok();
        if let Some(Vouching { log, signature }) = account.and_then(|of| vouch(&of, &hello.nonce, &append.subject())) {
            append.log = Bytes::copy_from_slice(&log);
            append.signature = Bytes::copy_from_slice(&signature);
        }
        if append.token.is_empty() && bits > MAX_WORK_BITS {
            outbound_item.under_way = false;
            self.visit_again(home, turn.now() + TOO_MUCH_WORK_MS);
            let Some(outbound_item) = self.outbound_items.get(&key) else { return };
            if !outbound_item.row.quiet
                && let Some(state) = self.servers.get_mut(&home)
            {
                state.problem = Some(HomeProblem::MessageWork);
            }
        } else if append.token.is_empty() {
            let puzzle = Puzzle::new("inbox", &home, &hello.nonce, &append.subject(), bits);
            self.request_with_work(turn, home, puzzle, WorkFor::Inbox(append), HomePending::OutboundItem(key, tag));
        } else {
            self.request(turn, home, RequestBody::InboxAppend(append), HomePending::OutboundItem(key, tag));
        }
    }

    /// Our other devices write into a direct conversation as soon as they have joined its group: first the contact is to be able to.
    fn waits_for_contact(&self, me: AccountId, key: &[u8]) -> bool {
        let own = |p: &OutboundItem| p.row.account == me.as_bytes();
        let (Some(outbound_item), Some(place)) = (self.outbound_items.get(key), key.get(32..)) else {
            return false;
        };
        own(outbound_item)
            && !outbound_item.row.is_offer
            && self.outbound_items.iter().any(|(other, p)| other.get(32..) == Some(place) && !own(p))
    }

    /// Whether a group's log says nothing yet to somebody of another account than `me`, as the welcome into the group has not left.
    pub fn has_pending_welcome(&self, me: AccountId, group: &GroupId) -> bool {
        let is_pending = |(key, item): (&Vec<u8>, &OutboundItem)| {
            !item.row.quiet && item.row.account != me.as_bytes() && group_of(key).as_ref() == Some(group)
        };
        self.outbound_items.iter().any(is_pending)
    }

    /// A group's log is there: what invites others into it may go out.
    pub fn outbound_items_of_group_up(&self, turn: &mut Turn<'_>, group: GroupId) {
        let of_group = self.outbound_items.iter().filter(|(key, _)| group_of(key) == Some(group));
        for home in of_group.filter_map(|(_, item)| item.home()) {
            turn.fact(Fact::Home(home, HomeFact::OutboundItemsWait));
        }
    }

    /// Seals something to a device; it is delivered to the device's inbox as soon as that can be reached.
    pub fn leave_item(
        &mut self,
        turn: &mut Turn<'_>,
        sealing: &Sealing<'_>,
        to: &Recipient<'_>,
        place: [u8; 16],
        body: &InboxBody,
    ) -> Result<(), EngineError> {
        let device = to.device.id;
        let encoded: Bytes = body.to_bytes().into();
        let signed = [&device.as_bytes()[..], &encoded].concat();
        let signature = Bytes::copy_from_slice(&sealing.key.sign(INBOX_DOMAIN, &signed));
        let item = InboxItem { body: encoded, signature, ..InboxItem::default() }.padded();
        let Ok(sealed) = sealing.mls.seal_to(&to.device.seal_key, INBOX_INFO, &item.encode_to_vec()) else {
            return Ok(());
        };
        let row = OutboundItemRow {
            account: to.account.as_bytes().to_vec(),
            device: device.as_bytes().to_vec(),
            sealed,
            token: <[u8; 32]>::try_from(&*body.token)
                .map_or_else(|_| Vec::new(), |proof| InviteProof(proof).ticket().0.to_vec()),
            home: to.home.to_owned(),
            quiet: !body.beacons.is_empty(),
            is_offer: body.offer.is_some(),
            ..OutboundItemRow::default()
        };
        let key = [&device.as_bytes()[..], &place].concat();
        turn.put(OUTBOUND_ITEMS, &key, &row)?;
        if let Ok(home) = to.home.parse::<RendezvousAddr>() {
            turn.fact(Fact::Home(home.peer, HomeFact::OutboundItemsWait));
        }
        self.outbound_items.insert(key, OutboundItem::new(row));
        turn.fact(Fact::ReachChanged);
        Ok(())
    }

    /// An item that was sent, if no other has taken its place since.
    pub(super) fn sent_item(&mut self, key: &[u8], tag: [u8; 16]) -> Option<&mut OutboundItem> {
        self.outbound_items.get_mut(key).filter(|item| item.tag() == tag)
    }

    /// A server has taken an item. `in_use` tells of a group whether it is one of ours that we write in.
    pub fn outbound_item_delivered(
        &mut self,
        turn: &mut Turn<'_>,
        (key, tag): (&[u8], [u8; 16]),
        in_use: impl Fn(&GroupId) -> bool,
    ) -> Result<(), EngineError> {
        let Some(row) = self.sent_item(key, tag).map(|item| item.row.clone()) else {
            return Ok(());
        };
        self.tell_problem(turn, key, None);
        self.forget_outbound_item(turn, key)?;
        self.keep_outbound_item(turn, key, row, in_use)
    }

    /// Says what keeps an item from its inbox, or that nothing does any more.
    fn tell_problem(&self, turn: &mut Turn<'_>, key: &[u8], problem: Option<ChatProblem>) {
        let item = self.outbound_items.get(key).filter(|item| !item.row.quiet);
        if let Some(account) = item.and_then(|item| AccountId::from_bytes(&item.row.account).ok()) {
            turn.facts([Fact::OutboundItemProblem { account, problem }]);
        }
    }

    fn forget_outbound_item(&mut self, turn: &mut Turn<'_>, key: &[u8]) -> Result<(), EngineError> {
        self.outbound_items.remove(key);
        turn.fact(Fact::ReachChanged);
        turn.facts(group_of(key).map(Fact::WelcomeSent));
        turn.delete(OUTBOUND_ITEMS, key)?;
        let mut homes: Vec<HomeId> = self.servers.iter().filter(|(_, h)| h.own).map(|(home, _)| *home).collect();
        homes.sort_unstable();
        for home in homes {
            turn.fact(Fact::Home(home, HomeFact::OutboundItemsWait));
        }
        Ok(())
    }

    /// A server has not taken an item.
    pub fn outbound_item_refused(
        &mut self,
        turn: &mut Turn<'_>,
        (key, tag): (&[u8], [u8; 16]),
        refused: &Refused,
    ) -> Result<(), EngineError> {
        let reason = refused.reason;
        let Some(outbound_item) = self.sent_item(key, tag) else {
            return Ok(());
        };
        outbound_item.under_way = false;
        if outbound_item.row.quiet && reason == Refusal::Full {
            return self.forget_outbound_item(turn, key);
        }
        if !outbound_item.row.token.is_empty() && matches!(reason, Refusal::Denied | Refusal::Full) {
            // The invite is used up, revoked or expired, or others have filled what there is for holders of invites: it becomes a request, which
            // costs some work and waits for them to accept.
            outbound_item.row.token.clear();
            let row = outbound_item.row.clone();
            turn.put(OUTBOUND_ITEMS, key, &row)?;
            if let Ok(home) = row.home.parse::<RendezvousAddr>() {
                turn.fact(Fact::Home(home.peer, HomeFact::OutboundItemsWait));
            }
            return Ok(());
        }
        if refused.is_busy() {
            let at = turn.now() + RETRY_REFUSED_MS;
            if let Ok(home) = outbound_item.row.home.parse::<RendezvousAddr>() {
                self.retry_at(home.peer, at);
            }
            let full = reason == Refusal::Full;
            let problem = if full { ChatProblem::InboxFull } else { ChatProblem::InboxRateLimited };
            self.tell_problem(turn, key, Some(problem));
            return Ok(());
        }
        if reason == Refusal::Denied && outbound_item.denied < DENIALS {
            // The price has risen since the server greeted us: it says what it is now, or says it with its next greeting.
            outbound_item.denied += 1;
            outbound_item.work_bits = refused.work_bits;
            if refused.work_bits > 0 {
                turn.fact(Fact::Home(refused.home, HomeFact::OutboundItemsWait));
            }
            return Ok(());
        }
        if self.return_outbound_item(turn, key)? {
            return Ok(());
        }
        // Nothing that trying again would mend.
        tracing::warn!(?reason, "an inbox item was refused");
        self.tell_problem(turn, key, Some(ChatProblem::RequestRefused));
        self.forget_outbound_item(turn, key)
    }
}
