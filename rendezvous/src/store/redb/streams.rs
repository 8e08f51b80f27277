//! Streams: a table of heads and a table of entries.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::{
    super::{
        Appended, Batch, Bounds, Entry, Expired, Head, Key, Kind, MAX_CLASS, Page, Removed, Selection, Share,
        StoreError, StreamId, Streams, Totals,
    },
    RedbStore,
};

pub(super) const HEADS: TableDefinition<(u8, &Key), &[u8]> = TableDefinition::new("queues");
/// The streams of each owner.
pub(super) const OWNERS: TableDefinition<(&Key, u8, &Key), ()> = TableDefinition::new("owners");
/// Value: a byte of flags and seven of expiry (big-endian seconds), 32 of the eraser if the flags say so, then the sealed bytes.
pub(super) const ENTRIES: TableDefinition<(u8, &Key, u64), &[u8]> = TableDefinition::new("entries");

/// Streams looked at in one step of expiry, so that appends do not wait for it.
const EXPIRY_STEP: usize = 500;
/// Bytes of flags and expiry before each entry.
const HEAD_LEN: usize = 8;
/// Bytes of an eraser.
const ERASER_LEN: usize = 32;
/// The latest expiry that a row can hold.
const MAX_EXPIRY: u64 = (1 << 56) - 1;

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

/// The row of an entry.
struct Row<'a> {
    expiry: u64,
    class: u8,
    eraser: Option<&'a [u8]>,
    sealed: &'a [u8],
}

/// In the first byte of a row: an eraser follows the expiry.
const HAS_ERASER: u8 = 0x80;

impl<'a> Row<'a> {
    fn decode(value: &'a [u8]) -> Self {
        let (head, rest) = value.split_at_checked(HEAD_LEN).unwrap_or_default();
        let flags = head.first().copied().unwrap_or_default();
        let expiry = head.iter().skip(1).fold(0, |expiry, byte| (expiry << 8) | u64::from(*byte));
        let eraser_len = if flags & HAS_ERASER == 0 { 0 } else { ERASER_LEN };
        let (eraser, sealed) = rest.split_at_checked(eraser_len).unwrap_or_default();
        Self { expiry, class: flags & MAX_CLASS, eraser: (eraser_len > 0).then_some(eraser), sealed }
    }

    fn encode(&self) -> Vec<u8> {
        let mut head = self.expiry.min(MAX_EXPIRY).to_be_bytes();
        head[0] = self.class.min(MAX_CLASS) | if self.eraser.is_some() { HAS_ERASER } else { 0 };
        [&head[..], self.eraser.unwrap_or_default(), self.sealed].concat()
    }
}

fn decode_entry(sequence: u64, value: &[u8]) -> Entry {
    Entry { sequence, sealed: Bytes::copy_from_slice(Row::decode(value).sealed) }
}

/// Appends after checking everything, so that a refusal changes nothing.
fn append_in(
    txn: &WriteTransaction,
    id: &StreamId,
    mut head: Head,
    batch: &Batch,
    bounds: &Bounds,
) -> Result<Appended, StoreError> {
    let (count, size) = (batch.entries.len() as u64, batch.bytes());
    if !head.takes_candidates(batch, &bounds.candidates) {
        return Err(StoreError::Full);
    }
    let class = head.class_of(batch);
    let gives_way = giving_way(txn, id, &head, class, batch, &bounds.share)?;
    if head.count - gives_way.sequences.len() as u64 + count > bounds.entries
        || head.bytes - gives_way.bytes + size > bounds.bytes
    {
        return Err(StoreError::Full);
    }
    let displaced = remove_in(txn, id, &mut head, gives_way.sequences, |_| true)?;
    let mut table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    head.count_candidates(batch);
    for sealed in &batch.entries {
        head.last += 1;
        head.count_entry(class, sealed.len() as u64, true);
        let eraser = batch.eraser.as_ref().map(|eraser| &eraser[..]);
        let row = Row { expiry: bounds.expires_at, class, eraser, sealed };
        table.insert((id.kind as u8, &id.address, head.last), row.encode().as_slice()).map_err(StoreError::failed)?;
    }
    head.name_class(class, batch.writer);
    head.expires_at = head.expires_at.max(bounds.expires_at);
    put_head(txn, id, &head)?;
    Ok(Appended { head, displaced })
}

/// Entries that give way to new ones.
#[derive(Default)]
struct GivesWay {
    sequences: Vec<u64>,
    bytes: u64,
}

/// The oldest entries of a class that have to go before its share has room for a batch.
fn giving_way(
    txn: &WriteTransaction,
    id: &StreamId,
    head: &Head,
    class: u8,
    batch: &Batch,
    share: &Share,
) -> Result<GivesWay, StoreError> {
    let (of_class, bytes_of_class) = head.class(class);
    let (count, bytes) = (of_class + batch.entries.len() as u64, bytes_of_class + batch.bytes());
    let mut gives_way = GivesWay::default();
    if class == 0 || (count <= share.entries && bytes <= share.bytes) {
        return Ok(gives_way);
    }
    if !share.is_ring {
        return Err(StoreError::Full);
    }
    let table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    let (kind, address) = (id.kind as u8, &id.address);
    for row in table.range((kind, address, 0)..=(kind, address, u64::MAX)).map_err(StoreError::failed)? {
        let (key, value) = row.map_err(StoreError::failed)?;
        let row = Row::decode(value.value());
        if row.class == class {
            gives_way.sequences.push(key.value().2);
            gives_way.bytes += row.sealed.len() as u64;
        }
        if count - gives_way.sequences.len() as u64 <= share.entries && bytes - gives_way.bytes <= share.bytes {
            return Ok(gives_way);
        }
    }
    Err(StoreError::Full)
}

fn remove_in(
    txn: &WriteTransaction,
    id: &StreamId,
    head: &mut Head,
    sequences: impl IntoIterator<Item = u64>,
    may: impl Fn(&Row<'_>) -> bool,
) -> Result<Removed, StoreError> {
    let (mut removed, writers) = (Removed::of(id, head), head.writers());
    let mut table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    for sequence in sequences {
        let key = (id.kind as u8, &id.address, sequence);
        if !table.get(key).map_err(StoreError::failed)?.is_some_and(|row| may(&Row::decode(row.value()))) {
            continue;
        }
        if let Some(row) = table.remove(key).map_err(StoreError::failed)? {
            let row = Row::decode(row.value());
            head.count_entry(row.class, row.sealed.len() as u64, false);
            removed.entries += 1;
            removed.bytes += row.sealed.len() as u64;
            head.forget_candidate(sequence);
        }
    }
    if removed.entries > 0 {
        removed.writers = head.removed_since(writers);
        put_head(txn, id, head)?;
    }
    Ok(removed)
}

/// Notes whose a new stream is.
pub(super) fn put_owner(txn: &WriteTransaction, id: &StreamId, head: &Head) -> Result<(), StoreError> {
    if let Some(owner) = head.owner() {
        let mut table = txn.open_table(OWNERS).map_err(StoreError::failed)?;
        table.insert((&owner, id.kind as u8, &id.address), ()).map_err(StoreError::failed)?;
    }
    Ok(())
}

/// Deletes what is known of a stream that has nothing more to be read.
fn delete_head(txn: &WriteTransaction, id: &StreamId, head: &Head) -> Result<(), StoreError> {
    if let Some(owner) = head.owner() {
        let mut table = txn.open_table(OWNERS).map_err(StoreError::failed)?;
        table.remove((&owner, id.kind as u8, &id.address)).map_err(StoreError::failed)?;
    }
    let mut table = txn.open_table(HEADS).map_err(StoreError::failed)?;
    table.remove((id.kind as u8, &id.address)).map_err(StoreError::failed)?;
    Ok(())
}

/// Sequence numbers from the first on, as long as `wanted` says so of an entry's number and expiry.
fn leading(txn: &WriteTransaction, id: &StreamId, wanted: impl Fn(u64, u64) -> bool) -> Result<Vec<u64>, StoreError> {
    let table = txn.open_table(ENTRIES).map_err(StoreError::failed)?;
    let (kind, address) = (id.kind as u8, &id.address);
    let mut found = Vec::new();
    for row in table.range((kind, address, 0)..=(kind, address, u64::MAX)).map_err(StoreError::failed)? {
        let (key, value) = row.map_err(StoreError::failed)?;
        if !wanted(key.value().2, Row::decode(value.value()).expiry) {
            break;
        }
        found.push(key.value().2);
    }
    Ok(found)
}

/// Some heads after `after`.
pub(super) fn heads_after<T: ReadableTable<(u8, &'static Key), &'static [u8]>>(
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
        let mut removed = remove_in(txn, &id, &mut head, old, |_| true)?;
        if head.count == 0 && head.expires_at <= now {
            delete_head(txn, &id, &head)?;
            removed.streams = 1;
        }
        if removed.cost() > 0 {
            expired.removed.push(removed);
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

    async fn open(&self, id: StreamId, owner: Key, root: Option<Key>, expires_at: u64) -> Result<bool, StoreError> {
        self.writer
            .write(move |txn| match head_in(txn, &id)? {
                Some(_) => Ok(false),
                None => {
                    let root = root.map(|root| root.to_vec()).unwrap_or_default();
                    let head = Head { owner: owner.to_vec(), root, expires_at, ..Head::default() };
                    put_head(txn, &id, &head)?;
                    put_owner(txn, &id, &head)?;
                    Ok(true)
                }
            })
            .await
    }

    async fn append(
        &self,
        id: StreamId,
        owner: Option<Key>,
        batch: Batch,
        bounds: Bounds,
    ) -> Result<Appended, StoreError> {
        let then = batch.then.clone();
        let append = move |txn: &WriteTransaction| -> Result<Appended, StoreError> {
            if let Some(head) = head_in(txn, &id)? {
                return append_in(txn, &id, head, &batch, &bounds);
            }
            let head = Head { owner: owner.ok_or(StoreError::NotFound)?.to_vec(), ..Head::default() };
            let appended = append_in(txn, &id, head.clone(), &batch, &bounds)?;
            put_owner(txn, &id, &head)?;
            Ok(appended)
        };
        self.writer.write_then(append, move |appended: &Appended| then.run(&appended.head)).await
    }

    async fn read(&self, id: StreamId, after: u64, limit: usize, max_bytes: usize) -> Result<Page, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(ENTRIES)?;
            let (kind, address) = (id.kind as u8, &id.address);
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for row in table.range((kind, address, after.saturating_add(1))..=(kind, address, u64::MAX))? {
                let (key, value) = row?;
                bytes += value.value().len();
                if !entries.is_empty() && (entries.len() >= limit || bytes > max_bytes) {
                    return Ok(Page { entries, more: true });
                }
                entries.push(decode_entry(key.value().2, value.value()));
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
                let stays: Vec<u64> = head.candidates_between(0, u64::MAX).collect();
                let (sequences, shown) = match selection {
                    Selection::UpTo(last) => (leading(txn, &id, |sequence, _| sequence <= last)?, None),
                    Selection::Each { sequences, eraser } => (sequences, Some(eraser)),
                };
                let may = |row: &Row<'_>| match (&shown, row.eraser) {
                    (Some(shown), Some(eraser)) => shown.as_ref().is_some_and(|shown| &shown[..] == eraser),
                    _ => true,
                };
                remove_in(txn, &id, &mut head, sequences.into_iter().filter(|sequence| !stays.contains(sequence)), may)
            })
            .await
    }

    async fn delete(&self, id: StreamId) -> Result<Removed, StoreError> {
        self.writer
            .write(move |txn| {
                let Some(mut head) = head_in(txn, &id)? else {
                    return Ok(Removed::default());
                };
                let all = leading(txn, &id, |_, _| true)?;
                let removed = remove_in(txn, &id, &mut head, all, |_| true)?;
                delete_head(txn, &id, &head)?;
                Ok(Removed { streams: 1, ..removed })
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
                    first.map(|(key, value)| decode_entry(key.value().2, value.value()))
                };
                let Some(entry) = first else {
                    return Ok(None);
                };
                let removed = remove_in(txn, &id, &mut head, [entry.sequence], |_| true)?;
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

    async fn of_owner(&self, owner: Key, after: Option<StreamId>, limit: usize) -> Result<Vec<StreamId>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(OWNERS)?;
            let from = after.map_or((0, [0; 32]), |id| (id.kind as u8, id.address));
            let mut found = Vec::new();
            for row in table.range((&owner, from.0, &from.1)..=(&owner, u8::MAX, &[u8::MAX; 32]))? {
                let key = row?.0;
                let (_, kind, address) = key.value();
                let id = StreamId { kind: kind_of(kind), address: *address };
                if after == Some(id) {
                    continue;
                }
                if found.len() >= limit {
                    break;
                }
                found.push(id);
            }
            Ok(found)
        })
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        self.reading(|txn| {
            Ok(Totals { streams: txn.open_table(HEADS)?.len()?, entries: txn.open_table(ENTRIES)?.len()? })
        })
    }
}
