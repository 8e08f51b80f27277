//! A server without a network, for simulations and tests: the same sessions on the same store, called directly.

use std::{collections::VecDeque, fs, sync::Arc};

use libp2p::identity::ed25519;
use starling_wire::rendezvous::{Request, Response};
use tokio::sync::mpsc;

pub use crate::clock::set_clock;

use super::StartError;
#[cfg(test)]
use crate::{
    clock::now_ms,
    services::{operator, sweep::Sweep},
    store::{Account, Budget, Collection, update},
};
use crate::{
    config::Config,
    services::{Services, session::Session},
    store::{Key, Store, StoreError, redb::RedbStore},
};

/// A server whose devices are in the same process.
pub struct LocalServer {
    services: Arc<Services>,
}

/// A device that is connected to a [`LocalServer`].
pub struct LocalSession {
    session: Session,
    pushed: mpsc::Receiver<Box<Response>>,
    /// What there was no room for.
    late: VecDeque<Response>,
}

impl LocalServer {
    /// Opens the store in the configured directory. `server_key` is the key in the server's address.
    pub fn open(config: &Config, server_key: Key) -> Result<Self, StartError> {
        let dir = &config.data_dir;
        fs::create_dir_all(dir).map_err(|error| StartError::DataDir { path: dir.clone(), error })?;
        Ok(Self::with_store(RedbStore::open(&dir.join("rendezvous.redb"))?, config, server_key))
    }

    /// A server on any store.
    pub fn with_store(store: Store, config: &Config, server_key: Key) -> Self {
        Self { services: Arc::new(Services::new(store, server_key, [0; 32], config)) }
    }

    /// Changes the limits while the server runs.
    pub fn reload(&self, config: &Config) {
        self.services.reload(config);
    }

    /// Entries that the server keeps in logs and inboxes.
    pub async fn entries(&self) -> Result<u64, StoreError> {
        Ok(self.services.store.streams.totals().await?.entries)
    }

    /// Connects a device; `None` if its key is none.
    pub async fn connect(&self, device: Key) -> Option<LocalSession> {
        ed25519::PublicKey::try_from_bytes(&device).ok()?;
        let (session, pushed) = Session::enter(self.services.clone(), device, None).await;
        Some(LocalSession { session, pushed, late: VecDeque::new() })
    }
}

/// What an operator does, and what the store keeps count of.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
impl LocalServer {
    pub(crate) async fn ban(&self, account: Key) {
        operator::put_ban(&self.services, account, true).await.unwrap();
    }

    pub(crate) async fn put_registration(&self, token: &str, uses: u32) {
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        operator::put_token(&self.services, hash, uses, u64::MAX).await.unwrap();
    }

    /// What counts against an account in all its streams.
    pub(crate) async fn stored(&self, account: Key) -> u64 {
        let mut sum = 0;
        for budget in [Budget::Logs(account), Budget::Inboxes(account), Budget::KeyPackages(account)] {
            sum += self.services.store.counters.get(budget).await.unwrap();
        }
        sum
    }

    /// Connects a device that is at an address.
    pub(crate) async fn connect_from(&self, device: Key, ip: std::net::IpAddr) -> LocalSession {
        let origin = crate::address::Origin::of(ip, &[]);
        let (session, pushed) = Session::enter(self.services.clone(), device, Some(origin)).await;
        LocalSession { session, pushed, late: VecDeque::new() }
    }

    /// What counts against a budget.
    pub(crate) async fn counted(&self, budget: Budget) -> u64 {
        self.services.store.counters.get(budget).await.unwrap()
    }

    /// What something counts against.
    pub(crate) async fn budgets(&self) -> Vec<Budget> {
        self.services.store.counters.keys().await.unwrap()
    }

    /// What all streams take.
    pub(crate) async fn in_streams(&self) -> u64 {
        let streams = self.services.store.streams.scan(None, 10_000).await.unwrap();
        streams.iter().map(|(_, head)| head.cost()).sum()
    }

    /// Lets an account be as old as those of before that was noted.
    pub(crate) async fn grow_old(&self, account: Key) {
        let records = &*self.services.store.records;
        let old = |known: Option<Account>| Ok::<_, StoreError>(Account { since_day: 0, ..known.unwrap() });
        update(records, Collection::Accounts, account, old).await.unwrap();
    }

    /// Two sweeps: what the first suspects, the second puts right.
    pub(crate) async fn sweep(&self) {
        self.sweep_beside(async || ()).await;
    }

    /// Two sweeps, and what others do before each.
    pub(crate) async fn sweep_beside(&self, mut others: impl AsyncFnMut()) {
        let mut sweep = Sweep::default();
        for _ in 0..2 {
            others().await;
            sweep.expire(&self.services, now_ms() / 1000).await.unwrap();
            sweep.repair_claims(&self.services).await.unwrap();
        }
    }
}

impl LocalSession {
    /// What the server says first.
    pub fn hello(&self) -> Response {
        self.session.hello()
    }

    /// One request.
    pub async fn ask(&mut self, request: Request) -> Response {
        self.session.answer(request).await
    }

    /// Whether the server has ended it: the device would have to connect again.
    pub fn is_ended(&self) -> bool {
        self.pushed.is_closed()
    }

    /// The next push, if there is one.
    pub fn pushed(&mut self) -> Option<Response> {
        let next = self.pushed.try_recv().ok().map(|response| *response);
        if next.is_none() {
            let missed = self.session.services.missed(self.session.id).into_iter();
            self.late.extend(missed.map(|body| Response { id: 0, body: Some(body) }));
        }
        next.or_else(|| self.late.pop_front())
    }
}
