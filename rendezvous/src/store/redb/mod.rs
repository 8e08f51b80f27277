//! The embedded store. One thread writes: it takes all jobs that wait, runs them in one transaction, commits with `fsync`, then answers.

mod tables;

use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, thread};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};

use tables::*;

use crate::private_file::keep_private;

use super::{Account, Bounds, Entry, Key, Kind, Store, StoreError, Totals};

const SCHEMA: u32 = 1;
/// Jobs that may wait for the writer: each holds one request of one session, and a session waits for its answer.
const WRITE_QUEUE: usize = 4096;
/// Jobs that share one commit: enough that `fsync` is not what limits, few enough that the first does not wait long.
const BATCH: usize = 512;
/// Page cache: a small server's working set.
const CACHE: usize = 32 * 1024 * 1024;

type Job = Box<dyn FnOnce(&WriteTransaction) -> Committed + Send>;
/// Runs after the commit, with whether it worked; sends the answer.
type Committed = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The embedded store.
pub struct RedbStore {
    db: Arc<Database>,
    jobs: mpsc::Sender<Job>,
    broken: watch::Receiver<bool>,
}

impl RedbStore {
    /// Opens or creates the database file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path).map_err(failed)?;
        let db = Database::builder().set_cache_size(CACHE).create(path).map_err(|e| match e {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
            e => failed(e),
        })?;
        let txn = db.begin_write().map_err(failed)?;
        {
            let mut meta = txn.open_table(META).map_err(failed)?;
            let schema = meta.get("schema").map_err(failed)?.map(|v| v.value());
            match schema {
                None => {
                    meta.insert("schema", SCHEMA).map_err(failed)?;
                }
                Some(SCHEMA) => {}
                Some(newer) => return Err(StoreError::Newer(newer)),
            }
            // Readers expect every table to be there.
            txn.open_table(ACCOUNTS).map_err(failed)?;
            txn.open_table(DEVICES).map_err(failed)?;
            txn.open_table(BANS).map_err(failed)?;
            txn.open_table(NAMES).map_err(failed)?;
            txn.open_table(INVITES).map_err(failed)?;
            txn.open_table(REGISTRATIONS).map_err(failed)?;
            txn.open_table(LAST_RESORT).map_err(failed)?;
            txn.open_table(SNAPSHOTS).map_err(failed)?;
            txn.open_table(QUEUES).map_err(failed)?;
            txn.open_table(ENTRIES).map_err(failed)?;
        }
        txn.commit().map_err(failed)?;
        let db = Arc::new(db);
        let (jobs, inbox) = mpsc::channel(WRITE_QUEUE);
        let writer = db.clone();
        let (breaks, broken) = watch::channel(false);
        thread::Builder::new()
            .name("store".into())
            .spawn(move || write_loop(&writer, inbox, &breaks))
            .map_err(failed)?;
        Ok(Self { db, jobs, broken })
    }

    /// Runs `job` in the next write transaction. An `Err` from `job` must leave the tables as they were.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |txn| {
            let result = job(txn);
            Box::new(move |committed| {
                let _ = answer.send(committed.and(result));
            })
        });
        self.jobs.send(job).await.map_err(|_| failed("the store has stopped"))?;
        answered.await.map_err(|_| failed("the store has stopped"))?
    }

    fn reading<T>(&self, read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let txn = self.db.begin_read().map_err(failed)?;
        read(&txn).map_err(failed)
    }
}

/// Makes sure that the file is for its owner alone before anything is in it, whatever the directory and the umask allow.
fn create_private(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    keep_private(path)
}

fn write_loop(db: &Database, mut inbox: mpsc::Receiver<Job>, broken: &watch::Sender<bool>) {
    let mut batch = Vec::with_capacity(BATCH);
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        let result = (|| {
            let mut txn = db.begin_write().map_err(failed)?;
            txn.set_durability(Durability::Immediate).map_err(failed)?;
            Ok::<_, StoreError>(txn)
        })();
        let (done, outcome) = match result {
            Ok(txn) => {
                let done: Vec<Committed> = batch.drain(..).map(|job| job(&txn)).collect();
                (done, txn.commit().map_err(failed))
            }
            Err(error) => {
                tracing::error!(%error, "cannot write");
                batch.clear();
                continue;
            }
        };
        if let Err(error) = &outcome {
            tracing::error!(%error, "commit failed");
            // After a failed write redb takes no other: the process has to be started again, when there is room.
            let _ = broken.send(true);
        }
        for answer in done {
            answer(match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(failed(error)),
            });
        }
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn account(&self, account: Key) -> Result<Option<Account>, StoreError> {
        let found = self.reading(|txn| {
            let row = txn.open_table(ACCOUNTS)?.get(&account)?;
            let banned = txn.open_table(BANS)?.get(&account)?.is_some();
            Ok(row.map(|row| (row.value().to_vec(), banned)))
        })?;
        found
            .map(|(bytes, banned)| {
                let account = Account::decode(bytes.as_slice()).map_err(failed)?;
                Ok(Account { banned, ..account })
            })
            .transpose()
    }

    async fn account_of(&self, device: Key) -> Result<Option<Key>, StoreError> {
        self.reading(|txn| Ok(txn.open_table(DEVICES)?.get(&device)?.map(|row| *row.value())))
    }

    async fn put_devices(
        &self,
        account: Key,
        version: u64,
        list: Bytes,
        devices: Vec<Key>,
        gone: Vec<Key>,
    ) -> Result<(), StoreError> {
        self.write(move |txn| {
            let known = account_in(txn, &account)?;
            if let Some(known) = &known
                && (known.version > version || known.version == version && known.device_list != list)
            {
                return Err(StoreError::Stale);
            }
            let mut table = txn.open_table(DEVICES).map_err(failed)?;
            // A device key belongs to the account that certified it first.
            for device in &devices {
                if table.get(device).map_err(failed)?.is_some_and(|row| *row.value() != account) {
                    return Err(StoreError::Taken);
                }
            }
            for device in &gone {
                if table.get(device).map_err(failed)?.is_some_and(|row| *row.value() == account) {
                    table.remove(device).map_err(failed)?;
                }
            }
            for device in &devices {
                table.insert(device, &account).map_err(failed)?;
            }
            drop(table);
            let record = Account { device_list: list, version, ..known.unwrap_or_default() };
            put_account(txn, &account, &record)
        })
        .await
    }

    async fn seen(&self, account: Key, day: u64) -> Result<(), StoreError> {
        self.write(move |txn| {
            if let Some(mut record) = account_in(txn, &account)?
                && record.seen_day < day
            {
                record.seen_day = day;
                put_account(txn, &account, &record)?;
            }
            Ok(())
        })
        .await
    }

    async fn set_banned(&self, account: Key, banned: bool) -> Result<(), StoreError> {
        self.write(move |txn| {
            let mut bans = txn.open_table(BANS).map_err(failed)?;
            if banned {
                bans.insert(&account, ()).map_err(failed)?;
            } else {
                bans.remove(&account).map_err(failed)?;
            }
            Ok(())
        })
        .await
    }

    async fn claim_name(&self, name: Key, account: Key, unused_before: u64) -> Result<(), StoreError> {
        self.write(move |txn| {
            let mut record = account_in(txn, &account)?.ok_or(StoreError::NotFound)?;
            let mut names = txn.open_table(NAMES).map_err(failed)?;
            let holder = names.get(&name).map_err(failed)?.map(|row| *row.value());
            if let Some(holder) = holder
                && holder != account
                && account_in(txn, &holder)?.is_some_and(|h| h.seen_day >= unused_before)
            {
                return Err(StoreError::Taken);
            }
            // The old one goes, unless somebody else has taken it since.
            if let Ok(old) = <&Key>::try_from(record.name.as_slice())
                && names.get(old).map_err(failed)?.is_some_and(|row| *row.value() == account)
            {
                names.remove(old).map_err(failed)?;
            }
            names.insert(&name, &account).map_err(failed)?;
            record.name = name.to_vec();
            put_account(txn, &account, &record)
        })
        .await
    }

    async fn name(&self, name: Key) -> Result<Option<Key>, StoreError> {
        self.reading(|txn| Ok(txn.open_table(NAMES)?.get(&name)?.map(|row| *row.value())))
    }

    async fn put_invite(&self, token: Key, account: Key, uses: u32, expires_at: u64) -> Result<(), StoreError> {
        self.write(move |txn| {
            let mut invites = txn.open_table(INVITES).map_err(failed)?;
            let other = invites.get(&token).map_err(failed)?.is_some_and(|row| *row.value().0 != account);
            if other {
                return Err(StoreError::Taken);
            }
            if uses == 0 {
                invites.remove(&token).map_err(failed)?;
            } else {
                invites.insert(&token, (&account, uses, expires_at)).map_err(failed)?;
            }
            Ok(())
        })
        .await
    }

    async fn put_registration(&self, token: Key, uses: u32, expires_at: u64) -> Result<(), StoreError> {
        self.write(move |txn| {
            let mut table = txn.open_table(REGISTRATIONS).map_err(failed)?;
            table.insert(&token, (uses, expires_at)).map_err(failed)?;
            Ok(())
        })
        .await
    }

    async fn use_registration(&self, token: Key, now: u64) -> Result<(), StoreError> {
        self.write(move |txn| {
            let mut table = txn.open_table(REGISTRATIONS).map_err(failed)?;
            let found = table.get(&token).map_err(failed)?.map(|row| row.value());
            match found {
                Some((uses, expires_at)) if uses > 0 && expires_at > now => {
                    if uses == 1 {
                        table.remove(&token).map_err(failed)?;
                    } else {
                        table.insert(&token, (uses - 1, expires_at)).map_err(failed)?;
                    }
                    Ok(())
                }
                _ => Err(StoreError::Denied),
            }
        })
        .await
    }

    async fn put_last_resort(&self, device: Key, package: Bytes) -> Result<(), StoreError> {
        self.write(move |txn| {
            let mut table = txn.open_table(LAST_RESORT).map_err(failed)?;
            table.insert(&device, &*package).map_err(failed)?;
            Ok(())
        })
        .await
    }

    async fn claim_key_package(&self, device: Key) -> Result<Option<Bytes>, StoreError> {
        self.write(move |txn| {
            if let Some(mut queue) = queue_in(txn, Kind::KeyPackages, &device)? {
                let first = {
                    let table = txn.open_table(ENTRIES).map_err(failed)?;
                    let kind = Kind::KeyPackages as u8;
                    let mut range = table.range((kind, &device, 0)..=(kind, &device, u64::MAX)).map_err(failed)?;
                    range
                        .next()
                        .transpose()
                        .map_err(failed)?
                        .map(|(key, value)| (key.value().2, entry(key.value().2, value.value(), 0)))
                };
                if let Some((sequence, entry)) = first {
                    remove_entries(txn, Kind::KeyPackages, &device, &mut queue, [sequence])?;
                    return Ok(Some(entry.sealed));
                }
            }
            let table = txn.open_table(LAST_RESORT).map_err(failed)?;
            let row = table.get(&device).map_err(failed)?;
            Ok(row.map(|row| Bytes::copy_from_slice(row.value())))
        })
        .await
    }

    async fn put_snapshot(&self, account: Key, version: u64, sealed: Bytes) -> Result<(), StoreError> {
        self.write(move |txn| {
            let mut table = txn.open_table(SNAPSHOTS).map_err(failed)?;
            let known = table.get(&account).map_err(failed)?.map(|row| row.value().0);
            if known.is_some_and(|known| known >= version) {
                return Err(StoreError::Stale);
            }
            table.insert(&account, (version, &*sealed)).map_err(failed)?;
            Ok(())
        })
        .await
    }

    async fn snapshot(&self, account: Key) -> Result<Option<(u64, Bytes)>, StoreError> {
        self.reading(|txn| {
            let row = txn.open_table(SNAPSHOTS)?.get(&account)?;
            Ok(row.map(|row| (row.value().0, Bytes::copy_from_slice(row.value().1))))
        })
    }

    async fn open_log(&self, address: Key, owner: Key, expires_at: u64) -> Result<(), StoreError> {
        self.write(move |txn| {
            if queue_in(txn, Kind::Log, &address)?.is_some() {
                return Ok(());
            }
            let queue = Queue { owner: owner.to_vec(), expires_at, ..Queue::default() };
            put_queue(txn, Kind::Log, &address, &queue)
        })
        .await
    }

    async fn append(
        &self,
        kind: Kind,
        address: Key,
        owner: Option<Key>,
        entries: Vec<Bytes>,
        bounds: Bounds,
    ) -> Result<u64, StoreError> {
        self.write(move |txn| {
            let queue = match (queue_in(txn, kind, &address)?, kind) {
                (Some(queue), _) => queue,
                (None, Kind::Log) => return Err(StoreError::NotFound),
                (None, _) => Queue { owner: owner.map(|o| o.to_vec()).unwrap_or_default(), ..Queue::default() },
            };
            if queue.closed != 0 {
                return Err(StoreError::Closed(closing_entry(txn, &address, &queue)?));
            }
            append_in(txn, kind, &address, queue, &entries, &bounds)
        })
        .await
    }

    async fn append_with_invite(
        &self,
        token: Key,
        now: u64,
        device: Key,
        owner: Key,
        entry: Bytes,
        bounds: Bounds,
    ) -> Result<u64, StoreError> {
        self.write(move |txn| {
            let mut invites = txn.open_table(INVITES).map_err(failed)?;
            let found = invites.get(&token).map_err(failed)?.map(|row| {
                let (account, uses, expires_at) = row.value();
                (*account, uses, expires_at)
            });
            let (account, uses, expires_at) = found.ok_or(StoreError::Denied)?;
            if account != owner || uses == 0 || expires_at <= now {
                return Err(StoreError::Denied);
            }
            let queue =
                queue_in(txn, Kind::Inbox, &device)?.unwrap_or(Queue { owner: owner.to_vec(), ..Queue::default() });
            let last = append_in(txn, Kind::Inbox, &device, queue, &[entry], &bounds)?;
            invites.insert(&token, (&account, uses - 1, expires_at)).map_err(failed)?;
            Ok(last)
        })
        .await
    }

    async fn close_log(&self, address: Key, entry: Bytes, next: Key, bounds: Bounds) -> Result<u64, StoreError> {
        self.write(move |txn| {
            let queue = queue_in(txn, Kind::Log, &address)?.ok_or(StoreError::NotFound)?;
            if queue.closed != 0 {
                return Err(StoreError::Closed(closing_entry(txn, &address, &queue)?));
            }
            let owner = queue.owner.clone();
            // A full log can still be closed: otherwise it could never be left.
            let wider = |n: u64| n.saturating_add(crate::limits::CLOSE_OVERDRAFT);
            let unbounded = Bounds {
                entries: u64::MAX,
                bytes: wider(bounds.bytes),
                owner_bytes: wider(bounds.owner_bytes),
                ..bounds
            };
            let closed = Queue { closed: queue.last + 1, ..queue };
            let last = append_in(txn, Kind::Log, &address, closed, &[entry], &unbounded)?;
            if queue_in(txn, Kind::Log, &next)?.is_none() {
                let queue = Queue { owner, expires_at: bounds.expires_at, ..Queue::default() };
                put_queue(txn, Kind::Log, &next, &queue)?;
            }
            Ok(last)
        })
        .await
    }

    async fn read(
        &self,
        kind: Kind,
        address: Key,
        after: u64,
        limit: usize,
        max_bytes: usize,
    ) -> Result<(Vec<Entry>, bool), StoreError> {
        self.reading(|txn| {
            let closed = txn
                .open_table(QUEUES)?
                .get((kind as u8, &address))?
                .and_then(|row| Queue::decode(row.value()).ok())
                .map_or(0, |queue| queue.closed);
            let table = txn.open_table(ENTRIES)?;
            let start = after.saturating_add(1);
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for row in table.range((kind as u8, &address, start)..=(kind as u8, &address, u64::MAX))? {
                let (key, value) = row?;
                bytes += value.value().len();
                if !entries.is_empty() && (entries.len() >= limit || bytes > max_bytes) {
                    return Ok((entries, true));
                }
                entries.push(entry(key.value().2, value.value(), closed));
            }
            Ok((entries, false))
        })
    }

    async fn has_log(&self, address: Key) -> Result<bool, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(QUEUES)?;
            Ok(table.get((Kind::Log as u8, &address))?.is_some())
        })
    }

    async fn count(&self, kind: Kind, address: Key) -> Result<u64, StoreError> {
        self.reading(|txn| {
            let row = txn.open_table(QUEUES)?.get((kind as u8, &address))?;
            Ok(row.and_then(|row| Queue::decode(row.value()).ok()).map_or(0, |queue| queue.count))
        })
    }

    async fn delete_up_to(&self, kind: Kind, address: Key, sequence: u64) -> Result<(), StoreError> {
        self.write(move |txn| {
            let Some(mut queue) = queue_in(txn, kind, &address)? else {
                return Ok(());
            };
            let sequences = {
                let table = txn.open_table(ENTRIES).map_err(failed)?;
                let range =
                    table.range((kind as u8, &address, 0)..=(kind as u8, &address, sequence)).map_err(failed)?;
                range.map(|row| row.map(|(key, _)| key.value().2)).collect::<Result<Vec<_>, _>>().map_err(failed)?
            };
            if !sequences.is_empty() {
                remove_entries(txn, kind, &address, &mut queue, sequences)?;
            }
            Ok(())
        })
        .await
    }

    async fn trim(&self, address: Key, sequences: Vec<u64>) -> Result<(), StoreError> {
        self.write(move |txn| {
            let Some(mut queue) = queue_in(txn, Kind::Log, &address)? else {
                return Ok(());
            };
            let closed = queue.closed;
            let sequences = sequences.into_iter().filter(|s| *s != closed);
            remove_entries(txn, Kind::Log, &address, &mut queue, sequences)?;
            Ok(())
        })
        .await
    }

    async fn expire(&self, now: u64) -> Result<u64, StoreError> {
        let mut removed = 0;
        let mut from: (u8, Key) = (0, [0; 32]);
        loop {
            let (next, n) = self.write(move |txn| expire_step(txn, from, now)).await?;
            removed += n;
            match next {
                Some(next) => from = next,
                None => return Ok(removed),
            }
        }
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        self.reading(|txn| {
            Ok(Totals {
                accounts: txn.open_table(ACCOUNTS)?.len()?,
                names: txn.open_table(NAMES)?.len()?,
                queues: txn.open_table(QUEUES)?.len()?,
                entries: txn.open_table(ENTRIES)?.len()?,
            })
        })
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await
    }

    async fn broken(&self) {
        let _ = self.broken.clone().wait_for(|broken| *broken).await;
    }
}
