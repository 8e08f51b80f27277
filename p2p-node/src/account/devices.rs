//! Several devices of one account: the list that they are on, and what they tell one another.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use libp2p::Multiaddr;
use starling_keys::{
    AccountId, DeviceChain, DeviceEntry, DeviceId,
    chain::{ChainError, Held, Relation, Rights, SignWith, recovery_hash},
};
use starling_wire::{DeviceLabel, inbox::InboxBody};

use super::{
    Account,
    announcing::Announcing,
    limits::{MAX_REMOVED, MAX_SHOWN_CHAINS},
};
use crate::{
    api::{
        Reply,
        error::{NodeError, NotAllowed, NotFound, Unreachable},
        problem::HomeProblem,
        types::ChatId,
    },
    home::Homes,
    limits::REACH_TIMEOUT_MS,
    net::{ConnectionProblem, LanKey},
    store::{DeviceChangesRow, RemovedRow},
    turn::{Fact, Turn},
};

/// What is known of our account's devices.
#[derive(Default)]
pub struct OwnDevices {
    /// Where the others were last reachable.
    pub addresses: BTreeMap<DeviceId, Vec<Multiaddr>>,
    /// What their names on a LAN follow from.
    pub lan_keys: BTreeMap<DeviceId, LanKey>,
    /// When each of the others was last heard of, since the start: the clock in milliseconds.
    pub heard: BTreeMap<DeviceId, u64>,
    /// What others have to learn of our devices and homes.
    pub changes: DeviceChangesRow,
    pub dirty: bool,
    /// All that others have to learn of our chain is that devices were added.
    added_only: bool,
    /// The conversations that are to learn that.
    announcing: Option<Announcing>,
    /// Those of which the user was warned, since the start, that they are there twice.
    pub copied: BTreeSet<DeviceId>,
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
    pub(crate) fn note_removed(&mut self, device: DeviceId) {
        let changes = self.changes();
        if changes.removed.len() >= MAX_REMOVED
            && let Some(oldest) = changes.removed.iter().position(|r| r.published)
        {
            changes.removed.remove(oldest);
        }
        changes.removed.push(RemovedRow { device: device.as_bytes().to_vec(), published: false });
    }

    /// Our chain has changed: others are to have it once a home has.
    pub(crate) fn schedule_list(&mut self) {
        self.changes().list_pending = true;
        (self.added_only, self.announcing) = (false, None);
    }

    /// The same, if only a device was added: that device is answered first.
    pub(crate) fn schedule_added(&mut self) {
        self.added_only |= !self.changes.list_pending;
        self.changes().list_pending = true;
        self.announcing = None;
    }

    /// A home has our chain. Gives whether all conversations are to be told of it now.
    pub(crate) fn begin_announcing(&mut self, now: u64) -> bool {
        if !self.added_only {
            self.changes().list_pending = false;
            return true;
        }
        self.announcing = Some(Announcing::soon(now));
        false
    }

    /// Devices that were added have their answer: they are announced.
    pub(crate) fn announce_now(&mut self, now: u64) {
        if let Some(announcing) = &mut self.announcing {
            announcing.hasten(now);
        }
    }

    /// What others have to learn waits for a home; what they are being told does not.
    pub(crate) fn has_list_to_announce(&self) -> bool {
        self.changes.list_pending && self.announcing.is_none()
    }

    /// What is being announced, if it is to be given its conversations now.
    pub(crate) fn beginning(&mut self, now: u64) -> Option<&mut Announcing> {
        self.announcing.as_mut().filter(|announcing| announcing.begins(now))
    }

    /// The conversations that are told of added devices in this turn.
    pub(crate) fn take_announced(&mut self) -> Vec<ChatId> {
        let Some(announcing) = &mut self.announcing else { return Vec::new() };
        let (chats, is_last) = announcing.take();
        if is_last {
            (self.added_only, self.announcing) = (false, None);
            self.changes().list_pending = false;
        }
        chats
    }

    /// Somebody waits for a home to take our chain as it is now, others are to have it then.
    pub(crate) fn wait_for_home(&mut self, turn: &Turn<'_>, device: DeviceId, reply: Reply<()>) {
        self.schedule_list();
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

    /// A home has taken our chain: gives who has waited for that.
    pub fn taken(&mut self) -> Vec<Reply<()>> {
        std::mem::take(&mut self.waiting).into_iter().map(|change| change.reply).collect()
    }

    pub fn next_due(&self) -> Option<u64> {
        self.waiting.iter().map(|r| r.gives_up_at).chain(self.announcing.as_ref().map(Announcing::due)).min()
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
    pub(crate) fn begin_chain(&mut self, turn: &mut Turn<'_>, known: Option<&DeviceChain>) -> Result<(), NodeError> {
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
    pub(crate) fn change_chain(
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
    pub(crate) fn set_chain(&mut self, turn: &mut Turn<'_>, chain: DeviceChain, common: u32) {
        let mut held = self.identity.held();
        held.note(common, chain.len(), turn.agreed_ms() / 1000);
        self.set_chain_held(turn, chain, &held);
    }

    /// A home has our chain as it is.
    pub(crate) fn note_held(&mut self, turn: &Turn<'_>) {
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
    pub(crate) fn set_rights(
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
    pub(crate) fn is_admin(&self) -> bool {
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

    /// A home does not accept our chain now: callers that wait for a change are answered that it is still pending.
    pub(crate) fn list_not_published(&mut self, turn: &mut Turn<'_>, why: &HomeProblem) {
        for change in std::mem::take(&mut self.own_devices.waiting) {
            self.change_waits(turn, change, why);
        }
    }

    fn change_waits(&mut self, turn: &mut Turn<'_>, change: DeviceChange, why: &HomeProblem) {
        let device = change.device;
        let problem = why.clone();
        turn.reply(change.reply, Err(Unreachable::DeviceChangePending { device, problem }.into()));
    }

    /// What an item for another device of ours begins with, and the home with its inbox.
    pub(crate) fn body_for_own_device(&self, homes: &Homes) -> Option<(InboxBody, String)> {
        let list = self.identity.list.as_ref()?;
        let home = homes.best_of(&self.identity.homes).map(ToString::to_string)?;
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
            self.change_waits(turn, change, &ConnectionProblem::NoAnswer.into());
        }
    }
}
