//! The snapshot of contacts that a restored device reads, and conversations that are made anew.

use prost::Message as _;
use starling_keys::{AccountId, RendezvousAddr};
use starling_wire::rendezvous::{RequestBody, Snapshot};

use crate::{
    account::pending::AccountPending,
    api::types::ContactState,
    contacts::Person,
    contacts::connect::{Connect, ConnectTarget},
    engine::Engine,
    limits::MAX_CONTACTS,
    net::HomeId,
    store::{ContactRow, SnapshotContact, SnapshotRow},
    turn::{EngineError, Fact, Turn},
};

impl Engine {
    pub(crate) fn sealed_snapshot(&self) -> Vec<u8> {
        let contacts = self
            .contacts
            .people
            .values()
            .filter(|p| p.state() != ContactState::Removed)
            .map(|p| SnapshotContact {
                account: p.row.account.clone(),
                homes: p.list.iter().flat_map(|l| &l.homes).map(ToString::to_string).collect(),
                version: p.list.as_ref().map_or(0, |l| l.version),
                name: p.row.name.clone(),
                alias: p.row.alias.clone(),
                state: p.row.state,
                verified: p.row.verified && !p.row.key_changed,
            })
            .collect();
        let row = SnapshotRow { contacts, name: self.account.identity.row.name.clone() };
        let padded = starling_wire::pad(row.encode_to_vec());
        self.account.identity.account_key.snapshot_key().seal(b"snapshot", &padded)
    }

    /// What this account's devices knew of its contacts: a restored device makes new conversations with them.
    pub(crate) fn on_snapshot(&mut self, turn: &mut Turn<'_>, snapshot: &Snapshot) -> Result<(), EngineError> {
        self.counters.row.snapshot = self.counters.row.snapshot.max(snapshot.version).max(1);
        self.counters.dirty = true;
        if self.counters.row.snapshot_owed {
            self.snapshot_soon(turn);
        }
        if snapshot.sealed.is_empty() {
            return Ok(());
        }
        let row = self
            .account
            .identity
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
            if self.contacts.people.contains_key(&account) {
                continue;
            }
            let mut person = Person::new(&account, turn.wall());
            person.row = ContactRow {
                homes: contact.homes,
                trusted_version: contact.version,
                name: contact.name,
                alias: contact.alias,
                state: contact.state,
                verified: contact.verified,
                ..person.row
            };
            self.contacts.people.insert(account, person);
            self.chat_with(turn, account);
            turn.fact(Fact::DevicesChanged(account));
        }
        self.regroup(turn)
    }

    /// Makes a conversation anew with every contact that has none (left), or none that fits: after a restore, when a log was lost, when
    /// devices have changed.
    pub(crate) fn regroup(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let pending: Vec<AccountId> = self
            .contacts
            .connects
            .values()
            .filter_map(|c| if let ConnectTarget::Account(account) = c.whom { Some(account) } else { None })
            .collect();
        let mut missing: Vec<(AccountId, Vec<RendezvousAddr>)> = self
            .contacts
            .people
            .iter()
            .filter(|(account, person)| person.is_linked() && !pending.contains(account))
            .map(|(account, person)| (*account, person.homes()))
            .filter(|(_, homes)| !homes.is_empty())
            .collect();
        missing.retain(|(account, _)| {
            let chat = self.chat_with(turn, *account);
            self.wants_group(turn, chat)
        });
        for (account, homes) in missing {
            self.connect(turn, Connect::to(ConnectTarget::Account(account), homes, turn.now() + 86_400_000))?;
        }
        Ok(())
    }

    /// The snapshot of contacts is written soon: several changes travel together.
    pub(crate) fn snapshot_soon(&mut self, turn: &mut Turn<'_>) {
        self.counters.row.snapshot_owed = true;
        self.counters.dirty = true;
        self.account.snapshot_due = Some(turn.now() + 1_000);
    }

    /// A home has stored our snapshot.
    pub(super) fn snapshot_stored(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.account.snapshot_due.is_some() {
            // Something has changed meanwhile: another follows.
            return Ok(());
        }
        self.counters.row.snapshot_owed = false;
        self.counters.dirty = true;
        if std::mem::take(&mut self.counters.row.greeting_owed) {
            self.tell_other_devices(turn, None)?;
        }
        Ok(())
    }

    pub(crate) fn snapshot_on_time(&mut self, turn: &mut Turn<'_>) {
        if self.account.snapshot_due.is_none_or(|due| due > turn.now()) {
            return;
        }
        // Always the same of several homes, as a restored device reads one.
        let ready =
            |id: &HomeId| self.homes.servers.get(id).is_some_and(|h| h.own && h.registered && h.hello.is_some());
        let home = self.account.identity.homes.iter().map(|h| h.peer).find(ready);
        self.account.snapshot_due = None;
        // Not before the account's earlier snapshot was read: a restored device has to add to it.
        let Some(home) = home.filter(|_| self.counters.row.snapshot > 0) else { return };
        self.counters.row.snapshot += 1;
        self.counters.dirty = true;
        let sealed = self.sealed_snapshot();
        let snapshot = Snapshot { version: self.counters.row.snapshot, sealed: sealed.into() };
        self.homes.request(turn, home, RequestBody::PutSnapshot(snapshot), AccountPending::PutSnapshot);
    }
}
