//! The snapshot of contacts that a restored device reads, and conversations that get a new group.

use bytes::Bytes;
use prost::Message as _;
use starling_keys::{AccountId, DeviceId, StorageKey, chain::Rights};
use starling_wire::{
    DeviceLabel,
    rendezvous::{RequestBody, Snapshot},
    snapshot::{SNAPSHOT_DOMAIN, SNAPSHOT_INFO, SealedKey, SealedSnapshot},
};
use zeroize::Zeroizing;

use super::Account;
use crate::{
    account::pending::AccountPending,
    api::types::ContactState,
    contacts::Person,
    engine::Engine,
    limits::MAX_CONTACTS,
    mls::derived_seal_keys,
    net::HomeId,
    store::{ContactRow, SnapshotContact, SnapshotRow},
    turn::{Counters, EngineError, Fact, Turn},
};

/// What the content of a snapshot is sealed for.
const CONTENT: &[u8] = b"snapshot";

impl Account {
    /// The snapshot of contacts is written soon: several changes travel together.
    pub fn snapshot_soon(&mut self, turn: &Turn<'_>, counters: &mut Counters) {
        counters.row.snapshot_owed = true;
        counters.dirty = true;
        self.snapshot_due = Some(turn.now() + 1_000);
    }

    /// The snapshot is written within a time, in milliseconds: for what changes often, and is told in another way, too.
    pub fn snapshot_within(&mut self, turn: &Turn<'_>, counters: &mut Counters, ms: u64) {
        counters.row.snapshot_owed = true;
        counters.dirty = true;
        let due = turn.now() + ms;
        self.snapshot_due = Some(self.snapshot_due.map_or(due, |d| d.min(due)));
    }
}

impl Engine {
    fn sealed_snapshot(&self) -> Result<Vec<u8>, EngineError> {
        let contacts = self
            .contacts
            .people
            .values()
            .filter(|p| p.state() != ContactState::Removed)
            .map(|p| SnapshotContact {
                account: p.row.account.clone(),
                homes: p.list.iter().flat_map(|l| &l.homes).map(ToString::to_string).collect(),
                version: p.list.as_ref().map_or(0, |l| u64::from(l.len())),
                head: p.list.as_ref().filter(|l| !l.is_empty()).map(|l| l.head().0.to_vec()).unwrap_or_default(),
                name: p.row.name.clone(),
                alias: p.row.alias.clone(),
                state: p.row.state,
                verified: p.row.verified && !p.row.key_changed,
            })
            .collect();
        let (name, devices) = (
            self.account.identity.row.name.clone(),
            self.conversations.labels_of(self.directory(), &self.account.id()),
        );
        let row = SnapshotRow { contacts, name, settings: self.account.synced.all(), devices };
        let padded = starling_wire::pad(row.encode_to_vec());
        self.seal_snapshot(&padded)
    }

    /// Seals to our devices, and to what the phrase opens: with another key each time, so that a removed device reads nothing newer.
    fn seal_snapshot(&self, plain: &[u8]) -> Result<Vec<u8>, EngineError> {
        let (identity, key) = (&self.account.identity, StorageKey::generate());
        let sealed_to = |device: &[u8], public: &[u8]| -> Result<SealedKey, EngineError> {
            let sealed = self.mls.seal_to(public, SNAPSHOT_INFO, key.as_bytes())?;
            Ok(SealedKey { device: Bytes::copy_from_slice(device), sealed: sealed.into() })
        };
        // Bots are not to see what the account knows.
        let listed = identity.list.iter().flat_map(|l| &l.devices);
        let readers = listed.filter(|d| d.rights != Rights::Bot && !d.seal_key.is_empty());
        // A device whose key is no key reads nothing; it does not keep the others from it.
        let mut keys: Vec<SealedKey> = readers.filter_map(|d| sealed_to(d.id.as_bytes(), &d.seal_key).ok()).collect();
        if !identity.row.recovery_public.is_empty() {
            keys.push(sealed_to(&[], &identity.row.recovery_public)?);
        }
        let device = Bytes::copy_from_slice(identity.device_key.id().as_bytes());
        let content = key.seal(CONTENT, plain).into();
        let mut snapshot = SealedSnapshot { device, keys, content, signature: Bytes::new() };
        let signature = identity.device_key.sign(SNAPSHOT_DOMAIN, &snapshot.signed());
        snapshot.signature = Bytes::copy_from_slice(&signature);
        Ok(snapshot.to_bytes())
    }

    /// Opens a snapshot that one of our devices has written; with the root also one of version 0.1.
    fn open_snapshot(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let identity = &self.account.identity;
        let Some(snapshot) = SealedSnapshot::from_bytes(sealed) else {
            return identity.root.as_ref()?.snapshot_key().open(CONTENT, sealed).ok();
        };
        let writer = DeviceId::from_bytes(&snapshot.device).ok()?;
        let is_ours = identity.list.as_ref().is_some_and(|list| list.belonged_until_recovery(&writer));
        if !is_ours || !writer.verify(SNAPSHOT_DOMAIN, &snapshot.signed(), &snapshot.signature) {
            return None;
        }
        let of = |device: &[u8]| snapshot.keys.iter().find(|k| k.device == device);
        let own = || {
            let key = of(identity.device_key.id().as_bytes())?;
            self.mls.open_sealed(&identity.row.seal_secret, &identity.seal_public, SNAPSHOT_INFO, &key.sealed).ok()
        };
        let recovered = || {
            let (secret, public) = derived_seal_keys(&identity.root.as_ref()?.recovery_seed()).ok()?;
            self.mls.open_sealed(&secret, &public, SNAPSHOT_INFO, &of(&[])?.sealed).ok()
        };
        let key = own().or_else(recovered)?;
        StorageKey::from_bytes(key.as_slice().try_into().ok()?).open(CONTENT, &snapshot.content).ok()
    }

    /// What this account's devices knew of its contacts, and have set: a restored device makes new conversations with them.
    pub(crate) fn on_snapshot(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        snapshot: &Snapshot,
    ) -> Result<(), EngineError> {
        self.counters.row.snapshot = self.counters.row.snapshot.max(snapshot.version).max(1);
        self.counters.dirty = true;
        if self.counters.row.snapshot_owed {
            self.account.snapshot_soon(turn, &mut self.counters);
        }
        let opened = if snapshot.sealed.is_empty() { None } else { self.open_snapshot(&snapshot.sealed) };
        let row = opened.and_then(|padded| SnapshotRow::decode(starling_wire::unpad(&padded).ok()?).ok());
        let restored = self.account.identity.root.is_some();
        self.forget_root_when_done();
        if restored && !snapshot.sealed.is_empty() {
            // For the devices that are there now.
            self.account.snapshot_soon(turn, &mut self.counters);
        }
        match row {
            Some(row) => self.take_snapshot(turn, row)?,
            None if snapshot.sealed.is_empty() => self.sync().take_settings_of_snapshot(turn, &[])?,
            None => tracing::warn!("the account snapshot cannot be read"),
        }
        self.claim_username(turn, home);
        Ok(())
    }

    fn take_snapshot(&mut self, turn: &mut Turn<'_>, row: SnapshotRow) -> Result<(), EngineError> {
        let own = self.account.id();
        self.views().take_labels(turn, own, &DeviceLabel::received(row.devices).unwrap_or_default())?;
        for contact in row.contacts.into_iter().take(MAX_CONTACTS) {
            let Ok(account) = AccountId::from_bytes(&contact.account) else {
                continue;
            };
            if self.contacts.people.contains_key(&account) {
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
            self.contacts.people.insert(account, person);
            self.chat_with(turn, account);
            self.sync().apply_settings_about(turn, account)?;
            turn.fact(Fact::DevicesChanged(account));
        }
        self.sync().take_settings_of_snapshot(turn, &row.settings)?;
        self.meeting().regroup(turn)
    }

    /// Another device of ours has stored a snapshot.
    pub(crate) fn on_snapshot_announced(&mut self, turn: &mut Turn<'_>, home: HomeId, version: u64) {
        if version > self.counters.row.snapshot && self.homes.is_registered(&home) {
            self.check_snapshot(turn, home);
        }
    }

    /// A home has stored our snapshot.
    pub(super) fn snapshot_stored(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.account.snapshot_due.is_some() {
            // Something has changed meanwhile: another follows.
            return Ok(());
        }
        self.counters.row.snapshot_owed = false;
        self.counters.dirty = true;
        self.answer_listed(turn)?;
        if std::mem::take(&mut self.counters.row.greeting_owed) {
            self.sync().tell_other_devices(turn, None)?;
        }
        Ok(())
    }

    pub(crate) fn snapshot_on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.account.snapshot_due.is_none_or(|due| due > turn.now()) {
            return Ok(());
        }
        // Always the same of several homes, as a restored device reads one.
        let ready =
            |id: &HomeId| self.homes.servers.get(id).is_some_and(|h| h.own && h.registered && h.hello.is_some());
        let home = self.account.identity.homes.iter().map(|h| h.peer).find(ready);
        self.account.snapshot_due = None;
        // Not before the account's earlier snapshot was read: a restored device has to add to it.
        let Some(home) = home.filter(|_| self.counters.row.snapshot > 0) else { return Ok(()) };
        self.counters.row.snapshot += 1;
        self.counters.dirty = true;
        let sealed = self.sealed_snapshot()?;
        let snapshot = Snapshot { version: self.counters.row.snapshot, sealed: sealed.into() };
        self.homes.request(turn, home, RequestBody::PutSnapshot(snapshot), AccountPending::PutSnapshot);
        Ok(())
    }
}
