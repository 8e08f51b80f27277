//! Transactions: one that writes, and any number that read what was committed.

use std::{cell::Cell, ops::RangeBounds};

use prost::Message;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::{Store, StoreError, TABLES, Table, error::failed, order};

/// Rows of a range: keys and values.
type Rows<M> = Vec<(Vec<u8>, M)>;

/// What is done with a row of a range: its key and its sealed value. `false` ends the walk.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError>;

/// What both kinds of transactions can do.
pub trait Reading {
    /// One row.
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError>;

    /// Walks over a range, from its start, or from its end if `backwards`.
    fn visit(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        backwards: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;

    /// How many rows a table has.
    fn count(&self, table: Table) -> Result<u64, StoreError>;

    /// A row of its sealed value.
    fn decode<M: Message + Default>(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<M, StoreError>;

    /// Up to `limit` rows of a range, from its start, or from its end if `backwards`.
    fn range<M: Message + Default>(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        backwards: bool,
    ) -> Result<Rows<M>, StoreError> {
        let mut rows = Vec::new();
        if limit > 0 {
            self.visit(table, range, backwards, &mut |key, sealed| {
                rows.push((key.to_vec(), self.decode(table, key, sealed)?));
                Ok(rows.len() < limit)
            })?;
        }
        Ok(rows)
    }

    /// All rows of a table one after another, each as it is or with why it cannot be read.
    fn each<M: Message + Default>(
        &self,
        table: Table,
        mut each: impl FnMut(&[u8], Result<M, StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.visit(table, .., false, &mut |key, sealed| {
            each(key, self.decode(table, key, sealed))?;
            Ok(true)
        })
    }

    /// The keys of a table.
    fn keys(&self, table: Table) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        self.visit(table, .., false, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(true)
        })?;
        Ok(keys)
    }
}

macro_rules! visiting {
    ($self:ident, $table:ident, $range:ident, $backwards:ident, $visit:ident) => {{
        let open = $self.txn.open_table($table.definition()).map_err(failed)?;
        let bounds = order::stored_bounds($table, &$range);
        let mut rows = open.range::<&[u8]>(order::as_slices(&bounds)).map_err(failed)?;
        let rows = std::iter::from_fn(|| if $backwards { rows.next_back() } else { rows.next() });
        order::walk($self.store, $table, rows, &$range, $backwards, $visit)
    }};
}

/// A write transaction. Dropped without commit, nothing has happened.
pub struct Txn<'a> {
    pub(super) txn: WriteTransaction,
    pub(super) store: &'a Store,
    pub(super) written: Cell<bool>,
    pub(super) forgets_root: Cell<bool>,
    /// Keys are those that are stored: what migrations of older files need.
    pub(super) keys_as_stored: bool,
}

impl Reading for Txn<'_> {
    fn get<M: Message + Default>(&self, table: Table, key: &[u8]) -> Result<Option<M>, StoreError> {
        let open = self.txn.open_table(table.definition()).map_err(failed)?;
        let row = open.get(&*self.store.hidden(self.laid(table), key)).map_err(failed)?;
        row.map(|row| self.store.decode(table, key, row.value())).transpose()
    }

    fn visit(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        backwards: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let table = self.laid(table);
        visiting!(self, table, range, backwards, visit)
    }

    fn count(&self, table: Table) -> Result<u64, StoreError> {
        self.txn.open_table(table.definition()).map_err(failed)?.len().map_err(failed)
    }

    fn decode<M: Message + Default>(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<M, StoreError> {
        self.store.decode(table, key, sealed)
    }
}

impl Txn<'_> {
    /// A table as this transaction names its rows.
    fn laid(&self, table: Table) -> Table {
        if self.keys_as_stored { table.as_stored() } else { table }
    }

    /// Writes a row.
    pub fn put<M: Message>(&self, table: Table, key: &[u8], value: &M) -> Result<(), StoreError> {
        self.put_raw(table, key, &self.store.seal(table, key, value))
    }

    /// Writes several rows of one table: the table is looked up once.
    pub fn put_all<M: Message>(&self, table: Table, rows: &[(Vec<u8>, M)]) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        for (key, value) in rows {
            #[cfg(test)]
            super::migrate_tests::before_write();
            let sealed = self.store.seal(table, key, value);
            open.insert(&*self.store.hidden(self.laid(table), key), sealed.as_slice()).map_err(failed)?;
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
        open.insert(&*self.store.hidden(self.laid(table), key), value).map_err(failed)?;
        Ok(())
    }

    /// Makes a row unreadable.
    #[cfg(test)]
    pub fn damage(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.put_raw(table, key, b"what no key opens")
    }

    /// Stores a row under the name that this schema has for it.
    pub(super) fn hide_key(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let hidden = self.store.hidden(table, key);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        let Some(value) = open.remove(key).map_err(failed)?.map(|row| row.value().to_vec()) else { return Ok(()) };
        #[cfg(test)]
        super::migrate_tests::before_write();
        self.written.set(true);
        open.insert(&*hidden, value.as_slice()).map_err(failed)?;
        Ok(())
    }

    /// Deletes a row.
    pub fn delete(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        open.remove(&*self.store.hidden(self.laid(table), key)).map_err(failed)?;
        Ok(())
    }

    /// Deletes a range of rows.
    pub fn delete_range(&self, table: Table, range: impl RangeBounds<Vec<u8>>) -> Result<(), StoreError> {
        self.written.set(true);
        let mut open = self.txn.open_table(table.definition()).map_err(failed)?;
        let table = self.laid(table);
        let bounds = order::stored_bounds(table, &range);
        let is_outside = |key: &[u8]| !range.contains(&self.store.shown(table, key).into_owned());
        open.retain_in::<&[u8], _>(order::as_slices(&bounds), |key, _| is_outside(key)).map_err(failed)?;
        Ok(())
    }

    /// With this transaction the account's root is forgotten.
    pub fn forget_root(&self) {
        self.forgets_root.set(true);
    }

    /// Makes everything of this transaction durable at once. Costs nothing if nothing was written.
    pub fn commit(self) -> Result<(), StoreError> {
        #[cfg(test)]
        super::migrate_tests::before_write();
        if !self.written.get() {
            return Ok(());
        }
        starling_kill_point::pass();
        self.txn.commit().map_err(failed)?;
        starling_kill_point::pass();
        // Interrupted, it is done at the next start.
        if self.forgets_root.get() { self.store.forget_root() } else { Ok(()) }
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
        let row = open.get(&*self.store.hidden(table, key)).map_err(failed)?;
        row.map(|row| self.store.decode(table, key, row.value())).transpose()
    }

    fn visit(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        backwards: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        visiting!(self, table, range, backwards, visit)
    }

    fn count(&self, table: Table) -> Result<u64, StoreError> {
        self.txn.open_table(table.definition()).map_err(failed)?.len().map_err(failed)
    }

    fn decode<M: Message + Default>(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<M, StoreError> {
        self.store.decode(table, key, sealed)
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
            rows.push((self.store.shown(table, key.value()).into_owned(), value.value().to_vec()));
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
