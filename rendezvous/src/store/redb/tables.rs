//! The tables, and what is done in them inside a transaction.

use bytes::Bytes;
use prost::Message;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::super::{Account, Bounds, Entry, Key, Kind, StoreError};

pub(super) const META: TableDefinition<&str, u32> = TableDefinition::new("meta");
pub(super) const ACCOUNTS: TableDefinition<&Key, &[u8]> = TableDefinition::new("accounts");
pub(super) const DEVICES: TableDefinition<&Key, &Key> = TableDefinition::new("devices");
pub(super) const BANS: TableDefinition<&Key, ()> = TableDefinition::new("bans");
pub(super) const NAMES: TableDefinition<&Key, &Key> = TableDefinition::new("names");
pub(super) const INVITES: TableDefinition<&Key, (&Key, u32, u64)> = TableDefinition::new("invites");
pub(super) const REGISTRATIONS: TableDefinition<&Key, (u32, u64)> = TableDefinition::new("registrations");
pub(super) const LAST_RESORT: TableDefinition<&Key, &[u8]> = TableDefinition::new("last_resort");
pub(super) const SNAPSHOTS: TableDefinition<&Key, (u64, &[u8])> = TableDefinition::new("snapshots");
pub(super) const QUEUES: TableDefinition<(u8, &Key), &[u8]> = TableDefinition::new("queues");
/// Value: eight bytes of expiry (big-endian seconds), then the sealed bytes.
pub(super) const ENTRIES: TableDefinition<(u8, &Key, u64), &[u8]> = TableDefinition::new("entries");

/// Queues looked at in one step of expiry, so that appends do not wait for it.
const EXPIRY_STEP: usize = 500;

/// What is known of a queue.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Queue {
    /// Sequence number of the newest entry.
    #[prost(uint64, tag = "1")]
    pub last: u64,
    #[prost(uint64, tag = "2")]
    pub count: u64,
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// Whose quota it counts against.
    #[prost(bytes = "vec", tag = "4")]
    pub owner: Vec<u8>,
    /// Sequence number of the closing entry of a log.
    #[prost(uint64, tag = "5")]
    pub closed: u64,
    /// When the queue itself may go.
    #[prost(uint64, tag = "6")]
    pub expires_at: u64,
}

pub(super) fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

// What jobs do inside a transaction.

pub(super) fn account_in(txn: &WriteTransaction, account: &Key) -> Result<Option<Account>, StoreError> {
    let table = txn.open_table(ACCOUNTS).map_err(failed)?;
    let row = table.get(account).map_err(failed)?;
    row.map(|row| Account::decode(row.value()).map_err(failed)).transpose()
}

pub(super) fn put_account(txn: &WriteTransaction, key: &Key, account: &Account) -> Result<(), StoreError> {
    let mut table = txn.open_table(ACCOUNTS).map_err(failed)?;
    table.insert(key, account.encode_to_vec().as_slice()).map_err(failed)?;
    Ok(())
}

pub(super) fn charge(txn: &WriteTransaction, owner: &[u8], by: i64) -> Result<(), StoreError> {
    let Ok(owner) = <&Key>::try_from(owner) else {
        return Ok(());
    };
    if let Some(mut account) = account_in(txn, owner)? {
        account.bytes = account.bytes.saturating_add_signed(by);
        put_account(txn, owner, &account)?;
    }
    Ok(())
}

pub(super) fn queue_in(txn: &WriteTransaction, kind: Kind, address: &Key) -> Result<Option<Queue>, StoreError> {
    let table = txn.open_table(QUEUES).map_err(failed)?;
    let row = table.get((kind as u8, address)).map_err(failed)?;
    row.map(|row| Queue::decode(row.value()).map_err(failed)).transpose()
}

pub(super) fn put_queue(txn: &WriteTransaction, kind: Kind, address: &Key, queue: &Queue) -> Result<(), StoreError> {
    let mut table = txn.open_table(QUEUES).map_err(failed)?;
    table.insert((kind as u8, address), queue.encode_to_vec().as_slice()).map_err(failed)?;
    Ok(())
}

/// Appends after checking every bound, so that a refusal changes nothing.
pub(super) fn append_in(
    txn: &WriteTransaction,
    kind: Kind,
    address: &Key,
    mut queue: Queue,
    entries: &[Bytes],
    bounds: &Bounds,
) -> Result<u64, StoreError> {
    let size: u64 = entries.iter().map(|e| e.len() as u64).sum();
    if queue.count + entries.len() as u64 > bounds.entries || queue.bytes + size > bounds.bytes {
        return Err(StoreError::Full);
    }
    if let Ok(owner) = <&Key>::try_from(queue.owner.as_slice())
        && let Some(account) = account_in(txn, owner)?
        && account.bytes + size > bounds.owner_bytes
    {
        return Err(StoreError::Full);
    }
    {
        let mut table = txn.open_table(ENTRIES).map_err(failed)?;
        for entry in entries {
            queue.last += 1;
            let value = [&bounds.expires_at.to_be_bytes()[..], entry].concat();
            table.insert((kind as u8, address, queue.last), value.as_slice()).map_err(failed)?;
        }
    }
    queue.count += entries.len() as u64;
    queue.bytes += size;
    queue.expires_at = queue.expires_at.max(bounds.expires_at);
    charge(txn, &queue.owner, size as i64)?;
    let last = queue.last;
    put_queue(txn, kind, address, &queue)?;
    Ok(last)
}

pub(super) fn remove_entries(
    txn: &WriteTransaction,
    kind: Kind,
    address: &Key,
    queue: &mut Queue,
    sequences: impl IntoIterator<Item = u64>,
) -> Result<u64, StoreError> {
    let (mut removed, mut bytes) = (0, 0);
    {
        let mut table = txn.open_table(ENTRIES).map_err(failed)?;
        for sequence in sequences {
            if let Some(row) = table.remove((kind as u8, address, sequence)).map_err(failed)? {
                removed += 1;
                bytes += row.value().len() as u64 - 8;
            }
        }
    }
    queue.count = queue.count.saturating_sub(removed);
    queue.bytes = queue.bytes.saturating_sub(bytes);
    charge(txn, &queue.owner, -(bytes as i64))?;
    put_queue(txn, kind, address, queue)?;
    Ok(removed)
}

pub(super) fn entry(sequence: u64, value: &[u8], closed: u64) -> Entry {
    Entry { sequence, sealed: Bytes::copy_from_slice(value.get(8..).unwrap_or_default()), closing: sequence == closed }
}

/// The closing entry of a closed log.
pub(super) fn closing_entry(txn: &WriteTransaction, address: &Key, queue: &Queue) -> Result<Entry, StoreError> {
    let table = txn.open_table(ENTRIES).map_err(failed)?;
    let row = table.get((Kind::Log as u8, address, queue.closed)).map_err(failed)?.ok_or(StoreError::NotFound)?;
    Ok(entry(queue.closed, row.value(), queue.closed))
}

/// Looks at some queues from `from` on; gives where to go on.
pub(super) fn expire_step(
    txn: &WriteTransaction,
    from: (u8, Key),
    now: u64,
) -> Result<(Option<(u8, Key)>, u64), StoreError> {
    let looked: Vec<((u8, Key), Queue)> = {
        let table = txn.open_table(QUEUES).map_err(failed)?;
        let range = table.range((from.0, &from.1)..).map_err(failed)?;
        range
            .take(EXPIRY_STEP)
            .map(|row| {
                let (key, value) = row.map_err(failed)?;
                let key = (key.value().0, *key.value().1);
                Ok((key, Queue::decode(value.value()).map_err(failed)?))
            })
            .collect::<Result<_, StoreError>>()?
    };
    let next = (looked.len() == EXPIRY_STEP).then(|| looked.last().map(|(key, _)| *key)).flatten();
    let mut removed = 0;
    for ((kind, address), mut queue) in looked {
        let kind = match kind {
            1 => Kind::Log,
            2 => Kind::Inbox,
            _ => Kind::KeyPackages,
        };
        let expired: Vec<u64> = {
            let table = txn.open_table(ENTRIES).map_err(failed)?;
            let range = table.range((kind as u8, &address, 0)..=(kind as u8, &address, u64::MAX)).map_err(failed)?;
            let mut expired = Vec::new();
            for row in range {
                let (key, value) = row.map_err(failed)?;
                let mut expires_at = [0; 8];
                expires_at.copy_from_slice(value.value().get(..8).unwrap_or(&[0; 8]));
                // Entries of a queue have one lifetime, so the first that is still good ends the search.
                if u64::from_be_bytes(expires_at) > now {
                    break;
                }
                expired.push(key.value().2);
            }
            expired
        };
        if !expired.is_empty() {
            removed += remove_entries(txn, kind, &address, &mut queue, expired)?;
        }
        if queue.count == 0 && queue.expires_at <= now {
            let mut table = txn.open_table(QUEUES).map_err(failed)?;
            table.remove((kind as u8, &address)).map_err(failed)?;
        }
    }
    if from == (0, [0; 32]) {
        let mut invites = txn.open_table(INVITES).map_err(failed)?;
        invites.retain(|_, (_, uses, expires_at)| uses > 0 && expires_at > now).map_err(failed)?;
        let mut registrations = txn.open_table(REGISTRATIONS).map_err(failed)?;
        registrations.retain(|_, (uses, expires_at)| uses > 0 && expires_at > now).map_err(failed)?;
    }
    Ok((next, removed))
}
