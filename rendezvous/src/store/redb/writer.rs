//! The thread that writes.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use redb::{Database, Durability, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};

use super::{super::StoreError, handle::Handle};

/// Jobs that may wait for the writer: each holds one request of one session, and a session waits for its answer.
const WRITE_QUEUE: usize = 4096;
/// Jobs that share one commit: enough that `fsync` is not what limits, few enough that the first does not wait long.
const BATCH: usize = 512;

/// While the disk is full, so long nothing is tried.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Gets a transaction, or why there is none.
type Job = Box<dyn FnOnce(Result<&WriteTransaction, StoreError>) -> Committed + Send>;
/// Runs after the commit, with whether it worked; sends the answer.
type Committed = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Hands jobs to the thread, which ends when this is dropped.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    broken: watch::Receiver<bool>,
}

impl Writer {
    pub fn start(db: Arc<Handle>) -> Result<Self, StoreError> {
        let (jobs, inbox) = mpsc::channel(WRITE_QUEUE);
        let (breaks, broken) = watch::channel(false);
        let run = move || write_loop(&db, inbox, &breaks);
        thread::Builder::new().name("store".into()).spawn(run).map_err(StoreError::failed)?;
        Ok(Self { jobs, broken })
    }

    /// Runs `job` in the next write transaction. An `Err` from `job` must leave the tables as they were. When this future is dropped, the job
    /// may still run.
    pub async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_then(job, |_| {}).await
    }

    /// The same, with something that is done on this thread once it is stored: in the order of the jobs.
    pub async fn write_then<T: Send + 'static>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Failed("the store has stopped".into());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |txn| {
            let result = txn.and_then(job);
            Box::new(move |committed| {
                let _ = answer.send(committed.and(result).inspect(then));
            })
        });
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    pub async fn broken(&self) {
        let _ = self.broken.clone().wait_for(|broken| *broken).await;
    }
}

fn write_loop(db: &Handle, mut inbox: mpsc::Receiver<Job>, broken: &watch::Sender<bool>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut disk_full_at: Option<Instant> = None;
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        // On a full disk, a try that fails costs a check of the whole file.
        if disk_full_at.is_some_and(|at| at.elapsed() < FULL_PAUSE && db.is_disk_full()) {
            refuse(&mut batch, || StoreError::Full);
            continue;
        }
        let Err(error) = db.with(|open| write_batch(open, &mut batch, || db.is_disk_full())) else {
            disk_full_at = None;
            continue;
        };
        disk_full_at = db.is_disk_full().then(Instant::now);
        let is_full = disk_full_at.is_some();
        tracing::error!(%error, disk_full = is_full, "cannot write");
        refuse(&mut batch, || if is_full { StoreError::Full } else { StoreError::failed(&error) });
        // After a failed write the database takes no other until it is opened again.
        if let Err(error) = db.reopen() {
            tracing::error!(%error, "the database cannot be opened again");
            if !is_full {
                let _ = broken.send(true);
            }
        }
    }
}

/// Runs jobs in one transaction and answers them.
fn write_batch(db: &Database, batch: &mut Vec<Job>, is_disk_full: impl Fn() -> bool) -> Result<(), StoreError> {
    let txn = begin(db)?;
    let done: Vec<Committed> = batch.drain(..).map(|job| job(Ok(&txn))).collect();
    tracing::trace!(jobs = done.len(), "commit");
    starling_kill_point::pass();
    let outcome = txn.commit().map_err(StoreError::failed);
    starling_kill_point::pass();
    let is_full = outcome.is_err() && is_disk_full();
    for answer in done {
        answer(match &outcome {
            Ok(()) => Ok(()),
            Err(_) if is_full => Err(StoreError::Full),
            Err(error) => Err(StoreError::failed(error)),
        });
    }
    outcome
}

/// Answers jobs without writing.
fn refuse(batch: &mut Vec<Job>, why: impl Fn() -> StoreError) {
    for job in batch.drain(..) {
        job(Err(why()))(Ok(()));
    }
}

fn begin(db: &Database) -> Result<WriteTransaction, StoreError> {
    let mut txn = db.begin_write().map_err(StoreError::failed)?;
    txn.set_durability(Durability::Immediate).map_err(StoreError::failed)?;
    Ok(txn)
}
