//! Records: one table for each collection, with the revision beside the value.

use async_trait::async_trait;
use bytes::Bytes;
use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

use super::{
    super::{Collection, Key, Record, Records, Revision, StoreError},
    RedbStore,
};

type Row = (u64, &'static [u8]);
pub(super) const REVISIONS: TableDefinition<&str, u64> = TableDefinition::new("revisions");

pub(super) fn table(collection: Collection) -> TableDefinition<'static, &'static Key, Row> {
    TableDefinition::new(match collection {
        Collection::Accounts => "records/accounts",
        Collection::Devices => "records/devices",
        Collection::Bans => "records/bans",
        Collection::Names => "records/names",
        Collection::Invites => "records/invites",
        Collection::Tokens => "records/tokens",
        Collection::LastResort => "records/last_resort",
        Collection::Snapshots => "records/snapshots",
    })
}

/// The next revision, which no record of this file ever had.
fn next_revision(txn: &WriteTransaction) -> Result<Revision, StoreError> {
    let mut revisions = txn.open_table(REVISIONS).map_err(StoreError::failed)?;
    let next = revisions.get("last").map_err(StoreError::failed)?.map_or(0, |row| row.value()) + 1;
    revisions.insert("last", next).map_err(StoreError::failed)?;
    Ok(Revision(next))
}

/// Writes a record whatever is there.
pub(super) fn replace(
    txn: &WriteTransaction,
    collection: Collection,
    key: &Key,
    value: &[u8],
) -> Result<Revision, StoreError> {
    let revision = next_revision(txn)?;
    let mut table = txn.open_table(table(collection)).map_err(StoreError::failed)?;
    table.insert(key, (revision.0, value)).map_err(StoreError::failed)?;
    Ok(revision)
}

fn expect(table: &Table<'_, &'static Key, Row>, key: &Key, expected: Revision) -> Result<(), StoreError> {
    let known = table.get(key).map_err(StoreError::failed)?.map_or(Revision::NONE, |row| Revision(row.value().0));
    if known == expected { Ok(()) } else { Err(StoreError::Conflict) }
}

#[async_trait]
impl Records for RedbStore {
    async fn get(&self, collection: Collection, key: Key) -> Result<Option<Record>, StoreError> {
        self.reading(|txn| {
            let row = txn.open_table(table(collection))?.get(&key)?;
            Ok(row.map(|row| {
                let (revision, value) = row.value();
                Record { revision: Revision(revision), value: Bytes::copy_from_slice(value) }
            }))
        })
    }

    async fn put(
        &self,
        collection: Collection,
        key: Key,
        expected: Revision,
        value: Bytes,
    ) -> Result<Revision, StoreError> {
        self.writer
            .write(move |txn| {
                expect(&txn.open_table(table(collection)).map_err(StoreError::failed)?, &key, expected)?;
                replace(txn, collection, &key, &value)
            })
            .await
    }

    async fn delete(&self, collection: Collection, key: Key, expected: Revision) -> Result<(), StoreError> {
        self.writer
            .write(move |txn| {
                let mut table = txn.open_table(table(collection)).map_err(StoreError::failed)?;
                expect(&table, &key, expected)?;
                table.remove(&key).map_err(StoreError::failed)?;
                Ok(())
            })
            .await
    }

    async fn scan(
        &self,
        collection: Collection,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Record)>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(table(collection))?;
            let mut found = Vec::new();
            for row in table.range::<&Key>(&after.unwrap_or_default()..)? {
                let (key, value) = row?;
                // The range begins with the key after which to begin.
                if after.as_ref() == Some(key.value()) {
                    continue;
                }
                if found.len() >= limit {
                    break;
                }
                let (revision, value) = value.value();
                let record = Record { revision: Revision(revision), value: Bytes::copy_from_slice(value) };
                found.push((*key.value(), record));
            }
            Ok(found)
        })
    }

    async fn count(&self, collection: Collection) -> Result<u64, StoreError> {
        self.reading(|txn| Ok(txn.open_table(table(collection))?.len()?))
    }
}
