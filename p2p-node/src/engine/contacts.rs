//! People: invites and short codes, requests, becoming contacts, blocking, and the snapshot that a restored device reads.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{
    AccountId, CodeExchange, DeviceId, DeviceList, Invite, InviteToken, RendezvousAddr, ShortCode, Verified,
};
use starling_wire::{
    Body, Puzzle,
    inbox::{INBOX_DOMAIN, INBOX_INFO, InboxBody, InboxItem, Welcome},
    limits::{CODE_FAILURES, CODE_LIFETIME_S, MAX_GREETING, MAX_NAME},
    rendezvous::{Ask, CodeMessage, Devices, InboxAppend, InviteRecord, Page, Refusal, Snapshot},
};

use super::{Effect, Engine, EngineError, GroupEntry, Person, Reply, group::GroupId, homes::Asked, presence::Seen};
use crate::{
    limits::{MAX_CONTACTS, MAX_GROUPS_PER_CHAT, MAX_REQUESTS, MAX_WORK_BITS, REACH_TIMEOUT_MS},
    mls::Mls,
    net::{HomeId, NetCommand, WorkFor},
    store::{
        ContactRow, GROUPS, GroupRow, INVITES, InviteRow, PARCELS, ParcelRow, REQUESTS, Reading, RequestRow,
        SnapshotContact, SnapshotRow, Txn, prefix,
    },
    types::{ChatId, ContactState, FeedKind, Live, NodeError, Request},
};

/// Whom to look up.
#[derive(Clone, Debug)]
pub enum Whom {
    Account(AccountId),
    Name(String),
}

/// An operation that makes somebody a contact.
pub struct Connect {
    pub whom: Whom,
    pub homes: Vec<RendezvousAddr>,
    pub token: Option<InviteToken>,
    pub greeting: String,
    pub alias: String,
    pub list: Option<Verified<DeviceList>>,
    pub claimed: Vec<DeviceId>,
    pub asked: bool,
    pub gives_up_at: u64,
    pub reply: Option<Reply<AccountId>>,
}

/// A sealed inbox item that we owe.
pub struct Parcel {
    pub row: ParcelRow,
    pub under_way: bool,
}

impl Parcel {
    pub fn new(row: ParcelRow) -> Self {
        Self { row, under_way: false }
    }
}

/// A short code that we gave.
pub struct OpenCode {
    pub id: u64,
    pub home: HomeId,
    pub code: Option<ShortCode>,
    pub token: InviteToken,
    pub attempts: u32,
    pub expires_ms: u64,
    pub reply: Option<Reply<String>>,
}

/// A short code that somebody gave us.
pub struct UsedCode {
    pub id: u64,
    pub code: ShortCode,
    pub home: RendezvousAddr,
    pub exchange: Option<CodeExchange>,
    pub gives_up_at: u64,
    pub reply: Option<Reply<AccountId>>,
}

impl Engine {
    /// The address that leads to us.
    pub(super) fn own_invite(&self, token: Option<InviteToken>) -> Invite {
        Invite { address: starling_keys::Address { account: self.me.account(), homes: self.me.homes.clone() }, token }
    }

    pub(super) fn new_invite(&mut self, txn: &Txn<'_>, uses: u32, expires_at: u64) -> Result<Invite, EngineError> {
        let token = InviteToken::generate();
        let key = self.store.name("invite", &token.0).to_vec();
        let row = InviteRow { token: token.0.to_vec(), uses, expires_at, registered: false };
        txn.put(INVITES, &key, &row)?;
        self.feed_written = true;
        let homes: Vec<HomeId> = self.homes.iter().filter(|(_, h)| h.own && h.registered).map(|(id, _)| *id).collect();
        for home in homes {
            self.register_invite(home, &key, &row);
        }
        Ok(self.own_invite(Some(token)))
    }

    fn register_invite(&mut self, home: HomeId, key: &[u8], row: &InviteRow) {
        let Ok(token) = row.token.as_slice().try_into().map(InviteToken) else {
            return;
        };
        let record = InviteRecord {
            token_hash: Bytes::copy_from_slice(&token.hash()),
            uses: row.uses,
            expires_at: row.expires_at,
        };
        self.ask(home, Ask::RegisterInvite(record), Asked::Invite(key.to_vec()));
    }

    /// Invites that our home does not know yet.
    pub(super) fn register_invites(&mut self, txn: &Txn<'_>, home: HomeId) -> Result<(), EngineError> {
        for (key, row) in txn.range::<InviteRow>(INVITES, prefix(b""), 1000, false)? {
            if !row.registered && row.uses > 0 && row.expires_at > self.now / 1000 {
                self.register_invite(home, &key, &row);
            }
        }
        Ok(())
    }

    pub(super) fn invite_registered(&mut self, txn: &Txn<'_>, key: &[u8]) -> Result<(), EngineError> {
        if let Some(row) = txn.get::<InviteRow>(INVITES, key)? {
            txn.put(INVITES, key, &InviteRow { registered: true, ..row })?;
        }
        Ok(())
    }

    /// Begins to make somebody a contact.
    pub(super) fn connect(&mut self, txn: &Txn<'_>, mut connect: Connect) -> Result<(), EngineError> {
        let refuse = |engine: &mut Self, connect: &mut Connect, error| {
            if let Some(reply) = connect.reply.take() {
                engine.reply(reply, Err(error));
            }
        };
        if let Whom::Account(account) = connect.whom {
            if account == self.me.account() {
                refuse(self, &mut connect, NodeError::Invalid("that is your own address".into()));
                return Ok(());
            }
            let known = self.contacts.get(&account).map(Person::state);
            let has_group = self.active_group(ChatId(self.store.name("direct", account.as_bytes()))).is_some();
            if known == Some(ContactState::Blocked) {
                refuse(self, &mut connect, NodeError::Refused("they are blocked; unblock them first".into()));
                return Ok(());
            }
            let asks_us = txn.get::<RequestRow>(REQUESTS, &self.store.name("request", account.as_bytes()))?.is_some();
            if asks_us {
                let accepted = self.accept(txn, account)?;
                if let Some(reply) = connect.reply.take() {
                    self.reply(reply, accepted.map(|()| account));
                }
                return Ok(());
            }
            if matches!(known, Some(ContactState::Active | ContactState::Outgoing))
                && has_group
                && connect.reply.is_some()
            {
                if let Some(reply) = connect.reply.take() {
                    self.reply(reply, Ok(account));
                }
                return Ok(());
            }
        }
        if self.contacts.len() >= MAX_CONTACTS {
            refuse(
                self,
                &mut connect,
                NodeError::Refused(format!("{MAX_CONTACTS} contacts are the limit; remove some")),
            );
            return Ok(());
        }
        if connect.homes.is_empty() {
            refuse(
                self,
                &mut connect,
                NodeError::Invalid("the address names no rendezvous, so there is no way to reach them".into()),
            );
            return Ok(());
        }
        let id = self.fresh_id();
        let homes: Vec<HomeId> = connect.homes.iter().map(|h| h.peer).collect();
        self.connects.insert(id, connect);
        self.net_changed = true;
        for home in homes {
            self.connects_up(home);
        }
        Ok(())
    }

    /// A rendezvous that operations may wait for is up.
    pub(super) fn connects_up(&mut self, home: HomeId) {
        if self.homes.get(&home).is_none_or(|h| h.hello.is_none()) {
            return;
        }
        let waiting: Vec<u64> = self
            .connects
            .iter()
            .filter(|(_, c)| !c.asked && c.homes.iter().any(|h| h.peer == home))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let Some(connect) = self.connects.get_mut(&id) else {
                continue;
            };
            connect.asked = true;
            connect.homes.sort_by_key(|h| h.peer != home);
            let ask = match &connect.whom {
                Whom::Account(account) => Ask::LookUp(Bytes::copy_from_slice(account.as_bytes())),
                Whom::Name(name) => Ask::LookUpName(name.clone()),
            };
            self.ask(home, ask, Asked::ConnectList(id));
        }
    }

    pub(super) fn connect_failed(&mut self, id: u64, error: NodeError) {
        if let Some(mut connect) = self.connects.remove(&id) {
            self.net_changed = true;
            if let Some(reply) = connect.reply.take() {
                self.reply(reply, Err(error));
            }
        }
    }

    pub(super) fn connect_list(&mut self, id: u64, bytes: &[u8]) {
        let Some(connect) = self.connects.get_mut(&id) else {
            return;
        };
        let list = match Verified::<DeviceList>::from_bytes(bytes) {
            Ok(list) => list,
            Err(error) => {
                return self
                    .connect_failed(id, NodeError::Refused(format!("the rendezvous gave a false answer: {error}")));
            }
        };
        if let Whom::Account(account) = connect.whom
            && account != list.account
        {
            return self
                .connect_failed(id, NodeError::Refused("the rendezvous gave the devices of another account".into()));
        }
        if let Some(known) = self.contacts.get(&list.account).and_then(|p| p.list.as_ref())
            && let Err(error) = list.succeeds(known)
        {
            return self.connect_failed(id, NodeError::Refused(format!("the rendezvous gave a false answer: {error}")));
        }
        if self.contacts.get(&list.account).is_some_and(|p| list.version < p.row.trusted_version) {
            return self
                .connect_failed(id, NodeError::Refused("the rendezvous gave a device list from the past".into()));
        }
        let home = connect.homes[0].peer;
        let mut devices: Vec<DeviceId> = list.devices.iter().map(|d| d.certificate.device()).collect();
        let me = self.me.device();
        if self.me.homes.iter().any(|h| h.peer == home) {
            let own = self.me.list.iter().flat_map(|l| &l.devices);
            devices.extend(own.map(|d| d.certificate.device()).filter(|d| *d != me));
        }
        connect.whom = Whom::Account(list.account);
        connect.list = Some(list);
        connect.claimed.clone_from(&devices);
        let devices = devices.iter().map(|d| Bytes::copy_from_slice(d.as_bytes())).collect();
        self.ask(home, Ask::ClaimKeyPackages(Devices { devices }), Asked::ConnectPackages(id));
    }

    /// All is there: makes the group, and what goes to the inboxes of their devices.
    pub(super) fn connect_packages(&mut self, txn: &Txn<'_>, id: u64, packages: Vec<Bytes>) -> Result<(), EngineError> {
        let Some(mut connect) = self.connects.remove(&id) else {
            return Ok(());
        };
        self.net_changed = true;
        let (Some(list), Some(own_list)) = (connect.list.take(), self.me.list.clone()) else {
            return Ok(());
        };
        let account = list.account;
        let fits =
            |(package, device): (Bytes, &DeviceId)| (Mls::device_of(&package) == Some(*device)).then_some(package);
        let usable: Vec<Bytes> = packages.into_iter().zip(&connect.claimed).filter_map(fits).collect();
        let group: GroupId = rand::random();
        let made = if usable.is_empty() { None } else { self.mls.create(&group, &usable).ok() };
        let Some((live, welcome)) = made else {
            if let Some(reply) = connect.reply.take() {
                let why = "none of their devices has left a key package there: ask them to go online once";
                self.reply(reply, Err(NodeError::Unreachable(why.into())));
            }
            return Ok(());
        };
        let chat = self.chat_with(account);
        let home = self.me.homes.first().or(connect.homes.first()).map(ToString::to_string).unwrap_or_default();
        let row = GroupRow {
            chat: chat.0.to_vec(),
            home: home.clone(),
            ours: !self.me.homes.is_empty(),
            updated_ms: self.now,
            floor: self.floor_of(chat),
            ..GroupRow::default()
        };
        let entry = GroupEntry::new(group, live, row)?;
        self.add_group(txn, chat, entry)?;

        let known = self.contacts.contains_key(&account);
        let now = self.now;
        let person = self.contacts.entry(account).or_insert_with(|| Person {
            row: ContactRow {
                account: account.as_bytes().to_vec(),
                name: account.to_string()[..8].to_owned(),
                added_ms: now,
                ..ContactRow::default()
            },
            list: None,
            presence: Seen::default(),
            dirty: true,
        });
        if !known || person.state() == ContactState::Removed {
            person.row.state = ContactState::Outgoing.stored();
        }
        if !connect.alias.is_empty() {
            person.row.alias.clone_from(&connect.alias);
        }
        let changed = person.list.as_ref().is_some_and(|known| device_ids(known) != device_ids(&list));
        let alarm = changed && person.row.verified && !person.row.key_changed;
        person.row.key_changed |= alarm;
        person.row.device_list = list.as_bytes().to_vec();
        person.row.trusted_version = list.version;
        person.dirty = true;
        let devices = list.devices.clone();
        let peer_home = connect.homes.first().cloned();
        person.list = Some(list);
        self.index_devices();
        self.snapshot_soon();

        let body = InboxBody {
            device_list: Bytes::copy_from_slice(own_list.as_bytes()),
            device: Bytes::copy_from_slice(self.me.device().as_bytes()),
            name: self.me.row.name.clone(),
            greeting: connect.greeting.clone(),
            token: connect.token.as_ref().map(|t| Bytes::copy_from_slice(&t.0)).unwrap_or_default(),
            welcome: Some(Welcome { group: Bytes::copy_from_slice(&group), message: welcome.into(), home }),
            bot: self.me.row.bot,
        };
        let body: Bytes = body.encode_to_vec().into();
        for device in devices {
            let to = device.certificate.device();
            let signed = [&to.as_bytes()[..], &body].concat();
            let item = InboxItem {
                body: body.clone(),
                signature: Bytes::copy_from_slice(&self.me.device_key.sign(INBOX_DOMAIN, &signed)),
            };
            let Ok(sealed) = self.mls.seal_to(&device.seal_key, INBOX_INFO, &item.encode_to_vec()) else {
                continue;
            };
            let row = ParcelRow {
                account: account.as_bytes().to_vec(),
                device: to.as_bytes().to_vec(),
                sealed,
                token: connect.token.as_ref().map(|t| t.0.to_vec()).unwrap_or_default(),
                home: peer_home.as_ref().map(ToString::to_string).unwrap_or_default(),
            };
            let key = [&to.as_bytes()[..], &group].concat();
            txn.put(PARCELS, &key, &row)?;
            self.parcels.insert(key, Parcel::new(row));
        }
        if alarm {
            self.account_news(txn, FeedKind::KeyChanged, account, "")?;
        }
        self.read_logs(group);
        if let Some(home) = peer_home {
            self.parcels_up(home.peer);
        }
        let profile = Body::Profile { name: self.me.row.name.clone(), bot: self.me.row.bot };
        self.write_event(chat, profile);
        if let Some(reply) = connect.reply.take() {
            self.reply(reply, Ok(account));
        }
        Ok(())
    }

    /// The first event that members of a new group have to expect: what waits for the other side travels in the new group again.
    fn floor_of(&self, chat: ChatId) -> u64 {
        let state = self.chats.get(&chat);
        let waiting = state.and_then(|s| s.outbox.front()).map(|i| i.first);
        waiting.unwrap_or_else(|| state.map_or(1, |s| s.row.last_sequence + 1))
    }

    fn add_group(&mut self, txn: &Txn<'_>, chat: ChatId, entry: GroupEntry) -> Result<(), EngineError> {
        let id = entry.id;
        self.insert_group(entry);
        let Some(state) = self.chats.get_mut(&chat) else {
            return Ok(());
        };
        state.row.groups.push(id.to_vec());
        state.dirty = true;
        let mut gone = Vec::new();
        while state.row.groups.len() > MAX_GROUPS_PER_CHAT {
            gone.push(state.row.groups.remove(0));
        }
        for old in gone {
            txn.delete(GROUPS, &old)?;
            if let Ok(old) = GroupId::try_from(old.as_slice()) {
                self.groups.remove(&old);
                self.mls.forget(&old);
                self.logs.retain(|_, (group, _)| *group != old);
            }
        }
        self.renew_outbox(txn, chat)
    }

    /// Parcels for inboxes at a server that is up.
    pub(super) fn parcels_up(&mut self, home: HomeId) {
        let Some(hello) = self.homes.get(&home).and_then(|h| h.hello.clone()) else {
            return;
        };
        let due: Vec<Vec<u8>> = self
            .parcels
            .iter()
            .filter(|(_, p)| !p.under_way && p.row.home.parse::<RendezvousAddr>().is_ok_and(|h| h.peer == home))
            // Whoever joins may write at once: the log has to be there before.
            .filter(|(key, _)| self.group_of_parcel(key).is_none_or(|g| !g.row.ours || g.row.log_opened || g.row.dead))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let Some(parcel) = self.parcels.get_mut(&key) else {
                continue;
            };
            parcel.under_way = true;
            let append = InboxAppend {
                device: Bytes::copy_from_slice(&parcel.row.device),
                sealed: Bytes::copy_from_slice(&parcel.row.sealed),
                token: Bytes::copy_from_slice(&parcel.row.token),
                solution: None,
            };
            if append.token.is_empty() && hello.inbox_bits > MAX_WORK_BITS {
                parcel.under_way = false;
                if let Some(state) = self.homes.get_mut(&home) {
                    state.problem = Some("it asks for more work than any message is worth".into());
                }
            } else if append.token.is_empty() {
                let subject = [&append.device[..], blake3::hash(&append.sealed).as_bytes()].concat();
                let puzzle = Puzzle::new("inbox", &home, &hello.nonce, &subject, hello.inbox_bits);
                let id = self.fresh_id();
                if let Some(state) = self.homes.get_mut(&home) {
                    state.asked.insert(id, Asked::Parcel(key));
                }
                self.effect(Effect::Net(NetCommand::AskWithWork(home, id, puzzle, WorkFor::Inbox(append))));
            } else {
                self.ask(home, Ask::InboxAppend(append), Asked::Parcel(key));
            }
        }
    }

    fn group_of_parcel(&self, key: &[u8]) -> Option<&GroupEntry> {
        GroupId::try_from(key.get(32..)?).ok().and_then(|id| self.groups.get(&id))
    }

    pub(super) fn parcel_delivered(&mut self, txn: &Txn<'_>, key: &[u8]) -> Result<(), EngineError> {
        self.parcels.remove(key);
        self.net_changed = true;
        txn.delete(PARCELS, key)?;
        Ok(())
    }

    pub(super) fn parcel_refused(
        &mut self,
        txn: &Txn<'_>,
        key: &[u8],
        reason: Refusal,
        busy: bool,
    ) -> Result<(), EngineError> {
        let Some(parcel) = self.parcels.get_mut(key) else {
            return Ok(());
        };
        parcel.under_way = false;
        if busy {
            let at = self.now + crate::limits::RETRY_REFUSED_MS;
            if let Ok(home) = parcel.row.home.parse::<RendezvousAddr>()
                && let Some(state) = self.homes.get_mut(&home.peer)
            {
                state.retry_at = Some(at);
            }
            return Ok(());
        }
        if !parcel.row.token.is_empty() && reason == Refusal::Denied {
            // The invite is used up, revoked or expired: it becomes a request, which costs some work and waits for them to accept.
            parcel.row.token.clear();
            let row = parcel.row.clone();
            txn.put(PARCELS, key, &row)?;
            if let Ok(home) = row.home.parse::<RendezvousAddr>() {
                self.parcels_up(home.peer);
            }
            return Ok(());
        }
        // Nothing that trying again would mend.
        tracing::warn!(?reason, "a contact request was refused");
        self.parcel_delivered(txn, key)
    }

    /// Items of our inbox.
    pub(super) fn on_inbox(&mut self, txn: &Txn<'_>, home: HomeId, page: Page) -> Result<(), EngineError> {
        let Some(state) = self.homes.get_mut(&home) else {
            return Ok(());
        };
        state.inbox_reading = false;
        let again = std::mem::take(&mut state.inbox_again);
        let Some(last) = page.entries.last().map(|e| e.sequence) else {
            if again {
                self.read_inbox(home);
            }
            return Ok(());
        };
        state.inbox_cursor = last;
        for entry in &page.entries {
            if let Err(why) = self.on_inbox_item(txn, &entry.sealed)? {
                tracing::debug!(why, "an inbox item was dropped");
            }
        }
        // Asked after this turn's commit: only then does the server delete what was read.
        self.read_inbox(home);
        self.check_packages(home);
        Ok(())
    }

    fn on_inbox_item(&mut self, txn: &Txn<'_>, sealed: &[u8]) -> Result<Result<(), &'static str>, EngineError> {
        let secret = zeroize::Zeroizing::new(self.me.row.seal_secret.clone());
        let Ok(plain) = self.mls.open_sealed(&secret, &self.me.seal_public, INBOX_INFO, sealed) else {
            return Ok(Err("not sealed to this device"));
        };
        let Ok(item) = InboxItem::decode(plain.as_slice()) else {
            return Ok(Err("not an item"));
        };
        let Ok(body) = InboxBody::decode(item.body.clone()) else {
            return Ok(Err("not a body"));
        };
        let Ok(list) = Verified::<DeviceList>::from_bytes(&body.device_list) else {
            return Ok(Err("a false device list"));
        };
        let Ok(device) = DeviceId::from_bytes(&body.device) else {
            return Ok(Err("no device"));
        };
        let signed = [&self.me.device().as_bytes()[..], &item.body].concat();
        if list.device(&device).is_none() || !device.verify(INBOX_DOMAIN, &signed, &item.signature) {
            return Ok(Err("not signed by a device of that account"));
        }
        if body.name.len() > MAX_NAME || body.greeting.len() > MAX_GREETING || list.account == self.me.account() {
            return Ok(Err("beyond its limits"));
        }
        let account = list.account;
        let known = self.contacts.get(&account).map(Person::state);
        if known == Some(ContactState::Blocked) {
            return Ok(Err("from somebody who is blocked"));
        }
        let invited = self.use_token(txn, &body.token)?;
        if invited || matches!(known, Some(ContactState::Active | ContactState::Outgoing)) {
            return self.join(txn, &body, list);
        }
        let key = self.store.name("request", account.as_bytes());
        let again = txn.get::<RequestRow>(REQUESTS, &key)?.is_some();
        if !again && txn.range::<RequestRow>(REQUESTS, prefix(b""), MAX_REQUESTS, false)?.len() >= MAX_REQUESTS {
            return Ok(Err("too many requests wait"));
        }
        let row = RequestRow { body: item.body.to_vec(), at_ms: self.now };
        txn.put(REQUESTS, &key, &row)?;
        if !again {
            self.account_news(txn, FeedKind::ContactRequested, account, &body.name)?;
        }
        Ok(Ok(()))
    }

    fn use_token(&mut self, txn: &Txn<'_>, token: &[u8]) -> Result<bool, EngineError> {
        if token.is_empty() {
            return Ok(false);
        }
        let key = self.store.name("invite", token);
        let Some(mut row) = txn.get::<InviteRow>(INVITES, &key)? else {
            return Ok(false);
        };
        if row.uses == 0 || row.expires_at < self.now / 1000 {
            return Ok(false);
        }
        row.uses -= 1;
        txn.put(INVITES, &key, &row)?;
        if let Some(at) = self.codes.iter().position(|c| c.token.0 == token) {
            let code = self.codes.remove(at);
            self.end_code(&code, true);
        }
        Ok(true)
    }

    /// Joins the conversation that somebody has made with us.
    fn join(
        &mut self,
        txn: &Txn<'_>,
        body: &InboxBody,
        list: Verified<DeviceList>,
    ) -> Result<Result<(), &'static str>, EngineError> {
        let account = list.account;
        if let Some(known) = self.contacts.get(&account).and_then(|p| p.list.as_ref())
            && list.succeeds(known).is_err()
        {
            return Ok(Err("an older device list than the one known"));
        }
        let Some(welcome) = &body.welcome else {
            return Ok(Err("no welcome"));
        };
        let Ok(group) = GroupId::try_from(&*welcome.group) else {
            return Ok(Err("no group id"));
        };
        if self.groups.contains_key(&group) {
            return Ok(Ok(()));
        }
        let live = match self.mls.join(&welcome.message) {
            Ok(live) => live,
            Err(error) => {
                tracing::warn!(%error, "a welcome cannot be used");
                return Ok(Err("a welcome that cannot be used"));
            }
        };
        let me = self.me.account();
        let members = live.members();
        let ours_and_theirs = members.iter().all(|m| m.account() == me || m.account() == account);
        if live.id() != group || !ours_and_theirs || !members.iter().any(|m| m.account() == account) {
            return Ok(Err("a group with others in it"));
        }
        let chat = self.chat_with(account);
        let home = welcome.home.parse::<RendezvousAddr>().map(|h| h.to_string()).unwrap_or_default();
        // Who made it has no home of its own: then its log is ours to open.
        let ours = list.homes.is_empty() && self.me.homes.iter().any(|h| h.to_string() == home);
        let row = GroupRow {
            chat: chat.0.to_vec(),
            home,
            ours,
            confirmed: true,
            updated_ms: self.now,
            floor: self.floor_of(chat),
            ..GroupRow::default()
        };
        let was = self.contacts.get(&account).map(Person::state);
        let now = self.now;
        let person = self.contacts.entry(account).or_insert_with(|| Person {
            row: ContactRow { account: account.as_bytes().to_vec(), added_ms: now, ..ContactRow::default() },
            list: None,
            presence: Seen::default(),
            dirty: true,
        });
        person.row.state = ContactState::Active.stored();
        if !body.name.is_empty() {
            person.row.name.clone_from(&body.name);
        }
        person.row.bot = body.bot;
        let changed = person.list.as_ref().is_some_and(|known| device_ids(known) != device_ids(&list));
        person.row.device_list = list.as_bytes().to_vec();
        person.dirty = true;
        let alarm = changed && person.row.verified;
        person.row.key_changed |= alarm;
        person.list = Some(list);
        self.index_devices();
        let entry = GroupEntry::new(group, live, row)?;
        self.add_group(txn, chat, entry)?;
        self.read_logs(group);
        let profile = Body::Profile { name: self.me.row.name.clone(), bot: self.me.row.bot };
        self.write_event(chat, profile);
        if alarm {
            self.account_news(txn, FeedKind::KeyChanged, account, "")?;
        }
        if was != Some(ContactState::Active) {
            self.snapshot_soon();
            self.account_news(txn, FeedKind::ContactAccepted, account, "")?;
        }
        txn.delete(REQUESTS, &self.store.name("request", account.as_bytes()))?;
        Ok(Ok(()))
    }

    /// The user says yes to a request.
    pub(super) fn accept(&mut self, txn: &Txn<'_>, account: AccountId) -> Result<Result<(), NodeError>, EngineError> {
        let key = self.store.name("request", account.as_bytes());
        let Some(row) = txn.get::<RequestRow>(REQUESTS, &key)? else {
            return Ok(Err(NodeError::NotFound("there is no such request".into())));
        };
        let body = InboxBody::decode(row.body.as_slice()).unwrap_or_default();
        let Ok(list) = Verified::<DeviceList>::from_bytes(&body.device_list) else {
            return Ok(Err(NodeError::NotFound("the request cannot be read".into())));
        };
        Ok(self.join(txn, &body, list)?.map_err(|why| {
            NodeError::Refused(format!("the request cannot be accepted ({why}); ask them to send another"))
        }))
    }

    pub(super) fn requests(&self, txn: &Txn<'_>) -> Result<Vec<Request>, EngineError> {
        let rows = txn.range::<RequestRow>(REQUESTS, prefix(b""), MAX_REQUESTS, false)?;
        let mut requests: Vec<Request> = rows
            .iter()
            .filter_map(|(_, row)| {
                let body = InboxBody::decode(row.body.as_slice()).ok()?;
                let list = Verified::<DeviceList>::from_bytes(&body.device_list).ok()?;
                Some(Request { account: list.account, name: body.name, greeting: body.greeting, at_ms: row.at_ms })
            })
            .collect();
        requests.sort_by_key(|r| r.at_ms);
        Ok(requests)
    }

    /// Asks for the newest device list of a contact.
    pub(super) fn refresh_devices(&mut self, account: AccountId) {
        let homes =
            self.contacts.get(&account).and_then(|p| p.list.as_ref()).map(|l| l.homes.clone()).unwrap_or_default();
        let up = homes.iter().map(|h| h.peer).find(|h| self.homes.get(h).is_some_and(|h| h.hello.is_some()));
        if let Some(home) = up {
            self.ask(home, Ask::LookUp(Bytes::copy_from_slice(account.as_bytes())), Asked::Refresh(account));
        }
    }

    pub(super) fn on_newer_list(&mut self, txn: &Txn<'_>, account: AccountId, bytes: &[u8]) -> Result<(), EngineError> {
        let Ok(list) = Verified::<DeviceList>::from_bytes(bytes) else {
            return Ok(());
        };
        let Some(person) = self.contacts.get_mut(&account) else {
            return Ok(());
        };
        if list.account != account || person.list.as_ref().is_some_and(|known| list.succeeds(known).is_err()) {
            tracing::warn!("a rendezvous gave an older or false device list");
            return Ok(());
        }
        let changed = person.list.as_ref().is_some_and(|known| device_ids(known) != device_ids(&list));
        person.row.device_list = list.as_bytes().to_vec();
        person.list = Some(list);
        person.dirty = true;
        let alarm = changed && person.row.verified && !person.row.key_changed;
        person.row.key_changed |= alarm;
        self.index_devices();
        if alarm {
            self.account_news(txn, FeedKind::KeyChanged, account, "")?;
        }
        Ok(())
    }

    // Short codes.

    pub(super) fn open_code(&mut self, txn: &Txn<'_>, reply: Reply<String>) -> Result<(), EngineError> {
        let home = self.me.homes.first().map(|h| h.peer);
        let Some(home) = home else {
            self.reply(reply, Err(NodeError::Invalid("a short code needs a home rendezvous".into())));
            return Ok(());
        };
        let expires_ms = self.now + CODE_LIFETIME_S * 1000;
        let Some(token) = self.new_invite(txn, 1, expires_ms / 1000)?.token else {
            return Ok(());
        };
        let id = self.fresh_id();
        self.codes.push(OpenCode { id, home, code: None, token, attempts: 0, expires_ms, reply: Some(reply) });
        self.codes_up(home);
        Ok(())
    }

    pub(super) fn codes_up(&mut self, home: HomeId) {
        let Some(state) = self.homes.get(&home).filter(|h| h.hello.is_some()) else {
            return;
        };
        if state.registered {
            let waiting: Vec<u64> =
                self.codes.iter().filter(|c| c.home == home && c.code.is_none()).map(|c| c.id).collect();
            for id in waiting {
                self.ask(home, Ask::CodeOpen(true), Asked::CodeOpen(id));
            }
        }
        let waiting: Vec<(u64, CodeMessage)> = self
            .used_codes
            .iter_mut()
            .filter(|c| c.home.peer == home && c.exchange.is_none())
            .map(|c| {
                let exchange = CodeExchange::start(&c.code);
                let message = CodeMessage {
                    place: c.code.place,
                    pake: Bytes::copy_from_slice(exchange.message()),
                    ..CodeMessage::default()
                };
                c.exchange = Some(exchange);
                (c.id, message)
            })
            .collect();
        for (id, message) in waiting {
            self.ask(home, Ask::CodeTry(message), Asked::CodeTry(id));
        }
    }

    pub(super) fn code_opened(&mut self, txn: &Txn<'_>, _: HomeId, id: u64, place: u32) -> Result<(), EngineError> {
        let _ = txn;
        if let Some(open) = self.codes.iter_mut().find(|c| c.id == id) {
            let code = ShortCode::generate(place);
            let text = code.to_string();
            open.code = Some(code);
            if let Some(reply) = open.reply.take() {
                self.reply(reply, Ok(text));
            }
        }
        Ok(())
    }

    pub(super) fn code_failed(&mut self, id: u64, reason: Refusal) {
        if let Some(at) = self.codes.iter().position(|c| c.id == id) {
            let mut open = self.codes.remove(at);
            if let Some(reply) = open.reply.take() {
                self.reply(
                    reply,
                    Err(NodeError::Refused(format!("the rendezvous gives no short code now: {reason:?}"))),
                );
            }
        }
    }

    fn end_code(&mut self, open: &OpenCode, used: bool) {
        if let Some(code) = &open.code {
            self.ask(open.home, Ask::CodeClose(code.place), Asked::Nothing);
            self.live(Live::CodeEnded { code: code.to_string(), used });
        }
    }

    pub(super) fn use_code(&mut self, code: ShortCode, home: Option<RendezvousAddr>, reply: Reply<AccountId>) {
        let Some(home) = home.or_else(|| self.me.homes.first().cloned()) else {
            return self.reply(reply, Err(NodeError::Invalid("a short code needs a rendezvous".into())));
        };
        let id = self.fresh_id();
        let peer = home.peer;
        self.used_codes.push(UsedCode {
            id,
            code,
            home,
            exchange: None,
            gives_up_at: self.now + REACH_TIMEOUT_MS,
            reply: Some(reply),
        });
        self.net_changed = true;
        self.codes_up(peer);
    }

    pub(super) fn code_try_refused(&mut self, id: u64, reason: Refusal) {
        if let Some(at) = self.used_codes.iter().position(|c| c.id == id) {
            let mut used = self.used_codes.remove(at);
            self.net_changed = true;
            if let Some(reply) = used.reply.take() {
                let error = match reason {
                    Refusal::RateLimited => NodeError::RateLimited { retry_after_ms: 10_000 },
                    _ => NodeError::NotFound(
                        "there is no such code: it is used, burnt by wrong guesses, or older than ten minutes".into(),
                    ),
                };
                self.reply(reply, Err(error));
            }
        }
    }

    /// A step of a short code: an attempt at ours, or the answer to our attempt.
    pub(super) fn on_code(&mut self, txn: &Txn<'_>, home: HomeId, message: &CodeMessage) {
        let ours = self
            .codes
            .iter_mut()
            .find(|c| c.home == home && c.code.as_ref().is_some_and(|code| code.place == message.place));
        if let Some(open) = ours
            && message.sealed.is_empty()
        {
            open.attempts += 1;
            let (attempts, token) = (open.attempts, open.token.clone());
            let Some(code) = open.code.clone() else { return };
            if attempts <= CODE_FAILURES {
                let exchange = CodeExchange::start(&code);
                let pake = Bytes::copy_from_slice(exchange.message());
                let Ok(key) = exchange.finish(&message.pake) else {
                    return;
                };
                let link = self.own_invite(Some(token)).to_string();
                let reply = CodeMessage {
                    place: message.place,
                    attempt: message.attempt,
                    pake,
                    sealed: key.seal(b"invite", link.as_bytes()).into(),
                };
                self.ask(home, Ask::CodeReply(reply), Asked::Nothing);
            }
            return;
        }
        let Some(at) = self.used_codes.iter().position(|c| c.home.peer == home && c.code.place == message.place) else {
            return;
        };
        let mut used = self.used_codes.remove(at);
        let (Some(exchange), Some(reply)) = (used.exchange.take(), used.reply.take()) else {
            return;
        };
        let invite = exchange
            .finish(&message.pake)
            .ok()
            .and_then(|key| key.open(b"invite", &message.sealed).ok())
            .and_then(|link| std::str::from_utf8(&link).ok()?.parse::<Invite>().ok());
        let Some(invite) = invite else {
            let why = "the code is wrong: check it, or ask for a new one (three wrong guesses burn it)";
            return self.reply(reply, Err(NodeError::Refused(why.into())));
        };
        let connect = Connect {
            whom: Whom::Account(invite.address.account),
            homes: invite.address.homes,
            token: invite.token,
            greeting: String::new(),
            alias: String::new(),
            list: None,
            claimed: Vec::new(),
            asked: false,
            gives_up_at: self.now + REACH_TIMEOUT_MS,
            reply: Some(reply),
        };
        if let Err(error) = self.connect(txn, connect) {
            tracing::error!(%error, "cannot use a code");
        }
    }

    /// Operations that have waited too long for a rendezvous.
    pub(super) fn expire_operations(&mut self) {
        let now = self.now;
        let late: Vec<u64> = self.connects.iter().filter(|(_, c)| c.gives_up_at <= now).map(|(id, _)| *id).collect();
        for id in late {
            let problem = self
                .connects
                .get(&id)
                .and_then(|c| c.homes.first())
                .and_then(|h| self.homes.get(&h.peer))
                .and_then(|h| h.problem.clone())
                .unwrap_or_else(|| "it does not answer".into());
            self.connect_failed(
                id,
                NodeError::Unreachable(format!(
                    "their rendezvous cannot be reached: {problem}. Nothing was sent; try again later"
                )),
            );
        }
        while let Some(at) = self.used_codes.iter().position(|c| c.gives_up_at <= now) {
            let mut used = self.used_codes.remove(at);
            self.net_changed = true;
            if let Some(reply) = used.reply.take() {
                self.reply(
                    reply,
                    Err(NodeError::Unreachable("nobody answers: both sides have to be online for a short code".into())),
                );
            }
        }
        while let Some(at) = self.codes.iter().position(|c| c.expires_ms <= now || c.attempts > CODE_FAILURES) {
            let mut open = self.codes.remove(at);
            if let Some(reply) = open.reply.take() {
                self.reply(reply, Err(NodeError::Unreachable("our rendezvous cannot be reached".into())));
            }
            self.end_code(&open, false);
        }
        let burnt: Vec<usize> = self
            .codes
            .iter()
            .enumerate()
            .filter(|(_, c)| c.attempts >= CODE_FAILURES && c.expires_ms > now + 30_000)
            .map(|(i, _)| i)
            .collect();
        for at in burnt {
            // The third answer may have been right: it is given half a minute.
            self.codes[at].expires_ms = now + 30_000;
        }
    }

    // The snapshot of contacts.

    pub(super) fn sealed_snapshot(&self) -> Vec<u8> {
        let contacts = self
            .contacts
            .values()
            .filter(|p| p.state() != ContactState::Removed)
            .map(|p| SnapshotContact {
                account: p.row.account.clone(),
                homes: p.list.iter().flat_map(|l| &l.homes).map(ToString::to_string).collect(),
                version: p.list.as_ref().map_or(0, |l| l.version),
                name: p.row.name.clone(),
                alias: p.row.alias.clone(),
                state: p.row.state,
                verified: p.row.verified,
            })
            .collect();
        let row = SnapshotRow { contacts, name: self.me.row.name.clone() };
        let padded = starling_wire::pad(row.encode_to_vec());
        self.me.account_key.snapshot_key().seal(b"snapshot", &padded)
    }

    /// What this account's devices knew of its contacts: a restored device makes new conversations with them.
    pub(super) fn on_snapshot(&mut self, txn: &Txn<'_>, snapshot: &Snapshot) -> Result<(), EngineError> {
        self.counters.snapshot = self.counters.snapshot.max(snapshot.version).max(1);
        self.feed_written = true;
        if self.counters.snapshot_owed {
            self.snapshot_soon();
        }
        if snapshot.sealed.is_empty() {
            return Ok(());
        }
        let row = self
            .me
            .account_key
            .snapshot_key()
            .open(b"snapshot", &snapshot.sealed)
            .ok()
            .and_then(|padded| SnapshotRow::decode(starling_wire::unpad(&padded).ok()?).ok());
        let Some(row) = row else {
            tracing::warn!("the account snapshot cannot be read");
            return Ok(());
        };
        for contact in row.contacts.into_iter().take(MAX_CONTACTS) {
            let Ok(account) = AccountId::from_bytes(&contact.account) else {
                continue;
            };
            if self.contacts.contains_key(&account) {
                continue;
            }
            self.contacts.insert(
                account,
                Person {
                    row: ContactRow {
                        account: contact.account,
                        homes: contact.homes,
                        trusted_version: contact.version,
                        name: contact.name,
                        alias: contact.alias,
                        state: contact.state,
                        verified: contact.verified,
                        added_ms: self.now,
                        ..ContactRow::default()
                    },
                    list: None,
                    presence: Seen::default(),
                    dirty: true,
                },
            );
            self.chat_with(account);
        }
        self.index_devices();
        self.regroup(txn)
    }

    /// Makes a conversation anew with every contact that has none (left): after a restore, or when a log was lost.
    pub(super) fn regroup(&mut self, txn: &Txn<'_>) -> Result<(), EngineError> {
        let pending: Vec<AccountId> = self
            .connects
            .values()
            .filter_map(|c| if let Whom::Account(account) = c.whom { Some(account) } else { None })
            .collect();
        let missing: Vec<(AccountId, Vec<RendezvousAddr>)> = self
            .contacts
            .iter()
            .filter(|(account, person)| person.is_linked() && !pending.contains(account))
            .filter(|(account, _)| self.active_group(ChatId(self.store.name("direct", account.as_bytes()))).is_none())
            .map(|(account, person)| (*account, person.homes()))
            .filter(|(_, homes)| !homes.is_empty())
            .collect();
        for (account, homes) in missing {
            let connect = Connect {
                whom: Whom::Account(account),
                homes,
                token: None,
                greeting: String::new(),
                alias: String::new(),
                list: None,
                claimed: Vec::new(),
                asked: false,
                gives_up_at: self.now + 86_400_000,
                reply: None,
            };
            self.connect(txn, connect)?;
        }
        Ok(())
    }

    /// Gives a group up that nobody can go on in, and makes another.
    pub(super) fn bury_group(&mut self, txn: &Txn<'_>, id: GroupId) -> Result<(), EngineError> {
        if let Some(entry) = self.groups.get_mut(&id)
            && !entry.row.dead
        {
            tracing::warn!("a conversation's log is lost: its group is made anew");
            entry.row.dead = true;
            entry.touch();
            self.regroup(txn)?;
        }
        Ok(())
    }
}

fn device_ids(list: &DeviceList) -> Vec<DeviceId> {
    let mut ids: Vec<DeviceId> = list.devices.iter().map(|d| d.certificate.device()).collect();
    ids.sort();
    ids
}
