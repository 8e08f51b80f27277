//! The snapshot of contacts and settings that a restored device reads.

use std::cmp::Reverse;

use prost::Message as _;
use starling_keys::AccountId;
use starling_wire::{
    DeviceLabel,
    inbox::GroupOffer,
    rendezvous::{RequestBody, Snapshot},
};

use super::{
    AccountDevices,
    limits::{MAX_SNAPSHOT_VERSION, MAX_SNAPSHOT_WITH_DOORS, NEAR_SNAPSHOT_VERSIONS},
};
use crate::{
    account::pending::AccountPending,
    api::types::{ContactState, DurableEventKind},
    contacts::Person,
    conversation::policy::limits::MAX_GROUP_CHATS,
    limits::MAX_CONTACTS,
    net::HomeId,
    store::{ContactRow, SnapshotContact, SnapshotRow},
    turn::{EngineError, Fact, Turn},
};

impl AccountDevices<'_> {
    fn sealed_snapshot(&self) -> Result<Vec<u8>, EngineError> {
        let mut contacts: Vec<SnapshotContact> = self
            .cx
            .contacts
            .people
            .values()
            .filter(|p| p.state() != ContactState::Removed)
            .map(|p| {
                let (version, head) = p.known_chain();
                SnapshotContact {
                    account: p.row.account.clone(),
                    homes: p.homes().iter().map(ToString::to_string).collect(),
                    version,
                    head,
                    name: p.row.name.clone(),
                    alias: p.row.alias.clone(),
                    state: p.row.state,
                    verified: p.row.verified && !p.row.key_changed,
                    ..SnapshotContact::default()
                }
            })
            .collect();
        // A new device begins with the most recent conversations.
        contacts.sort_by_cached_key(|contact| Reverse(self.newest_with(&contact.account)));
        let contacts = self.with_doors(contacts);
        let (name, devices) = (self.cx.account.identity.row.name.clone(), self.cx.labels_of(&self.cx.account.id()));
        let room = MAX_SNAPSHOT_WITH_DOORS.saturating_sub(contacts.iter().map(|c| c.encoded_len()).sum());
        let groups = self.ways_into_groups(room);
        let list = self.cx.account.list();
        let writer = list.and_then(|list| list.path_to(&self.cx.account.device())).map(|path| path.to_bytes());
        let settings = self.cx.account.synced.all();
        let row = SnapshotRow { contacts, name, settings, devices, groups, writer: writer.unwrap_or_default() };
        let padded = starling_wire::pad(row.encode_to_vec());
        self.cx.account.seal_snapshot(self.cx.mls, &padded)
    }

    /// When the newest message with a contact was written, as a clock; 0 without one.
    fn newest_with(&self, account: &[u8]) -> u64 {
        let chat =
            AccountId::from_stored(account).ok().and_then(|account| self.cx.conversations.chats.direct_with(&account));
        chat.and_then(|chat| self.cx.conversations.chats.get(&chat)).map_or(0, |state| state.row.newest)
    }

    /// Tells new devices the ways into the groups of as many conversations as there is room for.
    fn with_doors(&self, mut contacts: Vec<SnapshotContact>) -> Vec<SnapshotContact> {
        let (dir, conversations) = (self.cx.directory(), &self.cx.conversations);
        let mut room = MAX_SNAPSHOT_WITH_DOORS.saturating_sub(contacts.iter().map(|c| c.encoded_len()).sum());
        for contact in &mut contacts {
            let chat = AccountId::from_stored(&contact.account).ok().and_then(|a| conversations.chats.direct_with(&a));
            let Some((door, home)) = chat.and_then(|chat| conversations.door_to_offer(dir, chat)) else { continue };
            match room.checked_sub(door.len() + home.len() + 8) {
                Some(left) => (room, contact.door, contact.door_home) = (left, door, home),
                None => break,
            }
        }
        contacts
    }

    /// The ways into as many of our groups as there is room for.
    fn ways_into_groups(&self, mut room: usize) -> Vec<GroupOffer> {
        let mut groups = self.cx.conversations.ways_into_groups(self.cx.directory());
        groups.retain(|group| {
            let left = room.checked_sub(group.encoded_len() + 8);
            room = left.unwrap_or(0);
            left.is_some()
        });
        groups
    }

    /// What this account's devices knew of its contacts, and have set: a restored device makes new conversations with them.
    pub(crate) fn on_snapshot(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        snapshot: &Snapshot,
    ) -> Result<(), EngineError> {
        if snapshot.sealed.is_empty() && self.waits_for_other_snapshot(home) {
            return Ok(());
        }
        let (known, version) = (self.cx.counters.row.snapshot, snapshot.version.min(MAX_SNAPSHOT_VERSION));
        // What a home says counts where the two are far apart: one of its words was a lie, and only its last one lets ours be stored.
        let is_near = known.abs_diff(version) <= NEAR_SNAPSHOT_VERSIONS;
        self.cx.counters.row.snapshot = if is_near { known.max(version) } else { version }.max(1);
        let is_newest = version.max(1) >= self.cx.counters.row.snapshot;
        self.cx.counters.dirty = true;
        if self.cx.counters.row.snapshot_pending {
            self.cx.account.snapshot_soon(turn, self.cx.counters);
        }
        let sealed = Some(&snapshot.sealed).filter(|sealed| !sealed.is_empty());
        let row = sealed.and_then(|sealed| self.cx.account.open_snapshot(self.cx.mls, sealed));
        let restored = self.cx.account.identity.root.is_some();
        self.forget_root_when_done();
        if restored && row.is_some() {
            // For the devices that are there now.
            self.cx.account.snapshot_soon(turn, self.cx.counters);
        }
        self.read_kept_snapshots(turn)?;
        let is_new = restored || known == 0;
        match row {
            Some(row) => self.take_snapshot(turn, row, is_newest)?,
            None if snapshot.sealed.is_empty() => self.sync().take_settings_of_snapshot(turn, &[])?,
            None => {
                tracing::warn!("the account snapshot cannot be read");
                let address = self.cx.account.identity.homes.iter().find(|address| address.peer == home);
                let address = address.map(ToString::to_string).unwrap_or_default();
                self.keep_snapshot(turn, &address, snapshot)?;
                if is_new {
                    // Other devices know what is in it.
                    turn.account_event(DurableEventKind::AccountUnreadable, self.cx.account.id(), &address)?;
                }
            }
        }
        if known == 0 {
            self.greet(turn)?;
        }
        self.claim_username(turn, home);
        Ok(())
    }

    /// A home has no snapshot. It is stored at one of the account's homes: a device that was made from the phrase looks for it at the others, too, as
    /// it would else store one without contacts. Gives whether it still does.
    fn waits_for_other_snapshot(&mut self, home: HomeId) -> bool {
        let has_past = self.cx.account.list().is_some_and(|list| list.len() > 1);
        if !has_past || self.cx.account.identity.root.is_none() || self.cx.counters.row.snapshot > 0 {
            return false;
        }
        self.cx.account.no_snapshot_at.insert(home);
        let (account, homes) = (&self.cx.account, &self.cx.homes);
        let mut others = account.identity.homes.iter().map(|address| address.peer);
        others.any(|home| !account.no_snapshot_at.contains(&home) && !homes.is_lost_for_long(&home))
    }

    /// Takes what a snapshot has and is not known here. What it says of contacts' chains counts again if it `is_newest`: none with a higher number
    /// was read before.
    pub(super) fn take_snapshot(
        &mut self,
        turn: &mut Turn<'_>,
        row: SnapshotRow,
        is_newest: bool,
    ) -> Result<(), EngineError> {
        self.history.note_snapshot();
        let own = self.cx.account.id();
        self.cx.take_labels(turn, own, &DeviceLabel::received(row.devices).unwrap_or_default())?;
        for (place, contact) in (1..).zip(row.contacts.into_iter().take(MAX_CONTACTS)) {
            let Ok(account) = AccountId::from_bytes(&contact.account) else {
                continue;
            };
            if let Some(person) = self.cx.contacts.people.get(&account) {
                let is_told = is_newest && person.list.is_none() && !contact.head.is_empty();
                if is_told && let Some(person) = self.cx.contacts.people.get_mut(&account) {
                    person.known_elsewhere(contact.homes, contact.version, contact.head);
                }
                continue;
            }
            let mut person = Person::new(&account, turn.wall());
            person.row = ContactRow {
                homes: contact.homes,
                trusted_version: contact.version,
                trusted_head: contact.head,
                name: contact.name,
                alias: contact.alias,
                state: contact.state,
                verified: contact.verified,
                ..person.row
            };
            self.cx.contacts.people.insert(account, person);
            self.cx.contacts.note_chain_change();
            let chat = self.cx.chat_with(turn, account);
            self.cx.conversations.chats.take_door(chat, (&contact.door, contact.door_home), place);
            self.sync().apply_settings_about(turn, account)?;
            turn.fact(Fact::DevicesChanged(account));
        }
        self.sync().take_settings_of_snapshot(turn, &row.settings)?;
        for group in row.groups.iter().take(MAX_GROUP_CHATS) {
            let (conversations, mut cx) = self.cx.conversing();
            conversations.on_known_group(turn, &mut cx, group)?;
        }
        self.meeting().regroup(turn)
    }

    /// Another device of ours has stored a snapshot.
    pub(crate) fn on_snapshot_announced(&mut self, turn: &mut Turn<'_>, home: HomeId, version: u64) {
        if version > self.cx.counters.row.snapshot && self.cx.homes.is_registered(&home) {
            self.check_snapshot(turn, home);
        }
    }

    /// A home has stored our snapshot.
    pub(super) fn snapshot_stored(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.cx.account.snapshot_due.is_some() {
            // Something has changed meanwhile: another follows.
            return Ok(());
        }
        self.cx.counters.row.snapshot_pending = false;
        self.cx.counters.dirty = true;
        self.linking().answer_listed(turn)?;
        self.greet(turn)
    }

    /// Leaves our chain with the account's other devices, if that is owed: one that was linked is to read all contacts, and others are to
    /// know that a new one runs, also where it soon ends.
    fn greet(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if std::mem::take(&mut self.cx.counters.row.greeting_pending) {
            self.cx.counters.dirty = true;
            self.sync().tell_other_devices(turn, None)?;
        }
        Ok(())
    }

    pub(crate) fn snapshot_on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.cx.account.snapshot_due.is_none_or(|due| due > turn.now()) {
            return Ok(());
        }
        // Always the same of several homes, as a restored device reads one.
        let ready =
            |id: &HomeId| self.cx.homes.servers.get(id).is_some_and(|h| h.own && h.registered && h.hello.is_some());
        let home = self.cx.account.identity.homes.iter().map(|h| h.peer).find(ready);
        self.cx.account.snapshot_due = None;
        // Not before the account's earlier snapshot was read: a restored device has to add to it.
        let Some(home) = home.filter(|_| self.cx.counters.row.snapshot > 0) else { return Ok(()) };
        self.cx.counters.row.snapshot += 1;
        self.cx.counters.dirty = true;
        let sealed = self.sealed_snapshot()?;
        let snapshot = Snapshot { version: self.cx.counters.row.snapshot, sealed: sealed.into() };
        self.cx.homes.request(turn, home, RequestBody::PutSnapshot(snapshot), AccountPending::PutSnapshot);
        Ok(())
    }
}
