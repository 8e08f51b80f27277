//! Several devices of one account: the list that they are on, and what they tell one another.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use libp2p::Multiaddr;
use starling_keys::{
    AccountId, DeviceChain, DeviceEntry, DeviceId,
    chain::{ChainError, Held, Relation, Rights, SignWith, Summary, recovery_hash},
};
use starling_wire::{
    DeviceLabel,
    inbox::{InboxBody, Known},
    rendezvous::RequestBody,
};

use super::Account;
use crate::api::error::{NodeError, NotAllowed, NotFound, Unreachable};
use crate::{
    account::pending::AccountPending,
    api::{
        Reply,
        types::{ContactState, Device, DurableEventKind, TransientEvent},
    },
    contacts::Person,
    engine::Engine,
    home::Homes,
    limits::{MAX_CONTACTS, MAX_REMOVED, MAX_SHOWN_CHAINS, REACH_TIMEOUT_MS},
    net::LanKey,
    store::{ContactRow, DeviceChangesRow, HomesRow, META, REQUESTS, Reading, RemovedRow, RequestRow},
    turn::{EngineError, Fact, Turn},
};

/// What is known of our account's devices.
#[derive(Default)]
pub struct OwnDevices {
    /// Where the others were last reachable.
    pub addresses: HashMap<DeviceId, Vec<Multiaddr>>,
    /// What their names on a LAN follow from.
    pub lan_keys: HashMap<DeviceId, LanKey>,
    /// What others have to learn of our devices and homes.
    pub changes: DeviceChangesRow,
    pub dirty: bool,
    /// Those of which the user was warned, since the start, that they are there twice.
    pub copied: HashSet<DeviceId>,
    /// Who waits for a home to take the list without a device.
    waiting: Vec<DeviceChange>,
    /// Chains of our account that contacts have shown, until a home was asked.
    shown: Vec<ShownChain>,
}

/// A chain of our account with entries that are not known here.
pub struct ShownChain {
    /// Who has shown it.
    pub by: AccountId,
    /// The chain; its signatures are right.
    pub chain: DeviceChain,
    /// What its devices are called, by their word.
    pub labels: Vec<DeviceLabel>,
}

/// Somebody waits for a change of a device that a home has taken.
struct DeviceChange {
    device: DeviceId,
    gives_up_at: u64,
    reply: Reply<()>,
}

impl OwnDevices {
    pub fn stored(changes: DeviceChangesRow) -> Self {
        Self { changes, ..Self::default() }
    }

    /// What others have to learn, to be changed.
    pub fn changes(&mut self) -> &mut DeviceChangesRow {
        self.dirty = true;
        &mut self.changes
    }

    /// A device was removed here: others have to learn it.
    pub(super) fn note_removed(&mut self, device: DeviceId) {
        let changes = self.changes();
        if changes.removed.len() >= MAX_REMOVED
            && let Some(oldest) = changes.removed.iter().position(|r| r.published)
        {
            changes.removed.remove(oldest);
        }
        changes.removed.push(RemovedRow { device: device.as_bytes().to_vec(), published: false });
    }

    /// Somebody waits for a home to take our chain as it is now, others are to have it then.
    pub(super) fn wait_for_home(&mut self, turn: &Turn<'_>, device: DeviceId, reply: Reply<()>) {
        self.changes().list_owed = true;
        self.waiting.push(DeviceChange { device, gives_up_at: turn.now() + REACH_TIMEOUT_MS, reply });
    }

    /// Takes a chain that a contact has shown, until [`OwnDevices::shown`] gives it; `false` if it waits already, or too many do.
    pub fn take_shown(&mut self, shown: ShownChain) -> bool {
        let waits = self.shown.iter().any(|other| other.chain.head() == shown.chain.head());
        let takes = !waits && self.shown.len() < MAX_SHOWN_CHAINS;
        if takes {
            self.shown.push(shown);
        }
        takes
    }

    pub fn has_shown(&self) -> bool {
        !self.shown.is_empty()
    }

    /// The chains that contacts have shown, taken out.
    pub fn shown(&mut self) -> Vec<ShownChain> {
        std::mem::take(&mut self.shown)
    }

    pub fn next_due(&self) -> Option<u64> {
        self.waiting.iter().map(|r| r.gives_up_at).min()
    }
}

impl Account {
    /// The account's other devices.
    pub(crate) fn other_devices(&self) -> Vec<DeviceEntry> {
        let me = self.device();
        let all = self.identity.list.iter().flat_map(|l| &l.devices);
        all.filter(|d| d.id != me).cloned().collect()
    }

    /// The chain with this device in it, signed with the root that a new profile has from its phrase: a restored device takes the place of those
    /// before it, as the phrase is for when they are lost. What version 0.1 had becomes the beginning of a chain.
    pub(super) fn begin_chain(&mut self, turn: &mut Turn<'_>, known: Option<&DeviceChain>) -> Result<(), NodeError> {
        let Some(root) = &self.identity.root else { return Err(NotAllowed::NotAdmin.into()) };
        let now = turn.agreed_ms() / 1000;
        let identity = &self.identity;
        let (joining, homes) = (identity.joining(), &identity.homes);
        let recovery = recovery_hash(&identity.row.recovery_public);
        let adopted = known.into_iter().chain(&identity.list).filter(|l| l.is_empty()).max_by_key(|l| l.version);
        let adopt = |list: &DeviceChain| {
            let devices = list.devices.iter().map(|d| (d.id, d.seal_key.clone())).collect();
            DeviceChain::adopt(root, now, recovery, devices, homes)
        };
        // A profile of version 0.1 that was linked, and was not online since, joins; one that was restored replaces the others.
        let with_us = |chain: DeviceChain| match identity.row.joins {
            true => chain.add(&SignWith::Root(root), now, &joining, Rights::Admin),
            false => chain.recover(root, now, &joining),
        };
        let made = match (known.filter(|known| !known.is_empty()), adopted) {
            (Some(known), _) => with_us(known.clone()),
            (None, Some(list)) if list.device(&joining.device).is_some() => adopt(list),
            (None, Some(list)) => adopt(list).and_then(with_us),
            (None, None) => DeviceChain::restart(root, now, recovery, &joining),
        };
        let with_homes = |chain: DeviceChain| match chain.homes == *homes {
            true => Ok(chain),
            false => chain.set_homes(&SignWith::Root(root), now, homes),
        };
        let chain = made.and_then(with_homes).map_err(NotAllowed::Chain)?;
        self.identity.row.joins = false;
        self.set_chain(turn, chain, 0);
        Ok(())
    }

    /// Changes the chain, as an admin.
    ///
    /// # Errors
    /// If there is none yet, this device may not, or the change makes no sense.
    pub(super) fn change_chain(
        &mut self,
        turn: &mut Turn<'_>,
        change: impl FnOnce(&DeviceChain, &SignWith<'_>, u64) -> Result<DeviceChain, ChainError>,
    ) -> Result<(), NodeError> {
        let Some(list) = self.identity.list.as_ref().filter(|list| !list.is_empty()) else {
            return Err(Unreachable::DeviceList.into());
        };
        let (key, now) = (SignWith::Device(&self.identity.device_key), turn.agreed_ms() / 1000);
        let chain = change(list, &key, now).map_err(NotAllowed::Chain)?;
        // Held is what a home has: until then another device's change may come first.
        self.set_chain_held(turn, chain, &self.identity.held());
        Ok(())
    }

    /// Takes a chain of which the first `common` entries were known.
    pub(super) fn set_chain(&mut self, turn: &mut Turn<'_>, chain: DeviceChain, common: u32) {
        let mut held = self.identity.held();
        held.note(common, chain.len(), turn.agreed_ms() / 1000);
        self.set_chain_held(turn, chain, &held);
    }

    /// A home has our chain as it is.
    fn note_held(&mut self, turn: &Turn<'_>) {
        let Some(length) = self.list().map(DeviceChain::len) else { return };
        let mut held = self.identity.held();
        held.note(length, length, turn.agreed_ms() / 1000);
        self.identity.set_held(&held);
    }

    fn set_chain_held(&mut self, turn: &mut Turn<'_>, chain: DeviceChain, held: &Held) {
        if self.identity.set_list(chain, held) {
            turn.fact(Fact::Certified);
        }
        turn.fact(Fact::DevicesChanged(self.id()));
    }

    /// Whether a chain of our account says something that is not known here.
    pub(crate) fn is_newer(&self, list: &DeviceChain) -> bool {
        let known = self.list().filter(|known| !known.is_empty());
        known.is_none_or(|known| matches!(known.relation(list), Relation::Extends | Relation::Rival(_)))
    }

    /// Takes a device off the account's list. Conversations get groups without it. It is done when a home has taken the new list; what was
    /// begun is gone on with even after a restart.
    pub(crate) fn remove_device(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, device: DeviceId, reply: Reply<()>) {
        let removed = self
            .check_may_remove(homes, device)
            .and_then(|()| self.change_chain(turn, |chain, key, now| chain.remove(key, now, device)));
        if let Err(error) = removed {
            return turn.reply(reply, Err(error));
        }
        turn.fact(Fact::OwnDeviceRemoved(device));
        self.own_devices.note_removed(device);
        self.await_publishing(turn, homes, device, reply);
    }

    /// Gives a device other rights. It is done when a home has taken the new list.
    pub(super) fn set_rights(
        &mut self,
        turn: &mut Turn<'_>,
        homes: &mut Homes,
        device: DeviceId,
        rights: Rights,
        reply: Reply<()>,
    ) {
        let changed = self
            .check_may_change(homes, device)
            .and_then(|()| self.change_chain(turn, |chain, key, now| chain.set_rights(key, now, device, rights)));
        if let Err(error) = changed {
            return turn.reply(reply, Err(error));
        }
        self.await_publishing(turn, homes, device, reply);
    }

    fn await_publishing(&mut self, turn: &mut Turn<'_>, homes: &mut Homes, device: DeviceId, reply: Reply<()>) {
        self.own_devices.wait_for_home(turn, device, reply);
        self.publish_at_homes(turn, homes);
    }

    /// Whether this device may change the account's devices; also while there is no chain yet.
    pub(super) fn is_admin(&self) -> bool {
        let list = self.identity.list.as_ref().filter(|list| !list.is_empty());
        let own = list.and_then(|list| list.device(&self.device()));
        own.is_none_or(|own| own.rights == Rights::Admin)
    }

    /// Whether a device can be removed now.
    fn check_may_remove(&self, homes: &mut Homes, device: DeviceId) -> Result<(), NodeError> {
        self.check_may_change(homes, device)?;
        if device == self.device() { Err(NotAllowed::ThisDevice.into()) } else { Ok(()) }
    }

    /// Whether what a device is on the list can be changed now.
    fn check_may_change(&self, homes: &mut Homes, device: DeviceId) -> Result<(), NodeError> {
        let Some(list) = &self.identity.list else {
            return Err(Unreachable::DeviceList.into());
        };
        if list.device(&device).is_none() {
            return Err(NotFound::Device.into());
        }
        if !homes.servers.values().any(|h| h.own && h.registered && h.hello.is_some()) {
            return Err(Unreachable::HomeForDeviceList.into());
        }
        Ok(())
    }

    /// The home does not take our list now: those who wait for a change hear that it is not done yet.
    pub(crate) fn list_not_published(&mut self, turn: &mut Turn<'_>, why: &str) {
        for change in std::mem::take(&mut self.own_devices.waiting) {
            self.change_waits(turn, change, why);
        }
    }

    fn change_waits(&mut self, turn: &mut Turn<'_>, change: DeviceChange, why: &str) {
        let device = change.device;
        let problem = why.to_owned();
        turn.reply(change.reply, Err(Unreachable::DeviceChangePending { device, problem }.into()));
    }

    /// What an item for another device of ours begins with, and the home with its inbox.
    pub(crate) fn body_for_own_device(&self) -> Option<(InboxBody, String)> {
        let list = self.identity.list.as_ref()?;
        let home = self.identity.homes.first().map(ToString::to_string)?;
        let body = InboxBody {
            device_list: Bytes::copy_from_slice(list.as_bytes()),
            device: Bytes::copy_from_slice(self.device().as_bytes()),
            name: self.identity.row.name.clone(),
            bot: self.identity.row.bot,
            ..InboxBody::default()
        };
        Some((body, home))
    }

    pub(crate) fn expire_device_changes(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        let (late, waiting) =
            std::mem::take(&mut self.own_devices.waiting).into_iter().partition(|r| r.gives_up_at <= now);
        self.own_devices.waiting = waiting;
        let late: Vec<DeviceChange> = late;
        for change in late {
            self.change_waits(turn, change, "it does not answer");
        }
    }
}

impl Engine {
    /// The account's devices, as its users see them.
    pub(crate) fn device_list(&self) -> Vec<Device> {
        let me = self.account.device();
        let all = self.account.identity.list.iter().flat_map(|l| &l.devices);
        let account = self.account.id();
        all.map(|d| {
            let id = d.id;
            let label = self.conversations.authors.label(account, id.tag()).cloned().unwrap_or_default();
            Device {
                id,
                name: label.name,
                system: label.kind,
                added_ms: d.added_at * 1000,
                rights: d.rights,
                linked_by: d.linked_by,
                this: id == me,
                relayed: self.delivery.links.get(&id).filter(|l| !l.silent).map(|l| l.relayed),
            }
        })
        .collect()
    }

    /// A chain of our account. Gives whether this device is in what counts now.
    pub(crate) fn on_own_list(&mut self, turn: &mut Turn<'_>, list: DeviceChain) -> Result<bool, EngineError> {
        let now_s = turn.agreed_ms() / 1000;
        let known = self.account.identity.list.clone().filter(|known| !known.is_empty());
        let (chain, common) = match &known {
            None => (list.clone(), 0),
            Some(known) => {
                let age = self.account.identity.held().age(now_s);
                self.warn_of_late(turn, &known.late_removals(&list, age))?;
                match known.reconcile(&list, age) {
                    Ok(chain) if chain == *known => {
                        self.publish_what_counts(turn, &list);
                        return Ok(true);
                    }
                    Ok(chain) => {
                        let common = known.kept_in(&chain);
                        (chain, common)
                    }
                    Err(fork) => {
                        tracing::warn!(%fork, "a device chain of our account was not taken");
                        return Ok(true);
                    }
                }
            }
        };
        if chain.device(&self.account.device()).is_none() {
            // Going on here would take the account back and forth. What counts is kept: a recovery goes on from there.
            self.account.set_chain(turn, chain, common);
            self.counters.row.superseded = true;
            self.counters.dirty = true;
            self.account.identity.forget_root();
            turn.fact(Fact::AccountSuperseded);
            turn.live(TransientEvent::Net);
            return Ok(false);
        }
        let before: Option<Vec<DeviceId>> = self.account.list().map(|l| crate::contacts::connect::device_ids(l));
        if !chain.homes.is_empty() && chain.homes != self.account.identity.homes {
            self.account.identity.homes.clone_from(&chain.homes);
            turn.put(META, b"homes", &HomesRow { homes: chain.homes.iter().map(ToString::to_string).collect() })?;
        }
        let length = chain.len();
        self.account.set_chain(turn, chain, common);
        // What was done here while another device has changed the chain is done again.
        let key = SignWith::Device(&self.account.identity.device_key);
        let lost = known.as_ref().zip(self.account.list()).and_then(|(lost, now)| now.with_lost(&key, now_s, lost));
        if let Some(again) = lost {
            self.account.set_chain(turn, again, length);
            self.account.own_devices.changes().list_owed = true;
        }
        self.publish_what_counts(turn, &list);
        let (Some(before), Some(list)) = (before, &self.account.identity.list) else { return Ok(true) };
        let now = crate::contacts::connect::device_ids(list);
        let account = self.account.id();
        for device in now.iter().filter(|d| !before.contains(d)) {
            turn.account_news(DurableEventKind::DeviceLinked, account, &device.to_string())?;
            turn.fact(Fact::OwnDeviceAdded(*device));
        }
        for device in before.iter().filter(|d| !now.contains(d)) {
            turn.fact(Fact::OwnDeviceRemoved(*device));
            turn.account_news(DurableEventKind::DeviceRemoved, account, &device.to_string())?;
        }
        Ok(true)
    }

    /// Tells our homes what counts, where somebody has something else.
    fn publish_what_counts(&mut self, turn: &mut Turn<'_>, theirs: &DeviceChain) {
        if self.account.list().is_some_and(|ours| ours.head() != theirs.head()) && self.account.would_teach(theirs) {
            self.account.publish_at_homes(turn, &mut self.homes);
        }
    }

    /// Reads a chain, or the end of one that is known.
    pub(crate) fn read_chain(&self, bytes: &[u8]) -> Option<DeviceChain> {
        let account = Summary::of(bytes).ok()?.account;
        let of_contact = || self.contacts.people.get(&account).and_then(|p| p.list.as_ref());
        let known = if account == self.account.id() { self.account.list() } else { of_contact() };
        match known {
            Some(known) => DeviceChain::read(bytes, known).ok(),
            None => DeviceChain::from_bytes(bytes).ok(),
        }
    }

    /// Our list was taken by a home: the devices that were there before us hear of it.
    pub(crate) fn list_published(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.note_listed(turn)?;
        self.account.note_held(turn);
        self.forget_root_when_done();
        if self.account.own_devices.changes.list_owed {
            self.account.own_devices.changes().list_owed = false;
            self.sync().tell_other_devices(turn, None)?;
            self.sync().tell_list(turn);
        }
        let account = self.account.id();
        let unpublished = |r: &&mut RemovedRow| !r.published;
        let mut gone = Vec::new();
        for row in self.account.own_devices.changes.removed.iter_mut().filter(unpublished) {
            row.published = true;
            self.account.own_devices.dirty = true;
            gone.extend(DeviceId::from_bytes(&row.device).ok());
        }
        for device in gone {
            let (conversations, mut cx) = self.conversing();
            conversations.cut_off(turn, &mut cx, &device)?;
            turn.account_news(DurableEventKind::DeviceRemoved, account, &device.to_string())?;
        }
        for change in std::mem::take(&mut self.account.own_devices.waiting) {
            turn.reply(change.reply, Ok(()));
        }
        Ok(())
    }

    /// A home has our chain, and the account's snapshot was read: the root is needed no more.
    pub(super) fn forget_root_when_done(&mut self) {
        let listed = self.account.list().is_some_and(|l| !l.is_empty() && l.device(&self.account.device()).is_some());
        if listed && self.counters.row.snapshot > 0 {
            self.account.identity.forget_root();
        }
    }

    /// What another device of ours says.
    pub(crate) fn on_other_device(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        body: &InboxBody,
        list: DeviceChain,
    ) -> Result<Result<(), &'static str>, EngineError> {
        if self.account.is_newer(&list) && !self.on_own_list(turn, list)? {
            return Ok(Ok(()));
        }
        if self.account.list().is_none_or(|l| l.device(&device).is_none()) {
            return Ok(Err("from a device that our account has given up"));
        }
        let account = self.account.id();
        self.views().take_labels(turn, account, &body.labels)?;
        if !body.history.is_empty() {
            return self.on_history(turn, device, &body.history).map(Ok);
        }
        let Some(known) = &body.known else {
            // The contacts of all of us may have changed, too.
            let home = self
                .account
                .identity
                .homes
                .iter()
                .map(|h| h.peer)
                .find(|h| self.homes.servers.get(h).is_some_and(|h| h.registered));
            if let Some(home) = home {
                self.homes.request(turn, home, RequestBody::GetSnapshot(true), AccountPending::Snapshot);
            }
            return Ok(Ok(()));
        };
        let account = AccountId::from_bytes(&known.account).ok().filter(|a| *a != self.account.id());
        let Some(account) = account else {
            return Ok(Err("not about another account"));
        };
        let their = self.read_chain(&known.device_list).filter(|l| l.account == account);
        let their = their.filter(|l| self.contacts.check_devices(&self.account, l).is_ok());
        self.on_known(turn, account, known, their.clone())?;
        self.views().take_labels(turn, account, &known.labels)?;
        match (&body.welcome, their) {
            (Some(_), Some(list)) => self.meeting().join(turn, body, list, true),
            _ => Ok(Ok(())),
        }
    }

    fn on_known(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        known: &Known,
        list: Option<DeviceChain>,
    ) -> Result<(), EngineError> {
        let state = ContactState::from_stored(known.state);
        let key = self.store.name("request", account.as_bytes());
        let asks = turn.get::<RequestRow>(REQUESTS, &key)?.is_some();
        let was = self.contacts.people.get(&account).map(Person::state);
        if was.is_none() && state == ContactState::Removed {
            turn.delete(REQUESTS, &key)?;
            return Ok(());
        }
        if was.is_none() && self.contacts.people.len() >= MAX_CONTACTS {
            return Ok(());
        }
        let now = turn.wall();
        let person = self.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
        person.row.rename(&known.name, (known.named_clock, known.named_by));
        person.row.bot = known.bot;
        let had = person.list.as_ref().map(DeviceChain::head);
        let same_list = list.as_ref().map(DeviceChain::head) == had;
        if let Some(list) = list {
            let _ = self.contacts.take_chain(turn, account, list)?;
        }
        let person = self.contacts.people.get_or_insert_with(account, || Person::new(&account, now));
        // What was said later here, or by another device, stays.
        let counts = was.is_none() || word_of(known) > word_of(&of_row(&person.row));
        let state = if counts { state } else { person.state() };
        if counts {
            person.row.said_ms = known.said_ms;
            // They may have answered meanwhile.
            if (was, state) != (Some(ContactState::Active), ContactState::Outgoing) {
                person.row.state = state.stored();
            }
            person.row.alias.clone_from(&known.alias);
            // Numbers were compared for these devices, not for others.
            person.row.key_changed &= !(known.verified && same_list);
            person.row.verified = known.verified;
            person.row.forked &= !known.verified;
        }
        let trusted = counts && person.trusted_elsewhere(&known.trusted);
        if person.list.is_none() {
            person.row.homes = known.homes.iter().filter(|h| h.len() <= 512).take(4).cloned().collect();
        }
        person.dirty = true;
        let chat = self.chat_with(turn, account);
        self.sync().apply_settings_about(turn, account)?;
        self.contacts.index(&account);
        turn.fact(Fact::DevicesChanged(account));
        if trusted {
            self.renew_outbox(turn, chat)?;
            self.meeting().reconnect(turn, account)?;
        }
        let talks = |state| matches!(state, ContactState::Active | ContactState::Outgoing);
        if !talks(state) {
            turn.delete(REQUESTS, &key)?;
            if was.is_some_and(talks) {
                turn.fact(Fact::ContactUnlinked(account));
            }
            if state == ContactState::Blocked && was != Some(state) {
                turn.account_news(DurableEventKind::Blocked, account, "")?;
            }
        } else {
            if state == ContactState::Active && !was.is_some_and(talks) {
                turn.account_news(DurableEventKind::ContactAccepted, account, "")?;
            }
            if was.is_some_and(|was| !talks(was)) {
                let groups = self.conversations.chats.get(&chat).map(|c| c.row.groups.clone()).unwrap_or_default();
                for group in
                    groups.iter().filter_map(|g| crate::conversation::group::GroupId::try_from(g.as_slice()).ok())
                {
                    self.read_logs(turn, group);
                }
                self.meeting().reconnect(turn, account)?;
            }
            if asks && let Err(error) = self.meeting().accept(turn, account)? {
                tracing::debug!(%error, "a request that another device has accepted cannot be");
            }
        }
        turn.live(TransientEvent::Net);
        Ok(())
    }
}

/// What the user has said of somebody, in the order in which words replace one another: of two of one time the same one counts on every device.
fn word_of(known: &Known) -> (u64, u8, bool, &str) {
    let caution = match ContactState::from_stored(known.state) {
        ContactState::Blocked => 2,
        ContactState::Removed => 1,
        // Who was asked may have answered meanwhile.
        ContactState::Active | ContactState::Outgoing => 0,
    };
    (known.said_ms, caution, known.verified, &known.alias)
}

/// The part of a contact's row that [`word_of`] compares.
fn of_row(row: &ContactRow) -> Known {
    Known {
        said_ms: row.said_ms,
        state: row.state,
        verified: row.verified && !row.key_changed,
        alias: row.alias.clone(),
        ..Known::default()
    }
}
