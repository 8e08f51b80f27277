//! The thread that writes.

use std::{sync::Arc, thread};

use redb::{Database, Durability, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};

use super::super::StoreError;

/// Jobs that may wait for the writer: each holds one request of one session, and a session waits for its answer.
const WRITE_QUEUE: usize = 4096;
/// Jobs that share one commit: enough that `fsync` is not what limits, few enough that the first does not wait long.
const BATCH: usize = 512;

type Job = Box<dyn FnOnce(&WriteTransaction) -> Committed + Send>;
/// Runs after the commit, with whether it worked; sends the answer.
type Committed = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Hands jobs to the thread, which ends when this is dropped.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    broken: watch::Receiver<bool>,
}

impl Writer {
    pub fn start(db: Arc<Database>) -> Result<Self, StoreError> {
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
        let stopped = || StoreError::Failed("the store has stopped".into());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |txn| {
            let result = job(txn);
            Box::new(move |committed| {
                let _ = answer.send(committed.and(result));
            })
        });
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    pub async fn broken(&self) {
        let _ = self.broken.clone().wait_for(|broken| *broken).await;
    }
}

fn write_loop(db: &Database, mut inbox: mpsc::Receiver<Job>, broken: &watch::Sender<bool>) {
    let mut batch = Vec::with_capacity(BATCH);
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        let (done, outcome) = match begin(db) {
            Ok(txn) => {
                let done: Vec<Committed> = batch.drain(..).map(|job| job(&txn)).collect();
                (done, txn.commit().map_err(StoreError::failed))
            }
            Err(error) => {
                tracing::error!(%error, "cannot write");
                batch.clear();
                continue;
            }
        };
        tracing::trace!(jobs = done.len(), "commit");
        if let Err(error) = &outcome {
            tracing::error!(%error, "commit failed");
            // After a failed write redb takes no other: the process has to be started again, when there is room.
            let _ = broken.send(true);
        }
        for answer in done {
            answer(match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(StoreError::failed(error)),
            });
        }
    }
}

fn begin(db: &Database) -> Result<WriteTransaction, StoreError> {
    let mut txn = db.begin_write().map_err(StoreError::failed)?;
    txn.set_durability(Durability::Immediate).map_err(StoreError::failed)?;
    Ok(txn)
}
