//! Transactions: one that writes, and any number that read what was committed.

use std::{cell::Cell, ops::RangeBounds};

use prost::Message;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use zeroize::Zeroizing;

use super::{Store, StoreError, TABLES, Table, error::failed};

/// Rows of a range: keys and values.
pub type Rows<M> = Vec<(Vec<u8>, M)>;

/// What both kinds of transactions can do.
pub trait Reading {
    /// One row.
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError>;
    /// Up to `limit` rows of a range, from its start, or from its end if `backwards`.
    fn range<M: Message + Default>(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        backwards: bool,
    ) -> Result<Rows<M>, StoreError>;
}

macro_rules! reading {
    ($self:ident, $table:ident, $range:ident, $limit:ident, $backwards:ident) => {{
        let table = $self.txn.open_table($table.definition()).map_err(failed)?;
        let bounds = ($range.start_bound().map(Vec::as_slice), $range.end_bound().map(Vec::as_slice));
        let mut rows = Vec::new();
        let mut range = table.range::<&[u8]>(bounds).map_err(failed)?;
        while rows.len() < $limit {
            let next = if $backwards { range.next_back() } else { range.next() };
            let Some(row) = next else { break };
            let (key, value) = row.map_err(failed)?;
            let key = key.value().to_vec();
            let value = $self.store.decode($table, &key, value.value())?;
            rows.push((key, value));
        }
        Ok(rows)
    }};
}

/// A write transaction. Dropped without commit, nothing has happened.
pub struct Txn<'a> {
    pub(super) txn: WriteTransaction,
    pub(super) store: &'a Store,
    pub(super) written: Cell<bool>,
}

impl Reading for Txn<'_> {
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        let row = open.get(key).map_err(failed)?;
        row.map(|row| self.store.decode(table, key, row.value())).transpose()
    }

    fn range<M: Message + Default>(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        backwards: bool,
    ) -> Result<Rows<M>, StoreError> {
        reading!(self, table, range, limit, backwards)
    }
}

impl Txn<'_> {
    /// Writes a row.
    pub fn put<M: Message>(&self, table: Table, key: &[u8], value: &M) -> Result<(), StoreError> {
        let plain = Zeroizing::new(value.encode_to_vec());
        self.put_raw(table, key, &self.store.seal(table, key, &plain))
    }

    /// Writes several rows of one table: the table is looked up once.
    pub fn put_all<M: Message>(&self, table: Table, rows: &[(Vec<u8>, M)]) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        for (key, value) in rows {
            #[cfg(test)]
            super::migrate_tests::before_write();
            let sealed = self.store.seal(table, key, &value.encode_to_vec());
            open.insert(key.as_slice(), sealed.as_slice()).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the tables that are not there.
    pub(super) fn make_tables(&self) -> Result<(), StoreError> {
        let there: Vec<String> =
            self.txn.list_tables().map_err(failed)?.map(|t| redb::TableHandle::name(&t).to_owned()).collect();
        for table in TABLES.iter().filter(|t| !there.iter().any(|name| name == t.name())) {
            self.written.set(true);
            self.txn.open_table(table.definition()).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn put_raw(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        #[cfg(test)]
        super::migrate_tests::before_write();
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        open.insert(key, value).map_err(failed)?;
        Ok(())
    }

    /// Deletes a row.
    pub fn delete(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        open.remove(key).map_err(failed)?;
        Ok(())
    }

    /// Deletes a range of rows.
    pub fn delete_range(&self, table: Table, range: impl RangeBounds<Vec<u8>>) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        let bounds = (range.start_bound().map(Vec::as_slice), range.end_bound().map(Vec::as_slice));
        open.retain_in::<&[u8], _>(bounds, |_, _| false).map_err(failed)?;
        Ok(())
    }

    /// Makes everything of this transaction durable at once. Costs nothing if nothing was written.
    pub fn commit(self) -> Result<(), StoreError> {
        #[cfg(test)]
        super::migrate_tests::before_write();
        if self.written.get() { self.txn.commit().map_err(failed) } else { Ok(()) }
    }
}

/// A read transaction.
pub struct Read<'a> {
    pub(super) txn: ReadTransaction,
    pub(super) store: &'a Store,
}

impl Reading for Read<'_> {
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        let row = open.get(key).map_err(failed)?;
        row.map(|row| self.store.decode(table, key, row.value())).transpose()
    }

    fn range<M: Message + Default>(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        backwards: bool,
    ) -> Result<Rows<M>, StoreError> {
        reading!(self, table, range, limit, backwards)
    }
}

impl Read<'_> {
    pub(super) fn get_raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        Ok(open.get(key).map_err(failed)?.map(|row| row.value().to_vec()))
    }
}

#[cfg(test)]
impl Read<'_> {
    /// All rows of a table, sealed.
    pub(super) fn all_raw(&self, table: Table) -> Result<Rows<Vec<u8>>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        let mut rows = Vec::new();
        for row in open.iter().map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(rows)
    }
}

/// The range of all keys that begin with `prefix`.
pub fn prefix(prefix: &[u8]) -> (std::ops::Bound<Vec<u8>>, std::ops::Bound<Vec<u8>>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return (Included(prefix.to_vec()), Excluded(end));
        }
    }
    (Included(prefix.to_vec()), Unbounded)
}
