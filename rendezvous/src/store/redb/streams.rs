//! Streams: a table of heads and a table of entries.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::{
    super::{Bounds, Entry, Expired, Head, Key, Kind, Page, Removed, Selection, StoreError, StreamId, Streams, Totals},
    RedbStore,
};

pub(super) const HEADS: TableDefinition<(u8, &Key), &[u8]> = TableDefinition::new("queues");
/// Value: eight bytes of expiry (big-endian seconds), then the sealed bytes.
pub(super) const ENTRIES: TableDefinition<(u8, &Key, u64), &[u8]> = TableDefinition::new("entries");

/// Streams looked at in one step of expiry, so that appends do not wait for it.
const EXPIRY_STEP: usize = 500;
/// Bytes of expiry before each entry.
const EXPIRY_LEN: usize = 8;

fn kind_of(byte: u8) -> Kind {
    match byte {
        1 => Kind::Log,
        2 => Kind::Inbox,
        _ => Kind::KeyPackages,
    }
}

fn head_in(txn: &WriteTransaction, id: &StreamId) -> Result<Option<Head>, StoreError> {
    let table = txn.open_table(HEADS).map_err(StoreError::failed)?;
    let row = table.get((id.kind as u8, &id.address)).map_err(StoreError::failed)?;
    row.map(|row| Head::decode(row.value()).map_err(StoreError::failed)).transpose()
}

fn put_head(txn: &WriteTransaction, id: &StreamId, head: &Head) -> Result<(), StoreError> {
    let mut table = txn.open_table(HEADS).map_err(StoreError::failed)?;
    table.insert((id.kind as u8, &id.address), head.encode_to_vec().as_slice()).map_err(StoreError::failed)?;
    Ok(())
}

fn decode_entry(sequence: u64, value: &[u8], closed: u64) -> Entry {
    let sealed = Bytes::copy_from_slice(value.get(EXPIRY_LEN..).unwrap_or_default());
    Entry { sequence, sealed, closing: sequence == closed }
}

/// The closing entry of a closed stream.
fn closing_entry(txn: &WriteTransaction, id: &StreamId, head: &Head) -> Result<Entry, StoreError> {
    let table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    let row = table.get((id.kind as u8, &id.address, head.closed)).map_err(StoreError::failed)?;
    Ok(decode_entry(head.closed, row.ok_or(StoreError::NotFound)?.value(), head.closed))
}

/// Appends after checking everything, so that a refusal changes nothing.
fn append_in(
    txn: &WriteTransaction,
    id: &StreamId,
    mut head: Head,
    entries: &[Bytes],
    bounds: &Bounds,
    closes: bool,
) -> Result<u64, StoreError> {
    if head.closed != 0 {
        return Err(StoreError::Closed(closing_entry(txn, id, &head)?));
    }
    let size: u64 = entries.iter().map(|e| e.len() as u64).sum();
    if head.count + entries.len() as u64 > bounds.entries || head.bytes + size > bounds.bytes {
        return Err(StoreError::Full);
    }
    let mut table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    for entry in entries {
        head.last += 1;
        let value = [&bounds.expires_at.to_be_bytes()[..], entry].concat();
        table.insert((id.kind as u8, &id.address, head.last), value.as_slice()).map_err(StoreError::failed)?;
    }
    head.count += entries.len() as u64;
    head.bytes += size;
    head.expires_at = head.expires_at.max(bounds.expires_at);
    if closes {
        head.closed = head.last;
    }
    put_head(txn, id, &head)?;
    Ok(head.last)
}

fn remove_in(
    txn: &WriteTransaction,
    id: &StreamId,
    head: &mut Head,
    sequences: impl IntoIterator<Item = u64>,
) -> Result<Removed, StoreError> {
    let mut removed = Removed { owner: head.owner(), ..Removed::default() };
    let mut table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    for sequence in sequences {
        let row = table.remove((id.kind as u8, &id.address, sequence)).map_err(StoreError::failed)?;
        if let Some(row) = row {
            removed.entries += 1;
            removed.bytes += row.value().len().saturating_sub(EXPIRY_LEN) as u64;
        }
    }
    head.count = head.count.saturating_sub(removed.entries);
    head.bytes = head.bytes.saturating_sub(removed.bytes);
    if removed.entries > 0 {
        put_head(txn, id, head)?;
    }
    Ok(removed)
}

/// Sequence numbers from the first on, as long as `wanted` says so of an entry's number and expiry.
fn leading(txn: &WriteTransaction, id: &StreamId, wanted: impl Fn(u64, u64) -> bool) -> Result<Vec<u64>, StoreError> {
    let table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    let (kind, address) = (id.kind as u8, &id.address);
    let mut found = Vec::new();
    for row in table.range((kind, address, 0)..=(kind, address, u64::MAX)).map_err(StoreError::failed)? {
        let (key, value) = row.map_err(StoreError::failed)?;
        let expiry = value.value().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        if !wanted(key.value().2, expiry) {
            break;
        }
        found.push(key.value().2);
    }
    Ok(found)
}

/// Some heads after `after`.
fn heads_after<T: ReadableTable<(u8, &'static Key), &'static [u8]>>(
    table: &T,
    after: Option<StreamId>,
    limit: usize,
) -> Result<Vec<(StreamId, Head)>, redb::Error> {
    let from = after.map_or((0, [0; 32]), |id| (id.kind as u8, id.address));
    let mut found = Vec::new();
    for row in table.range((from.0, &from.1)..)? {
        let (key, value) = row?;
        let id = StreamId { kind: kind_of(key.value().0), address: *key.value().1 };
        if after == Some(id) {
            continue;
        }
        let head = Head::decode(value.value()).map_err(|e| redb::Error::Corrupted(e.to_string()))?;
        found.push((id, head));
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

fn expire_in(txn: &WriteTransaction, after: Option<StreamId>, now: u64) -> Result<Expired, StoreError> {
    let looked = {
        let table = txn.open_table(HEADS).map_err(StoreError::failed)?;
        heads_after(&table, after, EXPIRY_STEP).map_err(StoreError::failed)?
    };
    let next = (looked.len() == EXPIRY_STEP).then(|| looked.last().map(|(id, _)| *id)).flatten();
    let mut expired = Expired { removed: Vec::new(), next };
    for (id, mut head) in looked {
        // Entries of a stream expire in their order, so the first that is still good ends the search.
        let old = leading(txn, &id, |_, expiry| expiry <= now)?;
        if !old.is_empty() {
            expired.removed.push(remove_in(txn, &id, &mut head, old)?);
        }
        if head.count == 0 && head.expires_at <= now {
            let mut table = txn.open_table(HEADS).map_err(StoreError::failed)?;
            table.remove((id.kind as u8, &id.address)).map_err(StoreError::failed)?;
        }
    }
    Ok(expired)
}

fn head_of(txn: &ReadTransaction, id: &StreamId) -> Result<Option<Head>, redb::Error> {
    let row = txn.open_table(HEADS)?.get((id.kind as u8, &id.address))?;
    row.map(|row| Head::decode(row.value()).map_err(|e| redb::Error::Corrupted(e.to_string()))).transpose()
}

impl RedbStore {
    pub(super) fn scan_streams(
        &self,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<(StreamId, Head)>, StoreError> {
        self.reading(|txn| heads_after(&txn.open_table(HEADS)?, after, limit))
    }
}

#[async_trait]
impl Streams for RedbStore {
    async fn head(&self, id: StreamId) -> Result<Option<Head>, StoreError> {
        self.reading(|txn| head_of(txn, &id))
    }

    async fn open(&self, id: StreamId, owner: Key, expires_at: u64) -> Result<(), StoreError> {
        self.writer
            .write(move |txn| match head_in(txn, &id)? {
                Some(_) => Ok(()),
                None => put_head(txn, &id, &Head { owner: owner.to_vec(), expires_at, ..Head::default() }),
            })
            .await
    }

    async fn append(
        &self,
        id: StreamId,
        owner: Option<Key>,
        entries: Vec<Bytes>,
        bounds: Bounds,
    ) -> Result<u64, StoreError> {
        self.writer
            .write(move |txn| {
                let new = || owner.map(|owner| Head { owner: owner.to_vec(), ..Head::default() });
                let head = head_in(txn, &id)?.or_else(new).ok_or(StoreError::NotFound)?;
                append_in(txn, &id, head, &entries, &bounds, false)
            })
            .await
    }

    async fn close(&self, id: StreamId, entry: Bytes, bounds: Bounds) -> Result<u64, StoreError> {
        self.writer
            .write(move |txn| {
                let head = head_in(txn, &id)?.ok_or(StoreError::NotFound)?;
                append_in(txn, &id, head, &[entry], &bounds, true)
            })
            .await
    }

    async fn read(&self, id: StreamId, after: u64, limit: usize, max_bytes: usize) -> Result<Page, StoreError> {
        self.reading(|txn| {
            let closed = head_of(txn, &id)?.map_or(0, |head| head.closed);
            let table = txn.open_table(ENTRIES)?;
            let (kind, address) = (id.kind as u8, &id.address);
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for row in table.range((kind, address, after.saturating_add(1))..=(kind, address, u64::MAX))? {
                let (key, value) = row?;
                bytes += value.value().len();
                if !entries.is_empty() && (entries.len() >= limit || bytes > max_bytes) {
                    return Ok(Page { entries, more: true });
                }
                entries.push(decode_entry(key.value().2, value.value(), closed));
            }
            Ok(Page { entries, more: false })
        })
    }

    async fn remove(&self, id: StreamId, selection: Selection) -> Result<Removed, StoreError> {
        self.writer
            .write(move |txn| {
                let Some(mut head) = head_in(txn, &id)? else {
                    return Ok(Removed::default());
                };
                let closed = head.closed;
                let sequences = match selection {
                    Selection::UpTo(last) => leading(txn, &id, |sequence, _| sequence <= last)?,
                    Selection::Each(sequences) => sequences,
                };
                remove_in(txn, &id, &mut head, sequences.into_iter().filter(|sequence| *sequence != closed))
            })
            .await
    }

    async fn pop(&self, id: StreamId) -> Result<Option<(Entry, Removed)>, StoreError> {
        // Most have none: then nothing has to be written.
        if self.head(id).await?.is_none_or(|head| head.count == 0) {
            return Ok(None);
        }
        self.writer
            .write(move |txn| {
                let Some(mut head) = head_in(txn, &id)? else {
                    return Ok(None);
                };
                let first = {
                    let table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
                    let (kind, address) = (id.kind as u8, &id.address);
                    let mut rows =
                        table.range((kind, address, 0)..=(kind, address, u64::MAX)).map_err(StoreError::failed)?;
                    let first = rows.next().transpose().map_err(StoreError::failed)?;
                    first.map(|(key, value)| decode_entry(key.value().2, value.value(), head.closed))
                };
                let Some(entry) = first else {
                    return Ok(None);
                };
                let removed = remove_in(txn, &id, &mut head, [entry.sequence])?;
                Ok(Some((entry, removed)))
            })
            .await
    }

    async fn expire(&self, after: Option<StreamId>, now: u64) -> Result<Expired, StoreError> {
        self.writer.write(move |txn| expire_in(txn, after, now)).await
    }

    async fn scan(&self, after: Option<StreamId>, limit: usize) -> Result<Vec<(StreamId, Head)>, StoreError> {
        self.scan_streams(after, limit)
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        self.reading(|txn| {
            Ok(Totals { streams: txn.open_table(HEADS)?.len()?, entries: txn.open_table(ENTRIES)?.len()? })
        })
    }
}
