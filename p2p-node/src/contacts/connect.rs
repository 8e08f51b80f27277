//! Becoming contacts: looking somebody up, claiming key packages, making the conversation; requests; newer device lists.

use bytes::Bytes;
use rand::RngExt;
use starling_keys::{AccountId, DeviceChain, DeviceEntry, DeviceId, DeviceList, InviteToken, RendezvousAddr};
use starling_wire::{
    Body,
    inbox::{InboxBody, Welcome},
    rendezvous::{Devices, RequestBody},
};

use super::Contacts;
use crate::account::Account;
use crate::api::error::{Invalid, NodeError, NotAllowed, NotFound, Unreachable};
use crate::{
    api::Reply,
    api::types::{ChatId, ContactState, Request},
    contacts::pending::ContactPending,
    contacts::{ChainNews, ChainRefused, Person},
    conversation::{GroupEntry, GroupState, group::GroupId, group_store},
    engine::Engine,
    home::Homes,
    limits::{MAX_CONTACTS, MAX_REQUESTS},
    mls::Mls,
    net::HomeId,
    store::{GroupRow, REQUESTS, Reading, RequestRow, prefix},
    turn::{EngineError, Fact, Turn},
};

/// How the account to connect with is known.
#[derive(Clone, Debug)]
pub enum ConnectTarget {
    Account(AccountId),
    Name(String),
}

/// An operation that makes somebody a contact.
pub struct Connect {
    pub whom: ConnectTarget,
    pub homes: Vec<RendezvousAddr>,
    pub token: Option<InviteToken>,
    pub greeting: String,
    pub alias: String,
    /// The user name that was looked up, if one was.
    pub called: String,
    pub list: Option<DeviceChain>,
    /// Key packages claimed so far, the number of answers outstanding, and the attempt that they belong to.
    pub packages: Vec<(DeviceId, Bytes)>,
    pub waiting: u32,
    pub attempt: u32,
    pub asked: bool,
    pub gives_up_at: u64,
    pub reply: Option<Reply<AccountId>>,
}

impl Connect {
    /// An operation without a token or a greeting, and without a caller to answer.
    pub fn to(whom: ConnectTarget, homes: Vec<RendezvousAddr>, gives_up_at: u64) -> Self {
        Self {
            whom,
            homes,
            token: None,
            greeting: String::new(),
            alias: String::new(),
            called: String::new(),
            list: None,
            packages: Vec::new(),
            waiting: 0,
            attempt: 0,
            asked: false,
            gives_up_at,
            reply: None,
        }
    }
}

impl Contacts {
    /// A rendezvous is connected: starts the operations that wait for it.
    pub(crate) fn connects_up(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, home: HomeId) {
        if homes.servers.get(&home).is_none_or(|h| h.hello.is_none()) {
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
                ConnectTarget::Account(account) => RequestBody::LookUp(Bytes::copy_from_slice(account.as_bytes())),
                ConnectTarget::Name(name) => RequestBody::LookUpName(name.clone()),
            };
            homes.request(turn, home, ask, ContactPending::DeviceList(id));
        }
    }

    pub(crate) fn connect_failed(&mut self, turn: &mut Turn<'_>, id: u64, error: NodeError) {
        if let Some(mut connect) = self.end(id) {
            turn.fact(Fact::ReachChanged);
            if let Some(reply) = connect.reply.take() {
                turn.reply(reply, Err(error));
            }
        }
    }

    pub(crate) fn on_newer_list(
        &mut self,
        turn: &mut Turn<'_>,
        own: &Account,
        account: AccountId,
        bytes: &[u8],
    ) -> Result<(), EngineError> {
        let Some(person) = self.people.get(&account) else {
            return Ok(());
        };
        let read = match &person.list {
            Some(known) => DeviceChain::read(bytes, known),
            None => DeviceChain::from_bytes(bytes),
        };
        let Ok(list) = read.inspect_err(|error| tracing::debug!(%error, "a device chain was not taken")) else {
            return Ok(());
        };
        if list.account != account || self.check_devices(own, &list).is_err() {
            return Ok(());
        }
        match self.take_chain(turn, account, list)? {
            Ok(ChainNews::Known) | Err(ChainRefused::Fork(_)) => {}
            // They have said so themselves, or know less than we do.
            Ok(_) | Err(ChainRefused::Past) => turn.fact(Fact::ContactSentChain(account)),
        }
        Ok(())
    }
}

impl Engine {
    /// Starts an operation that makes an account a contact.
    pub(crate) fn connect(&mut self, turn: &mut Turn<'_>, mut connect: Connect) -> Result<(), EngineError> {
        let refuse = |turn: &mut Turn<'_>, connect: &mut Connect, error| {
            if let Some(reply) = connect.reply.take() {
                turn.reply(reply, Err(error));
            }
        };
        if let ConnectTarget::Account(account) = connect.whom {
            if account == self.account.id() {
                refuse(turn, &mut connect, Invalid::OwnAddress.into());
                return Ok(());
            }
            let known = self.contacts.people.get(&account).map(Person::state);
            let has_group =
                self.conversations.direct_with(&account).is_some_and(|chat| self.active_group(chat).is_some());
            if known == Some(ContactState::Blocked) {
                refuse(turn, &mut connect, NotAllowed::Blocked { name: None }.into());
                return Ok(());
            }
            let asks_us = turn.get::<RequestRow>(REQUESTS, &self.store.name("request", account.as_bytes()))?.is_some();
            if asks_us {
                let accepted = self.accept(turn, account)?;
                if let Some(reply) = connect.reply.take() {
                    turn.reply(reply, accepted.map(|()| account));
                }
                return Ok(());
            }
            if matches!(known, Some(ContactState::Active | ContactState::Outgoing))
                && has_group
                && connect.reply.is_some()
            {
                if let Some(reply) = connect.reply.take() {
                    turn.reply(reply, Ok(account));
                }
                return Ok(());
            }
        }
        if self.contacts.people.len() >= MAX_CONTACTS {
            refuse(turn, &mut connect, NotAllowed::TooManyContacts { max: MAX_CONTACTS }.into());
            return Ok(());
        }
        if connect.homes.is_empty() {
            refuse(turn, &mut connect, Invalid::AddressWithoutRendezvous.into());
            return Ok(());
        }
        let id = turn.fresh_id();
        let homes: Vec<HomeId> = connect.homes.iter().map(|h| h.peer).collect();
        self.contacts.begin(id, connect);
        turn.fact(Fact::ReachChanged);
        for home in homes {
            self.contacts.connects_up(turn, &mut self.homes, home);
        }
        Ok(())
    }

    pub(crate) fn connect_list(&mut self, turn: &mut Turn<'_>, id: u64, bytes: &[u8]) -> Result<(), EngineError> {
        let now_s = turn.agreed_ms() / 1000;
        let Some(connect) = self.contacts.connects.get(&id) else {
            return Ok(());
        };
        let list = match DeviceChain::from_bytes(bytes) {
            Ok(list) => list,
            Err(error) => {
                let problem = error.to_string();
                self.contacts.connect_failed(turn, id, NotAllowed::FalseAnswer { problem }.into());
                return Ok(());
            }
        };
        if let ConnectTarget::Account(account) = connect.whom
            && account != list.account
        {
            self.contacts.connect_failed(turn, id, NotAllowed::ForeignDevices.into());
            return Ok(());
        }
        if list.account == self.account.id() {
            self.contacts.connect_failed(turn, id, Invalid::OwnAddress.into());
            return Ok(());
        }
        let counts = match self.contacts.people.get(&list.account).map(|person| person.check_chain(&list, now_s)) {
            None => list.clone(),
            Some(Ok(counts)) => counts,
            Some(Err(refused)) => {
                self.contacts.refused_chain(turn, list.account, &list, refused)?;
                let problem = refused.to_string();
                self.contacts.connect_failed(turn, id, NotAllowed::FalseAnswer { problem }.into());
                return Ok(());
            }
        };
        if counts.head() != list.head() {
            // What the server has is not all that counts.
            let _ = self.contacts.take_chain(turn, list.account, list)?;
        }
        let list = counts;
        let Some(connect) = self.contacts.connects.get_mut(&id) else { return Ok(()) };
        let home = connect.homes[0].peer;
        let mut theirs: Vec<DeviceId> = list.devices.iter().map(|d| d.id).collect();
        if let ConnectTarget::Name(name) = &connect.whom {
            connect.called.clone_from(name);
        }
        connect.whom = ConnectTarget::Account(list.account);
        connect.list = Some(list);
        connect.packages.clear();
        connect.attempt += 1;
        let attempt = connect.attempt;
        let mut ours: Vec<DeviceId> = self.account.other_devices().iter().map(|d| d.id).collect();
        let up = |h: &&RendezvousAddr| self.homes.servers.get(&h.peer).is_some_and(|h| h.hello.is_some());
        let own_home = self.account.identity.homes.iter().find(up).map(|h| h.peer);
        if self.account.identity.homes.iter().any(|h| h.peer == home) {
            theirs.append(&mut ours);
        }
        let mut claims = vec![(home, theirs)];
        claims.extend(own_home.filter(|_| !ours.is_empty()).map(|home| (home, ours)));
        if let Some(connect) = self.contacts.connects.get_mut(&id) {
            connect.waiting = claims.len() as u32;
        }
        for (home, claimed) in claims {
            let devices = claimed.iter().map(|d| Bytes::copy_from_slice(d.as_bytes())).collect();
            let asked = ContactPending::KeyPackages(id, attempt, claimed);
            self.homes.request(turn, home, RequestBody::ClaimKeyPackages(Devices { devices }), asked);
        }
        Ok(())
    }

    pub(crate) fn are_ours(&self, devices: &[DeviceId]) -> bool {
        devices.iter().all(|d| self.account.has_other(d))
    }

    /// Takes the key packages of some devices. Once those of all devices are there, creates the group and the inbox items with its welcome.
    pub(crate) fn connect_packages(
        &mut self,
        turn: &mut Turn<'_>,
        id: u64,
        attempt: u32,
        devices: &[DeviceId],
        packages: Vec<Bytes>,
    ) -> Result<(), EngineError> {
        let Some(connect) = self.contacts.connects.get_mut(&id).filter(|c| c.attempt == attempt) else {
            return Ok(());
        };
        let fits = |(package, device): (Bytes, &DeviceId)| {
            (Mls::device_of(&package) == Some(*device)).then_some((*device, package))
        };
        connect.packages.extend(packages.into_iter().zip(devices).filter_map(fits));
        connect.waiting = connect.waiting.saturating_sub(1);
        if connect.waiting > 0 {
            return Ok(());
        }
        let Some(mut connect) = self.contacts.end(id) else {
            return Ok(());
        };
        turn.fact(Fact::ReachChanged);
        let (Some(list), Some(own_list)) = (connect.list.take(), self.account.identity.list.clone()) else {
            return Ok(());
        };
        let account = list.account;
        let (members, usable): (Vec<DeviceId>, Vec<Bytes>) = std::mem::take(&mut connect.packages).into_iter().unzip();
        let group: GroupId = turn.rng().random();
        let nobody = !members.iter().any(|d| list.device(d).is_some());
        let made = if nobody { None } else { self.mls.create(&group, &usable, turn.agreed_ms()).ok() };
        let Some((live, welcome)) = made else {
            if let Some(reply) = connect.reply.take() {
                turn.reply(reply, Err(Unreachable::KeyPackages.into()));
            }
            return Ok(());
        };
        // The key packages show of which account each device is.
        live.members().iter().for_each(|member| self.contacts.owners.note_joined(&member.into()));
        if let Err(error) = self.contacts.check_devices(&self.account, &list) {
            if let Some(reply) = connect.reply.take() {
                turn.reply(reply, Err(NotAllowed::FalseAnswer { problem: error.to_string() }.into()));
            }
            return Ok(());
        }
        let chat = self.chat_with(turn, account);
        let home =
            self.account.identity.homes.first().or(connect.homes.first()).map(ToString::to_string).unwrap_or_default();
        let row = GroupRow {
            chat: chat.0.to_vec(),
            home: home.clone(),
            ours: !self.account.identity.homes.is_empty(),
            updated_ms: turn.wall(),
            ..GroupRow::default()
        };
        let entry = GroupEntry::new(group, live, row)?;
        self.add_group(turn, chat, entry)?;

        let theirs = list.devices.clone();
        self.contact_connected(turn, &connect, list)?;
        let body = InboxBody {
            device_list: Bytes::copy_from_slice(own_list.as_bytes()),
            device: Bytes::copy_from_slice(self.account.device().as_bytes()),
            name: self.account.identity.row.name.clone(),
            greeting: connect.greeting.clone(),
            token: connect.token.as_ref().map(|t| Bytes::copy_from_slice(&t.proof().0)).unwrap_or_default(),
            welcome: Some(Welcome {
                group: Bytes::copy_from_slice(&group),
                message: welcome.into(),
                home,
                replaces: self.conversations.given_up(chat),
            }),
            bot: self.account.identity.row.bot,
            labels: self.labels_of(&self.account.id()),
            ..InboxBody::default()
        };
        let to = connect.homes.first().map(ToString::to_string).unwrap_or_default();
        self.send_welcomes(turn, group, body, &members, (account, &theirs), &to)?;
        self.read_logs(turn, group);
        let profile = Body::Profile(self.account.profile());
        self.announce(turn, chat, profile);
        if let Some(reply) = connect.reply.take() {
            turn.reply(reply, Ok(account));
        }
        Ok(())
    }

    /// Stores the account that a group was created with as a contact, with its devices.
    fn contact_connected(
        &mut self,
        turn: &mut Turn<'_>,
        connect: &Connect,
        list: DeviceChain,
    ) -> Result<(), EngineError> {
        let account = list.account;
        let known = self.contacts.people.contains_key(&account);
        let (now, said_ms) = (turn.wall(), turn.agreed_ms());
        let person = self.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
        if !known {
            // The name until their profile arrives.
            let short = || account.to_string()[..8].to_owned();
            person.row.name = Some(connect.called.clone()).filter(|name| !name.is_empty()).unwrap_or_else(short);
            person.row.found_as.clone_from(&connect.called);
        }
        if !known || person.state() == ContactState::Removed {
            person.row.state = ContactState::Outgoing.stored();
            person.row.said_ms = said_ms;
        }
        if !connect.alias.is_empty() {
            person.row.alias.clone_from(&connect.alias);
        }
        person.dirty = true;
        // Checked at the lookup; a newer chain may have arrived since.
        let _ = self.contacts.take_chain(turn, account, list)?;
        turn.fact(Fact::ContactsChanged);
        // This also accepts a request of theirs.
        turn.delete(REQUESTS, &self.store.name("request", account.as_bytes()))?;
        Ok(())
    }

    /// Queues the welcome of a new group for the inboxes of a contact's devices, and for those of our own other devices.
    fn send_welcomes(
        &mut self,
        turn: &mut Turn<'_>,
        group: GroupId,
        body: InboxBody,
        members: &[DeviceId],
        (account, theirs): (AccountId, &[DeviceEntry]),
        to: &str,
    ) -> Result<(), EngineError> {
        for device in theirs.iter().filter(|d| members.contains(&d.id)) {
            self.leave_parcel(turn, device, group, &body, account, to)?;
        }
        let own =
            InboxBody { known: Some(self.known(turn, account)), token: Bytes::new(), greeting: String::new(), ..body };
        let (me, our_home) = (self.account.id(), self.account.identity.homes.first().map(ToString::to_string));
        if let Some(home) = our_home {
            for device in self.account.other_devices() {
                let member = members.contains(&device.id);
                let own = InboxBody { welcome: own.welcome.clone().filter(|_| member), ..own.clone() };
                self.leave_parcel(turn, &device, group, &own, me, &home)?;
            }
        }
        Ok(())
    }

    pub(crate) fn add_group(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        group: (GroupEntry, GroupState),
    ) -> Result<(), EngineError> {
        let entry = &group.0;
        let id = entry.id;
        tracing::debug!(
            group = id[0],
            members = entry.members.len(),
            confirmed = entry.row.confirmed,
            ours = entry.row.ours,
            "a conversation has another group"
        );
        self.conversations.insert_group(group);
        let Some(state) = self.conversations.chats.get_mut(&chat) else {
            return Ok(());
        };
        state.row.groups.push(id.to_vec());
        state.dirty = true;
        for old in self.conversations.surplus_groups(self.directory(), chat) {
            group_store::delete(turn, &old)?;
            self.conversations.remove_group(&self.mls, &old);
            if let Some(state) = self.conversations.chats.get_mut(&chat) {
                state.row.groups.retain(|g| g[..] != old);
            }
        }
        self.conversations.regroup.look = true;
        self.renew_outbox(turn, chat)
    }

    /// Accepts a contact request.
    pub(crate) fn accept(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let key = self.store.name("request", account.as_bytes());
        let Some(row) = turn.get::<RequestRow>(REQUESTS, &key)? else {
            return Ok(Err(NotFound::Request.into()));
        };
        let body = InboxBody::from_bytes(&row.body).unwrap_or_default();
        // Checked when the request arrived.
        let Ok(list) = DeviceChain::from_stored(&body.device_list) else {
            return Ok(Err(NotFound::ReadableRequest.into()));
        };
        Ok(self.join(turn, &body, list, false)?.map_err(|why| NotAllowed::Request { problem: why.to_string() }.into()))
    }

    pub(crate) fn requests(&self, turn: &Turn<'_>) -> Result<Vec<Request>, EngineError> {
        let rows = turn.range::<RequestRow>(REQUESTS, prefix(b""), MAX_REQUESTS, false)?;
        let mut requests: Vec<Request> = rows
            .iter()
            .filter_map(|(_, row)| {
                let body = InboxBody::from_bytes(&row.body).ok()?;
                let list = DeviceChain::from_stored(&body.device_list).ok()?;
                Some(Request { account: list.account, name: body.name, greeting: body.greeting, at_ms: row.at_ms })
            })
            .collect();
        requests.sort_by_key(|r| r.at_ms);
        Ok(requests)
    }

    /// Ends the operations that have waited too long for a rendezvous.
    pub(crate) fn expire_operations(&mut self, turn: &mut Turn<'_>) {
        for id in self.contacts.give_up.take_due(turn.now()) {
            let problem = self
                .contacts
                .connects
                .get(&id)
                .and_then(|c| c.homes.first())
                .and_then(|h| self.homes.servers.get(&h.peer))
                .and_then(|h| h.problem.clone())
                .unwrap_or_else(|| "it does not answer".into());
            self.contacts.connect_failed(turn, id, Unreachable::TheirHome { problem }.into());
        }
        self.account.expire_codes(turn, &mut self.homes);
    }
}

pub(crate) fn device_ids(list: &DeviceList) -> Vec<DeviceId> {
    let mut ids: Vec<DeviceId> = list.devices.iter().map(|d| d.id).collect();
    ids.sort();
    ids
}
