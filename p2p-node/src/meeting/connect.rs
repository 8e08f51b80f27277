//! Looking somebody up, claiming key packages, and making the conversation.

use bytes::Bytes;
use rand::RngExt;
use starling_keys::{AccountId, DeviceChain, DeviceEntry, DeviceId, RendezvousAddr, chain::Summary};
use starling_wire::{
    Body,
    inbox::{InboxBody, Welcome},
    limits::is_username,
    rendezvous::{Devices, RequestBody},
};

use super::Meeting;
use crate::{
    api::{
        error::{Invalid, NodeError, NotAllowed, Unreachable},
        problem::FalseAnswer,
        types::ContactState,
    },
    contacts::{
        Person,
        connect::{Connect, ConnectTarget},
        pending::ContactPending,
    },
    conversation::{GroupEntry, group::GroupId},
    limits::MAX_CONTACTS,
    mls::Mls,
    net::HomeId,
    store::{GroupRow, REQUESTS, Reading, RequestRow},
    turn::{EngineError, Fact, Turn},
};

impl Meeting<'_> {
    /// Starts an operation that makes an account a contact.
    pub(crate) fn connect(&mut self, turn: &mut Turn<'_>, connect: Connect) -> Result<(), EngineError> {
        if let Some(answer) = self.answer_at_once(turn, &connect)? {
            if let Some(reply) = connect.reply {
                turn.reply(reply, answer);
            }
            return Ok(());
        }
        self.look_up(turn, connect);
        Ok(())
    }

    /// Starts an operation that has to look somebody up.
    pub(crate) fn look_up(&mut self, turn: &mut Turn<'_>, connect: Connect) {
        let id = turn.fresh_id();
        tracing::debug!(id, homes = connect.homes.len(), "an account is looked up");
        let homes: Vec<HomeId> = connect.homes.iter().map(|h| h.peer).collect();
        if connect.reply.is_some() {
            self.cx.homes.visits.hurry(&connect.subject());
        }
        self.cx.contacts.begin(id, connect);
        turn.fact(Fact::ReachChanged);
        for home in homes {
            self.cx.contacts.connects_up(turn, self.cx.homes, home);
        }
    }

    /// The answer to who wants to connect with somebody, if nobody has to be looked up, or can be.
    fn answer_at_once(
        &mut self,
        turn: &mut Turn<'_>,
        connect: &Connect,
    ) -> Result<Option<Result<AccountId, NodeError>>, EngineError> {
        if let ConnectTarget::Account(account) = connect.whom
            && let Some(answer) = self.answer_of_account(turn, account, connect.reply.is_some())?
        {
            return Ok(Some(answer));
        }
        let refused: Option<NodeError> = match &connect.whom {
            ConnectTarget::Name(given) if !is_username(given) => {
                Some(Invalid::Username { given: given.clone() }.into())
            }
            _ if self.cx.contacts.people.len() >= MAX_CONTACTS => {
                Some(NotAllowed::TooManyContacts { max: MAX_CONTACTS }.into())
            }
            _ if connect.homes.is_empty() => Some(Invalid::AddressWithoutRendezvous.into()),
            _ => None,
        };
        Ok(refused.map(Err))
    }

    /// The same for an account of which something is known: it is our own, blocked, has asked us, or is a contact, if a caller waits for that.
    fn answer_of_account(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        has_caller: bool,
    ) -> Result<Option<Result<AccountId, NodeError>>, EngineError> {
        if account == self.cx.account.id() {
            return Ok(Some(Err(Invalid::OwnAddress.into())));
        }
        let known = self.cx.contacts.people.get(&account).map(Person::state);
        if known == Some(ContactState::Blocked) {
            return Ok(Some(Err(NotAllowed::Blocked { name: None }.into())));
        }
        let request = self.cx.store.name("request", account.as_bytes());
        if turn.get::<RequestRow>(REQUESTS, &request)?.is_some() {
            let accepted = self.accept(turn, account)?;
            return Ok(Some(accepted.map(|()| account)));
        }
        let chat = self.cx.conversations.chats.direct_with(&account);
        let has_group = chat.is_some_and(|chat| self.cx.active_group(chat).is_some());
        let is_contact = matches!(known, Some(ContactState::Active | ContactState::Outgoing)) && has_group;
        Ok((is_contact && has_caller).then_some(Ok(account)))
    }

    /// A server has answered a lookup with a device chain.
    pub(crate) fn connect_list(&mut self, turn: &mut Turn<'_>, id: u64, bytes: &[u8]) -> Result<(), EngineError> {
        let Some(connect) = self.cx.contacts.connects.get(&id) else {
            return Ok(());
        };
        if connect.of_member {
            self.member_looked_up(turn, id, bytes);
            return Ok(());
        }
        let list = match DeviceChain::from_bytes(bytes) {
            Ok(list) => list,
            Err(error) => {
                let answer = FalseAnswer::NoChain(error);
                self.cx.contacts.connect_failed(turn, id, NotAllowed::FalseAnswer(answer).into());
                return Ok(());
            }
        };
        if let ConnectTarget::Account(account) = connect.whom
            && account != list.account
        {
            self.cx.contacts.connect_failed(turn, id, NotAllowed::ForeignDevices.into());
            return Ok(());
        }
        if list.account == self.cx.account.id() {
            self.cx.contacts.connect_failed(turn, id, Invalid::OwnAddress.into());
            return Ok(());
        }
        match self.chain_that_counts(turn, list)? {
            Ok(list) => self.meet_devices(turn, id, list),
            Err(error) => {
                self.cx.contacts.connect_failed(turn, id, error);
                Ok(())
            }
        }
    }

    /// A server has the chain of a member of a group: what is new in it counts as if the account had said it there.
    fn member_looked_up(&mut self, turn: &mut Turn<'_>, id: u64, bytes: &[u8]) {
        let Some(connect) = self.cx.contacts.end(id) else { return };
        turn.fact(Fact::ReachChanged);
        let ConnectTarget::Account(account) = connect.whom else { return };
        let is_known = self.cx.directory().list_of(&account).is_some_and(|known| known.as_bytes() == bytes);
        if !is_known && Summary::of(bytes).is_ok_and(|summary| summary.account == account) {
            turn.fact(Fact::MemberChain { account, chain: bytes.to_vec() });
        }
    }

    /// Compares the chain that a server has for an account with the one that is known; returns the one that counts.
    fn chain_that_counts(
        &mut self,
        turn: &mut Turn<'_>,
        list: DeviceChain,
    ) -> Result<Result<DeviceChain, NodeError>, EngineError> {
        let now_s = turn.agreed_ms() / 1000;
        let counts = match self.cx.contacts.people.get(&list.account).map(|person| person.check_chain(&list, now_s)) {
            None => list.clone(),
            Some(Ok(counts)) => counts,
            Some(Err(refused)) => {
                self.cx.contacts.refused_chain(turn, list.account, &list, refused)?;
                return Ok(Err(NotAllowed::FalseAnswer(FalseAnswer::Devices).into()));
            }
        };
        if counts.head() != list.head() {
            // What the server has is not all that counts.
            let _ = self.cx.contacts.take_chain(turn, list.account, list)?;
        }
        Ok(Ok(counts))
    }

    /// Enters the group that other devices of ours have with them, or makes one.
    fn meet_devices(&mut self, turn: &mut Turn<'_>, id: u64, list: DeviceChain) -> Result<(), EngineError> {
        let chat = self.cx.conversations.chats.direct_with(&list.account);
        let Some(chat) = chat.filter(|chat| self.cx.conversations.chats.may_enter(*chat)) else {
            self.claim_packages(turn, id, list);
            return Ok(());
        };
        let _ = self.cx.contacts.take_chain(turn, list.account, list)?;
        self.cx.contacts.end(id);
        turn.fact(Fact::ReachChanged);
        let (conversations, mut cx) = self.cx.conversing();
        conversations.enter(turn, &mut cx, chat)
    }

    /// Claims key packages of the contact's devices and of our other devices, for a group of all of them.
    fn claim_packages(&mut self, turn: &mut Turn<'_>, id: u64, list: DeviceChain) {
        let Some(connect) = self.cx.contacts.connects.get_mut(&id) else { return };
        let home = connect.homes[0].peer;
        let mut theirs: Vec<DeviceId> = list.devices.iter().map(|d| d.id).collect();
        if let ConnectTarget::Name(name) = &connect.whom {
            self.cx.homes.visits.leads_to(&home, name, list.account);
            connect.called.clone_from(name);
        }
        connect.whom = ConnectTarget::Account(list.account);
        connect.list = Some(list);
        connect.packages.clear();
        connect.attempt += 1;
        let attempt = connect.attempt;
        let mut ours: Vec<DeviceId> = self.cx.account.other_devices().iter().map(|d| d.id).collect();
        let own_homes = &self.cx.account.identity.homes;
        let own_home = own_homes.iter().find(|h| self.cx.homes.answers(&h.peer)).map(|h| h.peer);
        if self.cx.account.identity.homes.iter().any(|h| h.peer == home) {
            theirs.append(&mut ours);
        }
        let mut claims = vec![(home, theirs)];
        claims.extend(own_home.filter(|_| !ours.is_empty()).map(|home| (home, ours)));
        if let Some(connect) = self.cx.contacts.connects.get_mut(&id) {
            connect.waiting = claims.len() as u32;
        }
        for (home, claimed) in claims {
            let devices = claimed.iter().map(|d| Bytes::copy_from_slice(d.as_bytes())).collect();
            let asked = ContactPending::KeyPackages(id, attempt, claimed);
            self.cx.homes.request(turn, home, RequestBody::ClaimKeyPackages(Devices { devices }), asked);
        }
    }

    /// Whether all of these are other devices of our account.
    pub(crate) fn are_ours(&self, devices: &[DeviceId]) -> bool {
        devices.iter().all(|d| self.cx.account.has_other(d))
    }

    /// Takes the key packages of some devices. Once all claims are answered, makes the group.
    pub(crate) fn connect_packages(
        &mut self,
        turn: &mut Turn<'_>,
        id: u64,
        attempt: u32,
        devices: &[DeviceId],
        packages: Vec<Bytes>,
    ) -> Result<(), EngineError> {
        let Some(connect) = self.cx.contacts.connects.get_mut(&id).filter(|c| c.attempt == attempt) else {
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
        tracing::debug!(packages = connect.packages.len(), attempt, "key packages were claimed");
        let of_theirs = |device: &DeviceId| connect.list.as_ref().is_some_and(|list| list.device(device).is_some());
        // A device of ours may have been removed since it was asked for.
        connect.packages.retain(|(device, _)| of_theirs(device) || self.cx.account.has_other(device));
        let (home, nobody) = (connect.homes[0].peer, !connect.packages.iter().any(|(device, _)| of_theirs(device)));
        if nobody && self.cx.contacts.ask_another(turn, self.cx.homes, id, home) {
            return Ok(());
        }
        let Some(mut connect) = self.cx.contacts.end(id) else {
            return Ok(());
        };
        turn.fact(Fact::ReachChanged);
        let (Some(list), Some(_)) = (connect.list.take(), &self.cx.account.identity.list) else {
            return Ok(());
        };
        let of_chat = self.cx.conversations.chats.direct_with(&list.account);
        if connect.moves && !of_chat.is_some_and(|chat| self.cx.conversations.regroup.stranded.is_moving(chat)) {
            // The lost home is back.
            return Ok(());
        }
        let reply = connect.reply.take();
        let made = self.make_group(turn, connect, list)?;
        if let Some(reply) = reply {
            turn.reply(reply, made);
        }
        Ok(())
    }

    /// Makes a group of the devices whose key packages were claimed, and the inbox items with its welcome. Returns the account of the contact.
    fn make_group(
        &mut self,
        turn: &mut Turn<'_>,
        mut connect: Connect,
        list: DeviceChain,
    ) -> Result<Result<AccountId, NodeError>, EngineError> {
        let account = list.account;
        let (members, usable): (Vec<DeviceId>, Vec<Bytes>) = std::mem::take(&mut connect.packages).into_iter().unzip();
        let group: GroupId = turn.rng().random();
        let nobody = !members.iter().any(|d| list.device(d).is_some());
        let made = if nobody { None } else { self.cx.mls.create(&group, &usable, turn.agreed_ms()).ok() };
        let Some((live, welcome)) = made else { return Ok(Err(Unreachable::KeyPackages.into())) };
        // The key packages show of which account each device is.
        live.members().iter().for_each(|member| self.cx.contacts.owners.note_joined(&member.into()));
        if self.cx.contacts.check_devices(self.cx.account, &list).is_err() {
            return Ok(Err(NotAllowed::FalseAnswer(FalseAnswer::Devices).into()));
        }
        let chat = self.cx.chat_with(turn, account);
        let own_homes = &self.cx.account.identity.homes;
        // One that works, if there is one: it takes logs of accounts that it has registered.
        let answers = |home: &&RendezvousAddr| self.cx.homes.answers(&home.peer);
        let takes_logs = |home: &&RendezvousAddr| answers(home) && self.cx.homes.is_registered(&home.peer);
        let own_home =
            own_homes.iter().find(takes_logs).or_else(|| own_homes.iter().find(answers)).or(own_homes.first());
        let row = GroupRow {
            chat: chat.0.to_vec(),
            home: own_home.or(connect.homes.first()).map(ToString::to_string).unwrap_or_default(),
            ours: !own_homes.is_empty(),
            updated_ms: turn.wall(),
            ..GroupRow::default()
        };
        let home = row.home.clone();
        let replaced = self.cx.conversations.replaced_by(self.cx.directory(), chat);
        self.cx.conversations.note_replaced(self.cx.homes, chat, &replaced);
        self.add_group(turn, chat, GroupEntry::new(group, live, row)?)?;

        let theirs = list.devices.clone();
        self.contact_connected(turn, &connect, list)?;
        let welcome = Welcome {
            group: Bytes::copy_from_slice(&group),
            message: welcome.into(),
            home,
            replaces: replaced.iter().map(|id| Bytes::copy_from_slice(id)).collect(),
        };
        let to = connect.homes.first().map(ToString::to_string).unwrap_or_default();
        let body = self.welcome_body(&connect, welcome);
        self.send_welcomes(turn, group, body, &members, (account, &theirs), &to)?;
        self.cx.read_logs(turn, group);
        let profile = Body::Profile(self.cx.account.profile());
        self.cx.announce(turn, chat, profile);
        Ok(Ok(account))
    }

    /// The inbox item with a group's welcome.
    fn welcome_body(&self, connect: &Connect, welcome: Welcome) -> InboxBody {
        let identity = &self.cx.account.identity;
        InboxBody {
            device_list: identity.list.as_ref().map(|l| Bytes::copy_from_slice(l.as_bytes())).unwrap_or_default(),
            device: Bytes::copy_from_slice(self.cx.account.device().as_bytes()),
            name: identity.row.name.clone(),
            greeting: connect.greeting.clone(),
            token: connect.token.as_ref().map(|t| Bytes::copy_from_slice(&t.proof().0)).unwrap_or_default(),
            welcome: Some(welcome),
            bot: identity.row.bot,
            labels: self.cx.labels_of(&self.cx.account.id()),
            ..InboxBody::default()
        }
    }

    /// Stores the account that a group was created with as a contact, with its devices.
    fn contact_connected(
        &mut self,
        turn: &mut Turn<'_>,
        connect: &Connect,
        list: DeviceChain,
    ) -> Result<(), EngineError> {
        let account = list.account;
        let known = self.cx.contacts.people.contains_key(&account);
        let (now, said_ms) = (turn.wall(), turn.agreed_ms());
        let person = self.cx.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
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
        let _ = self.cx.contacts.take_chain(turn, account, list)?;
        turn.fact(Fact::ContactsChanged);
        // This also accepts a request of theirs.
        turn.delete(REQUESTS, &self.cx.store.name("request", account.as_bytes()))?;
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
            self.cx.leave_item(turn, device, group, &body, account, to)?;
        }
        let own = InboxBody {
            known: Some(self.sync().known(turn, account)),
            token: Bytes::new(),
            greeting: String::new(),
            ..body
        };
        let me = self.cx.account.id();
        if let Some(home) = self.cx.homes.best_of(&self.cx.account.identity.homes).map(ToString::to_string) {
            for device in self.cx.account.other_devices() {
                let member = members.contains(&device.id);
                let own = InboxBody { welcome: own.welcome.clone().filter(|_| member), ..own.clone() };
                self.cx.leave_item(turn, &device, group, &own, me, &home)?;
            }
        }
        Ok(())
    }
}
