//! The device chain of our account: what counts of it, and who has to learn it.

use std::collections::BTreeSet;

use starling_keys::{AccountId, DeviceChain, DeviceId, chain::SignWith};

use super::AccountDevices;
use crate::{
    api::types::{Device, DurableEventKind, TransientEvent, Usable},
    conversation::limits::MAX_CUT_AGE_MS,
    store::{HomesRow, META, RemovedRow},
    turn::{EngineError, Fact, Turn},
};

impl AccountDevices<'_> {
    /// The account's devices, as its users see them.
    pub(crate) fn device_list(&self) -> Vec<Device> {
        let me = self.cx.account.device();
        let all = self.cx.account.identity.list.iter().flat_map(|l| &l.devices);
        let account = self.cx.account.id();
        all.map(|d| {
            let id = d.id;
            let label = self.cx.conversations.authors.label(account, id.tag()).cloned().unwrap_or_default();
            Device {
                id,
                name: label.name,
                system: label.kind,
                added_ms: d.added_at * 1000,
                rights: d.rights,
                linked_by: d.linked_by,
                this: id == me,
                heard_ms: self.cx.account.own_devices.heard.get(&id).copied(),
                relayed: self.cx.delivery.links.get(&id).filter(|l| !l.silent).map(|l| l.relayed),
                conversations: self.usable_by(&id),
            }
        })
        .collect()
    }

    /// Which of the conversations with contacts a device of ours can use.
    fn usable_by(&self, device: &DeviceId) -> Usable {
        let (dir, conversations) = (self.cx.directory(), &self.cx.conversations);
        let has_group = |account: &AccountId| {
            let group = conversations.chats.direct_with(account).and_then(|chat| conversations.active_group(dir, chat));
            group.and_then(|id| conversations.groups.get(&id)).is_some_and(|group| group.has_member(device))
        };
        let mut usable = Usable::default();
        for (account, _) in self.cx.contacts.people.iter().filter(|(_, person)| person.can_have_group()) {
            usable.total += 1;
            usable.ready += usize::from(has_group(account));
        }
        usable
    }

    /// Shows how far devices of ours are that have entered groups; streams to the contacts of those follow.
    pub(crate) fn show_entered(&mut self, turn: &mut Turn<'_>) {
        for device in self.cx.conversations.entering.take_entered(turn.now()) {
            turn.fact(Fact::ReachChanged);
            turn.transient_event(TransientEvent::Entered { device, conversations: self.usable_by(&device) });
        }
    }

    /// A chain of our account. Gives whether this device is in what counts now.
    pub(crate) fn on_own_list(&mut self, turn: &mut Turn<'_>, list: DeviceChain) -> Result<bool, EngineError> {
        let now_s = turn.agreed_ms() / 1000;
        let known = self.cx.account.identity.list.clone().filter(|known| !known.is_empty());
        let (chain, common) = match &known {
            None => (list.clone(), 0),
            Some(known) => {
                let age = self.cx.account.identity.held().age(now_s);
                self.warn_of_late(turn, &known.late_removals(&list, age))?;
                match known.reconcile(&list, age) {
                    Ok(chain) if chain == *known => {
                        self.judge_rival(turn, (known, &list, &chain), age)?;
                        self.publish_what_counts(turn, &list);
                        return Ok(true);
                    }
                    Ok(chain) => {
                        self.judge_rival(turn, (known, &list, &chain), age)?;
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
        if chain.device(&self.cx.account.device()).is_none() {
            self.superseded(turn, chain, common);
            return Ok(false);
        }
        let before: Option<Vec<DeviceId>> = self.cx.account.list().map(|l| crate::contacts::connect::device_ids(l));
        if !chain.homes.is_empty() && chain.homes != self.cx.account.identity.homes {
            self.cx.account.identity.homes.clone_from(&chain.homes);
            turn.put(META, b"homes", &HomesRow { homes: chain.homes.iter().map(ToString::to_string).collect() })?;
        }
        let length = chain.len();
        self.cx.account.set_chain(turn, chain, common);
        // What was done here while another device has changed the chain is done again.
        let key = SignWith::Device(&self.cx.account.identity.device_key);
        let lost = known.as_ref().zip(self.cx.account.list()).and_then(|(lost, now)| now.with_lost(&key, now_s, lost));
        if let Some(again) = lost {
            self.cx.account.set_chain(turn, again, length);
            self.cx.account.own_devices.schedule_list();
        }
        self.publish_what_counts(turn, &list);
        if let Some(before) = before {
            self.note_own_devices(turn, &before)?;
        }
        Ok(true)
    }

    /// This device is not in what counts. Going on here would take the account back and forth. The chain is kept: a recovery goes on from there.
    fn superseded(&mut self, turn: &mut Turn<'_>, chain: DeviceChain, common: u32) {
        self.cx.account.set_chain(turn, chain, common);
        self.cx.counters.row.superseded = true;
        self.cx.counters.dirty = true;
        self.cx.account.identity.forget_root();
        turn.fact(Fact::AccountSuperseded);
        turn.transient_event(TransientEvent::Net);
    }

    /// Tells who has come and who is gone since these were our devices.
    fn note_own_devices(&mut self, turn: &mut Turn<'_>, before: &[DeviceId]) -> Result<(), EngineError> {
        let Some(list) = &self.cx.account.identity.list else { return Ok(()) };
        let now = crate::contacts::connect::device_ids(list);
        let account = self.cx.account.id();
        for device in now.iter().filter(|d| !before.contains(d)) {
            turn.account_event(DurableEventKind::DeviceLinked, account, &device.to_string())?;
            turn.fact(Fact::OwnDeviceAdded(*device));
        }
        let gone: BTreeSet<DeviceId> = before.iter().filter(|d| !now.contains(d)).copied().collect();
        for device in &gone {
            turn.fact(Fact::OwnDeviceRemoved(*device));
            turn.account_event(DurableEventKind::DeviceRemoved, account, &device.to_string())?;
        }
        // Who has removed them says where their events end, unless it is gone as well.
        self.cut_off(turn, Vec::new(), &gone)
    }

    /// Tells our homes what counts, where somebody has something else.
    fn publish_what_counts(&mut self, turn: &mut Turn<'_>, theirs: &DeviceChain) {
        if self.cx.account.list().is_some_and(|ours| ours.head() != theirs.head())
            && self.cx.account.would_teach(theirs)
        {
            self.cx.account.publish_at_homes(turn, self.cx.homes);
        }
    }

    /// A server sends our account's chain: another device of ours has changed it.
    pub(crate) fn on_pushed_list(&mut self, turn: &mut Turn<'_>, bytes: &[u8]) -> Result<(), EngineError> {
        match self.cx.directory().read_chain(bytes) {
            Some(list) if list.account == self.cx.account.id() && self.cx.account.is_newer(&list) => {
                self.on_own_list(turn, list).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// A home has our chain: our other devices, contacts and waiting callers are notified.
    pub(crate) fn list_published(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.linking().note_listed(turn)?;
        self.cx.account.note_held(turn);
        self.forget_root_when_done();
        if self.cx.account.own_devices.has_list_to_announce() {
            self.sync().tell_other_devices(turn, None)?;
            if self.cx.account.own_devices.begin_announcing(turn.now()) {
                self.sync().tell_list(turn);
            }
        }
        let account = self.cx.account.id();
        let unpublished = |r: &&mut RemovedRow| !r.published;
        let mut gone = Vec::new();
        for row in self.cx.account.own_devices.changes.removed.iter_mut().filter(unpublished) {
            row.published = true;
            self.cx.account.own_devices.dirty = true;
            gone.extend(DeviceId::from_bytes(&row.device).ok());
        }
        for device in &gone {
            let (conversations, _) = self.cx.conversing();
            conversations.shut_doors(turn, device);
            turn.account_event(DurableEventKind::DeviceRemoved, account, &device.to_string())?;
        }
        // What they have said of those that they had removed may have reached nobody.
        let of_them = self.cx.account.list().map(|list| gone.iter().flat_map(|device| list.removed_by(device)));
        let all: BTreeSet<DeviceId> = of_them.into_iter().flatten().chain(gone.iter().copied()).collect();
        self.cut_off(turn, gone, &all)?;
        for reply in self.cx.account.own_devices.taken() {
            turn.reply(reply, Ok(()));
        }
        Ok(())
    }

    /// Says for devices that were removed where their events end, those that `first` has before the others, if it is on this device to say so.
    fn cut_off(
        &mut self,
        turn: &mut Turn<'_>,
        mut first: Vec<DeviceId>,
        all: &BTreeSet<DeviceId>,
    ) -> Result<(), EngineError> {
        let (own, now_s) = (self.cx.account.device(), turn.agreed_ms() / 1000);
        let is_recent = |list: &DeviceChain, device: &DeviceId| {
            list.removed_at(device).is_some_and(|at| at.saturating_add(MAX_CUT_AGE_MS / 1000) > now_s)
        };
        // Not for those that stay, as who has removed them was removed at the same time.
        let here = |list: &DeviceChain, device: &DeviceId| {
            list.has_removed(device) && is_recent(list, device) && list.answers_for(device) == Some(own)
        };
        let others = all.iter().filter(|device| !first.contains(device)).copied();
        let list = self.cx.account.list();
        let others: Vec<DeviceId> = others.filter(|device| list.is_some_and(|list| here(list, device))).collect();
        first.extend(others);
        for device in first {
            let (conversations, mut cx) = self.cx.conversing();
            conversations.cut_off(turn, &mut cx, &device)?;
        }
        Ok(())
    }

    /// A home has our chain, and the account's snapshot was read: the root is needed no more.
    pub(super) fn forget_root_when_done(&mut self) {
        let listed =
            self.cx.account.list().is_some_and(|l| !l.is_empty() && l.device(&self.cx.account.device()).is_some());
        if listed && self.cx.counters.row.snapshot > 0 {
            self.cx.account.identity.forget_root();
        }
    }
}
