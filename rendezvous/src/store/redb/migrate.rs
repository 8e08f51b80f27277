//! The schema of the file, and how one of an earlier version is brought up to date: in one transaction, so that it is of one version or the other.

use prost::Message;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use starling_keys::DeviceChain;

use super::{
    super::{Account, Claim, Collection, Invite, Key, Snapshot, StoreError, Token},
    records::{self, REVISIONS},
    streams::{ENTRIES, HEADS, OWNERS, heads_after, put_owner},
};

const SCHEMA: u32 = 3;
/// Heads converted together.
const HEADS_PAGE: usize = 10_000;
const META: TableDefinition<&str, u32> = TableDefinition::new("meta");

/// Creates what is missing, or converts what an earlier version has written.
pub(super) fn bring_up_to_date(db: &Database) -> Result<(), StoreError> {
    let txn = db.begin_write().map_err(StoreError::failed)?;
    {
        let mut meta = txn.open_table(META).map_err(StoreError::failed)?;
        let schema = meta.get("schema").map_err(StoreError::failed)?.map(|row| row.value());
        match schema {
            None | Some(SCHEMA) => {}
            Some(1) => {
                from_1(&txn)?;
                from_2(&txn)?;
            }
            Some(2) => from_2(&txn)?,
            Some(newer) => return Err(StoreError::Newer(newer)),
        }
        if schema != Some(SCHEMA) {
            meta.insert("schema", SCHEMA).map_err(StoreError::failed)?;
        }
        // Readers expect every table to be there.
        txn.open_table(HEADS).map_err(StoreError::failed)?;
        txn.open_table(ENTRIES).map_err(StoreError::failed)?;
        txn.open_table(OWNERS).map_err(StoreError::failed)?;
        txn.open_table(REVISIONS).map_err(StoreError::failed)?;
        for collection in Collection::ALL {
            txn.open_table(records::table(collection)).map_err(StoreError::failed)?;
        }
    }
    txn.commit().map_err(StoreError::failed)
}

/// An account in schema 1: also with the bytes that it stores, which are counted now when the file is opened.
#[derive(Clone, PartialEq, Message)]
struct Account1 {
    #[prost(bytes = "bytes", tag = "1")]
    device_list: bytes::Bytes,
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(uint64, tag = "3")]
    seen_day: u64,
    #[prost(bytes = "vec", tag = "5")]
    name: Vec<u8>,
}

/// Schema 1 had a table of its own form for each kind of record, without revisions. Heads and entries were as they are.
fn from_1(txn: &WriteTransaction) -> Result<(), StoreError> {
    const ACCOUNTS: TableDefinition<&Key, &[u8]> = TableDefinition::new("accounts");
    const DEVICES: TableDefinition<&Key, &Key> = TableDefinition::new("devices");
    const BANS: TableDefinition<&Key, ()> = TableDefinition::new("bans");
    const NAMES: TableDefinition<&Key, &Key> = TableDefinition::new("names");
    const INVITES: TableDefinition<&Key, (&Key, u32, u64)> = TableDefinition::new("invites");
    const REGISTRATIONS: TableDefinition<&Key, (u32, u64)> = TableDefinition::new("registrations");
    const LAST_RESORT: TableDefinition<&Key, &[u8]> = TableDefinition::new("last_resort");
    const SNAPSHOTS: TableDefinition<&Key, (u64, &[u8])> = TableDefinition::new("snapshots");

    convert(txn, ACCOUNTS, Collection::Accounts, |row| {
        let old = Account1::decode(row).map_err(StoreError::failed)?;
        // It was verified when it was stored; one that this version refuses is served as it is, and its devices have to publish another.
        let list = DeviceChain::from_stored(&old.device_list);
        let devices = list.iter().flat_map(|list| &list.devices);
        let devices = devices.map(|device| device.id.as_bytes().to_vec()).collect();
        let Account1 { device_list, version, seen_day, name } = old;
        Ok(Account { device_list, version, seen_day, name, devices, held: Vec::new(), since_day: 0, snapshot_bytes: 0 }
            .encode_to_vec())
    })?;
    let claim = |account: &Key| Ok(Claim { account: account.to_vec(), confirmed: true }.encode_to_vec());
    convert(txn, DEVICES, Collection::Devices, claim)?;
    convert(txn, NAMES, Collection::Names, claim)?;
    convert(txn, BANS, Collection::Bans, |()| Ok(Vec::new()))?;
    convert(txn, INVITES, Collection::Invites, |(account, uses, expires_at)| {
        Ok(Invite { account: account.to_vec(), uses, expires_at, pending: Vec::new() }.encode_to_vec())
    })?;
    convert(txn, REGISTRATIONS, Collection::Tokens, |(uses, expires_at)| {
        Ok(Token { uses, expires_at, pending: Vec::new() }.encode_to_vec())
    })?;
    convert(txn, LAST_RESORT, Collection::LastResort, |row| Ok(row.to_vec()))?;
    convert(txn, SNAPSHOTS, Collection::Snapshots, |(version, sealed)| {
        Ok(Snapshot { version, sealed: bytes::Bytes::copy_from_slice(sealed) }.encode_to_vec())
    })
}

/// Schema 2 had no index of streams by owner. Its entries had no flags, which are zeros in their rows.
fn from_2(txn: &WriteTransaction) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = heads_after(&txn.open_table(HEADS).map_err(StoreError::failed)?, after, HEADS_PAGE);
        let page = page.map_err(StoreError::failed)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        for (id, head) in &page {
            put_owner(txn, id, head)?;
        }
    }
}

/// Moves the rows of an old table into a collection.
fn convert<V: redb::Value + 'static>(
    txn: &WriteTransaction,
    from: TableDefinition<'_, &'static Key, V>,
    to: Collection,
    value: impl Fn(V::SelfType<'_>) -> Result<Vec<u8>, StoreError>,
) -> Result<(), StoreError> {
    {
        let table = txn.open_table(from).map_err(StoreError::failed)?;
        for row in table.iter().map_err(StoreError::failed)? {
            let (key, row) = row.map_err(StoreError::failed)?;
            records::replace(txn, to, key.value(), &value(row.value())?)?;
        }
    }
    txn.delete_table(from).map_err(StoreError::failed)?;
    Ok(())
}
