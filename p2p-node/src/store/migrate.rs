//! Migrations: each takes a file of the schema before to the next one, in one transaction, so that a crash leaves the one or the other whole.

use std::{collections::HashMap, ops::Bound};

use prost::Message;
use starling_keys::{AccountId, AccountKey, DeviceChain, DeviceId, DeviceKey};
use starling_wire::{Batch, Body, Event};

use super::{
    AUTHORS, AuthorRow, CHATS, CONTACTS, ChatRow, ContactRow, DeviceRow, EPOCHS, EpochRow, EventRow, GROUPS, GroupRow,
    IdentityRow, LOGS, LogRow, MEMBERS, META, MLS, MemberRow, MlsRow, OUTBOX, OutboxEvent, OutboxRow, PENDING_COMMITS,
    PendingRow, ReactionRow, Reading, Store, StoreError, TABLES, TIMELINE, Txn, prefix,
};

/// Timeline rows that are in memory at a time.
const CHUNK: usize = 1_000;

/// What schema 1 had in a conversation's row.
#[derive(Clone, PartialEq, Message)]
struct ChatRow1 {
    #[prost(bytes = "vec", tag = "1")]
    peer: Vec<u8>,
    #[prost(uint64, tag = "4")]
    peer_read: u64,
    #[prost(message, repeated, tag = "8")]
    devices: Vec<DeviceRow1>,
}

#[derive(Clone, PartialEq, Message)]
struct DeviceRow1 {
    #[prost(bytes = "vec", tag = "1")]
    device: Vec<u8>,
    #[prost(uint64, tag = "2")]
    received: u64,
    #[prost(uint64, repeated, tag = "3")]
    early: Vec<u64>,
    #[prost(uint64, tag = "4")]
    acked: u64,
    #[prost(bool, tag = "5")]
    own: bool,
    #[prost(uint64, tag = "6")]
    told: u64,
}

/// What schema 1 had in a row of the outbox, beside what is still there.
#[derive(Clone, PartialEq, Message)]
struct OutboxRow1 {
    #[prost(bytes = "vec", tag = "8")]
    batch: Vec<u8>,
}

/// What schema 1 had in a row of the timeline; the rest is as it was.
#[derive(Clone, PartialEq, Message)]
struct EventRow1 {
    #[prost(bool, tag = "2")]
    mine: bool,
    #[prost(message, repeated, tag = "7")]
    reactions: Vec<ReactionRow1>,
}

#[derive(Clone, PartialEq, Message)]
struct ReactionRow1 {
    #[prost(bool, tag = "1")]
    mine: bool,
    #[prost(string, tag = "2")]
    emoji: String,
    #[prost(uint64, tag = "3")]
    clock: u64,
}

/// What schema 1 had in the row of a group; the rest is as it was.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct GroupRow1 {
    #[prost(bytes = "vec", tag = "2")]
    snapshot: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    past: Vec<EpochRow>,
    #[prost(message, repeated, tag = "5")]
    logs: Vec<LogRow>,
    #[prost(message, optional, tag = "6")]
    pending: Option<PendingRow1>,
    #[prost(uint64, tag = "7")]
    since_update: u64,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct PendingRow1 {
    #[prost(message, optional, boxed, tag = "1")]
    after: Option<Box<GroupRow1>>,
    #[prost(bytes = "vec", tag = "2")]
    entry: Vec<u8>,
}

/// The devices that a profile of schema 1 knows, and the authors that were made of them.
struct Authors1 {
    own: AccountId,
    devices: HashMap<(AccountId, [u8; 8]), DeviceId>,
    numbers: HashMap<(AccountId, [u8; 8]), u32>,
}

impl Authors1 {
    fn read(txn: &Txn<'_>) -> Result<Self, StoreError> {
        let identity: IdentityRow = txn.get(META, b"identity")?.ok_or(StoreError::Damaged("meta"))?;
        let seed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| StoreError::Damaged("meta"));
        let own = AccountKey::from_seed(&seed(&identity.account_seed)?).id();
        let mut authors = Self { own, devices: HashMap::new(), numbers: HashMap::new() };
        authors.add(own, DeviceKey::from_seed(&seed(&identity.device_seed)?).id());
        authors.add_list(&identity.device_list);
        for (_, contact) in txn.range::<ContactRow>(CONTACTS, prefix(b""), usize::MAX, false)? {
            authors.add_list(&contact.device_list);
        }
        Ok(authors)
    }

    fn add(&mut self, account: AccountId, device: DeviceId) {
        self.devices.insert((account, device.tag()), device);
    }

    fn add_list(&mut self, bytes: &[u8]) {
        if let Ok(list) = DeviceChain::from_stored(bytes) {
            for entry in &list.devices {
                self.add(list.account, entry.id);
            }
        }
    }

    fn number(&mut self, txn: &Txn<'_>, account: AccountId, tag: [u8; 8]) -> Result<u32, StoreError> {
        if let Some(number) = self.numbers.get(&(account, tag)) {
            return Ok(*number);
        }
        let device = self.devices.get(&(account, tag)).map(|d| d.as_bytes().to_vec()).unwrap_or_default();
        let own = account == self.own;
        let row =
            AuthorRow { account: account.as_bytes().to_vec(), device, tag: tag.to_vec(), own, ..AuthorRow::default() };
        let number = self.numbers.len() as u32 + 1;
        txn.put(AUTHORS, &number.to_be_bytes(), &row)?;
        self.numbers.insert((account, tag), number);
        Ok(number)
    }
}

/// Authors by account and device, what is known of each member in a row of its own, reactions by account, groups in several rows.
pub fn from_1_to_2(store: &Store, txn: &Txn<'_>) -> Result<(), StoreError> {
    let mut authors = Authors1::read(txn)?;
    // The new rows have the same tags for what has not changed: both readings of a row are right.
    let old = txn.range::<ChatRow1>(CHATS, prefix(b""), usize::MAX, false)?;
    let new = txn.range::<ChatRow>(CHATS, prefix(b""), usize::MAX, false)?;
    for ((key, chat), (_, row)) in old.into_iter().zip(new) {
        let peer = AccountId::from_bytes(&chat.peer).map_err(|_| StoreError::Damaged("chats"))?;
        for device in &chat.devices {
            if let Ok(id) = DeviceId::from_bytes(&device.device) {
                authors.add(if device.own { authors.own } else { peer }, id);
            }
        }
        for (account, own, read) in [(authors.own, true, 0), (peer, false, chat.peer_read)] {
            let of_it = chat.devices.iter().filter(|d| d.own == own).cloned();
            let devices = of_it
                .map(|DeviceRow1 { device, received, early, acked, told, .. }| DeviceRow {
                    device,
                    received,
                    early,
                    acked,
                    told,
                    ..DeviceRow::default()
                })
                .collect();
            let member = MemberRow { account: account.as_bytes().to_vec(), own, read, devices, ..MemberRow::default() };
            txn.put(MEMBERS, &store.member_key(&key, account.as_bytes()), &member)?;
        }
        txn.put(CHATS, &key, &row)?;
        timeline_to_2(txn, &mut authors, &key, peer)?;
    }
    groups_to_2(txn)?;
    outbox_to_2(txn)
}

/// Rows whose keys named devices, logs and key packages are stored under enciphered names.
///
/// Rows with one beginning in clear are moved together: a name that was enciphered is never met as one that was not.
pub fn from_2_to_3(txn: &Txn<'_>) -> Result<(), StoreError> {
    for table in TABLES.into_iter().filter(|table| !table.is_clear()) {
        let mut start = Bound::Unbounded;
        loop {
            let (mut keys, mut next) = (Vec::new(), Bound::Unbounded);
            txn.visit(table, (start, Bound::Unbounded), false, &mut |key, _| {
                let clear = table.clear_part(key).unwrap_or(key);
                let same = keys.last().is_none_or(|last: &Vec<u8>| last.starts_with(clear));
                if keys.len() >= CHUNK && !same {
                    next = Bound::Included(key.to_vec());
                    return Ok(false);
                }
                keys.push(key.to_vec());
                Ok(true)
            })?;
            for key in &keys {
                txn.hide_key(table, key)?;
            }
            let Bound::Included(_) = next else { break };
            start = next;
        }
    }
    Ok(())
}

/// What the timeline has of an entry's batch is not kept twice.
fn outbox_to_2(txn: &Txn<'_>) -> Result<(), StoreError> {
    use std::ops::Bound::Excluded;
    let identity: IdentityRow = txn.get(META, b"identity")?.ok_or(StoreError::Damaged("meta"))?;
    let seed = identity.device_seed.as_slice().try_into().map_err(|_| StoreError::Damaged("meta"))?;
    let tag = DeviceKey::from_seed(&seed).id().tag();
    let (mut start, end) = prefix(b"");
    loop {
        let old = txn.range::<OutboxRow1>(OUTBOX, (start.clone(), end.clone()), CHUNK / 10, false)?;
        let new = txn.range::<OutboxRow>(OUTBOX, (start, end.clone()), CHUNK / 10, false)?;
        let Some((last, _)) = old.last().cloned() else { return Ok(()) };
        for ((key, old), (_, mut row)) in old.into_iter().zip(new) {
            let batch = Batch::decode(&old.batch, tag).map_err(|_| StoreError::Damaged("outbox"))?;
            let chat = key.get(..16).ok_or(StoreError::Damaged("outbox"))?;
            (row.ids, row.events) = (Vec::new(), Vec::new());
            for event in batch.events {
                let id = event.id.to_bytes();
                let in_timeline = matches!(event.body, Body::Text(_))
                    && txn.get::<EventRow>(TIMELINE, &[chat, &id].concat())?.is_some();
                if in_timeline {
                    row.ids.extend(id);
                } else {
                    row.events.push(OutboxEvent { id: id.to_vec(), body: Event::encode_body(&event.body) });
                }
            }
            txn.put(OUTBOX, &key, &row)?;
        }
        start = Excluded(last);
    }
}

/// Encryption states, earlier epochs, waiting commits and logs get rows of their own.
fn groups_to_2(txn: &Txn<'_>) -> Result<(), StoreError> {
    let old = txn.range::<GroupRow1>(GROUPS, prefix(b""), usize::MAX, false)?;
    let new = txn.range::<GroupRow>(GROUPS, prefix(b""), usize::MAX, false)?;
    let of_epoch = |id: &[u8], epoch: u64| [id, &epoch.to_be_bytes()].concat();
    for ((id, group), (_, row)) in old.into_iter().zip(new) {
        let (state, since_update) = (group.snapshot, group.since_update);
        txn.put(MLS, &id, &MlsRow { state, since_update, reserved: 0, tree: Vec::new() })?;
        for past in &group.past {
            txn.put(EPOCHS, &of_epoch(&id, past.epoch), past)?;
        }
        for log in &group.logs {
            txn.put(LOGS, &of_epoch(&id, log.epoch), log)?;
        }
        if let Some(PendingRow1 { after: Some(after), entry }) = group.pending {
            txn.put(
                PENDING_COMMITS,
                &id,
                &PendingRow { state: after.snapshot, past: after.past, entry, welcomes: Vec::new() },
            )?;
        }
        txn.put(GROUPS, &id, &row)?;
    }
    Ok(())
}

fn timeline_to_2(txn: &Txn<'_>, authors: &mut Authors1, chat: &[u8], peer: AccountId) -> Result<(), StoreError> {
    use std::ops::Bound::Excluded;
    let (first, end) = prefix(chat);
    let mut start = first;
    loop {
        let old = txn.range::<EventRow1>(TIMELINE, (start.clone(), end.clone()), CHUNK, false)?;
        let new = txn.range::<EventRow>(TIMELINE, (start, end.clone()), CHUNK, false)?;
        let Some((last, _)) = old.last().cloned() else { return Ok(()) };
        let mut rows = Vec::new();
        for ((key, old), (_, mut row)) in old.into_iter().zip(new) {
            let tag = key.get(24..32).and_then(|t| t.try_into().ok()).ok_or(StoreError::Damaged("timeline"))?;
            let side = |mine: bool, own: AccountId| if mine { own } else { peer };
            row.author = authors.number(txn, side(old.mine, authors.own), tag)?;
            row.reactions = old
                .reactions
                .into_iter()
                .map(|r| ReactionRow {
                    account: side(r.mine, authors.own).as_bytes().to_vec(),
                    emoji: r.emoji,
                    clock: r.clock,
                    device: Vec::new(),
                })
                .collect();
            rows.push((key, row));
        }
        txn.put_all(TIMELINE, &rows)?;
        start = Excluded(last);
    }
}
